//! Zones flattened for tries that return one prefix only: each prefix says what all zones covering it
//! say together.
//!
//! The kernel asks once and gets the longest prefix. A /32 of one zone must therefore repeat what the
//! /8 of another says, or the longer one would hide it.

use std::net::IpAddr;

use edgeward_ebpf::abi::{ZoneValue, zone};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{
    clock::Now,
    nested::Nested,
    prefix::{canonical_network, host_network},
};
use crate::config::{Networks, Uses, Zone};

/// The zone tries as they should be: every prefix of every exempt, trusted-proxy, gateway and
/// allowed-origin zone, and of every exempt decision. Blocked networks are entries (see `listing`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZoneTable {
    nested: Nested<ZoneValue>,
}

/// A zone that holds an address, for one use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneMatch {
    /// The use, in the configuration's word.
    #[serde(rename = "use")]
    pub role: String,
    /// The zone's name.
    pub zone: String,
    /// Its longest prefix that covers the address.
    pub prefix: IpNet,
}

/// No zone decides ([`ZoneValue::zones`]).
pub const NO_ZONE: u16 = u16::MAX;

/// The uses in the order of [`ZoneValue::zones`].
pub const DECIDING: [Uses; 4] = [
    Uses::EXEMPT,
    Uses::TRUSTED_PROXY,
    Uses::GATEWAY,
    Uses::ALLOWED_ORIGIN,
];

/// What one zone or one exempt decision says about a prefix.
#[derive(Clone, Copy)]
struct Said {
    uses: u32,
    exempt_until: u32,
    zone: u16,
}

impl ZoneTable {
    /// Flattens zones and exempt decisions (prefix, end in milliseconds since the epoch). Expired ones
    /// are left out.
    ///
    /// [`ZoneValue::zones`] holds indices into `zones`; where one prefix is in two zones of the same
    /// use, the first in the configuration decides.
    #[must_use]
    pub fn build(
        zones: &[Zone],
        exempt_decisions: impl IntoIterator<Item = (IpNet, Option<u64>)>,
        now: Now,
    ) -> Self {
        let mut said = Vec::new();
        for (index, configured) in zones.iter().enumerate() {
            let uses = u32::from(configured.uses.bits()) & !zone::BLOCKED;
            if uses == 0 {
                continue;
            }
            let exempt_until = if uses & zone::EXEMPT == 0 {
                0
            } else {
                now.expiry_tick(None)
            };
            let zone = u16::try_from(index).unwrap_or(NO_ZONE);
            let value = Said {
                uses,
                exempt_until,
                zone,
            };
            said.extend(configured.networks.iter().map(|network| (network, value)));
        }
        for (prefix, expires) in exempt_decisions {
            let exempt_until = now.expiry_tick(expires);
            if now.is_live(exempt_until) {
                let value = Said {
                    uses: zone::EXEMPT,
                    exempt_until,
                    zone: NO_ZONE,
                };
                said.push((canonical_network(prefix), value));
            }
        }
        Self {
            nested: Nested::build(said, fold),
        }
    }

    /// Every prefix with its value, sorted, each once.
    #[must_use]
    pub fn entries(&self) -> &[(IpNet, ZoneValue)] {
        self.nested.entries()
    }

    /// What the kernel finds for an address: the value of the longest prefix that covers it.
    #[must_use]
    pub fn lookup(&self, address: IpAddr) -> Option<&ZoneValue> {
        self.nested
            .longest(&host_network(address))
            .map(|(_, value)| value)
    }
}

/// The zones that hold `address`, one for each use, in the order of [`Uses::NAMED`]; blocked ones too.
///
/// The longest prefix decides, then the order of the configuration.
#[must_use]
pub fn matches(zones: &[Zone], address: IpAddr) -> Vec<ZoneMatch> {
    let matched = |(role, wanted): (&str, Uses)| {
        let (zone, prefix) = deciding(zones, wanted, &host_network(address))?;
        Some(ZoneMatch {
            role: role.to_owned(),
            zone: zone.name.clone(),
            prefix,
        })
    };
    Uses::NAMED.into_iter().filter_map(matched).collect()
}

/// The zone with the use `wanted` whose longest prefix covers `prefix` best, and that prefix.
#[must_use]
pub fn deciding<'a>(zones: &'a [Zone], wanted: Uses, prefix: &IpNet) -> Option<(&'a Zone, IpNet)> {
    let mut best: Option<(&Zone, IpNet)> = None;
    for zone in zones.iter().filter(|zone| zone.uses.contains(wanted)) {
        let found = covering(&zone.networks, prefix);
        if let Some(found) = found
            && best.is_none_or(|(_, before)| before.prefix_len() < found.prefix_len())
        {
            best = Some((zone, found));
        }
    }
    best
}

/// The longest network that covers `prefix` (or is it), by one binary search a length.
#[must_use]
pub fn covering(networks: &Networks, prefix: &IpNet) -> Option<IpNet> {
    covers(prefix).find(|cover| networks.lists(cover))
}

/// `prefix` and everything that covers it, longest first.
pub fn covers(prefix: &IpNet) -> impl Iterator<Item = IpNet> + use<> {
    std::iter::successors(Some(*prefix), IpNet::supernet)
}

fn fold(cover: Option<&ZoneValue>, same: &[(IpNet, Said)]) -> ZoneValue {
    let none = ZoneValue {
        uses: 0,
        exempt_until: 0,
        zones: [NO_ZONE; 4],
    };
    let mut value = cover.copied().unwrap_or(none);
    // From the last to the first, so that the first in the configuration decides in the end.
    for (_, said) in same.iter().rev() {
        value.uses |= said.uses;
        value.exempt_until = value.exempt_until.max(said.exempt_until);
        for (slot, deciding) in value.zones.iter_mut().zip(DECIDING) {
            if said.zone != NO_ZONE && said.uses & u32::from(deciding.bits()) != 0 {
                *slot = said.zone;
            }
        }
    }
    value
}

const _: () = {
    assert!(zone::EXEMPT == Uses::EXEMPT.bits() as u32);
    assert!(zone::TRUSTED_PROXY == Uses::TRUSTED_PROXY.bits() as u32);
    assert!(zone::GATEWAY == Uses::GATEWAY.bits() as u32);
    assert!(zone::BLOCKED == Uses::BLOCKED.bits() as u32);
    assert!(zone::ALLOWED_ORIGIN == Uses::ALLOWED_ORIGIN.bits() as u32);
};

#[cfg(test)]
#[path = "zone_tests.rs"]
mod tests;
