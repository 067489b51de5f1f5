//! What each detector finds, and what it leaves alone.

use std::net::IpAddr;

use super::*;
use crate::policy::signal::PseudonymKey;

const START: u64 = 1_790_000_000_000;
const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;

fn user(number: u64) -> Option<Pseudonym> {
    Some(PseudonymKey::new(1, 2).user(number.to_string().as_bytes()))
}

fn signal(time_ms: u64, client: [u8; 4], outcome: Outcome, who: u64) -> Signal {
    Signal {
        time_ms: START + time_ms,
        client: IpAddr::from(client),
        service: 0,
        flow: Flow::SignIn,
        outcome,
        user: user(who),
        agent: None,
        asn: None,
    }
}

fn detectors() -> Detectors {
    Detectors::new(Thresholds::default(), Capacity::default())
}

/// The findings about the source after each of these signals.
fn run(signals: impl IntoIterator<Item = Signal>) -> Vec<Findings> {
    let mut detectors = detectors();
    signals
        .into_iter()
        .map(|signal| detectors.observe(&signal).source)
        .collect()
}

fn first_high(findings: &[Findings], detection: Detection) -> Option<usize> {
    findings
        .iter()
        .position(|one| one.level(detection) == Some(Level::High))
        .map(|at| at + 1)
}

const A: [u8; 4] = [192, 0, 2, 1];

#[test]
fn each_kind_of_attack_is_found_under_its_name() {
    use Detection::{
        AccountEnumeration, BruteForce, CredentialStuffing, LoginFailures, PasswordSpray,
        UnknownUsers,
    };
    let spray = (0..30).map(|n| signal(n * 20 * SECOND, A, Outcome::Failure, n));
    assert_eq!(first_high(&run(spray), PasswordSpray), Some(8));
    let slow = (0..30).map(|n| signal(n * 30 * MINUTE, A, Outcome::Failure, n));
    let found = first_high(&run(slow), PasswordSpray).unwrap();
    assert!((10..=11).contains(&found), "a try every half hour: {found}");
    let stuffing = (0..30).map(|n| signal(n * SECOND, A, Outcome::UnknownUser, n));
    let found = run(stuffing);
    assert_eq!(first_high(&found, UnknownUsers), Some(6));
    assert!(first_high(&found, CredentialStuffing).is_some_and(|at| at <= 11));
    let brute = (0..30).map(|n| signal(n * 5 * SECOND, A, Outcome::Failure, 1));
    let found = run(brute);
    assert_eq!(first_high(&found, BruteForce), Some(10));
    assert_eq!(first_high(&found, PasswordSpray), None);
    let several = (0..80).map(|n| signal(n * 20 * SECOND, A, Outcome::Failure, n % 8));
    let last = run(several).pop().unwrap();
    assert_eq!(
        last.level(BruteForce),
        Some(Level::Medium),
        "many tries on each of many"
    );
    assert_eq!(last.level(PasswordSpray), None);
    let nameless = (0..30).map(|n| Signal {
        user: None,
        ..signal(n * 5 * SECOND, A, Outcome::Failure, 0)
    });
    let found = run(nameless);
    assert_eq!(first_high(&found, LoginFailures), Some(16));
    assert!(found.iter().all(|one| one.level(PasswordSpray).is_none()));
    let recovery = (0..30).map(|n| Signal {
        flow: Flow::Recovery,
        ..signal(n * 5 * SECOND, A, Outcome::Success, n)
    });
    assert_eq!(first_high(&run(recovery), AccountEnumeration), Some(8));
}

#[test]
fn an_office_on_the_day_of_new_passwords_is_no_spray() {
    let mut detectors = detectors();
    let mut worst = 0;
    for person in 0..300_u64 {
        let start = person * 20 * SECOND;
        let failures = person % 4;
        for n in 0..failures {
            let failure = signal(start + n * 7 * SECOND, A, Outcome::Failure, person);
            worst = worst.max(detectors.observe(&failure).source.score());
        }
        let success = signal(start + 30 * SECOND, A, Outcome::Success, person);
        detectors.observe(&success);
    }
    assert!(worst < 80, "{worst}");
}

#[test]
fn people_and_their_devices_are_left_alone() {
    // Somebody tries seven passwords, then gives up.
    let forgotten = (0..7).map(|n| signal(n * 20 * SECOND, A, Outcome::Failure, 1));
    assert!(run(forgotten).iter().all(|one| one.score() < 80));
    // A device with an old password, for two days.
    let stale = (0..192).map(|n| signal(n * 15 * MINUTE, A, Outcome::Failure, 1));
    assert!(run(stale).iter().all(|one| one.score() < 80));
    // The same at a home where the user signs in.
    let mut all = vec![signal(0, A, Outcome::Success, 1)];
    all.extend((1..300).map(|n| signal(n * 10 * SECOND, A, Outcome::Failure, 1)));
    assert!(first_high(&run(all), Detection::BruteForce).is_none());
}

