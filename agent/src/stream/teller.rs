//! What a stream says about itself: to the board, to the log, and as events, each once.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{info, warn};

use super::board::{Board, StreamHealth, StreamState};
use crate::{clock::Clock, config::Stream, control::EventFeed, policy::delivery::Health};

/// Failures in a row before somebody is told: one busy answer is everyday life.
const FAILURES_TOLD: u32 = 3;
/// Dead letters are told at most once in this time: the event about one may be the next.
const DEAD_TOLD: Duration = Duration::from_secs(60);

/// One stream's voice.
pub(super) struct Teller {
    pub(super) stream: Stream,
    pub(super) board: Board,
    pub(super) events: EventFeed,
    pub(super) clock: Clock,
    told: Option<StreamHealth>,
    dead_untold: u64,
    dead_told: Option<Instant>,
}

impl Teller {
    pub(super) const fn new(stream: Stream, board: Board, events: EventFeed, clock: Clock) -> Self {
        Self {
            stream,
            board,
            events,
            clock,
            told: None,
            dead_untold: 0,
            dead_told: None,
        }
    }

    pub(super) fn show(&self, change: impl FnOnce(&mut StreamState)) {
        self.board.change(&self.stream, change);
    }

    /// How the stream is after an answer, and when it is tried again.
    pub(super) fn health(&mut self, health: &Health, failures: u32, wait: Duration) {
        let now_ms = self.clock.now().wall_ms;
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let next = (!wait.is_zero()).then(|| now_ms.saturating_add(wait_ms));
        let (word, error) = match health {
            Health::Fine => (StreamHealth::Ok, None),
            Health::Failing(what) => (StreamHealth::Failing, Some(what.clone())),
            Health::Paused(_, what) => (StreamHealth::Paused, Some(what.clone())),
        };
        self.show(|state| {
            state.health = word;
            state.error.clone_from(&error);
            state.failures = failures;
            state.next = next;
        });
        match (health, &self.told) {
            (Health::Fine, None) => {}
            (Health::Fine, Some(_)) => {
                self.told = None;
                info!(stream = %self.stream.name, "a stream is well again");
                self.announce("system.log_stream.recover", json!({}));
            }
            (Health::Failing(what), None) if failures >= FAILURES_TOLD => {
                self.ill(word, "system.log_stream.fail", what, failures, None);
            }
            (Health::Paused(why, what), told) if *told != Some(StreamHealth::Paused) => {
                let why = Some(json!(why));
                self.ill(word, "system.log_stream.pause", what, failures, why);
            }
            _ => {}
        }
    }

    fn ill(
        &mut self,
        word: StreamHealth,
        event: &str,
        what: &str,
        failures: u32,
        cause: Option<Value>,
    ) {
        self.told = Some(word);
        let (stream, target) = (&self.stream.name, self.stream.target());
        warn!(%stream, %target, "a stream {what}; its place is kept");
        self.announce(
            event,
            json!({ "why": what, "failures": failures, "cause": cause }),
        );
    }

    /// Events that will never be sent; told now or with the next ones.
    pub(super) fn dead(&mut self, count: u64, why: &str, total: u64) {
        self.show(|state| state.dead = total);
        self.dead_untold = self.dead_untold.saturating_add(count);
        if self.dead_told.is_some_and(|at| at.elapsed() < DEAD_TOLD) {
            return;
        }
        self.dead_told = Some(Instant::now());
        let count = std::mem::take(&mut self.dead_untold);
        warn!(stream = %self.stream.name, count, "events of a stream are dead letters: {why}");
        self.announce(
            "system.log_stream.dead_letter",
            json!({ "count": count, "why": why }),
        );
    }

    /// Events that were gone before they were sent.
    pub(super) fn gap(&self, count: u64, total: u64, why: &str) {
        self.show(|state| state.gap = total);
        warn!(stream = %self.stream.name, count, "a stream has a gap: {why}");
        self.announce(
            "system.log_stream.gap",
            json!({ "count": count, "why": why }),
        );
    }

    pub(super) fn announce(&self, event: &str, detail: Value) {
        announce(
            &self.events,
            self.clock,
            &self.stream.name,
            event,
            "edgeward",
            detail,
        );
    }
}

/// An event about a stream.
pub(super) fn announce(
    events: &EventFeed,
    clock: Clock,
    stream: &str,
    event: &str,
    actor: &str,
    mut detail: Value,
) {
    if let Some(detail) = detail.as_object_mut() {
        detail.retain(|_, value| !value.is_null());
        detail.insert("time".to_owned(), clock.now().wall_ms.into());
        detail.insert("event".to_owned(), event.into());
        detail.insert("actor".to_owned(), actor.into());
        detail.insert("stream".to_owned(), stream.into());
    }
    events.push(detail);
}
