//! Follows a log file: over rotation, over restarts, without losing or doubling a line.
//!
//! What was read and how far travel together: a batch of signals carries the cursor behind its last line, and detection
//! keeps both or neither. When the log's name leads to another file, the old one is read to its end first and watched
//! for late lines a while longer; rotated files between the two are found beside the log by name, time of writing and
//! content.

mod batches;
mod reading;
mod rotation;
mod spot;
mod trail;
mod wake;

use std::{
    collections::VecDeque,
    convert::Infallible,
    fs::File,
    io::{self, ErrorKind},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Instant, SystemTime},
};

use self::{
    reading::{Filled, Reading, open},
    rotation::Turn,
    spot::{Cursor, Mark, before},
    wake::Wake,
};
use super::{LogFormat, lines::LINE_BYTES_MAX, tally::Tally};
use crate::{
    clock::Clock,
    config::SignalStart,
    detection::Intake,
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

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
