//! Sliding windows in constant space: what was counted in the present stretch, and how much of the one
//! before still counts.
//!
//! There is no clock here; time is what signals say. It may stand still, step back or jump.

use serde::{Deserialize, Serialize};

/// Counts over a window. `C` is a handful of counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sliding<C> {
    /// When the present stretch began, seconds since the epoch.
    start_s: u32,
    current: C,
    previous: C,
}

/// What [`Sliding::advance`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Advance {
    /// The present stretch goes on.
    Same,
    /// It became the previous one.
    Next,
    /// Both are too old to count.
    Anew,
}

impl<C: Copy + Default> Sliding<C> {
    /// Brings the window to a moment.
    ///
    /// A step back within the window counts as the present; one further back means that the clock was
    /// wrong before, and the stretch begins at the earlier time, so that it can end.
    pub(super) fn advance(&mut self, time_s: u32, window_s: u32) -> Advance {
        let Some(elapsed) = time_s.checked_sub(self.start_s) else {
            if self.start_s.saturating_sub(time_s) > window_s {
                self.start_s = time_s;
            }
            return Advance::Same;
        };
        if elapsed < window_s {
            return Advance::Same;
        }
        let next = elapsed < window_s.saturating_mul(2);
        self.previous = if next { self.current } else { C::default() };
        self.current = C::default();
        if next {
            self.start_s = self.start_s.saturating_add(window_s);
            Advance::Next
        } else {
            self.start_s = time_s;
            Advance::Anew
        }
    }

    /// The counters of the present stretch.
    pub(super) const fn current(&mut self) -> &mut C {
        &mut self.current
    }

    /// A counter over the window that ends at `time_s`: of the stretch before, the part that it still covers.
    pub(super) fn count(&self, time_s: u32, window_s: u32, counter: impl Fn(&C) -> u16) -> u32 {
        let elapsed = time_s.saturating_sub(self.start_s);
        let faded = fade(u32::from(counter(&self.previous)), elapsed, window_s);
        u32::from(counter(&self.current)).saturating_add(faded)
    }

    /// What is left of a count of the stretch before.
    pub(super) fn faded(&self, count: u16, time_s: u32, window_s: u32) -> u32 {
        fade(
            u32::from(count),
            time_s.saturating_sub(self.start_s),
            window_s,
        )
    }
}

/// The part of `count` that falls into what is left of the window, rounded down.
fn fade(count: u32, elapsed_s: u32, window_s: u32) -> u32 {
    let left = window_s.saturating_sub(elapsed_s);
    let part = u64::from(count) * u64::from(left) / u64::from(window_s.max(1));
    u32::try_from(part).unwrap_or(u32::MAX)
}

/// Seconds of a moment in milliseconds; good until 2106.
#[must_use]
pub(super) fn seconds(time_ms: u64) -> u32 {
    u32::try_from(time_ms / 1_000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(window: &mut Sliding<u16>, time: u32) -> Advance {
        let advance = window.advance(time, 100);
        *window.current() += 1;
        advance
    }

    #[test]
    fn a_count_slides_out_of_the_window() {
        let mut window = Sliding::<u16>::default();
        assert_eq!(add(&mut window, 1_000), Advance::Anew);
        for _ in 0..9 {
            assert_eq!(add(&mut window, 1_050), Advance::Same);
        }
        assert_eq!(window.count(1_099, 100, |c| *c), 10);
        assert_eq!(add(&mut window, 1_150), Advance::Next);
        assert_eq!(window.count(1_150, 100, |c| *c), 6, "half of ten, and one");
        assert_eq!(window.count(1_200, 100, |c| *c), 1);
        assert_eq!(add(&mut window, 1_300), Advance::Anew);
        assert_eq!(window.count(1_300, 100, |c| *c), 1);
    }

    #[test]
    fn a_clock_that_steps_back_or_jumps_neither_loses_nor_freezes() {
        let mut window = Sliding::<u16>::default();
        add(&mut window, 1_000);
        add(&mut window, 990);
        assert_eq!(window.count(990, 100, |c| *c), 2, "a step back counts");
        // One line from the year 2100, then the present again.
        add(&mut window, 4_000_000_000);
        add(&mut window, 2_000);
        assert_eq!(window.count(2_000, 100, |c| *c), 2);
        add(&mut window, 2_250);
        assert_eq!(
            window.count(2_250, 100, |c| *c),
            1,
            "the window goes on ending"
        );
        add(&mut window, u32::MAX);
        assert_eq!(window.count(u32::MAX, 100, |c| *c), 1);
    }
}
