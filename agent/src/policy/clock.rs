//! Time as the pure core sees it: one reading of both clocks, passed in, and the tick the kernel counts.
//!
//! Decisions end at a wall-clock time (they survive a reboot), the kernel compares with the time since
//! boot (nobody can set it). This is the one place where the first becomes the second.

use edgeward_ebpf::abi::{FOREVER, TICK_SHIFT};

/// Both clocks, read together by whoever is allowed to read clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since the Unix epoch, rounded down.
    pub wall_ms: u64,
    /// `CLOCK_BOOTTIME`, ns.
    pub boot_ns: u64,
}

impl Now {
    /// The current tick (2^27 ns since boot), as the kernel compares it with an entry's expiry.
    #[must_use]
    pub fn tick(&self) -> u32 {
        clamp(self.boot_ns >> TICK_SHIFT)
    }

    /// The tick from which something no longer counts that ends at `expires_wall_ms` (milliseconds
    /// since the Unix epoch).
    ///
    /// Rounded down, so nothing outlives its expiry; it may end up to 136 ms early. `None` is
    /// [`FOREVER`], what is past is 0, and what lies beyond the nine years of ticks ends with them.
    #[must_use]
    pub fn expiry_tick(&self, expires_wall_ms: Option<u64>) -> u32 {
        let Some(expires) = expires_wall_ms else {
            return FOREVER;
        };
        // `wall_ms` was rounded down: the present may be almost a millisecond later than it says.
        let Some(left_ms) = expires
            .checked_sub(self.wall_ms)
            .and_then(|left| left.checked_sub(1))
        else {
            return 0;
        };
        let at_ns = left_ms.saturating_mul(NS_A_MS).saturating_add(self.boot_ns);
        clamp(at_ns >> TICK_SHIFT)
    }

    /// Whether an expiry tick is still to come: the kernel's own comparison.
    #[must_use]
    pub fn is_live(&self, expires_tick: u32) -> bool {
        expires_tick == FOREVER || self.tick() < expires_tick
    }
}

/// Ticks that are a time, not [`FOREVER`].
fn clamp(tick: u64) -> u32 {
    u32::try_from(tick).unwrap_or(FOREVER).min(FOREVER - 1)
}

const NS_A_MS: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now {
        wall_ms: 1_800_000_000_000,
        boot_ns: 5_000 * NS_A_MS,
    };

    #[test]
    fn an_expiry_is_rounded_down_and_never_up() {
        let table = [
            (None, FOREVER),
            (Some(0), 0),
            (Some(NOW.wall_ms), 0),
            (Some(NOW.wall_ms + 1), 37),
            (Some(NOW.wall_ms + 101), 37),
            (Some(NOW.wall_ms + 102), 38),
            (Some(NOW.wall_ms + 60_000), 484),
            (Some(u64::MAX), FOREVER - 1),
        ];
        for (expires, tick) in table {
            assert_eq!(NOW.expiry_tick(expires), tick, "{expires:?}");
        }
        assert_eq!(NOW.tick(), 37);
        assert!(!NOW.is_live(37) && NOW.is_live(38) && NOW.is_live(FOREVER) && !NOW.is_live(0));
    }

    #[test]
    fn a_live_entry_is_dead_when_its_time_has_come() {
        for lifetime in 1..2_000_u64 {
            let tick = NOW.expiry_tick(Some(NOW.wall_ms + lifetime));
            // The latest moment that still reads as NOW.wall_ms, plus the lifetime.
            let end = Now {
                wall_ms: 0,
                boot_ns: NOW.boot_ns + lifetime * NS_A_MS - NS_A_MS + 1,
            };
            assert!(!end.is_live(tick), "{lifetime} ms");
            let early = Now {
                wall_ms: 0,
                boot_ns: end.boot_ns.saturating_sub(136 * NS_A_MS),
            };
            assert!(
                lifetime < 137 || early.is_live(tick),
                "{lifetime} ms ends too early"
            );
        }
    }

    #[test]
    fn a_host_up_for_more_than_nine_years_still_has_ticks() {
        let old = Now {
            wall_ms: 1,
            boot_ns: u64::MAX,
        };
        assert_eq!(old.tick(), FOREVER - 1);
        assert!(
            !old.is_live(old.expiry_tick(Some(u64::MAX))),
            "it ends rather than lasting for ever"
        );
    }
}
