//! One frame of every kind that the kernel edge has to judge, each with what a right parser must find in it.

use std::net::IpAddr;

use super::{Extension, Frame, Part, TPID_8021AD, TPID_8021Q, ethernet, flags, ip};

/// The two ends of a frame. Both addresses are of one family.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    /// Where it comes from.
    pub source: IpAddr,
    /// Where it goes.
    pub target: IpAddr,
    /// Source port, for protocols that have ports.
    pub source_port: u16,
    /// Destination port, likewise.
    pub target_port: u16,
}

/// Whether a frame carries a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FragmentKind {
    /// No, or an IPv6 fragment header on a whole packet.
    None,
    /// The first: transport header present.
    First,
    /// A later one: no transport header.
    Later,
}

/// What a right parser finds.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub target: IpAddr,
    /// The transport protocol's number. Of a later fragment it is what its header says.
    pub protocol: u8,
    /// Source and destination port; `None` without ports or in a later fragment.
    pub ports: Option<(u16, u16)>,
    /// TCP flags; `None` without TCP or in a later fragment.
    pub tcp_flags: Option<u8>,
    /// Whole or fragment.
    pub fragment: FragmentKind,
    /// Bytes in front of the IP header.
    pub link_bytes: usize,
    /// Bytes up to the end of the basic IP header: with fewer no parser can know the addresses.
    pub addresses_end: usize,
    /// Bytes up to where the transport header begins (or would).
    pub transport_start: usize,
}

/// A frame with its name and its facts.
#[derive(Debug, Clone)]
pub struct Kind {
    /// Link, network and transport form, as `qinq/v6-routing/tcp-syn`.
    pub name: String,
    /// The whole frame.
    pub bytes: Vec<u8>,
    /// What is in it.
    pub facts: Facts,
}

/// Every link form with every network form with every transport form of the ends' family.
#[must_use]
pub fn catalogue(ends: Ends) -> Vec<Kind> {
    let mut kinds = Vec::new();
    for (link, tags) in LINKS {
        for (network, shape) in networks(ends.source.is_ipv6()) {
            for (transport, fill) in TRANSPORTS {
                let plain = Frame::between(ends.source, ends.target);
                let tagged = tags
                    .iter()
                    .fold(plain, |frame, (tpid, vlan)| frame.tag(*tpid, *vlan));
                let frame = fill(shape(tagged), ends);
                kinds.push(Kind {
                    name: format!("{link}/{network}/{transport}"),
                    bytes: frame.build(),
                    facts: facts(&frame, ends),
                });
            }
        }
    }
    kinds
}

/// Frames in which no parser finds an address to judge: other protocols, and broken packets. Name and bytes.
#[must_use]
pub fn strange(ends: Ends) -> Vec<(&'static str, Vec<u8>)> {
    let whole =
        Frame::between(ends.source, ends.target).udp(ends.source_port, ends.target_port, b"x");
    let packet = whole.build().split_off(super::ETHERNET_BYTES);
    let ether_type = if ends.source.is_ipv6() {
        0x86dd
    } else {
        0x0800
    };
    let with_first_byte = |byte: u8| {
        let rest: Vec<u8> = packet.iter().copied().skip(1).collect();
        ethernet(ether_type, &[&[byte], &rest[..]].concat())
    };
    let three_tags = whole
        .clone()
        .tag(TPID_8021AD, 1)
        .tag(TPID_8021Q, 2)
        .tag(TPID_8021Q, 3)
        .build();
    let mut frames = vec![
        ("arp", super::marker(0)),
        (
            "lldp",
            ethernet(0x88cc, &[2, 7, 4, 2, 0xed, 0, 0, 0, 1, 0, 0]),
        ),
        ("experimental", ethernet(0x88b5, b"edgeward lab")),
        ("ieee-802.3-length", ethernet(38, &[0x42; 38])),
        ("empty-payload", ethernet(ether_type, &[])),
        ("three-tags", three_tags),
        ("wrong-version", with_first_byte(0x55)),
        ("version-zero", with_first_byte(0x05)),
    ];
    if ends.source.is_ipv4() {
        // The header length counts words of 4 bytes and is at least 5.
        frames.push(("short-header-length", with_first_byte(0x44)));
        frames.push(("zero-header-length", with_first_byte(0x40)));
    }
    frames
}

/// A change that gives a frame its network form.
type Shape = fn(Frame) -> Frame;

