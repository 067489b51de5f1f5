//! Tables and properties of `listing` and `standing`: every rule by name, then both against loops.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{collections::BTreeSet, net::IpAddr};

use super::*;
use crate::policy::{decision::Origin, random::Random};

const NOW: Now = Now { wall_ms: 1_800_000_000_000, boot_ns: 3_600_000_000_000 };
const HOUR: u64 = NOW.wall_ms + 3_600_000;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn networks(texts: &[&str]) -> Networks {
    Networks::from_networks(texts.iter().map(|text| net(text)))
}

fn blocked(name: &str, texts: &[&str]) -> Zone {
    Zone { name: name.to_owned(), uses: Uses::BLOCKED, networks: networks(texts) }
}

fn list(name: &str, score: u8, texts: &[&str]) -> List {
    List { name: name.to_owned(), score, reason: format!("on {name}"), networks: networks(texts) }
}

fn decision(prefix: IpNet, score: u8, origin: Origin, expires: Option<u64>) -> Decision {
    let (kind, created) = (Kind::Block, NOW.wall_ms - 1);
    let reason = format!("{origin} says {score}");
    Decision { prefix, kind, score, reason, origin, created, expires, actor: "test".to_owned() }
}

/// Score, class name and expiry of an entry.
fn shown(desired: &Desired, classes: &Classes, prefix: &str) -> Option<(u8, String, u32)> {
    let meta = desired.get(&net(prefix))?;
    Some((meta.score(), classes.get(meta.class()).unwrap().1.to_owned(), meta.expires()))
}

#[test]
fn each_length_goes_to_its_structure() {
    let lists = [list(
        "a",
        70,
        &[
            "192.0.2.7/32", "192.0.2.0/24", "10.0.0.0/8", "192.0.2.8/31", "2001:db8::1/128", "2001:db8::/64",
            "2001:db8::/56", "2001:db8::/48", "2001:db8::/47", "2001:db8::/127", "0.0.0.0/0", "::/0",
        ],
    )];
    let mut classes = Classes::default();
    let desired = Desired::build(&[], &lists, [], &mut classes, NOW);
    let meta = Meta::new(70, 6, FOREVER);
    assert_eq!(desired.hosts4, [(0xc000_0207, meta)]);
    assert_eq!(desired.nets24, [(0xc000_0200, meta)]);
    let base = 0x2001_0db8_u128 << 96;
    assert_eq!(desired.exact6, [(base, 48, meta), (base, 56, meta), (base, 64, meta), (base + 1, 128, meta)]);
    let trie: Vec<String> = desired.trie.iter().map(|entry| entry.0.to_string()).collect();
    assert_eq!(trie, ["0.0.0.0/0", "10.0.0.0/8", "192.0.2.8/31", "::/0", "2001:db8::/47", "2001:db8::/127"]);
    assert_eq!((desired.len(), desired.is_empty()), (12, false));
    let mut used = [false; 256];
    desired.mark_classes(&mut used);
    assert_eq!(used.iter().filter(|mark| **mark).count(), 1);
    assert!(used[6]);
}

#[test]
fn the_strongest_source_of_a_prefix_stays() {
    let zones = [blocked("bad", &["192.0.2.1/32"]), blocked("worse", &["192.0.2.1/32"])];
    let lists = [
        list("low", 20, &["192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32", "192.0.2.4/32"]),
        list("high", 60, &["192.0.2.2/32"]),
        list("same", 20, &["192.0.2.4/32"]),
    ];
    let host = |last: u8| net(&format!("192.0.2.{last}/32"));
    let decisions = [
        decision(host(1), 100, Origin::Operator, None),
        decision(host(3), 20, Origin::Operator, Some(HOUR)),
        decision(host(5), 90, Origin::Feed, Some(HOUR)),
        decision(host(5), 90, Origin::Detection, Some(HOUR + 60_000)),
        decision(host(6), 90, Origin::Feed, Some(HOUR)),
        decision(host(6), 90, Origin::Operator, Some(HOUR)),
        decision(host(7), 99, Origin::Operator, Some(NOW.wall_ms)),
        decision(host(7), 10, Origin::Feed, None),
        decision(host(8), 99, Origin::Operator, Some(NOW.wall_ms - 1)),
        Decision { kind: Kind::Exempt, ..decision(host(9), 0, Origin::Operator, None) },
    ];
    let mut classes = Classes::default();
    let desired = Desired::build(&zones, &lists, &decisions, &mut classes, NOW);
    let hour = NOW.expiry_tick(Some(HOUR));
    let table = [
        (1, Some((SCORE_BLOCKED_ZONE, "bad", FOREVER))),
        (2, Some((60, "high", FOREVER))),
        (3, Some((20, "low", FOREVER))),
        (4, Some((20, "low", FOREVER))),
        (5, Some((90, "detection says 90", NOW.expiry_tick(Some(HOUR + 60_000))))),
        (6, Some((90, "operator says 90", hour))),
        (7, Some((10, "feed says 10", FOREVER))),
        (8, None),
        (9, None),
    ];
    for (last, expected) in table {
        let expected = expected.map(|(score, name, expires)| (score, name.to_owned(), expires));
        assert_eq!(shown(&desired, &classes, &host(last).to_string()), expected, ".{last}");
    }
}

