//! What is remembered of one source (an IPv4 address, an IPv6 /64), and what it looks like.

use serde::{Deserialize, Serialize};

use super::{
    detection::{Detection, Findings, Level},
    pace::Pace,
    table::Worth,
    thresholds::Thresholds,
    users::{Noted, Tried, Users},
    window::{Advance, Sliding, seconds},
};
use crate::policy::{
    model::{Feature, Features},
    signal::{Flow, Outcome, Signal},
};

/// One source.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Source {
    short: Sliding<Counts>,
    long: Sliding<LongCounts>,
    pace: Pace,
    users: Users,
    /// Distinct users of the stretch before: failed, succeeded, probed.
    before: [u16; 3],
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Counts {
    failures: u16,
    /// Users that failed here for the first time.
    fresh: u16,
    /// Users that do not exist, for the first time; without names, such failures.
    unknown: u16,
    /// Users that recovery or enrolment asked for, for the first time; without names, such requests.
    probes: u16,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct LongCounts {
    counts: Counts,
    successes: u16,
}

/// What a signal changed about a source, for those that look at many sources.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Change {
    /// The source failed for the first time in the long window, and has never succeeded in it.
    pub(super) began_to_fail: bool,
    /// The source succeeded for the first time in the long window.
    pub(super) began_to_succeed: bool,
    /// Before that it had failed.
    pub(super) recovered: bool,
    /// The user failed here for the first time.
    pub(super) fresh_user: bool,
    /// The source has succeeded in the long window.
    pub(super) trusted: bool,
    /// Distinct users that failed and never succeeded here.
    pub(super) users_failed: u32,
    /// Failures in the long window.
    pub(super) failures: u32,
    /// Nobody is named, and the pace is that of a device with an old password.
    pub(super) is_device: bool,
    /// What [`Source::judge`] is told of the user.
    user: Noted,
}

/// The counts that a judgement looks at.
struct Facts {
    failures_short: u32,
    failures_long: u32,
    successes_long: u32,
    fresh_short: u32,
    unknown_short: u32,
    unknown_long: u32,
    probes_short: u32,
    /// Distinct users that failed and never succeeded.
    failed: u32,
    /// Distinct users that succeeded.
    succeeded: u32,
    /// Distinct users that recovery or enrolment asked for.
    probed: u32,
}

impl Source {
    /// Counts a signal.
    pub(super) fn observe(&mut self, signal: &Signal, thresholds: &Thresholds) -> Change {
        let now = seconds(signal.time_ms);
        let (short_s, long_s) = windows(thresholds);
        self.short.advance(now, short_s);
        match self.long.advance(now, long_s) {
            Advance::Same => {}
            Advance::Next => {
                let distinct = self.users.distinct();
                self.before = [distinct.failed, distinct.succeeded, distinct.probed];
                self.users = Users::default();
            }
            Advance::Anew => {
                self.before = [0; 3];
                self.users = Users::default();
            }
        }
        let failures = self.long.count(now, long_s, |long| long.counts.failures);
        let successes = self.long.count(now, long_s, |counts| counts.successes);
        let Some(tried) = tried(signal) else {
            return Change {
                trusted: successes > 0,
                ..Change::default()
            };
        };
        let noted = match signal.user {
            Some(user) => self.users.note(low_bits(user.bits()), tried),
            None => Noted {
                fresh: true,
                ..Noted::default()
            },
        };
        let unknown = signal.outcome == Outcome::UnknownUser;
        self.pace.note(now, long_s, signal.agent);
        self.short.current().add(tried, noted.fresh, unknown);
        let long = self.long.current();
        long.counts.add(tried, noted.fresh, unknown);
        long.successes = long
            .successes
            .saturating_add(u16::from(tried == Tried::Succeeded));
        let users_failed = u32::from(self.users.distinct().failed).saturating_add(self.long.faded(
            self.before[0],
            now,
            long_s,
        ));
        Change {
            began_to_fail: tried == Tried::Failed && failures == 0 && successes == 0,
            began_to_succeed: tried == Tried::Succeeded && successes == 0,
            recovered: tried == Tried::Succeeded && successes == 0 && failures > 0,
            fresh_user: tried == Tried::Failed && noted.fresh && signal.user.is_some(),
            trusted: successes > 0 || tried == Tried::Succeeded,
            users_failed,
            failures: failures.saturating_add(u32::from(tried == Tried::Failed)),
            is_device: signal.user.is_none() && self.pace.is_device(),
            user: noted,
        }
    }