/// A change that gives a frame its transport.
type Fill = fn(Frame, Ends) -> Frame;

const LINKS: [(&str, &[(u16, u16)]); 5] = [
    ("plain", &[]),
    ("vlan", &[(TPID_8021Q, 5)]),
    // Priority bits set: the identifier is only the lower twelve.
    ("service-vlan", &[(TPID_8021AD, 0xe007)]),
    ("qinq", &[(TPID_8021AD, 100), (TPID_8021Q, 200)]),
    ("double-8021q", &[(TPID_8021Q, 100), (TPID_8021Q, 0x6001)]),
];

const TRANSPORTS: [(&str, Fill); 6] = [
    ("tcp-syn", |frame, ends| {
        frame.tcp(ends.source_port, ends.target_port, flags::SYN)
    }),
    ("tcp-ack", |frame, ends| {
        frame.tcp(ends.source_port, ends.target_port, flags::ACK)
    }),
    ("tcp-rst", |frame, ends| {
        frame.tcp(ends.source_port, ends.target_port, flags::RST)
    }),
    ("udp", |frame, ends| {
        frame.udp(ends.source_port, ends.target_port, b"edgeward")
    }),
    ("quic", |frame, ends| {
        frame.quic(ends.source_port, ends.target_port)
    }),
    ("echo", |frame, _| frame.echo()),
];

const NETWORKS_V4: [(&str, Shape); 5] = [
    ("v4", |frame| frame),
    // Router alert.
    ("v4-options", |frame| frame.options(&[0x94, 4, 0, 0])),
    // No-operations up to the longest header there is.
    ("v4-options-max", |frame| {
        frame.options(&[1; ip::OPTIONS_BYTES_MAX])
    }),
    ("v4-first-fragment", Frame::first_fragment),
    ("v4-later-fragment", Frame::later_fragment),
];

const NETWORKS_V6: [(&str, Shape); 13] = [
    ("v6", |frame| frame),
    ("v6-hop-by-hop", |frame| {
        frame.extension(Extension::HopByHop)
    }),
    ("v6-long-hop-by-hop", |frame| {
        frame.extension(Extension::LongHopByHop)
    }),
    ("v6-destination", |frame| {
        frame.extension(Extension::DestinationOptions)
    }),
    ("v6-routing", |frame| frame.extension(Extension::Routing)),
    ("v6-authentication", |frame| {
        frame.extension(Extension::Authentication)
    }),
    ("v6-chain", |frame| {
        let chain = [
            Extension::HopByHop,
            Extension::Routing,
            Extension::Authentication,
            Extension::DestinationOptions,
        ];
        chain.into_iter().fold(frame, Frame::extension)
    }),
    ("v6-atomic-fragment", Frame::atomic_fragment),
    ("v6-first-fragment", Frame::first_fragment),
    ("v6-later-fragment", Frame::later_fragment),
    ("v6-hop-by-hop-first-fragment", |frame| {
        frame.extension(Extension::HopByHop).first_fragment()
    }),
    ("v6-hop-by-hop-later-fragment", |frame| {
        frame.extension(Extension::HopByHop).later_fragment()
    }),
    ("v6-first-fragment-destination", |frame| {
        frame
            .extension(Extension::DestinationOptions)
            .first_fragment()
    }),
];

fn networks(v6: bool) -> &'static [(&'static str, Shape)] {
    if v6 { &NETWORKS_V6 } else { &NETWORKS_V4 }
}

