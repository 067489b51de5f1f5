//! Tables against the loop that one would write without them; the gate against every pair of prefixes.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::*;
use crate::{
    config::{Networks, Uses, Zone},
    policy::{
        classes::{ClassOrigin, Classes},
        clock::Now,
        decision::{Decision, Kind, Origin},
        listing::{Desired, effective},
        random::Random,
    },
};

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn open_gate() -> Gate {
    let limits = Limits {
        length_v4_min: 0,
        length_v6_min: 0,
        private_allowed: true,
    };
    Gate::new(limits, &[])
}

fn table(entries: &[(&str, u8, u32, Option<&str>)]) -> FeedTable {
    let mut draft = Draft::new(1_000, "bad hosts");
    for (prefix, score, expires_s, reason) in entries {
        draft
            .push(net(prefix), *score, *expires_s, *reason)
            .unwrap();
    }
    draft.finish("drop", &open_gate()).0
}

#[test]
fn a_prefix_is_there_once_with_the_strongest_word() {
    let table = table(&[
        ("192.0.2.1/32", 50, 900, Some("scan")),
        ("2001:db8::/48", 70, 0, None),
        ("192.0.2.1/32", 80, 100, Some("spray")),
        ("192.0.2.1/32", 80, 0, Some("lasting")),
        ("192.0.2.1/32", 80, 500, Some("late")),
    ]);
    assert_eq!(table.len(), 2);
    let decision = table.decision(&net("192.0.2.1/32"), 1_000_000).unwrap();
    assert_eq!(
        (decision.score, decision.expires, decision.reason.as_str()),
        (80, None, "lasting")
    );
    assert_eq!(
        (decision.origin, decision.actor.as_str()),
        (Origin::Feed, "drop")
    );
    let own = table.decision(&net("2001:db8::/48"), 0).unwrap();
    assert_eq!(own.reason, "bad hosts");
    assert_eq!(table.get(&net("192.0.2.0/24")), None);
}

#[test]
fn entries_end_with_themselves_or_with_the_table() {
    let table = table(&[
        ("192.0.2.1/32", 80, 500, None),
        ("192.0.2.2/32", 80, 0, None),
    ])
    .with_until(700, 0);
    let live = |at_ms| {
        table
            .decisions(at_ms)
            .map(|decision| decision.prefix)
            .collect::<Vec<_>>()
    };
    assert_eq!(live(499_999).len(), 2);
    assert_eq!(live(500_000), [net("192.0.2.2/32")]);
    assert_eq!(live(700_000), []);
    assert_eq!(
        (
            table.next_end_s(0),
            table.next_end_s(500),
            table.next_end_s(700)
        ),
        (Some(500), Some(700), None)
    );
    assert_eq!(table.ended(499, 500, 10), Some(vec![net("192.0.2.1/32")]));
    assert_eq!(table.ended(500, 700, 10), Some(vec![net("192.0.2.2/32")]));
    assert_eq!(table.ended(0, 700, 1), None, "more than one");
}

#[test]
fn a_difference_is_that_of_two_maps() {
    let mut random = Random::new(501);
    for _ in 0..300 {
        let mut tables = Vec::new();
        let mut maps = Vec::new();
        for _ in 0..2 {
            let mut draft = Draft::new(1_000, "x");
            let mut map: BTreeMap<IpNet, (u8, u32)> = BTreeMap::new();
            for _ in 0..random.below(30) {
                let prefix = random.prefix();
                if open_gate().refuses(&prefix).is_some() {
                    continue;
                }
                let (score, end) = (random.pick(&[40, 80]), random.pick(&[0, 5]));
                draft.push(prefix, score, end, None).unwrap();
                let said = map.entry(prefix).or_insert((score, end));
                let strength = |fact: (u8, u32)| (fact.0, fact.1.wrapping_sub(1));
                if strength((score, end)) > strength(*said) {
                    *said = (score, end);
                }
            }
            tables.push(draft.finish("f", &open_gate()).0);
            maps.push(map);
        }
        let changed = tables[1].changed(&tables[0], usize::MAX);
        let mut wanted: Vec<IpNet> = maps[0].keys().chain(maps[1].keys()).copied().collect();
        wanted.sort_unstable();
        wanted.dedup();
        wanted.retain(|prefix| maps[0].get(prefix) != maps[1].get(prefix));
        let mut found = changed.prefixes.clone();
        found.sort_unstable();
        assert_eq!(found, wanted);
        assert!(changed.is_complete());
        let count = |from: usize, to: usize| {
            let missing = maps[from]
                .keys()
                .filter(|prefix| !maps[to].contains_key(prefix));
            u64::try_from(missing.count()).unwrap()
        };
        assert_eq!((changed.added, changed.removed), (count(1, 0), count(0, 1)));
        let few = tables[1].changed(&tables[0], 2);
        assert_eq!(few.total(), changed.total());
        assert_eq!(few.is_complete(), changed.total() <= 2);
    }
}

