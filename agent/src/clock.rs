//! The one place of the agent that reads the clocks for decisions.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::{datapath::boot_ns, policy::clock::Now};

/// Both clocks with their distance as it was at the start: a step of the wall clock while the agent
/// runs neither prolongs nor ends a decision, and the same expiry always gives the same tick.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    wall_at_boot_ms: u64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis();
        let wall = u64::try_from(wall).unwrap_or(u64::MAX);
        Self {
            wall_at_boot_ms: wall.saturating_sub(boot_ns() / NS_A_MS),
        }
    }

    pub(crate) fn now(self) -> Now {
        let boot_ms = boot_ns() / NS_A_MS;
        Now {
            wall_ms: self.wall_at_boot_ms.saturating_add(boot_ms),
            boot_ns: boot_ms * NS_A_MS,
        }
    }

    /// Milliseconds since the Unix epoch of a moment of `CLOCK_BOOTTIME`.
    pub(crate) const fn wall_ms(self, boot_ns: u64) -> u64 {
        self.wall_at_boot_ms.saturating_add(boot_ns / NS_A_MS)
    }
}

const NS_A_MS: u64 = 1_000_000;