fn facts(frame: &Frame, ends: Ends) -> Facts {
    let v6 = ends.source.is_ipv6();
    let fragment = match frame.fragment {
        None | Some(Part::Whole) => FragmentKind::None,
        Some(Part::First) => FragmentKind::First,
        Some(Part::Later) => FragmentKind::Later,
    };
    let readable = fragment != FragmentKind::Later;
    let link_bytes = frame.link_bytes();
    let (address_bytes, header_bytes) = if v6 {
        (ip::HEADER_V6_BYTES, ip::header_v6_bytes(frame))
    } else {
        (ip::HEADER_V4_BYTES, ip::header_v4_bytes(frame))
    };
    Facts {
        source: ends.source,
        target: ends.target,
        protocol: frame.transport.protocol(v6),
        ports: frame.transport.ports().filter(|_| readable),
        tcp_flags: frame.transport.tcp_flags().filter(|_| readable),
        fragment,
        link_bytes,
        addresses_end: link_bytes + address_bytes,
        transport_start: link_bytes + header_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{LaxPacketHeaders, TransportHeader};
    use std::collections::HashSet;

    fn both_families() -> Vec<Kind> {
        let pairs = [
            ("203.0.113.66", "192.0.2.10"),
            ("2001:db8:bad::66", "2001:db8::10"),
        ];
        pairs
            .into_iter()
            .flat_map(|(source, target)| {
                catalogue(Ends {
                    source: source.parse().unwrap(),
                    target: target.parse().unwrap(),
                    source_port: 50_123,
                    target_port: 443,
                })
            })
            .collect()
    }

    #[test]
    fn names_are_unique_and_every_form_is_there() {
        let kinds = both_families();
        let names: HashSet<_> = kinds.iter().map(|kind| &kind.name).collect();
        assert_eq!(names.len(), kinds.len());
        assert_eq!(
            kinds.len(),
            LINKS.len() * TRANSPORTS.len() * (NETWORKS_V4.len() + NETWORKS_V6.len())
        );
    }

    /// An independent parser agrees with the facts and with every checksum.
    #[test]
    fn an_independent_parser_finds_the_same_facts() {
        for Kind { name, bytes, facts } in both_families() {
            let read = LaxPacketHeaders::from_ethernet(&bytes).unwrap();
            assert!(read.stop_err.is_none(), "{name}: {:?}", read.stop_err);
            match read.net.as_ref().unwrap() {
                etherparse::NetHeaders::Ipv4(header, _) => {
                    assert_eq!(IpAddr::from(header.source), facts.source, "{name}");
                    assert_eq!(IpAddr::from(header.destination), facts.target, "{name}");
                    assert_eq!(
                        header.header_checksum,
                        header.calc_header_checksum(),
                        "{name}"
                    );
                }
                etherparse::NetHeaders::Ipv6(header, _) => {
                    assert_eq!(IpAddr::from(header.source), facts.source, "{name}");
                    assert_eq!(IpAddr::from(header.destination), facts.target, "{name}");
                }
                etherparse::NetHeaders::Arp(_) => unreachable!("{name} is no ARP"),
            }
            let ports = match &read.transport {
                Some(TransportHeader::Tcp(tcp)) => Some((tcp.source_port, tcp.destination_port)),
                Some(TransportHeader::Udp(udp)) => Some((udp.source_port, udp.destination_port)),
                _ => None,
            };
            // etherparse does not read the transport of a first fragment.
            if facts.fragment == FragmentKind::None {
                assert_eq!(ports, facts.ports, "{name}");
                check_sum(&name, &read, &bytes);
            }
        }
    }

    fn check_sum(name: &str, read: &LaxPacketHeaders<'_>, bytes: &[u8]) {
        let payload = read.payload.slice();
        assert!(
            bytes.ends_with(payload),
            "{name}: padding behind the packet"
        );
        let (found, right) = match (read.net.as_ref().unwrap(), read.transport.as_ref().unwrap()) {
            (etherparse::NetHeaders::Ipv4(ip, _), TransportHeader::Tcp(tcp)) => {
                (tcp.checksum, tcp.calc_checksum_ipv4(ip, payload).unwrap())
            }
            (etherparse::NetHeaders::Ipv6(ip, _), TransportHeader::Tcp(tcp)) => {
                (tcp.checksum, tcp.calc_checksum_ipv6(ip, payload).unwrap())
            }
            (etherparse::NetHeaders::Ipv4(ip, _), TransportHeader::Udp(udp)) => {
                (udp.checksum, udp.calc_checksum_ipv4(ip, payload).unwrap())
            }
            (etherparse::NetHeaders::Ipv6(ip, _), TransportHeader::Udp(udp)) => {
                (udp.checksum, udp.calc_checksum_ipv6(ip, payload).unwrap())
            }
            (_, TransportHeader::Icmpv4(icmp)) => {
                (icmp.checksum, icmp.icmp_type.calc_checksum(payload))
            }
            (etherparse::NetHeaders::Ipv6(ip, _), TransportHeader::Icmpv6(icmp)) => (
                icmp.checksum,
                icmp.icmp_type
                    .calc_checksum(ip.source, ip.destination, payload)
                    .unwrap(),
            ),
            other => unreachable!("{name}: {other:?}"),
        };
        assert_eq!(found, right, "{name}");
    }
}
