//! The parser on tables: every form of frame whole, every form cut at every byte, and each field that
//! can contradict itself.

use super::{
    Cause, EXTENSIONS_MAX, Fragment, Frame, Held, Parsed, opens_connection, parse, protocol,
};
use std::{format, string::String, vec, vec::Vec};

/// A frame with what a right parser finds, and where each of its headers begins.
struct Sample {
    name: String,
    bytes: Vec<u8>,
    frame: Frame,
    link: usize,
    /// Bytes of the basic IP header.
    basic: usize,
    /// Where each extension header begins.
    extensions: Vec<usize>,
    /// Where the transport header ends that must be there whole.
    transport_end: Option<usize>,
}

const LINKS: [(&str, &[u16]); 5] = [
    ("plain", &[]),
    ("vlan", &[0x8100]),
    ("service", &[0x88a8]),
    ("qinq", &[0x88a8, 0x8100]),
    ("double", &[0x8100, 0x8100]),
];
const SOURCE4: u32 = 0xcb00_7142;
const TARGET4: u32 = 0xc000_020a;
const SOURCE6: (u64, u64) = (0x2001_0db8_0bad_0000, 0x66);
const TARGET6: (u64, u64) = (0x2001_0db8_0000_0000, 0x10);

fn ethernet(tags: &[u16], kind: u16) -> Vec<u8> {
    let mut bytes = vec![2; 12];
    for tag in tags {
        bytes.extend(tag.to_be_bytes());
        bytes.extend([0xe0, 7]);
    }
    bytes.extend(kind.to_be_bytes());
    bytes
}

/// Ports 50,123 and 443 first, the rest zero; TCP with the flag SYN.
fn transport_bytes(protocol: u8) -> Vec<u8> {
    let mut bytes = vec![0xc3, 0xcb, 0x01, 0xbb];
    match protocol {
        protocol::TCP => {
            bytes.resize(20, 0);
            bytes[12] = 0x50;
            bytes[13] = 0x02;
        }
        _ => bytes.resize(12, 0),
    }
    bytes
}

fn needed(protocol: u8) -> Option<usize> {
    match protocol {
        protocol::TCP => Some(20),
        protocol::UDP => Some(8),
        _ => None,
    }
}

fn ipv4(options: usize, fragment: u16, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let header = 20 + options;
    let mut bytes = vec![0x40 | u8::try_from(header / 4).unwrap(), 0];
    bytes.extend(u16::try_from(header + payload.len()).unwrap().to_be_bytes());
    bytes.extend([0, 1]);
    bytes.extend(fragment.to_be_bytes());
    bytes.extend([64, protocol, 0, 0]);
    bytes.extend(SOURCE4.to_be_bytes());
    bytes.extend(TARGET4.to_be_bytes());
    bytes.resize(header, 1);
    bytes.extend(payload);
    bytes
}

/// Extension headers by number and length in bytes; a fragment header has `fragment` as its offset word.
fn ipv6(chain: &[(u8, usize)], fragment: u16, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut tail = Vec::new();
    for (index, (number, length)) in chain.iter().enumerate() {
        let next = chain.get(index + 1).map_or(protocol, |(next, _)| *next);
        let mut header = vec![0; *length];
        header[0] = next;
        header[1] = match *number {
            protocol::FRAGMENT => 0,
            protocol::AUTHENTICATION => u8::try_from(length / 4 - 2).unwrap(),
            _ => u8::try_from(length / 8 - 1).unwrap(),
        };
        if *number == protocol::FRAGMENT {
            header[2..4].copy_from_slice(&fragment.to_be_bytes());
        }
        tail.extend(header);
    }
    tail.extend(payload);
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend(u16::try_from(tail.len()).unwrap().to_be_bytes());
    bytes.extend([chain.first().map_or(protocol, |(first, _)| *first), 64]);
    for half in [SOURCE6.0, SOURCE6.1, TARGET6.0, TARGET6.1] {
        bytes.extend(half.to_be_bytes());
    }
    bytes.extend(tail);
    bytes
}

fn samples() -> Vec<Sample> {
    let mut all = Vec::new();
    for (link, tags) in LINKS {
        for transport in [
            protocol::TCP,
            protocol::UDP,
            protocol::ICMP,
            protocol::ICMPV6,
            47,
            59,
        ] {
            for (network, options, word, fragment) in [
                ("v4", 0, 0x4000, Fragment::Whole),
                ("v4-options", 4, 0, Fragment::Whole),
                ("v4-options-max", 40, 0x4000, Fragment::Whole),
                ("v4-first", 0, 0x2000, Fragment::First),
                ("v4-later", 0, 0x2001, Fragment::Later),
                ("v4-last", 8, 0x1fff, Fragment::Later),
            ] {
                let name = format!("{link}/{network}/{transport}");
                all.push(sample4(name, tags, (options, word, fragment), transport));
            }
            for (network, chain, word, fragment) in CHAINS {
                let name = format!("{link}/{network}/{transport}");
                all.push(sample6(name, tags, (chain, word, fragment), transport));
            }
        }
    }
    all
}

