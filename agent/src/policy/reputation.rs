//! From findings to refusals that end: the score of each scope, how long it holds, and how it fades.
//!
//! A first refusal is short. Whoever comes back is refused for twice as long each time, and every day
//! without a new finding takes one doubling back. After a refusal a source is on probation: half its score,
//! fading to nothing over the same time again, which slows it without refusing it.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::detect::{Findings, Level, NetworkKey, SourceKey, Table, Worth};

/// Who has a reputation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// A source.
    Source(SourceKey),
    /// The network around it.
    Network(NetworkKey),
    /// Sign-ins as one user, from where that user never signed in. Only requests can be refused by it.
    User(u64),
    /// Sign-ins with one user agent, by sources that never signed in. Only requests can be refused by it.
    Agent(u64),
}

/// How long refusals hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// The first, ms. One hour: between fail2ban's 10 minutes and CrowdSec's 4 hours.
    pub first_ms: u64,
    /// For a source that did little by itself but takes part in a distributed attack, ms. Half an hour:
    /// its address may be a customer's by then.
    pub brief_ms: u64,
    /// The longest, ms. A week.
    pub longest_ms: u64,
    /// Time without a finding that takes one doubling back, ms. A day.
    pub forgive_ms: u64,
}

/// For how long findings speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Term {
    /// Longer each time.
    Growing,
    /// Always [`Lifetimes::brief_ms`], and it is no strike.
    Brief,
}

/// The reputation of everybody.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reputation {
    /// Of the configuration, not of the past.
    #[serde(skip)]
    lifetimes: Lifetimes,
    standings: Table<Scope, Standing>,
}

/// The reputation of one scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// What led to it; the levels are the highest since it began.
    pub findings: Findings,
    /// When it began, milliseconds since the epoch.
    pub since_ms: u64,
    /// When it ends, milliseconds since the epoch.
    pub until_ms: u64,
    /// Refusals that are not forgiven yet.
    strikes: u32,
}

impl Scope {
    /// The prefix that the kernel can refuse; `None` for what only requests show.
    #[must_use]
    pub fn prefix(self) -> Option<IpNet> {
        match self {
            Self::Source(source) => Some(source.prefix()),
            Self::Network(network) => Some(network.prefix()),
            Self::User(_) | Self::Agent(_) => None,
        }
    }
}

impl Reputation {
    /// Nobody has a reputation yet.
    #[must_use]
    pub fn new(lifetimes: Lifetimes, scopes_max: u32) -> Self {
        Self {
            lifetimes,
            standings: Table::new(scopes_max),
        }
    }

    /// As [`Self::note`], by other lifetimes: those of a service under attack.
    pub fn note_for(
        &mut self,
        lifetimes: Lifetimes,
        scope: Scope,
        findings: Findings,
        term: Term,
        now_ms: u64,
    ) -> Option<Standing> {
        let ordinary = std::mem::replace(&mut self.lifetimes, lifetimes);
        let standing = self.note(scope, findings, term, now_ms);
        self.lifetimes = ordinary;
        standing
    }

    /// Takes findings about a scope in; gives the standing if it begins, or begins anew, with them.
    pub fn note(
        &mut self,
        scope: Scope,
        findings: Findings,
        term: Term,
        now_ms: u64,
    ) -> Option<Standing> {
        if findings.is_empty() {
            return None;
        }
        let lifetimes = self.lifetimes;
        let seconds = u32::try_from(now_ms / 1_000).unwrap_or(u32::MAX);
        let standing = self.standings.entry(scope, seconds)?;
        if standing.holds(now_ms) {
            let worse = standing.findings.merged(findings);
            let escalates = worse.highest() > standing.findings.highest();
            standing.findings = worse;
            if !escalates {
                return None;
            }
        } else {
            let quiet = now_ms.saturating_sub(standing.until_ms) / lifetimes.forgive_ms.max(1);
            let forgiven = u32::try_from(quiet).unwrap_or(u32::MAX);
            standing.strikes = standing.strikes.saturating_sub(forgiven);
            standing.findings = findings;
        }
        let lifetime = match term {
            Term::Growing => lifetimes.after(standing.strikes),
            Term::Brief => lifetimes.brief_ms,
        };
        if findings.highest() == Some(Level::High) && term == Term::Growing {
            standing.strikes = standing.strikes.saturating_add(1).min(STRIKES_MAX);
        }
        standing.since_ms = now_ms;
        standing.until_ms = now_ms.saturating_add(lifetime);
        Some(*standing)
    }

