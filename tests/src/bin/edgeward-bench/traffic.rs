//! Who sends: the listed addresses, the unlisted ones, and the frame that carries them.
//!
//! Drawn from a fixed seed, so that two runs measure the same lists. Smaller lists are the head of the largest.

use std::collections::HashSet;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lab::frames::{Frame, flags};
use lab::{AgentConfig, EDGE_MAC, ROUTER_MAC, Result};

use crate::sys::MappedArray;

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// Its name in tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

/// Sources drawn for one run of the bench.
pub(crate) struct Population {
    listed4: Vec<u32>,
    listed6: Vec<u128>,
    others4: Vec<u32>,
    others6: Vec<u128>,
}

/// Numbers that repeat from run to run (splitmix64, Steele et al. 2014).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }
}

impl Population {
    /// Draws `listed` addresses of each family, and as many others as the generator holds.
    pub(crate) fn draw(listed: usize) -> Self {
        let mut numbers = Numbers(0xed9e_0a4d);
        let mut seen4 = HashSet::new();
        let mut new4 = |numbers: &mut Numbers| loop {
            let address = u32::try_from(numbers.next() >> 32).unwrap_or_default();
            if is_public(address) && seen4.insert(address) {
                return address;
            }
        };
        let listed4 = (0..listed).map(|_| new4(&mut numbers)).collect();
        let others4 = (0..SOURCES).map(|_| new4(&mut numbers)).collect();
        // 125 random bits in 2000::/3 do not collide.
        let mut new6 = || {
            let address = u128::from(numbers.next()) << 64 | u128::from(numbers.next());
            address >> 3 | 1 << 125
        };
        let listed6 = (0..listed).map(|_| new6()).collect();
        let others6 = (0..SOURCES).map(|_| new6()).collect();
        Self {
            listed4,
            listed6,
            others4,
            others6,
        }
    }

    /// The first `count` listed addresses.
    pub(crate) fn listed(&self, family: Family, count: usize) -> Vec<IpAddr> {
        match family {
            Family::V4 => self.listed4.iter().take(count).map(|a| v4(*a)).collect(),
            Family::V6 => self.listed6.iter().take(count).map(|a| v6(*a)).collect(),
        }
    }

    /// The first `count` addresses that are not listed.
    pub(crate) fn others(&self, family: Family, count: usize) -> Vec<IpAddr> {
        match family {
            Family::V4 => self.others4.iter().take(count).map(|a| v4(*a)).collect(),
            Family::V6 => self.others6.iter().take(count).map(|a| v6(*a)).collect(),
        }
    }

    /// A list file: one address a line.
    pub(crate) fn file(&self, family: Family, count: usize) -> String {
        let mut text = String::with_capacity(count * 24);
        for address in self.listed(family, count) {
            // A String takes every write.
            let _ = writeln!(text, "{address}");
        }
        text
    }

    /// The generator's sources: all of the first `listed` ones in turn, in random order; the others for 0.
    pub(crate) fn sources(&self, family: Family, listed: usize) -> Result<MappedArray> {
        let words = if family == Family::V4 { 1 } else { 2 };
        let mut array = MappedArray::new(u32::try_from(SOURCES)?, words)?;
        match (family, listed) {
            (Family::V4, 0) => array.fill(self.others4.iter().map(|a| word4(*a))),
            (Family::V4, _) => {
                array.fill(self.listed4.iter().take(listed).cycle().map(|a| word4(*a)))
            }
            (Family::V6, 0) => array.fill(self.others6.iter().flat_map(|a| words6(*a))),
            (Family::V6, _) => {
                array.fill(
                    self.listed6
                        .iter()
                        .take(listed)
                        .cycle()
                        .flat_map(|a| words6(*a)),
                );
            }
        }
        Ok(array)
    }
}

/// The frame the generator starts from: a TCP SYN to port 443, 60 bytes (74 for IPv6), the same for all contenders.
pub(crate) fn template(family: Family) -> Vec<u8> {
    let (source, target): (IpAddr, IpAddr) = match family {
        Family::V4 => (
            Ipv4Addr::UNSPECIFIED.into(),
            Ipv4Addr::new(192, 0, 2, 10).into(),
        ),
        Family::V6 => (
            Ipv6Addr::UNSPECIFIED.into(),
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10).into(),
        ),
    };
    let mut frame = Frame::between(source, target)
        .macs(ROUTER_MAC, EDGE_MAC)
        .tcp(50_000, 443, flags::SYN)
        .build();
    // The shortest frame that a wire carries, without its check sequence.
    frame.resize(frame.len().max(60), 0);
    frame
}

/// The same frame from one source, for test runs.
pub(crate) fn frame_from(source: IpAddr) -> Vec<u8> {
    let family = if source.is_ipv4() {
        Family::V4
    } else {
        Family::V6
    };
    let mut frame = template(family);
    let (offset, octets) = match source {
        IpAddr::V4(address) => (26, address.octets().to_vec()),
        IpAddr::V6(address) => (22, address.octets().to_vec()),
    };
    for (to, from) in frame.iter_mut().skip(offset).zip(octets) {
        *to = from;
    }
    frame
}

fn v4(address: u32) -> IpAddr {
    Ipv4Addr::from(address).into()
}

fn v6(address: u128) -> IpAddr {
    Ipv6Addr::from(address).into()
}

/// An address as four bytes in network order at the start of a word.
fn word4(address: u32) -> u64 {
    u64::from(address.to_be())
}

fn words6(address: u128) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, rest @ ..] = address.to_be_bytes();
    [
        u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
        u64::from_ne_bytes(rest),
    ]
}

/// Unicast, and nothing that a host or the lab uses itself (192.0.2.0/24 stays free for probes).
fn is_public(address: u32) -> bool {
    let [a, b, c, _] = address.to_be_bytes();
    !matches!(
        (a, b, c),
        (0 | 10 | 127 | 224.., ..) | (192, 0, 2) | (198, 51, 100) | (203, 0, 113)
    ) && !IN_ZONES
        .iter()
        .any(|(net, length)| address >> (32 - length) == net >> (32 - length))
}

/// The zones of every Edgeward lab: networks of a size and number as large proxies have, and an exempt office.
pub(crate) fn zones(config: AgentConfig) -> AgentConfig {
    let proxies: Vec<String> = IN_ZONES
        .iter()
        .map(|(net, length)| format!("{}/{length}", Ipv4Addr::from(*net)))
        .chain(["2001:db8:9::/48", "2001:db8:c000::/35"].map(str::to_owned))
        .collect();
    let proxies: Vec<&str> = proxies.iter().map(String::as_str).collect();
    config.zone("proxies", &["trusted-proxy"], &proxies).zone(
        "office",
        &["exempt"],
        &["198.51.100.0/24", "2001:db8:e::/48"],
    )
}

/// IPv4 networks of the proxy zone. Sources beside them share their /16.
const IN_ZONES: [(u32, u32); 8] = [
    (0x0d20_0000, 13),
    (0x2ea0_4000, 18),
    (0x3f51_8000, 19),
    (0x5fd0_1000, 20),
    (0x8d65_4000, 18),
    (0x9a53_0000, 16),
    (0xb5e4_d400, 22),
    (0xc629_8000, 17),
];

/// Sources that the generator goes through, a power of two.
pub(crate) const SOURCES: usize = 1 << 20;
