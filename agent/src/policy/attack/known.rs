//! Sources that somebody signed in from during the last weeks: everybody else is a stranger.
//!
//! Two Bloom filters (Bloom, CACM 13, 1970), the present fortnight and the one before. A filter that is half full is
//! put away before its time, so a service with more sources than fit remembers them for a shorter time.

use serde::{Deserialize, Serialize};

/// Known sources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    present: Vec<u64>,
    before: Vec<u64>,
    /// When the present filter began, milliseconds since the epoch.
    began_ms: u64,
    /// Bits set in it.
    ones: u32,
}

/// Bits of a filter, a power of two: 256 KiB, some 360,000 sources until half of them are set.
const BITS: u32 = 1 << 21;
const WORDS: usize = (BITS / 64) as usize;
/// Bits a source sets.
const PLACES: u32 = 4;
const FORTNIGHT_MS: u64 = 14 * 24 * 3_600_000;

impl Known {
    /// Whether somebody signed in from a source, by its hash. Wrong for some 6 % at most where it says yes.
    pub(super) fn contains(&self, hash: u64) -> bool {
        let in_filter = |filter: &[u64]| {
            places(hash).all(|(word, bit)| filter.get(word).is_some_and(|it| it & bit != 0))
        };
        in_filter(&self.present) || in_filter(&self.before)
    }

    /// Somebody signed in from it.
    pub(super) fn insert(&mut self, hash: u64, now_ms: u64) {
        // A clock that went back by more than a fortnight was wrong before.
        let age_ms = now_ms.abs_diff(self.began_ms);
        if self.ones > BITS / 2 || (age_ms > FORTNIGHT_MS && self.ones > 0) {
            self.before = std::mem::replace(&mut self.present, vec![0; WORDS]);
            self.ones = 0;
        }
        if self.ones == 0 {
            self.began_ms = now_ms;
        }
        for (word, bit) in places(hash) {
            if let Some(word) = self.present.get_mut(word) {
                self.ones += u32::from(*word & bit == 0);
                *word |= bit;
            }
        }
    }

    /// What was read back, if it has the size that it must have.
    pub(super) fn checked(self) -> Self {
        let right = self.present.len() == WORDS && self.before.len() == WORDS;
        if !right {
            return Self::default();
        }
        let ones = self.present.iter().map(|word| word.count_ones()).sum();
        Self { ones, ..self }
    }
}

impl Default for Known {
    fn default() -> Self {
        Self {
            present: vec![0; WORDS],
            before: vec![0; WORDS],
            began_ms: 0,
            ones: 0,
        }
    }
}

/// Kirsch and Mitzenmacher (2006): two hashes make all of them.
fn places(hash: u64) -> impl Iterator<Item = (usize, u64)> {
    let step = hash >> 32 | 1;
    (0..u64::from(PLACES)).map(move |number| {
        let place = hash.wrapping_add(step.wrapping_mul(number)) % u64::from(BITS);
        let word = usize::try_from(place / 64).unwrap_or(0);
        (word, 1 << (place % 64))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::attack::sample::spread;

    const DAY_MS: u64 = 24 * 3_600_000;

    #[test]
    fn whoever_signed_in_is_known_for_two_to_four_weeks() {
        let mut known = Known::default();
        known.insert(spread(1, 0), DAY_MS);
        for (day, expected) in [(2, true), (14, true), (17, true), (29, true), (32, false)] {
            known.insert(spread(1_000 + day, 0), day * DAY_MS);
            assert_eq!(known.contains(spread(1, 0)), expected, "day {day}");
        }
        assert!(!known.contains(spread(2, 0)));
    }

    #[test]
    fn strangers_are_rarely_taken_for_known_however_many_there_are() {
        let mut known = Known::default();
        for number in 0..1_000_000 {
            known.insert(spread(number, 0), DAY_MS);
        }
        let wrong = (0..10_000)
            .filter(|number| known.contains(spread(10_000_000 + number, 0)))
            .count();
        assert!(wrong < 1_300, "{wrong} of 10,000, by both filters");
        assert!((999_000..1_000_000).all(|number| known.contains(spread(number, 0))));
    }

    #[test]
    fn what_was_read_back_with_another_size_is_forgotten() {
        let mut known = Known::default();
        known.insert(spread(1, 0), DAY_MS);
        assert_eq!(known.clone().checked(), known);
        known.present.pop();
        assert_eq!(known.checked(), Known::default());
    }
}
