//! Follows units in journald, through `journalctl` as a child process: it knows every format that journals were ever
//! written in, and its cursor is the position.

use std::{
    convert::Infallible,
    io::{self, ErrorKind},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use memchr::memmem;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader},
    process::{Child, ChildStdout, Command},
    time::{sleep, timeout},
};

use super::{
    LogFormat,
    lines::{LINE_BYTES_MAX, Line, Lines},
    read_line,
    tally::{FOLLOWING, Read, Tally},
};
use crate::{
    clock::Clock,
    detection::{Batch, CURSOR_BYTES_MAX, Intake, Position},
    policy::signal::Signal,
};

/// Follows some units.
pub(crate) struct Journal {
    pub(crate) source: Arc<str>,
    pub(crate) units: Vec<String>,
    pub(crate) clock: Clock,
    pub(crate) tally: Tally,
    pub(crate) intake: Intake,
    pub(crate) format: Box<dyn LogFormat + Send>,
    /// Where it has got to: journald's own words.
    pub(crate) cursor: Option<String>,
}

/// What was taken out of the child's output and not handed over yet.
#[derive(Default)]
struct Taken {
    found: Vec<Signal>,
    read: Read,
    cursor: Option<String>,
}

impl Journal {
    /// Takes what is kept of a position, if it can be one.
    pub(crate) fn cursor(kept: Option<&[u8]>) -> Option<String> {
        let text = std::str::from_utf8(kept?).ok()?;
        is_cursor(text).then(|| text.to_owned())
    }

    /// Follows until it is dropped, which it may be at any moment; the child ends with it.
    pub(crate) async fn run(mut self) -> Infallible {
        let mut pause = PAUSE_MIN;
        loop {
            let began = Instant::now();
            if let Err(error) = self.once().await {
                let why = match error.kind() {
                    ErrorKind::NotFound => {
                        "there is no journalctl on this host: follow sshd's log file instead"
                            .to_owned()
                    }
                    _ => error.to_string(),
                };
                self.tally.failing(&why);
            }
            // One that worked for a while is begun anew at once.
            if began.elapsed() > WORKED {
                pause = PAUSE_MIN;
            }
            sleep(pause).await;
            pause = pause.saturating_mul(2).min(PAUSE_MAX);
        }
    }

    /// From the start of a child to its end.
    async fn once(&mut self) -> io::Result<()> {
        let mut child = self.command().spawn()?;
        let (Some(output), Some(errors)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(io::Error::other("journalctl has no output"));
        };
        let complaint = tokio::spawn(first_words(errors));
        self.read(output).await?;
        let status = ended(&mut child).await?;
        let complaint = complaint.await.unwrap_or_default();
        if complaint.contains("Failed to seek to cursor") {
            // Kept by another journald, or damaged: there is nothing to find by it.
            self.cursor = None;
            self.tally.note(
                "journald does not know the place that was read last; what was written meanwhile is not read",
            );
            return Ok(());
        }
        Err(io::Error::other(format!(
            "journalctl has ended ({status}): {}",
            complaint.trim()
        )))
    }