type Chain = (&'static str, &'static [(u8, usize)], u16, Fragment);

const CHAINS: [Chain; 12] = [
    ("v6", &[], 0, Fragment::Whole),
    ("v6-hop-by-hop", &[(0, 8)], 0, Fragment::Whole),
    ("v6-long", &[(0, 264)], 0, Fragment::Whole),
    ("v6-longest", &[(60, 2048)], 0, Fragment::Whole),
    ("v6-routing", &[(43, 24)], 0, Fragment::Whole),
    ("v6-authentication", &[(51, 12)], 0, Fragment::Whole),
    (
        "v6-mobility-hip-shim",
        &[(135, 16), (139, 8), (140, 8)],
        0,
        Fragment::Whole,
    ),
    (
        "v6-most",
        &[
            (0, 8),
            (60, 8),
            (43, 8),
            (44, 8),
            (51, 24),
            (60, 8),
            (135, 8),
            (60, 8),
        ],
        0,
        Fragment::Whole,
    ),
    ("v6-atomic", &[(44, 8)], 0, Fragment::Whole),
    ("v6-first", &[(0, 8), (44, 8), (60, 8)], 1, Fragment::First),
    ("v6-later", &[(44, 8)], 8, Fragment::Later),
    (
        "v6-routing-later",
        &[(0, 16), (43, 8), (44, 8)],
        0xfff8,
        Fragment::Later,
    ),
];

fn sample4(name: String, tags: &[u16], shape: (usize, u16, Fragment), transport: u8) -> Sample {
    let (options, word, fragment) = shape;
    let link = 14 + 4 * tags.len();
    let start = link + 20 + options;
    let has_ports = needed(transport).filter(|_| fragment != Fragment::Later);
    let mut bytes = ethernet(tags, 0x0800);
    bytes.extend(ipv4(options, word, transport, &transport_bytes(transport)));
    Sample {
        name,
        bytes,
        frame: Frame {
            source: Held::v4(SOURCE4),
            destination: Held::v4(TARGET4),
            ..facts(transport, fragment, link, start, has_ports.is_some())
        },
        link,
        basic: 20,
        extensions: Vec::new(),
        transport_end: has_ports.map(|length| start + length),
    }
}

fn sample6(
    name: String,
    tags: &[u16],
    shape: (&[(u8, usize)], u16, Fragment),
    transport: u8,
) -> Sample {
    let (chain, word, fragment) = shape;
    let link = 14 + 4 * tags.len();
    let mut start = link + 40;
    let mut extensions = Vec::new();
    for (_, length) in chain {
        extensions.push(start);
        start += length;
    }
    let has_ports = needed(transport).filter(|_| fragment != Fragment::Later);
    let mut bytes = ethernet(tags, 0x86dd);
    bytes.extend(ipv6(chain, word, transport, &transport_bytes(transport)));
    Sample {
        name,
        bytes,
        frame: Frame {
            source: Held::v6(SOURCE6.0, SOURCE6.1),
            destination: Held::v6(TARGET6.0, TARGET6.1),
            ..facts(transport, fragment, link, start, has_ports.is_some())
        },
        link,
        basic: 40,
        extensions,
        transport_end: has_ports.map(|length| start + length),
    }
}

fn facts(transport: u8, fragment: Fragment, link: usize, start: usize, has_ports: bool) -> Frame {
    Frame {
        source: Held::v4(0),
        destination: Held::v4(0),
        protocol: transport,
        source_port: if has_ports { 50_123 } else { 0 },
        destination_port: if has_ports { 443 } else { 0 },
        fragment,
        transport: None,
        network_offset: u16::try_from(link).unwrap(),
        transport_offset: if has_ports {
            u16::try_from(start).unwrap()
        } else {
            0
        },
    }
}

