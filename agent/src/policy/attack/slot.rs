//! What happens within one slot, counted so that no single source, user or network stands out.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{
    rhythm::Counts,
    sample::{Sample, spread},
};
use crate::policy::{
    detect::SourceKey,
    signal::{Outcome, Signal},
};

/// A slot of one service.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Slot {
    /// Slots since the epoch.
    pub(super) number: u64,
    sources: Sample<SourceSeen>,
    users: Sample<UserSeen>,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct SourceSeen {
    failures: u8,
    good: bool,
    /// Somebody had signed in from it before.
    familiar: bool,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct UserSeen {
    failed: bool,
    unknown: bool,
    good: bool,
}

/// Failures of one source that count in a slot. More of them are the detectors' business: one loud source is no
/// attack on the service.
const FAILURES_MAX: u8 = 5;

impl Slot {
    pub(super) fn clear(&mut self, number: u64) {
        self.number = number;
        self.sources.clear();
        self.users.clear();
    }

    /// What was read back, with whatever cannot be left out.
    pub(super) fn checked(self) -> Self {
        Self {
            number: self.number,
            sources: self.sources.checked(),
            users: self.users.checked(),
        }
    }

    /// Counts a signal.
    pub(super) fn observe(&mut self, signal: &Signal, source: u64, familiar: bool, seed: u64) {
        let succeeded = signal.outcome == Outcome::Success;
        let failed = signal.outcome.failed();
        let seen = self.sources.entry(source);
        // Outside of the sample a source may be louder than FAILURES_MAX; only its users are then counted too often.
        let loud = seen
            .as_ref()
            .is_some_and(|seen| seen.failures >= FAILURES_MAX);
        if let Some(seen) = seen {
            if seen.failures == 0 && !seen.good {
                seen.familiar = familiar;
            }
            seen.good |= succeeded;
            seen.failures = seen
                .failures
                .saturating_add(u8::from(failed))
                .min(FAILURES_MAX);
        }
        if let Some(user) = signal.user
            && (succeeded || failed)
            && let Some(seen) = self.users.entry(spread(user.bits(), seed))
        {
            seen.good |= succeeded;
            if failed && !familiar && !loud {
                seen.failed = true;
                seen.unknown |= signal.outcome == Outcome::UnknownUser;
            }
        }
    }

    /// Counts an attempt of a stranger that was refused: it would have failed.
    pub(super) fn refuse(&mut self, source: u64) {
        if let Some(seen) = self.sources.entry(source) {
            seen.failures = seen.failures.saturating_add(1).min(FAILURES_MAX);
        }
    }

    /// What it comes to. In the order of [`super::rhythm::Measure`].
    pub(super) fn counts(&self) -> Counts {
        let stranger = |seen: &SourceSeen| seen.failures > 0 && !seen.good && !seen.familiar;
        let sources = |is: fn(&SourceSeen) -> bool| self.sources.sum(|seen| u32::from(is(seen)));
        let users = |unknown: bool| {
            self.users
                .sum(|seen| u32::from(seen.failed && !seen.good && (seen.unknown || !unknown)))
        };
        [
            self.sources.sum(|seen| u32::from(stranger(seen))),
            self.sources
                .sum(|seen| u32::from(seen.failures) * u32::from(stranger(seen))),
            users(false),
            users(true),
            sources(|seen| seen.good),
            sources(|seen| seen.good && !seen.familiar),
            sources(|seen| seen.failures > 0 && seen.familiar),
        ]
    }
}

/// A source as the samples and filters see it.
pub(super) fn source_hash(client: IpAddr, seed: u64) -> u64 {
    spread(SourceKey::of(client).bits(), seed)
}
