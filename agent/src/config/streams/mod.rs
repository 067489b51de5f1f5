//! `[[stream]]`: what each table says. Keys of one kind are mistakes in another.

mod datadog;
mod eventbridge;
mod file;
mod otlp;
mod remote;
mod sentinel;
mod splunk_hec;
mod syslog;
mod webhook;

use std::{path::Path, time::Duration};

use super::{
    error::shown,
    raw::Table,
    stream::{Stream, StreamFilter, StreamFormat, StreamKind, StreamStart},
    zones::{Typed, name},
};
use crate::journal::filter::Filter;

/// Keys of every stream.
const COMMON_KEYS: &[&str] = &[
    "name",
    "kind",
    "format",
    "filter",
    "enabled",
    "from",
    "batch_events_max",
    "batch_bytes_max",
    "flush",
    "timeout",
];

/// A kind: its word, its own keys, and what it is where nothing else is said.
struct Kind {
    word: &'static str,
    keys: &'static [&'static str],
    /// Whether those of TLS are among its keys.
    tls: bool,
    defaults: Defaults,
    read: fn(&Table<'_>, &Path) -> Option<StreamKind>,
}

/// What differs by kind.
#[derive(Clone, Copy)]
struct Defaults {
    events_max: usize,
    bytes_max: usize,
    flush: Duration,
    /// The most that the receiver takes at a time.
    most: (usize, usize),
}

/// Those that are known.
const KINDS: &[Kind] = &[
    Kind {
        word: "syslog",
        keys: syslog::KEYS,
        tls: true,
        defaults: QUICK,
        read: syslog::read,
    },
    Kind {
        word: "file",
        keys: file::KEYS,
        tls: false,
        defaults: QUICK,
        read: file::read,
    },
    Kind {
        word: "webhook",
        keys: webhook::KEYS,
        tls: true,
        defaults: HTTP,
        read: webhook::read,
    },
    Kind {
        word: "splunk-hec",
        keys: splunk_hec::KEYS,
        tls: true,
        defaults: HTTP,
        read: splunk_hec::read,
    },
    Kind {
        word: "otlp",
        keys: otlp::KEYS,
        tls: true,
        defaults: HTTP,
        read: otlp::read,
    },
    Kind {
        word: "eventbridge",
        keys: eventbridge::KEYS,
        tls: true,
        defaults: eventbridge::DEFAULTS,
        read: eventbridge::read,
    },
    Kind {
        word: "datadog",
        keys: datadog::KEYS,
        tls: true,
        defaults: datadog::DEFAULTS,
        read: datadog::read,
    },
    Kind {
        word: "sentinel",
        keys: sentinel::KEYS,
        tls: true,
        defaults: sentinel::DEFAULTS,
        read: sentinel::read,
    },
];

/// Where a batch costs nothing, events do not wait for it.
const QUICK: Defaults = Defaults {
    events_max: 1_000,
    bytes_max: 1 << 20,
    flush: Duration::from_millis(100),
    most: (EVENTS_MAX, BYTES_MAX),
};
/// Where each batch is a request.
const HTTP: Defaults = Defaults {
    events_max: 500,
    bytes_max: 1 << 20,
    flush: Duration::from_millis(500),
    most: (EVENTS_MAX, BYTES_MAX),
};

/// Streams there may be.
pub(crate) const STREAMS_MAX: usize = 16;
/// Most events and bytes of a batch, whatever the receiver could take.
const EVENTS_MAX: usize = 10_000;
const BYTES_MAX: usize = 8 << 20;
const SECOND: Duration = Duration::from_secs(1);

pub(super) fn streams<'a>(top: &Table<'a>, base: &Path) -> Vec<Typed<'a, Stream>> {
    let known: Vec<&str> = COMMON_KEYS
        .iter()
        .copied()
        .chain(KINDS.iter().flat_map(Kind::keys))
        .collect();
    let tables = top
        .get("stream")
        .map(|node| node.tables(&known))
        .unwrap_or_default();
    if let Some(first) = tables.get(STREAMS_MAX) {
        first.error(
            format!(
                "is one of {} streams; at most {STREAMS_MAX} are possible",
                tables.len()
            ),
            None,
        );
    }
    tables
        .into_iter()
        .filter_map(|mut table| {
            let value = stream(&mut table, base)?;
            Some(Typed {
                value,
                table,
                networks: Vec::new(),
                ports: Vec::new(),
            })
        })
        .collect()
}

fn stream(table: &mut Table<'_>, base: &Path) -> Option<Stream> {
    let name = name(table);
    let kind = kind(table);
    let defaults = kind.map_or(HTTP, |kind| kind.defaults);
    let (events_most, bytes_most) = defaults.most;
    let format = table.choice("format", &StreamFormat::WORDS);
    let from = [("now", StreamStart::Now), ("oldest", StreamStart::Oldest)];
    let stream = Stream {
        name,
        format,
        filter: filter(table),
        enabled: table.flag("enabled", true),
        from: table.choice("from", &from),
        batch_events_max: table.count("batch_events_max", 1..=events_most, defaults.events_max),
        batch_bytes_max: table.count("batch_bytes_max", 1_024..=bytes_most, defaults.bytes_max),
        flush: table.time(
            "flush",
            Duration::from_millis(10)..=60 * SECOND,
            defaults.flush,
        ),
        timeout: table.time("timeout", SECOND..=300 * SECOND, 30 * SECOND),
        kind: (kind?.read)(table, base)?,
    };
    Some(stream)
}

impl Kind {
    fn keys(&self) -> impl Iterator<Item = &'static str> {
        let of_tls: &[&str] = if self.tls { &remote::TLS_KEYS } else { &[] };
        self.keys.iter().chain(of_tls).copied()
    }

    fn knows(&self, key: &str) -> bool {
        self.keys().any(|known| known == key)
    }
}

/// The kind, and whether there are keys of others.
fn kind(table: &Table<'_>) -> Option<&'static Kind> {
    let words: Vec<&str> = KINDS.iter().map(|kind| kind.word).collect();
    let example = format!("one of {}", words.join(", "));
    let places: Vec<(&str, usize)> = words.iter().copied().zip(0..).collect();
    let at = table.required("kind", &example)?.word(&places)?;
    let kind = KINDS.get(at)?;
    for other in KINDS {
        for key in other.keys() {
            if kind.knows(key) {
                continue;
            }
            if let Some(node) = table.get(key) {
                let of: Vec<&str> = KINDS
                    .iter()
                    .filter(|kind| kind.knows(key))
                    .map(|kind| kind.word)
                    .collect();
                // Named once, at the first kind that has it.
                if of.first() == Some(&other.word) {
                    node.error(
                        format!("is for the kind {}", of.join(", ")),
                        Some("remove it".to_owned()),
                    );
                }
            }
        }
    }
    Some(kind)
}

fn filter(table: &Table<'_>) -> Option<StreamFilter> {
    let node = table.get("filter")?;
    let text = node.string()?;
    match Filter::parse(text) {
        Ok(filter) => Some(StreamFilter {
            text: text.to_owned(),
            filter,
        }),
        Err(error) => {
            node.error(
                format!("\"{}\" is no filter: {error}", shown(text)),
                Some("write eventType sw \"security.\", for one".to_owned()),
            );
            None
        }
    }
}