impl Sample {
    /// What must be found in the first `length` bytes.
    fn cut(&self, length: usize) -> Parsed {
        if length < self.link {
            return Parsed::Unreadable(Cause::TruncatedLink);
        }
        if length < self.link + self.basic {
            return Parsed::Unreadable(Cause::TruncatedIp);
        }
        let mut frame = self.frame;
        // Eight bytes of an extension header say where the next one begins.
        if self.extensions.iter().any(|start| length < start + 8) {
            frame.protocol = 0;
            frame.transport = Some(Cause::TruncatedExtension);
            // A fragment header that has been read stays read; one behind the cut is not known.
            if !self.reads_fragment(length) {
                frame.fragment = Fragment::Whole;
            }
        } else if self.transport_end.is_some_and(|end| length < end) {
            frame.transport = Some(Cause::TruncatedTransport);
            if length >= usize::from(frame.transport_offset) + 4 {
                frame.transport_offset = 0;
                return Parsed::Ip(frame);
            }
        } else {
            return Parsed::Ip(frame);
        }
        (
            frame.source_port,
            frame.destination_port,
            frame.transport_offset,
        ) = (0, 0, 0);
        Parsed::Ip(frame)
    }

    fn reads_fragment(&self, length: usize) -> bool {
        let numbers = std::iter::once(self.link + 6).chain(self.extensions.iter().copied());
        numbers
            .zip(&self.extensions)
            .any(|(number, start)| self.bytes[number] == protocol::FRAGMENT && length >= start + 8)
    }
}

#[test]
fn every_form_is_read_whole_and_cut_at_every_byte() {
    let mut cuts = 0;
    for sample in samples() {
        for length in 0..=sample.bytes.len() {
            let found = parse(&&sample.bytes[..length]);
            assert_eq!(found, sample.cut(length), "{} cut to {length}", sample.name);
            cuts += 1;
        }
        let mut padded = sample.bytes.clone();
        padded.resize(padded.len() + 46, 0);
        assert_eq!(
            parse(&&padded[..]),
            Parsed::Ip(sample.frame),
            "{} padded",
            sample.name
        );
    }
    assert!(cuts > 50_000, "only {cuts}");
}

#[test]
fn what_is_no_ip_is_left_alone() {
    for kind in [0x0806, 0x88cc, 0x0026, 0x86de, 0x07ff] {
        assert_eq!(parse(&&ethernet(&[], kind)[..]), Parsed::NotIp, "{kind:#x}");
        assert_eq!(
            parse(&&ethernet(&[0x8100], kind)[..]),
            Parsed::NotIp,
            "{kind:#x} tagged"
        );
    }
    let three = ethernet(&[0x88a8, 0x8100, 0x8100], 0x0800);
    assert_eq!(parse(&&three[..]), Parsed::Unreadable(Cause::TooManyTags));
}

/// Changes one byte of a good packet and says what must come of it.
fn changed(packet: &[u8], kind: u16, at: usize, byte: u8) -> Parsed {
    let mut bytes = ethernet(&[], kind);
    bytes.extend(packet);
    bytes[14 + at] = byte;
    parse(&&bytes[..])
}

#[test]
fn impossible_ip_headers_are_malformed() {
    let v4 = ipv4(0, 0, protocol::UDP, &transport_bytes(protocol::UDP));
    let v6 = ipv6(&[], 0, protocol::UDP, &transport_bytes(protocol::UDP));
    let malformed = Parsed::Unreadable(Cause::MalformedIp);
    for first in (0..=255).filter(|first| first >> 4 != 4 || first & 0xf < 5) {
        assert_eq!(changed(&v4, 0x0800, 0, first), malformed, "IPv4 {first:#x}");
    }
    for first in (0..=255).filter(|first| first >> 4 != 6) {
        assert_eq!(changed(&v6, 0x86dd, 0, first), malformed, "IPv6 {first:#x}");
    }
    for first in 0x60..=0x6f {
        assert!(
            matches!(changed(&v6, 0x86dd, 0, first), Parsed::Ip(_)),
            "traffic class {first:#x}"
        );
    }
    // A total length that does not hold its own header.
    assert_eq!(changed(&v4, 0x0800, 3, 19), malformed);
    assert_eq!(
        changed(&v4, 0x0800, 0, 0x49),
        malformed,
        "36 bytes of header in 32 of packet"
    );
}

#[test]
fn padding_behind_the_ip_length_is_no_header() {
    let v4 = ipv4(0, 0, protocol::TCP, &transport_bytes(protocol::TCP));
    let v6 = ipv6(&[(0, 8)], 0, protocol::TCP, &transport_bytes(protocol::TCP));
    for (packet, kind, at, enough) in [(&v4, 0x0800, 3, 40), (&v6, 0x86dd, 5, 28)] {
        for length in 20..=enough {
            let Parsed::Ip(frame) = changed(packet, kind, at, length) else {
                panic!("{length} is readable");
            };
            let cause = (length < enough).then_some(Cause::TruncatedTransport);
            assert_eq!(frame.transport, cause, "{kind:#x} with length {length}");
            let has_ports = length + 16 >= enough;
            assert_eq!(frame.destination_port, if has_ports { 443 } else { 0 });
        }
    }
    // An extension header that is longer than the packet says it is.
    let Parsed::Ip(frame) = changed(&v6, 0x86dd, 5, 7) else {
        panic!("the source is readable")
    };
    assert_eq!(frame.transport, Some(Cause::TruncatedExtension));
    // A length of zero is a jumbogram: the frame's end counts.
    let Parsed::Ip(frame) = changed(&v6, 0x86dd, 5, 0) else {
        panic!("the source is readable")
    };
    assert_eq!((frame.transport, frame.destination_port), (None, 443));
}