    fn command(&self) -> Command {
        let mut command = Command::new("journalctl");
        command.args([
            "--follow",
            "--output=json",
            "--all",
            "--quiet",
            "--no-pager",
        ]);
        command.args(self.units.iter().map(|unit| format!("--unit={unit}")));
        match &self.cursor {
            // Not --after-cursor: before systemd 255 it passes over the next entry if that of the cursor is gone.
            // --no-tail, or only the last ten would come.
            Some(cursor) => command.args(["--no-tail", &format!("--cursor={cursor}")]),
            None => command.arg("--lines=0"),
        };
        command
            .env("SYSTEMD_COLORS", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn read(&mut self, output: ChildStdout) -> io::Result<()> {
        let mut output = BufReader::with_capacity(CHUNK_BYTES, output);
        let mut lines = Lines::new(io::Cursor::new(Vec::new()));
        // It has begun once it has said something, or nothing for a moment.
        let mut chunk = match timeout(BEGUN, output.fill_buf()).await {
            Ok(chunk) => chunk?.to_vec(),
            Err(_) => {
                self.tally.well(FOLLOWING);
                output.fill_buf().await?.to_vec()
            }
        };
        while !chunk.is_empty() {
            self.tally.well(FOLLOWING);
            output.consume(chunk.len());
            *lines.input_mut() = io::Cursor::new(chunk);
            let mut taken = Taken::default();
            while let Some((_, line)) = lines.next_ended_line()? {
                self.take(line, &mut taken);
                if taken.found.len() >= FOUND_MAX {
                    self.put(&mut taken).await;
                }
            }
            self.put(&mut taken).await;
            chunk = output.fill_buf().await?.to_vec();
        }
        Ok(())
    }

    fn take(&mut self, line: Line<'_>, taken: &mut Taken) {
        let Line::Text(bytes) = line else {
            taken.read.lines = taken.read.lines.saturating_add(1);
            let reason = format!("is longer than {LINE_BYTES_MAX} bytes");
            self.tally.reject("an entry", &reason);
            return;
        };
        let cursor = cursor_of(bytes);
        // The first is the one that was read last, unless it is gone.
        if cursor.is_some() && cursor == self.cursor.as_deref() {
            return;
        }
        taken.read.lines = taken.read.lines.saturating_add(1);
        let before = taken.found.len();
        if let Err(reason) = read_line(bytes, self.format.as_mut(), &mut taken.found) {
            let place =
                cursor.map_or_else(|| "an entry".to_owned(), |cursor| format!("entry {cursor}"));
            self.tally.reject(&place, &reason);
        }
        let told = taken.found.len().saturating_sub(before);
        taken.read.signals = taken.read.signals.saturating_add(told as u64);
        if let Some(cursor) = cursor {
            self.cursor = Some(cursor.to_owned());
            taken.cursor.clone_from(&self.cursor);
        }
    }

    /// Hands over what was taken, with how far that is. Waits while detection is behind.
    async fn put(&mut self, taken: &mut Taken) {
        let taken = std::mem::take(taken);
        self.format.written(self.clock.now().wall_ms);
        self.tally.add(taken.read);
        let Some(cursor) = taken.cursor else {
            return;
        };
        let batch = Batch {
            signals: taken.found,
            position: Some(Position {
                source: Arc::clone(&self.source),
                cursor: cursor.clone().into_bytes(),
            }),
            taken: None,
        };
        if self.intake.put(batch).await.is_err() {
            // Detection has ended, and so will this.
            std::future::pending::<()>().await;
        }
        self.tally.reached(cursor.into_bytes());
    }
}

/// The cursor of an entry. Without reading the entry as JSON: also one that is none has its place.
fn cursor_of(entry: &[u8]) -> Option<&str> {
    const KEY: &[u8] = b"\"__CURSOR\":\"";
    // What programs log has its quotes escaped, so it cannot look like this.
    let at = memmem::find(entry, KEY)?.checked_add(KEY.len())?;
    let rest = entry.get(at..)?;
    let end = memchr::memchr(b'"', rest)?;
    std::str::from_utf8(rest.get(..end)?)
        .ok()
        .filter(|text| is_cursor(text))
}

/// `s=…;i=…;b=…;m=…;t=…;x=…`, hexadecimal.
fn is_cursor(text: &str) -> bool {
    (1..=CURSOR_BYTES_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'=' | b';' | b'-' | b'_'))
}

/// The beginning of what a child says to its standard error, and the rest unread.
async fn first_words(mut errors: impl AsyncRead + Unpin) -> String {
    let mut text = Vec::new();
    let limited = &mut errors;
    // What could be read is what there is.
    let _ = limited.take(WORDS_BYTES_MAX).read_to_end(&mut text).await;
    let _ = tokio::io::copy(&mut errors, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&text).into_owned()
}

/// Waits for the end of a child that has closed its output.
async fn ended(child: &mut Child) -> io::Result<ExitStatus> {
    if let Ok(status) = timeout(ENDING, child.wait()).await {
        return status;
    }
    child.start_kill()?;
    child.wait().await
}

const CHUNK_BYTES: usize = 256 << 10;
/// Signals of a batch, a little more where one entry tells several.
const FOUND_MAX: usize = 1_024;
/// Of what a child complains, bytes.
const WORDS_BYTES_MAX: u64 = 4_096;
/// A child that is silent for so long has found its journal.
const BEGUN: Duration = Duration::from_secs(1);
/// Between two children.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A child that lived for so long did not fail at its start.
const WORKED: Duration = Duration::from_secs(60);
/// From the end of a child's output to its own.
const ENDING: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
