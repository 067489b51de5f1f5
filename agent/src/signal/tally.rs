//! What became of a source's lines, and how the source is: for `status`, events and the log.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    clock::Clock,
    control::{EventFeed, report::SignalRow},
};

/// The books of one source, shared with whoever reports them.
#[derive(Clone)]
pub(crate) struct Tally(Arc<Inner>);

struct Inner {
    name: String,
    clock: Clock,
    feed: EventFeed,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    row: SignalRow,
    /// The position that was handed over last.
    reached: Option<Vec<u8>>,
    complained: Option<Instant>,
    held_back: u64,
}

/// What was read since it was last told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Read {
    pub(crate) lines: u64,
    pub(crate) signals: u64,
}

impl Tally {
    pub(crate) fn new(name: &str, clock: Clock, feed: EventFeed) -> Self {
        let row = SignalRow {
            name: name.to_owned(),
            state: STARTING.to_owned(),
            ..SignalRow::default()
        };
        Self(Arc::new(Inner {
            name: name.to_owned(),
            clock,
            feed,
            state: Mutex::new(State {
                row,
                ..State::default()
            }),
        }))
    }

    /// For `status`.
    pub(crate) fn row(&self) -> SignalRow {
        self.state().row.clone()
    }

    /// Where the source is found, for a person.
    pub(crate) fn located(&self, place: String) {
        self.state().row.place = place;
    }

    /// The source has got so far.
    pub(crate) fn reached(&self, cursor: Vec<u8>) {
        self.state().reached = Some(cursor);
    }

    /// How far it has got.
    pub(crate) fn place(&self) -> Option<Vec<u8>> {
        self.state().reached.clone()
    }

    /// Signals that were there before, and calls that were turned away.
    pub(crate) fn called(&self, duplicates: u64, turned_away: u64) {
        let row = &mut self.state().row;
        row.duplicates = row.duplicates.saturating_add(duplicates);
        row.turned_away = row.turned_away.saturating_add(turned_away);
    }

    /// Adds what was read.
    pub(crate) fn add(&self, read: Read) {
        if read.lines == 0 && read.signals == 0 {
            return;
        }
        let now = self.0.clock.now().wall_ms;
        let row = &mut self.state().row;
        row.lines = row.lines.saturating_add(read.lines);
        row.signals = row.signals.saturating_add(read.signals);
        row.last_ms = Some(now);
    }

    /// A line, or part of a call, that was not read. What is in parentheses at the end of a reason names a place; the
    /// sentence before it is one of a closed set.
    pub(crate) fn reject(&self, place: &str, reason: &str) {
        let mut state = self.state();
        let kind = reason.split(" (").next().unwrap_or_default();
        let rejected = &mut state.row.rejected;
        let known = rejected.contains_key(kind) || rejected.len() < REASONS_MAX;
        let kind = if known { kind } else { OTHER };
        let count = rejected.entry(kind.to_owned()).or_default();
        *count = count.saturating_add(1);
        state.row.last_rejected = Some(format!("{place}: {reason}"));
        let now = Instant::now();
        let recent = state
            .complained
            .is_some_and(|last| now.saturating_duration_since(last) < PAUSE);
        if recent {
            state.held_back = state.held_back.saturating_add(1);
            return;
        }
        state.complained = Some(now);
        let held_back = std::mem::take(&mut state.held_back);
        drop(state);
        tracing::warn!(
            source = self.0.name,
            held_back,
            "not read: {place}: {reason}"
        );
    }

    /// Something that the operator should know, and that is past.
    pub(crate) fn note(&self, what: &str) {
        tracing::warn!(source = self.0.name, "{what}");
        let row = &mut self.state().row;
        row.last_error = Some(what.to_owned());
        self.say("system.signal_source.gap", what);
    }

    /// How far behind the source is.
    pub(crate) fn lag(&self, bytes: u64) {
        self.state().row.lag_bytes = bytes;
    }

    /// It works.
    pub(crate) fn well(&self, state: &'static str) {
        let row = &mut self.state().row;
        let failed = row.state == FAILING;
        state.clone_into(&mut row.state);
        if failed {
            let was = row.last_error.clone().unwrap_or_default();
            tracing::info!(source = self.0.name, "works again");
            self.say("system.signal_source.recover", &was);
        }
    }

    /// It does not, and is tried again.
    pub(crate) fn failing(&self, why: &str) {
        let row = &mut self.state().row;
        let known = row.state == FAILING && row.last_error.as_deref() == Some(why);
        FAILING.clone_into(&mut row.state);
        row.last_error = Some(why.to_owned());
        if !known {
            tracing::warn!(source = self.0.name, "{why}");
            self.say("system.signal_source.fail", why);
        }
    }

    fn say(&self, event: &str, why: &str) {
        let event = json!({
            "time": self.0.clock.now().wall_ms,
            "event": event,
            "actor": "edgeward",
            "source": self.0.name,
            "why": why,
        });
        self.0.feed.push(event);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Counters are whole at every moment.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// States in `status`.
const STARTING: &str = "starting";
const FAILING: &str = "failing";
/// Lines are read as they come.
pub(crate) const FOLLOWING: &str = "following";
/// There is no such file yet.
pub(crate) const ABSENT: &str = "waiting for the file";

/// Reasons that are counted by themselves.
const REASONS_MAX: usize = 64;
/// The others.
const OTHER: &str = "(others)";
/// Between two complaints of one source in the log.
const PAUSE: Duration = Duration::from_secs(10);
