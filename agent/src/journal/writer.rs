//! The one writer: takes events from the queue, summarises floods, writes what is left in batches, rolls slices and
//! lets old ones go. A disk that refuses costs nobody but the log itself: what finds no room is counted, and said as an
//! event when the disk takes it again.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError,
        atomic::Ordering::Relaxed,
        mpsc::{Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tracing::{error, info, warn};

use super::{
    JournalSettings, Message, Shared,
    error::JournalError,
    fold::Folds,
    ids::Ids,
    record::Record,
    slice::{BESIDE, Slice, Writing, beside},
};
use crate::{clock::Clock, geo::Databases};

/// The writer's state.
pub(super) struct Writer {
    shared: Arc<Shared>,
    ids: Arc<Ids>,
    clock: Clock,
    settings: JournalSettings,
    receiver: Receiver<Message>,
    databases: Databases,
    writing: Option<Writing>,
    folds: Folds,
    /// Taken from the queue and not on disk yet.
    pending: Vec<Record>,
    /// Not before this moment the disk is tried again, ms.
    retry_ms: u64,
    failing_since_ms: Option<u64>,
    /// Losses that an event has told of, and when it was.
    told_lost: u64,
    told_ms: u64,
    retain_ms: u64,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        ids: Arc<Ids>,
        clock: Clock,
        settings: JournalSettings,
        receiver: Receiver<Message>,
        databases: Databases,
    ) -> Self {
        Self {
            shared,
            ids,
            clock,
            settings,
            receiver,
            databases,
            writing: None,
            folds: Folds::default(),
            pending: Vec::new(),
            retry_ms: 0,
            failing_since_ms: None,
            told_lost: 0,
            told_ms: 0,
            retain_ms: 0,
        }
    }

    /// Works until it is told to stop; then everything that has come in is written.
    pub(super) fn run(mut self) {
        self.ensure_open();
        while !self.shared.stopping.load(Relaxed) {
            if self.pending.len() < BATCH_MAX {
                match self.receiver.recv_timeout(TICK) {
                    Ok(message) => self.take(message),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            } else {
                // The disk refuses: the queue has to wait, and counts what it cannot take.
                thread::sleep(TICK);
            }
            while self.pending.len() < BATCH_MAX
                && let Ok(message) = self.receiver.try_recv()
            {
                self.take(message);
            }
            self.step(false);
        }
        while let Ok(message) = self.receiver.try_recv() {
            self.take(message);
            if self.pending.len() >= BATCH_MAX {
                self.step(false);
            }
        }
        self.retry_ms = 0;
        self.step(true);
        if !self.pending.is_empty() {
            let lost = self.pending.len();
            error!(lost, "the System Log could not be written to its end");
        }
        if let Some(writing) = self.writing.take() {
            writing.pause();
        }
    }

    fn take(&mut self, message: Message) {
        let mut record = match message {
            Message::Record(record) => record,
            Message::Set(settings) => {
                self.settings = settings;
                self.retain_ms = 0;
                return;
            }
        };
        let stats = &self.shared.stats;
        let queued = stats.queued.fetch_sub(1, Relaxed);
        stats
            .queued_bytes
            .fetch_sub(record.line.len() as u64, Relaxed);
        record.place(&self.databases);
        let pressure = queued > super::QUEUED_MAX as u64 / 2;
        let now = self.clock.now().wall_ms;
        self.pending.extend(self.folds.take(record, now, pressure));
    }

    fn step(&mut self, last: bool) {
        let now = self.clock.now().wall_ms;
        let ids = Arc::clone(&self.ids);
        if self.pending.len() < BATCH_MAX || last {
            self.pending
                .extend(self.folds.ended(now, last, |at| ids.next(at)));
        }
        self.tell_losses(now);
        self.flush(now);
        self.shared.stats.folded.store(self.folds.folded(), Relaxed);
        if now >= self.retain_ms {
            self.retain_ms = now.saturating_add(RETAIN_MS);
            self.retain(now);
        }
    }

    /// Losses become an event once there is room for it again.
    fn tell_losses(&mut self, now: u64) {
        let lost = self.shared.stats.lost.load(Relaxed);
        let over = self.failing_since_ms.is_none() && now >= self.told_ms.saturating_add(TELL_MS);
        if lost == self.told_lost || !over || self.pending.len() >= BATCH_MAX {
            return;
        }
        let event = json!({
            "event": "system.log.gap",
            "actor": ACTOR,
            "lost": lost - self.told_lost,
            "since": if self.told_ms == 0 { Value::Null } else { self.told_ms.into() },
            "why": self.shared.stats.why_lost(),
        });
        warn!(
            lost = lost - self.told_lost,
            "events could not be written to the System Log"
        );
        self.told_lost = lost;
        self.told_ms = now;
        self.add(event, now);
    }

    fn add(&mut self, mut event: Value, now: u64) {
        if let Some(facts) = event.as_object_mut() {
            facts.insert("time".to_owned(), now.into());
            facts.insert("id".to_owned(), self.ids.next(now).into());
            let line = Arc::from(Value::Object(facts.clone()).to_string());
            self.pending.push(Record::of(facts, line));
        }
    }

    fn flush(&mut self, now: u64) {
        if self.pending.is_empty() {
            if let Some(writing) = self
                .writing
                .as_ref()
                .filter(|_| self.failing_since_ms.is_none())
            {
                writing.tidy();
            }
            return;
        }
        if now < self.retry_ms {
            return;
        }
        self.ensure_open();
        let Some(writing) = &mut self.writing else {
            return;
        };
        let begun = Instant::now();
        match writing.append(&self.pending) {
            Ok(last) => {
                let stats = &self.shared.stats;
                stats.commits.add(begun.elapsed());
                stats.written.fetch_add(self.pending.len() as u64, Relaxed);
                self.pending.clear();
                self.shared.committed.send_replace(last);
                if let Some(since) = self.failing_since_ms.take() {
                    info!(
                        after_ms = now.saturating_sub(since),
                        "the System Log can be written again"
                    );
                    *stats.failing.lock().unwrap_or_else(PoisonError::into_inner) = None;
                }
                self.roll(now);
            }
            Err(error) => self.failed(&error, now),
        }
    }

    /// Opens the newest slice, or makes the first; whatever is wrong is tried again later.
    fn ensure_open(&mut self) {
        if self.writing.is_some() {
            return;
        }
        let first = self.shared.slices().last().map_or(1, |slice| slice.first);
        let now = self.clock.now().wall_ms;
        match Writing::open(&self.shared.dir, first, self.settings.sync, now) {
            Ok(writing) => self.begin(writing),
            Err(error) => self.failed(&error, now),
        }
    }

    fn begin(&mut self, writing: Writing) {
        let slice = Arc::clone(&writing.slice);
        let last = slice.with(|summary| summary.last);
        self.shared.change(|slices| {
            slices.retain(|known| known.first != slice.first);
            slices.push(slice);
        });
        self.shared.committed.send_replace(last);
        self.writing = Some(writing);
    }

    fn failed(&mut self, error: &JournalError, now: u64) {
        self.retry_ms = now.saturating_add(RETRY_MS);
        if self.failing_since_ms.is_none() {
            self.failing_since_ms = Some(now);
            error!("the System Log cannot be written, and is tried every second: {error}");
        }
        *self
            .shared
            .stats
            .failing
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
        if let JournalError::Damaged { what, .. } = error {
            self.move_aside(&what.clone(), now);
        }
    }

    /// A damaged slice stays on disk under another name; the log goes on behind everything it can have held.
    fn move_aside(&mut self, what: &str, now: u64) {
        self.writing = None;
        let Some(slice) = self.shared.slices().last().cloned() else {
            return;
        };
        match moved_aside(&slice.path) {
            Ok(to) => {
                error!(kept = %to.display(), "part of the System Log was damaged and moved aside: {what}");
                self.shared
                    .change(|slices| slices.retain(|known| known.first != slice.first));
                let first = slice.first.saturating_add(SLICE_EVENTS_MAX);
                match Writing::open(&self.shared.dir, first, self.settings.sync, now) {
                    Ok(writing) => self.begin(writing),
                    Err(error) => error!("the System Log cannot go on: {error}"),
                }
                let event = json!({
                    "event": "system.log.damaged", "actor": ACTOR, "why": what, "kept_as": to,
                });
                self.add(event, now);
                self.retry_ms = 0;
            }
            Err(error) => error!("{error}"),
        }
    }

    /// A full slice is followed by the next.
    fn roll(&mut self, now: u64) {
        let Some(writing) = &self.writing else {
            return;
        };
        let slice_bytes_max = (self.settings.bytes_max / SLICES).max(SLICE_BYTES_MIN);
        let (last, full) = writing.slice.with(|summary| {
            let events = (summary.last + 1).saturating_sub(writing.slice.first);
            let old = events > 0 && now.saturating_sub(writing.began_ms) >= SLICE_MS_MAX;
            let full =
                events >= SLICE_EVENTS_MAX - BATCH_MAX as u64 || summary.bytes >= slice_bytes_max;
            (summary.last, full || old)
        });
        if !full {
            return;
        }
        match Writing::open(&self.shared.dir, last + 1, self.settings.sync, now) {
            Ok(next) => {
                if let Some(writing) = self.writing.take() {
                    writing.finish();
                }
                self.begin(next);
                self.retain_ms = 0;
            }
            // The present one is gone on with.
            Err(error) => warn!("a new part of the System Log cannot be made: {error}"),
        }
    }

    /// Lets slices go that are too old, or too much.
    fn retain(&mut self, now: u64) {
        // The disk may have been changed by others; a slice is not written to when nothing happens.
        self.roll(now);
        let before = now.saturating_sub(self.settings.retention_ms);
        loop {
            let slices = self.shared.slices();
            let [oldest, _, ..] = slices.as_slice() else {
                return;
            };
            let sum: u64 = slices
                .iter()
                .map(|slice| slice.with(|summary| summary.bytes))
                .sum();
            let too_old = oldest.with(|summary| summary.max_ms < before);
            if !too_old && sum <= self.settings.bytes_max {
                return;
            }
            if let Err(error) = oldest.remove() {
                warn!("an old part of the System Log stays: {error}");
                return;
            }
            let first = oldest.first;
            self.shared
                .change(|slices| slices.retain(|known| known.first != first));
            self.shared.forget(first);
        }
    }
}

/// Moves a damaged slice aside; where it is now.
pub(super) fn moved_aside(path: &Path) -> Result<PathBuf, JournalError> {
    let to = (0..100)
        .map(|number| beside(path, &format!(".damaged-{number}")))
        .find(|to| !to.exists())
        .unwrap_or_else(|| beside(path, ".damaged"));
    fs::rename(path, &to).map_err(|cause| JournalError::file(path, cause))?;
    for suffix in BESIDE {
        // They need not exist.
        let _ = fs::rename(beside(path, suffix), beside(&to, suffix));
    }
    Ok(to)
}

/// Reads what slices there are; damaged ones are moved aside.
pub(super) fn open_all(dir: &Path) -> Result<(Vec<Arc<Slice>>, Vec<String>), JournalError> {
    let mut slices = Vec::new();
    let mut damaged = Vec::new();
    let listed = Slice::list(dir)?;
    let newest = listed.last().map(|(first, _)| *first);
    for (first, path) in listed {
        match Slice::open(&path, first) {
            Ok(slice) => slices.push(Arc::new(slice)),
            // The newest one is the writer's to move: it knows how to go on.
            Err(JournalError::Damaged { what, .. }) if Some(first) != newest => {
                let to = moved_aside(&path)?;
                damaged.push(format!("{} ({what})", to.display()));
            }
            Err(_) if Some(first) == newest => slices.push(Arc::new(Slice::unread(&path, first))),
            Err(error) => return Err(error),
        }
    }
    Ok((slices, damaged))
}

const TICK: Duration = Duration::from_millis(100);
/// Events that are written at once.
const BATCH_MAX: usize = 1_000;
const RETRY_MS: u64 = 1_000;
const RETAIN_MS: u64 = 10_000;
/// Between two events about losses.
const TELL_MS: u64 = 10_000;
/// A slice has at most so many events: the next one's numbers are known even if it cannot be read.
const SLICE_EVENTS_MAX: u64 = 1 << 20;
/// So that each day can go by itself.
const SLICE_MS_MAX: u64 = 86_400_000;
const SLICE_BYTES_MIN: u64 = 1 << 20;
/// The log has about this many slices when it is full.
const SLICES: u64 = 16;
const ACTOR: &str = "edgeward";