    /// What the source looks like after a signal that [`Self::observe`] has counted.
    #[must_use]
    pub(super) fn judge(&self, time_ms: u64, change: &Change, thresholds: &Thresholds) -> Findings {
        let facts = self.facts(time_ms, thresholds);
        let mut findings = Findings::default();
        if !facts.is_office(thresholds) {
            facts.many_users(thresholds, &mut findings);
            facts.many_failures(change.is_device, thresholds, &mut findings);
        }
        if !change.user.trusted {
            let failures = u32::from(change.user.failures);
            let short = failures.min(facts.failures_short);
            // A device with an old password tries at its leisure, for days. What is faster counts twice.
            let hurried = short >= thresholds.brute_hurried_min;
            let long = failures.saturating_mul(1 + u32::from(hurried));
            findings.add(Detection::BruteForce, thresholds.brute_short.level(short));
            findings.add(Detection::BruteForce, thresholds.brute_long.level(long));
        }
        facts.enumeration(thresholds, &mut findings);
        findings
    }

    /// Whether more users (or attempts) succeed here than an attacker's would.
    #[must_use]
    pub(super) fn is_office(&self, time_ms: u64, thresholds: &Thresholds) -> bool {
        self.facts(time_ms, thresholds).is_office(thresholds)
    }

    /// Whether anybody has signed in here within the long window.
    #[must_use]
    pub(super) fn has_succeeded(&self, time_ms: u64, thresholds: &Thresholds) -> bool {
        self.facts(time_ms, thresholds).successes_long > 0
    }

    /// Failed and successful sign-ins within the long window.
    pub(super) fn attempts(&self, time_ms: u64, thresholds: &Thresholds) -> u64 {
        let facts = self.facts(time_ms, thresholds);
        u64::from(facts.failures_long.saturating_add(facts.successes_long))
    }

    /// What was counted, in a sentence.
    pub(super) fn evidence(&self, time_ms: u64, thresholds: &Thresholds) -> String {
        let facts = self.facts(time_ms, thresholds);
        let mut told = format!(
            "{} failed and {} successful sign-ins ({} failed lately)",
            facts.failures_long, facts.successes_long, facts.failures_short
        );
        for (count, what) in [
            (facts.failed, "users failed"),
            (facts.succeeded, "users signed in"),
            (facts.unknown_long, "users do not exist"),
            (facts.probed, "users asked for in recovery or enrolment"),
        ] {
            if count > 0 {
                told.push_str(&format!("; {count} {what}"));
            }
        }
        told
    }

    /// What a model is told of it, after a signal that [`Self::observe`] has counted.
    pub(super) fn describe(
        &self,
        time_ms: u64,
        change: &Change,
        thresholds: &Thresholds,
        features: &mut Features,
    ) {
        let facts = self.facts(time_ms, thresholds);
        features.count(Feature::FailuresShort, facts.failures_short);
        features.count(Feature::FailuresLong, facts.failures_long);
        features.count(Feature::UsersFailed, facts.failed);
        features.count(Feature::Probes, facts.probed.max(facts.probes_short));
        let (good, bad) = facts.good_and_bad();
        features.share(Feature::SuccessShare, good, good.saturating_add(bad));
        let alone = u16::from(facts.successes_long == 0);
        features.set(Feature::NoSuccess, f32::from(alone));
        if features.named() {
            let each = facts.failures_long / facts.failed.max(1);
            features.count(Feature::TriesEach, each);
            features.count(Feature::UserFailures, change.user.failures.into());
            let unknown = facts.unknown_long.min(facts.failed);
            features.share(Feature::UnknownShare, unknown, facts.failed);
        }
        self.pace.describe(features);
    }

    /// Bytes that the source takes, with its heap.
    #[cfg(test)]
    #[must_use]
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>().saturating_add(self.users.heap_bytes())
    }

    fn facts(&self, time_ms: u64, thresholds: &Thresholds) -> Facts {
        let now = seconds(time_ms);
        let (short_s, long_s) = windows(thresholds);
        let short = |counter: fn(&Counts) -> u16| self.short.count(now, short_s, counter);
        let long = |counter: fn(&LongCounts) -> u16| self.long.count(now, long_s, counter);
        let [failed, succeeded, probed] =
            self.before.map(|users| self.long.faded(users, now, long_s));
        let distinct = self.users.distinct();
        Facts {
            failures_short: short(|counts| counts.failures),
            failures_long: long(|long| long.counts.failures),
            successes_long: long(|long| long.successes),
            fresh_short: short(|counts| counts.fresh),
            unknown_short: short(|counts| counts.unknown),
            unknown_long: long(|long| long.counts.unknown),
            probes_short: short(|counts| counts.probes),
            failed: failed.saturating_add(distinct.failed.into()),
            succeeded: succeeded.saturating_add(distinct.succeeded.into()),
            probed: probed.saturating_add(distinct.probed.into()),
        }
    }
}

impl Worth for Source {
    /// Attackers and offices are worth more than sources with a success or two; old ones less.
    fn worth(&self, time_s: u32) -> u32 {
        let day = 86_400;
        let failures = self.long.count(time_s, day, |long| long.counts.failures);
        let successes = self.long.count(time_s, day, |counts| counts.successes);
        failures.saturating_mul(4).saturating_add(successes)
    }
}

