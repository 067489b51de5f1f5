//! What a replay says, as facts.

use std::collections::{BTreeMap, HashMap};

use ipnet::IpNet;
use serde::Serialize;

use super::{Ledger, Refusals, Rejected, RejectedLine};
use crate::policy::{
    detect::{Findings, Level, NetworkKey},
    reputation::Scope,
};

/// The whole report; `--json` prints it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Lines of the log.
    pub lines: u64,
    /// The first lines that could not be read, each with its reason.
    pub rejected: Vec<RejectedLine>,
    /// How many could not be read in all.
    pub rejected_total: u64,
    /// How many for each reason.
    pub rejected_reasons: BTreeMap<String, u64>,
    /// Sign-in outcomes found.
    pub signals: u64,
    /// Failures among them.
    pub failures: u64,
    /// Successes among them.
    pub successes: u64,
    /// Distinct sources (IPv4 addresses, IPv6 /64); exempt ones among them.
    pub sources: u64,
    /// Signals of exempt networks and trusted proxies.
    pub exempt: u64,
    /// The earliest signal, milliseconds since the epoch.
    pub first: Option<u64>,
    /// The latest signal.
    pub last: Option<u64>,
    /// Attempts that would have been refused.
    pub attempts_refused: u64,
    /// Successful sign-ins that would have been refused.
    pub successes_hit: u64,
    /// Distinct users whose successful sign-in would have been refused.
    pub users_hit: u64,
    /// Attempts that would have been held to tighter rate limits.
    pub attempts_limited: u64,
    /// Successful sign-ins among them.
    pub successes_limited: u64,
    /// Time from the first attempt of a refused source to its refusal.
    pub time_to_detect: Option<Spread>,
    /// Attempts of a refused source until its refusal.
    pub attempts_to_detect: Option<Spread>,
    /// Prefixes that would have been refused, the earliest first.
    pub refused: Vec<RefusedPrefix>,
    /// Users and user agents that would have been refused in requests, the earliest first.
    pub patterns: Vec<RefusedPattern>,
    /// Entries of detectors and reputation that had to give way for want of room.
    pub displaced: u64,
    /// With a learned model (`--model`, or `[detection] model`): what rules, model and both would have refused, each alone.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub model: BTreeMap<&'static str, Alone>,
}

/// What one way of deciding would have refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Alone {
    /// Prefixes refused.
    pub prefixes: u64,
    /// Attempts refused.
    pub attempts_refused: u64,
    /// Successful sign-ins among them.
    pub successes_hit: u64,
    /// Distinct users of these.
    pub users_hit: u64,
}

/// A prefix that would have been refused.
#[derive(Clone, Debug, Serialize)]
pub struct RefusedPrefix {
    /// An address, an IPv6 /64, or the /24 or /48 around several sources.
    pub prefix: IpNet,
    /// Its first attempt in the log, milliseconds since the epoch.
    pub first_seen: u64,
    /// From when on it would have been refused.
    pub first_refused: u64,
    /// What was found, each with its level.
    pub detections: BTreeMap<&'static str, Level>,
    /// 1 to 100.
    pub score: u8,
    /// All its attempts in the log.
    pub attempts: u64,
    /// Those before the refusal.
    pub attempts_before: u64,
    /// Those refused.
    pub attempts_refused: u64,
    /// Those refused that did succeed.
    pub successes_hit: u64,
    /// How often a refusal began.
    pub times: u32,
}

/// A user or user agent that would have been refused from sources that are not known.
#[derive(Clone, Debug, Serialize)]
pub struct RefusedPattern {
    /// `user` or `agent`. Which one is not said: the log was read under a key that is gone.
    pub kind: &'static str,
    /// From when on it would have been refused.
    pub first_refused: u64,
    /// What was found, each with its level.
    pub detections: BTreeMap<&'static str, Level>,
    /// Attempts refused.
    pub attempts_refused: u64,
    /// Those refused that did succeed.
    pub successes_hit: u64,
}

/// How values are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// Half of the values are no larger.
    pub median: u64,
    /// Nine of ten are no larger.
    pub p90: u64,
    /// The largest.
    pub max: u64,
}

