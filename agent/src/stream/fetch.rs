//! From the journal to what is sent: read, filtered, shaped and encoded, many at a time. Waits for the disk.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::{
    shape,
    sink::{Encode, Event, Item, Piece},
    source::Source,
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
    let entries = recipe.source.after(seq, events_max, bytes_max)?;
    let mut out = Fetched {
        first: entries.first().map_or(oldest, |entry| entry.seq),
        ..Fetched::default()
    };
    let (mut json, mut buffer, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    for entry in &entries {
        let log_event = entry.log_event();
        if recipe
            .filter
            .as_ref()
            .is_some_and(|filter| !filter.matches(&log_event))
        {
            out.filtered = out.filtered.saturating_add(1);
            continue;
        }
        json.clear();
        shape::write(recipe.format, entry, &log_event, &mut json);
        let start = buffer.len();
        let event = Event {
            seq: entry.seq,
            id: &entry.id,
            published_ms: entry.published_ms,
            event_type: entry.event_type(),
            severity: log_event
                .get("severity")
                .and_then(Value::as_str)
                .unwrap_or("INFO"),
            json: std::str::from_utf8(&json).unwrap_or_default(),
        };
        if let Err(why) = recipe.encode.encode(&event, &mut buffer) {
            buffer.truncate(start);
            let payload = piece(entry, Bytes::copy_from_slice(&json));
            out.unfit.push((item(entry.seq, payload), why));
            continue;
        }
        ends.push((entry, start, buffer.len()));
    }
    let buffer = Bytes::from(buffer);
    out.items = ends
        .into_iter()
        .map(|(entry, start, end)| item(entry.seq, piece(entry, buffer.slice(start..end))))
        .collect();
    out.read = entries.last().map(|entry| Mark {
        seq: entry.seq,
        id: entry.id.clone(),
        published_ms: entry.published_ms,
    });
    Ok(out)
}

fn piece(entry: &super::source::Entry, bytes: Bytes) -> Piece {
    Piece {
        id: entry.id.as_str().into(),
        published_ms: entry.published_ms,
        bytes,
    }
}

fn item(seq: u64, payload: Piece) -> Item<Piece> {
    Item {
        seq,
        bytes: payload.bytes.len(),
        payload,
    }
}
