//! Where a stream has got to: found again at the start, kept now and then.

use std::{collections::VecDeque, path::Path};

use super::{
    cursor::{self, Cursor},
    fetch::Mark,
    source::Source,
};
use crate::config::{Stream, stream::StreamStart};

/// Marks ahead of what is settled that are remembered.
const MARKS_MAX: usize = 256;

/// A stream's place.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// What is kept, or will be.
    pub(super) cursor: Cursor,
    /// Ends of what was read, in order: the last one at or before what is settled goes into the cursor.
    marks: VecDeque<Mark>,
    is_changed: bool,
}

/// How a place was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The stream is new.
    New,
    /// It was kept.
    Kept,
    /// It was kept and is of no use; the sentence says why, and where the stream goes on.
    Lost(String),
}

impl Place {
    /// Finds it. Waits for the disk.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(super) fn find(
        dir: &Path,
        stream: &Stream,
        source: &dyn Source,
    ) -> Result<(Self, Found), String> {
        let committed = *source.committed().borrow();
        let (cursor, found) = match cursor::read(dir, &stream.name) {
            Ok(None) => {
                let settled = match stream.from {
                    StreamStart::Now => committed,
                    StreamStart::Oldest => source.oldest().saturating_sub(1),
                };
                (fresh(stream, settled), Found::New)
            }
            Ok(Some(cursor)) => known(cursor, committed, source)?,
            Err(error) => {
                let why = format!(
                    "its place cannot be read ({error}); it goes on with the oldest event that is kept"
                );
                let settled = source.oldest().saturating_sub(1);
                (fresh(stream, settled), Found::Lost(why))
            }
        };
        let is_changed = found != Found::Kept || cursor.removed;
        let cursor = Cursor {
            name: stream.name.clone(),
            removed: false,
            ..cursor
        };
        let place = Self {
            cursor,
            marks: VecDeque::new(),
            is_changed,
        };
        Ok((place, found))
    }

    /// The journal was read up to here.
    pub(super) fn read(&mut self, mark: Mark) {
        if self.marks.len() < MARKS_MAX {
            self.marks.push_back(mark);
        }
    }

    /// Everything up to here is done.
    pub(super) fn settle(&mut self, settled: u64) {
        if settled == self.cursor.settled {
            return;
        }
        self.is_changed = true;
        self.cursor.settled = settled;
        while let Some(mark) = self.marks.pop_front() {
            if mark.seq > settled {
                self.marks.push_front(mark);
                break;
            }
            self.cursor.mark_seq = mark.seq;
            self.cursor.mark_id = mark.id;
            self.cursor.mark_published_ms = mark.published_ms;
        }
    }

    /// The stream goes on somewhere else.
    pub(super) fn move_to(&mut self, settled: u64) {
        self.cursor.settled = settled;
        if self.cursor.mark_seq > settled {
            self.cursor.mark_id.clear();
        }
        self.is_changed = true;
        self.marks.clear();
    }

    /// Counts dead letters and gaps.
    pub(super) fn count(&mut self, dead: u64, gap: u64) {
        self.cursor.dead = self.cursor.dead.saturating_add(dead);
        self.cursor.gap = self.cursor.gap.saturating_add(gap);
        self.is_changed |= dead > 0 || gap > 0;
    }

    /// What is to be kept now, once after each change.
    pub(super) fn take_changed(&mut self) -> Option<Cursor> {
        std::mem::take(&mut self.is_changed).then(|| self.cursor.clone())
    }

    /// It could not be kept.
    pub(super) const fn keep_again(&mut self) {
        self.is_changed = true;
    }
}

fn fresh(stream: &Stream, settled: u64) -> Cursor {
    Cursor {
        name: stream.name.clone(),
        settled,
        ..Cursor::default()
    }
}

/// Whether the journal is still the one that the cursor was made in: after a loss of its end, or of all of it, the same
/// numbers stand for other events.
fn known(cursor: Cursor, committed: u64, source: &dyn Source) -> Result<(Cursor, Found), String> {
    let Some(mark) = cursor.mark() else {
        if cursor.settled <= committed {
            return Ok((cursor, Found::Kept));
        }
        return Ok(moved(cursor, source.oldest().saturating_sub(1)));
    };
    let is_same = if mark.seq > committed {
        false
    } else if mark.seq < source.oldest() {
        true
    } else {
        let there = source.after(mark.seq.saturating_sub(1), 1, 1)?;
        let there = there.first().filter(|entry| entry.seq == mark.seq);
        there.is_none_or(|entry| entry.id == mark.id)
    };
    if is_same && cursor.settled <= committed {
        return Ok((cursor, Found::Kept));
    }
    let settled = source.seq_at(mark.published_ms)?.saturating_sub(1);
    Ok(moved(cursor, settled))
}

fn moved(cursor: Cursor, settled: u64) -> (Cursor, Found) {
    let why = format!(
        "the log is not the one that event {} was in; the stream goes on behind event {settled}",
        cursor.settled
    );
    let cursor = Cursor {
        settled,
        mark_id: String::new(),
        ..cursor
    };
    (cursor, Found::Lost(why))
}
