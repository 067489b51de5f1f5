//! The System Log: every event on disk, found again, in the order in which it was written down.
//!
//! Events are kept as flat facts (docs/events.md) and get Okta's shape when they are read. One thread writes, in
//! batches that are synced before anybody sees them; whoever makes events never waits for it. Readers have connections
//! of their own.

mod catalogue;
#[cfg(test)]
mod crash;
mod error;
mod fold;
mod ids;
mod log_event;
mod plan;
mod reader;
mod record;
mod search;
mod slice;
#[cfg(test)]
mod tests;
mod writer;

pub mod filter;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
};

use anyhow::Context as _;
use rusqlite::Connection;
use tokio::sync::watch;

pub(crate) use self::{
    catalogue::{Kind, Subject},
    filter::Filter,
    log_event::address,
};
pub use self::{
    ids::Ids,
    log_event::Facts,
    reader::{Entry, Reader},
    search::{Cursor, Order, Page, Query},
};
use self::{record::Record, slice::Slice, writer::Writer};
use crate::{
    clock::Clock,
    geo::Databases,
    histogram::{Buckets, Histogram},
    threads::{self, Duty},
};

/// How much is kept, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalSettings {
    /// For how long events are kept, ms.
    pub retention_ms: u64,
    /// How much they may take on disk, bytes.
    pub bytes_max: u64,
    /// Whether sign-ins tell users by name; otherwise by a keyed hash.
    pub names_users: bool,
    /// Whether a batch is synced before it counts as written. Only benches say no.
    pub sync: bool,
}

/// The System Log at work.
#[derive(Debug)]
pub struct Journal {
    log: Log,
    thread: JoinHandle<()>,
}

const DUTY: Duty = Duty {
    name: "journal",
    called: "the thread of the System Log",
    without: "the System Log is not written",
};

/// Where events are put. Never waits.
#[derive(Clone, Debug)]
pub struct Log {
    sender: SyncSender<Message>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
enum Message {
    Record(Record),
    Set(JournalSettings),
}

/// What writer and readers share.
#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    /// Oldest first.
    slices: RwLock<Vec<Arc<Slice>>>,
    /// Connections of readers that nobody uses at the moment, with the slice's first number.
    idle: Mutex<Vec<(u64, Connection)>>,
    committed: watch::Sender<u64>,
    stopping: AtomicBool,
    stats: Stats,
}

#[derive(Debug, Default)]
struct Stats {
    queued: AtomicU64,
    queued_bytes: AtomicU64,
    written: AtomicU64,
    folded: AtomicU64,
    lost: AtomicU64,
    /// How long batches took.
    commits: Histogram,
    /// Why the disk cannot be written, while it cannot.
    failing: Mutex<Option<String>>,
    /// Whether something was lost because the disk could not be written.
    disk_lost: AtomicBool,
}

impl Default for JournalSettings {
    fn default() -> Self {
        Self {
            retention_ms: 90 * 86_400_000,
            bytes_max: 4 << 30,
            names_users: false,
            sync: true,
        }
    }
}

impl Journal {
    /// Opens the log in `dir`, which is made if need be, and begins to write.
    ///
    /// # Errors
    /// The directory cannot be made or read, or there can be no more threads. A disk that is full or a damaged file is
    /// no error: the log goes on as soon as it can, and says what is lost.
    pub(crate) fn start(
        dir: &Path,
        settings: JournalSettings,
        ids: Arc<Ids>,
        clock: Clock,
        databases: Databases,
    ) -> anyhow::Result<Self> {
        let dir = dir.to_path_buf();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .with_context(|| format!("the directory {}", dir.display()))?;
        let (slices, damaged) = writer::open_all(&dir)?;
        for what in damaged {
            tracing::error!("part of the System Log was damaged and moved aside: {what}");
        }
        let last = slices
            .last()
            .map_or(0, |slice| slice.with(|summary| summary.last));
        let shared = Arc::new(Shared {
            dir,
            slices: RwLock::new(slices),
            idle: Mutex::default(),
            committed: watch::Sender::new(last),
            stopping: AtomicBool::new(false),
            stats: Stats::default(),
        });
        let (sender, receiver) = sync_channel(QUEUED_MAX);
        let writer = Writer::new(
            Arc::clone(&shared),
            ids,
            clock,
            settings,
            receiver,
            databases,
        );
        let thread = threads::spawn(DUTY, move || writer.run())?;
        Ok(Self {
            log: Log { sender, shared },
            thread,
        })
    }

