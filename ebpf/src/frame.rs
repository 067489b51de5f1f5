//! From an Ethernet frame to the facts that the verdict needs.
//!
//! Reads Ethernet II, up to two VLAN tags (802.1Q, 802.1ad), IPv4 with options (RFC 791), IPv6 with
//! extension headers (RFC 8200, RFC 4302), first and later fragments, and the ports of TCP and UDP.
//! A source that can be read is always judged, whatever follows it; what cannot be read has a
//! [`Cause`]. Every offset has a name and every read is checked, so nothing here can panic.
#![expect(
    clippy::cast_possible_truncation,
    reason = "offsets are below 64 KiB and the halves of an address are what is wanted"
)]

/// Where bytes come from: a slice in the agent, the packet in the kernel.
pub trait Bytes {
    /// The `N` bytes at `offset`, or `None` past the end.
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// `word` itself. In the kernel it comes back by way of memory: the verifier then no longer knows by
    /// which of many paths it was made, and follows one instead of all.
    #[inline(always)]
    fn forget(&self, word: u64) -> u64 {
        word
    }
}

impl Bytes for &[u8] {
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk().copied()
    }
}

/// An address in host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// IPv4.
    V4(u32),
    /// IPv6, upper and lower half.
    V6(u64, u64),
}

/// An address as a frame holds it. Not an [`Address`]: the second half of an IPv4 one would be nothing, and
/// where both families come together the compiler would copy a register that nobody set, which the verifier
/// refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    is_v6: bool,
    hi: u64,
    lo: u64,
}

impl Held {
    /// An IPv4 address in host order.
    #[inline(always)]
    #[must_use]
    pub const fn v4(address: u32) -> Self {
        Self {
            is_v6: false,
            hi: 0,
            lo: address as u64,
        }
    }

    /// The halves of an IPv6 address in host order.
    #[inline(always)]
    #[must_use]
    pub const fn v6(hi: u64, lo: u64) -> Self {
        Self {
            is_v6: true,
            hi,
            lo,
        }
    }

    /// The address.
    #[inline(always)]
    #[must_use]
    pub const fn address(self) -> Address {
        if self.is_v6 {
            Address::V6(self.hi, self.lo)
        } else {
            Address::V4(self.lo as u32)
        }
    }
}

/// Which part of a fragmented datagram a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// The whole datagram.
    Whole,
    /// The first part: ports are there.
    First,
    /// A later part: no transport header, judged by its source alone.
    Later,
}

/// Why something could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cause {
    /// Shorter than an Ethernet header or a VLAN tag says.
    TruncatedLink = 0,
    /// More than two VLAN tags.
    TooManyTags = 1,
    /// Shorter than its IP header.
    TruncatedIp = 2,
    /// IP version contradicts the Ethernet type, or a header length is impossible.
    MalformedIp = 3,
    /// Shorter than an IPv6 extension header says.
    TruncatedExtension = 4,
    /// More extension headers than [`EXTENSIONS_MAX`].
    TooManyExtensions = 5,
    /// Shorter than its transport header.
    TruncatedTransport = 6,
}

impl Cause {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 7] = [
        Self::TruncatedLink,
        Self::TooManyTags,
        Self::TruncatedIp,
        Self::MalformedIp,
        Self::TruncatedExtension,
        Self::TooManyExtensions,
        Self::TruncatedTransport,
    ];

    /// Its name in metrics and events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TruncatedLink => "truncated_link",
            Self::TooManyTags => "too_many_tags",
            Self::TruncatedIp => "truncated_ip",
            Self::MalformedIp => "malformed_ip",
            Self::TruncatedExtension => "truncated_extension",
            Self::TooManyExtensions => "too_many_extensions",
            Self::TruncatedTransport => "truncated_transport",
        }
    }
}

