//! One stream at work: reads ahead, sends one flight at a time, and keeps its place.
//!
//! What is slow happens elsewhere: the journal, encoding and files on threads for blocking work, the receiver in a future
//! with a time limit. This loop only ever waits for one of them to be done.

mod flight;
mod keeping;
mod reading;

use std::{path::PathBuf, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep_until},
};

pub(super) use self::flight::too_long;
use self::{
    flight::{Done, waited},
    keeping::joined,
    reading::fetched,
};
use super::{
    board::Board,
    fetch::{Fetched, Recipe},
    kinds,
    place::Place,
    sink::{Pending, Piece, Sink},
    source::Source,
    teller::{self, Teller},
};
use crate::{
    clock::Clock,
    config::Stream,
    control::{EventFeed, Failure, FailureKind},
    policy::delivery::{Delivery, Limits},
};

/// What all streams share.
#[derive(Clone)]
pub(super) struct Wiring {
    pub(super) source: Arc<dyn Source>,
    pub(super) events: EventFeed,
    pub(super) board: Board,
    pub(super) clock: Clock,
    /// Where places and dead letters are kept.
    pub(super) dir: PathBuf,
    /// So many streams read and encode at a time.
    pub(super) reading: Arc<Semaphore>,
}

/// What a stream is told.
#[derive(Debug)]
pub(super) enum Order {
    /// Sends everything since a moment again.
    Replay {
        since_ms: u64,
        actor: String,
        reply: oneshot::Sender<Result<Value, Failure>>,
    },
    /// Keeps its place and ends.
    Stop(oneshot::Sender<()>),
}

/// Orders that wait.
pub(super) const ORDERS_MAX: usize = 8;
/// The wait after the journal could not be read.
const UNREAD: Duration = Duration::from_secs(2);
/// The longest that nothing happens.
const IDLE: Duration = Duration::from_secs(3_600);
/// What an event takes, in bytes, before any has been read.
const EVENT_BYTES: usize = 1_024;

/// The state of one stream.
pub(super) struct Task {
    stream: Arc<Stream>,
    wiring: Wiring,
    recipe: Recipe,
    delivery: Delivery<Piece>,
    place: Place,
    teller: Teller,
    sink: Option<Box<dyn Sink>>,
    /// Nothing is sent before.
    send_at: Instant,
    /// Nothing is read before.
    read_at: Instant,
    /// Since when there is something to read.
    waiting: Option<Instant>,
    keep_at: Instant,
    confirm_at: Instant,
    event_bytes: usize,
    committed: watch::Receiver<u64>,
    fetching: Option<(u64, JoinHandle<Result<Fetched, String>>)>,
    busy: Option<Pending<'static, Done>>,
    keeping: Option<JoinHandle<std::io::Result<()>>>,
    chance: u64,
}

impl Task {
    pub(super) fn new(stream: &Stream, wiring: Wiring) -> Self {
        let now = Instant::now();
        let limits = Limits {
            events_max: stream.batch_events_max,
            bytes_max: stream.batch_bytes_max,
        };
        Self {
            recipe: Recipe {
                source: Arc::clone(&wiring.source),
                format: stream.format,
                filter: stream
                    .filter
                    .as_ref()
                    .map(|filter| Arc::new(filter.filter.clone())),
                encode: kinds::encoder(stream),
            },
            teller: Teller::new(
                stream.clone(),
                wiring.board.clone(),
                wiring.events.clone(),
                wiring.clock,
            ),
            stream: Arc::new(stream.clone()),
            delivery: Delivery::new(0, limits),
            place: Place::default(),
            sink: None,
            send_at: now,
            read_at: now,
            waiting: None,
            keep_at: now,
            confirm_at: now,
            event_bytes: EVENT_BYTES,
            committed: wiring.source.committed(),
            fetching: None,
            busy: None,
            keeping: None,
            chance: wiring.clock.now().boot_ns,
            wiring,
        }
    }

    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        self.wiring.board.begin(&self.stream);
        self.find_place().await;
        let mut journal_is_there = true;
        loop {
            let wake = self.step();
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(Order::Replay { since_ms, actor, reply }) => {
                        // Whoever asked may be gone.
                        drop(reply.send(self.replay(since_ms, &actor).await));
                    }
                    Some(Order::Stop(reply)) => {
                        self.stop().await;
                        let _ = reply.send(());
                        return;
                    }
                    None => return,
                },
                done = waited(&mut self.busy) => {
                    self.busy = None;
                    self.done(done).await;
                }
                (from, fetched) = fetched(&mut self.fetching) => {
                    self.fetching = None;
                    self.loaded(from, fetched).await;
                }
                kept = joined(&mut self.keeping) => {
                    self.keeping = None;
                    self.kept(kept);
                }
                changed = self.committed.changed(), if journal_is_there => {
                    journal_is_there = changed.is_ok();
                }
                () = sleep_until(wake) => {}
            }
        }
    }

    /// Begins what can be begun; when to look again if nothing else happens.
    fn step(&mut self) -> Instant {
        let now = Instant::now();
        let mut wake = now + IDLE;
        if self.stream.enabled {
            if self.busy.is_none() {
                self.begin(now, &mut wake);
            }
            if self.fetching.is_none() {
                self.read_ahead(now, &mut wake);
            }
        }
        if self.keeping.is_none() {
            self.keep(now, &mut wake);
        }
        wake
    }

    /// Goes back; what is on its way now is not waited for.
    async fn replay(&mut self, since_ms: u64, actor: &str) -> Result<Value, Failure> {
        let source = Arc::clone(&self.wiring.source);
        let seq = spawn_blocking(move || source.seq_at(since_ms)).await;
        let seq = seq
            .unwrap_or_else(|error| Err(error.to_string()))
            .map_err(|error| Failure::new(FailureKind::Unavailable, error))?;
        (self.busy, self.fetching, self.sink) = (None, None, None);
        let from = self.delivery.settled();
        let to = seq.saturating_sub(1);
        self.delivery.go_to(to);
        self.place.move_to(to);
        self.send_at = Instant::now();
        self.keep_at = Instant::now();
        self.settle();
        let committed = *self.committed.borrow();
        let said = json!({
            "stream": self.stream.name,
            "from": seq,
            "events": committed.saturating_sub(to),
        });
        let detail = json!({ "since": since_ms, "was": from, "from": seq });
        let (events, clock) = (&self.wiring.events, self.wiring.clock);
        let event = "system.log_stream.replay";
        teller::announce(events, clock, &self.stream.name, event, actor, detail);
        Ok(said)
    }
}
