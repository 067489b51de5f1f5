//! Request heads that the kernel has copied: decoding of the ring buffer's records.

use std::net::IpAddr;

use edgeward_ebpf::abi;

use super::events::{Reader, address};

/// The beginning of a segment in which a request begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObservedHead<'a> {
    /// `CLOCK_BOOTTIME`, ns.
    pub boot_ns: u64,
    /// The trusted proxy.
    pub source: IpAddr,
    /// The application's address.
    pub destination: IpAddr,
    /// The proxy's port.
    pub source_port: u16,
    /// The application's port.
    pub destination_port: u16,
    /// As much of the segment as was copied.
    pub bytes: &'a [u8],
    /// Whether that is all of the segment.
    pub whole: bool,
}

impl<'a> ObservedHead<'a> {
    /// Decodes a record ([`abi::ObservedHead`]); `None` if it is too short.
    #[must_use]
    pub fn decode(record: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(record);
        let boot_ns = u64::from_ne_bytes(reader.take()?);
        let source = address(reader.take()?);
        let destination = address(reader.take()?);
        let source_port = u16::from_ne_bytes(reader.take()?);
        let destination_port = u16::from_ne_bytes(reader.take()?);
        let length = u32::from_ne_bytes(reader.take()?);
        let segment = u32::from_ne_bytes(reader.take()?);
        let _reserved: [u8; 4] = reader.take()?;
        let bytes = reader.0.get(..usize::try_from(length).ok()?)?;
        Some(Self {
            boot_ns,
            source,
            destination,
            source_port,
            destination_port,
            bytes,
            whole: length == segment,
        })
    }
}

const _: () = assert!(size_of::<abi::ObservedHead>() == 56 + abi::HEAD_BYTES_MAX);

#[cfg(test)]
mod tests {

    use edgeward_ebpf::abi::HEAD_BYTES_MAX;

    use super::ObservedHead;

    fn record(length: u32, segment: u32) -> Vec<u8> {
        let mut record = vec![0; 56 + HEAD_BYTES_MAX];
        record[8 + 10..8 + 16].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 1]);
        record[24] = 0x20;
        record[40..42].copy_from_slice(&50_000u16.to_ne_bytes());
        record[42..44].copy_from_slice(&80u16.to_ne_bytes());
        record[44..48].copy_from_slice(&length.to_ne_bytes());
        record[48..52].copy_from_slice(&segment.to_ne_bytes());
        record[56..60].copy_from_slice(b"GET ");
        record
    }

    #[test]
    fn a_record_decodes_and_a_short_one_does_not() {
        let bytes = record(4, 4);
        let head = ObservedHead::decode(&bytes).unwrap();
        assert_eq!(head.source.to_string(), "192.0.2.1");
        assert!(head.destination.is_ipv6());
        assert_eq!((head.source_port, head.destination_port), (50_000, 80));
        assert_eq!((head.bytes, head.whole), (&b"GET "[..], true));
        assert!(!ObservedHead::decode(&record(4, 5)).unwrap().whole);
        for (length, cut) in [
            (4, 59),
            (4, 55),
            (2049, 56 + HEAD_BYTES_MAX),
            (u32::MAX, 60),
        ] {
            assert_eq!(ObservedHead::decode(&record(length, 9)[..cut]), None);
        }
    }
}
