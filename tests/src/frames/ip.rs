//! IPv4 with options and IPv6 with its chain of extension headers, whole or as one of two fragments.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Frame, Part, checksum, store};

/// An IPv6 extension header, by what it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    /// Hop-by-hop options, 8 bytes of padding.
    HopByHop,
    /// Hop-by-hop options, 24 bytes: a length that is not zero.
    LongHopByHop,
    /// Destination options, 8 bytes of padding.
    DestinationOptions,
    /// A routing header (type 4, segment routing) without segments left, 24 bytes.
    Routing,
    /// An authentication header, 24 bytes, with its length in the words of its own.
    Authentication,
}

impl Extension {
    /// Its number in the next-header field before it.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::HopByHop | Self::LongHopByHop => 0,
            Self::Routing => 43,
            Self::Authentication => 51,
            Self::DestinationOptions => 60,
        }
    }

    /// Its bytes, with the number of what follows.
    fn bytes(self, next: u8) -> Vec<u8> {
        match self {
            // PadN over the rest.
            Self::HopByHop | Self::DestinationOptions => vec![next, 0, 1, 4, 0, 0, 0, 0],
            Self::LongHopByHop => {
                let mut bytes = vec![next, 2, 1, 20];
                bytes.resize(24, 0);
                bytes
            }
            Self::Routing => {
                let mut bytes = vec![next, 2, 4, 0, 0, 0, 0, 0];
                bytes.extend(SEGMENT.octets());
                bytes
            }
            // RFC 4302: length in 4-byte words, minus 2.
            Self::Authentication => {
                let mut bytes = vec![next, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1];
                bytes.resize(24, 0xa5);
                bytes
            }
        }
    }
}

/// `EtherType` and IP packet of a frame.
pub(super) fn packet(frame: &Frame) -> (u16, Vec<u8>) {
    match (frame.source, frame.target) {
        (IpAddr::V4(source), IpAddr::V4(target)) => (0x0800, packet_v4(frame, source, target)),
        (source, target) => (0x86dd, packet_v6(frame, as_v6(source), as_v6(target))),
    }
}

/// The address as IPv6, an IPv4 one mapped.
pub(super) fn as_v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// Length of the IPv4 header with its options.
pub(super) fn header_v4_bytes(frame: &Frame) -> usize {
    HEADER_V4_BYTES + frame.options.len().next_multiple_of(4)
}

/// Length of the IPv6 header with all extension headers, the fragment header included.
pub(super) fn header_v6_bytes(frame: &Frame) -> usize {
    let extensions: usize = frame
        .extensions
        .iter()
        .map(|kind| kind.bytes(0).len())
        .sum();
    let fragment = if frame.fragment.is_some() {
        FRAGMENT_HEADER_BYTES
    } else {
        0
    };
    HEADER_V6_BYTES + extensions + fragment
}

fn packet_v4(frame: &Frame, source: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let whole = frame.transport.bytes(source.into(), target.into());
    let (payload, offset_and_flags) = match frame.fragment {
        // Don't Fragment, as every modern stack sends it.
        None | Some(Part::Whole) => (whole, 0x4000),
        Some(part) => {
            let (payload, offset, more) = cut(whole, part);
            (payload, (offset / 8) | if more { 0x2000 } else { 0 })
        }
    };
    let header_bytes = header_v4_bytes(frame);
    let words = u8::try_from(header_bytes / 4).unwrap_or(15);
    let total = u16::try_from(header_bytes + payload.len()).unwrap_or(u16::MAX);
    let mut bytes = vec![0x40 | words, 0];
    bytes.extend(
        [total, IDENTIFICATION_V4, offset_and_flags]
            .map(u16::to_be_bytes)
            .concat(),
    );
    bytes.extend([frame.hops, frame.transport.protocol(false), 0, 0]);
    bytes.extend([source.octets(), target.octets()].concat());
    bytes.extend(&frame.options);
    bytes.resize(header_bytes, 0);
    let sum = checksum(&[&bytes]);
    store(&mut bytes, 10, sum);
    bytes.extend(payload);
    bytes
}

fn packet_v6(frame: &Frame, source: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let protocol = frame.transport.protocol(true);
    let mut tail = frame.transport.bytes(source.into(), target.into());
    let mut next = protocol;
    // From the inside out. What may be fragmented (RFC 8200 section 4.5) begins behind the hop-by-hop and routing
    // headers; the fragment header goes there.
    let (outer, inner): (Vec<Extension>, Vec<Extension>) = frame
        .extensions
        .iter()
        .copied()
        .partition(|kind| is_unfragmentable(*kind));
    for kind in inner.into_iter().rev() {
        tail = [kind.bytes(next), tail].concat();
        next = kind.number();
    }
    if let Some(part) = frame.fragment {
        let (piece, offset, more) = match part {
            Part::Whole => (tail, 0, false),
            Part::First | Part::Later => cut(tail, part),
        };
        // The offset counts units of 8 bytes from bit 3 on, which is the number of bytes itself.
        let mut header = vec![next, 0];
        header.extend((offset | u16::from(more)).to_be_bytes());
        header.extend(IDENTIFICATION_V6.to_be_bytes());
        tail = [header, piece].concat();
        next = FRAGMENT_HEADER;
    }
    for kind in outer.into_iter().rev() {
        tail = [kind.bytes(next), tail].concat();
        next = kind.number();
    }
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend(u16::try_from(tail.len()).unwrap_or(u16::MAX).to_be_bytes());
    bytes.extend([next, frame.hops]);
    bytes.extend([source.octets(), target.octets()].concat());
    bytes.extend(tail);
    bytes
}

/// Headers that routers on the way read, and that every fragment repeats.
fn is_unfragmentable(kind: Extension) -> bool {
    matches!(
        kind,
        Extension::HopByHop | Extension::LongHopByHop | Extension::Routing
    )
}

/// One of the two fragments of a payload: its bytes, its offset in bytes, and whether more follow.
///
/// A payload that is too short for two is filled up, so that the second never is empty; the checksum of the whole
/// is then wrong, which only who reassembles could see.
fn cut(mut whole: Vec<u8>, part: Part) -> (Vec<u8>, u16, bool) {
    if whole.len() <= FRAGMENT_BYTES {
        whole.resize(FRAGMENT_BYTES + 8, 0);
    }
    let rest = whole.split_off(FRAGMENT_BYTES);
    match part {
        Part::Later => (
            rest,
            u16::try_from(FRAGMENT_BYTES).unwrap_or_default(),
            false,
        ),
        Part::First | Part::Whole => (whole, 0, true),
    }
}

pub(super) const HEADER_V4_BYTES: usize = 20;
pub(super) const HEADER_V6_BYTES: usize = 40;
pub(super) const OPTIONS_BYTES_MAX: usize = 40;
const FRAGMENT_HEADER_BYTES: usize = 8;
const FRAGMENT_HEADER: u8 = 44;
/// Payload bytes in a first fragment: room for any transport header, and a multiple of 8 as fragments need it.
const FRAGMENT_BYTES: usize = 64;
const IDENTIFICATION_V4: u16 = 0xed9e;
const IDENTIFICATION_V6: u32 = 0xed9e_0001;
/// The one segment of a routing header.
const SEGMENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xfe, 0, 0, 0, 0, 1);
