//! What holds for any signals and any clock: bounded memory, no panic, starts and ends in turn.

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    tests::{DAY_MS, HOUR_MS, START_MS, signal},
    *,
};
use crate::policy::{random::Random, signal::Outcome};

fn any_time(random: &mut Random, near_ms: u64) -> u64 {
    match random.below(200) {
        0 => random.next(),
        1 => u64::MAX - random.below(3),
        2 => random.below(3),
        3 => near_ms.saturating_sub(random.below(40 * DAY_MS)),
        4 => near_ms.saturating_add(random.below(40 * DAY_MS)),
        _ => near_ms.saturating_add(random.below(HOUR_MS)),
    }
}

fn any_client(random: &mut Random) -> IpAddr {
    let [a, b, c, d, ..] = random.next().to_be_bytes();
    IpAddr::from([a, b, c, d])
}

#[test]
fn any_order_of_times_gives_starts_and_ends_in_turn() {
    for seed in 1..6 {
        let mut random = Random::new(seed);
        let settings = Settings {
            false_alarm_ms: random.pick(&[0, HOUR_MS, DAY_MS, u64::MAX]),
            sources_min: random.pick(&[0, 5, 20]),
            hold_ms: random.pick(&[0, HOUR_MS]),
            quiet_ms: random.pick(&[0, HOUR_MS]),
            ..Settings::default()
        };
        let mut model = AttackModel::new(settings, seed);
        let mut attacked: BTreeMap<u16, Option<u64>> = BTreeMap::new();
        let mut near = START_MS;
        let mut changes = Vec::new();
        for n in 0..40_000_u64 {
            near += random.below(20_000);
            let (time, client) = (any_time(&mut random, near), any_client(&mut random));
            let service = u16::try_from(random.below(3)).unwrap();
            let outcome = random.pick(&[
                Outcome::Success,
                Outcome::Failure,
                Outcome::UnknownUser,
                Outcome::Challenge,
            ]);
            match random.below(40) {
                0 => changes.extend(model.tick(time)),
                1 => model.refused(service, client, time),
                2 => changes.extend(model.say(
                    service,
                    n % 2 == 0,
                    time,
                    random.next() >> random.below(64),
                )),
                _ => model.observe(&signal(service, time, client, random.below(50), outcome)),
            }
        }
        changes.extend(model.tick(near));
        assert!(!changes.is_empty());
        for change in changes {
            let since = attacked.entry(change.service).or_default();
            assert_eq!(since.is_none(), change.attacked, "{change:?}");
            assert!(change.at_ms >= change.since_ms, "{change:?}");
            if let Some(since) = since {
                assert_eq!(change.since_ms, *since);
            }
            *since = change.attacked.then_some(change.at_ms);
            for evidence in change.evidence {
                let numbers = [evidence.observed, evidence.expected, evidence.score];
                assert!(
                    numbers.iter().all(|it| it.is_finite() && *it >= 0.0),
                    "{change:?}"
                );
            }
        }
    }
}

#[test]
fn memory_is_bounded_whatever_is_thrown_at_it() {
    let mut random = Random::new(1);
    let mut model = AttackModel::new(Settings::default(), 1);
    for n in 0..400_000_u64 {
        let service = u16::try_from(random.below(1_000)).unwrap();
        let client = any_client(&mut random);
        model.observe(&signal(
            service,
            START_MS + n,
            client,
            n,
            Outcome::UnknownUser,
        ));
    }
    assert_eq!(model.services.len(), SERVICES_MAX);
    assert!(model.uncounted() > 200_000);
    let mut busy = AttackModel::new(Settings::default(), 1);
    for n in 0..400_000 {
        let client = any_client(&mut random);
        busy.observe(&signal(0, START_MS, client, n, Outcome::UnknownUser));
    }
    let counts = busy.services[&0].slot.counts();
    assert!((counts[0] - 400_000.0).abs() < 50_000.0, "{counts:?}");
    let written = serde_json::to_string(&busy).unwrap().len();
    assert!(written < 1_500_000, "{written} bytes");
}

#[test]
fn a_state_of_garbage_is_taken_for_what_it_is() {
    let mut model = AttackModel::new(Settings::default(), 1);
    model.observe(&signal(
        0,
        START_MS,
        IpAddr::from([192, 0, 2, 1]),
        1,
        Outcome::Success,
    ));
    let sound = serde_json::to_value(&model).unwrap();
    for (pointer, value) in [
        ("/known/present", serde_json::json!([])),
        ("/known/ones", serde_json::json!(u32::MAX)),
        ("/services/0/rhythm/hours", serde_json::json!([])),
        ("/services/0/hour/slots", serde_json::json!(60_000)),
        ("/services/0/hour/number", serde_json::json!(u64::MAX)),
        ("/services/0/charts/0/score", serde_json::json!(-5.0)),
        ("/services/0/charts/0/since", serde_json::json!(u64::MAX)),
        ("/services/0/spreads/0/squares", serde_json::json!(-1.0)),
        ("/services/0/recent/good", serde_json::json!(-1.0)),
        ("/services/0/posture/model", serde_json::json!(u64::MAX)),
    ] {
        let mut broken = sound.clone();
        *broken.pointer_mut(pointer).unwrap() = value;
        let mut model: AttackModel = serde_json::from_value(broken).unwrap();
        model.resume(Settings::default(), Some);
        for n in 0..300 {
            let client = IpAddr::from([192, 0, 2, u8::try_from(n % 250).unwrap()]);
            model.observe(&signal(
                0,
                START_MS + n * 60_000,
                client,
                n,
                Outcome::Failure,
            ));
            model.tick(START_MS + n * 60_000);
        }
        assert_eq!(model.standings(START_MS).len(), 1, "{pointer}");
    }
}
