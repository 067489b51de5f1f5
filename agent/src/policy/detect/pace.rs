//! How one source's tries follow each other: how fast, how evenly, and with how many user agents.

use serde::{Deserialize, Serialize};

use crate::policy::{
    model::{Feature, Features},
    signal::Pseudonym,
};

/// The pace of one source.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Pace {
    last_s: u32,
    /// Mean time between tries, seconds; the last few weigh most.
    gap_s: u16,
    /// Mean deviation from it, seconds.
    deviation_s: u16,
    /// Mark of the last user agent; 0 for none.
    agent: u16,
    /// Tries that had another user agent than the one before.
    changes: u8,
    counts: PaceCounts,
}

/// Two counts of four bits, so that a source takes no more room.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct PaceCounts(u8);

impl PaceCounts {
    /// Tries, up to 15.
    const fn tries(self) -> u8 {
        self.0 & 15
    }

    /// How many tries have come at the same pace; a few that do not are forgiven.
    const fn even(self) -> u8 {
        self.0 >> 4
    }

    fn set(&mut self, tries: u8, even: u8) {
        self.0 = tries.min(15) | even.min(EVEN_MAX) << 4;
    }
}

impl Pace {
    /// Notes a try. After a pause longer than the window it begins anew.
    pub(super) fn note(&mut self, now_s: u32, window_s: u32, agent: Option<Pseudonym>) {
        let gap = now_s.saturating_sub(self.last_s);
        let (tries, mut even) = (self.counts.tries(), self.counts.even());
        if tries == 0 || gap > window_s {
            even = 0;
            *self = Self::default();
        } else {
            let gap = u16::try_from(gap).unwrap_or(u16::MAX);
            even = if u32::from(gap.abs_diff(self.gap_s)) * EVEN_PART <= u32::from(self.gap_s) {
                even.saturating_add(1)
            } else {
                even.saturating_sub(EVEN_LOST)
            };
            if tries == 1 {
                self.gap_s = gap;
            } else {
                self.deviation_s = towards(self.deviation_s, gap.abs_diff(self.gap_s));
                self.gap_s = towards(self.gap_s, gap);
            }
        }
        self.last_s = now_s;
        // After a pause everything begins anew.
        let tries = self.counts.tries();
        self.counts.set(tries.saturating_add(1), even);
        if let Some(agent) = agent {
            let [low, high, ..] = agent.bits().to_le_bytes();
            let mark = u16::from_le_bytes([low, high]).max(1);
            let changed = self.agent != 0 && self.agent != mark;
            self.changes = self.changes.saturating_add(u8::from(changed));
            self.agent = mark;
        }
    }

    /// Whether it looks like a device that tries an old password by itself: at the same slow pace, always with the same
    /// user agent.
    pub(super) fn is_device(&self) -> bool {
        self.counts.even() >= EVEN_MIN && self.gap_s >= DEVICE_GAP_S_MIN
    }

    /// What a model is told of it.
    pub(super) fn describe(&self, features: &mut Features) {
        features.count(Feature::AgentChanges, self.changes.into());
        if self.counts.tries() >= 2 {
            features.count(Feature::Pace, self.gap_s.into());
        }
        if self.counts.tries() >= EVEN_TRIES_MIN {
            let deviation = f32::from(self.deviation_s) / f32::from(self.gap_s.max(1));
            features.set(Feature::Regularity, 1.0 - deviation.min(1.0));
        }
    }
}

/// Tries from which it can be said how evenly they come.
const EVEN_TRIES_MIN: u8 = 4;

/// Mail clients poll every 5 to 15 minutes.
const DEVICE_GAP_S_MIN: u16 = 300;
/// A try is even if it comes within this part of the mean time between tries.
const EVEN_PART: u32 = 10;
/// Even tries that make a device.
const EVEN_MIN: u8 = 3;
/// Even tries that count.
const EVEN_MAX: u8 = 12;
/// What an uneven one takes away: a person who mistypes beside the device does so three times before it is forgotten.
const EVEN_LOST: u8 = 3;

/// A quarter of the way.
const fn towards(mean: u16, value: u16) -> u16 {
    if value >= mean {
        mean.saturating_add(value.abs_diff(mean).div_ceil(4))
    } else {
        mean.saturating_sub(value.abs_diff(mean).div_ceil(4))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(times: &[u32]) -> Features {
        let mut pace = Pace::default();
        for time in times {
            pace.note(1_000_000 + time, 86_400, None);
        }
        let mut features = Features::new(false);
        pace.describe(&mut features);
        features
    }

    #[test]
    fn even_tries_are_told_from_uneven_ones() {
        let even = described(&[0, 60, 120, 180, 240, 300]);
        assert!((even.get(Feature::Pace) - 61_f32.ln()).abs() < 1e-3);
        assert!(even.get(Feature::Regularity) > 0.99);
        let uneven = described(&[0, 5, 200, 210, 900, 901]);
        assert!(uneven.get(Feature::Regularity) < 0.3);
        assert!(described(&[0]).get(Feature::Pace).abs() < 1e-6);
        let anew = described(&[0, 60, 120, 200_000]);
        assert!(anew.get(Feature::Pace).abs() < 1e-6, "after a pause");
    }

    #[test]
    fn any_clock_is_survived() {
        let mut pace = Pace::default();
        for time in [0, u32::MAX, 5, u32::MAX, 0, 7, 8] {
            pace.note(time, 86_400, None);
        }
        let mut features = Features::new(true);
        pace.describe(&mut features);
        assert!(features.iter().all(|(_, value)| value.is_finite()));
    }
}
