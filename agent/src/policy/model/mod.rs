//! A learned model beside the rules: the probability that a source attacks, by logistic regression over what the
//! detectors count anyway. A weighted sum, so each decision can say what led to it.
//!
//! Weights are whole thousandths: the same text gives the same decisions on every machine.

mod features;
mod text;

use super::detect::Level;

pub use features::{FEATURES, Feature, Features, logarithm};
pub use text::Unreadable;

/// Weights, and the probabilities from which there is a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    levels: Levels,
    /// Where users are named.
    named: Weights,
    /// Where they are not: access logs.
    nameless: Weights,
}

/// A model in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learned {
    /// Which.
    pub model: Model,
    /// Whether its findings lead to decisions; otherwise they are counted and told.
    pub decides: bool,
}

/// Probabilities from which a finding has its level, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels {
    /// LOW.
    pub low: u16,
    /// MEDIUM.
    pub medium: u16,
    /// HIGH.
    pub high: u16,
}

/// Weights of one situation, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights {
    /// Log-odds of a source that is like the average in everything.
    pub bias: i32,
    /// For each feature its average, and the log-odds that one more of it adds.
    pub each: [Weight; FEATURES],
}

/// The weight of one feature, in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// The average of the feature in training.
    pub centre: i32,
    /// Log-odds for each unit above it.
    pub weight: i32,
}

/// What a model says of one attempt, and why.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Opinion {
    /// That the source attacks, 0 to 1.
    pub probability: f32,
    /// How sure that is.
    pub level: Option<Level>,
    /// What speaks most for it, in log-odds against a source that is average in this.
    pub reasons: [(Feature, f32); REASONS],
}

/// Longest text of a model, bytes: a shipped one has 2 KB.
pub const MODEL_BYTES_MAX: usize = 64 << 10;
/// Reasons that are told.
pub const REASONS: usize = 3;

impl Model {
    /// Of its parts.
    #[must_use]
    pub const fn new(levels: Levels, named: Weights, nameless: Weights) -> Self {
        Self {
            levels,
            named,
            nameless,
        }
    }

    /// The model that is shipped, trained on the project's generator.
    ///
    /// # Errors
    /// Never: a test reads it.
    pub fn shipped() -> Result<Self, Unreadable> {
        Self::parse(SHIPPED)
    }

    /// What it makes of what is known about a source.
    #[must_use]
    pub fn consider(&self, features: &Features) -> Opinion {
        let weights = self.weights(features.named());
        let mut sum = thousandths(weights.bias);
        let mut reasons = [(Feature::FailuresShort, 0.0); REASONS];
        for ((feature, value), weight) in features.iter().zip(&weights.each) {
            let adds = thousandths(weight.weight) * (value - thousandths(weight.centre));
            sum += adds;
            insert(&mut reasons, (feature, adds));
        }
        let probability = 1.0 / (1.0 + (-sum).exp());
        Opinion {
            probability,
            level: self.levels.of(probability),
            reasons,
        }
    }

    /// One of its halves: for attempts that name a user, or that do not.
    #[must_use]
    pub const fn weights(&self, named: bool) -> &Weights {
        if named { &self.named } else { &self.nameless }
    }

    /// The probabilities from which there is a finding.
    #[must_use]
    pub const fn levels(&self) -> Levels {
        self.levels
    }
}

impl Levels {
    fn of(self, probability: f32) -> Option<Level> {
        let reached = |level: u16| probability * 1_000.0 >= f32::from(level);
        if reached(self.high) {
            Some(Level::High)
        } else if reached(self.medium) {
            Some(Level::Medium)
        } else {
            reached(self.low).then_some(Level::Low)
        }
    }
}

impl Default for Levels {
    /// Own: HIGH refuses by itself, and one refused sign-in of a person in 10,000 is the most there may be.
    fn default() -> Self {
        Self {
            low: 900,
            medium: 980,
            high: 999,
        }
    }
}

/// For people: `99.7 %: failures without a success (+3.1), …`.
impl std::fmt::Display for Opinion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} %", self.probability * 100.0)?;
        let told = self.reasons.iter().filter(|(_, adds)| *adds > 0.0);
        for (place, (feature, adds)) in told.enumerate() {
            let before = if place == 0 { ": " } else { ", " };
            write!(f, "{before}{} (+{adds:.1})", feature.words())?;
        }
        Ok(())
    }
}

/// Keeps the largest, the largest first.
fn insert(reasons: &mut [(Feature, f32); REASONS], mut reason: (Feature, f32)) {
    for kept in reasons {
        if reason.1 > kept.1 {
            std::mem::swap(kept, &mut reason);
        }
    }
}

/// Weights are far below 2^24, where every whole number has a float.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn thousandths(value: i32) -> f32 {
    value as f32 / 1_000.0
}

const SHIPPED: &str = include_str!("shipped.txt");

#[cfg(test)]
mod tests;
