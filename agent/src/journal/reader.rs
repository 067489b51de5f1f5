//! Reading the System Log: only what is committed, on connections of its own, beside the writer.

use std::{
    fmt,
    sync::{Arc, PoisonError},
};

use rusqlite::{Connection, Row, params};
use serde_json::Value;
use tokio::sync::watch;

use super::{
    Shared,
    error::JournalError,
    log_event::{Facts, log_event, text},
    slice::{Slice, reading, whole},
};

/// One event as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its place in the order of persistence, from 1.
    pub seq: u64,
    /// Its id, a UUID of version 7.
    pub id: String,
    /// When it happened, milliseconds since the Unix epoch.
    pub published_ms: u64,
    /// What happened (docs/events.md).
    pub facts: Facts,
}

/// Reads events. Its calls wait for the disk: not for threads that serve connections.
#[derive(Clone)]
pub struct Reader {
    pub(super) shared: Arc<Shared>,
}

impl Entry {
    /// In the shape of Okta's System Log.
    pub fn log_event(&self) -> Value {
        log_event(&self.facts)
    }

    /// Its type.
    pub fn event_type(&self) -> &str {
        text(&self.facts, "event").unwrap_or_default()
    }

    pub(super) fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        let (seq, published, facts): (i64, i64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        // What cannot be read was not written by us; its place in the order stays.
        let facts: Facts = serde_json::from_str(&facts).unwrap_or_default();
        Ok(Self {
            seq: seq.unsigned_abs(),
            id: text(&facts, "id").unwrap_or_default().to_owned(),
            published_ms: published.unsigned_abs(),
            facts,
        })
    }
}

impl Reader {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Committed events after `seq`, in order of persistence: at most `limit`, and no more once they have about
    /// `bytes_max` bytes of facts.
    ///
    /// # Errors
    /// The disk refuses, or a file is damaged.
    pub fn after(
        &self,
        seq: u64,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, JournalError> {
        let mut found = Vec::new();
        let mut bytes = 0;
        for slice in self.shared.slices() {
            if found.len() >= limit || bytes >= bytes_max {
                break;
            }
            if slice.with(|summary| summary.last) <= seq {
                continue;
            }
            let last = slice.with(|summary| summary.last);
            self.with(&slice, |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT seq, published, facts, length(facts) FROM event \
                     WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3",
                )?;
                let left = whole((limit - found.len()) as u64);
                let mut rows = statement.query(params![whole(seq), whole(last), left])?;
                while bytes < bytes_max
                    && let Some(row) = rows.next()?
                {
                    bytes += usize::try_from(row.get::<_, i64>(3)?).unwrap_or_default();
                    found.push(Entry::of(row)?);
                }
                Ok(())
            })?;
        }
        Ok(found)
    }

    /// The last committed sequence number; a change wakes whoever waits.
    pub fn committed(&self) -> watch::Receiver<u64> {
        self.shared.committed.subscribe()
    }

    /// The oldest sequence number that is kept, or the next one while there is none.
    pub fn oldest(&self) -> u64 {
        let slices = self.shared.slices();
        slices.first().map_or(1, |slice| slice.first)
    }

    /// The first sequence number of an event that happened at or after a moment (milliseconds since the Unix epoch),
    /// or the next one that there will be. Events come to disk a little out of the order of their times, summaries up
    /// to a minute: what was written shortly before may be as late.
    ///
    /// # Errors
    /// The disk refuses, or a file is damaged.
    pub fn seq_at(&self, published_ms: u64) -> Result<u64, JournalError> {
        for slice in self.shared.slices() {
            if slice.with(|summary| summary.max_ms) < published_ms {
                continue;
            }
            let found: Option<i64> = self.with(&slice, |connection| {
                connection
                    .prepare_cached(
                        "SELECT seq FROM event INDEXED BY event_by_time WHERE published >= ?1 \
                         ORDER BY published, seq LIMIT 1",
                    )?
                    .query(params![whole(published_ms)])?
                    .next()?
                    .map(|row| row.get(0))
                    .transpose()
            })?;
            if let Some(seq) = found {
                return Ok(seq.unsigned_abs());
            }
        }
        let slices = self.shared.slices();
        Ok(slices
            .last()
            .map_or(1, |slice| slice.with(|summary| summary.last) + 1))
    }

    /// Works with a connection to a slice, a used one where there is one.
    pub(super) fn with<T>(
        &self,
        slice: &Slice,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, JournalError> {
        let connection = match self.idle(slice.first) {
            Some(connection) => connection,
            None => reading(&slice.path)?,
        };
        let outcome =
            work(&connection).map_err(|cause| JournalError::sqlite(&slice.path, cause))?;
        let mut idle = self
            .shared
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // A slice that went meanwhile is not held on to.
        let kept = self
            .shared
            .slices()
            .iter()
            .any(|known| known.first == slice.first);
        if kept {
            if idle.len() >= IDLE_MAX {
                idle.remove(0);
            }
            idle.push((slice.first, connection));
        }
        Ok(outcome)
    }

    fn idle(&self, first: u64) -> Option<Connection> {
        let mut idle = self
            .shared
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let at = idle.iter().rposition(|(of, _)| *of == first)?;
        Some(idle.remove(at).1)
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader")
    }
}

/// Connections that are kept for the next reader.
const IDLE_MAX: usize = 8;
