//! Which file is read: what comes after the one that has ended, wherever rotation has put it.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    super::tally::{ABSENT, FOLLOWING, Read},
    Follower,
    reading::{Filled, Reading, open},
    spot::{Cursor, DONE_MAX, Mark, SPOTS_MAX},
    trail::{self, Rotated},
};

/// What a turn came to.
pub(super) enum Turn {
    /// There may be more at once.
    Again,
    /// Nothing more for now.
    Wait(&'static str),
}

impl Follower {
    /// After a restart: finds the files that were being read, wherever they are now.
    pub(super) fn resume(&mut self, cursor: &Cursor) {
        self.catching_up = true;
        let read = UNIX_EPOCH.checked_add(Duration::from_millis(cursor.read_ms));
        self.since = read.and_then(|read| read.checked_sub(TICK));
        self.read_ms = cursor.read_ms;
        self.done.extend(&cursor.done);
        for (index, spot) in cursor.spots.iter().enumerate() {
            // Nothing is known of what was empty: whatever was written since is new, here or in a copy.
            if spot.offset == 0 {
                continue;
            }
            if let Some(reading) = trail::find(&self.log.path, spot, None) {
                self.readings.push_back(reading);
                continue;
            }
            self.finish(spot.head);
            let was_read = index.saturating_add(1) == cursor.spots.len();
            if was_read {
                self.log.tally.note(&format!(
                    "the file that was read before the restart is gone: what was written to it behind byte {} is not read",
                    spot.offset
                ));
            }
        }
    }

    /// Lines that came to a file after it was rotated: its writer had not noticed yet.
    pub(super) async fn late_lines(&mut self) {
        let mut index = 0_usize;
        while index.saturating_add(1) < self.readings.len() {
            let replaced = matches!(self.drain(index).await, Ok(Filled::Replaced));
            let quiet = self
                .readings
                .get(index)
                .is_none_or(|former| former.complete || former.busy.elapsed() > LATE_MAX);
            if quiet || replaced || self.readings.len() > SPOTS_MAX {
                self.retire(index).await;
            } else {
                index = index.saturating_add(1);
            }
        }
    }

    pub(super) async fn turn(&mut self) -> io::Result<Turn> {
        let Some(last) = self.readings.len().checked_sub(1) else {
            return self.advance(self.since);
        };
        if let Some(copy) = self.copied() {
            self.readings.insert(last, copy);
            self.late_lines().await;
            return Ok(Turn::Again);
        }
        match self.drain(last).await? {
            Filled::Replaced => {
                self.replaced();
                Ok(Turn::Again)
            }
            _ => self.ended(last).await,
        }
    }

    /// The file that is read has no more: it may have been rotated.
    async fn ended(&mut self, last: usize) -> io::Result<Turn> {
        let Some(reading) = self.readings.get(last) else {
            return Ok(Turn::Again);
        };
        if reading.complete {
            self.since = self.after(reading.modified());
            self.retire(last).await;
            return Ok(Turn::Again);
        }
        let now = match fs::metadata(&self.log.path) {
            Ok(now) => now,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Turn::Wait(ABSENT)),
            Err(error) => return Err(error),
        };
        if reading.id() != (now.dev(), now.ino()) {
            let since = self.after(reading.modified());
            return self.advance(since);
        }
        self.catching_up = false;
        Ok(Turn::Wait(FOLLOWING))
    }

    /// A file of which no line was read yet does not show that it was written to, copied and cut off: the copy is
    /// looked for by its time.
    fn copied(&self) -> Option<Reading> {
        let reading = self.readings.back().filter(|reading| reading.is_fresh())?;
        let mut copy = self.between(reading.opened.checked_sub(TICK))?;
        copy.complete = true;
        Some(copy)
    }

    /// Goes on with the next file: a rotated one that was written since, or the log itself.
    fn advance(&mut self, since: Option<SystemTime>) -> io::Result<Turn> {
        let next = match self.between(since) {
            Some(between) => between,
            None => match open(&self.log.path) {
                Ok(file) => self.log_itself(file)?,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return Ok(Turn::Wait(ABSENT));
                }
                Err(error) => return Err(error),
            },
        };
        self.readings.push_back(next);
        Ok(Turn::Again)
    }

    /// The oldest rotated file that was written to since and that nobody has read.
    fn between(&self, since: Option<SystemTime>) -> Option<Reading> {
        let heads = || {
            let read = self.readings.iter().map(Reading::mark);
            self.done.iter().copied().chain(read)
        };
        let is_known = |rotated: &Rotated| {
            let id = (rotated.device, rotated.inode);
            self.readings.iter().any(|reading| reading.id() == id)
                || rotated.holds_nothing_new(heads())
        };
        trail::next_after(&self.log.path, since?, self.catching_up, is_known)
    }

    /// The log from its first byte on, or, where it is a copy of what was being read, from there on.
    fn log_itself(&mut self, file: File) -> io::Result<Reading> {
        self.catching_up = false;
        self.since = None;
        if let Some(reading) = self.readings.back()
            && !reading.spot().head.is_empty()
            && reading.spot().is_in(&file)?
        {
            let start = reading.offset();
            self.readings.pop_back();
            return Reading::plain(file, start);
        }
        Reading::plain(file, 0)
    }

    /// The file that was read is another now: cut off by `copytruncate`, or by somebody.
    fn replaced(&mut self) {
        let Some(reading) = self.readings.pop_back() else {
            return;
        };
        let spot = reading.spot();
        self.since = None;
        if spot.offset == 0 {
            // Not even a line to know a copy by: it is looked for by its time.
            self.since = reading.opened.checked_sub(TICK);
            return;
        }
        if let Some(copy) = trail::find(&self.log.path, &spot, Some(reading.id())) {
            self.readings.push_back(copy);
            return;
        }
        self.finish(spot.head);
        self.log.tally.note(&format!(
            "was cut off behind byte {}, and no copy of it was found; it is read from its beginning",
            spot.offset
        ));
    }

    /// From when on rotated files may hold something new, behind a file that was written to at `modified`.
    fn after(&self, modified: Option<SystemTime>) -> Option<SystemTime> {
        match (modified, self.since) {
            (Some(modified), Some(since)) if self.catching_up => Some(modified.min(since)),
            (modified, since) => modified.or(since),
        }
    }

    /// Done with a file; a last line without an end is one after all.
    async fn retire(&mut self, index: usize) {
        let Some(mut reading) = self.readings.remove(index) else {
            return;
        };
        if let Some((at, line)) = reading.rest() {
            let mut read = Read::default();
            self.log
                .take(line, at, self.format.as_mut(), &mut self.found, &mut read);
            self.log.tally.add(read);
        }
        self.finish(reading.mark());
        if !self.found.is_empty() {
            self.put().await;
        }
    }

    fn finish(&mut self, head: Mark) {
        if head.is_empty() {
            return;
        }
        while self.done.len() >= DONE_MAX {
            self.done.pop_front();
        }
        self.done.push_back(head);
    }
}

/// How far a file's time may be behind the clock: the kernel stamps it by its tick.
pub(super) const TICK: Duration = Duration::from_millis(10);
/// How long a rotated file without new lines is watched for late ones.
const LATE_MAX: Duration = Duration::from_secs(60);
