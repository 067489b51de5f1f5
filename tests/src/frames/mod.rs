//! Ethernet frames built byte by byte, with right checksums, in every shape that the kernel edge has to read.
//!
//! Written without the agent's parser and without a packet crate: a test that builds with one and reads with
//! another finds what both would get wrong together. [`catalogue`] lists one frame of every kind.

mod catalogue;
mod ip;
mod transport;

pub use catalogue::{Ends, Facts, FragmentKind, Kind, catalogue, strange};
pub use ip::Extension;
pub use transport::{Transport, flags};

use std::net::IpAddr;

use crate::topology::{EDGE_MAC, ROUTER_MAC, ROUTER_V4};

/// TPID of a customer VLAN tag (802.1Q).
pub const TPID_8021Q: u16 = 0x8100;
/// TPID of a service VLAN tag (802.1ad).
pub const TPID_8021AD: u16 = 0x88a8;
/// Bytes of an Ethernet header without tags.
pub const ETHERNET_BYTES: usize = 14;
/// Bytes of a VLAN tag.
pub const TAG_BYTES: usize = 4;

/// A frame in the making: `Frame::between(a, b).tag(TPID_8021Q, 7).tcp(50_000, 443, flags::SYN).build()`.
///
/// Without anything else it goes from the router to the login host, untagged, as a UDP packet without ports in use.
#[derive(Debug, Clone)]
#[must_use]
pub struct Frame {
    target_mac: [u8; 6],
    source_mac: [u8; 6],
    tags: Vec<(u16, u16)>,
    source: IpAddr,
    target: IpAddr,
    options: Vec<u8>,
    extensions: Vec<Extension>,
    fragment: Option<Part>,
    transport: Transport,
    hops: u8,
}

/// Which part of the packet the frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// A fragment header that fragments nothing (IPv6 atomic fragment).
    Whole,
    /// The first fragment.
    First,
    /// The second and last fragment.
    Later,
}

impl Frame {
    /// A frame between two addresses of the same family. Mixed families give IPv6 with mapped addresses.
    pub fn between(source: IpAddr, target: IpAddr) -> Self {
        Self {
            target_mac: EDGE_MAC,
            source_mac: ROUTER_MAC,
            tags: Vec::new(),
            source,
            target,
            options: Vec::new(),
            extensions: Vec::new(),
            fragment: None,
            transport: Transport::Udp {
                source: 50_000,
                target: 9,
                payload: Vec::new(),
            },
            hops: 64,
        }
    }

    /// Other hardware addresses than the lab's router and login host.
    pub fn macs(mut self, source: [u8; 6], target: [u8; 6]) -> Self {
        (self.source_mac, self.target_mac) = (source, target);
        self
    }

    /// Adds a VLAN tag inside of those added before.
    pub fn tag(mut self, tpid: u16, vlan: u16) -> Self {
        self.tags.push((tpid, vlan));
        self
    }

    /// IPv4 options; padded with zeroes to whole words, cut to 40 bytes. Without effect on IPv6.
    pub fn options(mut self, options: &[u8]) -> Self {
        self.options = options
            .iter()
            .copied()
            .take(ip::OPTIONS_BYTES_MAX)
            .collect();
        self
    }

    /// Adds an IPv6 extension header behind those added before. Without effect on IPv4.
    pub fn extension(mut self, extension: Extension) -> Self {
        self.extensions.push(extension);
        self
    }

    /// Makes it the first fragment of a packet that continues: the transport header is there.
    pub fn first_fragment(mut self) -> Self {
        self.fragment = Some(Part::First);
        self
    }

    /// Makes it the last fragment of a packet: the transport header is not there.
    pub fn later_fragment(mut self) -> Self {
        self.fragment = Some(Part::Later);
        self
    }

    /// An IPv6 packet with a fragment header that is whole all the same. Without effect on IPv4.
    pub fn atomic_fragment(mut self) -> Self {
        self.fragment = Some(Part::Whole);
        self
    }

    /// TCP with these [`flags`] and no payload.
    pub fn tcp(self, source: u16, target: u16, flags: u8) -> Self {
        self.transport(Transport::Tcp {
            source,
            target,
            flags,
            payload: Vec::new(),
        })
    }

    /// UDP with a payload.
    pub fn udp(self, source: u16, target: u16, payload: &[u8]) -> Self {
        self.transport(Transport::Udp {
            source,
            target,
            payload: payload.to_vec(),
        })
    }

    /// UDP with what looks like the first packet of a QUIC connection.
    pub fn quic(self, source: u16, target: u16) -> Self {
        self.udp(source, target, &transport::quic_initial())
    }

    /// An ICMP or ICMPv6 echo request.
    pub fn echo(self) -> Self {
        self.transport(Transport::Echo)
    }

    /// Any transport.
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// The whole frame, from the destination MAC on, without frame check sequence or padding.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let (ether_type, packet) = ip::packet(self);
        let mut frame = [self.target_mac, self.source_mac].concat();
        for (tpid, vlan) in &self.tags {
            frame.extend([tpid.to_be_bytes(), vlan.to_be_bytes()].concat());
        }
        frame.extend(ether_type.to_be_bytes());
        frame.extend(packet);
        frame
    }

    /// Bytes in front of the IP header.
    fn link_bytes(&self) -> usize {
        ETHERNET_BYTES + TAG_BYTES * self.tags.len()
    }
}

/// An Ethernet frame with any payload.
#[must_use]
pub fn ethernet(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [
        &EDGE_MAC[..],
        &ROUTER_MAC,
        &ether_type.to_be_bytes(),
        payload,
    ]
    .concat()
}

/// A numbered frame that no verdict is about: ARP for an address that nobody has.
pub(crate) fn marker(number: u32) -> Vec<u8> {
    let nobody = [192, 0, 2, 250];
    let request = [
        &[0, 1, 8, 0, 6, 4, 0, 1][..],
        &ROUTER_MAC,
        &ROUTER_V4.octets(),
        &[0; 6],
        &nobody,
        &number.to_be_bytes(),
        b"edgeward lab",
    ];
    ethernet(0x0806, &request.concat())
}

/// The Internet checksum (RFC 1071) over parts as if they were one; every part but the last of even length.
pub(crate) fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u64;
    for part in parts {
        for pair in part.chunks(2) {
            let word = match pair {
                [high, low] => u16::from_be_bytes([*high, *low]),
                [high] => u16::from_be_bytes([*high, 0]),
                _ => 0,
            };
            sum += u64::from(word);
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

/// Puts a checksum into its field.
pub(crate) fn store(bytes: &mut [u8], offset: usize, value: u16) {
    for (to, from) in bytes.iter_mut().skip(offset).zip(value.to_be_bytes()) {
        *to = from;
    }
}
