//! Detectors: signals in, findings out. Streaming, in bounded memory, without a clock of their own.
//!
//! | file | looks at |
//! |---|---|
//! | `source` | one source: an IPv4 address, an IPv6 /64 |
//! | `network` | its /24 or /48 |
//! | `system` | its autonomous system, where that is known |
//! | `spread` | one user, one user agent or the whole service over all sources |
//! | `learned` | one source, as a trained model sees it |
//!
//! An IPv6 source is the /64: a subscriber has one and changes addresses within it at will, so counting by
//! address would count nothing, and would let one subscriber fill every table.

pub mod detection;
mod index;
mod keys;
mod learned;
mod network;
mod pace;
mod source;
mod spread;
mod system;
mod table;
pub mod thresholds;
mod users;
mod window;

use std::{collections::VecDeque, net::IpAddr};

pub use detection::{Detection, DetectionSet, Findings, Level};
pub use keys::{NetworkKey, SourceKey};
pub use learned::Considered;
use network::Network;
use serde::{Deserialize, Serialize};
use source::{Change, Source};
use spread::{Pattern, Seen, UserWatch};
use system::System;
pub use table::{Table, Worth};
pub use thresholds::{Steps, Thresholds};
use window::seconds;

use super::{
    model::Model,
    reputation::Scope,
    signal::{Flow, Outcome, Pseudonym, Signal},
};

/// All detectors and what they remember.
#[derive(Debug, Serialize, Deserialize)]
pub struct Detectors {
    /// Of the configuration, not of the past.
    #[serde(skip)]
    thresholds: Thresholds,
    sources: Table<SourceKey, Source>,
    networks: Table<NetworkKey, Network>,
    users: Table<u64, UserWatch>,
    agents: Table<u64, Pattern>,
    systems: Table<u32, System>,
    everything: Pattern,
    /// Of the configuration too.
    #[serde(skip)]
    model: Option<Model>,
    /// Describe sources although there is no model: one is being trained.
    #[serde(skip)]
    describes: bool,
    #[serde(skip)]
    considered: Option<Considered>,
    /// The latest sources that were found by the counts of a bad system, and which that was: a source has no room for
    /// it, and evidence is asked for soon after.
    #[serde(skip)]
    found_in: VecDeque<(SourceKey, u32)>,
}

/// Most things remembered at a time. What is worth least gives way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Sources, and as many networks.
    pub sources_max: u32,
    /// Users.
    pub users_max: u32,
    /// User agents.
    pub agents_max: u32,
    /// Autonomous systems.
    pub systems_max: u32,
}

/// What one signal led to. Simulated detections are in it; see [`Thresholds::simulated`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// About the source of the signal.
    pub source: Findings,
    /// About its network.
    pub network: Findings,
    /// The source takes part in an attack that no single source shows; it has done little by itself.
    pub joined: Findings,
    /// The source may take part in one: it failed once, for a user that does not exist or while most sources
    /// fail. Not enough where the people behind the source cannot be told from it.
    pub suspect: Findings,
    /// The user of the signal is under attack from many sources.
    pub user: Findings,
    /// The user agent of the signal is the pattern of an attack.
    pub agent: Findings,
}

impl Detectors {
    /// Detectors that have seen nothing yet.
    #[must_use]
    pub fn new(thresholds: Thresholds, capacity: Capacity) -> Self {
        Self {
            thresholds,
            sources: Table::new(capacity.sources_max),
            networks: Table::new(capacity.sources_max),
            users: Table::new(capacity.users_max),
            agents: Table::new(capacity.agents_max),
            systems: Table::new(capacity.systems_max),
            everything: Pattern::default(),
            model: None,
            describes: false,
            considered: None,
            found_in: VecDeque::new(),
        }
    }

