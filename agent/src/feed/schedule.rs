//! When a feed is looked at next: its interval with jitter, or a back-off while it fails. Pure.

use std::time::Duration;

/// First wait after a failure; it doubles from there.
const FIRST: Duration = Duration::from_secs(10);
/// Longest wait after a failure, for feeds with a shorter interval.
const LONGEST: Duration = Duration::from_secs(60);

/// The wait after a round that went well: the interval, up to a tenth of it later, so that hosts that started
/// together do not ask together. `chance` is any number.
pub(super) fn regular(interval: Duration, chance: u64) -> Duration {
    interval.saturating_add(part(interval / 10, chance))
}

/// The wait after `failures` in a row: doubled each time, never longer than the interval (or a minute), at least what the
/// server asks for. A short interval is waited out first.
pub(super) fn after_failure(
    interval: Duration,
    failures: u32,
    retry_after: Option<Duration>,
    chance: u64,
) -> Duration {
    let first = FIRST.min(interval);
    let doubled = first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    let wait = doubled.min(interval.max(LONGEST));
    let wait = wait.saturating_add(part(wait / 4, chance));
    wait.max(retry_after.unwrap_or_default())
}

/// A part of a duration that `chance` picks.
fn part(whole: Duration, chance: u64) -> Duration {
    let ms = u64::try_from(whole.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(chance.checked_rem(ms).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_waited_out_longer_and_longer_and_never_too_long() {
        let hour = Duration::from_secs(3_600);
        let waits: Vec<u64> = (1..12)
            .map(|failures| after_failure(hour, failures, None, 0).as_secs())
            .collect();
        assert_eq!(
            waits,
            [10, 20, 40, 80, 160, 320, 640, 1_280, 2_560, 3_600, 3_600]
        );
        let short = Duration::from_secs(2);
        assert_eq!(after_failure(short, 1, None, 0), short);
        assert_eq!(after_failure(short, u32::MAX, None, 0), LONGEST);
        let asked = Some(Duration::from_secs(7_200));
        assert_eq!(after_failure(hour, 1, asked, 0).as_secs(), 7_200);
        assert_eq!(after_failure(hour, 10, Some(short), 0), hour);
    }

    #[test]
    fn nobody_is_early_and_nobody_much_too_late() {
        let hour = Duration::from_secs(3_600);
        for chance in [0, 1, 77_777, u64::MAX] {
            let wait = regular(hour, chance);
            assert!(wait >= hour && wait < hour + hour / 10, "{wait:?}");
            let wait = after_failure(hour, 1, None, chance);
            assert!(wait >= FIRST && wait < FIRST + FIRST / 4, "{wait:?}");
        }
    }
}