#[test]
fn another_end_of_the_table_changes_what_has_none_of_its_own() {
    let table = table(&[
        ("192.0.2.1/32", 80, 500, None),
        ("192.0.2.2/32", 80, 0, None),
    ]);
    let changed = table.with_until(900, 1).changed(&table, 10);
    assert_eq!(changed.prefixes, [net("192.0.2.2/32")]);
    assert_eq!(changed.altered, 1);
}

#[test]
fn reasons_are_kept_once_and_not_without_end() {
    let mut draft = Draft::new(usize::MAX, "own");
    let cut = "x".repeat(200);
    assert_eq!(draft.number("own"), 0);
    assert_eq!(draft.number("  "), 0);
    assert_eq!(draft.number("a\u{1b}[2Jb"), draft.number("a [2Jb"));
    assert_eq!(
        draft.number(&cut),
        draft.number(&"x".repeat(REASON_BYTES_MAX))
    );
    for index in 0..REASONS_MAX + 10 {
        draft.number(&format!("reason {index}"));
    }
    assert_eq!(draft.number("one more"), 0);
    assert_ne!(draft.number("reason 7"), 0);
}

#[test]
fn a_draft_takes_no_more_than_it_may() {
    let mut draft = Draft::new(1, "x");
    draft.push(net("192.0.2.1/32"), 80, 0, None).unwrap();
    let error = draft.push(net("192.0.2.2/32"), 80, 0, None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "brings more than 1 entries (entries_max)"
    );
}

fn zone(uses: Uses, networks: &[&str]) -> Zone {
    Zone {
        name: "z".to_owned(),
        uses,
        networks: Networks::from_networks(networks.iter().map(|text| net(text))),
    }
}

#[test]
fn what_a_feed_may_not_say() {
    let zones = [
        zone(Uses::EXEMPT, &["198.51.100.64/26", "2001:db8:7::/48"]),
        zone(Uses::TRUSTED_PROXY, &["203.0.113.10/32"]),
        zone(Uses::BLOCKED, &["192.0.2.0/24"]),
    ];
    let kept = spared(&zones, [net("192.0.2.77/32")], [net("192.0.2.200/32")]);
    let gate = Gate::new(Limits::default(), &kept);
    let table = [
        ("192.0.2.1/32", None),
        ("192.0.2.77/32", Some(Refused::Exempt)),
        ("192.0.2.0/25", Some(Refused::Exempt)),
        ("192.0.2.200/32", Some(Refused::Own)),
        ("192.0.2.192/26", Some(Refused::Own)),
        ("192.0.2.0/26", None),
        ("198.51.100.70/32", Some(Refused::Exempt)),
        ("198.51.100.0/24", Some(Refused::Exempt)),
        ("198.51.100.0/26", None),
        ("203.0.113.10/32", Some(Refused::TrustedProxy)),
        ("203.0.113.0/24", Some(Refused::TrustedProxy)),
        ("2001:db8:7:1::/64", Some(Refused::Exempt)),
        ("2001:db8::/32", Some(Refused::Exempt)),
        ("2001:db8:8::/48", None),
        ("10.1.2.3/32", Some(Refused::Private)),
        ("172.0.0.0/8", Some(Refused::Private)),
        ("100.100.0.0/16", Some(Refused::Private)),
        ("127.0.0.1/32", Some(Refused::Loopback)),
        ("::1/128", Some(Refused::Loopback)),
        ("169.254.169.254/32", Some(Refused::LinkLocal)),
        ("fe80::1/128", Some(Refused::LinkLocal)),
        ("fd00::/64", Some(Refused::Private)),
        ("224.0.0.1/32", Some(Refused::Multicast)),
        ("ff02::1/128", Some(Refused::Multicast)),
        ("0.0.0.0/32", Some(Refused::Reserved)),
        ("255.255.255.255/32", Some(Refused::Reserved)),
        ("8.0.0.0/7", Some(Refused::TooWide)),
        ("8.0.0.0/8", None),
        ("2a00::/18", Some(Refused::TooWide)),
        ("2a00::/19", None),
        ("0.0.0.0/0", Some(Refused::TooWide)),
        ("::/0", Some(Refused::TooWide)),
    ];
    for (prefix, refused) in table {
        assert_eq!(gate.refuses(&net(prefix)), refused, "{prefix}");
    }
}