    /// Counts a signal and says what the counts now show.
    pub fn observe(&mut self, signal: &Signal) -> Observed {
        let now = seconds(signal.time_ms);
        let (source_key, network_key) =
            (SourceKey::of(signal.client), NetworkKey::of(signal.client));
        let mut thresholds = self.thresholds;
        let mut observed = Observed::default();
        self.considered = None;
        let Some(source) = self.sources.entry(source_key, now) else {
            return observed;
        };
        let change = source.observe(signal, &thresholds);
        let bad_system = watch_system(&mut self.systems, signal, &change, &thresholds)
            .filter(|_| self.everything.knows_honest(signal.time_ms, &thresholds));
        if bad_system.is_some() {
            thresholds = thresholds.of_bad_system();
        }
        if signal.outcome == Outcome::Challenge {
            return observed;
        }
        let signs_in = signal.flow == Flow::SignIn;
        let failed = signs_in && signal.outcome.failed();
        if failed || !signs_in {
            observed.source = source.judge(signal.time_ms, &change, &thresholds);
        }
        if let Some(asn) = bad_system.filter(|_| !observed.source.is_empty()) {
            self.found_in.retain(|(key, _)| *key != source_key);
            self.found_in.truncate(FOUND_IN_MAX.saturating_sub(1));
            self.found_in.push_front((source_key, asn));
        }
        if !signs_in {
            self.consider(signal, &change, &mut observed);
            return observed;
        }
        let known = change.trusted || source.is_office(signal.time_ms, &thresholds);
        if let Some(network) = self.networks.entry(network_key, now) {
            observed.network = network.observe(signal.time_ms, failed, &change, &thresholds);
        }
        let seen = Seen {
            time_ms: signal.time_ms,
            failed,
            change: &change,
        };
        self.everything.observe(&seen, &thresholds);
        let user = self.watch_user(signal, &seen);
        let agent = self.watch_agent(signal, &seen);
        if failed && !known {
            observed.joined.add(Detection::BruteForce, user);
            observed.joined.add(Detection::CredentialStuffing, agent);
            self.in_surge(signal, &change, &mut observed);
        }
        observed.user.add(Detection::BruteForce, user);
        observed.agent.add(Detection::CredentialStuffing, agent);
        if failed {
            self.consider(signal, &change, &mut observed);
        }
        observed
    }

    /// Goes on under other settings; what no longer has room gives way.
    pub fn set(&mut self, thresholds: Thresholds, capacity: Capacity, time_ms: u64) {
        let now = seconds(time_ms);
        self.thresholds = thresholds;
        self.sources.limit(capacity.sources_max, now);
        self.networks.limit(capacity.sources_max, now);
        self.users.limit(capacity.users_max, now);
        self.agents.limit(capacity.agents_max, now);
        self.systems.limit(capacity.systems_max, now);
    }

    /// Forgets what a source did, after somebody has said that it was no attacker.
    pub fn forget(&mut self, source: SourceKey) {
        self.sources.remove(source);
    }

    /// The same for a network.
    pub fn forget_network(&mut self, network: NetworkKey) {
        self.networks.remove(network);
    }

    /// Sign-ins of a scope within the long window, 0 where they are not counted.
    #[must_use]
    pub fn attempts(&self, scope: Scope, time_ms: u64) -> u64 {
        let source = match scope {
            Scope::Source(key) => self.sources.get(key),
            Scope::Network(_) | Scope::User(_) | Scope::Agent(_) => None,
        };
        source.map_or(0, |source| source.attempts(time_ms, &self.thresholds))
    }

    /// What was counted about a scope, in a sentence.
    #[must_use]
    pub fn evidence(&self, scope: Scope, time_ms: u64) -> String {
        match scope {
            Scope::Source(key) => self.sources.get(key).map_or_else(String::new, |source| {
                let mut counted = source.evidence(time_ms, &self.thresholds);
                if let Some(system) = self.bad_system(key, time_ms) {
                    counted.push_str(&system);
                }
                self.with_opinion(key, counted)
            }),
            Scope::Network(key) => self.networks.get(key).map_or_else(String::new, |network| {
                network.evidence(time_ms, &self.thresholds)
            }),
            Scope::User(_) | Scope::Agent(_) => String::new(),
        }
    }

    /// Of a source in a system whose sources are taken for an attacker's: what was counted there.
    fn bad_system(&self, source: SourceKey, time_ms: u64) -> Option<String> {
        let (_, asn) = *self.found_in.iter().find(|(key, _)| *key == source)?;
        let system = self.systems.get(asn)?;
        system.is_bad(time_ms, &self.thresholds).then(|| {
            let counted = system.evidence(time_ms, &self.thresholds);
            let percent = self.thresholds.asn_counts_percent;
            format!("; in AS{asn}, where {counted}: {percent} % of the counts are enough there")
        })
    }

    /// The same by other thresholds: those of a service under attack.
    pub fn observe_by(&mut self, thresholds: &Thresholds, signal: &Signal) -> Observed {
        let ordinary = std::mem::replace(&mut self.thresholds, *thresholds);
        let observed = self.observe(signal);
        self.thresholds = ordinary;
        observed
    }

    /// The thresholds in force.
    #[must_use]
    pub const fn thresholds(&self) -> &Thresholds {
        &self.thresholds
    }

    /// Whether a source has signed somebody in within the long window: requests that only look like an
    /// attack are not refused to it.
    #[must_use]
    pub fn has_succeeded(&self, client: IpAddr, time_ms: u64) -> bool {
        self.sources
            .get(SourceKey::of(client))
            .is_some_and(|source| source.has_succeeded(time_ms, &self.thresholds))
    }

