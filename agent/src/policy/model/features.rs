//! What a model looks at: counts of the detectors, on scales where a difference means the same everywhere.

/// One thing that a model looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Feature {
    /// Failures at the source, short window; logarithm.
    FailuresShort,
    /// Failures, long window; logarithm.
    FailuresLong,
    /// The same where nobody signed in within the long window, else 0.
    FailuresAlone,
    /// Distinct users that failed and never succeeded; logarithm.
    UsersFailed,
    /// Failures for each of these users; logarithm.
    TriesEach,
    /// Failures of the user of the attempt since it last succeeded there; logarithm.
    UserFailures,
    /// Share of users that do not exist among those that failed.
    UnknownShare,
    /// Share of users (without names: of attempts) that succeeded.
    SuccessShare,
    /// Nobody signed in within the long window.
    NoSuccess,
    /// Users asked for in recovery or enrolment; logarithm.
    Probes,
    /// Seconds between tries; logarithm. 0 for a first try.
    Pace,
    /// The same, times failures where nobody signed in: slow and tireless.
    PaceAlone,
    /// How evenly tries come: 1 like a clock.
    Regularity,
    /// The same, times failures where nobody signed in.
    RegularityAlone,
    /// Changes of user agent from try to try; logarithm.
    AgentChanges,
    /// Other sources of the network that only fail; logarithm.
    NetworkFailing,
    /// Share of the network's sources that only fail.
    NetworkShare,
    /// Sources that begin to fail for each that begins to succeed, whole service; logarithm.
    Surge,
    /// The same, times failures where nobody signed in.
    SurgeAlone,
    /// The same, times seconds between tries where nobody signed in.
    SurgePace,
    /// Share of the sources with its user agent that only fail.
    AgentShare,
    /// Such sources, short window; logarithm.
    AgentFailing,
    /// Sources that failed for its user, short window; logarithm.
    UserSources,
    /// The same, long window.
    UserSourcesLong,
    /// The user has signed in from this network before.
    AtHome,
}

/// How many there are.
pub const FEATURES: usize = 25;

/// All values of one attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Features {
    values: [f32; FEATURES],
    named: bool,
}

impl Feature {
    /// All, in the order of their values.
    pub const ALL: [Self; FEATURES] = [
        Self::FailuresShort,
        Self::FailuresLong,
        Self::FailuresAlone,
        Self::UsersFailed,
        Self::TriesEach,
        Self::UserFailures,
        Self::UnknownShare,
        Self::SuccessShare,
        Self::NoSuccess,
        Self::Probes,
        Self::Pace,
        Self::PaceAlone,
        Self::Regularity,
        Self::RegularityAlone,
        Self::AgentChanges,
        Self::NetworkFailing,
        Self::NetworkShare,
        Self::Surge,
        Self::SurgeAlone,
        Self::SurgePace,
        Self::AgentShare,
        Self::AgentFailing,
        Self::UserSources,
        Self::UserSourcesLong,
        Self::AtHome,
    ];

    /// Its word in the file of a model.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.naming().0
    }

    /// What it is, for people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        self.naming().1
    }

    const fn naming(self) -> (&'static str, &'static str) {
        match self {
            Self::FailuresShort => ("failures_short", "failures in the short window"),
            Self::FailuresLong => ("failures_long", "failures in the long window"),
            Self::FailuresAlone => ("failures_alone", "failures without a success"),
            Self::UsersFailed => ("users_failed", "users that failed"),
            Self::TriesEach => ("tries_each", "tries for each user"),
            Self::UserFailures => ("user_failures", "failures of this user"),
            Self::UnknownShare => ("unknown_share", "share of unknown users"),
            Self::SuccessShare => ("success_share", "share of successes"),
            Self::NoSuccess => ("no_success", "no success at all"),
            Self::Probes => ("probes", "users asked for in recovery"),
            Self::Pace => ("pace", "time between tries"),
            Self::PaceAlone => ("pace_alone", "slow failures without a success"),
            Self::Regularity => ("regularity", "evenness of tries"),
            Self::RegularityAlone => ("regularity_alone", "even failures without a success"),
            Self::AgentChanges => ("agent_changes", "changes of user agent"),
            Self::NetworkFailing => ("network_failing", "neighbours that only fail"),
            Self::NetworkShare => ("network_share", "share of neighbours that only fail"),
            Self::Surge => ("surge", "many sources fail"),
            Self::SurgeAlone => ("surge_alone", "fails while many sources fail"),
            Self::SurgePace => ("surge_pace", "slow while many sources fail"),
            Self::AgentShare => ("agent_share", "its user agent fails elsewhere"),
            Self::AgentFailing => ("agent_failing", "sources that fail with its user agent"),
            Self::UserSources => ("user_sources", "sources that fail for this user"),
            Self::UserSourcesLong => ("user_sources_long", "sources that failed for this user"),
            Self::AtHome => ("at_home", "the user is known from this network"),
        }
    }
}

impl Features {
    /// Nothing is known; whether the user of the attempt is named.
    #[must_use]
    pub const fn new(named: bool) -> Self {
        Self {
            values: [0.0; FEATURES],
            named,
        }
    }

    /// Whether users are named.
    #[must_use]
    pub const fn named(&self) -> bool {
        self.named
    }

    /// Sets one.
    pub fn set(&mut self, feature: Feature, value: f32) {
        if let Some(slot) = self.values.get_mut(feature as usize) {
            *slot = value;
        }
    }

    /// Sets one to the logarithm of a count and one.
    pub fn count(&mut self, feature: Feature, count: u32) {
        self.set(feature, logarithm(count));
    }

    /// Sets one to a share, 0 to 1; of nothing it is 0.
    pub fn share(&mut self, feature: Feature, part: u32, whole: u32) {
        self.set(feature, float(part) / float(whole.max(1)));
    }

    /// The value of one.
    #[must_use]
    pub fn get(&self, feature: Feature) -> f32 {
        self.values
            .get(feature as usize)
            .copied()
            .unwrap_or_default()
    }

    /// What follows from the others: products, which a weighted sum cannot make by itself.
    pub fn complete(&mut self) {
        let alone = self.get(Feature::FailuresLong) * self.get(Feature::NoSuccess);
        let surge = self.get(Feature::Surge);
        let pace = self.get(Feature::Pace);
        self.set(Feature::FailuresAlone, alone);
        self.set(Feature::PaceAlone, pace * alone);
        self.set(
            Feature::RegularityAlone,
            self.get(Feature::Regularity) * alone,
        );
        self.set(Feature::SurgeAlone, surge * alone);
        self.set(
            Feature::SurgePace,
            surge * pace * self.get(Feature::NoSuccess),
        );
    }

    /// All, with their values.
    pub fn iter(&self) -> impl Iterator<Item = (Feature, f32)> + use<> {
        Feature::ALL.into_iter().zip(self.values)
    }
}

/// `ln(1 + count)`.
#[must_use]
pub fn logarithm(count: u32) -> f32 {
    float(count).ln_1p()
}

/// Counts are of 16 bits or sums of two such, so nothing is lost.
#[expect(clippy::cast_precision_loss, reason = "see above")]
const fn float(count: u32) -> f32 {
    count as f32
}
