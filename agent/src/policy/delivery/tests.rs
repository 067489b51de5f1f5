//! Each answer by itself.

use super::*;

const LIMITS: Limits = Limits {
    events_max: 8,
    bytes_max: 100,
};

fn items(seqs: impl IntoIterator<Item = u64>) -> Vec<Item<u64>> {
    seqs.into_iter()
        .map(|seq| Item {
            seq,
            bytes: 10,
            payload: seq,
        })
        .collect()
}

fn loaded(count: u64) -> Delivery<u64> {
    let mut delivery = Delivery::new(0, LIMITS);
    assert_eq!(delivery.load(1, items(1..=count), count), 0);
    delivery
}

fn next(delivery: &mut Delivery<u64>) -> Vec<u64> {
    delivery.next().map(|item| item.seq).collect()
}

fn retry() -> Answer {
    Answer::Retry {
        what: "503".to_owned(),
        after: None,
    }
}

fn refused() -> Answer {
    Answer::Refused {
        what: "400".to_owned(),
    }
}

#[test]
fn flights_go_in_order_within_both_limits() {
    let mut delivery = loaded(20);
    assert_eq!(next(&mut delivery), (1..=8).collect::<Vec<_>>());
    assert_eq!(
        delivery.settled(),
        0,
        "nothing is settled while it is with the receiver"
    );
    delivery.answered(Answer::Accepted, 0);
    assert_eq!(delivery.settled(), 8);
    let mut wide = Delivery::new(0, LIMITS);
    let mut large = items(1..=4);
    large[0].bytes = 5_000;
    large[2].bytes = 91;
    wide.load(1, large, 9);
    assert_eq!(next(&mut wide), [1], "one event may be more than a flight");
    wide.answered(Answer::Accepted, 0);
    assert_eq!(next(&mut wide), [2]);
    wide.answered(Answer::Accepted, 0);
    assert_eq!(next(&mut wide), [3]);
    wide.answered(Answer::Accepted, 0);
    next(&mut wide);
    wide.answered(Answer::Accepted, 0);
    assert_eq!(
        wide.settled(),
        9,
        "what no filter let through is settled too"
    );
}

#[test]
fn failures_wait_longer_and_keep_everything() {
    let mut delivery = loaded(3);
    let mut waits = Vec::new();
    for _ in 0..8 {
        assert_eq!(next(&mut delivery), [1, 2, 3]);
        let step = delivery.answered(retry(), u64::MAX);
        assert!(step.dead.is_empty() && !step.broken);
        waits.push(step.wait);
        assert_eq!(delivery.health(), &Health::Failing("503".to_owned()));
    }
    assert!(
        waits.iter().all(|wait| *wait <= Duration::from_secs(60)),
        "{waits:?}"
    );
    assert_eq!((delivery.failures(), delivery.settled()), (8, 0));
    next(&mut delivery);
    delivery.answered(Answer::Accepted, 0);
    assert_eq!((delivery.failures(), delivery.settled()), (0, 3));
    assert_eq!(delivery.health(), &Health::Fine);
    let mut asked = loaded(1);
    next(&mut asked);
    let answer = Answer::Retry {
        what: String::new(),
        after: Some(Duration::from_secs(17)),
    };
    assert_eq!(asked.answered(answer, 5).wait, Duration::from_secs(17));
}

#[test]
fn what_is_too_large_is_halved_and_a_single_one_is_dead() {
    let mut delivery = loaded(8);
    let too_large = || Answer::TooLarge {
        what: "413".to_owned(),
    };
    for expected in [8, 4, 2] {
        assert_eq!(next(&mut delivery).len(), expected);
        let step = delivery.answered(too_large(), 0);
        assert!(step.dead.is_empty() && step.wait.is_zero());
    }
    assert_eq!(next(&mut delivery), [1]);
    let step = delivery.answered(too_large(), 0);
    assert_eq!(step.dead.len(), 1);
    assert_eq!((step.dead[0].0.seq, delivery.settled()), (1, 1));
    for expected in 2..=8 {
        assert_eq!(next(&mut delivery), [expected], "what fits is remembered");
        delivery.answered(Answer::Accepted, 0);
    }
}

#[test]
fn what_was_taken_in_part_goes_ahead_of_the_rest() {
    let mut delivery = loaded(12);
    next(&mut delivery);
    let answer = Answer::Partly {
        failed: vec![2, 5],
        what: "throttled".to_owned(),
        after: None,
    };
    let step = delivery.answered(answer, 0);
    assert!(!step.wait.is_zero());
    assert_eq!(delivery.settled(), 2);
    assert_eq!(next(&mut delivery), [3, 6], "nothing overtakes them");
    delivery.answered(Answer::Accepted, 0);
    assert_eq!(delivery.settled(), 8);
    assert_eq!(next(&mut delivery), [9, 10, 11, 12]);
}

