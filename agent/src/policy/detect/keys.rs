//! Sources and networks as numbers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::spread;

/// A source as a number: an IPv4 address, or the first half of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SourceKey(pub(super) u64);

/// A network as a number: an IPv4 /24 or an IPv6 /48.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NetworkKey(pub(super) u64);

impl SourceKey {
    /// Its number.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The source that an address (canonical) belongs to.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address {
            // ffff:ffff::/32 is multicast and never a source, so the families cannot meet.
            IpAddr::V4(v4) => Self(V4_MARK | u64::from(u32::from(v4))),
            IpAddr::V6(v6) => Self(first_half(v6)),
        }
    }

    /// Its prefix.
    #[must_use]
    pub fn prefix(self) -> IpNet {
        match self.v4() {
            Some(v4) => IpNet::from(IpAddr::V4(v4)),
            None => v6_net(self.0, 64),
        }
    }

    /// The network that it belongs to.
    #[must_use]
    pub fn network(self) -> NetworkKey {
        match self.v4() {
            Some(_) => NetworkKey(self.0 & !0xff),
            None => NetworkKey(self.0 & !0xffff),
        }
    }

    fn v4(self) -> Option<Ipv4Addr> {
        if self.0 & V4_MARK != V4_MARK {
            return None;
        }
        u32::try_from(self.0 & !V4_MARK).ok().map(Ipv4Addr::from)
    }
}

impl NetworkKey {
    /// The network that an address (canonical) belongs to.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        SourceKey::of(address).network()
    }

    /// The short mark under which users remember it.
    #[must_use]
    pub fn mark(self) -> u32 {
        spread::mark(self.0)
    }

    /// Its prefix.
    #[must_use]
    pub fn prefix(self) -> IpNet {
        match SourceKey(self.0).v4() {
            Some(v4) => Ipv4Net::new(v4, 24).map_or(IpNet::from(IpAddr::V4(v4)), IpNet::V4),
            None => v6_net(self.0, 48),
        }
    }
}

const V4_MARK: u64 = 0xffff_ffff_0000_0000;

fn first_half(address: Ipv6Addr) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = address.octets();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

fn v6_net(first_half: u64, length: u8) -> IpNet {
    let address = Ipv6Addr::from(u128::from(first_half) << 64);
    Ipv6Net::new(address, length).map_or(IpNet::from(IpAddr::V6(address)), IpNet::V6)
}
