//! The ledger of a running agent: what block mode would have refused in the last days, and whom it would have
//! hit by mistake. Hours in a ring, and the prefixes that were refused; bounded, without a clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::signal::{Flow, Outcome, Signal};

/// The ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Impact {
    /// Oldest first; hours without signals are left out.
    hours: VecDeque<Hour>,
    prefixes: BTreeMap<IpNet, Refused>,
    /// Prefixes that gave way.
    displaced: u64,
}

/// One hour.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Hour {
    /// Hours since the epoch.
    number: u32,
    totals: Totals,
    /// Users whose sign-in would have been refused, at most [`USERS_HIT_MAX`].
    users_hit: BTreeSet<u64>,
}

/// Sums over a stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Signals.
    pub signals: u64,
    /// Failures among them.
    pub failures: u64,
    /// Successful sign-ins among them.
    pub successes: u64,
    /// Signals that block mode would have refused.
    pub attempts_refused: u64,
    /// Successful sign-ins among these.
    pub successes_hit: u64,
}

/// What refusing one prefix would have done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// When it was first refused, milliseconds since the epoch.
    pub first_refused: u64,
    /// When it was last refused.
    pub last_refused: u64,
    /// Why: the detections' names, or the origin and name of what lists it.
    pub detections: String,
    /// Attempts that were seen, refused or not.
    pub attempts: u64,
    /// Attempts that would have been refused.
    pub attempts_refused: u64,
    /// Successful sign-ins among these.
    pub successes_hit: u64,
}

/// What was seen of one attempt that would have been refused.
#[derive(Clone, Copy, Debug)]
pub struct Hit<'a> {
    /// The prefix that is refused.
    pub prefix: IpNet,
    /// Why.
    pub detections: &'a str,
    /// Attempts of the prefix that were seen before.
    pub attempts_before: u64,
}

/// What the ledger says of the last days.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImpactReport {
    /// From when on, milliseconds since the epoch; the first signal, if that is later.
    pub since: u64,
    /// Until when.
    pub until: u64,
    /// Sums.
    #[serde(flatten)]
    pub totals: Totals,
    /// Distinct users whose sign-in would have been refused.
    pub users_hit: u64,
    /// Successful sign-ins hit, of ten thousand.
    pub hit_of_10000: f64,
    /// `safe`, `not_safe` or `too_early`: whether block mode can be switched on.
    pub block_mode: String,
    /// Why that, in sentences.
    pub why: Vec<String>,
    /// The prefixes, those that would have hit most first.
    pub refused: Vec<RefusedRow>,
    /// How many prefixes there are, shown or not.
    pub refused_total: u64,
}

/// A prefix in the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedRow {
    /// The prefix.
    pub prefix: IpNet,
    /// What refusing it would have done.
    #[serde(flatten)]
    pub refused: Refused,
}

impl Impact {
    /// Books a signal; `hit` if it would have been refused.
    pub fn book(&mut self, signal: &Signal, hit: Option<&Hit<'_>>) {
        let success = signal.flow == Flow::SignIn && signal.outcome == Outcome::Success;
        // There always is one.
        let Some(hour) = self.hour(signal.time_ms) else {
            return;
        };
        let totals = &mut hour.totals;
        totals.signals += 1;
        totals.failures += u64::from(signal.outcome.failed());
        totals.successes += u64::from(success);
        let Some(hit) = hit else {
            return;
        };
        totals.attempts_refused += 1;
        totals.successes_hit += u64::from(success);
        if let Some(user) = signal.user.filter(|_| success)
            && hour.users_hit.len() < USERS_HIT_MAX
        {
            hour.users_hit.insert(user.bits());
        }
        let refused = self.refused(hit, signal.time_ms);
        refused.attempts += 1;
        refused.attempts_refused += 1;
        refused.successes_hit += u64::from(success);
        refused.last_refused = refused.last_refused.max(signal.time_ms);
        if refused.detections != hit.detections {
            hit.detections.clone_into(&mut refused.detections);
        }
    }

