//! What an operator sets of all this, and for which services.

use crate::policy::{
    detect::{Capacity, Detection, DetectionSet, Thresholds},
    model::Learned,
    reputation::Lifetimes,
};

/// Everything that can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What the detectors compare with.
    pub thresholds: Thresholds,
    /// How much is remembered.
    pub capacity: Capacity,
    /// How long refusals hold.
    pub lifetimes: Lifetimes,
    /// Refused from this score on.
    pub block_score: u8,
    /// Slowed from this score on.
    pub limit_score: u8,
    /// Services whose requests are seen before they are answered (gateway, decision endpoints), so that they can
    /// be refused by user and user agent. In the kernel only the source is known.
    pub sees_requests: Services,
    /// A model beside the rules.
    pub learned: Option<Learned>,
}

/// A set of services, by their place in the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Services([u64; 4]);

/// Who decides, where a model stands beside the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Decides {
    /// The rules.
    Rules,
    /// The model.
    Model,
    /// Both.
    Both,
}

impl Settings {
    /// The same settings with others who decide. Without a model nobody but the rules can.
    #[must_use]
    pub fn decided_by(mut self, decides: Decides) -> Self {
        match decides {
            Decides::Rules => self.learned = None,
            Decides::Model | Decides::Both => {
                self.learned = self.learned.map(|learned| Learned {
                    decides: true,
                    ..learned
                });
            }
        }
        if decides == Decides::Model {
            let simulated = &mut self.thresholds.simulated;
            for rule in Detection::ALL {
                if rule != Detection::LearnedModel {
                    *simulated = simulated.with(rule);
                }
            }
        }
        self
    }

    /// What only counts: the detections that the operator named, and a model that is not to decide.
    #[must_use]
    pub fn simulated(&self) -> DetectionSet {
        let simulated = self.thresholds.simulated;
        match self.learned {
            Some(learned) if !learned.decides => simulated.with(Detection::LearnedModel),
            _ => simulated,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            thresholds: Thresholds::default(),
            capacity: Capacity::default(),
            lifetimes: Lifetimes::default(),
            block_score: 80,
            limit_score: 40,
            sees_requests: Services::ALL,
            learned: None,
        }
    }
}

impl Services {
    /// Every service.
    pub const ALL: Self = Self([u64::MAX; 4]);
    /// No service.
    pub const NONE: Self = Self([0; 4]);

    /// With one more; places from 256 on are never members.
    #[must_use]
    pub fn with(mut self, service: u16) -> Self {
        if let Some(word) = self.0.get_mut(usize::from(service / 64)) {
            *word |= 1 << (service % 64);
        }
        self
    }

    /// Whether it is a member.
    #[must_use]
    pub fn has(self, service: u16) -> bool {
        let word = self.0.get(usize::from(service / 64));
        word.is_some_and(|word| word & 1 << (service % 64) != 0)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::NONE
    }
}