#[test]
fn an_event_that_is_named_is_dead_and_the_others_are_sent() {
    for (earlier_taken, left, settled) in [
        (false, vec![1, 2, 4, 5, 6, 7, 8, 9], 0),
        (true, vec![4, 5, 6, 7, 8, 9, 10, 11], 3),
    ] {
        let mut delivery = loaded(12);
        next(&mut delivery);
        let answer = Answer::Poison {
            index: 2,
            earlier_taken,
            what: "no time".to_owned(),
        };
        let step = delivery.answered(answer, 0);
        assert_eq!(step.dead[0].0.seq, 3);
        assert_eq!(delivery.settled(), settled);
        assert_eq!(next(&mut delivery), left);
    }
}

/// Sends until the queue is empty, to a receiver that refuses a flight with one of `bad` in it.
fn run(delivery: &mut Delivery<u64>, bad: &[u64], rounds_max: usize) -> (Vec<u64>, Vec<u64>) {
    let (mut taken, mut dead) = (Vec::new(), Vec::new());
    for _ in 0..rounds_max {
        let flight = next(delivery);
        if flight.is_empty() {
            return (taken, dead);
        }
        let step = if flight.iter().any(|seq| bad.contains(seq)) {
            delivery.answered(refused(), 0)
        } else {
            taken.extend(flight);
            delivery.answered(Answer::Accepted, 0)
        };
        dead.extend(step.dead.iter().map(|(item, _)| item.seq));
    }
    panic!("not done after {rounds_max} rounds: {delivery:?}");
}

#[test]
fn what_is_refused_is_found_and_nothing_else_is_given_up() {
    for bad in [vec![1], vec![5], vec![39], vec![1, 2, 3], vec![10, 11, 30]] {
        let mut delivery = loaded(40);
        let (mut taken, dead) = run(&mut delivery, &bad, 200);
        assert_eq!(dead, bad);
        taken.sort_unstable();
        let expected: Vec<u64> = (1..=40).filter(|seq| !bad.contains(seq)).collect();
        assert_eq!(taken, expected);
        assert_eq!(delivery.settled(), 40);
    }
}

#[test]
fn a_receiver_that_refuses_everything_gets_no_event_killed() {
    let mut delivery = loaded(40);
    for _ in 0..500 {
        assert!(!next(&mut delivery).is_empty());
        assert!(delivery.answered(refused(), 0).dead.is_empty());
    }
    let health = Health::Paused(Pause::Refused, "400".to_owned());
    assert_eq!((delivery.health(), delivery.settled()), (&health, 0));
    // The last event has nobody to compare with until another comes.
    let mut last = loaded(1);
    for _ in 0..50 {
        next(&mut last);
        assert!(last.answered(refused(), 0).dead.is_empty());
    }
    last.load(2, items([2]), 2);
    let (taken, dead) = run(&mut last, &[1], 20);
    assert_eq!((taken, dead), (vec![2], vec![1]));
}

#[test]
fn what_is_in_doubt_is_sent_again_after_a_break() {
    let mut delivery = loaded(20);
    next(&mut delivery);
    delivery.answered(Answer::Handed, 0);
    next(&mut delivery);
    delivery.answered(Answer::Handed, 0);
    assert_eq!(delivery.settled(), 0);
    delivery.confirmed(8);
    assert_eq!(delivery.settled(), 8);
    next(&mut delivery);
    let what = "reset by peer".to_owned();
    let step = delivery.answered(Answer::Broken { what }, 0);
    assert!(step.broken && !step.wait.is_zero());
    assert_eq!((delivery.settled(), delivery.read()), (8, 8));
    assert_eq!((delivery.handed_to(), delivery.queue().count()), (8, 0));
    delivery.load(9, items(9..=20), 20);
    assert_eq!(next(&mut delivery)[0], 9);
    delivery.answered(Answer::Handed, 0);
    assert_eq!(delivery.failures(), 1, "nobody has said that it arrived");
    delivery.confirmed(3);
    assert_eq!(
        delivery.settled(),
        8,
        "a word about what was settled long ago"
    );
    delivery.confirmed(16);
    assert_eq!((delivery.settled(), delivery.failures()), (16, 0));
    assert_eq!(delivery.health(), &Health::Fine);
}

#[test]
fn events_that_are_gone_are_counted() {
    let mut delivery: Delivery<u64> = Delivery::new(10, LIMITS);
    assert_eq!(delivery.load(15, items([16]), 16), 4);
    assert_eq!(delivery.settled(), 15);
    assert_eq!(delivery.load(40, Vec::new(), 16), 23, "nothing but a gap");
    assert_eq!(delivery.read(), 39);
    delivery.go_to(2);
    assert_eq!((delivery.read(), delivery.settled()), (2, 2));
}