/// A first fragment of eight bytes: the ports are there, the rest of the TCP header comes later.
#[test]
fn the_smallest_first_fragment_has_ports() {
    let mut bytes = ethernet(&[], 0x0800);
    bytes.extend(ipv4(
        0,
        0x2000,
        protocol::TCP,
        &transport_bytes(protocol::TCP)[..8],
    ));
    let Parsed::Ip(frame) = parse(&&bytes[..]) else {
        panic!("the source is readable")
    };
    assert_eq!((frame.source_port, frame.destination_port), (50_123, 443));
    assert_eq!(frame.transport, Some(Cause::TruncatedTransport));
    assert!(
        !opens_connection(&&bytes[..], &frame),
        "its flags cannot be read"
    );
}

#[test]
fn more_extension_headers_than_the_limit_are_not_followed() {
    for count in 0..EXTENSIONS_MAX + 3 {
        let chain = vec![(protocol::DESTINATION, 8); count];
        let mut bytes = ethernet(&[], 0x86dd);
        bytes.extend(ipv6(
            &chain,
            0,
            protocol::TCP,
            &transport_bytes(protocol::TCP),
        ));
        let Parsed::Ip(frame) = parse(&&bytes[..]) else {
            panic!("the source is readable")
        };
        if count <= EXTENSIONS_MAX {
            assert_eq!(
                (frame.transport, frame.destination_port),
                (None, 443),
                "{count}"
            );
        } else {
            assert_eq!(
                (frame.transport, frame.protocol),
                (Some(Cause::TooManyExtensions), 0),
                "{count}"
            );
        }
    }
}

#[test]
fn connections_open_with_syn_or_a_quic_initial() {
    let opens = |protocol: u8, at: usize, change: &[u8]| {
        let mut transport = transport_bytes(protocol);
        transport.resize(transport.len() + 8, 0);
        transport[at..at + change.len()].copy_from_slice(change);
        let mut bytes = ethernet(&[0x8100], 0x0800);
        bytes.extend(ipv4(4, 0, protocol, &transport));
        let Parsed::Ip(frame) = parse(&&bytes[..]) else {
            panic!("readable")
        };
        opens_connection(&&bytes[..], &frame)
    };
    for flags in 0..=255_u8 {
        let syn_alone = flags & 0x12 == 0x02;
        assert_eq!(
            opens(protocol::TCP, 13, &[flags]),
            syn_alone,
            "flags {flags:#x}"
        );
    }
    for (first, version, expected, name) in [
        (0xc3, 1, true, "version 1 initial"),
        (0xd3, 1, false, "version 1 0-RTT"),
        (0xe3, 1, false, "version 1 handshake"),
        (0xd3, 0x6b33_43cf, true, "version 2 initial"),
        (0xc3, 0x6b33_43cf, false, "version 2 retry"),
        (0xc3, 0xff00_001d, true, "a draft"),
        (0xc0, 0, false, "version negotiation"),
        (0x43, 1, false, "short header"),
        (0x83, 1, false, "fixed bit not set"),
    ] {
        let [a, b, c, d] = u32::to_be_bytes(version);
        assert_eq!(
            opens(protocol::UDP, 8, &[first, a, b, c, d]),
            expected,
            "{name}"
        );
    }
    assert!(!opens(protocol::ICMP, 0, &[8]), "no ports, no connection");
}

#[test]
fn a_later_fragment_opens_nothing() {
    for sample in samples() {
        let opens = opens_connection(&&sample.bytes[..], &sample.frame);
        let tcp =
            sample.frame.protocol == protocol::TCP && sample.frame.fragment != Fragment::Later;
        assert_eq!(opens, tcp, "{}", sample.name);
    }
}

#[test]
fn causes_have_their_code_as_place_and_their_own_name() {
    for (code, cause) in Cause::ALL.into_iter().enumerate() {
        assert_eq!(cause as usize, code);
        assert_eq!(
            Cause::ALL
                .iter()
                .filter(|other| other.name() == cause.name())
                .count(),
            1
        );
    }
}
