//! Tables of `listing`: every rule by name.

use super::*;
use crate::policy::decision::Origin;

pub(super) const NOW: Now = Now {
    wall_ms: 1_800_000_000_000,
    boot_ns: 3_600_000_000_000,
};
pub(super) const HOUR: u64 = NOW.wall_ms + 3_600_000;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn networks(texts: &str) -> Networks {
    Networks::from_networks(texts.split_whitespace().map(net))
}

fn blocked(name: &str, texts: &str) -> Zone {
    Zone {
        name: name.to_owned(),
        uses: Uses::BLOCKED,
        networks: networks(texts),
    }
}

fn list(name: &str, score: u8, texts: &str) -> List {
    List {
        name: name.to_owned(),
        score,
        reason: format!("on {name}"),
        networks: networks(texts),
    }
}

pub(super) fn decision(prefix: IpNet, score: u8, origin: Origin, expires: Option<u64>) -> Decision {
    let (kind, created) = (Kind::Block, NOW.wall_ms - 1);
    let reason = format!("{origin} says {score}");
    Decision {
        prefix,
        kind,
        score,
        reason,
        origin,
        created,
        expires,
        actor: "test".to_owned(),
        evidence: String::new(),
    }
}

/// Score, class name and expiry of an entry.
fn shown(desired: &Desired, classes: &Classes, prefix: &str) -> Option<(u8, String, u32)> {
    let meta = desired.get(&net(prefix))?;
    Some((
        meta.score(),
        classes.get(meta.class()).unwrap().1.to_owned(),
        meta.expires(),
    ))
}

#[test]
fn each_length_goes_to_its_structure() {
    let lists = [list(
        "a",
        70,
        "192.0.2.7/32 192.0.2.0/24 10.0.0.0/8 192.0.2.8/31 2001:db8::1/128 2001:db8::/64 2001:db8::/56 2001:db8::/48 2001:db8::/47 2001:db8::/127 0.0.0.0/0 ::/0",
    )];
    let mut classes = Classes::default();
    let desired = Desired::build(&[], &lists, [], &mut classes, NOW);
    let meta = Meta::new(70, 6, FOREVER);
    assert_eq!(desired.hosts4, [(0xc000_0207, meta)]);
    assert_eq!(desired.nets24, [(0xc000_0200, meta)]);
    let base = 0x2001_0db8_u128 << 96;
    assert_eq!(
        desired.exact6,
        [
            (base, 48, meta),
            (base, 56, meta),
            (base, 64, meta),
            (base + 1, 128, meta)
        ]
    );
    let trie: Vec<String> = desired
        .trie
        .iter()
        .map(|entry| entry.0.to_string())
        .collect();
    assert_eq!(
        trie,
        [
            "0.0.0.0/0",
            "10.0.0.0/8",
            "192.0.2.8/31",
            "::/0",
            "2001:db8::/47",
            "2001:db8::/127"
        ]
    );
    assert_eq!((desired.len(), desired.is_empty()), (12, false));
    let mut used = [false; 256];
    desired.mark_classes(&mut used);
    assert_eq!(used.iter().filter(|mark| **mark).count(), 1);
    assert!(used[6]);
}

#[test]
fn the_strongest_source_of_a_prefix_stays() {
    let zones = [
        blocked("bad", "192.0.2.1/32"),
        blocked("worse", "192.0.2.1/32"),
    ];
    let lists = [
        list(
            "low",
            20,
            "192.0.2.1/32 192.0.2.2/32 192.0.2.3/32 192.0.2.4/32",
        ),
        list("high", 60, "192.0.2.2/32"),
        list("same", 20, "192.0.2.4/32"),
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
        Decision {
            kind: Kind::Exempt,
            ..decision(host(9), 0, Origin::Operator, None)
        },
    ];
    let mut classes = Classes::default();
    let desired = Desired::build(&zones, &lists, &decisions, &mut classes, NOW);
    let hour = NOW.expiry_tick(Some(HOUR));
    let table = [
        (1, Some((SCORE_BLOCKED_ZONE, "bad", FOREVER))),
        (2, Some((60, "high", FOREVER))),
        (3, Some((20, "low", FOREVER))),
        (4, Some((20, "low", FOREVER))),
        (
            5,
            Some((
                90,
                "detection says 90",
                NOW.expiry_tick(Some(HOUR + 60_000)),
            )),
        ),
        (6, Some((90, "operator says 90", hour))),
        (7, Some((10, "test", FOREVER))),
        (8, None),
        (9, None),
    ];
    for (last, expected) in table {
        let expected = expected.map(|(score, name, expires)| (score, name.to_owned(), expires));
        assert_eq!(
            shown(&desired, &classes, &host(last).to_string()),
            expected,
            ".{last}"
        );
    }
}

