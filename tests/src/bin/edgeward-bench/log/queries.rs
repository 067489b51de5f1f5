//! Pages of a hundred out of ten million events.

use std::{
    fmt::Write as _,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use edgeward::journal::{Cursor, Journal, JournalSettings, Order, Query, filter::Filter};
use lab::Result;
use serde_json::Value;

use super::{START_MS, append::directory, event};
use crate::{
    settings::Settings,
    stats::{entries, median, quantile},
    targets::Target,
};

/// What was measured.
#[derive(Debug, Clone)]
pub(crate) struct Queries {
    events: usize,
    /// Each query: what it is, how many events it found, milliseconds of each run.
    rows: Vec<(&'static str, usize, Vec<f64>)>,
}

impl Queries {
    pub(crate) fn measure(settings: &Settings) -> Result<Self> {
        let events = if settings.quick { 100_000 } else { 10_000_000 };
        let dir = directory()?;
        eprintln!(
            "log: {} events to search (written without syncing)",
            entries(events)
        );
        let journal = fill(dir.path(), events)?;
        let reader = journal.log().reader();
        let last = START_MS + events as u64 / 30;
        let mut rows = Vec::new();
        for (what, filter, by, descending) in QUERIES {
            let filter = filter
                .replace("USER", &format!("{:016x}", super::mix(77_777)))
                .replace("ID", &id_of(events as u64 / 3 / 100 * 100));
            let filter =
                Filter::parse(&filter).map_err(|error| anyhow::anyhow!("{filter}: {error}"))?;
            let query = Query {
                since_ms: Some(START_MS),
                until_ms: Some(last + 1),
                after: (by == Order::Persistence).then_some(Cursor {
                    published_ms: START_MS,
                    seq: events as u64 / 2,
                }),
                filter: Some(filter),
                limit: 100,
                descending,
                by,
                ..Query::default()
            };
            let mut times = Vec::new();
            let mut found = 0;
            for _ in 0..settings.rounds.max(5) {
                let begin = Instant::now();
                let page = reader.search(&query)?;
                times.push(begin.elapsed().as_secs_f64() * 1e3);
                found = page.entries.len();
            }
            rows.push((what, found, times));
        }
        journal.stop();
        Ok(Self { events, rows })
    }

    pub(crate) fn targets(&self) -> Vec<Target> {
        let slowest = self
            .rows
            .iter()
            .map(|(_, _, times)| median(times))
            .fold(0.0, f64::max);
        vec![Target::at_most(
            format!(
                "the slowest of {} kinds of filtered page of 100, from {} events",
                self.rows.len(),
                entries(self.events)
            ),
            50.0,
            slowest,
            |ms| format!("{ms:.1} ms"),
        )]
    }

    pub(crate) fn markdown(&self, text: &mut String) {
        let _infallible = writeln!(
            text,
            "\n### Found\n\nPages of at most 100 of {} events, in the memory of the machine as far as they fit there.\n\n\
             | Query | found | median | slowest |\n|---|---|---|---|",
            entries(self.events)
        );
        for (what, found, times) in &self.rows {
            let _infallible = writeln!(
                text,
                "| {what} | {found} | {:.2} ms | {:.2} ms |",
                median(times),
                quantile(times, 1.0)
            );
        }
    }
}

fn fill(dir: &Path, events: usize) -> Result<Journal> {
    let settings = JournalSettings {
        retention_ms: u64::MAX,
        bytes_max: 1 << 40,
        sync: false,
        ..JournalSettings::default()
    };
    let journal = Journal::at(dir, settings)?;
    let (log, committed) = (journal.log(), journal.log().reader().committed());
    for number in 0..events as u64 {
        let event = event(number, START_MS + number / 30);
        let line = Arc::from(event.to_string());
        if number.is_multiple_of(1_000) {
            while number.saturating_sub(*committed.borrow()) > 10_000 {
                thread::sleep(Duration::from_micros(200));
            }
        }
        if let Value::Object(facts) = event {
            log.put(&facts, &line);
        }
    }
    let begin = Instant::now();
    while *committed.borrow() < events as u64 {
        ensure!(
            begin.elapsed() < Duration::from_secs(60),
            "the log stands still: {:?}",
            log.report()
        );
        thread::sleep(Duration::from_millis(10));
    }
    Ok(journal)
}

fn id_of(number: u64) -> String {
    let event = event(number, START_MS + number / 30);
    event
        .get("id")
        .and_then(Value::as_str)
        .context("an id")
        .unwrap_or_default()
        .to_owned()
}

/// What it is, the filter, the order, and whether the latest come first.
const QUERIES: [(&str, &str, Order, bool); 9] = [
    (
        "a frequent type, from the beginning",
        "eventType eq \"security.threat.detected\"",
        Order::Published,
        false,
    ),
    (
        "a rare type, the latest first",
        "eventType eq \"decision.create\"",
        Order::Published,
        true,
    ),
    (
        "a type that is not there",
        "eventType eq \"zone.create\"",
        Order::Published,
        false,
    ),
    (
        "outcome and service",
        "outcome.result eq \"SUCCESS\" and debugContext.debugData.service eq \"login\"",
        Order::Published,
        true,
    ),
    (
        "one address",
        "client.ipAddress eq \"10.1.1.1\"",
        Order::Published,
        true,
    ),
    (
        "an address and an outcome, or a type",
        "(actor.id eq \"10.1.1.1\" and outcome.result eq \"DENY\") or eventType eq \"decision.create\"",
        Order::Published,
        true,
    ),
    (
        "one user",
        "debugContext.debugData.user eq \"USER\"",
        Order::Published,
        true,
    ),
    ("one id", "uuid eq \"ID\"", Order::Published, false),
    (
        "polling in the middle, a rare type",
        "eventType eq \"decision.create\"",
        Order::Persistence,
        false,
    ),
];
