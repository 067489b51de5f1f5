//! Every event exactly accounted for, whatever receivers answer and whenever the agent is killed.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::policy::random::Random;

/// A journal, a receiver, and what must hold of both.
struct World {
    random: Random,
    events: u64,
    /// Retention: the oldest event that is kept.
    oldest: u64,
    wanted: BTreeSet<u64>,
    poison: BTreeSet<u64>,
    received: BTreeMap<u64, u32>,
    dead: BTreeSet<u64>,
    lost: BTreeSet<u64>,
    /// In the hands of the network: it may get lost.
    handed: Vec<u64>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let events = 50 + random.below(300);
        let share = random.pick(&[1_u64, 1, 2, 20]);
        let wanted: BTreeSet<u64> = (1..=events).filter(|_| random.below(share) == 0).collect();
        let poisoned = random.pick(&[0_u64, 0, 10, 40]);
        let poison = wanted
            .iter()
            .copied()
            .filter(|_| poisoned > 0 && random.below(poisoned) == 0)
            .collect();
        Self {
            random,
            events,
            oldest: 1,
            wanted,
            poison,
            received: BTreeMap::new(),
            dead: BTreeSet::new(),
            lost: BTreeSet::new(),
            handed: Vec::new(),
        }
    }

    fn load(&mut self, delivery: &mut Delivery<()>) {
        let first = self.oldest.max(delivery.read() + 1);
        if first > self.events {
            return;
        }
        let read = (first + self.random.below(60)).min(self.events);
        let items = self.wanted.range(first..=read).map(|seq| Item {
            seq: *seq,
            bytes: 1 + usize::try_from(*seq % 7).unwrap(),
            payload: (),
        });
        let (before, items) = (delivery.read(), items.collect());
        let gap = delivery.load(self.oldest, items, read);
        self.lost.extend(before + 1..=before + gap);
    }

    fn receive(&mut self, seq: u64) {
        *self.received.entry(seq).or_default() += 1;
    }

    /// An answer that a receiver may give; `hostile` ones may have taken part of what they refuse.
    fn answer(&mut self, flight: &[u64], is_hostile: bool) -> Answer {
        let what = String::new;
        if let Some(index) = flight.iter().position(|seq| self.poison.contains(seq)) {
            return self.refusal(flight, index);
        }
        if is_hostile {
            let some = self.random.below(flight.len() as u64 + 1);
            match self.random.below(9) {
                0 => {
                    (flight.iter().take(usize::try_from(some).unwrap()))
                        .for_each(|seq| self.receive(*seq));
                    return Answer::Retry {
                        what: what(),
                        after: None,
                    };
                }
                1 => {
                    return Answer::Paused {
                        why: Pause::Unauthorized,
                        what: what(),
                        after: None,
                    };
                }
                2 if flight.len() > 1 => return Answer::TooLarge { what: what() },
                3 => {
                    let failed: Vec<usize> = (0..flight.len())
                        .filter(|_| self.random.below(3) == 0)
                        .collect();
                    for (index, seq) in flight.iter().enumerate() {
                        if !failed.contains(&index) {
                            self.receive(*seq);
                        }
                    }
                    return Answer::Partly {
                        failed,
                        what: what(),
                        after: None,
                    };
                }
                4 => {
                    self.handed.extend(flight);
                    return Answer::Handed;
                }
                5 => {
                    // Some of what was handed over arrives, the rest is gone with the connection.
                    let arrived = self.random.below(self.handed.len() as u64 + 1);
                    let handed = std::mem::take(&mut self.handed);
                    handed[..usize::try_from(arrived).unwrap()]
                        .iter()
                        .for_each(|seq| self.receive(*seq));
                    return Answer::Broken { what: what() };
                }
                6 if flight.len() > 1 => return Answer::Refused { what: what() },
                _ => {}
            }
        }
        flight.iter().for_each(|seq| self.receive(*seq));
        Answer::Accepted
    }

    /// One that has an event in it that is never taken.
    fn refusal(&mut self, flight: &[u64], index: usize) -> Answer {
        let what = String::new();
        let earlier_taken = self.random.below(2) == 0;
        if self.random.below(3) > 0 {
            return Answer::Refused { what };
        }
        if earlier_taken {
            flight[..index].iter().for_each(|seq| self.receive(*seq));
        }
        Answer::Poison {
            index,
            earlier_taken,
            what,
        }
    }

    /// The one promise: what is settled needs nobody's care any more.
    fn check(&self, delivery: &Delivery<()>) {
        for seq in self.wanted.range(..=delivery.settled()) {
            let is_accounted = self.received.contains_key(seq)
                || self.dead.contains(seq)
                || self.lost.contains(seq);
            assert!(
                is_accounted,
                "{seq} is settled and nobody has it: {delivery:?}"
            );
        }
    }
}