/// What a frame says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Source address.
    pub source: Held,
    /// Destination address.
    pub destination: Held,
    /// IP protocol after all extension headers; 0 where they could not be read to the end.
    pub protocol: u8,
    /// Source port; 0 where there is none.
    pub source_port: u16,
    /// Destination port; 0 where there is none.
    pub destination_port: u16,
    /// Fragmentation.
    pub fragment: Fragment,
    /// Why the transport header could not be read, if it could not.
    pub transport: Option<Cause>,
    /// Offset of the IP header in bytes.
    pub network_offset: u16,
    /// Offset of the transport header in bytes; 0 where there is none.
    pub transport_offset: u16,
}

/// What a frame turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// IPv4 or IPv6 with a readable source.
    Ip(Frame),
    /// Something else (ARP, LLDP, …): none of our business.
    NotIp,
    /// The source cannot be read.
    Unreadable(Cause),
}

/// Extension headers read before giving up; real traffic has at most three or four.
pub const EXTENSIONS_MAX: usize = 8;

/// IP protocol numbers (IANA).
pub mod protocol {
    #![expect(missing_docs, reason = "the names are IANA's own")]
    pub const HOP_BY_HOP: u8 = 0;
    pub const ICMP: u8 = 1;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const AUTHENTICATION: u8 = 51;
    pub const ICMPV6: u8 = 58;
    pub const DESTINATION: u8 = 60;
    pub const MOBILITY: u8 = 135;
    pub const HIP: u8 = 139;
    pub const SHIM6: u8 = 140;
}

/// Reads one frame.
#[inline(always)]
pub fn parse<B: Bytes>(bytes: &B) -> Parsed {
    let Some(ethernet_type) = bytes.read::<2>(ETHERNET_TYPE) else {
        return Parsed::Unreadable(Cause::TruncatedLink);
    };
    let mut kind = u16::from_be_bytes(ethernet_type);
    let mut offset = ETHERNET_BYTES;
    let mut tags = 0;
    while tags < TAGS_MAX && is_tag(kind) {
        let Some(inner) = bytes.read::<2>(offset + 2) else {
            return Parsed::Unreadable(Cause::TruncatedLink);
        };
        kind = u16::from_be_bytes(inner);
        offset += TAG_BYTES;
        tags += 1;
    }
    match kind {
        ETHERTYPE_IPV4 => ipv4(bytes, offset),
        ETHERTYPE_IPV6 => ipv6(bytes, offset),
        other if is_tag(other) => Parsed::Unreadable(Cause::TooManyTags),
        _ => Parsed::NotIp,
    }
}

/// Whether the frame opens a connection: a TCP SYN, or a QUIC long-header Initial (RFC 9000, 9369).
#[inline(always)]
pub fn opens_connection<B: Bytes>(bytes: &B, frame: &Frame) -> bool {
    let transport = frame.transport_offset as usize;
    if transport == 0 {
        return false;
    }
    match frame.protocol {
        protocol::TCP => match bytes.read::<1>(transport + TCP_FLAGS) {
            Some([flags]) => flags & (TCP_SYN | TCP_ACK) == TCP_SYN,
            None => false,
        },
        protocol::UDP => match bytes.read::<5>(transport + UDP_BYTES) {
            Some([first, version @ ..]) => {
                let initial = if u32::from_be_bytes(version) == QUIC_V2 {
                    0xd0
                } else {
                    0xc0
                };
                first & 0xf0 == initial && version != [0; 4]
            }
            None => false,
        },
        _ => false,
    }
}

#[inline(always)]
const fn is_tag(kind: u16) -> bool {
    matches!(kind, ETHERTYPE_VLAN | ETHERTYPE_QINQ)
}

