//! What follows from each answer.

use std::{collections::VecDeque, time::Duration};

use super::{Answer, Delivery, Health, Item, Pause, SUSPECTS_MAX, Step, backoff};

impl<P> Delivery<P> {
    /// The receiver's answer to the flight; `chance` is any number.
    pub(crate) fn answered(&mut self, answer: Answer, chance: u64) -> Step<P> {
        match answer {
            Answer::Accepted | Answer::AcceptedBut { .. } => self.accepted(),
            Answer::Handed => self.handed(),
            Answer::Partly {
                failed,
                what,
                after,
            } => self.partly(&failed, what, after, chance),
            Answer::Retry { what, after } => self.failed(what, after, chance),
            Answer::Broken { what } => self.broken(what, chance),
            Answer::Paused { why, what, after } => self.pause(why, what, after, chance),
            Answer::TooLarge { what } => self.too_large(what),
            Answer::Poison {
                index,
                earlier_taken,
                what,
            } => self.poison(index, earlier_taken, what, chance),
            Answer::Refused { what } => self.refused(what, chance),
        }
    }

    fn accepted(&mut self) -> Step<P> {
        self.fine();
        self.take(self.flight);
        self.acquit();
        Step::go_on()
    }

    /// All is well only once it is confirmed: a receiver that takes a connection may end it without a word.
    fn handed(&mut self) -> Step<P> {
        let last = self.flight.checked_sub(1);
        let ends = last.and_then(|last| Some((self.queue.front()?.seq, self.queue.get(last)?.seq)));
        self.doubt.extend(ends);
        self.take(self.flight);
        self.acquit();
        Step::go_on()
    }

    fn partly(
        &mut self,
        failed: &[usize],
        what: String,
        after: Option<Duration>,
        chance: u64,
    ) -> Step<P> {
        let flight: Vec<Item<P>> = self.queue.drain(..self.flight).collect();
        let count = flight.len();
        let mut left = VecDeque::new();
        for (index, item) in flight.into_iter().enumerate() {
            if failed.contains(&index) {
                left.push_back(item);
            } else {
                self.taken = self.taken.max(item.seq);
            }
        }
        let taken = count.saturating_sub(left.len());
        self.ahead = self.ahead.saturating_sub(taken).max(left.len());
        while let Some(item) = left.pop_back() {
            self.queue.push_front(item);
        }
        self.flight = 0;
        if failed.iter().all(|index| *index >= count) {
            self.fine();
            self.acquit();
            return Step::go_on();
        }
        if taken > 0 {
            self.failures = 0;
            self.acquit();
        }
        self.failed(what, after, chance)
    }

    fn failed(&mut self, what: String, after: Option<Duration>, chance: u64) -> Step<P> {
        self.restore();
        self.failures = self.failures.saturating_add(1);
        self.run = 0;
        self.health = Health::Failing(what);
        Step::wait(backoff::after_failure(self.failures, after, chance))
    }

    /// What was handed over and not confirmed is read and sent again.
    fn broken(&mut self, what: String, chance: u64) -> Step<P> {
        let step = self.failed(what, None, chance);
        self.rewind();
        Step {
            broken: true,
            ..step
        }
    }

    fn pause(&mut self, why: Pause, what: String, after: Option<Duration>, chance: u64) -> Step<P> {
        self.restore();
        self.rewind();
        self.failures = self.failures.saturating_add(1);
        self.run = 0;
        self.health = Health::Paused(why, what);
        Step {
            broken: true,
            ..Step::wait(backoff::while_paused(self.failures, after, chance))
        }
    }

    fn too_large(&mut self, what: String) -> Step<P> {
        self.run = 0;
        if self.flight > 1 {
            self.fitting = (self.flight / 2).max(1);
            self.flight = 0;
            return Step::go_on();
        }
        self.bury(what)
    }

    fn poison(&mut self, index: usize, earlier_taken: bool, what: String, chance: u64) -> Step<P> {
        if index >= self.flight {
            return self.refused(what, chance);
        }
        let earlier = if earlier_taken { index } else { 0 };
        self.take(earlier);
        if earlier > 0 {
            self.acquit();
        }
        let at = index.saturating_sub(earlier);
        self.flight = 0;
        self.probing = self.limits.events_max.max(1);
        self.ahead = self.ahead.saturating_sub(usize::from(at < self.ahead));
        Step {
            dead: self
                .queue
                .remove(at)
                .map(|item| (item, what))
                .into_iter()
                .collect(),
            ..Step::go_on()
        }
    }

    /// Halves the flight until one event stands alone. Whether it is at fault shows when another one is taken.
    fn refused(&mut self, what: String, chance: u64) -> Step<P> {
        self.run = 0;
        if self.flight > 1 {
            self.probing = (self.flight / 2).max(1);
            self.flight = 0;
            return Step::go_on();
        }
        let Some(alone) = self.queue.front() else {
            return self.pause(Pause::Refused, what, None, chance);
        };
        if alone.seq < self.taken {
            return self.bury(what);
        }
        self.flight = 0;
        self.ahead = self.ahead.saturating_sub(1);
        self.suspects.extend(self.queue.pop_front());
        if self.queue.is_empty() || self.suspects.len() >= SUSPECTS_MAX {
            return self.pause(Pause::Refused, what, None, chance);
        }
        Step::go_on()
    }

    /// The single event of the flight goes to the dead letters.
    fn bury(&mut self, what: String) -> Step<P> {
        self.flight = 0;
        self.probing = self.limits.events_max.max(1);
        self.ahead = self.ahead.saturating_sub(1);
        Step {
            dead: self
                .queue
                .pop_front()
                .map(|item| (item, what))
                .into_iter()
                .collect(),
            ..Step::go_on()
        }
    }

    /// Something was taken: what was refused before gets its second and last try, alone.
    fn acquit(&mut self) {
        if self.suspects.is_empty() {
            return;
        }
        self.restore();
        self.probing = 1;
    }

    /// Puts suspects back to where they came from.
    fn restore(&mut self) {
        self.flight = 0;
        self.ahead = self.ahead.saturating_add(self.suspects.len());
        while let Some(item) = self.suspects.pop_back() {
            self.queue.push_front(item);
        }
    }

    pub(super) fn fine(&mut self) {
        self.failures = 0;
        self.health = Health::Fine;
        self.run = self.run.saturating_add(1);
        self.probing = self.grown(self.probing);
        if self.run >= GROW_AFTER {
            self.run = 0;
            self.fitting = self.grown(self.fitting);
        }
    }

    fn grown(&self, events: usize) -> usize {
        events.saturating_mul(2).min(self.limits.events_max.max(1))
    }

    /// The first `count` of the queue are the receiver's.
    fn take(&mut self, count: usize) {
        let last = self.queue.drain(..count.min(self.queue.len())).next_back();
        self.taken = self.taken.max(last.map_or(0, |item| item.seq));
        self.ahead = self.ahead.saturating_sub(count);
        self.flight = 0;
    }
}

impl<P> Step<P> {
    const fn go_on() -> Self {
        Self::wait(Duration::ZERO)
    }

    const fn wait(wait: Duration) -> Self {
        Self {
            wait,
            dead: Vec::new(),
            broken: false,
        }
    }
}

/// Flights in a row that are taken before they may be larger again.
const GROW_AFTER: u32 = 16;
