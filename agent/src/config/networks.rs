//! A set of networks as the datapath wants it: single hosts apart from prefixes, sorted, each once.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::policy::prefix::canonical_network;

/// Networks of one zone or list, from the configuration and its files together.
///
/// All canonical, sorted and deduplicated; a host is never also in `prefixes` as /32 or /128.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// Single IPv4 addresses; the first octet is the highest byte.
    pub hosts_v4: Vec<u32>,
    /// Single IPv6 addresses; the first group is the highest.
    pub hosts_v6: Vec<u128>,
    /// Everything shorter than a host, IPv4 before IPv6.
    pub prefixes: Vec<IpNet>,
    /// Lines of list files that could not be read and are therefore not in here.
    pub rejected: u64,
}

impl Networks {
    /// Collects, canonicalises, sorts and deduplicates.
    #[must_use]
    pub fn from_networks(networks: impl IntoIterator<Item = IpNet>) -> Self {
        let mut out = Self::default();
        for network in networks {
            out.push(canonical_network(network));
        }
        out.finish();
        out
    }

    /// How many hosts and prefixes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hosts_v4
            .len()
            .saturating_add(self.hosts_v6.len())
            .saturating_add(self.prefixes.len())
    }

    /// True if there is neither a host nor a prefix.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hosts_v4.is_empty() && self.hosts_v6.is_empty() && self.prefixes.is_empty()
    }

    /// Every host and prefix as a network: IPv4 hosts, IPv6 hosts, prefixes.
    pub fn iter(&self) -> impl Iterator<Item = IpNet> + '_ {
        let hosts_v4 = self
            .hosts_v4
            .iter()
            .map(|host| IpNet::from(IpAddr::V4(Ipv4Addr::from(*host))));
        let hosts_v6 = self
            .hosts_v6
            .iter()
            .map(|host| IpNet::from(IpAddr::V6(Ipv6Addr::from(*host))));
        hosts_v4
            .chain(hosts_v6)
            .chain(self.prefixes.iter().copied())
    }

    /// Whether exactly this canonical network is listed; what merely covers it does not count.
    #[must_use]
    pub fn lists(&self, network: &IpNet) -> bool {
        match network {
            IpNet::V4(v4) if v4.prefix_len() == 32 => {
                self.hosts_v4.binary_search(&u32::from(v4.addr())).is_ok()
            }
            IpNet::V6(v6) if v6.prefix_len() == 128 => {
                self.hosts_v6.binary_search(&u128::from(v6.addr())).is_ok()
            }
            _ => self.prefixes.binary_search(network).is_ok(),
        }
    }

    /// Adds a canonical network; `finish` must follow before anybody reads.
    pub(super) fn push(&mut self, network: IpNet) {
        match network {
            IpNet::V4(v4) if v4.prefix_len() == 32 => self.hosts_v4.push(u32::from(v4.addr())),
            IpNet::V6(v6) if v6.prefix_len() == 128 => self.hosts_v6.push(u128::from(v6.addr())),
            _ => self.prefixes.push(network),
        }
    }

    /// Sorts and deduplicates. Spare memory goes back: a list of a million lines stays resident.
    pub(super) fn finish(&mut self) {
        self.hosts_v4.sort_unstable();
        self.hosts_v4.dedup();
        self.hosts_v4.shrink_to_fit();
        self.hosts_v6.sort_unstable();
        self.hosts_v6.dedup();
        self.hosts_v6.shrink_to_fit();
        self.prefixes.sort_unstable();
        self.prefixes.dedup();
        self.prefixes.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_sorted_once_each_and_canonical() {
        let typed = [
            "2001:db8::1/128",
            "10.0.0.0/8",
            "192.0.2.9/32",
            "::ffff:192.0.2.9/128",
            "10.0.0.0/8",
            "192.0.2.1/32",
        ];
        let networks = Networks::from_networks(typed.iter().map(|text| text.parse().unwrap()));
        let listed: Vec<String> = networks.iter().map(|network| network.to_string()).collect();
        assert_eq!(
            listed,
            [
                "192.0.2.1/32",
                "192.0.2.9/32",
                "2001:db8::1/128",
                "10.0.0.0/8"
            ]
        );
        assert_eq!(networks.len(), 4);
        assert!(networks.lists(&"10.0.0.0/8".parse().unwrap()));
        assert!(networks.lists(&"192.0.2.9/32".parse().unwrap()));
        assert!(!networks.lists(&"10.0.0.1/32".parse().unwrap()));
        assert!(!networks.is_empty() && Networks::default().is_empty());
    }
}