#[test]
fn what_lies_in_a_blocked_zone_is_its_entry() {
    let zones = [
        blocked("wide", &["10.0.0.0/8", "2001:db8::/32"]),
        blocked("narrow", &["10.1.0.0/16"]),
        Zone { uses: Uses::EXEMPT, ..blocked("office", &["10.1.2.0/24"]) },
    ];
    let lists = [list("a", 100, &["10.1.2.0/24", "10.9.9.9/32", "11.0.0.0/8", "2001:db8:1::/64", "0.0.0.0/0"])];
    let temporary = [decision(net("10.1.2.3/32"), 100, Origin::Operator, Some(HOUR))];
    let mut classes = Classes::default();
    let desired = Desired::build(&zones, &lists, &temporary, &mut classes, NOW);
    let table = [
        ("10.1.2.3/32", SCORE_BLOCKED_ZONE, "narrow"),
        ("10.1.2.0/24", SCORE_BLOCKED_ZONE, "narrow"),
        ("10.9.9.9/32", SCORE_BLOCKED_ZONE, "wide"),
        ("10.0.0.0/8", SCORE_BLOCKED_ZONE, "wide"),
        ("2001:db8:1::/64", SCORE_BLOCKED_ZONE, "wide"),
        ("11.0.0.0/8", 100, "a"),
        ("0.0.0.0/0", 100, "a"),
    ];
    for (prefix, score, name) in table {
        assert_eq!(shown(&desired, &classes, prefix), Some((score, name.to_owned(), FOREVER)), "{prefix}");
    }
    assert!(!hides_blocked(&zones));
    assert!(hides_blocked(&[blocked("half", &["10.0.0.0/25"])]));
    assert!(hides_blocked(&[blocked("part", &["2001:db8::/50"])]));
    assert!(!hides_blocked(&[Zone { uses: Uses::EXEMPT, ..blocked("half", &["10.0.0.0/25"]) }]));
}

#[test]
fn the_lowest_scores_give_way() {
    let lists = [
        list("high", 90, &["192.0.2.9/32", "192.0.2.0/24", "10.0.0.0/8", "2001:db8::/32", "2001:db8::9/128"]),
        list("low", 30, &["192.0.2.1/32", "192.0.2.2/32", "198.51.100.0/24", "11.0.0.0/8", "2001:db8::1/128"]),
    ];
    let soon = [decision(net("192.0.2.0/32"), 30, Origin::Operator, Some(HOUR))];
    let full = Desired::build(&[], &lists, &soon, &mut Classes::default(), NOW);

    let mut fitting = full.clone();
    assert_eq!(fitting.fit(&Capacity::default()), Evicted::default());
    assert_eq!(fitting, full);

    let mut tight = full.clone();
    let capacity = Capacity { hosts_v4: 3, hosts_v6: 1, prefixes: 1, ..Capacity::default() };
    let evicted = tight.fit(&capacity);
    assert_eq!(evicted, Evicted { hosts4: 3, exact6: 1, trie: 1 });
    assert_eq!(evicted.total(), 5);
    let left: Vec<String> = tight.iter().map(|entry| entry.0.to_string()).collect();
    let expected = ["192.0.2.1/32", "192.0.2.9/32", "192.0.2.0/24", "2001:db8::9/128", "10.0.0.0/8", "2001:db8::/32"];
    assert_eq!(left, expected, "the strongest, then those that last, then the lower addresses");

    let mut none = full.clone();
    let nothing = Capacity { hosts_v4: 0, hosts_v6: 0, prefixes: 0, ..Capacity::default() };
    assert_eq!(none.fit(&nothing).total(), u64::try_from(full.len()).unwrap());
    assert!(none.is_empty());
}

