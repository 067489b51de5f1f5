//! Resets checked field by field against RFC 9293, with checksums summed here from the bytes alone.

use super::{FIN, RESET4_BYTES, RESET6_BYTES, RST, SYN, Segment};
use crate::frame::{Address, Parsed, parse};
use std::{vec, vec::Vec};

const ACK: u8 = 0x10;
const PSH: u8 = 0x08;
const SEQUENCE: u32 = 0xffff_fff0;
const ACKNOWLEDGEMENT: u32 = 0x8000_0001;
const SOURCE4: u32 = 0xcb00_7142;
const TARGET4: u32 = 0xc000_020a;
const SOURCE6: (u64, u64) = (0x2001_0db8_0bad_ffff, 0xffff_ffff_ffff_0066);
const TARGET6: (u64, u64) = (0x2001_0db8_0000_0000, 0x10);

/// The one's complement sum of RFC 1071 over bytes; 0xffff over a packet with a right checksum.
fn sum(bytes: &[u8]) -> u16 {
    let mut total = 0_u64;
    for pair in bytes.chunks(2) {
        total += u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u64::from(*low));
    }
    while total > 0xffff {
        total = (total >> 16) + (total & 0xffff);
    }
    u16::try_from(total).unwrap()
}

/// A segment with `options` bytes of TCP options, as an Ethernet frame.
fn segment(v6: bool, flags: u8, options: usize, payload: usize) -> Vec<u8> {
    let mut tcp = vec![0xc3, 0x50, 0x01, 0xbb];
    tcp.extend(SEQUENCE.to_be_bytes());
    tcp.extend(ACKNOWLEDGEMENT.to_be_bytes());
    tcp.extend([
        u8::try_from((20 + options) / 4).unwrap() << 4,
        flags,
        1,
        0,
        0,
        0,
        0,
        0,
    ]);
    tcp.resize(20 + options, 1);
    tcp.resize(20 + options + payload, b'x');
    let mut bytes = vec![2; 12];
    if v6 {
        bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        bytes.extend(u16::try_from(tcp.len()).unwrap().to_be_bytes());
        bytes.extend([6, 64]);
        for half in [SOURCE6.0, SOURCE6.1, TARGET6.0, TARGET6.1] {
            bytes.extend(half.to_be_bytes());
        }
    } else {
        bytes.extend([0x08, 0x00, 0x45, 0]);
        bytes.extend(u16::try_from(20 + tcp.len()).unwrap().to_be_bytes());
        bytes.extend([0, 1, 0x40, 0, 64, 6, 0, 0]);
        bytes.extend(SOURCE4.to_be_bytes());
        bytes.extend(TARGET4.to_be_bytes());
    }
    bytes.extend(tcp);
    bytes
}

