//! What slots of the last hours and days teach besides the hours' means: who signed in lately, and how much counts
//! vary.

use serde::{Deserialize, Serialize};

use super::{
    chart::Compared,
    rhythm::{Counts, Measure, count},
    service::FEW,
};

/// Who signed in lately: follows a rise at once, and a fall over two hours.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Recent {
    good: f32,
    newcomers: f32,
}

/// How much a statistic varies beyond chance: weighted sums over about a day.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Spread {
    beyond: f32,
    squares: f32,
}

impl Recent {
    pub(super) fn learn(&mut self, counts: &Counts) {
        for (recent, measure) in [
            (&mut self.good, Measure::Good),
            (&mut self.newcomers, Measure::Newcomers),
        ] {
            let step = count(counts, measure) - *recent;
            *recent += step * if step > 0.0 { RISING } else { FALLING };
        }
    }

    /// Strangers who would get in if nearly everybody were not locked out: an identity store that fails. Each
    /// stands for four that fail, since they try again and come back in the next slots.
    pub(super) fn missing(self, counts: &Counts) -> f32 {
        let good = count(counts, Measure::Good);
        if self.good < FEW || good * 4.0 > self.good {
            return 0.0;
        }
        let share = self.newcomers / self.good;
        (self.good - good) * share * 4.0
    }

    pub(super) fn checked(self) -> Self {
        let sound = [self.good, self.newcomers]
            .iter()
            .all(|it| it.is_finite() && *it >= 0.0);
        if sound { self } else { Self::default() }
    }
}

impl Spread {
    pub(super) fn learn(&mut self, compared: &Compared) {
        let (usual, spread) = (compared.expected, compared.dispersion);
        let deviation = 4.0 * (usual + spread * usual * usual).sqrt();
        let above = (compared.observed.min(usual + deviation) - usual).max(0.0);
        // Only what is above the expectation, twice: the expectation is that of the busiest of three hours.
        let beyond = (2.0 * above * above - usual).max(0.0);
        self.beyond += (beyond - self.beyond) * LEARNING;
        self.squares += (usual * usual - self.squares) * LEARNING;
    }

    pub(super) fn dispersion(self) -> f32 {
        (self.beyond / self.squares.max(0.1)).min(DISPERSION_MAX)
    }

    pub(super) fn checked(self) -> Self {
        let sound = [self.beyond, self.squares]
            .iter()
            .all(|it| it.is_finite() && *it >= 0.0);
        if sound { self } else { Self::default() }
    }
}

impl Default for Spread {
    fn default() -> Self {
        Self {
            beyond: 0.0,
            squares: 1.0,
        }
    }
}

const DISPERSION_MAX: f32 = 2.0;
/// How fast what was lately follows: half of a rise with each slot, a fall over two hours.
const RISING: f32 = 0.5;
const FALLING: f32 = 1.0 / 24.0;
/// A day's slots.
const LEARNING: f32 = 1.0 / 288.0;
