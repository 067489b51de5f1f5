//! What a kind of receiver gives to the core: how one event is written, and how a flight of them is sent.
//!
//! A new kind is three things: an [`Encode`], a [`Sink`], and a line in `kinds::encoder` and `kinds::open`.

use std::{future::ready, pin::Pin};

use bytes::{BufMut as _, Bytes, BytesMut};

pub(crate) use crate::policy::delivery::{Answer, Item, Pause};

/// What is being waited for.
pub(crate) type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One event in the stream's shape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event<'a> {
    /// Its place in the journal.
    pub(crate) seq: u64,
    /// Its id, a UUID that sorts by time: what a receiver knows a second copy by.
    pub(crate) id: &'a str,
    /// When it happened, milliseconds since the Unix epoch.
    pub(crate) published_ms: u64,
    /// Such as `security.threat.detected`.
    pub(crate) event_type: &'a str,
    /// `DEBUG`, `INFO`, `WARN` or `ERROR`.
    pub(crate) severity: &'a str,
    /// The event, one JSON object without a line's end.
    pub(crate) json: &'a str,
}

/// One event as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) id: Box<str>,
    /// Milliseconds since the Unix epoch.
    pub(crate) published_ms: u64,
    /// What [`Encode::encode`] made of it.
    pub(crate) bytes: Bytes,
}

/// Writes events as a receiver takes them. Called where the journal is read, many at a time: no waiting, no secrets.
pub(crate) trait Encode: Send + Sync {
    /// Appends one event to `out`: what stands for it in a batch, without separators.
    ///
    /// # Errors
    /// Why it can never be sent (too long, …); it goes to the dead letters. What is in `out` then is cut off again.
    fn encode(&self, event: &Event<'_>, out: &mut Vec<u8>) -> Result<(), String>;
}

/// A receiver. Made anew after [`Answer::Broken`] and [`Answer::Paused`], so that secrets are read again and nothing of a
/// connection is left; kept after anything else.
pub(crate) trait Sink: Send {
    /// Sends a flight, all of it, in order. The core limits the time and drops the future when it is over.
    fn send<'a>(&'a mut self, flight: &'a [Item<Piece>]) -> Pending<'a, Answer>;

    /// Whether so much was handed over and not confirmed that nothing more should be for now.
    fn is_full(&self) -> bool {
        false
    }

    /// After [`Answer::Handed`]: what has become of it. Asked every now and then, also when nothing is sent.
    fn confirm(&mut self) -> Pending<'_, Confirmed> {
        Box::pin(ready(Confirmed::default()))
    }
}

/// What has become of what was handed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Confirmed {
    /// Everything up to this event has arrived.
    pub(crate) upto: Option<u64>,
    /// Why nothing more will be confirmed: what is left is sent again, to a new sink.
    pub(crate) lost: Option<String>,
}

/// The pieces of a flight as one body.
pub(crate) fn joined(before: &[u8], flight: &[Item<Piece>], between: &[u8], after: &[u8]) -> Bytes {
    let pieces = flight
        .iter()
        .map(|item| item.payload.bytes.len().saturating_add(between.len()));
    let length = pieces.fold(
        before.len().saturating_add(after.len()),
        usize::saturating_add,
    );
    let mut out = BytesMut::with_capacity(length);
    out.put_slice(before);
    for (index, item) in flight.iter().enumerate() {
        if index > 0 {
            out.put_slice(between);
        }
        out.put_slice(&item.payload.bytes);
    }
    out.put_slice(after);
    out.freeze()
}
