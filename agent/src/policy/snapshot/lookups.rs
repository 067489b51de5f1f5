//! Look-ups against a loop over everything, single changes against a rebuild, and what they cost.

use std::net::IpAddr;

use super::*;
use crate::{
    config::{List, Networks, Zone},
    policy::{
        decision::{Decision, Kind, Origin},
        listing::{effective, hides_blocked, strongest},
        random::Random,
    },
};

const NOW: Now = Now {
    wall_ms: 1_800_000_000_000,
    boot_ns: 3_600_000_000_000,
};

/// A random world.
struct Chance {
    config: Config,
    decisions: Vec<Decision>,
    classes: Classes,
}

impl Chance {
    fn new(random: &mut Random) -> Self {
        let networks = |random: &mut Random, count| {
            Networks::from_networks(
                (0..count)
                    .map(|_| random.prefix())
                    .filter(|net| net.prefix_len() > 0),
            )
        };
        let zones = (0..random.below(3))
            .map(|index| Zone {
                name: format!("zone {index}"),
                uses: random.pick(&[
                    Uses::BLOCKED,
                    Uses::EXEMPT,
                    Uses::TRUSTED_PROXY,
                    Uses::GATEWAY,
                ]),
                networks: networks(random, 3),
            })
            .collect();
        let lists = (0..random.below(3))
            .map(|index| List {
                name: format!("list {index}"),
                score: random.pick(&[20, 50, 80, 90]),
                reason: String::new(),
                networks: networks(random, 8),
            })
            .collect();
        let count = random.below(12);
        let mut decisions: Vec<Decision> = (0..count).map(|_| decision(random)).collect();
        decisions.sort_by_key(Decision::key);
        decisions.dedup_by_key(|decision| decision.key());
        Self {
            config: Config {
                mode: Mode::Block,
                zones,
                lists,
                ..Config::default()
            },
            decisions,
            classes: Classes::default(),
        }
    }

    fn snapshot(&mut self) -> Snapshot {
        let entries = Desired::build(
            &self.config.zones,
            &self.config.lists,
            &self.decisions,
            &mut self.classes,
            NOW,
        );
        let held = Held {
            mode: Mode::Block,
            policy: policy_word(&self.config, Mode::Block, false),
            entries: &entries,
            zones: &ZoneTable::build(&self.config.zones, [], NOW),
            classes: &self.classes,
        };
        Snapshot::build(&self.config, &held)
    }

    /// The snapshot's answers beside those of a search through everything that lists anything.
    fn compare(&self, snapshot: &Snapshot, random: &mut Random) {
        let decisions: Vec<&Decision> = self.decisions.iter().collect();
        let (zones, lists) = (&self.config.zones, &self.config.lists);
        for _ in 0..30 {
            let address = random.address();
            let enough = random.pick(&[1, 50, 80, 101]);
            let wanted = strongest(address, zones, lists, &decisions, enough, NOW).map(|found| {
                let name = found.by.class_name().to_owned();
                (found.score, found.by.origin(), name)
            });
            let found = snapshot
                .entries
                .strongest(address, enough, NOW)
                .map(|entry| {
                    let (origin, name) = snapshot.class(entry.class).unwrap();
                    (entry.score, origin, name.to_owned())
                });
            assert_eq!(found, wanted, "{address} {enough} {:?}", self.decisions);
        }
    }
}

/// The kernel's search over what it holds, as a loop.
fn kernel(entries: &Desired, address: IpAddr, enough: u8, now: Now) -> Option<(u8, u8)> {
    let mut live: Vec<(IpNet, Meta)> = entries
        .iter()
        .filter(|(prefix, meta)| prefix.contains(&address) && now.is_live(meta.expires()))
        .collect();
    live.sort_by_key(|(prefix, _)| {
        std::cmp::Reverse((
            crate::policy::listing::is_exact(prefix),
            prefix.prefix_len(),
        ))
    });
    let pair = |meta: Meta| (meta.score(), meta.class());
    let blocked = live.iter().filter(|(_, meta)| meta.score() == 127);
    if let Some((_, meta)) = blocked.max_by_key(|(prefix, _)| prefix.prefix_len()) {
        return Some(pair(*meta));
    }
    if let Some((_, meta)) = live.iter().find(|(_, meta)| meta.score() >= enough) {
        return Some(pair(*meta));
    }
    let best = live.iter().map(|(_, meta)| meta.score()).max()?;
    live.iter()
        .find(|(_, meta)| meta.score() == best)
        .map(|(_, meta)| pair(*meta))
}

