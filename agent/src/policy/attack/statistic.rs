//! What the charts look at.

use serde::{Deserialize, Serialize};

use super::rhythm::{MEASURES, Measure};

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Statistic {
    /// Distinct sources that fail and that nobody ever signed in from.
    Sources,
    /// Their failures, a few of each.
    Failures,
    /// Distinct users that fail from there.
    Users,
    /// Of these, the ones that do not exist.
    UnknownUsers,
}

/// One statistic, counted against expected.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// What was counted.
    pub statistic: Statistic,
    /// How many there were, slot by slot, since the rise began.
    pub observed: f32,
    /// How many would have been usual.
    pub expected: f32,
    /// How sure that is, in nats, at most the control limit.
    pub score: f32,
}

impl Statistic {
    /// All of them, in the order of [`super::Change::evidence`].
    pub const ALL: [Self; STATISTICS] = [
        Self::Sources,
        Self::Failures,
        Self::Users,
        Self::UnknownUsers,
    ];

    /// As events and the command line name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sources => "sources",
            Self::Failures => "failures",
            Self::Users => "users",
            Self::UnknownUsers => "unknown_users",
        }
    }

    pub(super) const fn measure(self) -> Measure {
        match self {
            Self::Sources => Measure::Strangers,
            Self::Failures => Measure::Failures,
            Self::Users => Measure::Users,
            Self::UnknownUsers => Measure::Unknown,
        }
    }

    /// How many there are, at the most, for each newcomer that gets in, where people alone are at work: half of
    /// those whom a mailing reminds of an account have forgotten the password. Own.
    pub(super) const fn of_newcomer(self) -> f32 {
        match self {
            Self::Sources | Self::Users => 0.5,
            Self::Failures => 1.5,
            Self::UnknownUsers => 0.25,
        }
    }

    /// The least that an attack adds to a slot. Own.
    pub(super) const fn rise_min(self) -> f32 {
        match self {
            Self::Sources | Self::Users => 4.0,
            Self::Failures => 6.0,
            Self::UnknownUsers => 3.0,
        }
    }
}

/// Number of [`Statistic`]s.
pub(super) const STATISTICS: usize = 4;
const _: () = assert!(STATISTICS < MEASURES);
