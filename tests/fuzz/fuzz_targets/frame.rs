//! The frame parser on any bytes: it never panics, a longer frame never changes what a shorter one
//! already said, an independent parser reads the same, and a reset is never longer than its cause.
#![no_main]

#[path = "../../tests/common/independent.rs"]
mod independent;

use edgeward_ebpf::{
    frame::{Cause, Parsed, opens_connection, parse},
    reset::{RESET4_BYTES, RESET6_BYTES, Segment},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = parse(&bytes);
    if let Err(difference) = independent::agrees(bytes, &whole) {
        panic!("{difference}");
    }
    if let Parsed::Ip(frame) = whole {
        let _ = opens_connection(&bytes, &frame);
        if Segment::read(&bytes, &frame).is_some() {
            let v4 = independent::address(frame.source.address()).is_ipv4();
            let reset = if v4 { RESET4_BYTES } else { RESET6_BYTES };
            assert!(usize::from(frame.network_offset) + reset <= bytes.len());
        }
    }
    for length in 0..bytes.len().min(LENGTH_MAX) {
        let prefix = bytes.get(..length).unwrap_or_default();
        match (parse(&prefix), whole) {
            (Parsed::Ip(cut), Parsed::Ip(frame)) => {
                assert_eq!(
                    (cut.source, cut.destination),
                    (frame.source, frame.destination)
                );
                assert_eq!(cut.network_offset, frame.network_offset);
                if cut.transport.is_none() {
                    assert_eq!(cut, frame);
                }
            }
            (Parsed::Unreadable(Cause::TruncatedLink | Cause::TruncatedIp), _) => {}
            (cut, whole) => assert_eq!(cut, whole),
        }
    }
});

/// No header that is read begins behind this many bytes in most frames; longer ones are only slower.
const LENGTH_MAX: usize = 256;
