//! What is told, by hand and against sets.

use std::collections::BTreeSet;

use super::*;
use crate::{
    config::{Config, Networks, Uses, Zone},
    policy::{
        classes::Classes,
        decision::{Decision, Kind},
        listing::Desired,
        mode::Mode,
        random::Random,
        snapshot::{Held, policy_word},
        zone::ZoneTable,
    },
};

const NOW: Now = Now {
    wall_ms: 1_800_000_000_000,
    boot_ns: 3_600_000_000_000,
};
const ALL: [LapiOrigin; 2] = [
    LapiOrigin::Of(Origin::Operator),
    LapiOrigin::Of(Origin::Feed),
];

fn decision(prefix: &str, score: u8, origin: Origin, ends_in_ms: Option<u64>) -> Decision {
    Decision {
        prefix: prefix.parse().unwrap(),
        kind: Kind::Block,
        score,
        reason: "Password Spray".to_owned(),
        origin,
        created: 1,
        expires: ends_in_ms.map(|left| NOW.wall_ms + left),
        actor: "drop".to_owned(),
        evidence: String::new(),
    }
}

fn list(mode: Mode, decisions: &[Decision], exempt: &[&str]) -> List {
    let config = Config {
        mode,
        zones: vec![Zone {
            name: "office".to_owned(),
            uses: Uses::EXEMPT,
            networks: Networks::from_networks(exempt.iter().map(|net| net.parse().unwrap())),
        }],
        ..Config::default()
    };
    let mut classes = Classes::default();
    let entries = Desired::build(&config.zones, &[], decisions, &mut classes, NOW);
    let snapshot = Snapshot::build(
        &config,
        &Held {
            mode,
            policy: policy_word(&config, mode, false),
            entries: &entries,
            zones: &ZoneTable::build(&config.zones, [], NOW),
            classes: &classes,
        },
    );
    List::of(&snapshot, &ALL, NOW)
}

fn values(list: &List, filter: &Filter) -> Vec<String> {
    let passing = list.entries.iter().filter(|one| list.passes(one, filter));
    passing.map(|one| one.prefix.to_string()).collect()
}

#[test]
fn what_is_enforced_is_told_and_nothing_else() {
    let decisions = [
        decision("192.0.2.1/32", 100, Origin::Operator, None),
        decision("192.0.2.2/32", 50, Origin::Operator, None),
        decision("192.0.2.3/32", 100, Origin::Detection, None),
        decision("198.51.100.0/24", 80, Origin::Feed, Some(60_500)),
        decision("198.51.100.130/32", 80, Origin::Feed, None),
    ];
    let told = list(Mode::Block, &decisions, &["198.51.100.128/26"]);
    assert_eq!(
        values(&told, &Filter::default()),
        ["192.0.2.1/32", "198.51.100.0/25", "198.51.100.192/26"],
        "the exempt part is carved out, and what lies in it is not told"
    );
    assert_eq!(list(Mode::Log, &decisions, &[]).entries, []);
    let json: serde_json::Value =
        serde_json::from_str(&told.told(&told.entries[1], NOW, false)).unwrap();
    let left = json["duration"].as_str().unwrap();
    assert!(
        left.starts_with("1m0.3") || left.starts_with("1m0.4"),
        "{left}"
    );
    assert_eq!(
        (
            &json["scope"],
            &json["value"],
            &json["type"],
            &json["origin"],
            &json["scenario"]
        ),
        (
            &"Range".into(),
            &"198.51.100.0/25".into(),
            &"ban".into(),
            &"feed".into(),
            &"drop".into()
        )
    );
    let words = |words: &[&str]| {
        words
            .iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    let ranges = Filter {
        scopes: words(&["range"]),
        ..Filter::default()
    };
    assert_eq!(values(&told, &ranges).len(), 2);
    let operator = Filter {
        origins: words(&["operator"]),
        ..Filter::default()
    };
    assert_eq!(values(&told, &operator), ["192.0.2.1/32"]);
    let spray = Filter {
        containing: words(&["spray"]),
        ..Filter::default()
    };
    assert_eq!(values(&told, &spray), ["192.0.2.1/32"]);
    let other = Filter {
        not_containing: words(&["spray"]),
        ..Filter::default()
    };
    assert_eq!(values(&told, &other).len(), 2);
}

#[test]
fn a_bouncer_that_follows_the_changes_knows_what_is_told() {
    let mut random = Random::new(612);
    let mut before = List::default();
    let mut known: BTreeSet<String> = BTreeSet::new();
    for _ in 0..200 {
        let mut decisions: Vec<Decision> = (0..random.below(12))
            .map(|_| {
                let mut one = decision("192.0.2.1/32", 100, Origin::Operator, None);
                one.prefix = random.prefix();
                one.reason = random.pick(&["a", "b"]).to_owned();
                one.expires =
                    random.pick(&[None, Some(NOW.wall_ms + 60_000), Some(NOW.wall_ms + 90_000)]);
                one
            })
            .collect();
        decisions.sort_by_key(Decision::key);
        decisions.dedup_by_key(|one| one.key());
        let now = list(Mode::Block, &decisions, &[]);
        let delta = now.since(&before);
        let same = now.since(&now);
        assert_eq!(same, Delta::default());
        for gone in &delta.deleted {
            assert!(known.remove(&gone.prefix.to_string()), "{gone:?}");
        }
        for new in &delta.new {
            known.insert(new.prefix.to_string());
        }
        let wanted: BTreeSet<String> = values(&now, &Filter::default()).into_iter().collect();
        assert_eq!(known, wanted);
        before = now;
    }
}

#[test]
fn identifiers_are_the_decision_s_own() {
    let one = list(
        Mode::Block,
        &[decision("192.0.2.1/32", 100, Origin::Operator, None)],
        &[],
    );
    let two = list(
        Mode::Block,
        &[
            decision("192.0.2.1/32", 100, Origin::Operator, Some(90_000)),
            decision("192.0.2.2/32", 100, Origin::Operator, None),
        ],
        &[],
    );
    assert_eq!(one.id(&one.entries[0]), two.id(&two.entries[0]));
    assert_ne!(two.id(&two.entries[0]), two.id(&two.entries[1]));
    assert!(two.id(&two.entries[1]) < 1 << 53);
}

#[test]
fn durations_are_those_of_go() {
    for (ms, text) in [
        (0, "0.000s"),
        (58_712, "58.712s"),
        (62_000, "1m2.000s"),
        (14_398_700, "3h59m58.700s"),
    ] {
        assert_eq!(go_duration(Duration::from_millis(ms)), text);
    }
}
