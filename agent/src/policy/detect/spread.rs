//! Attacks that no single source shows: many sources on one user, many sources with one user agent, and
//! many sources that begin to fail at once.

use serde::{Deserialize, Serialize};

use super::{
    detection::Level,
    source::{Change, low_bits, windows},
    table::Worth,
    thresholds::Thresholds,
    window::{Sliding, seconds},
};
use crate::policy::model::{Feature, Features};

/// One user, seen over all sources.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct UserWatch {
    short: Sliding<u16>,
    long: Sliding<u16>,
    /// Sources that failed last, so that one that goes on failing counts once.
    seen: [u32; SEEN],
    next_seen: u8,
    /// Networks from which the user signed in last; they are never taken for the attack.
    trusted: [u32; TRUSTED],
    next_trusted: u8,
}

/// One pattern: a user agent and path; or, for the whole service, every pattern.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Pattern {
    short: Sliding<PatternCounts>,
    long: Sliding<PatternCounts>,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct PatternCounts {
    /// Sources that fail and never succeeded.
    failing: u16,
    /// Sources that succeeded.
    good: u16,
    failures: u16,
    successes: u16,
}

/// What happened, for all three.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    /// Milliseconds since the epoch.
    pub(super) time_ms: u64,
    /// The sign-in failed; otherwise it succeeded.
    pub(super) failed: bool,
    /// What it changed about the source.
    pub(super) change: &'a Change,
}

const SEEN: usize = 8;
const TRUSTED: usize = 4;

impl UserWatch {
    /// Counts a sign-in of the user from a source of a network (both as numbers), and says at which level
    /// the user is under attack.
    pub(super) fn observe(
        &mut self,
        seen: &Seen<'_>,
        source: u64,
        network: u64,
        thresholds: &Thresholds,
    ) -> Option<Level> {
        let now = seconds(seen.time_ms);
        let (short_s, long_s) = windows(thresholds);
        self.short.advance(now, short_s);
        self.long.advance(now, long_s);
        if !seen.failed {
            self.trust(network);
            return None;
        }
        if !self.trusts(network) && self.is_new(source) {
            for window in [&mut self.short, &mut self.long] {
                *window.current() = window.current().saturating_add(1);
            }
        }
        self.level(seen.time_ms, thresholds)
    }

    /// At which level the user is under attack from many sources.
    #[must_use]
    pub(super) fn level(&self, time_ms: u64, thresholds: &Thresholds) -> Option<Level> {
        let now = seconds(time_ms);
        let (short_s, long_s) = windows(thresholds);
        let short = self.short.count(now, short_s, |sources| *sources);
        let long = self.long.count(now, long_s, |sources| *sources);
        thresholds
            .brute_sources_short
            .level(short)
            .max(thresholds.brute_sources_long.level(long))
    }

    /// Whether the user signed in from this network before.
    #[must_use]
    pub(super) fn trusts(&self, network: u64) -> bool {
        self.trusted.contains(&mark(network))
    }

    /// Marks of the networks that the user signed in from last.
    pub(super) fn homes(&self) -> impl Iterator<Item = u32> {
        self.trusted.into_iter().filter(|mark| *mark != 0)
    }

    /// What a model is told of the user.
    pub(super) fn describe(
        &self,
        time_ms: u64,
        network: u64,
        thresholds: &Thresholds,
        features: &mut Features,
    ) {
        let now = seconds(time_ms);
        let (short_s, long_s) = windows(thresholds);
        let short = self.short.count(now, short_s, |sources| *sources);
        let long = self.long.count(now, long_s, |sources| *sources);
        // The first source is the user's own.
        features.count(Feature::UserSources, short.saturating_sub(1));
        features.count(Feature::UserSourcesLong, long.saturating_sub(1));
        let at_home = u16::from(self.trusts(network));
        features.set(Feature::AtHome, f32::from(at_home));
    }

    fn trust(&mut self, network: u64) {
        if !self.trusts(network) {
            remember(&mut self.trusted, &mut self.next_trusted, mark(network));
        }
    }

    fn is_new(&mut self, source: u64) -> bool {
        let mark = mark(source);
        if self.seen.contains(&mark) {
            return false;
        }
        remember(&mut self.seen, &mut self.next_seen, mark);
        true
    }
}

impl Worth for UserWatch {
    fn worth(&self, time_s: u32) -> u32 {
        let trusted = self.trusted.iter().filter(|mark| **mark != 0).count();
        self.long
            .count(time_s, 86_400, |sources| *sources)
            .saturating_mul(4)
            .saturating_add(u32::try_from(trusted).unwrap_or(0))
    }
}