#[test]
fn entries_end_by_the_clock_of_the_question() {
    let mut random = Random::new(403);
    let mut ended = 0;
    for _ in 0..1_500 {
        let mut listed: Vec<(IpNet, Meta)> = (0..random.below(20))
            .map(|_| {
                let expires =
                    random.pick(&[None, Some(NOW.wall_ms + 10_000), Some(NOW.wall_ms + 30_000)]);
                let score = random.pick(&[10, 50, 80, 100, 127]);
                let class = random.pick(&[1, 2, 3, 4, 5, 6, 7, 8]);
                (
                    random.prefix(),
                    Meta::new(score, class, NOW.expiry_tick(expires)),
                )
            })
            .collect();
        listed.sort_by_key(|entry| entry.0);
        listed.dedup_by_key(|entry| entry.0);
        let desired = Desired::from_entries(listed.iter().copied());
        let base = Entries::new(&desired);
        let changed = listed
            .iter()
            .fold(Entries::default(), |entries, (prefix, meta)| {
                entries.with(*prefix, Some(*meta))
            });
        for _ in 0..30 {
            let (address, enough) = (random.address(), random.pick(&[1, 50, 80, 101]));
            for seconds in [0, 10, 30] {
                let now = Now {
                    wall_ms: NOW.wall_ms + seconds * 1_000,
                    boot_ns: NOW.boot_ns + seconds * 1_000_000_000,
                };
                let wanted = kernel(&desired, address, enough, now);
                ended += u32::from(wanted != kernel(&desired, address, enough, NOW));
                for entries in [&base, &changed] {
                    let found = entries.strongest(address, enough, now);
                    let found = found.map(|entry| (entry.score, entry.class));
                    assert_eq!(found, wanted, "{address} {enough} {seconds} {listed:?}");
                }
            }
        }
    }
    assert!(ended > 1_000, "{ended}");
}

fn decision(random: &mut Random) -> Decision {
    Decision {
        prefix: random.prefix(),
        kind: Kind::Block,
        score: random.pick(&[10, 45, 80, 100]),
        reason: random.pick(&["spray", "stuffing"]).to_owned(),
        origin: random.pick(&[Origin::Operator, Origin::Detection]),
        created: 1,
        expires: Some(NOW.wall_ms + 30_000),
        actor: String::new(),
        evidence: String::new(),
    }
}

#[test]
fn a_lookup_is_the_search_through_everything() {
    let mut random = Random::new(401);
    let mut hidden = 0;
    for _ in 0..1_500 {
        let mut world = Chance::new(&mut random);
        hidden += u32::from(hides_blocked(&world.config.zones));
        let snapshot = world.snapshot();
        world.compare(&snapshot, &mut random);
    }
    assert!(hidden > 50);
}

#[test]
fn single_changes_are_a_rebuild() {
    let mut random = Random::new(402);
    for _ in 0..400 {
        let mut world = Chance::new(&mut random);
        let mut snapshot = world.snapshot();
        for _ in 0..20 {
            let prefix = if random.below(3) == 0 && !world.decisions.is_empty() {
                let at = usize::try_from(random.below(world.decisions.len() as u64)).unwrap();
                world.decisions.remove(at).prefix
            } else {
                let new = decision(&mut random);
                world.decisions.retain(|old| old.key() != new.key());
                world.decisions.push(new.clone());
                new.prefix
            };
            let about: Vec<&Decision> = world
                .decisions
                .iter()
                .filter(|decision| decision.prefix == prefix)
                .collect();
            let meta = effective(
                prefix,
                &world.config.zones,
                &world.config.lists,
                &about,
                &mut world.classes,
                NOW,
            );
            snapshot = snapshot
                .with_entry(prefix, meta)
                .with_classes(&world.classes);
        }
        world.compare(&snapshot, &mut random);
        let flat = Snapshot {
            entries: snapshot.entries.rebuilt(),
            ..snapshot.clone()
        };
        assert_eq!(flat.entries.changes(), 0);
        world.compare(&flat, &mut random);
    }
}

#[test]
fn a_million_hosts_cost_little_and_changes_cost_less() {
    let mut desired = Desired::default();
    let meta = Meta::new(90, 6, NOW.expiry_tick(None));
    desired.hosts4 = (0..1_000_000_u32)
        .map(|index| (index.wrapping_mul(4_001), meta))
        .collect();
    desired.hosts4.sort_unstable_by_key(|entry| entry.0);
    let mut entries = Entries::new(&desired);
    assert!(
        entries.base_bytes() < 12_000_000,
        "{}",
        entries.base_bytes()
    );
    assert_eq!(
        entries
            .strongest(IpAddr::from([0, 0, 15, 161]), 80, NOW)
            .unwrap()
            .score,
        90
    );
    for index in 0..30_000_u32 {
        let prefix =
            IpNet::new(IpAddr::from(index.wrapping_mul(77_777).to_be_bytes()), 32).unwrap();
        entries = entries.with(prefix, Some(Meta::new(50, 6, NOW.expiry_tick(None))));
    }
    assert!(entries.changes() > 0);
    for index in 30_000..200_000_u32 {
        let prefix =
            IpNet::new(IpAddr::from(index.wrapping_mul(77_777).to_be_bytes()), 32).unwrap();
        entries = entries.with(prefix, None);
    }
    assert!(entries.changes() < 150_000, "they have become a base");
    let score = |index: u32| {
        entries
            .strongest(
                IpAddr::from(index.wrapping_mul(77_777).to_be_bytes()),
                101,
                NOW,
            )
            .map(|entry| entry.score)
    };
    assert_eq!(
        (score(7), score(29_999), score(30_000), score(199_999)),
        (Some(50), Some(50), None, None)
    );
}
