//! Where events come from: the journal, and in tests what stands for it.

use tokio::sync::watch;

pub(crate) use crate::journal::Entry;
use crate::journal::Reader;

/// A journal. Its calls wait for the disk.
pub(crate) trait Source: Send + Sync {
    /// Events after `seq` in order: at most `limit`, and about `bytes_max` bytes of facts.
    fn after(&self, seq: u64, limit: usize, bytes_max: usize) -> Result<Vec<Entry>, String>;

    /// The last event that can be read.
    fn committed(&self) -> watch::Receiver<u64>;

    /// The oldest that is kept, or the next one while there is none.
    fn oldest(&self) -> u64;

    /// The first that happened at or after a moment, milliseconds since the Unix epoch.
    fn seq_at(&self, published_ms: u64) -> Result<u64, String>;
}

impl Source for Reader {
    fn after(&self, seq: u64, limit: usize, bytes_max: usize) -> Result<Vec<Entry>, String> {
        Self::after(self, seq, limit, bytes_max).map_err(|error| error.to_string())
    }

    fn committed(&self) -> watch::Receiver<u64> {
        Self::committed(self)
    }

    fn oldest(&self) -> u64 {
        Self::oldest(self)
    }

    fn seq_at(&self, published_ms: u64) -> Result<u64, String> {
        Self::seq_at(self, published_ms).map_err(|error| error.to_string())
    }
}
