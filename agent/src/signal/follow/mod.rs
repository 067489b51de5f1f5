//! Follows a log file: over rotation, over restarts, without losing or doubling a line.
//!
//! What was read and how far travel together: a batch of signals carries the cursor behind its last line, and detection
//! keeps both or neither. When the log's name leads to another file, the old one is read to its end first and watched
//! for late lines a while longer; rotated files between the two are found beside the log by name, time of writing and
//! content.

mod reading;
mod spot;
mod trail;
mod wake;

use std::{
    collections::VecDeque,
    convert::Infallible,
    fs::{self, File},
    io::{self, ErrorKind},
    mem,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use self::{
    reading::{Filled, Reading, open},
    spot::{Cursor, DONE_MAX, Mark, SPOTS_MAX, before},
    trail::Rotated,
    wake::Wake,
};
use super::{
    LogFormat,
    lines::{LINE_BYTES_MAX, Line},
    read_line,
    tally::{ABSENT, FOLLOWING, Read, Tally},
};
use crate::{
    clock::Clock,
    config::SignalStart,
    detection::{BATCH_SIGNALS_MAX, Batch, Intake, Position},
    policy::signal::{Signal, siphash},
};

/// Follows one file.
pub(crate) struct Follower {
    log: Log,
    intake: Intake,
    format: Box<dyn LogFormat + Send>,
    /// Oldest first; the last is the one that is read, the others are watched for late lines.
    readings: VecDeque<Reading>,
    /// Beginnings of files that are done with.
    done: VecDeque<Mark>,
    /// The log's own file has not been reached since the start.
    catching_up: bool,
    /// When the file was last written to that was read last, if it is no longer open.
    since: Option<SystemTime>,
    /// Everything that was written up to then has been read.
    read_ms: u64,
    chunk: Vec<u8>,
    found: Vec<Signal>,
    saved: Option<(Instant, Cursor)>,
}

/// What is followed.
pub(crate) struct Log {
    /// The name of the source, under which its position is kept.
    pub(crate) source: Arc<str>,
    /// The file.
    pub(crate) path: PathBuf,
    /// Where to begin if nothing is known.
    pub(crate) start: SignalStart,
    pub(crate) clock: Clock,
    pub(crate) tally: Tally,
}

/// What a turn came to.
enum Turn {
    /// There may be more at once.
    Again,
    /// Nothing more for now.
    Wait(&'static str),
}

impl Follower {
    /// Takes the log up where `cursor` says; without one, or with that of another file, where the log's settings say.
    pub(crate) fn new(
        log: Log,
        cursor: Option<&[u8]>,
        intake: Intake,
        format: Box<dyn LogFormat + Send>,
    ) -> Self {
        let mut follower = Self {
            read_ms: log.clock.now().wall_ms,
            log,
            intake,
            format,
            readings: VecDeque::new(),
            done: VecDeque::new(),
            catching_up: false,
            since: None,
            chunk: Vec::new(),
            found: Vec::new(),
            saved: None,
        };
        let known = cursor
            .and_then(Cursor::decode)
            .filter(|cursor| cursor.path == path_hash(&follower.log.path));
        match known {
            Some(cursor) => follower.resume(&cursor),
            None => follower.begin(),
        }
        follower
    }

    /// Follows until it is dropped, which it may be at any moment.
    pub(crate) async fn run(mut self) -> Infallible {
        loop {
            let wake = Wake::of(&self.log.path);
            let file = self.file();
            loop {
                self.look().await;
                // Another file is another thing to listen to.
                if self.file() != file {
                    break;
                }
                wake.wait().await;
            }
        }
    }

    /// Reads what there is.
    async fn look(&mut self) {
        match self.pass().await {
            Ok(state) => self.log.tally.well(state),
            Err(error) => {
                let path = self.log.path.display();
                let why = match error.kind() {
                    ErrorKind::InvalidInput => format!("{path} {error}"),
                    _ => format!("{path} cannot be read: {error}"),
                };
                self.log.tally.failing(&why);
            }
        }
        let lag = self.readings.iter().map(Reading::lag_bytes);
        self.log.tally.lag(lag.fold(0, u64::saturating_add));
        self.save().await;
    }

    fn file(&self) -> Option<(u64, u64)> {
        self.readings.back().map(Reading::id)
    }

    /// The first time: what is in the log already is past, unless the settings say otherwise.
    fn begin(&mut self) {
        if self.log.start == SignalStart::Beginning {
            return;
        }
        // A log that is not there yet will be new from its first line.
        let reading = open(&self.log.path).and_then(|file| {
            let start = last_line_end(&file)?;
            Reading::plain(file, start)
        });
        self.readings.extend(reading.ok());
    }

    /// After a restart: finds the files that were being read, wherever they are now.
    fn resume(&mut self, cursor: &Cursor) {
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

    async fn pass(&mut self) -> io::Result<&'static str> {
        let began_ms = self.log.clock.now().wall_ms;
        self.late_lines().await;
        loop {
            if let Turn::Wait(state) = self.turn().await? {
                // Not before: what is left of a pass may be older than what came first in it.
                self.read_ms = began_ms;
                return Ok(state);
            }
        }
    }

    /// From when on rotated files may hold something new, behind a file that was written to at `modified`.
    fn after(&self, modified: Option<SystemTime>) -> Option<SystemTime> {
        match (modified, self.since) {
            (Some(modified), Some(since)) if self.catching_up => Some(modified.min(since)),
            (modified, since) => modified.or(since),
        }
    }

    /// Lines that came to a file after it was rotated: its writer had not noticed yet.
    async fn late_lines(&mut self) {
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

    async fn turn(&mut self) -> io::Result<Turn> {
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

    /// Reads a file as far as it goes.
    async fn drain(&mut self, index: usize) -> io::Result<Filled> {
        loop {
            self.format.written(self.log.clock.now().wall_ms);
            let Some(reading) = self.readings.get_mut(index) else {
                return Ok(Filled::End);
            };
            match reading.fill(&mut self.chunk)? {
                Filled::Bytes => self.lines(index).await,
                other => return Ok(other),
            }
        }
    }

    /// Takes the lines of a chunk.
    async fn lines(&mut self, index: usize) {
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
    async fn put(&mut self) {
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
    async fn save(&mut self) {
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
    fn take(
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

/// Behind the last line that has its end, so that the one being written is read as a whole.
fn last_line_end(file: &File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let last = before(file, length, LINE_BYTES_MAX)?;
    let end = memchr::memrchr(b'\n', &last);
    let of_last = end.map_or(0, |end| end.saturating_add(1));
    let open = last.len().saturating_sub(of_last);
    // Without an end in sight it is in the middle of something very long.
    let open = if end.is_none() && length > open as u64 {
        0
    } else {
        open
    };
    Ok(length.saturating_sub(open as u64))
}

fn path_hash(path: &Path) -> u64 {
    siphash(0, 0, path.as_os_str().as_bytes())
}

/// How far a file's time may be behind the clock: the kernel stamps it by its tick.
const TICK: Duration = Duration::from_millis(10);
/// Signals of a batch, a little more where one line tells several.
const FOUND_MAX: usize = 1_024;
const _: () = assert!(2 * FOUND_MAX < BATCH_SIGNALS_MAX);
/// How often a position alone is kept.
const SAVE: Duration = Duration::from_secs(5);
/// How long a rotated file without new lines is watched for late ones.
const LATE_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
