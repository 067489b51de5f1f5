//! Control charts for counts: cumulative sums of log-likelihood ratios.
//!
//! Page's cumulative sum (Biometrika 41, 1954) with the negative binomial distribution, as surveillance of diseases
//! uses it (Höhle and Paul, Computational Statistics & Data Analysis 52, 2008): counts that vary more than chance,
//! around an expectation that changes with the time of day.

use serde::{Deserialize, Serialize};

/// The chart of one statistic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Chart {
    /// Evidence for a rise, in nats; 0 at the least.
    pub(super) score: f32,
    /// The slot in which the score left zero.
    pub(super) since: u64,
    /// Counted since then.
    pub(super) observed: f32,
    /// Expected since then.
    pub(super) expected: f32,
}

/// What a count is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Compared {
    /// Counted.
    pub(super) observed: f32,
    /// Expected of an ordinary slot, more than 0.
    pub(super) expected: f32,
    /// What an attack would bring it to, more than `expected`.
    pub(super) attacked: f32,
    /// Variance beyond chance: variance = expected + dispersion × expected².
    pub(super) dispersion: f32,
}

impl Chart {
    /// The chart with one more slot.
    #[must_use]
    pub(super) fn with(self, slot: u64, compared: &Compared, score_max: f32) -> Self {
        let score = (self.score + compared.evidence()).clamp(0.0, score_max);
        if score <= 0.0 {
            return Self::default();
        }
        let before = if self.score > 0.0 {
            self
        } else {
            Self {
                since: slot,
                ..Self::default()
            }
        };
        Self {
            score,
            since: before.since,
            observed: before.observed + compared.observed,
            expected: before.expected + compared.expected,
        }
    }

    /// The same while an attack is declared: it goes on counting and forgets nothing.
    #[must_use]
    pub(super) fn held(self, slot: u64, compared: &Compared, score_max: f32) -> Self {
        let raised = self.score + compared.evidence().max(0.0);
        let began = self.score > 0.0 || self.observed > 0.0;
        Self {
            score: raised.min(score_max),
            since: if began { self.since } else { slot },
            observed: self.observed + compared.observed,
            expected: self.expected + compared.expected,
        }
    }

    /// What was read back, if it is a number.
    #[must_use]
    pub(super) fn checked(self) -> Self {
        let numbers = [self.score, self.observed, self.expected];
        let sound = numbers.iter().all(|it| it.is_finite() && *it >= 0.0);
        if sound { self } else { Self::default() }
    }
}

impl Compared {
    /// The logarithm of how much likelier the count is under an attack than without one.
    #[must_use]
    pub(super) fn evidence(&self) -> f32 {
        let (usual, attacked) = (self.expected.max(0.01), self.attacked.max(0.02));
        let spread = self.dispersion.max(0.001);
        let (a, b) = (1.0 + spread * usual, 1.0 + spread * attacked);
        let evidence = self.observed * ((attacked / usual) * (a / b)).ln() - (b / a).ln() / spread;
        if evidence.is_finite() { evidence } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(observed: f32, expected: f32, attacked: f32, dispersion: f32) -> Compared {
        Compared {
            observed,
            expected,
            attacked,
            dispersion,
        }
    }

    /// The probability of a count, from the definition, as a product.
    fn likelihood(count: u16, mean: f32, dispersion: f32) -> f64 {
        let (mean, size) = (f64::from(mean), 1.0 / f64::from(dispersion));
        let share = size / (size + mean);
        (0..count).fold(share.powf(size), |product, k| {
            product * (f64::from(k) + size) / f64::from(k + 1) * (1.0 - share)
        })
    }

    #[test]
    fn evidence_is_the_ratio_of_the_likelihoods() {
        for count in [0, 1, 3, 10, 40] {
            for (mean, attacked, dispersion) in
                [(0.5, 5.5, 0.5), (3.0, 13.0, 0.15), (20.0, 64.0, 1.0)]
            {
                let ratio =
                    likelihood(count, attacked, dispersion) / likelihood(count, mean, dispersion);
                let found = compared(f32::from(count), mean, attacked, dispersion).evidence();
                let wrong = (f64::from(found) - ratio.ln()).abs();
                assert!(wrong < 1e-2, "{count}: {found} {}", ratio.ln());
            }
        }
    }

    #[test]
    fn a_chart_remembers_since_when() {
        let chart = Chart::default()
            .with(5, &compared(0.0, 1.0, 7.0, 0.2), 12.0)
            .with(6, &compared(9.0, 1.0, 7.0, 0.2), 12.0)
            .with(7, &compared(9.0, 1.0, 7.0, 0.2), 12.0);
        assert_eq!(
            (chart.since, chart.observed, chart.expected),
            (6, 18.0, 2.0)
        );
        assert_eq!(chart.score, 12.0, "and no more than its limit");
        let mut quiet = chart;
        for slot in 8..40 {
            quiet = quiet.with(slot, &compared(0.0, 1.0, 7.0, 0.2), 12.0);
        }
        assert_eq!(quiet, Chart::default());
    }

    #[test]
    fn no_number_makes_it_less_than_a_number() {
        for number in [0.0, 1.0, f32::MAX, f32::INFINITY, f32::NAN] {
            let compared = compared(number, number, number, number);
            assert!(Chart::default().with(1, &compared, 12.0).score.is_finite());
            let chart = Chart {
                score: number,
                ..Chart::default()
            };
            assert!(chart.checked().score.is_finite());
        }
    }
}