    /// What it says of the time from `since_ms` on, with at most `rows` prefixes.
    #[must_use]
    pub fn report(&self, since_ms: u64, now_ms: u64, rows: usize) -> ImpactReport {
        let first = number(since_ms);
        let hours = || self.hours.iter().filter(|hour| hour.number >= first);
        let mut totals = Totals::default();
        for hour in hours() {
            totals.add(&hour.totals);
        }
        let users: BTreeSet<u64> = hours()
            .flat_map(|hour| hour.users_hit.iter().copied())
            .collect();
        let begin = hours().next().map(|hour| u64::from(hour.number) * HOUR_MS);
        let mut refused: Vec<RefusedRow> = self
            .prefixes
            .iter()
            .filter(|(_, refused)| refused.last_refused >= since_ms)
            .map(|(prefix, refused)| RefusedRow {
                prefix: *prefix,
                refused: refused.clone(),
            })
            .collect();
        refused.sort_by_key(|row| {
            std::cmp::Reverse((row.refused.successes_hit, row.refused.attempts_refused))
        });
        let refused_total = refused.len() as u64;
        refused.truncate(rows);
        let seen = u64::try_from(hours().count()).unwrap_or(u64::MAX);
        let (block_mode, why) = advice(&totals, seen);
        ImpactReport {
            since: begin.map_or(now_ms, |begin| begin.max(since_ms)),
            until: now_ms,
            totals,
            users_hit: users.len() as u64,
            hit_of_10000: ratio(totals.successes_hit, totals.successes) * 10_000.0,
            block_mode,
            why,
            refused,
            refused_total,
        }
    }

    /// Forgets the hits of a prefix that an operator has cleared.
    pub fn forget(&mut self, prefix: &IpNet) {
        self.prefixes.remove(prefix);
    }

    /// The hour of a moment. What is older than everything that is kept counts as part of the oldest hour.
    fn hour(&mut self, time_ms: u64) -> Option<&mut Hour> {
        let full = self.hours.len() >= HOURS_MAX;
        let oldest = self.hours.front().filter(|_| full);
        let number = number(time_ms).max(oldest.map_or(0, |hour| hour.number));
        let at = match self.hours.binary_search_by_key(&number, |hour| hour.number) {
            Ok(at) => at,
            Err(at) => {
                let new = Hour {
                    number,
                    ..Hour::default()
                };
                self.hours.insert(at, new);
                if full {
                    self.hours.pop_front();
                }
                at.saturating_sub(usize::from(full))
            }
        };
        self.hours.get_mut(at)
    }

    fn refused(&mut self, hit: &Hit<'_>, now_ms: u64) -> &mut Refused {
        if self.prefixes.len() >= PREFIXES_MAX && !self.prefixes.contains_key(&hit.prefix) {
            // A tenth gives way at once: those that hit nobody, longest ago.
            let mut order: Vec<(u64, u64, IpNet)> = self
                .prefixes
                .iter()
                .map(|(prefix, one)| (one.successes_hit, one.last_refused, *prefix))
                .collect();
            order.sort_unstable();
            for (_, _, prefix) in order.into_iter().take(PREFIXES_MAX / 10) {
                self.prefixes.remove(&prefix);
                self.displaced += 1;
            }
        }
        self.prefixes.entry(hit.prefix).or_insert_with(|| Refused {
            first_refused: now_ms,
            attempts: hit.attempts_before,
            ..Refused::default()
        })
    }
}

impl Totals {
    fn add(&mut self, other: &Self) {
        self.signals += other.signals;
        self.failures += other.failures;
        self.successes += other.successes;
        self.attempts_refused += other.attempts_refused;
        self.successes_hit += other.successes_hit;
    }
}

/// Whether block mode can be switched on, and why.
fn advice(totals: &Totals, hours: u64) -> (String, Vec<String>) {
    let mut why = Vec::new();
    if hours < HOURS_MIN {
        why.push(format!(
            "signals of {hours} hours were seen; a day and a night ({HOURS_MIN}) tell more"
        ));
    }
    if totals.successes < SUCCESSES_MIN {
        why.push(format!(
            "{} successful sign-ins were seen; {SUCCESSES_MIN} or more tell whom a refusal would hit",
            totals.successes
        ));
    }
    if totals.successes_hit.saturating_mul(HIT_ONE_OF) > totals.successes {
        why.push(format!(
            "{} of {} successful sign-ins would have been refused, more than one of {HIT_ONE_OF}: look at the \
             prefixes below and exempt who is no attacker",
            totals.successes_hit, totals.successes
        ));
        return ("not_safe".to_owned(), why);
    }
    if why.is_empty() {
        why.push(format!(
            "{} of {} successful sign-ins would have been refused",
            totals.successes_hit, totals.successes
        ));
        return ("safe".to_owned(), why);
    }
    ("too_early".to_owned(), why)
}

#[expect(clippy::cast_precision_loss, reason = "a share for people to read")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

fn number(time_ms: u64) -> u32 {
    u32::try_from(time_ms / HOUR_MS).unwrap_or(u32::MAX)
}

