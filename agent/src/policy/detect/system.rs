//! What is remembered of one autonomous system: how many of its sources fail.
//!
//! It has no single prefix, and its customers have nothing to do with each other, so it is never refused itself. Where
//! several of its sources only fail and hardly any signs anybody in, as at a company whose machines are rented for
//! attacks, less is needed of a further source there. A provider with customers among the users is never meant: they
//! sign in.

use serde::{Deserialize, Serialize};

use super::{
    source::{Change, windows},
    table::Worth,
    thresholds::{Steps, Thresholds},
    window::{Sliding, seconds},
};

/// One autonomous system.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct System {
    long: Sliding<Counts>,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Counts {
    /// Sources that fail and never succeeded.
    failing: u16,
    /// Sources that succeeded.
    good: u16,
}

impl System {
    /// Counts what a signal changed about one of its sources.
    pub(super) fn observe(&mut self, time_ms: u64, change: &Change, thresholds: &Thresholds) {
        let (_, long_s) = windows(thresholds);
        self.long.advance(seconds(time_ms), long_s);
        let counts = self.long.current();
        counts.failing = counts
            .failing
            .saturating_add(u16::from(change.began_to_fail))
            .saturating_sub(u16::from(change.recovered));
        counts.good = counts
            .good
            .saturating_add(u16::from(change.began_to_succeed));
    }

    /// Whether its sources are taken for an attacker's until they show otherwise.
    #[must_use]
    pub(super) fn is_bad(&self, time_ms: u64, thresholds: &Thresholds) -> bool {
        let (failing, good) = self.sources(time_ms, thresholds);
        let all = u64::from(failing.saturating_add(good));
        failing >= thresholds.asn_sources_min
            && u64::from(good) * 100 <= u64::from(thresholds.asn_success_percent_max) * all
    }

    /// What was counted, in a sentence.
    pub(super) fn evidence(&self, time_ms: u64, thresholds: &Thresholds) -> String {
        let (failing, good) = self.sources(time_ms, thresholds);
        format!("{failing} of its sources only fail and {good} succeed")
    }

    fn sources(&self, time_ms: u64, thresholds: &Thresholds) -> (u32, u32) {
        let now = seconds(time_ms);
        let (_, long_s) = windows(thresholds);
        let long = |counter: fn(&Counts) -> u16| self.long.count(now, long_s, counter);
        (long(|counts| counts.failing), long(|counts| counts.good))
    }
}

impl Worth for System {
    fn worth(&self, time_s: u32) -> u32 {
        let failing = self.long.count(time_s, 86_400, |counts| counts.failing);
        let good = self.long.count(time_s, 86_400, |counts| counts.good);
        failing.saturating_mul(4).saturating_add(good)
    }
}

impl Thresholds {
    /// What holds for a source in a system that [`System::is_bad`]. One user's few tries stay what they are: people
    /// behind a rented machine, as those of a VPN, forget their passwords too.
    pub(super) fn of_bad_system(&self) -> Self {
        let part = |count: u32| {
            let scaled = u64::from(count) * u64::from(self.asn_counts_percent.min(100)) / 100;
            u32::try_from(scaled).unwrap_or(count).max(count.min(2))
        };
        let mut tight = *self;
        for steps in [
            &mut tight.spray_short,
            &mut tight.spray_long,
            &mut tight.stuffing_users,
            &mut tight.stuffing_volume,
            &mut tight.brute_long,
            &mut tight.failures_short,
            &mut tight.failures_long,
            &mut tight.failures_alone,
            &mut tight.unknown_short,
            &mut tight.unknown_long,
            &mut tight.enumeration_short,
            &mut tight.enumeration_long,
            &mut tight.network_short,
            &mut tight.network_long,
        ] {
            *steps = Steps::new(part(steps.low), part(steps.medium), part(steps.high));
        }
        tight.network_sources_min = part(tight.network_sources_min);
        tight
    }
}
