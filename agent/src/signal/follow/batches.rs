//! Lines become signals, and signals a batch that carries how far it goes.

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    super::{
        LogFormat,
        lines::{LINE_BYTES_MAX, Line},
        read_line,
        tally::Read,
    },
    Follower, Log, path_hash,
    reading::Reading,
    spot::Cursor,
};
use crate::{
    detection::{BATCH_SIGNALS_MAX, Batch, Position},
    policy::signal::Signal,
};

impl Follower {
    /// Takes the lines of a chunk.
    pub(super) async fn lines(&mut self, index: usize) {
        let mut read = Read::default();
        while let Some(reading) = self.readings.get_mut(index) {
            let Some((at, line)) = reading.line() else {
                self.chunk = reading.emptied();
                break;
            };
            let format = self.format.as_mut();
            self.log.take(line, at, format, &mut self.found, &mut read);
            if self.found.len() >= FOUND_MAX {
                self.log.tally.add(mem::take(&mut read));
                self.put().await;
            }
        }
        self.log.tally.add(read);
        if !self.found.is_empty() {
            self.put().await;
        }
    }

    /// Hands over what was found, with how far that is. Waits while detection is behind.
    pub(super) async fn put(&mut self) {
        let cursor = self.cursor();
        let bytes = cursor.encode();
        let batch = Batch {
            signals: mem::take(&mut self.found),
            position: Some(Position {
                source: Arc::clone(&self.log.source),
                cursor: bytes.clone(),
            }),
            taken: None,
        };
        if self.intake.put(batch).await.is_err() {
            // Detection has ended, and so will this.
            std::future::pending::<()>().await;
        }
        self.log.tally.reached(bytes);
        self.saved = Some((Instant::now(), cursor));
    }

    /// Lines that told nothing were read too; it is enough to keep that now and then.
    pub(super) async fn save(&mut self) {
        let due = match &self.saved {
            None => true,
            Some((at, cursor)) => {
                at.elapsed() >= SAVE && {
                    let now = self.cursor();
                    (&now.spots, &now.done) != (&cursor.spots, &cursor.done)
                }
            }
        };
        if due && !self.readings.is_empty() {
            self.put().await;
        }
    }

    fn cursor(&self) -> Cursor {
        Cursor {
            path: path_hash(&self.log.path),
            read_ms: self.read_ms,
            spots: self.readings.iter().map(Reading::spot).collect(),
            done: self.done.iter().copied().collect(),
        }
    }
}

impl Log {
    /// Reads one line.
    pub(super) fn take(
        &self,
        line: Line<'_>,
        at: u64,
        format: &mut dyn LogFormat,
        found: &mut Vec<Signal>,
        read: &mut Read,
    ) {
        let before = found.len();
        let outcome = match line {
            Line::TooLong => Err(format!("is longer than {LINE_BYTES_MAX} bytes").into()),
            Line::Text(bytes) => read_line(bytes, format, found),
        };
        read.lines = read.lines.saturating_add(1);
        let told = found.len().saturating_sub(before);
        read.signals = read.signals.saturating_add(told as u64);
        if let Err(reason) = outcome {
            self.tally
                .reject(&format!("the line at byte {at}"), &reason);
        }
    }
}

/// Signals of a batch, a little more where one line tells several.
pub(super) const FOUND_MAX: usize = 1_024;
const _: () = assert!(2 * FOUND_MAX < BATCH_SIGNALS_MAX);
/// How often a position alone is kept.
const SAVE: Duration = Duration::from_secs(5);
