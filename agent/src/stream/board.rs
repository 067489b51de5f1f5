//! What every stream is at, for `edgeward stream`, `status` and metrics.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::config::Stream;

/// How a stream is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamHealth {
    /// Nothing has been sent yet.
    #[default]
    New,
    /// What was sent last was taken.
    Ok,
    /// It is tried again, and again.
    Failing,
    /// Nothing will be taken until somebody changes something; it is tried now and then.
    Paused,
    /// The configuration has it off.
    Off,
}

/// One stream. Counts are since the agent's start unless they say otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamState {
    /// Its name.
    pub name: String,
    /// What it speaks.
    pub kind: String,
    /// The shape of its events.
    pub format: String,
    /// Where it goes, without a query.
    pub target: String,
    /// How it is.
    pub health: StreamHealth,
    /// What is wrong, if anything is.
    pub error: Option<String>,
    /// Failures in a row.
    pub failures: u32,
    /// When it is tried again, milliseconds since the Unix epoch.
    pub next: Option<u64>,
    /// Up to which event of the log everything is done, and kept so over a restart.
    pub settled: u64,
    /// Up to which event everything was handed over.
    pub handed: u64,
    /// Events of the log that are behind it.
    pub lag_events: u64,
    /// How long the oldest event that waits has waited, milliseconds.
    pub lag_ms: u64,
    /// Events that were delivered.
    pub delivered: u64,
    /// Bytes of them as they were sent.
    pub delivered_bytes: u64,
    /// Events that were passed over by the filter.
    pub filtered: u64,
    /// Batches that failed.
    pub failed_batches: u64,
    /// Dead letters, since the stream was made.
    pub dead: u64,
    /// Events that retention took before they were sent, since the stream was made.
    pub gap: u64,
    /// When something was last delivered, milliseconds since the Unix epoch.
    pub last_delivered: Option<u64>,
    /// When the oldest event that waits happened, as far as it has been read.
    #[serde(skip)]
    pub(super) waiting_since_ms: Option<u64>,
}

/// The states of all streams.
#[derive(Clone, Debug)]
pub(crate) struct Board {
    known: Arc<Mutex<BTreeMap<String, StreamState>>>,
    committed: watch::Receiver<u64>,
}

impl Board {
    /// Of streams of a journal.
    pub(crate) fn new(committed: watch::Receiver<u64>) -> Self {
        Self {
            known: Arc::default(),
            committed,
        }
    }

    /// What is known of the streams of a configuration, in that order.
    pub(crate) fn states(&self, streams: &[Stream], now_ms: u64) -> Vec<StreamState> {
        let committed = *self.committed.borrow();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        streams
            .iter()
            .map(|stream| {
                let state = known.get(&stream.name).cloned();
                let mut state = state.unwrap_or_else(|| blank(stream));
                // Reckoned now: a stream that hangs says nothing any more.
                state.lag_events = committed.saturating_sub(state.handed);
                let since = state.waiting_since_ms.filter(|_| state.lag_events > 0);
                state.lag_ms = since.map_or(0, |since| now_ms.saturating_sub(since));
                state
            })
            .collect()
    }

    /// Changes what is known of a stream.
    pub(super) fn change(&self, stream: &Stream, change: impl FnOnce(&mut StreamState)) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        change(
            known
                .entry(stream.name.clone())
                .or_insert_with(|| blank(stream)),
        );
    }

    /// A stream begins, or goes on with what its configuration says now.
    pub(super) fn begin(&self, stream: &Stream) {
        self.change(stream, |state| {
            let blank = blank(stream);
            *state = StreamState {
                kind: blank.kind,
                format: blank.format,
                target: blank.target,
                health: blank.health,
                error: None,
                failures: 0,
                next: None,
                ..std::mem::take(state)
            };
        });
    }

    pub(super) fn retain(&self, streams: &[Stream]) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|name, _| streams.iter().any(|stream| stream.name == *name));
    }
}

fn blank(stream: &Stream) -> StreamState {
    StreamState {
        name: stream.name.clone(),
        kind: stream.kind.name().to_owned(),
        format: stream.format.name().to_owned(),
        target: stream.target(),
        health: if stream.enabled {
            StreamHealth::New
        } else {
            StreamHealth::Off
        },
        ..StreamState::default()
    }
}