#[inline(always)]
fn ipv4<B: Bytes>(bytes: &B, offset: usize) -> Parsed {
    let Some(header) = bytes.read::<IPV4_BYTES>(offset) else {
        return Parsed::Unreadable(Cause::TruncatedIp);
    };
    let header_bytes = (header[0] & 0x0f) as usize * 4;
    let total_bytes = u16::from_be_bytes([header[2], header[3]]) as usize;
    if header[0] >> 4 != 4 || header_bytes < IPV4_BYTES || total_bytes < header_bytes {
        return Parsed::Unreadable(Cause::MalformedIp);
    }
    let fragment_word = u16::from_be_bytes([header[6], header[7]]);
    let fragment = if fragment_word & 0x1fff != 0 {
        Fragment::Later
    } else if fragment_word & 0x2000 != 0 {
        Fragment::First
    } else {
        Fragment::Whole
    };
    let mut frame = Frame {
        source: Held::v4(u32::from_be_bytes([
            header[12], header[13], header[14], header[15],
        ])),
        destination: Held::v4(u32::from_be_bytes([
            header[16], header[17], header[18], header[19],
        ])),
        protocol: header[9],
        source_port: 0,
        destination_port: 0,
        fragment,
        transport: None,
        network_offset: offset as u16,
        transport_offset: 0,
    };
    if !matches!(fragment, Fragment::Later) {
        transport(
            bytes,
            &mut frame,
            offset + header_bytes,
            total_bytes - header_bytes,
        );
    }
    Parsed::Ip(frame)
}

#[inline(always)]
fn ipv6<B: Bytes>(bytes: &B, offset: usize) -> Parsed {
    let Some(header) = bytes.read::<IPV6_BYTES>(offset) else {
        return Parsed::Unreadable(Cause::TruncatedIp);
    };
    let Some((source, destination)) = addresses6(&header) else {
        return Parsed::Unreadable(Cause::TruncatedIp);
    };
    if header[0] >> 4 != 6 {
        return Parsed::Unreadable(Cause::MalformedIp);
    }
    let mut frame = Frame {
        source,
        destination,
        protocol: header[6],
        source_port: 0,
        destination_port: 0,
        fragment: Fragment::Whole,
        transport: None,
        network_offset: offset as u16,
        transport_offset: 0,
    };
    let payload_bytes = match u16::from_be_bytes([header[4], header[5]]) as usize {
        0 => JUMBO_BYTES,
        bytes => bytes,
    };
    extensions(bytes, &mut frame, offset + IPV6_BYTES, payload_bytes);
    Parsed::Ip(frame)
}

/// Where the walk along the extension headers stands.
struct Walk {
    offset: usize,
    left: usize,
    next: u8,
    is_fragment: bool,
}

impl Walk {
    /// The same, with its history forgotten ([`Bytes::forget`]).
    #[inline(always)]
    fn settle<B: Bytes>(&self, bytes: &B) -> Self {
        let word = bytes.forget(
            (self.left as u64) << 32
                | (self.offset as u64 & 0x7fff) << 16
                | (self.is_fragment as u64) << 8
                | self.next as u64,
        );
        Self {
            offset: (word >> 16) as usize & 0x7fff,
            left: (word >> 32) as usize,
            next: word as u8,
            is_fragment: word >> 8 & 1 != 0,
        }
    }

    #[inline(always)]
    fn mark(&self, frame: &mut Frame) {
        if self.is_fragment {
            frame.fragment = Fragment::First;
        }
    }
}

