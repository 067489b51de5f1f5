//! Detectors and reputation together: what happens to one sign-in attempt, and what it leads to.

mod settings;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use self::settings::{Decides, Services, Settings};
use super::{
    attack::Tightening,
    detect::{Detectors, NetworkKey, Observed, SourceKey},
    reputation::{Reputation, Scope, Standing, Term},
    signal::{Flow, Signal},
};

/// Detects, remembers and judges.
#[derive(Debug, Serialize, Deserialize)]
pub struct Defence {
    /// Of the configuration, not of the past.
    #[serde(skip)]
    settings: Settings,
    /// Services under attack, and what holds for them.
    #[serde(skip)]
    attacked: Services,
    #[serde(skip)]
    tight: Settings,
    detectors: Detectors,
    reputation: Reputation,
    /// Attempts at which only simulated detections would have refused the source.
    #[serde(skip)]
    simulated: u64,
}

/// What happens to an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// It passes.
    Passed,
    /// It passes within tighter rate limits.
    Limited,
    /// It is refused, because of the reputation of this scope.
    Refused(Scope),
}

/// A reputation that begins, or begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided {
    /// Whose it is.
    pub scope: Scope,
    /// What it is.
    pub standing: Standing,
}

/// Most scopes that one attempt can change the reputation of: source, network, user, user agent.
const SCOPES: usize = 4;

