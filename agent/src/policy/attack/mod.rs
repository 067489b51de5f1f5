//! Whether a service as a whole is under attack: signals in, starts and ends with their evidence out.
//!
//! | file | what |
//! |---|---|
//! | `slot` | counts of five minutes, in which no single source stands out |
//! | `sample` | distinct things in bounded memory |
//! | `known` | sources that somebody signed in from before |
//! | `rhythm` | what such a slot usually looks like |
//! | `lately` | who signed in during the last hours, and how much counts vary |
//! | `statistic`, `service` | what is compared, for one service |
//! | `chart` | when the difference is no chance |
//! | `posture` | the model's and the operator's word |
//! | `settings` | when, and what changes while it lasts |
//!
//! There is no clock here: time is what signals say and what [`AttackModel::tick`] is told. Why it is made so, and how
//! well it does, is in `docs/detection.md`.

mod chart;
mod known;
mod lately;
mod posture;
mod rhythm;
mod sample;
mod service;
mod settings;
mod slot;
mod statistic;

use std::{collections::BTreeMap, net::IpAddr};

use known::Known;
use posture::Shift;
pub use posture::{Cause, InForce, Posture, WORD_MS_MAX, Word};
use serde::{Deserialize, Serialize};
use service::Service;
pub use settings::{Settings, Tightening};
use statistic::STATISTICS;
pub use statistic::{Evidence, Statistic};

use super::signal::Signal;

/// Length of a slot, ms: five minutes. Long enough for a person to mistype and get in.
pub const SLOT_MS: u64 = 5 * 60_000;
/// Most services that are followed: about 0.2 MB each at the busiest.
pub const SERVICES_MAX: usize = 256;

/// Follows all services. All of it outlives a restart.
#[derive(Debug, Serialize, Deserialize)]
pub struct AttackModel {
    /// Of the configuration, not of the past.
    #[serde(skip)]
    settings: Settings,
    seed: u64,
    known: Known,
    services: BTreeMap<u16, Service>,
    uncounted: u64,
}

/// An attack starts or ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// Which service.
    pub service: u16,
    /// It starts; otherwise it ends.
    pub attacked: bool,
    /// When, milliseconds since the epoch.
    pub at_ms: u64,
    /// When the attack was declared, milliseconds since the epoch.
    pub since_ms: u64,
    /// When the rise began that led to it, milliseconds since the epoch, where there is one.
    pub rising_since_ms: Option<u64>,
    /// Who said so.
    pub cause: Cause,
    /// What was counted since the rise began, against what is usual.
    pub evidence: [Evidence; STATISTICS],
}

/// How a service stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// Which service.
    pub service: u16,
    /// The attack that is in force.
    pub attack: Option<InForce>,
    /// The operator's word while it holds.
    pub word: Option<Word>,
    /// Since when the model sees an attack, milliseconds since the epoch.
    pub model_since_ms: Option<u64>,
    /// Hours of history.
    pub hours_known: u32,
    /// What the charts hold at the moment.
    pub evidence: [Evidence; STATISTICS],
}

impl AttackModel {
    /// A model that has seen nothing yet. `seed` is a secret: without it nobody chooses what falls into a sample.
    #[must_use]
    pub fn new(settings: Settings, seed: u64) -> Self {
        Self {
            settings,
            seed,
            known: Known::default(),
            services: BTreeMap::new(),
            uncounted: 0,
        }
    }

    /// Goes on where an earlier agent ended, or under another configuration: `service` says which service one of then
    /// is now, if there is such a one.
    pub fn resume(&mut self, settings: Settings, service: impl Fn(u16) -> Option<u16>) {
        self.settings = settings;
        self.known = std::mem::take(&mut self.known).checked();
        let services = std::mem::take(&mut self.services).into_iter();
        self.services = services
            .take(SERVICES_MAX)
            .filter_map(|(number, state)| Some((service(number)?, state.checked())))
            .collect();
    }

    /// Counts a signal of an attempt that was let on.
    pub fn observe(&mut self, signal: &Signal) {
        let (settings, seed) = (self.settings, self.seed);
        let source = slot::source_hash(signal.client, seed);
        let familiar = self.known.contains(source);
        let succeeded = signal.outcome == super::signal::Outcome::Success;
        let Some(service) = self.service(signal.service) else {
            return;
        };
        if service.takes(signal.time_ms) {
            service.advance(signal.time_ms, &settings);
            service.slot.observe(signal, source, familiar, seed);
        } else {
            self.uncounted = self.uncounted.saturating_add(1);
        }
        if succeeded {
            self.known.insert(source, signal.time_ms);
        }
    }

