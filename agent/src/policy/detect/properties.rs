//! What holds for any signals: bounded memory, no panic with any clock, and order within a window.

use std::net::IpAddr;

use super::*;
use crate::policy::random::Random;

fn any_signal(random: &mut Random, time_ms: u64, client: IpAddr) -> Signal {
    Signal {
        time_ms,
        client,
        service: 0,
        flow: random.pick(&[Flow::SignIn, Flow::SignIn, Flow::Recovery, Flow::Enrolment]),
        outcome: random.pick(&[
            Outcome::Success,
            Outcome::Failure,
            Outcome::Failure,
            Outcome::UnknownUser,
            Outcome::Challenge,
        ]),
        user: (random.below(4) > 0).then(|| {
            let name = random.below(500).to_string();
            crate::policy::signal::PseudonymKey::new(1, 2).user(name.as_bytes())
        }),
        agent: (random.below(3) > 0).then(|| {
            let name = random.below(50).to_string();
            crate::policy::signal::PseudonymKey::new(1, 2).agent(name.as_bytes(), b"/")
        }),
        asn: (random.below(3) > 0).then(|| u32::try_from(random.below(500)).unwrap_or(0)),
    }
}

fn any_client(random: &mut Random) -> IpAddr {
    let bits = random.next();
    if bits & 1 == 0 {
        let [a, b, c, d, ..] = bits.to_be_bytes();
        IpAddr::from([a, b, c, d])
    } else {
        IpAddr::from(std::net::Ipv6Addr::from(u128::from(bits) << 64 | 1))
    }
}

#[test]
fn a_source_takes_some_200_bytes() {
    // The entry itself with its key, and its place in the index.
    let entry = size_of::<(SourceKey, Source)>() + 10;
    assert!(entry <= 130, "{entry}");
    let mut random = Random::new(5);
    let thresholds = Thresholds::default();
    let client = IpAddr::from([192, 0, 2, 1]);
    let mut source = Source::default();
    for n in 0..100_000 {
        source.observe(&any_signal(&mut random, n * 1_000, client), &thresholds);
    }
    assert!(
        source.bytes() <= 400,
        "{}: also one that tried every user",
        source.bytes()
    );
}

#[test]
fn memory_is_bounded_by_the_capacity() {
    let capacity = Capacity {
        sources_max: 500,
        users_max: 100,
        agents_max: 10,
        systems_max: 10,
    };
    let mut detectors = Detectors::new(Thresholds::default(), capacity);
    let mut random = Random::new(9);
    for n in 0..50_000 {
        let client = any_client(&mut random);
        detectors.observe(&any_signal(&mut random, n * 100, client));
    }
    let (sources, displaced) = detectors.fill();
    assert_eq!(sources, 500);
    assert!(displaced > 40_000);
    assert!(detectors.users.len() <= 100 && detectors.agents.len() <= 10);
    assert!(detectors.networks.len() <= 500);
}

#[test]
fn an_attacker_is_not_forgotten_in_a_flood_of_sources() {
    let capacity = Capacity {
        sources_max: 500,
        ..Capacity::default()
    };
    let mut detectors = Detectors::new(Thresholds::default(), capacity);
    let mut random = Random::new(10);
    let attacker = IpAddr::from([192, 0, 2, 1]);
    let mut highest = 0;
    for n in 0..20_000_u64 {
        let client = any_client(&mut random);
        let mut flood = any_signal(&mut random, n * 100, client);
        flood.outcome = Outcome::Success;
        detectors.observe(&flood);
        if n % 500 == 0 {
            let mut attack = any_signal(&mut random, n * 100, attacker);
            attack.flow = Flow::SignIn;
            attack.outcome = Outcome::Failure;
            attack.user = Some(crate::policy::signal::PseudonymKey::new(3, n).user(b"x"));
            highest = highest.max(detectors.observe(&attack).source.score());
        }
    }
    assert!(highest >= 80, "{highest}");
}

#[test]
fn any_clock_is_survived() {
    let mut random = Random::new(21);
    let mut detectors = Detectors::new(Thresholds::default(), Capacity::default());
    let mut time = 1_790_000_000_000_u64;
    for _ in 0..50_000 {
        time = match random.below(10) {
            0 => random.next(),
            1 => time.saturating_sub(random.below(100_000_000_000)),
            2 => 0,
            3 => u64::MAX,
            _ => time.saturating_add(random.below(60_000)),
        };
        let client = IpAddr::from([10, 0, 0, random.next().to_le_bytes()[0]]);
        let observed = detectors.observe(&any_signal(&mut random, time, client));
        assert!(observed.source.score() <= 100 && observed.network.score() <= 100);
    }
}

#[test]
fn a_wrong_clock_does_not_blind_a_detector() {
    // One line from the far future, then an ordinary spray.
    let mut detectors = Detectors::new(Thresholds::default(), Capacity::default());
    let mut random = Random::new(2);
    let client = IpAddr::from([192, 0, 2, 1]);
    detectors.observe(&any_signal(&mut random, 4_000_000_000_000, client));
    let mut highest = 0;
    for n in 0..15_u64 {
        let attack = Signal {
            flow: Flow::SignIn,
            outcome: Outcome::Failure,
            user: Some(crate::policy::signal::PseudonymKey::new(3, n).user(b"x")),
            ..any_signal(&mut random, 1_790_000_000_000 + n * 1_000, client)
        };
        highest = highest.max(detectors.observe(&attack).source.score());
    }
    assert!(highest >= 80);
}

#[test]
fn within_a_window_the_order_of_failures_does_not_matter() {
    let mut random = Random::new(33);
    for round in 0..100 {
        let client = IpAddr::from([192, 0, 2, 1]);
        // Who among more users than there are slots has the most failures, depends on the order.
        let users = if round < 50 { 6 } else { 12 };
        let mut signals: Vec<Signal> = (0..20)
            .map(|n| Signal {
                flow: Flow::SignIn,
                outcome: random.pick(&[Outcome::Failure, Outcome::UnknownUser]),
                user: Some(
                    crate::policy::signal::PseudonymKey::new(1, random.below(users)).user(b"x"),
                ),
                agent: None,
                ..any_signal(&mut random, 1_790_000_000_000 + n * 1_000, client)
            })
            .collect();
        // A user is unknown or not; one that is both is counted by what came first.
        let mut known = std::collections::HashMap::new();
        for signal in &mut signals {
            signal.outcome = *known.entry(signal.user).or_insert(signal.outcome);
        }
        // The counts of one user end on the user that came last, which must be the same.
        let last = signals.pop().unwrap();
        let judge = |signals: &[Signal]| {
            let mut detectors = Detectors::new(Thresholds::default(), Capacity::default());
            for signal in signals {
                detectors.observe(signal);
            }
            let found = detectors.observe(&last).source;
            let brute = DetectionSet::default().with(Detection::BruteForce);
            if users == 6 {
                found
            } else {
                found.without(brute)
            }
        };
        let expected = judge(&signals);
        signals.reverse();
        assert_eq!(judge(&signals), expected);
        signals.sort_by_key(|signal| signal.user);
        assert_eq!(judge(&signals), expected);
    }
}