impl Defence {
    /// A defence that has seen nothing yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let mut detectors = Detectors::new(settings.thresholds, settings.capacity);
        detectors.ask(settings.learned.map(|learned| learned.model));
        Self {
            settings,
            attacked: Services::NONE,
            tight: settings,
            detectors,
            reputation: Reputation::new(settings.lifetimes, settings.capacity.sources_max),
            simulated: 0,
        }
    }

    /// Goes on under other settings: those of a configuration read again, or of the agent that takes what an
    /// earlier one has learned.
    pub fn set(&mut self, settings: Settings, now_ms: u64) {
        self.settings = settings;
        self.detectors
            .set(settings.thresholds, settings.capacity, now_ms);
        self.detectors
            .ask(settings.learned.map(|learned| learned.model));
        self.reputation
            .set(settings.lifetimes, settings.capacity.sources_max, now_ms);
    }

    /// These services are under attack, and no others: signals of theirs count by tighter settings until it is said
    /// again.
    pub fn under_attack(&mut self, services: Services, tightening: &Tightening) {
        let ordinary = &self.settings;
        let (block_score, limit_score) =
            tightening.scores(ordinary.block_score, ordinary.limit_score);
        self.attacked = services;
        self.tight = Settings {
            thresholds: tightening.thresholds(&ordinary.thresholds),
            lifetimes: tightening.lifetimes(&ordinary.lifetimes),
            block_score,
            limit_score,
            ..*ordinary
        };
    }

    /// Forgets whatever is held against a prefix, because somebody who knows said so; whether there was
    /// anything.
    pub fn forget(&mut self, prefix: IpNet) -> bool {
        let address = prefix.addr();
        let (source, network) = (SourceKey::of(address), NetworkKey::of(address));
        let scope = if source.prefix() == prefix {
            self.detectors.forget(source);
            Scope::Source(source)
        } else if network.prefix() == prefix {
            self.detectors.forget_network(network);
            Scope::Network(network)
        } else {
            return false;
        };
        self.reputation.forget(scope).is_some()
    }

    /// The reputation of a scope, also one that has ended and is not forgotten yet.
    #[must_use]
    pub fn standing_of(&self, scope: Scope) -> Option<Standing> {
        self.reputation.latest(scope)
    }

    /// What was counted about a scope, in a sentence.
    #[must_use]
    pub fn evidence(&self, scope: Scope, now_ms: u64) -> String {
        self.detectors.evidence(scope, now_ms)
    }

    /// Attempts of a scope within the long window.
    #[must_use]
    pub fn attempts(&self, scope: Scope, now_ms: u64) -> u64 {
        self.detectors.attempts(scope, now_ms)
    }

    /// How many sources are remembered, and how many entries of all tables had to give way.
    #[must_use]
    pub fn fill(&self) -> (u64, u64) {
        let (sources, _) = self.detectors.fill();
        (sources as u64, self.displaced())
    }

    /// What signals have shown so far.
    #[must_use]
    pub const fn detectors(&self) -> &Detectors {
        &self.detectors
    }

    /// Every reputation that holds.
    pub fn standing_now(&self, now_ms: u64) -> impl Iterator<Item = Decided> {
        let all = self.reputation.standing_now(now_ms);
        all.map(|(scope, standing)| Decided { scope, standing })
    }

    /// Judges an attempt by what was known before it.
    #[must_use]
    pub fn judge(&self, signal: &Signal) -> Judged {
        let now = signal.time_ms;
        let settings = self.settings_of(signal.service);
        let sees_requests = self.settings.sees_requests.has(signal.service);
        if sees_requests && self.is_at_home(signal) {
            return Judged::Passed;
        }
        let scopes = [
            Scope::Source(SourceKey::of(signal.client)),
            Scope::Network(NetworkKey::of(signal.client)),
        ];
        let mut highest = 0;
        for scope in scopes {
            let score = self.reputation.score(scope, now);
            if score >= settings.block_score {
                return Judged::Refused(scope);
            }
            highest = highest.max(score);
        }
        if sees_requests && let Some(scope) = self.judge_request(signal) {
            return Judged::Refused(scope);
        }
        if highest >= settings.limit_score {
            Judged::Limited
        } else {
            Judged::Passed
        }
    }

    /// Learns from an attempt that was let on; says which reputations that begins.
    pub fn learn(&mut self, signal: &Signal) -> [Option<Decided>; SCOPES] {
        let attacked = self.attacked.has(signal.service);
        let observed = if attacked {
            self.detectors.observe_by(&self.tight.thresholds, signal)
        } else {
            self.detectors.observe(signal)
        };
        let all = observed;
        let observed = all.without(self.settings.simulated());
        let refuses = |observed: &Observed| {
            let findings = observed.joined.merged(observed.source);
            findings.score() >= self.settings.block_score
        };
        if refuses(&all) && !refuses(&observed) {
            self.simulated = self.simulated.saturating_add(1);
        }
        let sees_requests = self.settings.sees_requests.has(signal.service);
        // Requests of a distributed attack are refused by what they look like, and people at home are told from
        // them; where only the source is known, it is refused for a short time.
        let (joined, term, about_user, about_agent) = if sees_requests {
            let user = signal.user.map(|user| Scope::User(user.bits()));
            let agent = signal.agent.map(|agent| Scope::Agent(agent.bits()));
            let joined = observed.suspect.merged(observed.joined);
            (joined, Term::Growing, user, agent)
        } else {
            (observed.joined, Term::Brief, None, None)
        };
        let source = Scope::Source(SourceKey::of(signal.client));
        let network = Scope::Network(NetworkKey::of(signal.client));
        let (findings, term) = if joined.score() > observed.source.score() {
            (joined.merged(observed.source), term)
        } else {
            (observed.source, Term::Growing)
        };
        // What is refused by its looks cannot show that it is honest: these refusals end soon, and are found anew.
        let found = [
            (Some(source), findings, term),
            (Some(network), observed.network, Term::Growing),
            (about_user, observed.user, Term::Brief),
            (about_agent, observed.agent, Term::Brief),
        ];
        found.map(|(scope, findings, term)| {
            let scope = scope?;
            let now = signal.time_ms;
            let standing = if attacked {
                let lifetimes = self.tight.lifetimes;
                self.reputation
                    .note_for(lifetimes, scope, findings, term, now)
            } else {
                self.reputation.note(scope, findings, term, now)
            };
            let standing = standing?;
            Some(Decided { scope, standing })
        })
    }

    /// Describes sources to whoever trains a model.
    pub const fn describe(&mut self) {
        self.detectors.describe();
    }

    /// Attempts at which a simulated detection, or a model that only counts, would have refused the source and nothing
    /// else did, since this process began.
    #[must_use]
    pub const fn simulated(&self) -> u64 {
        self.simulated
    }

    /// What is set.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What holds for a service.
    fn settings_of(&self, service: u16) -> &Settings {
        if self.attacked.has(service) {
            &self.tight
        } else {
            &self.settings
        }
    }

    /// Entries that had to give way, of all tables.
    #[must_use]
    pub fn displaced(&self) -> u64 {
        let (_, detectors) = self.detectors.fill();
        detectors.saturating_add(self.reputation.displaced())
    }

    /// Whether the user has signed in from this network before. A person whose home also holds an infected
    /// device still gets in, and an attacker there gains tries at that one account.
    fn is_at_home(&self, signal: &Signal) -> bool {
        let user = signal.user.filter(|_| signal.flow == Flow::SignIn);
        user.is_some_and(|user| self.detectors.trusts(user, signal.client))
    }

    /// By user and user agent. Sources where somebody signs in are not meant.
    fn judge_request(&self, signal: &Signal) -> Option<Scope> {
        let now = signal.time_ms;
        let refused = |scope| {
            let score = self.reputation.score(scope, now);
            (score >= self.settings_of(signal.service).block_score).then_some(scope)
        };
        let by_user = signal
            .user
            .and_then(|user| refused(Scope::User(user.bits())));
        let by_agent = || refused(Scope::Agent(signal.agent?.bits()));
        by_user
            .or_else(by_agent)
            .filter(|_| !self.detectors.has_succeeded(signal.client, now))
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::policy::{
        model::{Learned, Model},
        signal::{Outcome, PseudonymKey},
    };

    /// A spray of twelve users.
    fn spray(defence: &mut Defence) -> usize {
        let mut decided = 0;
        for n in 0..12 {
            let attack = Signal {
                time_ms: 1_790_000_000_000 + n * 20_000,
                client: IpAddr::from([192, 0, 2, 1]),
                service: 0,
                flow: Flow::SignIn,
                outcome: Outcome::UnknownUser,
                user: Some(PseudonymKey::new(1, n).user(b"x")),
                agent: None,
                asn: None,
            };
            decided += defence.learn(&attack).into_iter().flatten().count();
        }
        decided
    }

    fn settings(decides: bool) -> Settings {
        let model = Model::shipped().unwrap();
        let all = Settings {
            learned: Some(Learned { model, decides }),
            ..Settings::default()
        };
        let thresholds = all.decided_by(Decides::Model).thresholds;
        Settings { thresholds, ..all }
    }

    #[test]
    fn a_model_decides_or_only_counts() {
        let mut deciding = Defence::new(settings(true));
        assert!(spray(&mut deciding) > 0);
        let mut counting = Defence::new(settings(false));
        assert_eq!(spray(&mut counting), 0);
        assert!(counting.simulated() > 2, "{}", counting.simulated());
        let scope = Scope::Source(SourceKey::of(IpAddr::from([192, 0, 2, 1])));
        let evidence = counting.evidence(scope, 1_790_000_300_000);
        assert!(evidence.contains("learned model: "), "{evidence}");
        let mut rules = Defence::new(Settings::default());
        assert!(spray(&mut rules) > 0);
        assert_eq!(rules.simulated(), 0);
    }
}
