//! How long a stream waits after a failure: longer each time, with full jitter, so that hosts that failed together do not
//! come back together.

use std::time::Duration;

/// First and longest ceiling of a wait.
const CEILING_FIRST: Duration = Duration::from_secs(1);
pub(super) const CEILING_LAST: Duration = Duration::from_secs(60);
/// No wait is shorter.
pub(super) const FLOOR: Duration = Duration::from_millis(100);
/// The longest that a receiver's wish to be left alone is followed.
const ASKED_MAX: Duration = Duration::from_secs(3_600);

/// The wait after `failures` in a row; what the receiver asks for wins.
pub(super) fn after_failure(failures: u32, asked: Option<Duration>, chance: u64) -> Duration {
    if let Some(asked) = asked {
        return asked.clamp(FLOOR, ASKED_MAX);
    }
    let doubled = CEILING_FIRST.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    between(FLOOR, doubled.min(CEILING_LAST), chance)
}

/// The wait for somebody to change something: soon at first, since a rotation may be under way.
pub(super) fn while_paused(failures: u32, asked: Option<Duration>, chance: u64) -> Duration {
    if failures < 4 {
        return after_failure(failures, asked, chance);
    }
    let wait = between(CEILING_LAST / 2, CEILING_LAST, chance);
    wait.max(asked.unwrap_or_default().min(ASKED_MAX))
}

fn between(least: Duration, most: Duration, chance: u64) -> Duration {
    let span = most.saturating_sub(least).as_millis();
    let span = u64::try_from(span).unwrap_or(u64::MAX).saturating_add(1);
    least.saturating_add(Duration::from_millis(
        (chance >> 8).checked_rem(span).unwrap_or(0),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_minute_and_lie_anywhere_below() {
        for failures in 1..200 {
            let ceiling = (1_000_u64 << (failures - 1).min(6)).min(60_000);
            let waits: Vec<u64> = (0..2_000_u64)
                .map(|n| after_failure(failures, None, n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
                .map(|wait| u64::try_from(wait.as_millis()).unwrap())
                .collect();
            let (least, most) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
            assert!(
                *least >= 100 && *least < 100 + ceiling / 20,
                "{failures}: {least}"
            );
            assert!(
                *most <= ceiling && *most > ceiling - ceiling / 20,
                "{failures}: {most}"
            );
        }
    }

    #[test]
    fn what_the_receiver_asks_for_wins_within_reason() {
        let wait = |seconds| after_failure(1, Some(Duration::from_secs(seconds)), 7).as_secs();
        assert_eq!((wait(5), wait(120), wait(100_000)), (5, 120, 3_600));
        assert_eq!(after_failure(9, Some(Duration::ZERO), 7), FLOOR);
    }

    #[test]
    fn a_pause_is_tried_soon_and_then_every_minute() {
        assert!(while_paused(1, None, u64::MAX) <= Duration::from_secs(1));
        for chance in [0, 1 << 20, u64::MAX] {
            let wait = while_paused(4, None, chance);
            assert!(wait >= CEILING_LAST / 2 && wait <= CEILING_LAST, "{wait:?}");
        }
    }
}
