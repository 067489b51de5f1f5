//! Whether logs are being read up: what was written while no agent ran, or before the first one. The model of attacks
//! is then not told the present, so that each line counts in its own time and teaches what is usual then.

use crate::policy::attack::SLOT_MS;

/// Whether sources are still in the past.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadingUp {
    /// Lines of the past are to be expected, milliseconds since the epoch.
    until_ms: u64,
    /// A log whose times are always behind (another zone, say) does not keep the model from the present for ever,
    /// milliseconds since the epoch.
    at_most_ms: u64,
}

impl ReadingUp {
    /// Sources begin, or may have come.
    pub(super) const fn begin(now_ms: u64) -> Self {
        Self {
            until_ms: now_ms.saturating_add(FIRST_MS),
            at_most_ms: now_ms.saturating_add(LONGEST_MS),
        }
    }

    /// A source that has a place has got to lines of this time.
    pub(super) const fn read(&mut self, newest_ms: u64, now_ms: u64) {
        if newest_ms.saturating_add(SLOT_MS) < now_ms {
            self.until_ms = now_ms.saturating_add(NEXT_MS);
        }
    }

    /// Whether the model is to be told what time it is.
    pub(super) const fn is_over(&self, now_ms: u64) -> bool {
        // A clock that went back by more than that was wrong when it began.
        let went_back = now_ms.saturating_add(LONGEST_MS) < self.at_most_ms;
        now_ms >= self.until_ms || now_ms >= self.at_most_ms || went_back
    }
}

/// Until a source has its first lines.
const FIRST_MS: u64 = 2_000;
/// From some lines of the past to the next.
const NEXT_MS: u64 = 2_000;
/// Some hundred million lines.
const LONGEST_MS: u64 = 10 * 60_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_present_comes_when_lines_are_of_the_present() {
        const NOW: u64 = 1_800_000_000_000;
        let mut reading = ReadingUp::begin(NOW);
        assert!(!reading.is_over(NOW) && reading.is_over(NOW + FIRST_MS));
        reading.read(NOW - 90 * 60_000, NOW + 1_900);
        assert!(!reading.is_over(NOW + FIRST_MS), "lines of the past came");
        reading.read(NOW, NOW + 2_000);
        assert!(reading.is_over(NOW + 1_900 + NEXT_MS));
        assert!(reading.is_over(NOW - 1), "a clock that went back");
        // Two hours behind for ever: a log in another zone.
        let mut now = NOW;
        while !reading.is_over(now) {
            now += 1_000;
            reading.read(now - 2 * 3_600_000, now);
            assert!(now <= NOW + LONGEST_MS);
        }
    }
}
