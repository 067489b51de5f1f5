//! From the journal to what is sent: read, filtered, shaped and encoded, many at a time. Waits for the disk.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use serde_json::Value;

use super::{
    shape,
    sink::{Encode, Event, Item, Piece},
    source::{Entry, Source},
};
use crate::{config::StreamFormat, journal::filter::Filter};

/// How events become what is sent.
#[derive(Clone)]
pub(super) struct Recipe {
    pub(super) source: Arc<dyn Source>,
    pub(super) format: StreamFormat,
    pub(super) filter: Option<Arc<Filter>>,
    pub(super) encode: Arc<dyn Encode>,
}

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    /// The first event that is still kept.
    pub(super) first: u64,
    /// Up to where was read.
    pub(super) read: Option<Mark>,
    /// What is to be sent.
    pub(super) items: Vec<Item<Piece>>,
    /// How many the filter passed over.
    pub(super) filtered: u64,
    /// What never can be.
    pub(super) unfit: Vec<(Item<Piece>, String)>,
}

/// An event by which a journal is known again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) seq: u64,
    pub(super) id: String,
    pub(super) published_ms: u64,
}

/// Reads on behind `seq`: at most `events_max` events, and about `bytes_max` bytes of them.
///
/// # Errors
/// What the journal says.
pub(super) fn fetch(
    recipe: &Recipe,
    seq: u64,
    events_max: usize,
    bytes_max: usize,
) -> Result<Fetched, String> {
    // Asked first: what retention takes meanwhile is missing in what is read, and shows there.
    let oldest = recipe.source.oldest();
    let mut out = Fetched {
        first: oldest,
        ..Fetched::default()
    };
    let mut encoded = Encoded::default();
    let mut left = events_max;
    while left > 0 && encoded.buffer.len() < bytes_max {
        let bytes_left = bytes_max - encoded.buffer.len();
        let from = out.read.as_ref().map_or(seq, |mark| mark.seq);
        let entries = recipe
            .source
            .after(from, left.min(PARSED_MAX), bytes_left)?;
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            break;
        };
        if out.read.is_none() {
            out.first = first.seq;
        } else if first.seq != from.saturating_add(1) {
            // Retention came in between: the next look counts what is missing.
            break;
        }
        left = left.saturating_sub(entries.len());
        let read = Mark {
            seq: last.seq,
            id: last.id.clone(),
            published_ms: last.published_ms,
        };
        for entry in entries {
            encoded.add(recipe, &entry, &mut out);
        }
        out.read = Some(read);
    }
    let buffer = Bytes::from(encoded.buffer);
    let events = encoded.events.into_iter();
    out.items = events
        .map(|(seq, id, published_ms, range)| {
            item(
                seq,
                Piece {
                    id,
                    published_ms,
                    bytes: buffer.slice(range),
                },
            )
        })
        .collect();
    Ok(out)
}

/// What was encoded: one buffer for all of it, so that events cost no allocation each while they wait.
#[derive(Default)]
struct Encoded {
    json: Vec<u8>,
    buffer: Vec<u8>,
    /// Number, id, time and place of each.
    events: Vec<(u64, Box<str>, u64, Range<usize>)>,
}

impl Encoded {
    fn add(&mut self, recipe: &Recipe, entry: &Entry, out: &mut Fetched) {
        let log_event = entry.log_event();
        let filter = recipe.filter.as_ref();
        if filter.is_some_and(|filter| !filter.matches(&log_event)) {
            out.filtered = out.filtered.saturating_add(1);
            return;
        }
        self.json.clear();
        shape::write(recipe.format, entry, &log_event, &mut self.json);
        let start = self.buffer.len();
        let event = Event {
            seq: entry.seq,
            id: &entry.id,
            published_ms: entry.published_ms,
            event_type: entry.event_type(),
            severity: log_event
                .get("severity")
                .and_then(Value::as_str)
                .unwrap_or("INFO"),
            json: std::str::from_utf8(&self.json).unwrap_or_default(),
        };
        let id = Box::from(entry.id.as_str());
        if let Err(why) = recipe.encode.encode(&event, &mut self.buffer) {
            self.buffer.truncate(start);
            let payload = Piece {
                id,
                published_ms: entry.published_ms,
                bytes: Bytes::copy_from_slice(&self.json),
            };
            out.unfit.push((item(entry.seq, payload), why));
            return;
        }
        let place = start..self.buffer.len();
        self.events.push((entry.seq, id, entry.published_ms, place));
    }
}

fn item(seq: u64, payload: Piece) -> Item<Piece> {
    Item {
        seq,
        bytes: payload.bytes.len(),
        payload,
    }
}

/// Events that are held as trees of JSON at a time: each takes many times its text.
const PARSED_MAX: usize = 32;
