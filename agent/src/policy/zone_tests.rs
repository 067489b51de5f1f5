//! Tables and properties of `zone`: flattening against a loop over every zone.

use edgeward_ebpf::abi::FOREVER;

use super::*;
use crate::policy::random::Random;

const NOW: Now = Now {
    wall_ms: 1_800_000_000_000,
    boot_ns: 3_600_000_000_000,
};

fn zone_of(name: &str, uses: Uses, networks: &[&str]) -> Zone {
    let networks = Networks::from_networks(networks.iter().map(|text| text.parse().unwrap()));
    Zone {
        name: name.to_owned(),
        uses,
        networks,
    }
}

#[test]
fn a_longer_prefix_repeats_what_its_covers_say() {
    let zones = [
        zone_of("office", Uses::EXEMPT, &["10.0.0.0/8", "2001:db8::/32"]),
        zone_of("cdn", Uses::TRUSTED_PROXY, &["10.1.0.0/16", "10.1.2.3/32"]),
        zone_of("bad", Uses::BLOCKED, &["10.1.2.0/24", "192.0.2.0/24"]),
        zone_of(
            "branch",
            Uses::EXEMPT.with(Uses::ALLOWED_ORIGIN),
            &["10.1.2.3/32"],
        ),
    ];
    let table = ZoneTable::build(&zones, [], NOW);
    let listed: Vec<String> = table
        .entries()
        .iter()
        .map(|(prefix, _)| prefix.to_string())
        .collect();
    assert_eq!(
        listed,
        ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "2001:db8::/32"]
    );
    let host = table.lookup("::ffff:10.1.2.3".parse().unwrap()).unwrap();
    assert_eq!(
        host.uses,
        zone::EXEMPT | zone::TRUSTED_PROXY | zone::ALLOWED_ORIGIN
    );
    assert_eq!(
        (host.exempt_until, host.zones),
        (FOREVER, [3, 1, NO_ZONE, 3])
    );
    let net = table.lookup("10.1.9.9".parse().unwrap()).unwrap();
    assert_eq!(
        (net.uses, net.zones),
        (zone::EXEMPT | zone::TRUSTED_PROXY, [0, 1, NO_ZONE, NO_ZONE])
    );
    assert_eq!(
        table.lookup("192.0.2.1".parse().unwrap()),
        None,
        "blocked alone is no zone entry"
    );
    assert_eq!(table.lookup("::".parse().unwrap()), None);

    let named: Vec<(String, String, String)> = matches(&zones, "10.1.2.3".parse().unwrap())
        .into_iter()
        .map(|found| (found.role, found.zone, found.prefix.to_string()))
        .collect();
    let expected = [
        ("exempt", "branch", "10.1.2.3/32"),
        ("trusted-proxy", "cdn", "10.1.2.3/32"),
        ("blocked", "bad", "10.1.2.0/24"),
        ("allowed-origin", "branch", "10.1.2.3/32"),
    ];
    assert_eq!(
        named,
        expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()))
    );
}

#[test]
fn exempt_decisions_end_and_never_shorten_a_zone() {
    let zones = [
        zone_of("office", Uses::EXEMPT, &["10.0.0.0/8"]),
        zone_of("cdn", Uses::TRUSTED_PROXY, &["192.0.2.7/32"]),
    ];
    let prefix = |text: &str| text.parse::<IpNet>().unwrap();
    let hour = NOW.wall_ms + 3_600_000;
    let decisions = [
        (prefix("10.1.0.0/16"), Some(hour)),
        (prefix("192.0.2.0/24"), Some(hour)),
        (prefix("192.0.2.9/32"), Some(hour / 2)),
        (prefix("198.51.100.1/32"), None),
        (prefix("::ffff:203.0.113.0/120"), None),
    ];
    let table = ZoneTable::build(&zones, decisions, NOW);
    let at = |text: &str| table.lookup(text.parse().unwrap()).copied().unwrap();
    assert_eq!(
        (at("10.1.2.3").exempt_until, at("10.1.2.3").zones[0]),
        (FOREVER, 0)
    );
    let proxy = at("192.0.2.7");
    assert_eq!(proxy.uses, zone::EXEMPT | zone::TRUSTED_PROXY);
    assert_eq!(
        (proxy.exempt_until, proxy.zones),
        (NOW.expiry_tick(Some(hour)), [NO_ZONE, 1, NO_ZONE, NO_ZONE])
    );
    assert_eq!(at("198.51.100.1").exempt_until, FOREVER);
    assert_eq!(
        at("203.0.113.255").uses,
        zone::EXEMPT,
        "mapped prefixes are folded"
    );
    assert!(
        !table
            .entries()
            .iter()
            .any(|(entry, _)| *entry == prefix("192.0.2.9/32")),
        "past ones are left out"
    );
}

