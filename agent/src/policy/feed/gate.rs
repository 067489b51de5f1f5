//! What a feed may not say anything about: addresses that must never be refused because somebody else's
//! list is wrong, and networks so large that an entry for them is a mistake.
//!
//! The verdict asks for exempt and trusted-proxy zones first in any case; this keeps such entries out of the
//! tables as well, and says that a feed has them.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::Serialize;

use super::table::Fact;
use crate::{
    config::{Uses, Zone},
    policy::nested::Nested,
};

/// Why an entry was not taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Refused {
    /// Touches an exempt zone or decision.
    Exempt,
    /// Touches a trusted proxy.
    TrustedProxy,
    /// Touches an address of this host.
    Own,
    /// Touches 127.0.0.0/8 or ::1.
    Loopback,
    /// Touches 169.254.0.0/16 or fe80::/10.
    LinkLocal,
    /// Touches a network for private use (RFC 1918, RFC 4193) or shared address space (RFC 6598).
    Private,
    /// Touches 224.0.0.0/4 or ff00::/8.
    Multicast,
    /// Touches what is no address of anybody: 0.0.0.0/8, 240.0.0.0/4, `::`.
    Reserved,
    /// Shorter than the feed's shortest permitted prefix.
    TooWide,
}

/// What a feed's entries may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Shortest IPv4 prefix, in bits.
    pub length_v4_min: u8,
    /// Shortest IPv6 prefix, in bits.
    pub length_v6_min: u8,
    /// Private networks may be listed: a feed about one's own network.
    pub private_allowed: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            length_v4_min: 8,
            length_v6_min: 19,
            private_allowed: false,
        }
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    limits: Limits,
    spared: Nested<Refused>,
}

/// What a gate has set apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// How many, by reason.
    pub counts: BTreeMap<Refused, u64>,
    /// The entries, at most [`Refusals::KEPT_MAX`] of them: with other zones they may be taken over.
    pub entries: Vec<(IpNet, Fact, Refused)>,
}

impl Refusals {
    /// Entries kept of those that were refused.
    pub const KEPT_MAX: usize = 65_536;

    /// How many there are.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts
            .values()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    pub(super) fn note(&mut self, prefix: IpNet, fact: Fact, why: Refused) {
        let count = self.counts.entry(why).or_default();
        *count = count.saturating_add(1);
        if self.entries.len() < Self::KEPT_MAX {
            self.entries.push((prefix, fact, why));
        }
    }
}

impl Refused {
    /// The word used in JSON, tables and events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exempt => "exempt",
            Self::TrustedProxy => "trusted_proxy",
            Self::Own => "own",
            Self::Loopback => "loopback",
            Self::LinkLocal => "link_local",
            Self::Private => "private",
            Self::Multicast => "multicast",
            Self::Reserved => "reserved",
            Self::TooWide => "too_wide",
        }
    }
}

/// What no feed may touch: exempt and trusted-proxy zones, `exempt` decisions, the host's `own` addresses.
pub fn spared(
    zones: &[Zone],
    exempt: impl IntoIterator<Item = IpNet>,
    own: impl IntoIterator<Item = IpNet>,
) -> Vec<(IpNet, Refused)> {
    let mut spared: Vec<(IpNet, Refused)> = Vec::new();
    for (one, why) in [
        (Uses::TRUSTED_PROXY, Refused::TrustedProxy),
        (Uses::EXEMPT, Refused::Exempt),
    ] {
        let with_use = zones.iter().filter(|zone| zone.uses.contains(one));
        spared.extend(with_use.flat_map(|zone| zone.networks.iter().map(|net| (net, why))));
    }
    spared.extend(exempt.into_iter().map(|net| (net, Refused::Exempt)));
    spared.extend(own.into_iter().map(|net| (net, Refused::Own)));
    spared
}

impl Gate {
    /// Spares what is given (see [`spared`]) and what the Internet does not route.
    #[must_use]
    pub fn new(limits: Limits, spared: &[(IpNet, Refused)]) -> Self {
        let mut spared = spared.to_vec();
        spared.extend(SPECIAL.iter().filter_map(|(text, why)| {
            let skipped = *why == Refused::Private && limits.private_allowed;
            (!skipped).then(|| Some((text.parse().ok()?, *why)))?
        }));
        Self {
            limits,
            // Of several reasons for one prefix the operator's own comes first.
            spared: Nested::build(spared, |_, same| {
                same.iter()
                    .map(|(_, why)| *why)
                    .min()
                    .unwrap_or(Refused::Reserved)
            }),
        }
    }

    /// Why this canonical prefix is not taken over; `None` if it may be.
    #[must_use]
    pub fn refuses(&self, prefix: &IpNet) -> Option<Refused> {
        let shortest = match prefix {
            IpNet::V4(_) => self.limits.length_v4_min,
            IpNet::V6(_) => self.limits.length_v6_min,
        };
        if prefix.prefix_len() < shortest {
            return Some(Refused::TooWide);
        }
        if let Some((_, why)) = self.spared.longest(prefix) {
            return Some(*why);
        }
        // Prefixes nest or are apart: the first one not before `prefix` lies in it, or none does.
        let entries = self.spared.entries();
        let next = entries.partition_point(|(spared, _)| spared < prefix);
        let (spared, why) = entries.get(next)?;
        prefix.contains(spared).then_some(*why)
    }
}

/// What no feed about the Internet can mean (RFC 6890 and its registries).
const SPECIAL: [(&str, Refused); 16] = [
    ("127.0.0.0/8", Refused::Loopback),
    ("::1/128", Refused::Loopback),
    ("169.254.0.0/16", Refused::LinkLocal),
    ("fe80::/10", Refused::LinkLocal),
    ("10.0.0.0/8", Refused::Private),
    ("172.16.0.0/12", Refused::Private),
    ("192.168.0.0/16", Refused::Private),
    ("100.64.0.0/10", Refused::Private),
    ("fc00::/7", Refused::Private),
    ("224.0.0.0/4", Refused::Multicast),
    ("ff00::/8", Refused::Multicast),
    ("0.0.0.0/8", Refused::Reserved),
    ("240.0.0.0/4", Refused::Reserved),
    ("::/128", Refused::Reserved),
    ("::ffff:0:0/96", Refused::Reserved),
    ("64:ff9b:1::/48", Refused::Private),
];
