//! From configuration and decisions to what the kernel should hold.

use edgeward_ebpf::abi::{Limits, port, profile};

use super::feeds::Feeds;
pub(super) use crate::policy::snapshot::policy_word as policy;
use crate::{
    config::{Config, FailurePolicy, Service},
    datapath::Wanted,
    policy::{
        classes::Classes,
        clock::Now,
        decision::{Decision, Kind},
        listing::{Desired, Evicted, hides_blocked},
        zone::ZoneTable,
    },
};

/// Everything the kernel should hold besides the policy word, and what had no room.
pub(super) fn wanted<'a>(
    config: &Config,
    decisions: impl Iterator<Item = &'a Decision> + Clone,
    feeds: &Feeds,
    classes: &mut Classes,
    now: Now,
) -> (Wanted, Evicted) {
    let mut entries = Desired::build_with(
        &config.zones,
        &config.lists,
        decisions.clone(),
        feeds.tables(config),
        classes,
        now,
    );
    let evicted = entries.fit(&config.capacity);
    let wanted = Wanted {
        entries,
        zones: zones(config, decisions, now),
        ports: ports(config),
        limits: limits(config),
        hidden: hides_blocked(&config.zones),
    };
    (wanted, evicted)
}

/// The zone tries.
pub(super) fn zones<'a>(
    config: &Config,
    decisions: impl Iterator<Item = &'a Decision>,
    now: Now,
) -> ZoneTable {
    let exempt = decisions
        .filter(|decision| decision.kind == Kind::Exempt)
        .map(|decision| (decision.prefix, decision.expires));
    ZoneTable::build(&config.zones, exempt, now)
}

fn ports(config: &Config) -> Vec<(u16, u64)> {
    let mut rules = Vec::new();
    for (index, service) in (0u64..).zip(&config.services) {
        let flags = port_flags(service) | index << port::SERVICE_SHIFT;
        rules.extend(service.ports.iter().map(|port| (*port, flags)));
    }
    rules.sort_unstable();
    rules
}

fn port_flags(service: &Service) -> u64 {
    let mut flags = port::PROTECTED;
    // The kernel sees no paths: with exceptions by path, the gateway or an endpoint holds the restriction.
    if service.restricted && service.restricted_except.is_empty() {
        flags |= port::RESTRICTED;
    }
    if let Some(gateway) = &service.gateway {
        flags |= port::STEER;
        if !service.restricted_except.is_empty() {
            flags |= port::STEER_ALL;
        }
        if gateway.fail == FailurePolicy::Closed {
            flags |= port::FAIL_CLOSED;
        }
    }
    if service.observe {
        flags |= port::OBSERVE;
    }
    flags
}

fn limits(config: &Config) -> [Limits; profile::COUNT as usize] {
    let rate = &config.rate_limit;
    let normal = Limits {
        connections: rate.connections.unwrap_or(0),
        packets: rate.packets.unwrap_or(0),
    };
    let limited = Limits {
        connections: rate.limited_connections.unwrap_or(0),
        packets: rate.limited_packets.unwrap_or(0),
    };
    let attack = &rate.attack;
    let normal_attacked = Limits {
        connections: attack.connections.unwrap_or(0),
        packets: attack.packets.unwrap_or(0),
    };
    let limited_attacked = Limits {
        connections: attack.limited_connections.unwrap_or(0),
        packets: attack.limited_packets.unwrap_or(0),
    };
    // All four are always in the kernel; the attack bit of the policy word says which pair holds.
    [normal, limited, normal_attacked, limited_attacked]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn all_four_profiles_are_in_the_kernel_before_an_attack() {
        let text = "[rate_limit]\nconnections = 9\npackets = 0\nattack_packets = 70\n";
        let config = Config::parse(text, Path::new("/"), "test.toml").unwrap();
        let limits = limits(&config).map(|limits| (limits.connections, limits.packets));
        assert_eq!(limits, [(9, 0), (5, 200), (5, 70), (3, 70)]);
    }
}
