//! What is remembered of one network (an IPv4 /24, an IPv6 /48): how many of its sources fail.
//!
//! Neighbours of an attacker are not attackers, so a network is looked at only when several of its
//! sources fail without ever succeeding, and few others succeed.

use crate::policy::model::{Feature, Features};
use serde::{Deserialize, Serialize};

use super::{
    detection::{Detection, Findings},
    source::{Change, windows},
    table::Worth,
    thresholds::Thresholds,
    window::{Sliding, seconds},
};

/// One network.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Network {
    /// Failures alone: what a burst is told by.
    short: Sliding<u16>,
    long: Sliding<Counts>,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Counts {
    failures: u16,
    /// Users that failed at a source for the first time.
    fresh: u16,
    /// Sources that fail and never succeeded.
    failing: u16,
    /// Sources that succeeded.
    good: u16,
}

impl Network {
    /// Counts what a signal changed about one of its sources, and says what the network looks like.
    pub(super) fn observe(
        &mut self,
        time_ms: u64,
        failed: bool,
        change: &Change,
        thresholds: &Thresholds,
    ) -> Findings {
        let now = seconds(time_ms);
        let (short_s, long_s) = windows(thresholds);
        self.short.advance(now, short_s);
        self.long.advance(now, long_s);
        let counts = self.long.current();
        // Who has succeeded here and fails now is a person.
        if failed && !change.trusted {
            let short = self.short.current();
            *short = short.saturating_add(1);
            counts.failures = counts.failures.saturating_add(1);
        }
        counts.fresh = counts.fresh.saturating_add(u16::from(change.fresh_user));
        counts.failing = counts
            .failing
            .saturating_add(u16::from(change.began_to_fail))
            .saturating_sub(u16::from(change.recovered));
        counts.good = counts
            .good
            .saturating_add(u16::from(change.began_to_succeed));
        if !failed {
            return Findings::default();
        }
        let long = |counter: fn(&Counts) -> u16| self.long.count(now, long_s, counter);
        let (failing, good) = (long(|counts| counts.failing), long(|counts| counts.good));
        let sources = u64::from(failing.saturating_add(good));
        let is_office = u64::from(good) * 100 > u64::from(thresholds.success_percent_max) * sources;
        let mut findings = Findings::default();
        if failing < thresholds.network_sources_min || is_office {
            return findings;
        }
        let failures = long(|counts| counts.failures);
        let failures_short = self.short.count(now, short_s, |failures| *failures);
        let level = thresholds
            .network_long
            .level(failures)
            .max(thresholds.network_short.level(failures_short));
        findings.add(Detection::LoginFailures, level);
        if u64::from(long(|counts| counts.fresh)) * 2 >= u64::from(failures) {
            findings.add(Detection::PasswordSpray, level);
        }
        findings
    }

    /// What was counted, in a sentence.
    pub(super) fn evidence(&self, time_ms: u64, thresholds: &Thresholds) -> String {
        let now = seconds(time_ms);
        let (_, long_s) = windows(thresholds);
        let long = |counter: fn(&Counts) -> u16| self.long.count(now, long_s, counter);
        format!(
            "{} sources fail and {} succeed; {} failed sign-ins",
            long(|counts| counts.failing),
            long(|counts| counts.good),
            long(|counts| counts.failures)
        )
    }
}

impl Network {
    /// What a model is told of it: the other sources.
    pub(super) fn describe(&self, time_ms: u64, thresholds: &Thresholds, features: &mut Features) {
        let (_, long_s) = windows(thresholds);
        let now = seconds(time_ms);
        let long = |counter: fn(&Counts) -> u16| self.long.count(now, long_s, counter);
        let failing = long(|counts| counts.failing);
        let others = failing.saturating_sub(1);
        let all = failing.saturating_add(long(|counts| counts.good));
        features.count(Feature::NetworkFailing, others);
        features.share(Feature::NetworkShare, others, all);
    }
}

impl Worth for Network {
    fn worth(&self, time_s: u32) -> u32 {
        let failing = self.long.count(time_s, 86_400, |counts| counts.failing);
        let failures = self.long.count(time_s, 86_400, |counts| counts.failures);
        failing.saturating_mul(16).saturating_add(failures)
    }
}
