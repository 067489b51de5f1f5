//! Properties of `listing` and `standing`: both against each other and against loops over everything.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    tests::{HOUR, NOW, decision},
    *,
};
use crate::policy::{decision::Origin, random::Random};

#[test]
fn fitting_keeps_exactly_what_there_is_room_for() {
    let mut random = Random::new(31);
    for _ in 0..100 {
        let world = World::new(&mut random);
        let mut fitted = world.build(&mut Classes::default());
        let full = fitted.clone();
        let room = u32::try_from(random.below(12)).unwrap();
        let capacity = Capacity {
            hosts_v4: room,
            hosts_v6: room,
            prefixes: room,
            ..Capacity::default()
        };
        let evicted = fitted.fit(&capacity);
        let limit = usize::try_from(room).unwrap();
        let exact4 = full.hosts4.len() + full.nets24.len();
        assert_eq!(fitted.hosts4.len() + fitted.nets24.len(), exact4.min(limit));
        assert_eq!(fitted.exact6.len(), full.exact6.len().min(limit));
        assert_eq!(
            u64::try_from(full.len() - fitted.len()).unwrap(),
            evicted.total()
        );
        let kept =
            |entries: &[(u128, u8, Meta)]| entries.iter().map(|entry| strength(entry.2)).min();
        let gone = full
            .exact6
            .iter()
            .filter(|entry| !fitted.exact6.contains(entry));
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
                uses: random.pick(&[
                    Uses::BLOCKED,
                    Uses::BLOCKED.with(Uses::GATEWAY),
                    Uses::EXEMPT,
                ]),
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
            let origin = random.pick(&[
                Origin::Operator,
                Origin::List,
                Origin::Detection,
                Origin::Feed,
            ]);
            let ends = [
                None,
                Some(NOW.wall_ms),
                Some(NOW.wall_ms + 50),
                Some(HOUR),
                Some(HOUR + 60_000),
            ];
            let mut made = decision(
                random.prefix(),
                random.pick(&[1, 10, 50, 99, 100]),
                origin,
                random.pick(&ends),
            );
            made.kind = random.pick(&[Kind::Block, Kind::Block, Kind::Block, Kind::Exempt]);
            if keys.insert(made.key()) {
                decisions.push(made);
            }
        }
        Self {
            zones,
            lists,
            decisions,
        }
    }

    fn build(&self, classes: &mut Classes) -> Desired {
        Desired::build(&self.zones, &self.lists, &self.decisions, classes, NOW)
    }

    /// Score and expiry of every live source with its prefix.
    fn sources(&self) -> Vec<(IpNet, u8, u32)> {
        let blocked = self
            .zones
            .iter()
            .filter(|zone| zone.uses.contains(Uses::BLOCKED));
        let zones = blocked.flat_map(|zone| {
            zone.networks
                .iter()
                .map(|net| (net, SCORE_BLOCKED_ZONE, FOREVER))
        });
        let lists = self
            .lists
            .iter()
            .flat_map(|list| list.networks.iter().map(|net| (net, list.score, FOREVER)));
        let decisions = self
            .decisions
            .iter()
            .filter(|decision| decision.kind == Kind::Block);
        let decisions =
            decisions.map(|made| (made.prefix, made.score, NOW.expiry_tick(made.expires)));
        zones
            .chain(lists)
            .chain(decisions)
            .filter(|source| NOW.is_live(source.2))
            .collect()
    }

    /// What the rules say about one prefix, by looking at everything.
    fn naive(&self, prefix: &IpNet) -> Option<(u8, u32)> {
        let sources = self.sources();
        let (_, score, expires) = sources
            .iter()
            .filter(|source| source.0 == *prefix)
            .max_by_key(|source| (source.1, source.2))?;
        let zone = sources
            .iter()
            .any(|source| source.1 == SCORE_BLOCKED_ZONE && source.0.contains(prefix));
        Some(if zone {
            (SCORE_BLOCKED_ZONE, FOREVER)
        } else {
            (*score, *expires)
        })
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
            let decisions: Vec<&Decision> = world
                .decisions
                .iter()
                .filter(|made| made.prefix == prefix)
                .collect();
            let single = effective(
                prefix,
                &world.zones,
                &world.lists,
                &decisions,
                &mut classes,
                NOW,
            );
            assert_eq!(built, single, "{prefix}");
            assert_eq!(
                built.map(|meta| (meta.score(), meta.expires())),
                world.naive(&prefix),
                "{prefix}"
            );
            held += u32::from(built.is_some());
        }
    }
    assert!(
        held > 3_000,
        "the property was asked of {held} entries only"
    );
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
            let naive = sources
                .iter()
                .filter(|s| s.0.contains(&address))
                .map(|source| source.1)
                .max();
            let ask =
                |enough| strongest(address, &world.zones, &world.lists, &decisions, enough, NOW);
            let all = ask(u8::MAX);
            assert_eq!(all.map(|found| found.score), naive, "{address}");
            let enough = random.pick(&[1, 50, 80, 101]);
            let first = ask(enough);
            match naive {
                Some(score) if score >= enough => {
                    assert!(
                        first.is_some_and(|found| found.score >= enough),
                        "{address} from {enough}"
                    );
                }
                _ => assert_eq!(first, all, "{address} from {enough}"),
            }
            if let Some(found) = first {
                met += 1;
                assert!(found.prefix.contains(&address) && NOW.is_live(found.expires));
                assert_eq!(
                    matches!(found.by, By::Zone(_)),
                    naive == Some(SCORE_BLOCKED_ZONE)
                );
                assert_eq!(found.by.reason().is_none(), matches!(found.by, By::Zone(_)));
                // What the entry in the kernel says is what the answer says.
                let mut classes = Classes::default();
                let held = effective(
                    found.prefix,
                    &world.zones,
                    &world.lists,
                    &decisions,
                    &mut classes,
                    NOW,
                );
                let meta = held.unwrap();
                assert_eq!((meta.score(), meta.expires()), (found.score, found.expires));
                let class = classes.get(meta.class());
                assert_eq!(
                    class,
                    Some((found.by.origin(), found.by.class_name())),
                    "{address}"
                );
            }
        }
    }
    assert!(met > 3_000, "the property was asked of {met} answers only");
}