const HOUR_MS: u64 = 3_600_000;
/// Thirty days.
const HOURS_MAX: usize = 30 * 24;
/// Users remembered as hit in one hour.
const USERS_HIT_MAX: usize = 1_000;
/// Prefixes with a row of their own.
const PREFIXES_MAX: usize = 20_000;
/// Hours with signals before anything is advised.
const HOURS_MIN: u64 = 24;
/// Successful sign-ins before anything is advised.
const SUCCESSES_MIN: u64 = 100;
/// One successful sign-in hit of so many is accepted; the goal that detection is measured by.
const HIT_ONE_OF: u64 = 10_000;

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::policy::signal::PseudonymKey;

    const START_MS: u64 = 1_800_000_000_000 / HOUR_MS * HOUR_MS;

    fn signal(hour: u64, outcome: Outcome, user: &str) -> Signal {
        Signal {
            time_ms: START_MS + hour * HOUR_MS,
            client: IpAddr::from([192, 0, 2, 1]),
            service: 0,
            flow: Flow::SignIn,
            outcome,
            user: Some(PseudonymKey::new(1, 2).user(user.as_bytes())),
            agent: None,
            asn: None,
        }
    }

    fn hit(prefix: &str) -> Hit<'_> {
        Hit {
            prefix: prefix.parse().unwrap(),
            detections: "Password Spray",
            attempts_before: 8,
        }
    }

    #[test]
    fn the_report_says_who_would_have_been_hit() {
        let mut impact = Impact::default();
        for hour in 0..30 {
            for one in 0..1_000 {
                impact.book(&signal(hour, Outcome::Success, &format!("u{one}")), None);
            }
            impact.book(
                &signal(hour, Outcome::Failure, "x"),
                Some(&hit("192.0.2.1/32")),
            );
        }
        let now = START_MS + 30 * HOUR_MS;
        let report = impact.report(START_MS, now, 10);
        assert_eq!(report.totals.signals, 30_030);
        assert_eq!(
            (report.totals.attempts_refused, report.totals.successes_hit),
            (30, 0)
        );
        assert_eq!(report.block_mode, "safe");
        let row = &report.refused[0].refused;
        assert_eq!((row.attempts, row.attempts_refused), (38, 30));
        assert_eq!((row.first_refused, report.refused_total), (START_MS, 1));
        // Two users, three sign-ins in thirty thousand; four are too many.
        for (user, expected) in [
            ("a", "safe"),
            ("a", "safe"),
            ("b", "safe"),
            ("b", "not_safe"),
        ] {
            impact.book(
                &signal(29, Outcome::Success, user),
                Some(&hit("192.0.2.0/24")),
            );
            assert_eq!(impact.report(START_MS, now, 10).block_mode, expected);
        }
        let report = impact.report(START_MS, now, 1);
        assert_eq!((report.users_hit, report.refused_total), (2, 2));
        assert_eq!(
            report.refused[0].prefix.prefix_len(),
            24,
            "who hits most comes first"
        );
        assert_eq!(
            impact
                .report(START_MS + 29 * HOUR_MS, now, 10)
                .totals
                .signals,
            1_005
        );
        impact.forget(&"192.0.2.0/24".parse().unwrap());
        assert_eq!(impact.report(START_MS, now, 10).refused_total, 1);
    }

    #[test]
    fn little_evidence_is_no_advice() {
        let mut impact = Impact::default();
        let report = impact.report(0, START_MS, 10);
        assert_eq!(
            (report.block_mode.as_str(), report.why.len()),
            ("too_early", 2)
        );
        for _ in 0..200 {
            impact.book(&signal(0, Outcome::Success, "u"), None);
        }
        let report = impact.report(0, START_MS, 10);
        assert_eq!(
            (report.block_mode.as_str(), report.why.len()),
            ("too_early", 1)
        );
        assert_eq!(report.since, START_MS);
    }

    #[test]
    fn hours_come_in_any_order_and_stay_bounded() {
        let mut impact = Impact::default();
        for round in 0..3_u64 {
            for hour in 0..2_000_u64 {
                let hour = (hour * 7_919 + round) % 2_000;
                impact.book(&signal(hour, Outcome::Failure, "u"), None);
                assert!(impact.hours.len() <= HOURS_MAX);
                assert!(impact.hours.iter().is_sorted_by(|a, b| a.number < b.number));
            }
        }
        let kept: u64 = impact.hours.iter().map(|hour| hour.totals.signals).sum();
        assert!(kept >= HOURS_MAX as u64, "{kept}");
        for index in 0..u32::try_from(PREFIXES_MAX).unwrap() * 2 {
            let prefix = IpNet::from(IpAddr::from(index.to_be_bytes()));
            let hit = Hit {
                prefix,
                detections: "",
                attempts_before: 0,
            };
            impact.book(&signal(1_999, Outcome::Failure, "u"), Some(&hit));
        }
        assert!(impact.prefixes.len() <= PREFIXES_MAX);
        assert!(impact.displaced >= u64::try_from(PREFIXES_MAX).unwrap() - 1);
    }
}
