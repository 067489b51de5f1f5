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
mod answered;
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

    /// Nobody will confirm what is in doubt: it is read again.
    fn rewind(&mut self) {
        if self.is_in_doubt() {
            self.read = self.settled();
            self.queue.clear();
            self.doubt.clear();
            (self.ahead, self.taken) = (0, 0);
        }
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