fn limits(random: &mut Random) -> Limits {
    Limits {
        events_max: random.pick(&[1, 2, 7, 50]),
        bytes_max: random.pick(&[1, 10, 1_000]),
    }
}

fn turn(world: &mut World, delivery: &mut Delivery<()>, is_hostile: bool) {
    if delivery.queue().count() < 40 {
        world.load(delivery);
    }
    let flight: Vec<u64> = delivery.next().map(|item| item.seq).collect();
    assert!(flight.is_sorted(), "{flight:?}");
    if flight.is_empty() {
        return;
    }
    let answer = world.answer(&flight, is_hostile);
    let chance = world.random.next();
    let step = delivery.answered(answer, chance);
    for (item, _) in step.dead {
        assert!(
            world.poison.contains(&item.seq) || is_hostile,
            "{}",
            item.seq
        );
        world.dead.insert(item.seq);
    }
    if !world.handed.is_empty() && world.random.below(3) == 0 {
        let arrived: Vec<u64> = world.handed.drain(..).collect();
        arrived.iter().for_each(|seq| world.receive(*seq));
        delivery.confirmed(*arrived.last().unwrap());
    }
    world.check(delivery);
}

#[test]
fn every_event_is_received_dead_or_counted() {
    for seed in 1..800 {
        let mut world = World::new(seed);
        let limits = limits(&mut world.random);
        let mut delivery = Delivery::new(0, limits);
        let mut durable = 0;
        for _ in 0..600 {
            turn(&mut world, &mut delivery, true);
            match world.random.below(40) {
                0 | 1 => durable = delivery.settled(),
                // Killed: what was in flight is gone, and the place is the one last written.
                2 => {
                    delivery = Delivery::new(durable, limits);
                    world.handed.clear();
                }
                3 if seed % 3 == 0 => {
                    let reach = world.random.below(40);
                    world.oldest = (world.oldest + reach).min(world.events);
                }
                _ => {}
            }
            assert!(durable <= delivery.settled());
        }
        delivery.answered(
            Answer::Broken {
                what: String::new(),
            },
            0,
        );
        world.handed.clear();
        for _ in 0..3_000 {
            turn(&mut world, &mut delivery, false);
        }
        // Poison at the very end has nobody to be compared with.
        let last = delivery.settled();
        let left: Vec<_> = world.wanted.range(last + 1..).collect();
        assert!(
            left.iter().all(|seq| world.poison.contains(*seq)),
            "{seed}: {left:?} {delivery:?}"
        );
    }
}

#[test]
fn without_failures_each_arrives_once_and_in_order() {
    for seed in 1..200 {
        let mut world = World::new(seed);
        world.poison.clear();
        let mut delivery = Delivery::new(0, limits(&mut world.random));
        let mut order: Vec<u64> = Vec::new();
        while delivery.settled() < world.events {
            world.load(&mut delivery);
            let flight: Vec<u64> = delivery.next().map(|item| item.seq).collect();
            if !flight.is_empty() {
                order.extend(&flight);
                let answer = world.answer(&flight, false);
                delivery.answered(answer, 0);
            }
        }
        assert!(order.iter().eq(&world.wanted), "{seed}: {order:?}");
    }
}

/// With answers that say the truth, at-least-once is exactly-once, and order holds but for what was refused.
#[test]
fn honest_refusals_double_nothing() {
    for seed in 1..300 {
        let mut world = World::new(seed);
        let mut delivery = Delivery::new(0, limits(&mut world.random));
        for _ in 0..4_000 {
            turn(&mut world, &mut delivery, false);
        }
        assert!(world.received.values().all(|times| *times == 1), "{seed}");
        assert!(
            world
                .dead
                .iter()
                .all(|seq| !world.received.contains_key(seq))
        );
    }
}