    /// Every user with the marks of the networks that it signed in from last.
    pub fn homes(&self) -> impl Iterator<Item = (u64, u32)> {
        let users = self.users.iter();
        users.flat_map(|(user, watch)| watch.homes().map(|mark| (*user, mark)))
    }

    /// Every source where somebody signed in within the long window.
    pub fn good_sources(&self, time_ms: u64) -> impl Iterator<Item = SourceKey> {
        let sources = self.sources.iter();
        sources
            .filter(move |(_, source)| source.has_succeeded(time_ms, &self.thresholds))
            .map(|(key, _)| *key)
    }

    /// Whether a user has signed in from the client's network before.
    #[must_use]
    pub fn trusts(&self, user: Pseudonym, client: IpAddr) -> bool {
        self.users
            .get(user.bits())
            .is_some_and(|watch| watch.trusts(NetworkKey::of(client).0))
    }

    /// How many sources are remembered, and how many entries of all tables had to give way.
    #[must_use]
    pub fn fill(&self) -> (usize, u64) {
        let displaced = [
            self.sources.displaced(),
            self.networks.displaced(),
            self.users.displaced(),
            self.agents.displaced(),
            self.systems.displaced(),
        ];
        (self.sources.len(), displaced.iter().sum())
    }

    /// While many sources begin to fail at once, less is needed to belong to them: nobody mistypes two
    /// different users where nobody ever signed in.
    fn in_surge(&self, signal: &Signal, change: &Change, observed: &mut Observed) {
        if !self
            .everything
            .knows_honest(signal.time_ms, &self.thresholds)
        {
            return;
        }
        let Some(percent) = self.everything.surge(signal.time_ms, &self.thresholds) else {
            return;
        };
        let stuffing = Detection::CredentialStuffing;
        // Where three of four new sources fail, those that fail belong to the attack.
        let most = signal.user.is_some() && percent >= MOST_PERCENT;
        // Where nobody is named, people who forgot their password fail as often as this and no more.
        let persists = signal.user.is_none()
            && !change.is_device
            && change.failures >= self.thresholds.surge_failures_min;
        if change.users_failed >= 2 || persists {
            observed.joined.add(stuffing, Some(Level::High));
        } else if most || signal.outcome == Outcome::UnknownUser {
            observed.suspect.add(stuffing, Some(Level::High));
        }
    }

    fn watch_user(&mut self, signal: &Signal, seen: &Seen<'_>) -> Option<Level> {
        let user = signal.user?.bits();
        let watch = self.users.entry(user, seconds(signal.time_ms))?;
        let (source, network) = (SourceKey::of(signal.client), NetworkKey::of(signal.client));
        let level = watch.observe(seen, source.0, network.0, &self.thresholds);
        level.filter(|_| !watch.trusts(network.0))
    }

    fn watch_agent(&mut self, signal: &Signal, seen: &Seen<'_>) -> Option<Level> {
        let agent = signal.agent?.bits();
        let pattern = self.agents.entry(agent, seconds(signal.time_ms))?;
        pattern.observe(seen, &self.thresholds);
        pattern.level(signal.time_ms, &self.thresholds).filter(|_| {
            seen.failed
                && self
                    .everything
                    .knows_honest(signal.time_ms, &self.thresholds)
        })
    }
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            sources_max: 1 << 20,
            users_max: 1 << 18,
            agents_max: 1 << 14,
            systems_max: 1 << 14,
        }
    }
}

impl Observed {
    /// Without what is only simulated.
    #[must_use]
    pub fn without(self, simulated: DetectionSet) -> Self {
        Self {
            source: self.source.without(simulated),
            network: self.network.without(simulated),
            joined: self.joined.without(simulated),
            suspect: self.suspect.without(simulated),
            user: self.user.without(simulated),
            agent: self.agent.without(simulated),
        }
    }
}

/// Sources that are remembered with their bad system.
const FOUND_IN_MAX: usize = 256;
/// Sources that begin to fail for a hundred that begin to succeed, from which one failure is enough.
const MOST_PERCENT: u32 = 300;
/// Counts a signal for its autonomous system; the system, if sources there are taken for an attacker's.
fn watch_system(
    systems: &mut Table<u32, System>,
    signal: &Signal,
    change: &Change,
    thresholds: &Thresholds,
) -> Option<u32> {
    let asn = signal.asn?;
    let system = systems.entry(asn, seconds(signal.time_ms))?;
    if signal.flow == Flow::SignIn {
        system.observe(signal.time_ms, change, thresholds);
    }
    system.is_bad(signal.time_ms, thresholds).then_some(asn)
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