/// Walks the extension headers to the transport header (RFC 8200 section 4).
#[inline(always)]
fn extensions<B: Bytes>(bytes: &B, frame: &mut Frame, start: usize, payload_bytes: usize) {
    let mut walk = Walk {
        offset: start,
        left: payload_bytes,
        next: frame.protocol,
        is_fragment: false,
    };
    let mut seen = 0;
    while is_extension(walk.next) && seen < EXTENSIONS_MAX {
        walk = walk.settle(bytes);
        let Some(header) = bytes.read::<8>(walk.offset) else {
            return unreadable(frame, &walk, Cause::TruncatedExtension);
        };
        let length = match walk.next {
            protocol::FRAGMENT => 8,
            protocol::AUTHENTICATION => (header[1] as usize + 2) * 4,
            _ => (header[1] as usize + 1) * 8,
        };
        if length > walk.left {
            return unreadable(frame, &walk, Cause::TruncatedExtension);
        }
        if walk.next == protocol::FRAGMENT {
            let word = u16::from_be_bytes([header[2], header[3]]);
            if word & 0xfff8 != 0 {
                frame.fragment = Fragment::Later;
                frame.protocol = header[0];
                return;
            }
            walk.is_fragment |= word & 1 != 0;
        }
        walk.next = header[0];
        walk.offset += length;
        walk.left -= length;
        seen += 1;
    }
    if seen > 0 {
        walk = walk.settle(bytes);
    }
    if is_extension(walk.next) {
        return unreadable(frame, &walk, Cause::TooManyExtensions);
    }
    walk.mark(frame);
    frame.protocol = walk.next;
    transport(bytes, frame, walk.offset, walk.left);
}

#[inline(always)]
const fn is_extension(next: u8) -> bool {
    matches!(
        next,
        protocol::HOP_BY_HOP
            | protocol::ROUTING
            | protocol::FRAGMENT
            | protocol::AUTHENTICATION
            | protocol::DESTINATION
            | protocol::MOBILITY
            | protocol::HIP
            | protocol::SHIM6
    )
}

#[inline(always)]
fn unreadable(frame: &mut Frame, walk: &Walk, cause: Cause) {
    walk.mark(frame);
    frame.protocol = 0;
    frame.transport = Some(cause);
}

/// Reads the ports. Trailing bytes beyond the IP length (Ethernet padding) are not a header.
#[inline(always)]
fn transport<B: Bytes>(bytes: &B, frame: &mut Frame, offset: usize, left: usize) {
    let needed = match frame.protocol {
        protocol::TCP => TCP_BYTES,
        protocol::UDP => UDP_BYTES,
        _ => return,
    };
    // Ports count without the rest of the header: a first fragment may be as short as eight bytes, and
    // would otherwise get around the rules of its port.
    if left >= PORTS_BYTES
        && let Some(ports) = bytes.read::<PORTS_BYTES>(offset)
    {
        frame.source_port = u16::from_be_bytes([ports[0], ports[1]]);
        frame.destination_port = u16::from_be_bytes([ports[2], ports[3]]);
    }
    if left < needed || bytes.read::<1>(offset + needed - 1).is_none() {
        frame.transport = Some(Cause::TruncatedTransport);
        return;
    }
    frame.transport_offset = offset as u16;
}

#[inline(always)]
fn addresses6(header: &[u8; IPV6_BYTES]) -> Option<(Held, Held)> {
    let (_, addresses) = header.split_first_chunk::<IPV6_SOURCE>()?;
    let (source, destination) = addresses.split_first_chunk::<16>()?;
    Some((address6(source), address6(destination.first_chunk()?)))
}

#[inline(always)]
const fn address6(bytes: &[u8; 16]) -> Held {
    let value = u128::from_be_bytes(*bytes);
    Held::v6((value >> 64) as u64, value as u64)
}

const ETHERNET_TYPE: usize = 12;
const ETHERNET_BYTES: usize = 14;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;
const TAG_BYTES: usize = 4;
const TAGS_MAX: usize = 2;
const IPV4_BYTES: usize = 20;
const IPV6_BYTES: usize = 40;
const IPV6_SOURCE: usize = 8;
/// A payload length of zero is a jumbogram (RFC 2675): the frame's end is the only limit.
const JUMBO_BYTES: usize = 0xffff_ffff;
const PORTS_BYTES: usize = 4;
const TCP_BYTES: usize = 20;
const TCP_FLAGS: usize = 13;
const TCP_SYN: u8 = 0x02;
const TCP_ACK: u8 = 0x10;
const UDP_BYTES: usize = 8;
const QUIC_V2: u32 = 0x6b33_43cf;

#[cfg(test)]
mod tests;
