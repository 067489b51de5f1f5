//! TCP, UDP, ICMP and ICMPv6 with the checksum over the pseudo header of their family.

use std::net::IpAddr;

use super::{checksum, store};

/// What an IP packet carries.
#[derive(Debug, Clone)]
pub enum Transport {
    /// TCP with a header of 20 bytes.
    Tcp {
        /// Source port.
        source: u16,
        /// Destination port.
        target: u16,
        /// See [`flags`].
        flags: u8,
        /// Behind the header.
        payload: Vec<u8>,
    },
    /// UDP.
    Udp {
        /// Source port.
        source: u16,
        /// Destination port.
        target: u16,
        /// Behind the header.
        payload: Vec<u8>,
    },
    /// Echo request of the packet's family.
    Echo,
    /// Any other protocol, with its bytes as they are.
    Other {
        /// IP protocol number.
        protocol: u8,
        /// Everything behind the IP headers.
        bytes: Vec<u8>,
    },
}

/// TCP flags.
pub mod flags {
    /// No more data.
    pub const FIN: u8 = 0x01;
    /// First packet of a connection.
    pub const SYN: u8 = 0x02;
    /// The connection is refused or over.
    pub const RST: u8 = 0x04;
    /// Hand data over at once.
    pub const PSH: u8 = 0x08;
    /// Acknowledges.
    pub const ACK: u8 = 0x10;
}

impl Transport {
    /// The IP protocol number in a family.
    #[must_use]
    pub fn protocol(&self, v6: bool) -> u8 {
        match self {
            Self::Tcp { .. } => 6,
            Self::Udp { .. } => 17,
            Self::Echo if v6 => 58,
            Self::Echo => 1,
            Self::Other { protocol, .. } => *protocol,
        }
    }

    /// Source and destination port where the protocol has them.
    #[must_use]
    pub fn ports(&self) -> Option<(u16, u16)> {
        match self {
            Self::Tcp { source, target, .. } | Self::Udp { source, target, .. } => {
                Some((*source, *target))
            }
            Self::Echo | Self::Other { .. } => None,
        }
    }

    /// The TCP flags where it is TCP.
    #[must_use]
    pub fn tcp_flags(&self) -> Option<u8> {
        match self {
            Self::Tcp { flags, .. } => Some(*flags),
            _ => None,
        }
    }

    /// Header and payload with the right checksum for a packet between two addresses.
    pub(super) fn bytes(&self, source: IpAddr, target: IpAddr) -> Vec<u8> {
        let v6 = source.is_ipv6();
        let (mut bytes, checksum_at, with_pseudo_header) = match self {
            Self::Tcp {
                source,
                target,
                flags,
                payload,
            } => (tcp(*source, *target, *flags, payload), 16, true),
            Self::Udp {
                source,
                target,
                payload,
            } => (udp(*source, *target, payload), 6, true),
            Self::Echo => (echo(if v6 { 128 } else { 8 }), 2, v6),
            Self::Other { bytes, .. } => return bytes.clone(),
        };
        let pseudo = if with_pseudo_header {
            pseudo_header(source, target, self.protocol(v6), bytes.len())
        } else {
            Vec::new()
        };
        let sum = checksum(&[&pseudo, &bytes]);
        // In UDP zero means that there is none (RFC 768), so a sum of zero is sent as its complement.
        let is_udp = matches!(self, Self::Udp { .. });
        store(
            &mut bytes,
            checksum_at,
            if sum == 0 && is_udp { u16::MAX } else { sum },
        );
        bytes
    }
}

/// A payload that begins as a QUIC version 1 Initial does (RFC 9000 section 17.2.2), padded to the 1,200 bytes
/// that a client must send.
pub(super) fn quic_initial() -> Vec<u8> {
    let mut payload = vec![0xc3, 0, 0, 0, 1, 8];
    payload.extend(*b"EDGEWARD");
    // No source connection id, no token, length of the rest as a two-byte integer.
    payload.extend([0, 0, 0x44, 0x9e]);
    payload.resize(QUIC_INITIAL_BYTES, 0x5a);
    payload
}

fn tcp(source: u16, target: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = [source.to_be_bytes(), target.to_be_bytes()].concat();
    bytes.extend(SEQUENCE.to_be_bytes());
    bytes.extend(if flags & flags::ACK == 0 {
        [0; 4]
    } else {
        1_u32.to_be_bytes()
    });
    // Five words of header, flags, window, checksum (stored later), urgent pointer.
    bytes.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    bytes.extend(payload);
    bytes
}

fn udp(source: u16, target: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).unwrap_or(u16::MAX);
    let mut bytes = [source, target, length, 0].map(u16::to_be_bytes).concat();
    bytes.extend(payload);
    bytes
}

fn echo(kind: u8) -> Vec<u8> {
    let mut bytes = vec![kind, 0, 0, 0, 0xed, 0x9e, 0, 1];
    bytes.extend(*b"is anybody there");
    bytes
}

/// The pseudo header of RFC 793 or RFC 8200.
fn pseudo_header(source: IpAddr, target: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    match (source, target) {
        (IpAddr::V4(source), IpAddr::V4(target)) => {
            let [_, _, high, low] = length;
            [
                &source.octets()[..],
                &target.octets(),
                &[0, protocol, high, low],
            ]
            .concat()
        }
        (source, target) => {
            let (source, target) = (super::ip::as_v6(source), super::ip::as_v6(target));
            [
                &source.octets()[..],
                &target.octets(),
                &length,
                &[0, 0, 0, protocol],
            ]
            .concat()
        }
    }
}

/// The sequence number of every TCP segment here; a reset's acknowledgement must be one more.
const SEQUENCE: u32 = 0x0ed9_e000;
/// Least size of a client's first QUIC datagram, in bytes.
const QUIC_INITIAL_BYTES: usize = 1200;