#[test]
fn fitting_keeps_exactly_what_there_is_room_for() {
    let mut random = Random::new(31);
    for _ in 0..100 {
        let world = World::new(&mut random);
        let mut fitted = world.build(&mut Classes::default());
        let full = fitted.clone();
        let room = u32::try_from(random.below(12)).unwrap();
        let capacity = Capacity { hosts_v4: room, hosts_v6: room, prefixes: room, ..Capacity::default() };
        let evicted = fitted.fit(&capacity);
        let limit = usize::try_from(room).unwrap();
        let exact4 = full.hosts4.len() + full.nets24.len();
        assert_eq!(fitted.hosts4.len() + fitted.nets24.len(), exact4.min(limit));
        assert_eq!(fitted.exact6.len(), full.exact6.len().min(limit));
        assert_eq!(u64::try_from(full.len() - fitted.len()).unwrap(), evicted.total());
        let kept = |entries: &[(u128, u8, Meta)]| entries.iter().map(|entry| strength(entry.2)).min();
        let gone = full.exact6.iter().filter(|entry| !fitted.exact6.contains(entry));
        let strongest_gone = gone.map(|entry| strength(entry.2)).max();
        assert!(limit == 0 || strongest_gone.is_none() || strongest_gone <= kept(&fitted.exact6));
    }
}

/// A small configuration with many collisions.
struct World {
    zones: Vec<Zone>,
    lists: Vec<List>,
    decisions: Vec<Decision>,
}

impl World {
    fn new(random: &mut Random) -> Self {
        let any = |random: &mut Random, count: u64| {
            let count = random.below(count);
            Networks::from_networks((0..count).map(|_| random.prefix()))
        };
        let zones = (0..3)
            .map(|index| Zone {
                name: format!("zone {index}"),
                uses: random.pick(&[Uses::BLOCKED, Uses::BLOCKED.with(Uses::GATEWAY), Uses::EXEMPT]),
                networks: any(random, 5),
            })
            .collect();
        let lists = (0..3)
            .map(|index| List {
                name: format!("list {index}"),
                score: random.pick(&[10, 50, 100]),
                reason: format!("reason {index}"),
                networks: any(random, 20),
            })
            .collect();
        let mut keys = BTreeSet::new();
        let mut decisions = Vec::new();
        for _ in 0..random.below(40) {
            let origin = random.pick(&[Origin::Operator, Origin::List, Origin::Detection, Origin::Feed]);
            let ends = [None, Some(NOW.wall_ms), Some(NOW.wall_ms + 50), Some(HOUR), Some(HOUR + 60_000)];
            let mut made = decision(random.prefix(), random.pick(&[1, 10, 50, 99, 100]), origin, random.pick(&ends));
            made.kind = random.pick(&[Kind::Block, Kind::Block, Kind::Block, Kind::Exempt]);
            if keys.insert(made.key()) {
                decisions.push(made);
            }
        }
        Self { zones, lists, decisions }
    }

    fn build(&self, classes: &mut Classes) -> Desired {
        Desired::build(&self.zones, &self.lists, &self.decisions, classes, NOW)
    }

    /// Score and expiry of every live source with its prefix.
    fn sources(&self) -> Vec<(IpNet, u8, u32)> {
        let blocked = self.zones.iter().filter(|zone| zone.uses.contains(Uses::BLOCKED));
        let zones = blocked.flat_map(|zone| zone.networks.iter().map(|net| (net, SCORE_BLOCKED_ZONE, FOREVER)));
        let lists =
            self.lists.iter().flat_map(|list| list.networks.iter().map(|net| (net, list.score, FOREVER)));
        let decisions = self.decisions.iter().filter(|decision| decision.kind == Kind::Block);
        let decisions =
            decisions.map(|made| (made.prefix, made.score, NOW.expiry_tick(made.expires)));
        zones.chain(lists).chain(decisions).filter(|source| NOW.is_live(source.2)).collect()
    }

    /// What the rules say about one prefix, by looking at everything.
    fn naive(&self, prefix: &IpNet) -> Option<(u8, u32)> {
        let sources = self.sources();
        let (_, score, expires) =
            sources.iter().filter(|source| source.0 == *prefix).max_by_key(|source| (source.1, source.2))?;
        let zone = sources.iter().any(|source| source.1 == SCORE_BLOCKED_ZONE && source.0.contains(prefix));
        Some(if zone { (SCORE_BLOCKED_ZONE, FOREVER) } else { (*score, *expires) })
    }
}

