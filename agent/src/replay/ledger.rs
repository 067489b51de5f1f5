//! The books of a replay: who tried, who would have been refused, and who would have been hit by mistake.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::Hash,
};

use crate::policy::{
    defence::{Decided, Judged},
    detect::{Findings, SourceKey},
    reputation::Scope,
    signal::{Flow, Outcome, Signal},
};

/// Everything that was counted.
#[derive(Debug, Default)]
pub struct Ledger {
    /// One account a source, at most [`ACCOUNTS_MAX`].
    accounts: HashMap<SourceKey, Account>,
    refusals: BTreeMap<Scope, Refusals>,
    /// Users whose sign-in would have been refused.
    users_hit: HashSet<u64>,
    totals: Totals,
    /// By time, for the plot.
    slices: BTreeMap<u64, Slice>,
}

/// What one source did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Account {
    /// Its first attempt, milliseconds since the epoch.
    pub first_ms: u64,
    /// Its attempts.
    pub attempts: u32,
    /// It is exempt or a trusted proxy.
    pub protected: bool,
}

/// What the refusal of one scope did.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    /// When it was first in force, milliseconds since the epoch.
    pub first_ms: u64,
    /// What was found, at the highest levels.
    pub findings: Findings,
    /// Attempts of the scope before; of a pattern or user, unknown.
    pub attempts_before: u32,
    /// Attempts refused.
    pub attempts_refused: u64,
    /// Of these, the ones that did succeed.
    pub successes_hit: u64,
    /// How often it came into force.
    pub times: u32,
}

/// Sums over the log.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Signals.
    pub signals: u64,
    /// Failures among them.
    pub failures: u64,
    /// Successes among them.
    pub successes: u64,
    /// Signals of exempt networks and trusted proxies.
    pub protected: u64,
    /// Would have been refused.
    pub refused: u64,
    /// Of these, the ones that did succeed.
    pub successes_hit: u64,
    /// Would have been held to the tighter rate limits.
    pub limited: u64,
    /// Of these, the ones that did succeed.
    pub successes_limited: u64,
    /// Time of the earliest signal, milliseconds since the epoch; 0 without one.
    pub first_ms: u64,
    /// Time of the latest.
    pub last_ms: u64,
    /// Sources that found no room in the books: the number of sources is at least what is said.
    pub uncounted: u64,
}

/// A stretch of time in the plot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// Successes that pass.
    pub successes: u64,
    /// Failures that pass.
    pub failures: u64,
    /// Failures refused.
    pub refused: u64,
    /// Successes refused.
    pub hit: u64,
}

/// Sources with an account of their own: about 200 MB.
const ACCOUNTS_MAX: usize = 4 << 20;
/// Users remembered as hit.
const USERS_MAX: usize = 1 << 20;
/// Refused scopes with an entry of their own.
const REFUSALS_MAX: usize = 1 << 20;
/// Length of a slice, ms: one minute.
pub(super) const SLICE_MS: u64 = 60_000;
/// Slices kept: two years of minutes.
const SLICES_MAX: usize = 1 << 20;

impl Ledger {
    /// Counts a signal and gives the account of its source.
    pub(super) fn count(
        &mut self,
        signal: &Signal,
        is_protected: impl FnOnce() -> bool,
    ) -> Account {
        let totals = &mut self.totals;
        totals.first_ms = if totals.signals == 0 {
            signal.time_ms
        } else {
            totals.first_ms.min(signal.time_ms)
        };
        totals.last_ms = totals.last_ms.max(signal.time_ms);
        totals.signals += 1;
        totals.failures += u64::from(signal.outcome.failed());
        totals.successes += u64::from(signs_in(signal));
        let key = SourceKey::of(signal.client);
        let full = self.accounts.len() >= ACCOUNTS_MAX;
        let account = match self.accounts.get_mut(&key) {
            Some(account) => account,
            None if full => {
                totals.uncounted += 1;
                let protected = is_protected();
                totals.protected += u64::from(protected);
                return Account {
                    protected,
                    ..Account::default()
                };
            }
            None => self.accounts.entry(key).or_insert_with(|| Account {
                first_ms: signal.time_ms,
                attempts: 0,
                protected: is_protected(),
            }),
        };
        account.attempts = account.attempts.saturating_add(1);
        totals.protected += u64::from(account.protected);
        *account
    }