impl Counts {
    fn add(&mut self, tried: Tried, fresh: bool, unknown: bool) {
        let counter = match tried {
            Tried::Failed => {
                self.fresh = self.fresh.saturating_add(u16::from(fresh));
                self.unknown = self.unknown.saturating_add(u16::from(fresh && unknown));
                &mut self.failures
            }
            Tried::Probed if fresh => &mut self.probes,
            Tried::Probed | Tried::Succeeded => return,
        };
        *counter = counter.saturating_add(1);
    }
}

impl Facts {
    /// Counted in users where they are known: an own account of the attacker counts once, however often
    /// it signs in.
    const fn is_office(&self, thresholds: &Thresholds) -> bool {
        let (good, bad) = self.good_and_bad();
        let all = good.saturating_add(bad) as u64;
        good as u64 * 100 > thresholds.success_percent_max as u64 * all
    }

    const fn good_and_bad(&self) -> (u32, u32) {
        if self.failed.saturating_add(self.succeeded) > 0 {
            (self.succeeded, self.failed)
        } else {
            (self.successes_long, self.failures_long)
        }
    }

    fn many_users(&self, thresholds: &Thresholds, findings: &mut Findings) {
        let fresh = self.fresh_short.min(self.failed);
        let users = thresholds
            .spray_long
            .level(self.failed)
            .max(thresholds.spray_short.level(fresh));
        let tries_max = self.failed.saturating_mul(thresholds.spray_tries_max);
        if self.failures_long <= tries_max {
            findings.add(Detection::PasswordSpray, users);
        } else {
            findings.add(Detection::BruteForce, users);
        }
        if share(self.unknown_long, self.failed) >= thresholds.stuffing_unknown_percent {
            findings.add(
                Detection::CredentialStuffing,
                thresholds.stuffing_users.level(self.failed),
            );
        }
        if self.failed >= thresholds.stuffing_users.high {
            findings.add(
                Detection::CredentialStuffing,
                thresholds.stuffing_volume.level(self.failures_short),
            );
        }
    }

    /// A device with an old password, which access logs do not tell by its one user, gives itself away by its pace.
    fn many_failures(&self, is_device: bool, thresholds: &Thresholds, findings: &mut Findings) {
        let mut note = |detection, level: Option<Level>| findings.add(detection, level);
        note(
            Detection::LoginFailures,
            thresholds.failures_short.level(self.failures_short),
        );
        note(
            Detection::LoginFailures,
            thresholds.failures_long.level(self.failures_long),
        );
        // One or two users that keep failing are brute force or a forgotten device, and are judged as that.
        if self.successes_long == 0 && !is_device && !(1..=2).contains(&self.failed) {
            note(
                Detection::LoginFailures,
                thresholds.failures_alone.level(self.failures_long),
            );
        }
        let base = if self.failed > 0 {
            self.failed
        } else {
            self.failures_long
        };
        if share(self.unknown_long, base) >= thresholds.unknown_percent {
            let level = thresholds.unknown_short.level(self.unknown_short);
            note(Detection::UnknownUsers, level);
            let level = thresholds.unknown_long.level(self.unknown_long);
            note(Detection::UnknownUsers, level);
        }
    }

    /// An office recovers accounts too; it also signs in.
    fn enumeration(&self, thresholds: &Thresholds, findings: &mut Findings) {
        let probed = self.probed.max(self.probes_short);
        let good = self.succeeded.max(self.successes_long.min(1));
        if share(good, good.saturating_add(probed)) > thresholds.success_percent_max {
            return;
        }
        let short = thresholds.enumeration_short.level(self.probes_short);
        let long = thresholds.enumeration_long.level(probed);
        findings.add(Detection::AccountEnumeration, short.max(long));
    }
}

/// Short and long window in seconds.
pub(super) fn windows(thresholds: &Thresholds) -> (u32, u32) {
    (seconds(thresholds.short_ms), seconds(thresholds.long_ms))
}

/// The bits of a pseudonym that tell the users of one source apart.
pub(super) const fn low_bits(pseudonym: u64) -> u32 {
    let [a, b, c, d, ..] = pseudonym.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// `part` of `whole`, percent.
fn share(part: u32, whole: u32) -> u32 {
    let percent = u64::from(part) * 100 / u64::from(whole.max(1));
    u32::try_from(percent).unwrap_or(u32::MAX)
}

/// What a signal counts as. A challenge is neither: what follows it tells.
const fn tried(signal: &Signal) -> Option<Tried> {
    match (signal.flow, signal.outcome) {
        (_, Outcome::Challenge) => None,
        (Flow::Recovery | Flow::Enrolment, _) => Some(Tried::Probed),
        (Flow::SignIn, Outcome::Success) => Some(Tried::Succeeded),
        (Flow::SignIn, Outcome::Failure | Outcome::UnknownUser) => Some(Tried::Failed),
    }
}