#[test]
fn what_lies_in_a_blocked_zone_is_its_entry() {
    let zones = [
        blocked("wide", "10.0.0.0/8 2001:db8::/32"),
        blocked("narrow", "10.1.0.0/16"),
        Zone {
            uses: Uses::EXEMPT,
            ..blocked("office", "10.1.2.0/24")
        },
    ];
    let lists = [list(
        "a",
        100,
        "10.1.2.0/24 10.9.9.9/32 11.0.0.0/8 2001:db8:1::/64 0.0.0.0/0",
    )];
    let temporary = [decision(
        net("10.1.2.3/32"),
        100,
        Origin::Operator,
        Some(HOUR),
    )];
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
        assert_eq!(
            shown(&desired, &classes, prefix),
            Some((score, name.to_owned(), FOREVER)),
            "{prefix}"
        );
    }
    assert!(!hides_blocked(&zones));
    assert!(hides_blocked(&[blocked("half", "10.0.0.0/25")]));
    assert!(hides_blocked(&[blocked("part", "2001:db8::/50")]));
    assert!(!hides_blocked(&[Zone {
        uses: Uses::EXEMPT,
        ..blocked("half", "10.0.0.0/25")
    }]));
}

#[test]
fn the_lowest_scores_give_way() {
    let lists = [
        list(
            "high",
            90,
            "192.0.2.9/32 192.0.2.0/24 10.0.0.0/8 2001:db8::/32 2001:db8::9/128",
        ),
        list(
            "low",
            30,
            "192.0.2.1/32 192.0.2.2/32 198.51.100.0/24 11.0.0.0/8 2001:db8::1/128",
        ),
    ];
    let soon = [decision(
        net("192.0.2.0/32"),
        30,
        Origin::Operator,
        Some(HOUR),
    )];
    let full = Desired::build(&[], &lists, &soon, &mut Classes::default(), NOW);

    let mut fitting = full.clone();
    assert_eq!(fitting.fit(&Capacity::default()), Evicted::default());
    assert_eq!(fitting, full);

    let mut tight = full.clone();
    let capacity = Capacity {
        hosts_v4: 3,
        hosts_v6: 1,
        prefixes: 1,
        ..Capacity::default()
    };
    let evicted = tight.fit(&capacity);
    assert_eq!(
        evicted,
        Evicted {
            hosts4: 3,
            exact6: 1,
            trie: 1
        }
    );
    assert_eq!(evicted.total(), 5);
    let left: Vec<String> = tight.iter().map(|entry| entry.0.to_string()).collect();
    let expected = [
        "192.0.2.1/32",
        "192.0.2.9/32",
        "192.0.2.0/24",
        "2001:db8::9/128",
        "10.0.0.0/8",
        "2001:db8::/32",
    ];
    assert_eq!(
        left, expected,
        "the strongest, then those that last, then the lower addresses"
    );

    let mut none = full.clone();
    let nothing = Capacity {
        hosts_v4: 0,
        hosts_v6: 0,
        prefixes: 0,
        ..Capacity::default()
    };
    assert_eq!(
        none.fit(&nothing).total(),
        u64::try_from(full.len()).unwrap()
    );
    assert!(none.is_empty());
}

#[test]
fn a_million_hosts_and_an_overlapping_half_million() {
    // Timing by eye: `cargo test --release -p edgeward million -- --nocapture`.
    let spread = |count: u32, salt: u32| {
        let mut hosts: Vec<u32> = (0..count)
            .map(|index| (index + salt).wrapping_mul(0x9e37_79b1))
            .collect();
        hosts.sort_unstable();
        Networks {
            hosts_v4: hosts,
            ..Networks::default()
        }
    };
    let of = |name: &str, score, networks| List {
        networks,
        ..list(name, score, "")
    };
    let lists = [
        of("a", 50, spread(1_000_000, 0)),
        of("b", 60, spread(500_000, 750_000)),
    ];
    let zones = [blocked("bad", "10.0.0.0/8 192.0.2.0/25")];
    let mut classes = Classes::default();
    let alone = Desired::build(&[], &lists[..1], [], &mut classes, NOW);
    let mut desired = Desired::build(&zones, &lists, [], &mut classes, NOW);
    let capacity = Capacity {
        hosts_v4: 1_000_000,
        ..Capacity::default()
    };
    let evicted = desired.fit(&capacity);
    assert_eq!(
        (alone.hosts4.len(), desired.hosts4.len()),
        (1_000_000, 1_000_000)
    );
    assert_eq!(evicted.hosts4, 250_000, "of 1.25 million");
    assert!(
        desired
            .hosts4
            .iter()
            .filter(|entry| entry.1.score() == 60)
            .count()
            > 490_000
    );
}
