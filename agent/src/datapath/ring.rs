//! Reading a ring: records from the kernel, one after the other, without keeping other tasks from their turn.

use tokio::task::yield_now;
use tracing::warn;

use super::{EventRing, watch_ring};

/// Hands every record of the ring of `name` to `take`, until the task is dropped. The kernel never waits for it; what
/// does not fit the ring is counted there. Returns if the ring cannot be waited for, and says so in the log.
pub async fn read_ring(ring: EventRing, name: &str, mut take: impl FnMut(&[u8])) {
    let mut ring = match watch_ring(ring) {
        Ok(ring) => ring,
        Err(error) => {
            warn!(%error, "the ring of {name} cannot be read; nothing else is affected");
            return;
        }
    };
    loop {
        let mut ready = match ring.readable_mut().await {
            Ok(ready) => ready,
            Err(error) => {
                warn!(%error, "the ring of {name} cannot be waited for; nothing else is affected");
                return;
            }
        };
        let mut taken = 0;
        while taken < TAKEN_AT_ONCE_MAX {
            let Some(record) = ready.get_inner_mut().next() else {
                ready.clear_ready();
                break;
            };
            take(&record);
            taken += 1;
        }
        yield_now().await;
    }
}

/// Records read before other tasks get their turn.
const TAKEN_AT_ONCE_MAX: usize = 64;