    /// Goes on under other settings.
    pub fn set(&mut self, lifetimes: Lifetimes, scopes_max: u32, now_ms: u64) {
        self.lifetimes = lifetimes;
        let seconds = u32::try_from(now_ms / 1_000).unwrap_or(u32::MAX);
        self.standings.limit(scopes_max, seconds);
    }

    /// Forgets a scope.
    pub fn forget(&mut self, scope: Scope) -> Option<Standing> {
        self.standings.remove(scope)
    }

    /// Every scope with a standing that holds.
    pub fn standing_now(&self, now_ms: u64) -> impl Iterator<Item = (Scope, Standing)> {
        let all = self.standings.iter();
        all.filter(move |(_, standing)| standing.holds(now_ms))
            .copied()
    }

    /// The last standing of a scope, whether it still holds or not.
    #[must_use]
    pub fn latest(&self, scope: Scope) -> Option<Standing> {
        self.standings.get(scope).copied()
    }

    /// The standing of a scope while it lasts.
    #[must_use]
    pub fn standing(&self, scope: Scope, now_ms: u64) -> Option<&Standing> {
        self.standings
            .get(scope)
            .filter(|standing| standing.holds(now_ms))
    }

    /// The score of a scope, 0 to 100.
    #[must_use]
    pub fn score(&self, scope: Scope, now_ms: u64) -> u8 {
        self.standings
            .get(scope)
            .map_or(0, |standing| standing.score(now_ms))
    }

    /// How many had to give way to others.
    #[must_use]
    pub const fn displaced(&self) -> u64 {
        self.standings.displaced()
    }
}

impl Standing {
    /// Whether it is in force. A clock that stepped back by more than an hour ends it: a decision that
    /// begins in the future has no end that can be trusted.
    const fn holds(&self, now_ms: u64) -> bool {
        now_ms < self.until_ms && self.since_ms <= now_ms.saturating_add(HOUR_MS)
    }

    /// When a refusal that has ended will have faded below a score, milliseconds since the epoch.
    #[must_use]
    pub fn faded_below_ms(&self, score: u8) -> u64 {
        let half = u64::from(self.findings.score() / 2);
        let lifetime = self.until_ms.saturating_sub(self.since_ms).max(1);
        let above = half.saturating_add(1).saturating_sub(score.into());
        if above == 0 {
            return self.until_ms;
        }
        // half * left / lifetime is at least `score` while left is at least score * lifetime / half.
        let left = (u64::from(score) * lifetime).div_ceil(half.max(1));
        self.until_ms
            .saturating_add(lifetime.saturating_sub(left).saturating_add(1))
    }

    /// The score at a moment, 0 to 100.
    #[must_use]
    pub fn score(&self, now_ms: u64) -> u8 {
        if self.holds(now_ms) {
            return self.findings.score();
        }
        let (Some(past), lifetime) = (
            now_ms.checked_sub(self.until_ms),
            self.until_ms.saturating_sub(self.since_ms).max(1),
        ) else {
            return 0;
        };
        let left = lifetime.saturating_sub(past);
        let faded = u64::from(self.findings.score() / 2) * left / lifetime;
        u8::try_from(faded).unwrap_or(0)
    }
}

impl Worth for Standing {
    /// Whoever is refused stays, repeaters longest; what has ended gives way first.
    fn worth(&self, time_s: u32) -> u32 {
        let now_ms = u64::from(time_s) * 1_000;
        let live = u32::from(self.holds(now_ms)) * 1_000;
        live.saturating_add(self.strikes.saturating_mul(100))
            .saturating_add(self.score(now_ms).into())
    }
}

impl Lifetimes {
    /// The lifetime after so many earlier refusals.
    const fn after(&self, strikes: u32) -> u64 {
        let doubled = self.first_ms.saturating_mul(1 << strikes);
        if doubled < self.longest_ms {
            doubled
        } else {
            self.longest_ms
        }
    }
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            first_ms: HOUR_MS,
            brief_ms: HOUR_MS / 2,
            longest_ms: 7 * 24 * HOUR_MS,
            forgive_ms: 24 * HOUR_MS,
        }
    }
}

