//! Everything that detection remembers, and what a signal changes about it. No files, no channels, no clock: the
//! log of a dead agent is counted by the same code as a signal of the present.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::policy::{
    defence::{Decided, Defence, Judged, Settings},
    detect::SourceKey,
    impact::{Hit, Impact},
    reputation::Scope,
    signal::{Flow, Outcome, Signal},
};

/// What is remembered.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Core {
    defence: Defence,
    /// Where each source has got to.
    positions: BTreeMap<String, Vec<u8>>,
    counts: Counts,
    impact: Impact,
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

/// A signal, and what the kernel or the gate would have done with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attempt {
    pub(super) signal: Signal,
    /// What would have refused it in block mode: the name of a list, a zone, a feed, a detection.
    pub(super) listed: Option<String>,
}

/// One piece of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Entry {
    /// Signals, and where their source has got to.
    Batch(Vec<Attempt>, Option<(String, Vec<u8>)>),
    /// What is held against a prefix is forgotten.
    Forget(IpNet),
}

impl Core {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            defence: Defence::new(settings),
            positions: BTreeMap::new(),
            counts: Counts::default(),
            impact: Impact::default(),
        }
    }

    /// Goes on under other settings.
    pub(super) fn set(&mut self, settings: Settings, now_ms: u64) {
        self.defence.set(settings, now_ms);
    }

    /// Counts what the log says; `decided` is told of every reputation that begins, with its signal.
    pub(super) fn apply(&mut self, entry: &Entry, mut decided: impl FnMut(&Signal, &Decided)) {
        match entry {
            Entry::Batch(attempts, position) => {
                for attempt in attempts {
                    let signal = &attempt.signal;
                    for found in self.take(attempt).into_iter().flatten() {
                        decided(signal, &found);
                    }
                }
                if let Some((source, cursor)) = position {
                    self.positions.insert(source.clone(), cursor.clone());
                }
            }
            Entry::Forget(prefix) => {
                self.defence.forget(*prefix);
                self.impact.forget(prefix);
            }
        }
    }

    /// Counts one signal, as replay does: what would have been refused is not learned from, since in block mode it
    /// would not have reached the password check.
    fn take(&mut self, attempt: &Attempt) -> [Option<Decided>; 4] {
        let signal = &attempt.signal;
        let signs_in = signal.flow == Flow::SignIn && signal.outcome == Outcome::Success;
        let refused = self.book(attempt);
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

    /// Books what would have become of an attempt; whether it would have been refused.
    fn book(&mut self, attempt: &Attempt) -> bool {
        let signal = &attempt.signal;
        let own = SourceKey::of(signal.client).prefix();
        let (scope, findings) = match self.defence.judge(signal) {
            Judged::Refused(scope) => (Some(scope), self.defence.standing_of(scope)),
            Judged::Passed | Judged::Limited => (None, None),
        };
        let detections = match (&attempt.listed, findings) {
            (_, Some(standing)) => standing.findings.names(),
            (Some(name), None) => name.clone(),
            (None, None) => String::new(),
        };
        let refused = scope.is_some() || attempt.listed.is_some();
        let hit = refused.then(|| Hit {
            prefix: scope.and_then(Scope::prefix).unwrap_or(own),
            detections: &detections,
            attempts_before: scope.map_or(0, |scope| self.defence.attempts(scope, signal.time_ms)),
        });
        self.impact.book(signal, hit.as_ref());
        refused
    }

    pub(super) const fn impact(&self) -> &Impact {
        &self.impact
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
