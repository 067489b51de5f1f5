//! What a well-kept packet parser (etherparse) reads in a frame, and where the two may differ.
//!
//! Allowed differences, each with its reason:
//! - Tags: etherparse also follows 0x9100 and MACsec and reads a third tag; we read what the contract
//!   names and count the rest by cause.
//! - An IPv4 total length that does not hold its own header: etherparse in lax mode takes the frame's
//!   end instead; no host takes such a packet, and we call it malformed.
//! - A version that is not the Ethernet type's: etherparse goes by the version; no host takes such a
//!   packet, and we call it malformed.
//! - An IPv4 header cut inside its options: etherparse reads none of it; we judge the source, which is
//!   there.
//! - IPv4 behind an authentication header: etherparse looks behind it; a service is never reached so
//!   without IPsec, and its port is not judged.
//! - Ports that only we see: etherparse wants a whole and valid transport header, reads none in a first
//!   fragment, and stops at extension headers in an order or number that RFC 8200 only recommends
//!   against. Ports that both see must be the same.

use std::net::IpAddr;

use edgeward_ebpf::frame::{Address, Cause, Fragment, Frame, Parsed, protocol};
use etherparse::{LaxPacketHeaders, NetHeaders, TransportHeader};

/// The other parser's findings.
struct Independent {
    source: IpAddr,
    destination: IpAddr,
    fragment: Option<Fragment>,
    ports: Option<(u16, u16)>,
    /// No extension headers, not a fragment: nothing that would excuse missing ports.
    plain: bool,
}

/// Compares our reading of a frame with the other parser's; the error says where they differ.
pub(crate) fn agrees(bytes: &[u8], ours: &Parsed) -> Result<(), String> {
    let theirs = read(bytes);
    match (ours, theirs) {
        (Parsed::Ip(frame), Some(theirs)) => same(bytes, frame, &theirs),
        (Parsed::Ip(frame), None) if is_cut_in_options(bytes, frame) => Ok(()),
        (Parsed::Ip(frame), None) => Err(format!("only we read an address: {frame:?}")),
        (_, None) | (Parsed::Unreadable(Cause::TooManyTags), Some(_)) => Ok(()),
        (Parsed::NotIp, Some(_)) if has_other_tag(bytes) => Ok(()),
        (Parsed::Unreadable(Cause::MalformedIp | Cause::TruncatedIp), Some(_))
            if contradicts_itself(bytes) =>
        {
            Ok(())
        }
        (ours, Some(theirs)) => Err(format!(
            "{ours:?}, and the other parser reads {}",
            theirs.source
        )),
    }
}

fn same(bytes: &[u8], ours: &Frame, theirs: &Independent) -> Result<(), String> {
    let addresses = (
        address(ours.source.address()),
        address(ours.destination.address()),
    );
    if addresses != (theirs.source, theirs.destination) {
        return Err(format!(
            "addresses {addresses:?} and not {} to {}",
            theirs.source, theirs.destination
        ));
    }
    let ended_early = matches!(
        ours.transport,
        Some(Cause::TruncatedExtension | Cause::TooManyExtensions)
    );
    if let Some(fragment) = theirs.fragment
        && fragment != ours.fragment
        && !ended_early
    {
        return Err(format!("{:?} and not {fragment:?}", ours.fragment));
    }
    let behind_authentication = matches!(ours.source.address(), Address::V4(_))
        && ours.protocol == protocol::AUTHENTICATION;
    let found = (ours.source_port, ours.destination_port);
    match theirs.ports {
        Some(_) if behind_authentication || ended_early => Ok(()),
        Some(ports) if ports != found => Err(format!("ports {found:?} and not {ports:?}")),
        None if ours.transport_offset != 0 && theirs.plain && is_sound(bytes, ours) => {
            Err(format!("only we read ports {found:?}"))
        }
        _ => Ok(()),
    }
}

/// Whether the frame ends inside the IPv4 header that it announces.
fn is_cut_in_options(bytes: &[u8], frame: &Frame) -> bool {
    let at = usize::from(frame.network_offset);
    let words = bytes.get(at).map_or(0, |first| usize::from(first & 0xf));
    matches!(frame.source.address(), Address::V4(_)) && bytes.len() < at + words * 4
}