const HOUR_MS: u64 = 3_600_000;
/// Doublings that are remembered; the longest lifetime is reached before.
const STRIKES_MAX: u32 = 16;

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::policy::detect::Detection;

    const DAY_MS: u64 = 24 * HOUR_MS;

    fn scope() -> Scope {
        Scope::Source(SourceKey::of(IpAddr::from([192, 0, 2, 1])))
    }

    fn found(level: Level) -> Findings {
        let mut findings = Findings::default();
        findings.add(Detection::PasswordSpray, Some(level));
        findings
    }

    #[test]
    fn repeaters_are_refused_longer_and_forgiven_in_time() {
        let mut reputation = Reputation::new(Lifetimes::default(), 10);
        let mut now = DAY_MS;
        let mut lifetimes = Vec::new();
        for _ in 0..9 {
            let standing = reputation
                .note(scope(), found(Level::High), Term::Growing, now)
                .unwrap();
            lifetimes.push((standing.until_ms - now) / HOUR_MS);
            now = standing.until_ms;
        }
        assert_eq!(lifetimes, [1, 2, 4, 8, 16, 32, 64, 128, 168]);
        now += 8 * DAY_MS;
        let standing = reputation
            .note(scope(), found(Level::High), Term::Growing, now)
            .unwrap();
        assert_eq!(
            standing.until_ms - now,
            2 * HOUR_MS,
            "eight days forgive eight of nine"
        );
    }

    #[test]
    fn brief_refusals_stay_brief() {
        let mut reputation = Reputation::new(Lifetimes::default(), 10);
        let mut now = DAY_MS;
        for _ in 0..5 {
            let found = found(Level::High);
            let standing = reputation.note(scope(), found, Term::Brief, now).unwrap();
            assert_eq!(standing.until_ms - now, HOUR_MS / 2);
            now = standing.until_ms;
        }
    }

    #[test]
    fn a_refusal_ends_then_fades() {
        let mut reputation = Reputation::new(Lifetimes::default(), 10);
        assert_eq!(
            reputation.note(scope(), Findings::default(), Term::Growing, 0),
            None
        );
        reputation.note(scope(), found(Level::High), Term::Growing, DAY_MS);
        let score = |ms: u64| reputation.score(scope(), DAY_MS + ms);
        assert_eq!(score(0), 90);
        assert_eq!(score(HOUR_MS - 1), 90);
        assert_eq!(score(HOUR_MS), 45);
        assert_eq!(score(HOUR_MS * 3 / 2), 22);
        assert_eq!(score(HOUR_MS * 2), 0);
        assert_eq!(reputation.score(Scope::User(1), DAY_MS), 0);
        for (limit, fades) in [(40, true), (45, true), (46, false), (1, true)] {
            let standing = *reputation.standing(scope(), DAY_MS).unwrap();
            let at = standing.faded_below_ms(limit);
            assert_eq!(standing.score(at).max(limit), limit.max(standing.score(at)));
            assert!(standing.score(at) < limit, "{limit}");
            assert_eq!(at > standing.until_ms, fades, "{limit}");
            assert!(!fades || standing.score(at - 1) >= limit, "{limit}");
        }
    }

    #[test]
    fn more_evidence_raises_the_score_and_only_a_higher_level_prolongs() {
        let mut reputation = Reputation::new(Lifetimes::default(), 10);
        assert!(
            reputation
                .note(scope(), found(Level::Low), Term::Growing, DAY_MS)
                .is_some()
        );
        assert!(
            reputation
                .note(scope(), found(Level::Low), Term::Growing, DAY_MS + 1)
                .is_none()
        );
        let standing = reputation
            .note(scope(), found(Level::High), Term::Growing, DAY_MS + 2)
            .unwrap();
        assert_eq!(standing.until_ms, DAY_MS + 2 + HOUR_MS);
        assert_eq!(reputation.score(scope(), DAY_MS + 2), 90);
    }

    #[test]
    fn a_line_from_the_far_future_refuses_nobody_today() {
        let mut reputation = Reputation::new(Lifetimes::default(), 10);
        reputation.note(scope(), found(Level::High), Term::Growing, 1_000 * DAY_MS);
        assert_eq!(reputation.score(scope(), DAY_MS), 0);
        assert!(
            reputation
                .note(scope(), found(Level::High), Term::Growing, DAY_MS)
                .is_some()
        );
        assert_eq!(reputation.score(scope(), DAY_MS), 90);
    }
}