    /// Counts an attempt that was refused because of a detection: an attack is one also where every attempt of it is
    /// refused. What feeds, lists and zones refuse says nothing about the service and does not belong here.
    pub fn refused(&mut self, service: u16, client: IpAddr, time_ms: u64) {
        let settings = self.settings;
        let source = slot::source_hash(client, self.seed);
        if self.known.contains(source) {
            return;
        }
        if let Some(service) = self
            .service(service)
            .filter(|service| service.takes(time_ms))
        {
            service.advance(time_ms, &settings);
            service.slot.refuse(source);
        }
    }

    /// What has changed until now; to be asked every few seconds, with the time of the clock or, over a log, with
    /// that of its lines.
    pub fn tick(&mut self, now_ms: u64) -> Vec<Change> {
        let settings = self.settings;
        let mut changes = Vec::new();
        for (number, service) in &mut self.services {
            service.advance(now_ms, &settings);
            let evidence = service.evidence(&settings);
            let rising_since_ms = service.rising_since(&settings);
            let shift = decide(service, now_ms, &settings);
            changes.extend(shift.map(|shift| change(*number, shift, rising_since_ms, evidence)));
        }
        changes
    }

    /// Ends the words of operators whose time is over, and judges nothing: while a log of the past is read, time is
    /// that of its lines.
    pub fn lapse(&mut self, now_ms: u64) -> Vec<Change> {
        let settings = self.settings;
        let mut changes = Vec::new();
        for (number, service) in &mut self.services {
            let Some(shift) = service.posture.advance(now_ms) else {
                continue;
            };
            let evidence = service.evidence(&settings);
            let rising_since_ms = service.rising_since(&settings);
            changes.push(change(*number, shift, rising_since_ms, evidence));
        }
        changes
    }

    /// An operator says that a service is under attack, or is not, for a time ([`WORD_MS_MAX`] at most).
    pub fn say(
        &mut self,
        service: u16,
        attacked: bool,
        now_ms: u64,
        for_ms: u64,
    ) -> Option<Change> {
        let settings = self.settings;
        let number = service;
        let service = self.service(number)?;
        service.advance(now_ms, &settings);
        let evidence = service.evidence(&settings);
        let rising_since_ms = service.rising_since(&settings);
        let shift = service.posture.said(attacked, now_ms, for_ms);
        if !attacked {
            service.forget_charts();
        }
        shift.map(|shift| change(number, shift, rising_since_ms, evidence))
    }

    /// Whether a service is under attack, by whoever's word.
    #[must_use]
    pub fn is_attacked(&self, service: u16) -> bool {
        let service = self.services.get(&service);
        service.is_some_and(|service| service.posture.attack().is_some())
    }

    /// Whether any service is: what the kernel's policy word says.
    #[must_use]
    pub fn any_attacked(&self) -> bool {
        let mut services = self.services.values();
        services.any(|service| service.posture.attack().is_some())
    }

    /// How each service that was heard of stands.
    #[must_use]
    pub fn standings(&mut self, now_ms: u64) -> Vec<Standing> {
        let settings = self.settings;
        let standing = |(number, service): (&u16, &mut Service)| Standing {
            service: *number,
            attack: service.posture.attack(),
            word: service.posture.word(now_ms),
            model_since_ms: service.posture.model(),
            hours_known: service.rhythm.hours(),
            evidence: service.evidence(&settings),
        };
        self.services.iter_mut().map(standing).collect()
    }

    /// Signals that came too late to count, and those of services beyond [`SERVICES_MAX`].
    #[must_use]
    pub const fn uncounted(&self) -> u64 {
        self.uncounted
    }

    /// What is set.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    fn service(&mut self, number: u16) -> Option<&mut Service> {
        if self.services.len() >= SERVICES_MAX && !self.services.contains_key(&number) {
            self.uncounted = self.uncounted.saturating_add(1);
            return None;
        }
        Some(self.services.entry(number).or_default())
    }
}

/// What a moment does to a service.
fn decide(service: &mut Service, now_ms: u64, settings: &Settings) -> Option<Shift> {
    let lapsed = service.posture.advance(now_ms);
    if lapsed.is_some() {
        return lapsed;
    }
    let unasked = service
        .posture
        .word(now_ms)
        .is_none_or(|word| word.attacked);
    match service.posture.model() {
        None if settings.detect && unasked && service.alarms(settings) => {
            service.declare(settings);
            service.posture.modelled(true, now_ms)
        }
        Some(_) if !settings.detect => {
            service.forget_charts();
            service.posture.modelled(false, now_ms)
        }
        Some(since)
            if now_ms >= since.saturating_add(settings.hold_ms) && service.is_calm(settings) =>
        {
            service.forget_charts();
            service.posture.modelled(false, now_ms)
        }
        _ => None,
    }
}

const fn change(
    service: u16,
    shift: Shift,
    rising_since_ms: Option<u64>,
    evidence: [Evidence; STATISTICS],
) -> Change {
    Change {
        service,
        attacked: shift.attacked,
        at_ms: shift.at_ms,
        since_ms: shift.since_ms,
        rising_since_ms,
        cause: shift.cause,
        evidence,
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