#[test]
fn an_own_account_does_not_hide_an_attacker() {
    let signals = (0..40_u64).flat_map(|n| {
        [
            signal(n * 20 * SECOND, A, Outcome::Success, 9_999),
            signal(n * 20 * SECOND + 1, A, Outcome::Failure, n),
        ]
    });
    assert!(first_high(&run(signals), Detection::PasswordSpray).is_some());
}

#[test]
fn one_user_from_many_sources() {
    let mut detectors = detectors();
    detectors.observe(&signal(0, [10, 0, 0, 7], Outcome::Success, 1));
    let mut found = Vec::new();
    for n in 0..20_u8 {
        let attack = signal(
            u64::from(n) * 30 * SECOND,
            [203, n, 113, 9],
            Outcome::Failure,
            1,
        );
        found.push(detectors.observe(&attack));
    }
    assert_eq!(found[4].user.score(), 65);
    assert!(found[5].user.score() >= 80 && found[5].joined.score() >= 80);
    assert_eq!(
        found[5].source.score(),
        0,
        "the source has done nothing by itself"
    );
    let owner = detectors.observe(&signal(10 * MINUTE, [10, 0, 0, 8], Outcome::Failure, 1));
    assert!(
        owner.user.is_empty() && owner.joined.is_empty(),
        "known from this network"
    );
    assert!(detectors.trusts(user(1).unwrap(), IpAddr::from([10, 0, 0, 99])));
    assert!(!detectors.trusts(user(2).unwrap(), IpAddr::from([10, 0, 0, 99])));
}

#[test]
fn many_sources_with_one_user_agent() {
    let agent = Some(PseudonymKey::new(1, 2).agent(b"tool", b"/login"));
    let mut detectors = detectors();
    for n in 0..60_u64 {
        let home = [10, 9, n.to_le_bytes()[0], 1];
        detectors.observe(&signal(0, home, Outcome::Success, 5_000 + n));
    }
    let attack = |n: u64| Signal {
        agent,
        ..signal(
            n * 5 * SECOND,
            [203, n.to_le_bytes()[0], 113, 9],
            Outcome::Failure,
            n,
        )
    };
    let found: Vec<Observed> = (0..40).map(|n| detectors.observe(&attack(n))).collect();
    assert!(found[18].agent.score() < 80 && found[19].agent.score() >= 80);
    // The same failures among people who sign in with that browser are no pattern.
    let mut detectors = super::Detectors::new(Thresholds::default(), Capacity::default());
    for n in 0..40_u64 {
        for person in 0..2_u64 {
            let at_home = [10, person.to_le_bytes()[0], n.to_le_bytes()[0], 1];
            let success = signal(
                n * 5 * SECOND,
                at_home,
                Outcome::Success,
                1_000 + n * 2 + person,
            );
            detectors.observe(&Signal { agent, ..success });
        }
        assert!(detectors.observe(&attack(n)).agent.is_empty());
    }
}

#[test]
fn a_network_whose_sources_only_fail() {
    let mut detectors = detectors();
    let mut first = None;
    for n in 0..60_u64 {
        let host = (n % 30).to_le_bytes()[0];
        let attack = signal(n * 60 * SECOND, [198, 51, 100, host], Outcome::Failure, n);
        if detectors.observe(&attack).network.score() >= 80 && first.is_none() {
            first = Some(n + 1);
        }
    }
    assert_eq!(first, Some(30));
    // One bad neighbour does not spoil a network.
    let mut detectors = super::Detectors::new(Thresholds::default(), Capacity::default());
    for n in 0..200_u64 {
        let attack = signal(n * SECOND, [198, 51, 100, 7], Outcome::Failure, n);
        assert!(detectors.observe(&attack).network.is_empty());
    }
}