impl Report {
    /// The report of a replay.
    #[must_use]
    pub fn new(ledger: &Ledger, lines: u64, rejected: &Rejected, displaced: u64) -> Self {
        let totals = ledger.totals();
        let any = totals.signals > 0;
        let mut refused = prefixes(ledger);
        refused.sort_by_key(|row| (row.first_refused, row.prefix));
        let delays = refused
            .iter()
            .filter(|row| row.attempts_before > 0)
            .map(|row| row.first_refused.saturating_sub(row.first_seen));
        let attempts = refused
            .iter()
            .filter(|row| row.attempts_before > 0)
            .map(|row| row.attempts_before);
        Self {
            lines,
            rejected: rejected.first.clone(),
            rejected_total: rejected.total,
            rejected_reasons: rejected.reasons.clone(),
            signals: totals.signals,
            failures: totals.failures,
            successes: totals.successes,
            sources: ledger.accounts().len() as u64,
            exempt: totals.protected,
            first: any.then_some(totals.first_ms),
            last: any.then_some(totals.last_ms),
            attempts_refused: totals.refused,
            successes_hit: totals.successes_hit,
            users_hit: ledger.users_hit() as u64,
            attempts_limited: totals.limited,
            successes_limited: totals.successes_limited,
            time_to_detect: Spread::of(delays.collect()),
            attempts_to_detect: Spread::of(attempts.collect()),
            refused,
            patterns: patterns(ledger),
            displaced,
            model: BTreeMap::new(),
        }
    }
}

impl Alone {
    /// Of a ledger.
    #[must_use]
    pub fn of(ledger: &Ledger) -> Self {
        let totals = ledger.totals();
        let prefixes = ledger.refusals().keys();
        let prefixes =
            prefixes.filter(|scope| matches!(scope, Scope::Source(_) | Scope::Network(_)));
        Self {
            prefixes: prefixes.count() as u64,
            attempts_refused: totals.refused,
            successes_hit: totals.successes_hit,
            users_hit: ledger.users_hit() as u64,
        }
    }
}

impl Spread {
    /// Of these values, if there are any.
    #[must_use]
    pub fn of(mut values: Vec<u64>) -> Option<Self> {
        values.sort_unstable();
        let max = *values.last()?;
        let at = |percent: usize| {
            let rank = (values.len() * percent).div_ceil(100).max(1);
            values.get(rank - 1).copied().unwrap_or(max)
        };
        Some(Self {
            median: at(50),
            p90: at(90),
            max,
        })
    }
}

fn prefixes(ledger: &Ledger) -> Vec<RefusedPrefix> {
    let networks = of_networks(ledger);
    ledger
        .refusals()
        .iter()
        .filter_map(|(scope, refusals)| {
            let (prefix, first_seen, attempts) = match scope {
                Scope::Source(key) => {
                    let account = ledger.accounts().get(key)?;
                    (key.prefix(), account.first_ms, account.attempts.into())
                }
                Scope::Network(key) => {
                    let (first, attempts) = networks.get(key).copied()?;
                    (key.prefix(), first, attempts)
                }
                Scope::User(_) | Scope::Agent(_) => return None,
            };
            Some(RefusedPrefix {
                prefix,
                first_seen,
                first_refused: refusals.first_ms,
                detections: named(refusals.findings),
                score: refusals.findings.score(),
                attempts,
                attempts_before: refusals.attempts_before.into(),
                attempts_refused: refusals.attempts_refused,
                successes_hit: refusals.successes_hit,
                times: refusals.times,
            })
        })
        .collect()
}

/// First attempt and attempts of the networks that would have been refused.
fn of_networks(ledger: &Ledger) -> HashMap<NetworkKey, (u64, u64)> {
    let refused = ledger.refusals().keys().filter_map(|scope| match scope {
        Scope::Network(key) => Some((*key, (u64::MAX, 0))),
        _ => None,
    });
    let mut networks: HashMap<NetworkKey, (u64, u64)> = refused.collect();
    for (key, account) in ledger.accounts() {
        if let Some((first, attempts)) = networks.get_mut(&key.network()) {
            *first = (*first).min(account.first_ms);
            *attempts += u64::from(account.attempts);
        }
    }
    networks
}

fn patterns(ledger: &Ledger) -> Vec<RefusedPattern> {
    let pattern = |kind, refusals: &Refusals| RefusedPattern {
        kind,
        first_refused: refusals.first_ms,
        detections: named(refusals.findings),
        attempts_refused: refusals.attempts_refused,
        successes_hit: refusals.successes_hit,
    };
    let mut patterns: Vec<RefusedPattern> = ledger
        .refusals()
        .iter()
        .filter_map(|(scope, refusals)| match scope {
            Scope::User(_) => Some(pattern("user", refusals)),
            Scope::Agent(_) => Some(pattern("agent", refusals)),
            Scope::Source(_) | Scope::Network(_) => None,
        })
        .collect();
    patterns.sort_by_key(|row| row.first_refused);
    patterns
}

fn named(findings: Findings) -> BTreeMap<&'static str, Level> {
    findings
        .iter()
        .map(|(detection, level)| (detection.name(), level))
        .collect()
}