impl Pattern {
    /// Counts a sign-in.
    pub(super) fn observe(&mut self, seen: &Seen<'_>, thresholds: &Thresholds) {
        let now = seconds(seen.time_ms);
        let (short_s, long_s) = windows(thresholds);
        self.short.advance(now, short_s);
        self.long.advance(now, long_s);
        let change = seen.change;
        for window in [&mut self.short, &mut self.long] {
            let counts = window.current();
            counts.failing = counts
                .failing
                .saturating_add(u16::from(change.began_to_fail))
                .saturating_sub(u16::from(change.recovered));
            counts.good = counts
                .good
                .saturating_add(u16::from(change.began_to_succeed));
            let counter = if seen.failed {
                &mut counts.failures
            } else {
                &mut counts.successes
            };
            *counter = counter.saturating_add(1);
        }
    }

    /// At which level a user agent is the pattern of an attack: many sources that only fail, in either
    /// window, and hardly anybody who signs in with it.
    #[must_use]
    pub(super) fn level(&self, time_ms: u64, thresholds: &Thresholds) -> Option<Level> {
        let now = seconds(time_ms);
        let (short_s, long_s) = windows(thresholds);
        let long = |counter: fn(&PatternCounts) -> u16| self.long.count(now, long_s, counter);
        let short = self.short.count(now, short_s, |counts| counts.failing);
        // Counted in sources: an attacker's many tries do not make an honest browser look worse.
        let good = u64::from(long(|counts| counts.good));
        let all = good.saturating_add(long(|counts| counts.failing).into());
        if good * 100 > u64::from(thresholds.pattern_success_percent_max) * all {
            return None;
        }
        let twice = long(|counts| counts.failing) / 2;
        thresholds.pattern_sources.level(short.max(twice))
    }

    /// Whether enough sources have succeeded to know what honest sign-ins look like.
    #[must_use]
    pub(super) fn knows_honest(&self, time_ms: u64, thresholds: &Thresholds) -> bool {
        let (_, long_s) = windows(thresholds);
        let good = self
            .long
            .count(seconds(time_ms), long_s, |counts| counts.good);
        good >= thresholds.honest_sources_min
    }

    /// How many sources begin to fail for a hundred that begin to succeed, if that is a distributed attack:
    /// people mistype, but they get in.
    #[must_use]
    pub(super) fn surge(&self, time_ms: u64, thresholds: &Thresholds) -> Option<u32> {
        let now = seconds(time_ms);
        let (short_s, _) = windows(thresholds);
        let failing = self.short.count(now, short_s, |counts| counts.failing);
        let good = self.short.count(now, short_s, |counts| counts.good);
        let percent = failing.saturating_mul(100) / good.max(1);
        (failing >= thresholds.surge_sources_min && percent >= thresholds.surge_percent)
            .then_some(percent)
    }
}

impl Pattern {
    /// What a model is told of the whole service.
    pub(super) fn describe_service(
        &self,
        time_ms: u64,
        thresholds: &Thresholds,
        features: &mut Features,
    ) {
        let now = seconds(time_ms);
        let (short_s, _) = windows(thresholds);
        let failing = self.short.count(now, short_s, |counts| counts.failing);
        let good = self.short.count(now, short_s, |counts| counts.good);
        if failing >= FAILING_MIN {
            features.count(Feature::Surge, failing.saturating_mul(10) / good.max(1));
        }
    }

    /// What a model is told of a user agent.
    pub(super) fn describe_agent(
        &self,
        time_ms: u64,
        thresholds: &Thresholds,
        features: &mut Features,
    ) {
        let now = seconds(time_ms);
        let (short_s, long_s) = windows(thresholds);
        let long = |counter: fn(&PatternCounts) -> u16| self.long.count(now, long_s, counter);
        let (failing, good) = (long(|counts| counts.failing), long(|counts| counts.good));
        let all = failing.saturating_add(good);
        if all >= FAILING_MIN {
            features.share(Feature::AgentShare, failing, all);
        }
        let short = self.short.count(now, short_s, |counts| counts.failing);
        features.count(Feature::AgentFailing, short);
    }
}

/// Sources from which their share says something.
const FAILING_MIN: u32 = 5;

impl Worth for Pattern {
    fn worth(&self, time_s: u32) -> u32 {
        self.long.count(time_s, 86_400, |counts| {
            counts.failures.saturating_add(counts.successes)
        })
    }
}

/// A short mark of a number; 0 is an empty place.
pub(super) fn mark(number: u64) -> u32 {
    low_bits(number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32)).max(1)
}

/// Puts a mark over the oldest one.
fn remember(ring: &mut [u32], next: &mut u8, mark: u32) {
    let length = u8::try_from(ring.len()).unwrap_or(u8::MAX).max(1);
    if let Some(place) = ring.get_mut(usize::from(*next % length)) {
        *place = mark;
    }
    *next = (*next + 1) % length;
}
