//! What detectors find: the detection's name, its level, and the score they make together.

use serde::{Deserialize, Serialize};

/// An attack that a detector recognises. Names are those of Okta's events, where Okta has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Detection {
    /// Many users, few tries each.
    #[serde(rename = "Password Spray")]
    PasswordSpray,
    /// Many users out of a foreign list: many of them unknown, or tried in volume.
    #[serde(rename = "Credential Stuffing")]
    CredentialStuffing,
    /// One user, many tries, from one source or from many.
    #[serde(rename = "Brute Force")]
    BruteForce,
    /// Many failures, whoever they were for.
    #[serde(rename = "Login Failures")]
    LoginFailures,
    /// Many users that do not exist.
    #[serde(rename = "Login failures with high unknown users count")]
    UnknownUsers,
    /// Many users asked for in recovery or enrolment.
    #[serde(rename = "Account Enumeration")]
    AccountEnumeration,
    /// What a learned model takes for an attack.
    #[serde(rename = "Learned Model")]
    LearnedModel,
}

/// How sure a detection is, and so what it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// Worth slowing down.
    Low,
    /// Worth slowing down; with another detection worth refusing.
    Medium,
    /// Worth refusing.
    High,
}

/// A set of detections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DetectionSet(u8);

/// Detections of one prefix at one moment, each with its level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings([Option<Level>; 7]);

impl Detection {
    /// All of them, in the order of [`Findings`].
    pub const ALL: [Self; 7] = [
        Self::PasswordSpray,
        Self::CredentialStuffing,
        Self::BruteForce,
        Self::LoginFailures,
        Self::UnknownUsers,
        Self::AccountEnumeration,
        Self::LearnedModel,
    ];

    /// The name as events have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PasswordSpray => "Password Spray",
            Self::CredentialStuffing => "Credential Stuffing",
            Self::BruteForce => "Brute Force",
            Self::LoginFailures => "Login Failures",
            Self::UnknownUsers => "Login failures with high unknown users count",
            Self::AccountEnumeration => "Account Enumeration",
            Self::LearnedModel => "Learned Model",
        }
    }
}

impl Level {
    /// The word of events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "LOW",
            Self::Medium => "MEDIUM",
            Self::High => "HIGH",
        }
    }

    /// The score of one detection alone. A high one passes the default block threshold of 80 by itself,
    /// the others pass the limit threshold of 40.
    #[must_use]
    pub const fn score(self) -> u8 {
        match self {
            Self::Low => 45,
            Self::Medium => 65,
            Self::High => 90,
        }
    }
}

impl DetectionSet {
    /// With one more member.
    #[must_use]
    pub const fn with(self, detection: Detection) -> Self {
        Self(self.0 | 1 << detection as u8)
    }

    /// Whether it is a member.
    #[must_use]
    pub const fn contains(self, detection: Detection) -> bool {
        self.0 & 1 << detection as u8 != 0
    }
}

impl Findings {
    /// Notes a detection; the higher level stays.
    pub fn add(&mut self, detection: Detection, level: Option<Level>) {
        for (slot, one) in self.0.iter_mut().zip(Detection::ALL) {
            if one == detection {
                *slot = (*slot).max(level);
            }
        }
    }

    /// Both together, each detection at its higher level.
    #[must_use]
    pub fn merged(mut self, other: Self) -> Self {
        for (detection, level) in other.iter() {
            self.add(detection, Some(level));
        }
        self
    }

    /// What is found, in the order of [`Detection::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Detection, Level)> + use<> {
        let levels = self.0;
        Detection::ALL
            .into_iter()
            .zip(levels)
            .filter_map(|(detection, level)| level.map(|level| (detection, level)))
    }

    /// The level of one detection.
    #[must_use]
    pub fn level(&self, detection: Detection) -> Option<Level> {
        self.iter()
            .find(|(one, _)| *one == detection)
            .map(|(_, level)| level)
    }

    /// The highest level of any.
    #[must_use]
    pub fn highest(&self) -> Option<Level> {
        self.0.iter().copied().max().flatten()
    }

    /// The names, joined by a comma, in the order of [`Detection::ALL`].
    #[must_use]
    pub fn names(&self) -> String {
        let names: Vec<&str> = self.iter().map(|(detection, _)| detection.name()).collect();
        names.join(", ")
    }

    /// Nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// Without the detections of a set: those that are only simulated decide nothing.
    #[must_use]
    pub fn without(self, set: DetectionSet) -> Self {
        let mut rest = Self::default();
        for (detection, level) in self.iter() {
            if !set.contains(detection) {
                rest.add(detection, Some(level));
            }
        }
        rest
    }

    /// The score, 0 to 100: the highest level, and 5 for every further detection, so that evidence of
    /// several kinds weighs more than its strongest part. Detections share their evidence; they are not
    /// independent, and are not counted as if they were.
    #[must_use]
    pub fn score(&self) -> u8 {
        let Some(highest) = self.highest() else {
            return 0;
        };
        let further = u8::try_from(self.iter().count().saturating_sub(1)).unwrap_or(0);
        highest
            .score()
            .saturating_add(further.saturating_mul(5))
            .min(100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_grow_with_the_evidence() {
        use Detection::{LoginFailures, PasswordSpray, UnknownUsers};
        let mut findings = Findings::default();
        assert_eq!((findings.score(), findings.is_empty()), (0, true));
        findings.add(LoginFailures, None);
        assert!(findings.is_empty());
        findings.add(LoginFailures, Some(Level::Low));
        assert_eq!(findings.score(), 45);
        findings.add(PasswordSpray, Some(Level::Medium));
        assert_eq!(findings.score(), 70, "two weak ones do not refuse");
        findings.add(PasswordSpray, Some(Level::Low));
        assert_eq!(findings.score(), 70, "the higher level stays");
        findings.add(PasswordSpray, Some(Level::High));
        findings.add(UnknownUsers, Some(Level::High));
        assert_eq!(findings.score(), 100);
        let simulated = DetectionSet::default()
            .with(PasswordSpray)
            .with(UnknownUsers);
        assert_eq!(findings.without(simulated).score(), 45);
    }

    #[test]
    fn names_are_those_that_json_has() {
        for detection in Detection::ALL {
            let json = serde_json::to_value(detection).unwrap();
            assert_eq!(json, detection.name());
        }
    }
}
