//! Events from the kernel: decoding of the ring buffer's records.

use std::net::{IpAddr, Ipv6Addr};

use edgeward_ebpf::{abi, verdict::Outcome};

/// A judgement that the kernel reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// `CLOCK_BOOTTIME`, ns.
    pub boot_ns: u64,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Source port, 0 where there is none.
    pub source_port: u16,
    /// Destination port, likewise.
    pub destination_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Receiving interface.
    pub interface: u32,
    /// Frame length in bytes.
    pub length: u32,
    /// Outcome; `None` for a code of a newer program.
    pub outcome: Option<Outcome>,
    /// Whether it was acted on: in mode log it was not.
    pub enforced: bool,
    /// Score of the deciding entry.
    pub score: u8,
    /// Class of the deciding entry.
    pub class: u8,
    /// Events held back on that CPU since its last one.
    pub suppressed: u64,
}

impl Event {
    /// Decodes a record ([`abi::Event`]); `None` if it is too short.
    #[must_use]
    pub fn decode(record: &[u8]) -> Option<Self> {
        let mut reader = Reader(record);
        let boot_ns = u64::from_ne_bytes(reader.take()?);
        let source = address(reader.take()?);
        let destination = address(reader.take()?);
        let suppressed = u64::from_ne_bytes(reader.take()?);
        let length = u32::from_ne_bytes(reader.take()?);
        let source_port = u16::from_ne_bytes(reader.take()?);
        let destination_port = u16::from_ne_bytes(reader.take()?);
        let interface = u32::from_ne_bytes(reader.take()?);
        let [protocol, outcome, score, class] = reader.take()?;
        Some(Self {
            boot_ns,
            source,
            destination,
            source_port,
            destination_port,
            protocol,
            interface,
            length,
            outcome: Outcome::ALL
                .get(usize::from(outcome & !abi::EVENT_ENFORCED))
                .copied(),
            enforced: outcome & abi::EVENT_ENFORCED != 0,
            score,
            class,
            suppressed,
        })
    }
}

pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl Reader<'_> {
    pub(super) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }
}

pub(super) fn address(octets: [u8; 16]) -> IpAddr {
    Ipv6Addr::from(octets).to_canonical()
}

const _: () = assert!(size_of::<abi::Event>() == 64);

#[cfg(test)]
mod tests {

    use super::{Event, Outcome};

    #[test]
    fn a_record_decodes_and_a_short_one_does_not() {
        let mut record = [0u8; 64];
        record[8 + 10..8 + 16].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 1]);
        record[24] = 0x20;
        record[50..52].copy_from_slice(&443u16.to_ne_bytes());
        record[54..56].copy_from_slice(&0u16.to_ne_bytes());
        record[60..64].copy_from_slice(&[6, 0x85, 90, 3]);
        record[52..54].copy_from_slice(&[0; 2]);
        let event = Event::decode(&record).unwrap();
        assert_eq!(event.source.to_string(), "192.0.2.1");
        assert!(event.destination.is_ipv6());
        assert_eq!(
            (event.protocol, event.outcome),
            (6, Some(Outcome::Reputation))
        );
        assert!(event.enforced);
        assert_eq!((event.score, event.class), (90, 3));
        record[61] = 100;
        assert_eq!(Event::decode(&record).unwrap().outcome, None);
        assert_eq!(Event::decode(&record[..63]), None);
    }
}
