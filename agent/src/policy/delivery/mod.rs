//! What a stream does next: a pure function of where it is, what its receiver answered, and a number by chance.
//!
//! ```text
//! journal ─▶ load ─▶ queue ─▶ next (a flight) ─▶ receiver ─▶ answered ─▶ settled: what need not be sent again
//! ```
//!
//! What holds whatever receivers say, and whenever the agent is killed: an event up to [`Delivery::settled`] was taken by
//! the receiver, is among the dead letters, or was counted as a gap. Events are sent in their order; one overtakes another
//! only where the receiver itself takes some of a flight and not others, or refuses one for good.

mod answer;
mod backoff;

use std::{collections::VecDeque, time::Duration};

pub(crate) use self::answer::{Answer, Pause};

/// One event on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item<P> {
    /// Its place in the journal.
    pub(crate) seq: u64,
    /// What it counts for in a flight, in bytes.
    pub(crate) bytes: usize,
    /// What is sent.
    pub(crate) payload: P,
}

/// The most that one flight carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Events; at least one.
    pub(crate) events_max: usize,
    /// Bytes; a single event may be more.
    pub(crate) bytes_max: usize,
}

/// How a stream is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Health {
    /// The last answer was good, or there has been none.
    #[default]
    Fine,
    /// It is tried again, and again.
    Failing(String),
    /// Nothing will be taken until somebody changes something; it is tried now and then.
    Paused(Pause, String),
}

/// What follows from an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step<P> {
    /// How long to wait before the next flight.
    pub(crate) wait: Duration,
    /// Events that will not be sent again, each with what its receiver said. To be kept before anything else.
    pub(crate) dead: Vec<(Item<P>, String)>,
    /// Whether what the sink holds of the receiver is of no use any more.
    pub(crate) broken: bool,
}

/// Where a stream is.
#[derive(Debug)]
pub(crate) struct Delivery<P> {
    limits: Limits,
    /// Up to where the journal was read.
    read: u64,
    /// Read and not handed over, in order.
    queue: VecDeque<Item<P>>,
    /// Of the front of the queue: what is with the receiver now.
    flight: usize,
    /// Of the front of the queue: what goes ahead of everything behind it.
    ahead: usize,
    /// Handed over and not confirmed: the first and the last event of each flight.
    doubt: VecDeque<(u64, u64)>,
    /// Refused one by one, waiting for the proof that others are taken.
    suspects: VecDeque<Item<P>>,
    /// The highest event that was taken.
    taken: u64,
    /// Events in a flight as far as its size goes: fewer where flights were too large.
    fitting: usize,
    /// Events in a flight as far as refusals go: fewer while the one that is refused is looked for.
    probing: usize,
    /// Flights in a row that were taken.
    run: u32,
    failures: u32,
    health: Health,
}

/// Flights in a row that are taken before they may be larger again.
const GROW_AFTER: u32 = 16;
/// Events in a row that are refused one by one before it is the receiver that is at fault, not they.
pub(crate) const SUSPECTS_MAX: usize = 8;

impl<P> Delivery<P> {
    /// A stream of which everything up to `settled` is done.
    pub(crate) fn new(settled: u64, limits: Limits) -> Self {
        Self {
            limits,
            read: settled,
            queue: VecDeque::new(),
            flight: 0,
            ahead: 0,
            doubt: VecDeque::new(),
            suspects: VecDeque::new(),
            taken: 0,
            fitting: limits.events_max.max(1),
            probing: limits.events_max.max(1),
            run: 0,
            failures: 0,
            health: Health::Fine,
        }
    }

    /// Up to where the journal was read: reading goes on behind it.
    pub(crate) const fn read(&self) -> u64 {
        self.read
    }

    /// Up to where everything is done. Goes back by [`Self::go_to`] alone.
    pub(crate) fn settled(&self) -> u64 {
        let first_open = [
            self.doubt.front().map(|(first, _)| *first),
            self.suspects.front().map(|item| item.seq),
            self.queue.front().map(|item| item.seq),
        ];
        match first_open.into_iter().flatten().min() {
            Some(seq) => seq.saturating_sub(1).min(self.read),
            None => self.read,
        }
    }

    /// How it is.
    pub(crate) const fn health(&self) -> &Health {
        &self.health
    }

    /// Flights in a row that failed.
    pub(crate) const fn failures(&self) -> u32 {
        self.failures
    }

    /// Events that wait, with their bytes; those with the receiver included.
    pub(crate) fn queue(&self) -> impl Iterator<Item = &Item<P>> {
        self.suspects.iter().chain(&self.queue)
    }

    /// What is with the receiver now.
    pub(crate) fn flight(&self) -> impl Iterator<Item = &Item<P>> {
        self.queue.iter().take(self.flight)
    }

    /// Up to where everything was handed over.
    pub(crate) fn handed_to(&self) -> u64 {
        let first = self.suspects.front().or(self.queue.front());
        first.map_or(self.read, |item| item.seq.saturating_sub(1))
    }

    /// Whether something was handed over that is not confirmed.
    pub(crate) fn is_in_doubt(&self) -> bool {
        !self.doubt.is_empty()
    }

    /// Takes over what was read: `items` are those of the events behind [`Self::read`] and up to `read` that are to be
    /// sent, in order; `first` is the first event that is still kept.
    ///
    /// How many events behind the place where reading stopped are gone.
    pub(crate) fn load(&mut self, first: u64, items: Vec<Item<P>>, read: u64) -> u64 {
        let gap = first.saturating_sub(self.read.saturating_add(1));
        self.queue.extend(items);
        self.read = self.read.max(read).max(first.saturating_sub(1));
        gap
    }

    /// What is sent next; empty if there is nothing. It is with the receiver until [`Self::answered`].
    pub(crate) fn next(&mut self) -> impl Iterator<Item = &Item<P>> {
        let narrowed = self.fitting.min(self.probing);
        let most = match (self.suspects.is_empty(), self.ahead) {
            (false, _) => 1,
            (true, 0) => narrowed,
            (true, ahead) => narrowed.min(ahead),
        };
        let mut bytes = 0_usize;
        self.flight = self
            .queue
            .iter()
            .take(most)
            .take_while(|item| {
                let is_first = bytes == 0;
                bytes = bytes.saturating_add(item.bytes.max(1));
                is_first || bytes <= self.limits.bytes_max
            })
            .count();
        self.queue.iter().take(self.flight)
    }

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

    /// What was handed over up to `seq` has arrived.
    pub(crate) fn confirmed(&mut self, seq: u64) {
        let before = self.doubt.len();
        while self.doubt.front().is_some_and(|(_, last)| *last <= seq) {
            self.doubt.pop_front();
        }
        if self.doubt.len() < before {
            self.fine();
        }
    }

    /// Goes to another place of the journal: everything up to `settled` counts as done.
    pub(crate) fn go_to(&mut self, settled: u64) {
        let health = std::mem::take(&mut self.health);
        *self = Self {
            health,
            failures: self.failures,
            ..Self::new(settled, self.limits)
        };
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

    /// Nobody will confirm what is in doubt: it is read again.
    fn rewind(&mut self) {
        if self.is_in_doubt() {
            self.read = self.settled();
            self.queue.clear();
            self.doubt.clear();
            (self.ahead, self.taken) = (0, 0);
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

    fn fine(&mut self) {
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

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