#[test]
fn nothing_that_touches_a_spared_prefix_passes() {
    let mut random = Random::new(502);
    for _ in 0..500 {
        let spared: Vec<IpNet> = (0..random.below(12)).map(|_| random.prefix()).collect();
        let limits = Limits {
            length_v4_min: 0,
            length_v6_min: 0,
            private_allowed: true,
        };
        let gate = Gate::new(limits, &super::spared(&[], spared.clone(), []));
        for _ in 0..100 {
            let prefix = random.prefix();
            let special = open_gate().refuses(&prefix).is_some();
            let touches = spared
                .iter()
                .any(|one| one.contains(&prefix) || prefix.contains(one));
            assert_eq!(
                gate.refuses(&prefix).is_some(),
                touches || special,
                "{prefix} {spared:?}"
            );
        }
    }
}

#[test]
fn what_was_set_apart_comes_back_when_the_zones_change() {
    let zones = [zone(Uses::EXEMPT, &["192.0.2.0/24"])];
    let strict = Gate::new(Limits::default(), &spared(&zones, [], []));
    let mut draft = Draft::new(10, "x");
    for host in ["192.0.2.1/32", "198.51.100.1/32"] {
        draft.push(net(host), 80, 0, Some("scan")).unwrap();
    }
    let (table, refusals) = draft.finish("f", &strict);
    assert_eq!(table.len(), 1);
    assert_eq!(refusals.counts, BTreeMap::from([(Refused::Exempt, 1)]));
    let (table, refusals) = table.judged(&refusals.entries, &Gate::new(Limits::default(), &[]));
    assert_eq!((table.len(), refusals.total()), (2, 0));
    let decision = table.decision(&net("192.0.2.1/32"), 0).unwrap();
    assert_eq!(decision.reason, "scan");
    let (table, refusals) = table.judged(&refusals.entries, &strict);
    assert_eq!((table.len(), refusals.total()), (1, 1));
}

#[test]
fn a_million_addresses_cost_twelve_bytes_each() {
    let mut draft = Draft::new(1_000_000, "x");
    for index in 0..1_000_000_u32 {
        let host = 0x0100_0000 + index.wrapping_mul(97) % 0x0800_0000;
        draft
            .push(std::net::Ipv4Addr::from(host).into_net(), 80, 0, None)
            .unwrap();
    }
    let (table, _) = draft.finish("f", &open_gate());
    assert_eq!(table.len(), 1_000_000);
    assert_eq!(size_of_val(&*table.hosts4), 12_000_000);
}

trait IntoNet {
    fn into_net(self) -> IpNet;
}

impl IntoNet for std::net::Ipv4Addr {
    fn into_net(self) -> IpNet {
        IpNet::from(std::net::IpAddr::V4(self))
    }
}

#[test]
fn what_is_built_with_feeds_is_what_each_prefix_is_told() {
    let now = Now {
        wall_ms: 1_800_000_000_000,
        boot_ns: 5_000_000_000,
    };
    let now_s = u32::try_from(now.wall_ms / 1_000).unwrap();
    let mut random = Random::new(504);
    let mut by_feeds = 0;
    for _ in 0..300 {
        let feeds: Vec<FeedTable> = ["drop", "tor"]
            .iter()
            .map(|name| {
                let mut draft = Draft::new(1_000, name);
                for _ in 0..random.below(20) {
                    let end = random.pick(&[0, now_s, now_s + 60, now_s + 600]);
                    let score = random.pick(&[40, 80]);
                    draft.push(random.prefix(), score, end, None).unwrap();
                }
                let until = random.pick(&[0, now_s - 1, now_s + 90]);
                draft.finish(name, &open_gate()).0.with_until(until, 1)
            })
            .collect();
        let zones = [zone(Uses::BLOCKED, &["10.0.1.0/24"])];
        let own: Vec<Decision> = (0..random.below(4))
            .map(|_| Decision {
                prefix: random.prefix(),
                kind: Kind::Block,
                score: random.pick(&[40, 80, 100]),
                reason: "operator".to_owned(),
                origin: Origin::Operator,
                created: 1,
                expires: None,
                actor: String::new(),
                evidence: String::new(),
            })
            .collect();
        let mut classes = Classes::default();
        let built = Desired::build_with(&zones, &[], &own, &feeds, &mut classes, now);
        for prefix in built
            .iter()
            .map(|entry| entry.0)
            .chain((0..30).map(|_| random.prefix()))
            .collect::<Vec<_>>()
        {
            let told: Vec<Decision> = feeds
                .iter()
                .filter_map(|feed| feed.decision(&prefix, now.wall_ms))
                .collect();
            let about: Vec<&Decision> = own
                .iter()
                .filter(|decision| decision.prefix == prefix)
                .chain(&told)
                .collect();
            let single = effective(prefix, &zones, &[], &about, &mut classes, now);
            assert_eq!(built.get(&prefix), single, "{prefix} {feeds:?} {own:?}");
            let origin = single.and_then(|meta| Some(classes.get(meta.class())?.0));
            by_feeds += u32::from(origin == Some(ClassOrigin::Feed));
        }
    }
    assert!(by_feeds > 2_000, "{by_feeds}");
}