#[test]
fn prefixes_and_keys() {
    for (address, source, network) in [
        ("192.0.2.77", "192.0.2.77/32", "192.0.2.0/24"),
        ("0.0.0.0", "0.0.0.0/32", "0.0.0.0/24"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64", "2001:db8:1::/48"),
        ("::1", "::/64", "::/48"),
    ] {
        let address: IpAddr = address.parse().unwrap();
        assert_eq!(SourceKey::of(address).prefix().to_string(), source);
        assert_eq!(NetworkKey::of(address).prefix().to_string(), network);
    }
}

#[test]
fn a_simulated_detection_decides_nothing() {
    let thresholds = Thresholds {
        simulated: DetectionSet::default().with(Detection::PasswordSpray),
        ..Thresholds::default()
    };
    let mut detectors = Detectors::new(thresholds, Capacity::default());
    for n in 0..9 {
        let attack = signal(n * 20 * SECOND, A, Outcome::Failure, n);
        let observed = detectors.observe(&attack);
        if n == 8 {
            assert!(observed.source.score() >= 80);
            assert!(observed.without(thresholds.simulated).source.score() < 80);
        }
    }
}

fn in_system(asn: u32, signal: Signal) -> Signal {
    Signal {
        asn: Some(asn),
        ..signal
    }
}

/// Sixty people sign in from homes of their own.
fn with_people(asn: u32) -> Detectors {
    let mut detectors = detectors();
    for n in 0..60_u64 {
        let home = [10, 9, n.to_le_bytes()[0], 1];
        detectors.observe(&in_system(asn, signal(n, home, Outcome::Success, n)));
    }
    detectors
}

/// Four machines of a system fail; then how many users a fifth tries until it is found.
fn tries_of_a_fifth(detectors: &mut Detectors, asn: u32) -> u64 {
    for n in 0..4_u64 {
        let machine = [203, 0, n.to_le_bytes()[0], 1];
        detectors.observe(&in_system(
            asn,
            signal(n, machine, Outcome::Failure, 500 + n),
        ));
    }
    let fifth = |n| {
        in_system(
            asn,
            signal(MINUTE + n * SECOND, A, Outcome::Failure, 600 + n),
        )
    };
    let high = |n: &u64| detectors.observe(&fifth(*n)).source.highest() == Some(Level::High);
    (0..20).find(high).unwrap() + 1
}

#[test]
fn less_is_needed_where_a_whole_system_only_fails() {
    let (rented, access) = (64_900, 64_600);
    assert_eq!(tries_of_a_fifth(&mut with_people(access), rented), 4);
    let mut same = with_people(access);
    assert_eq!(
        tries_of_a_fifth(&mut same, access),
        8,
        "people sign in there"
    );
    let mut nobody = detectors();
    assert_eq!(
        tries_of_a_fifth(&mut nobody, rented),
        8,
        "until it is known what honest sign-ins look like"
    );
    let mut found = with_people(access);
    tries_of_a_fifth(&mut found, rented);
    let scope = Scope::Source(SourceKey::of(IpAddr::from(A)));
    let told = found.evidence(scope, START + 2 * MINUTE);
    assert!(
        told.contains("in AS64900, where 5 of its sources only fail and 0 succeed"),
        "{told}"
    );
    // One user's few tries stay what they are, and a day later the system is forgotten.
    let person = [198, 18, 0, 1];
    let forgot = |n| {
        in_system(
            rented,
            signal(2 * MINUTE + n * SECOND, person, Outcome::Failure, 1),
        )
    };
    let mut found = with_people(access);
    tries_of_a_fifth(&mut found, rented);
    let highest = (0..7)
        .filter_map(|n| found.observe(&forgot(n)).source.highest())
        .max();
    assert!(highest < Some(Level::High), "{highest:?}");
    let days = 3 * 24 * 60 * MINUTE;
    let later = in_system(rented, signal(days, person, Outcome::Failure, 1));
    found.observe(&later);
    let told = found.evidence(
        Scope::Source(SourceKey::of(IpAddr::from(person))),
        START + days,
    );
    assert!(!told.contains("AS64900"), "{told}");
}

fn nameless(time_ms: u64, agent: u64) -> Signal {
    let key = PseudonymKey::new(1, 2);
    Signal {
        user: None,
        agent: Some(key.agent(&agent.to_le_bytes(), b"/")),
        ..signal(time_ms, A, Outcome::Failure, 0)
    }
}

#[test]
fn a_device_without_a_name_is_told_by_its_pace() {
    // Every quarter of an hour, 15 seconds late now and then.
    let device = |n: u64| nameless(n * 15 * MINUTE + n % 3 * 15 * SECOND, 1);
    let found = run((0..60).map(device));
    assert!(
        found.iter().all(|one| one.highest() < Some(Level::High)),
        "{found:?}"
    );
    // A person who mistypes beside it.
    let beside = |n: u64| {
        let typed = |at: u64, outcome| Signal {
            outcome,
            ..nameless(n * 15 * MINUTE + at * MINUTE, 2)
        };
        let person = [
            typed(3, Outcome::Failure),
            typed(4, Outcome::Failure),
            typed(5, Outcome::Success),
        ];
        let person = person.into_iter().filter(move |_| n == 30);
        [device(n)].into_iter().chain(person)
    };
    let found = run((0..60).flat_map(beside));
    assert!(
        found.iter().all(|one| one.highest() < Some(Level::High)),
        "{found:?}"
    );
    // A slow attack whose tries come unevenly, and one at a fast pace.
    let uneven = |n: u64| nameless(n * 15 * MINUTE + n * n % 7 * 100 * SECOND, 1);
    assert_eq!(
        first_high(&run((0..40).map(uneven)), Detection::LoginFailures),
        Some(16)
    );
    let fast = |n: u64| nameless(n * MINUTE, 1);
    assert_eq!(
        first_high(&run((0..40).map(fast)), Detection::LoginFailures),
        Some(16)
    );
}