    /// Books what would have happened to an attempt; whether it would have been refused.
    pub(super) fn judged(&mut self, signal: &Signal, judged: Judged) -> bool {
        let success = signs_in(signal);
        let start = signal.time_ms - signal.time_ms % SLICE_MS;
        if let Some(slice) = bounded(&mut self.slices, start, SLICES_MAX) {
            let refused = matches!(judged, Judged::Refused(_));
            let counter = match (refused, success) {
                (false, true) => Some(&mut slice.successes),
                (false, false) => signal.outcome.failed().then_some(&mut slice.failures),
                (true, true) => Some(&mut slice.hit),
                (true, false) => Some(&mut slice.refused),
            };
            if let Some(counter) = counter {
                *counter += 1;
            }
        }
        match judged {
            Judged::Passed => false,
            Judged::Limited => {
                self.totals.limited += 1;
                self.totals.successes_limited += u64::from(success);
                false
            }
            Judged::Refused(scope) => {
                self.totals.refused += 1;
                self.totals.successes_hit += u64::from(success);
                if success
                    && let Some(user) = signal.user
                    && self.users_hit.len() < USERS_MAX
                {
                    self.users_hit.insert(user.bits());
                }
                if let Some(refusals) = self.refusals.get_mut(&scope) {
                    refusals.attempts_refused += 1;
                    refusals.successes_hit += u64::from(success);
                }
                true
            }
        }
    }

    /// Books a reputation that begins.
    pub(super) fn decided(&mut self, signal: &Signal, decided: &Decided, block_score: u8) {
        if decided.standing.findings.score() < block_score {
            return;
        }
        let before = match decided.scope {
            Scope::Source(key) => self
                .accounts
                .get(&key)
                .map_or(0, |account| account.attempts),
            Scope::Network(_) | Scope::User(_) | Scope::Agent(_) => 0,
        };
        let Some(refusals) = bounded(&mut self.refusals, decided.scope, REFUSALS_MAX) else {
            return;
        };
        if refusals.times == 0 {
            refusals.first_ms = signal.time_ms;
            refusals.attempts_before = before;
        }
        refusals.times = refusals.times.saturating_add(1);
        refusals.findings = refusals.findings.merged(decided.standing.findings);
    }

    /// The sums.
    #[must_use]
    pub const fn totals(&self) -> &Totals {
        &self.totals
    }

    /// What each source did.
    #[must_use]
    pub const fn accounts(&self) -> &HashMap<SourceKey, Account> {
        &self.accounts
    }

    /// What each refused scope is about.
    #[must_use]
    pub const fn refusals(&self) -> &BTreeMap<Scope, Refusals> {
        &self.refusals
    }

    /// How many distinct users would have been refused a sign-in that succeeded.
    #[must_use]
    pub fn users_hit(&self) -> usize {
        self.users_hit.len()
    }

    /// What happened minute by minute.
    #[must_use]
    pub const fn slices(&self) -> &BTreeMap<u64, Slice> {
        &self.slices
    }
}

/// A successful sign-in; that a recovery was accepted says nothing about who asked for it.
fn signs_in(signal: &Signal) -> bool {
    signal.flow == Flow::SignIn && signal.outcome == Outcome::Success
}

/// The entry of a key, if there is one or room for one.
fn bounded<K: Ord + Hash, V: Default>(
    map: &mut BTreeMap<K, V>,
    key: K,
    entries_max: usize,
) -> Option<&mut V> {
    if map.len() >= entries_max && !map.contains_key(&key) {
        return None;
    }
    Some(map.entry(key).or_default())
}