    /// A log by itself, for programs that only keep events: benches.
    ///
    /// # Errors
    /// As when the agent opens it.
    pub fn at(dir: &Path, settings: JournalSettings) -> anyhow::Result<Self> {
        let ids = Arc::new(Ids::new(0));
        Self::start(dir, settings, ids, Clock::new(), Databases::none())
    }

    /// Where events are put.
    pub fn log(&self) -> Log {
        self.log.clone()
    }

    /// Writes down what has come in and ends.
    pub fn stop(self) {
        self.log.shared.stopping.store(true, Relaxed);
        // A writer that has panicked has said so.
        drop(self.thread.join());
    }
}

impl Log {
    /// Puts an event in: its facts, and the same as one line of JSON. What finds no room is counted.
    pub fn put(&self, facts: &Facts, line: &Arc<str>) {
        let stats = &self.shared.stats;
        let bytes = line.len() as u64;
        if stats.queued_bytes.load(Relaxed).saturating_add(bytes) > QUEUED_BYTES_MAX {
            stats.lose();
            return;
        }
        let record = Record::of(facts, Arc::clone(line));
        stats.queued.fetch_add(1, Relaxed);
        stats.queued_bytes.fetch_add(bytes, Relaxed);
        match self.sender.try_send(Message::Record(record)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                stats.queued.fetch_sub(1, Relaxed);
                stats.queued_bytes.fetch_sub(bytes, Relaxed);
                stats.lose();
            }
        }
    }

    /// Where they are read.
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.shared))
    }

    /// Changes how much is kept.
    pub(crate) fn set(&self, settings: JournalSettings) {
        // A queue that is full keeps the former settings until the next reload; the writer has other worries.
        if self.sender.try_send(Message::Set(settings)).is_err() {
            tracing::warn!("the System Log is busy and keeps its former settings");
        }
    }

    /// For `status`.
    pub fn report(&self) -> BTreeMap<String, u64> {
        let stats = &self.shared.stats;
        let slices = self.shared.slices();
        let sum = |of: fn(&slice::Summary) -> u64| -> u64 {
            slices.iter().map(|slice| slice.with(of)).sum()
        };
        let oldest = slices.first();
        let mut report = BTreeMap::new();
        let mut add = |name: &str, value: u64| report.insert(name.to_owned(), value);
        add("written", stats.written.load(Relaxed));
        add("folded", stats.folded.load(Relaxed));
        add("lost", stats.lost.load(Relaxed));
        add("queued", stats.queued.load(Relaxed));
        add(
            "kept",
            sum(|summary| summary.classes.iter().map(|class| class.count).sum()),
        );
        add("bytes", sum(|summary| summary.bytes));
        add(
            "oldest_ms",
            oldest.map_or(0, |slice| slice.with(|summary| summary.min_ms)),
        );
        report
    }

    /// How long it took to write batches and to sync them.
    pub(crate) fn commits(&self) -> Buckets {
        self.shared.stats.commits.buckets()
    }

    /// Why it cannot be written, while it cannot.
    pub(crate) fn failing(&self) -> Option<String> {
        let failing = self.shared.stats.failing.lock();
        failing.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Shared {
    fn slices(&self) -> Vec<Arc<Slice>> {
        self.slices
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Slice>>)) {
        change(&mut self.slices.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Nobody reads a slice any more: its space is free once the last connection is gone.
    fn forget(&self, first: u64) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(of, _)| *of != first);
    }
}

impl Stats {
    fn lose(&self) {
        self.lost.fetch_add(1, Relaxed);
        if self
            .failing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
        {
            self.disk_lost.store(true, Relaxed);
        }
    }

    fn why_lost(&self) -> &'static str {
        if self.disk_lost.swap(false, Relaxed) {
            "the disk could not be written"
        } else {
            "events came faster than they could be written"
        }
    }
}

/// A moment as the System Log writes it: RFC 3339 with milliseconds, in UTC.
pub(crate) fn published(milliseconds: u64) -> String {
    let text = crate::moment::utc(milliseconds);
    let seconds = text.strip_suffix('Z').unwrap_or(&text);
    format!("{seconds}.{:03}Z", milliseconds % 1_000)
}

/// Events that wait for the writer.
const QUEUED_MAX: usize = 32_768;
/// And what they may take together, bytes.
const QUEUED_BYTES_MAX: u64 = 12 << 20;
