//! Events that come to disk in a second, each batch synced before it counts.

use std::{
    fmt::Write as _,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use edgeward::journal::{Journal, JournalSettings};
use lab::Result;
use serde_json::Value;

use super::{START_MS, event, thousands};
use crate::{
    settings::Settings,
    stats::{entries, median, quantile},
    targets::Target,
};

/// What was measured.
#[derive(Debug, Clone)]
pub(crate) struct Appended {
    events: usize,
    /// Events a second, of each chunk.
    rates: Vec<f64>,
    /// Bytes on disk an event.
    bytes: u64,
}

impl Appended {
    pub(crate) fn measure(settings: &Settings) -> Result<Self> {
        let events = if settings.quick { 30_000 } else { 600_000 };
        eprintln!("log: {} events written", entries(events));
        let dir = directory()?;
        let settings = JournalSettings {
            // The events of the bench are older than the machine.
            retention_ms: u64::MAX,
            ..JournalSettings::default()
        };
        let journal = Journal::at(dir.path(), settings)?;
        let (log, committed) = (journal.log(), journal.log().reader().committed());
        let mut rates = Vec::new();
        for from in (0..events).step_by(CHUNK) {
            let chunk: Vec<(serde_json::Map<String, Value>, Arc<str>)> = (from..from + CHUNK)
                .filter_map(|number| {
                    let event = event(number as u64, START_MS + number as u64 / 30);
                    let line = Arc::from(event.to_string());
                    match event {
                        Value::Object(facts) => Some((facts, line)),
                        _ => None,
                    }
                })
                .collect();
            let begin = Instant::now();
            for (facts, line) in &chunk {
                while log.report().get("queued").copied().unwrap_or(0) > QUEUED_MAX {
                    thread::sleep(Duration::from_micros(500));
                }
                log.put(facts, line);
            }
            while *committed.borrow() < (from + CHUNK) as u64 {
                ensure!(
                    begin.elapsed() < CHUNK_MAX,
                    "the log stands still: {:?}",
                    log.report()
                );
                thread::sleep(Duration::from_micros(500));
            }
            rates.push(CHUNK as f64 / begin.elapsed().as_secs_f64());
        }
        let report = log.report();
        ensure!(report.get("lost") == Some(&0), "{report:?}");
        let bytes = report.get("bytes").copied().context("no size")? / events as u64;
        journal.stop();
        Ok(Self {
            events,
            rates,
            bytes,
        })
    }

    pub(crate) fn targets(&self) -> Vec<Target> {
        vec![Target::at_least(
            "events written to the System Log a second, synced".to_owned(),
            30_000.0,
            median(&self.rates),
            thousands,
        )]
    }

    pub(crate) fn markdown(&self, text: &mut String) {
        let _infallible = writeln!(
            text,
            "\n## The System Log\n\n### Written\n\nEvents as the gateway, detection and operators make them, {} of them, in chunks of {}; every batch is synced \
             before it counts (`fdatasync`, SQLite's `synchronous = FULL`).\n\n\
             | | a second | lowest–highest chunk | bytes an event on disk |\n|---|---|---|---|\n\
             | written and synced | {} | {}–{} | {} |",
            entries(self.events),
            entries(CHUNK),
            thousands(median(&self.rates)),
            thousands(quantile(&self.rates, 0.0)),
            thousands(quantile(&self.rates, 1.0)),
            self.bytes,
        );
    }
}

/// A directory on a disk: where temporary files are may be memory.
pub(super) fn directory() -> Result<tempfile::TempDir> {
    tempfile::Builder::new()
        .prefix("edgeward-bench-log")
        .tempdir_in("/var/tmp")
        .context("a directory in /var/tmp")
}

const CHUNK: usize = 30_000;
const CHUNK_MAX: Duration = Duration::from_secs(120);
/// So many wait at most: none is lost for want of room.
const QUEUED_MAX: u64 = 8_000;