/// The value for one address, by looking at everything.
fn naive(zones: &[Zone], exempt: &[(IpNet, Option<u64>)], address: IpAddr) -> ZoneValue {
    let mut naive = ZoneValue {
        uses: 0,
        exempt_until: 0,
        zones: [NO_ZONE; 4],
    };
    for zone in zones {
        if zone
            .networks
            .iter()
            .any(|network| network.contains(&address))
        {
            naive.uses |= u32::from(zone.uses.bits()) & !zone::BLOCKED;
        }
    }
    if naive.uses & zone::EXEMPT != 0 {
        naive.exempt_until = FOREVER;
    }
    for (prefix, expires) in exempt {
        let until = NOW.expiry_tick(*expires);
        if prefix.contains(&address) && NOW.is_live(until) {
            naive.uses |= zone::EXEMPT;
            naive.exempt_until = naive.exempt_until.max(until);
        }
    }
    for (slot, role) in naive.zones.iter_mut().zip(DECIDING) {
        let mut longest = None;
        for (index, zone) in zones
            .iter()
            .enumerate()
            .filter(|(_, zone)| zone.uses.contains(role))
        {
            let covers = zone
                .networks
                .iter()
                .filter(|network| network.contains(&address));
            let length = covers.map(|network| network.prefix_len()).max();
            if length > longest {
                longest = length;
                *slot = u16::try_from(index).unwrap();
            }
        }
    }
    naive
}

#[test]
fn the_table_says_what_a_loop_over_all_zones_says() {
    let mut random = Random::new(21);
    let roles = Uses::NAMED.map(|(_, role)| role);
    for _ in 0..60 {
        let zones: Vec<Zone> = (0..5)
            .map(|index| Zone {
                name: format!("zone {index}"),
                uses: random.pick(&roles).with(random.pick(&roles)),
                networks: Networks::from_networks((0..8).map(|_| random.prefix())),
            })
            .collect();
        let exempt: Vec<(IpNet, Option<u64>)> = (0..6)
            .map(|_| {
                (
                    random.prefix(),
                    random.pick(&[None, Some(5), Some(NOW.wall_ms + 60_000)]),
                )
            })
            .collect();
        let table = ZoneTable::build(&zones, exempt.clone(), NOW);
        for _ in 0..200 {
            let address = random.address();
            let found = table.lookup(address).copied();
            let naive = naive(&zones, &exempt, address);
            assert_eq!(
                found.unwrap_or(ZoneValue {
                    zones: [NO_ZONE; 4],
                    ..ZoneValue::default()
                }),
                naive,
                "{address}"
            );
        }
    }
}

#[test]
fn a_hundred_thousand_prefixes_nest_without_quadratic_work() {
    let nested = (0..100_000_u32).map(|index| {
        let length = u8::try_from(index % 25 + 8).unwrap();
        IpNet::new(
            IpAddr::from(index.wrapping_mul(0x9e37).to_be_bytes()),
            length,
        )
        .unwrap()
    });
    let networks = Networks::from_networks(nested);
    let listed = networks.len();
    let zones = [Zone {
        name: "big".to_owned(),
        uses: Uses::EXEMPT,
        networks,
    }];
    let table = ZoneTable::build(&zones, [], NOW);
    assert_eq!(table.entries().len(), listed);
    assert!(table.entries().iter().all(|(_, value)| value.zones[0] == 0));
}
