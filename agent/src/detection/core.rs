//! Everything that detection remembers, and what a signal changes about it. No files, no channels, no clock: the
//! log of a dead agent is counted by the same code as a signal of the present.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::policy::{
    defence::{Decided, Defence, Judged, Settings},
    signal::{Flow, Outcome, Signal},
};

/// What is remembered.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Core {
    defence: Defence,
    /// Where each source has got to.
    positions: BTreeMap<String, Vec<u8>>,
    counts: Counts,
}

/// Sums since the state was first made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Signals that were counted.
    pub(crate) signals: u64,
    /// Failures among them.
    pub(crate) failures: u64,
    /// Successful sign-ins among them.
    pub(crate) successes: u64,
    /// Of all of these, the ones that block mode would have refused.
    pub(crate) refused: u64,
    /// Successful sign-ins that block mode would have refused.
    pub(crate) successes_refused: u64,
}

/// One piece of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Entry {
    /// Signals, and where their source has got to.
    Batch(Vec<Signal>, Option<(String, Vec<u8>)>),
    /// What is held against a prefix is forgotten.
    Forget(IpNet),
}

impl Core {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            defence: Defence::new(settings),
            positions: BTreeMap::new(),
            counts: Counts::default(),
        }
    }

    /// Goes on under other settings.
    pub(super) fn set(&mut self, settings: Settings, now_ms: u64) {
        self.defence.set(settings, now_ms);
    }

    /// Counts what the log says; `decided` is told of every reputation that begins, with its signal.
    pub(super) fn apply(&mut self, entry: &Entry, mut decided: impl FnMut(&Signal, &Decided)) {
        match entry {
            Entry::Batch(signals, position) => {
                for signal in signals {
                    for found in self.take(signal).into_iter().flatten() {
                        decided(signal, &found);
                    }
                }
                if let Some((source, cursor)) = position {
                    self.positions.insert(source.clone(), cursor.clone());
                }
            }
            Entry::Forget(prefix) => {
                self.defence.forget(*prefix);
            }
        }
    }

    /// Counts one signal, as replay does: what would have been refused is not learned from, since in block mode it
    /// would not have reached the password check.
    fn take(&mut self, signal: &Signal) -> [Option<Decided>; 4] {
        let signs_in = signal.flow == Flow::SignIn && signal.outcome == Outcome::Success;
        let refused = matches!(self.defence.judge(signal), Judged::Refused(_));
        let counts = &mut self.counts;
        counts.signals = counts.signals.saturating_add(1);
        for (counter, is) in [
            (&mut counts.failures, signal.outcome.failed()),
            (&mut counts.successes, signs_in),
            (&mut counts.refused, refused),
            (&mut counts.successes_refused, refused && signs_in),
        ] {
            *counter = counter.saturating_add(u64::from(is));
        }
        if refused {
            return [None; 4];
        }
        self.defence.learn(signal)
    }

    /// The positions of sources that are no longer configured are of no use.
    pub(super) fn keep_positions(&mut self, keep: impl Fn(&str) -> bool) {
        self.positions.retain(|source, _| keep(source));
    }

    pub(super) const fn positions(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.positions
    }

    pub(super) const fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) const fn defence(&self) -> &Defence {
        &self.defence
    }
}