/// The answer to a frame, from its IP header on.
fn answer(bytes: &[u8]) -> Option<Vec<u8>> {
    let Parsed::Ip(frame) = parse(&bytes) else {
        panic!("readable")
    };
    let segment = Segment::read(&bytes, &frame)?;
    Some(
        match (frame.source.address(), frame.destination.address()) {
            (Address::V4(source), Address::V4(target)) => segment.answer4(source, target).to_vec(),
            (Address::V6(s0, s1), Address::V6(d0, d1)) => {
                segment.answer6((s0, s1), (d0, d1)).to_vec()
            }
            mixed => panic!("{mixed:?}"),
        },
    )
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Checks what every answer must be; returns its TCP header.
fn checked(v6: bool, sent: &[u8], reply: &[u8]) -> Vec<u8> {
    assert!(reply.len() + 14 <= sent.len(), "an answer must not amplify");
    let (tcp, pseudo) = if v6 {
        assert_eq!(reply.len(), RESET6_BYTES);
        assert_eq!(reply[0] >> 4, 6);
        assert_eq!(
            reply[4..8],
            [0, 20, 6, 64],
            "payload length, next header, hop limit"
        );
        let halves = [TARGET6.0, TARGET6.1, SOURCE6.0, SOURCE6.1];
        let addresses: Vec<u8> = halves.into_iter().flat_map(u64::to_be_bytes).collect();
        assert_eq!(reply[8..40], addresses[..], "addresses swapped");
        (
            &reply[40..],
            [&addresses[..], &[0, 0, 0, 20, 0, 0, 0, 6]].concat(),
        )
    } else {
        assert_eq!(reply.len(), RESET4_BYTES);
        assert_eq!((reply[0], reply[2], reply[3], reply[9]), (0x45, 0, 40, 6));
        assert!(reply[8] > 0, "a lifetime");
        assert_eq!(
            (word(reply, 12), word(reply, 16)),
            (TARGET4, SOURCE4),
            "addresses swapped"
        );
        assert_eq!(sum(&reply[..20]), 0xffff, "IPv4 header checksum");
        (&reply[20..], [&reply[12..20], &[0, 6, 0, 20]].concat())
    };
    assert_eq!(tcp[..4], [0x01, 0xbb, 0xc3, 0x50], "ports swapped");
    assert_eq!(tcp[12], 0x50, "no options");
    assert_eq!(tcp[14..16], [0, 0], "no window");
    assert_eq!(sum(&[&pseudo[..], tcp].concat()), 0xffff, "TCP checksum");
    tcp.to_vec()
}

#[test]
fn answers_follow_rfc_9293_in_both_families() {
    for v6 in [false, true] {
        for options in [0, 4, 20, 40] {
            for payload in [0, 1, 2, 9, 1400] {
                for flags in [
                    0,
                    SYN,
                    FIN,
                    PSH,
                    SYN | FIN,
                    ACK,
                    SYN | ACK,
                    FIN | ACK,
                    PSH | ACK,
                ] {
                    let sent = segment(v6, flags, options, payload);
                    let reply = answer(&sent).unwrap();
                    let tcp = checked(v6, &sent, &reply);
                    let what = (v6, options, payload, flags);
                    let length = u32::try_from(payload).unwrap()
                        + u32::from(flags & SYN != 0)
                        + u32::from(flags & FIN != 0);
                    if flags & ACK == 0 {
                        assert_eq!(word(&tcp, 4), 0, "{what:?}");
                        assert_eq!(word(&tcp, 8), SEQUENCE.wrapping_add(length), "{what:?}");
                        assert_eq!(tcp[13], RST | ACK, "{what:?}");
                    } else {
                        assert_eq!(word(&tcp, 4), ACKNOWLEDGEMENT, "{what:?}");
                        assert_eq!(word(&tcp, 8), 0, "{what:?}");
                        assert_eq!(tcp[13], RST, "{what:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn ethernet_padding_is_not_counted_as_payload() {
    for v6 in [false, true] {
        let exact = segment(v6, SYN, 0, 0);
        let mut padded = exact.clone();
        padded.resize(padded.len() + 6, 0);
        assert_eq!(answer(&exact), answer(&padded));
    }
}

#[test]
fn a_reset_is_never_answered() {
    for v6 in [false, true] {
        for flags in [RST, RST | ACK, RST | SYN] {
            assert_eq!(answer(&segment(v6, flags, 0, 0)), None, "{flags:#x}");
        }
    }
}

#[test]
fn what_has_no_whole_segment_is_not_answered() {
    // Offsets in the frame: IPv4 fragment word at 20, protocol at 23; IPv6 next header at 20.
    let changed = |v6: bool, at: usize, byte: u8| {
        let mut bytes = segment(v6, SYN, 0, 8);
        bytes[at] = byte;
        answer(&bytes)
    };
    assert_eq!(changed(false, 20, 0x20), None, "first fragment");
    assert_eq!(changed(false, 21, 0x01), None, "later fragment");
    assert_eq!(changed(false, 23, 17), None, "UDP");
    assert_eq!(changed(false, 23, 1), None, "ICMP");
    assert_eq!(changed(true, 20, 17), None, "UDP");
    assert_eq!(changed(true, 20, 58), None, "ICMPv6");
    for v6 in [false, true] {
        let whole = segment(v6, SYN, 0, 0);
        assert_eq!(answer(&whole[..whole.len() - 1]), None, "cut");
    }
    // With an extension header the answer would be built for a header that is elsewhere.
    let mut extended = segment(true, SYN, 0, 0);
    extended[20] = 60;
    extended[19] += 8;
    extended.splice(54..54, [6, 0, 1, 4, 0, 0, 0, 0]);
    assert_eq!(answer(&extended), None, "extension header");
}

/// A data offset that lies must not turn the length around.
#[test]
fn a_data_offset_past_the_packet_counts_no_payload() {
    for v6 in [false, true] {
        let mut bytes = segment(v6, SYN, 0, 4);
        let offset = if v6 { 54 } else { 34 } + 12;
        bytes[offset] = 0xf0;
        let tcp = checked(v6, &bytes, &answer(&bytes).unwrap());
        assert_eq!(word(&tcp, 8), SEQUENCE.wrapping_add(1), "only the SYN");
    }
}