#[test]
fn building_agrees_with_every_single_prefix_and_with_a_loop() {
    let mut random = Random::new(32);
    let mut held = 0;
    for _ in 0..300 {
        let world = World::new(&mut random);
        let mut classes = Classes::default();
        let desired = world.build(&mut classes);
        assert!(desired.hosts4.is_sorted_by(|a, b| a.0 < b.0));
        assert!(desired.nets24.is_sorted_by(|a, b| a.0 < b.0));
        assert!(desired.exact6.is_sorted_by(|a, b| (a.0, a.1) < (b.0, b.1)));
        assert!(desired.trie.is_sorted_by(|a, b| a.0 < b.0));
        let listed: BTreeSet<IpNet> = desired.iter().map(|entry| entry.0).collect();
        assert_eq!(listed.len(), desired.len(), "each prefix once");
        let asked: BTreeSet<IpNet> = (world.decisions.iter().map(|made| made.prefix))
            .chain(world.lists.iter().flat_map(|list| list.networks.iter()))
            .chain(world.zones.iter().flat_map(|zone| zone.networks.iter()))
            .chain((0..20).map(|_| random.prefix()))
            .chain(listed)
            .collect();
        for prefix in asked {
            let built = desired.get(&prefix);
            let decisions: Vec<&Decision> =
                world.decisions.iter().filter(|made| made.prefix == prefix).collect();
            let single = effective(prefix, &world.zones, &world.lists, &decisions, &mut classes, NOW);
            assert_eq!(built, single, "{prefix}");
            assert_eq!(built.map(|meta| (meta.score(), meta.expires())), world.naive(&prefix), "{prefix}");
            held += u32::from(built.is_some());
        }
    }
    assert!(held > 3_000, "the property was asked of {held} entries only");
}

#[test]
fn an_address_meets_the_strongest_entry_that_covers_it() {
    let mut random = Random::new(33);
    let mut met = 0;
    for _ in 0..300 {
        let world = World::new(&mut random);
        let decisions: Vec<&Decision> = world.decisions.iter().collect();
        let sources = world.sources();
        for _ in 0..60 {
            let address: IpAddr = random.address();
            let naive = sources.iter().filter(|s| s.0.contains(&address)).map(|source| source.1).max();
            let ask = |enough| strongest(address, &world.zones, &world.lists, &decisions, enough, NOW);
            let all = ask(u8::MAX);
            assert_eq!(all.map(|found| found.score), naive, "{address}");
            let enough = random.pick(&[1, 50, 80, 101]);
            let first = ask(enough);
            match naive {
                Some(score) if score >= enough => {
                    assert!(first.is_some_and(|found| found.score >= enough), "{address} from {enough}");
                }
                _ => assert_eq!(first, all, "{address} from {enough}"),
            }
            if let Some(found) = first {
                met += 1;
                assert!(found.prefix.contains(&address) && NOW.is_live(found.expires));
                assert_eq!(matches!(found.by, By::Zone(_)), naive == Some(SCORE_BLOCKED_ZONE));
                assert_eq!(found.by.reason().is_none(), matches!(found.by, By::Zone(_)));
                // What the entry in the kernel says is what the answer says.
                let mut classes = Classes::default();
                let held = effective(found.prefix, &world.zones, &world.lists, &decisions, &mut classes, NOW);
                let meta = held.unwrap();
                assert_eq!((meta.score(), meta.expires()), (found.score, found.expires));
                let class = classes.get(meta.class());
                assert_eq!(class, Some((found.by.origin(), found.by.class_name())), "{address}");
            }
        }
    }
    assert!(met > 3_000, "the property was asked of {met} answers only");
}

#[test]
fn a_million_hosts_and_an_overlapping_half_million() {
    // Timing by eye: `cargo test --release -p edgeward million -- --nocapture`.
    let spread = |count: u32, salt: u32| {
        let mut hosts: Vec<u32> = (0..count).map(|index| (index + salt).wrapping_mul(0x9e37_79b1)).collect();
        hosts.sort_unstable();
        Networks { hosts_v4: hosts, ..Networks::default() }
    };
    let of = |name: &str, score, networks| List { networks, ..list(name, score, &[]) };
    let lists = [of("a", 50, spread(1_000_000, 0)), of("b", 60, spread(500_000, 750_000))];
    let zones = [blocked("bad", &["10.0.0.0/8", "192.0.2.0/25"])];
    let mut classes = Classes::default();
    let started = std::time::Instant::now();
    let alone = Desired::build(&[], &lists[..1], [], &mut classes, NOW);
    let first = started.elapsed();
    let mut desired = Desired::build(&zones, &lists, [], &mut classes, NOW);
    let merged = started.elapsed() - first;
    let capacity = Capacity { hosts_v4: 1_000_000, ..Capacity::default() };
    let evicted = desired.fit(&capacity);
    println!("one list {first:?}, merged {merged:?}, fitted {:?}", started.elapsed() - first - merged);
    assert_eq!((alone.hosts4.len(), desired.hosts4.len()), (1_000_000, 1_000_000));
    assert_eq!(evicted.hosts4, 250_000, "of 1.25 million");
    assert!(desired.hosts4.iter().filter(|entry| entry.1.score() == 60).count() > 490_000);
}