/// Whether the transport header's own length is one that a strict parser takes.
fn is_sound(bytes: &[u8], frame: &Frame) -> bool {
    let at = usize::from(frame.transport_offset);
    let byte = |offset: usize| bytes.get(at + offset).copied().map(usize::from);
    match frame.protocol {
        protocol::TCP => byte(12).is_some_and(|first| first >> 4 == 5),
        _ => byte(4)
            .zip(byte(5))
            .is_some_and(|(high, low)| high << 8 | low >= 8),
    }
}

/// By whole headers: the iterator over slices of extension headers reads past their end on a broken chain
/// (etherparse 0.21.0, a precondition that debug builds check).
fn read(bytes: &[u8]) -> Option<Independent> {
    let packet = LaxPacketHeaders::from_ethernet(bytes).ok()?;
    let (source, destination, fragment, plain): (IpAddr, IpAddr, _, _) = match packet.net? {
        NetHeaders::Ipv4(ip, _) => {
            let fragment = fragment(ip.fragment_offset.value() != 0, ip.more_fragments);
            let plain = fragment == Fragment::Whole;
            (
                ip.source.into(),
                ip.destination.into(),
                Some(fragment),
                plain,
            )
        }
        NetHeaders::Ipv6(ip, extensions) => {
            // Behind a fragment header with another extension header may be a second fragment header.
            let part = extensions.fragment.as_ref();
            let last = part.filter(|part| !part.next_header.is_ipv6_ext_header_value());
            let found =
                last.map(|part| fragment(part.fragment_offset.value() != 0, part.more_fragments));
            let plain = matches!(ip.next_header.0, protocol::TCP | protocol::UDP);
            (ip.source.into(), ip.destination.into(), found, plain)
        }
        NetHeaders::Arp(_) => return None,
    };
    let ports = match packet.transport {
        Some(TransportHeader::Tcp(tcp)) => Some((tcp.source_port, tcp.destination_port)),
        Some(TransportHeader::Udp(udp)) => Some((udp.source_port, udp.destination_port)),
        _ => None,
    };
    Some(Independent {
        source,
        destination,
        fragment,
        ports,
        plain,
    })
}

fn fragment(later: bool, more: bool) -> Fragment {
    match (later, more) {
        (true, _) => Fragment::Later,
        (false, true) => Fragment::First,
        (false, false) => Fragment::Whole,
    }
}

/// An address of ours as everybody writes it.
pub(crate) fn address(address: Address) -> IpAddr {
    match address {
        Address::V4(v4) => IpAddr::V4(v4.into()),
        Address::V6(hi, lo) => IpAddr::V6((u128::from(hi) << 64 | u128::from(lo)).into()),
    }
}

/// Types of the tags from the outside in, up to the first type that is none of them.
fn types(bytes: &[u8]) -> Vec<u16> {
    let mut found = Vec::new();
    for at in [12, 16, 20] {
        let Some(pair) = bytes.get(at..at + 2) else {
            break;
        };
        let kind = pair
            .iter()
            .fold(0, |kind, byte| kind << 8 | u16::from(*byte));
        found.push(kind);
        if ![0x8100, 0x88a8].contains(&kind) {
            break;
        }
    }
    found
}

fn has_other_tag(bytes: &[u8]) -> bool {
    types(bytes)
        .last()
        .is_some_and(|last| [0x9100, 0x88e5].contains(last))
}

/// An IPv4 total length that does not hold its own header, or a version that is not the type's.
fn contradicts_itself(bytes: &[u8]) -> bool {
    let found = types(bytes);
    let at = 14 + 4 * found.len().saturating_sub(1);
    let byte = |offset: usize| bytes.get(at + offset).copied().map_or(0, usize::from);
    match found.last() {
        Some(0x0800) => byte(0) >> 4 != 4 || (byte(2) << 8 | byte(3)) < (byte(0) & 0xf) * 4,
        Some(0x86dd) => byte(0) >> 4 != 6,
        _ => false,
    }
}
