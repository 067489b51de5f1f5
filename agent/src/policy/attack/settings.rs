//! What can be set about the state "under attack", with defaults and where they come from.

use crate::policy::{
    detect::{Steps, Thresholds},
    reputation::Lifetimes,
};

/// When an attack is declared and when it ends.
///
/// "Own" is a number that follows from the generator of this repository; `docs/detection.md` has what it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether the model declares attacks; operators can always.
    pub detect: bool,
    /// How long it takes on average until chance alone declares an attack, ms, if the counts are distributed as
    /// assumed. A year. The control limit of the charts is the logarithm of it in slots (Lorden 1971).
    pub false_alarm_ms: u64,
    /// Strangers that have failed beyond what was expected, from which there can be an attack. Own: fewer are
    /// no matter for a whole service.
    pub sources_min: u32,
    /// To how many hundredths of the expected a rise is looked for. 300: the middle of what distributed attacks of
    /// the generator reach at the busiest hour. Own.
    pub rise_percent: u32,
    /// How long a declared attack lasts at least, ms. A quarter of an hour. Own.
    pub hold_ms: u64,
    /// How long nothing of it must have been seen before it ends, ms. Half an hour: as long as a source is
    /// refused that only took part.
    pub quiet_ms: u64,
    /// What changes while it lasts.
    pub tightening: Tightening,
}

/// What changes while a service is under attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tightening {
    /// Refused from this score on, if that is lower than otherwise. 65: one detection at MEDIUM is enough.
    pub block_score: u8,
    /// Slowed from this score on, if that is lower than otherwise. 20: who was refused lately is slowed for
    /// longer.
    pub limit_score: u8,
    /// Counts of the detectors, in percent of what they otherwise are. Own.
    pub counts_percent: u32,
    /// Lifetimes of refusals, in percent of what they otherwise are. Own.
    pub lifetime_percent: u32,
    /// Limits of requests, in percent of what they otherwise are. Own: half.
    pub rate_percent: u32,
}

impl Settings {
    /// The control limit of the charts, in nats.
    #[must_use]
    pub fn limit(&self) -> f32 {
        let slots = self.false_alarm_ms / super::SLOT_MS;
        let slots = u32::try_from(slots).unwrap_or(u32::MAX).max(2);
        (slots as f32).ln()
    }
}

impl Tightening {
    /// The scores from which a source is refused and slowed.
    #[must_use]
    pub fn scores(&self, block: u8, limit: u8) -> (u8, u8) {
        let block = block.min(self.block_score);
        (block, limit.min(self.limit_score).min(block))
    }

    /// Tighter counts. Counts that were above one do not fall to one: that would be everybody's first mistake.
    #[must_use]
    pub fn thresholds(&self, ordinary: &Thresholds) -> Thresholds {
        let mut tight = *ordinary;
        for steps in [
            &mut tight.spray_short,
            &mut tight.spray_long,
            &mut tight.stuffing_users,
            &mut tight.stuffing_volume,
            &mut tight.brute_short,
            &mut tight.brute_sources_short,
            &mut tight.failures_short,
            &mut tight.unknown_short,
            &mut tight.unknown_long,
            &mut tight.enumeration_short,
            &mut tight.network_short,
            &mut tight.network_long,
            &mut tight.pattern_sources,
        ] {
            *steps = Steps::new(
                self.count(steps.low),
                self.count(steps.medium),
                self.count(steps.high),
            );
        }
        tight
    }

    /// Longer lifetimes; the longest stays what it is.
    #[must_use]
    pub fn lifetimes(&self, ordinary: &Lifetimes) -> Lifetimes {
        let longer = |ms: u64| {
            let scaled = ms.saturating_mul(self.lifetime_percent.max(100).into()) / 100;
            scaled.min(ordinary.longest_ms).max(ms)
        };
        Lifetimes {
            first_ms: longer(ordinary.first_ms),
            brief_ms: longer(ordinary.brief_ms),
            ..*ordinary
        }
    }

    /// A tighter limit of requests, at least one. 0 stays 0, whatever that means to whoever counts.
    #[must_use]
    pub fn rate(&self, ordinary: u32) -> u32 {
        percent(ordinary, self.rate_percent.min(100)).max(ordinary.min(1))
    }

    fn count(&self, ordinary: u32) -> u32 {
        percent(ordinary, self.counts_percent.min(100)).max(ordinary.min(2))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            detect: true,
            false_alarm_ms: 365 * 24 * 3_600_000,
            sources_min: 20,
            rise_percent: 300,
            hold_ms: 15 * 60_000,
            quiet_ms: 30 * 60_000,
            tightening: Tightening::default(),
        }
    }
}

impl Default for Tightening {
    fn default() -> Self {
        Self {
            block_score: 65,
            limit_score: 20,
            counts_percent: 75,
            lifetime_percent: 200,
            rate_percent: 50,
        }
    }
}

/// Rounded up: a limit never falls further than what was asked for.
fn percent(number: u32, percent: u32) -> u32 {
    let scaled = u64::from(number)
        .saturating_mul(percent.into())
        .div_ceil(100);
    u32::try_from(scaled).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tightening_only_ever_tightens() {
        let tight = Tightening::default();
        for (block, limit, expected) in [
            (80, 40, (65, 20)),
            (50, 40, (50, 20)),
            (10, 5, (10, 5)),
            (65, 65, (65, 20)),
        ] {
            assert_eq!(tight.scores(block, limit), expected);
        }
        for (ordinary, expected) in [
            (0, 0),
            (1, 1),
            (2, 1),
            (5, 3),
            (200, 100),
            (u32::MAX, 1 << 31),
        ] {
            assert_eq!(tight.rate(ordinary), expected, "{ordinary}");
        }
        let careless = Tightening {
            block_score: 100,
            limit_score: 100,
            counts_percent: 400,
            lifetime_percent: 1,
            rate_percent: 400,
        };
        let (thresholds, lifetimes) = (Thresholds::default(), Lifetimes::default());
        assert_eq!(careless.scores(80, 40), (80, 40));
        assert_eq!(careless.rate(7), 7);
        assert_eq!(careless.thresholds(&thresholds), thresholds);
        assert_eq!(careless.lifetimes(&lifetimes), lifetimes);
    }

    #[test]
    fn counts_and_lifetimes_follow_the_percentages() {
        let tight = Tightening::default();
        let thresholds = tight.thresholds(&Thresholds::default());
        assert_eq!(thresholds.spray_short, Steps::new(3, 5, 6));
        assert_eq!(thresholds.brute_sources_short, Steps::new(3, 4, 5));
        assert_eq!(thresholds.success_percent_max, 20, "a share is no count");
        let lifetimes = tight.lifetimes(&Lifetimes::default());
        assert_eq!(lifetimes.first_ms, 2 * 3_600_000);
        assert_eq!(lifetimes.longest_ms, Lifetimes::default().longest_ms);
    }

    #[test]
    fn a_longer_interval_between_false_alarms_asks_for_more_evidence() {
        let limit = |false_alarm_ms| {
            Settings {
                false_alarm_ms,
                ..Settings::default()
            }
            .limit()
        };
        assert!(limit(0) > 0.0 && limit(0) < 1.0);
        let (day, year) = (limit(86_400_000), Settings::default().limit());
        assert!((day - 288_f32.ln()).abs() < 1e-3 && (year - 105_120_f32.ln()).abs() < 1e-3);
        assert!(limit(u64::MAX).is_finite());
    }
}
