//! Everything that detection remembers, and what a signal changes about it. No files, no channels, no clock: the
//! log of a dead agent is counted by the same code as a signal of the present.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::policy::{
    attack::{self, AttackModel, Change, Standing},
    defence::{Decided, Defence, Judged, Services, Settings},
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
    attack: AttackModel,
    /// The services that the model's numbers mean, by their place.
    services: Vec<String>,
    /// Starts and ends of attacks that the keeper has not been told of.
    #[serde(skip)]
    changes: Vec<Change>,
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
    /// An operator says that a service is under attack, or is not.
    Attack {
        service: u16,
        attacked: bool,
        at_ms: u64,
        for_ms: u64,
    },
}

impl Core {
    /// `seed` is a secret.
    pub(super) fn new(settings: Settings, seed: u64) -> Self {
        Self {
            defence: Defence::new(settings),
            positions: BTreeMap::new(),
            counts: Counts::default(),
            impact: Impact::default(),
            attack: AttackModel::new(attack::Settings::default(), seed),
            services: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// Goes on under other settings.
    pub(super) fn set(&mut self, settings: Settings, now_ms: u64) {
        self.defence.set(settings, now_ms);
    }

    /// Follows these services from now on; whether they stand elsewhere than before, so that what is written down
    /// must be written anew.
    pub(super) fn follow(&mut self, settings: attack::Settings, services: Vec<String>) -> bool {
        let moved = self.services != services;
        let before = std::mem::replace(&mut self.services, services);
        let now = &self.services;
        self.attack.resume(settings, |number| {
            if before.is_empty() {
                return Some(number);
            }
            let name = before.get(usize::from(number))?;
            let place = now.iter().position(|service| service == name)?;
            u16::try_from(place).ok()
        });
        // What the log of an earlier agent changed is told as it now stands.
        self.changes.clear();
        self.tighten();
        moved
    }

    /// Lets the model judge the present, if what is counted is of the present; operators' words end in any case.
    pub(super) fn tick(&mut self, now_ms: u64, of_the_present: bool) {
        let changes = if of_the_present {
            self.attack.tick(now_ms)
        } else {
            self.attack.lapse(now_ms)
        };
        if !changes.is_empty() {
            self.changes.extend(changes);
            self.tighten();
        }
    }

    /// Starts and ends of attacks since the last time.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// How each service stands.
    pub(super) fn standings(&mut self, now_ms: u64) -> Vec<Standing> {
        self.attack.standings(now_ms)
    }

    /// Whether attacks are declared without an operator.
    pub(super) const fn detects_attacks(&self) -> bool {
        self.attack.settings().detect
    }

    /// The name of a service; empty where there is none.
    pub(super) fn service(&self, number: u16) -> &str {
        self.services
            .get(usize::from(number))
            .map_or("", String::as_str)
    }

    /// The numbers of the services that an operator means: one by its name, or all. A host without services has one.
    pub(super) fn meant(&self, name: Option<&str>) -> Vec<u16> {
        let all = 0..u16::try_from(self.services.len().max(1)).unwrap_or(u16::MAX);
        all.filter(|number| name.is_none_or(|name| self.service(*number) == name))
            .collect()
    }

    fn tighten(&mut self) {
        let numbers = 0..=u8::MAX;
        let attacked = numbers
            .map(u16::from)
            .filter(|number| self.attack.is_attacked(*number))
            .fold(Services::NONE, Services::with);
        let tightening = self.attack.settings().tightening;
        self.defence.under_attack(attacked, &tightening);
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
            Entry::Attack {
                service,
                attacked,
                at_ms,
                for_ms,
            } => {
                let change = self.attack.say(*service, *attacked, *at_ms, *for_ms);
                self.changes.extend(change);
                self.tighten();
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
            // What a list, a zone or a feed refuses says nothing about the service.
            if attempt.listed.is_none() {
                self.attack
                    .refused(signal.service, signal.client, signal.time_ms);
            }
            return [None; 4];
        }
        self.attack.observe(signal);
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
