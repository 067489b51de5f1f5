//! One stream at work: reads ahead, sends one flight at a time, and keeps its place.
//!
//! What is slow happens elsewhere: the journal, encoding and files on threads for blocking work, the receiver in a future
//! with a time limit. This loop only ever waits for one of them to be done.

use std::{path::PathBuf, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep_until, timeout},
};
use tracing::warn;

use super::{
    board::{Board, StreamHealth},
    cursor, dead,
    fetch::{Fetched, Recipe, fetch},
    kinds,
    place::{Found, Place},
    sink::{Answer, Confirmed, Item, Pause, Pending, Piece, Sink},
    source::Source,
    teller::Teller,
};
use crate::{
    clock::Clock,
    config::Stream,
    control::{EventFeed, Failure, FailureKind},
    policy::delivery::{Delivery, Health, Limits},
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
/// How often places are kept, and how often receivers are asked what has become of what they got.
const KEEP: Duration = Duration::from_secs(1);
const CONFIRM: Duration = Duration::from_millis(200);
/// The wait after the journal could not be read.
const UNREAD: Duration = Duration::from_secs(2);
/// The longest that nothing happens.
const IDLE: Duration = Duration::from_secs(3_600);
/// What an event takes, in bytes, before any has been read.
const EVENT_BYTES: usize = 1_024;

/// A flight or a question that is over.
struct Done {
    sink: Option<Box<dyn Sink>>,
    report: Report,
}

enum Report {
    Answer(Answer),
    Confirmed(Confirmed),
}

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

    /// A flight if one is due, or the question what has become of others.
    fn begin(&mut self, now: Instant, wake: &mut Instant) {
        if self.delivery.is_in_doubt()
            && let Some(sink) = self.sink.take()
        {
            if now >= self.confirm_at {
                self.confirm_at = now + CONFIRM;
                self.busy = Some(confirm(sink, self.stream.timeout));
                return;
            }
            self.sink = Some(sink);
            *wake = self.confirm_at.min(*wake);
        }
        if now < self.send_at {
            *wake = self.send_at.min(*wake);
            return;
        }
        let is_full = self.sink.as_ref().is_some_and(|sink| sink.is_full());
        if is_full && self.delivery.is_in_doubt() {
            // Asked for again above, until there is room.
            return;
        }
        let flight: Vec<Item<Piece>> = self.delivery.next().cloned().collect();
        if !flight.is_empty() {
            let sink = self.sink.take();
            self.busy = Some(send(
                Arc::clone(&self.stream),
                self.wiring.clock,
                sink,
                flight,
            ));
        }
    }

    /// Reads on if there is room and it is time: a batch is full, or its first event has waited long enough.
    fn read_ahead(&mut self, now: Instant, wake: &mut Instant) {
        let committed = *self.committed.borrow_and_update();
        let pending = committed.saturating_sub(self.delivery.read());
        if pending == 0 {
            self.waiting = None;
            return;
        }
        let (events_max, bytes_max) = (self.stream.batch_events_max, self.stream.batch_bytes_max);
        let (mut events, mut bytes) = (0_usize, 0_usize);
        for item in self.delivery.queue() {
            events = events.saturating_add(1);
            bytes = bytes.saturating_add(item.bytes);
        }
        if events >= events_max.saturating_mul(2) || bytes >= bytes_max.saturating_mul(2) {
            return;
        }
        if now < self.read_at {
            *wake = self.read_at.min(*wake);
            return;
        }
        let fitting = (bytes_max / self.event_bytes.max(1)).clamp(1, events_max);
        let since = *self.waiting.get_or_insert(now);
        let is_full = pending >= u64::try_from(fitting).unwrap_or(u64::MAX);
        let flush_at = since + self.stream.flush;
        if !is_full && now < flush_at {
            *wake = flush_at.min(*wake);
            return;
        }
        self.waiting = None;
        let (recipe, from) = (self.recipe.clone(), self.delivery.read());
        let reading = Arc::clone(&self.wiring.reading);
        self.fetching = Some((
            from,
            tokio::spawn(async move {
                let turn = reading.acquire_owned().await;
                let work = spawn_blocking(move || {
                    let _turn = turn;
                    fetch(&recipe, from, fitting, bytes_max)
                });
                work.await.unwrap_or_else(|error| Err(error.to_string()))
            }),
        ));
    }

    async fn loaded(&mut self, from: u64, fetched: Result<Fetched, String>) {
        let fetched = match fetched {
            Ok(fetched) if from == self.delivery.read() => fetched,
            // The stream has gone somewhere else meanwhile.
            Ok(_) => return,
            Err(error) => {
                warn!(stream = %self.stream.name, "the log cannot be read: {error}");
                self.read_at = Instant::now() + UNREAD;
                self.teller
                    .show(|state| state.error = Some(format!("cannot read the log: {error}")));
                return;
            }
        };
        let Fetched {
            first,
            read,
            items,
            filtered,
            unfit,
        } = fetched;
        let bytes = items
            .iter()
            .fold(0_usize, |sum, item| sum.saturating_add(item.bytes));
        if let Some(average) = bytes.checked_div(items.len()) {
            self.event_bytes = average.max(1);
        }
        let upto = read.as_ref().map_or(from, |mark| mark.seq);
        let gap = self.delivery.load(first, items, upto);
        if gap > 0 {
            self.place.count(0, gap);
            let total = self.place.cursor.gap;
            self.teller.gap(
                gap,
                total,
                "events were no longer kept when they were to be sent",
            );
        }
        if let Some(mark) = read {
            self.place.read(mark);
        } else if gap == 0 {
            // Nothing, though there should have been something: not asked again at once.
            self.read_at = Instant::now() + UNREAD;
        }
        if filtered > 0 {
            self.teller
                .show(|state| state.filtered = state.filtered.saturating_add(filtered));
        }
        self.bury(unfit).await;
        self.settle();
    }

    async fn done(&mut self, done: Done) {
        let Done { sink, report } = done;
        self.sink = sink;
        let answer = match report {
            Report::Answer(answer) => answer,
            Report::Confirmed(confirmed) => {
                if let Some(seq) = confirmed.upto {
                    self.delivery.confirmed(seq);
                }
                match confirmed.lost {
                    None => {
                        let health = self.delivery.health().clone();
                        if health == Health::Fine {
                            self.teller.health(&health, 0, Duration::ZERO);
                        }
                        return self.settle();
                    }
                    // Nothing may be left of the flight that was not begun.
                    Some(what) => Answer::Broken { what },
                }
            }
        };
        self.count(&answer);
        if let Answer::AcceptedBut { rejected, what } = &answer {
            // Nobody knows which: there is nothing to put among the dead letters, only their number.
            self.place.count(*rejected, 0);
            self.teller.dead(*rejected, what, self.place.cursor.dead);
        }
        self.chance = self
            .chance
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(self.wiring.clock.now().wall_ms | 1);
        let step = self.delivery.answered(answer, self.chance);
        if step.broken {
            self.sink = None;
        }
        self.send_at = Instant::now() + step.wait;
        let health: Health = self.delivery.health().clone();
        self.teller
            .health(&health, self.delivery.failures(), step.wait);
        self.bury(step.dead).await;
        self.settle();
    }

    /// What an answer says that has arrived.
    fn count(&self, answer: &Answer) {
        let flight: Vec<usize> = self.delivery.flight().map(|item| item.bytes).collect();
        let taken = |index: usize| match answer {
            Answer::Accepted | Answer::AcceptedBut { .. } | Answer::Handed => true,
            Answer::Partly { failed, .. } => !failed.contains(&index),
            Answer::Poison {
                index: bad,
                earlier_taken,
                ..
            } => *earlier_taken && index < *bad,
            _ => false,
        };
        let (mut events, mut bytes) = (0_u64, 0_u64);
        for (_, length) in flight.iter().enumerate().filter(|(index, _)| taken(*index)) {
            events = events.saturating_add(1);
            bytes = bytes.saturating_add(u64::try_from(*length).unwrap_or(u64::MAX));
        }
        if let Answer::AcceptedBut { rejected, .. } = answer {
            events = events.saturating_sub(*rejected);
        }
        if !matches!(
            answer,
            Answer::Accepted | Answer::AcceptedBut { .. } | Answer::Handed
        ) {
            self.teller
                .show(|state| state.failed_batches = state.failed_batches.saturating_add(1));
        }
        if events == 0 {
            return;
        }
        let now_ms = self.wiring.clock.now().wall_ms;
        self.teller.show(|state| {
            state.delivered = state.delivered.saturating_add(events);
            state.delivered_bytes = state.delivered_bytes.saturating_add(bytes);
            state.last_delivered = Some(now_ms);
        });
    }

    /// Keeps dead letters, before anything says that they are done.
    async fn bury(&mut self, dead: Vec<(Item<Piece>, String)>) {
        let Some((_, why)) = dead.first() else {
            return;
        };
        let (why, count) = (why.clone(), u64::try_from(dead.len()).unwrap_or(u64::MAX));
        let (dir, name) = (self.wiring.dir.clone(), self.stream.name.clone());
        let now_ms = self.wiring.clock.now().wall_ms;
        let kept = spawn_blocking(move || dead::append(&dir, &name, now_ms, &dead)).await;
        if let Ok(Err(error)) = kept {
            warn!(stream = %self.stream.name, %error, "dead letters are counted and could not be kept");
        }
        self.place.count(count, 0);
        self.teller.dead(count, &why, self.place.cursor.dead);
    }

    /// Shows where the stream is.
    fn settle(&mut self) {
        self.place.settle(self.delivery.settled());
        let settled = self.place.cursor.settled;
        let handed = self.delivery.handed_to();
        let since = self
            .delivery
            .queue()
            .next()
            .map(|item| item.payload.published_ms);
        self.teller.show(|state| {
            state.settled = settled;
            state.handed = handed;
            state.waiting_since_ms = since;
        });
    }

    fn keep(&mut self, now: Instant, wake: &mut Instant) {
        if now < self.keep_at {
            *wake = self.keep_at.min(*wake);
            return;
        }
        let Some(kept) = self.place.take_changed() else {
            return;
        };
        self.keep_at = now + KEEP;
        let dir = self.wiring.dir.clone();
        self.keeping = Some(spawn_blocking(move || cursor::write(&dir, &kept)));
    }

    fn kept(&mut self, kept: std::io::Result<()>) {
        if let Err(error) = kept {
            warn!(stream = %self.stream.name, %error, "the place of a stream could not be kept; it is tried again");
            self.place.keep_again();
        }
    }

    async fn find_place(&mut self) {
        loop {
            let (dir, stream) = (self.wiring.dir.clone(), Arc::clone(&self.stream));
            let source = Arc::clone(&self.wiring.source);
            let found = spawn_blocking(move || Place::find(&dir, &stream, &*source)).await;
            match found.unwrap_or_else(|error| Err(error.to_string())) {
                Ok((place, found)) => {
                    self.delivery.go_to(place.cursor.settled);
                    self.place = place;
                    if let Found::Lost(why) = found {
                        let total = self.place.cursor.gap;
                        self.teller.gap(0, total, &why);
                    }
                    break;
                }
                Err(error) => {
                    warn!(stream = %self.stream.name, "the place of a stream cannot be looked up: {error}");
                    tokio::time::sleep(UNREAD).await;
                }
            }
        }
        let (dead, gap) = (self.place.cursor.dead, self.place.cursor.gap);
        self.teller
            .show(|state| (state.dead, state.gap) = (dead, gap));
        self.settle();
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
        super::teller::announce(events, clock, &self.stream.name, event, actor, detail);
        Ok(said)
    }

    async fn stop(mut self) {
        self.busy = None;
        if let Some(keeping) = self.keeping.take() {
            drop(keeping.await);
        }
        if let Some(kept) = self.place.take_changed() {
            let dir = self.wiring.dir.clone();
            let written = spawn_blocking(move || cursor::write(&dir, &kept)).await;
            if let Ok(Err(error)) = written {
                warn!(stream = %self.stream.name, %error, "the place of a stream could not be kept");
            }
        }
        self.teller.show(|state| {
            if !matches!(state.health, StreamHealth::Off) {
                state.health = StreamHealth::New;
            }
        });
    }
}

/// Sends a flight, through a new sink if there is none, within the stream's time.
fn send(
    stream: Arc<Stream>,
    clock: Clock,
    sink: Option<Box<dyn Sink>>,
    flight: Vec<Item<Piece>>,
) -> Pending<'static, Done> {
    Box::pin(async move {
        let mut sink = match sink {
            Some(sink) => sink,
            None => {
                let settings = Arc::clone(&stream);
                let opened = spawn_blocking(move || kinds::open(&settings, clock)).await;
                match opened.unwrap_or_else(|error| Err(error.to_string())) {
                    Ok(sink) => sink,
                    Err(what) => return Done::unusable(what),
                }
            }
        };
        let answer = timeout(stream.timeout, sink.send(&flight)).await;
        let answer = answer.unwrap_or_else(|_| Answer::Broken {
            what: too_long(stream.timeout),
        });
        Done {
            sink: Some(sink),
            report: Report::Answer(answer),
        }
    })
}

fn confirm(mut sink: Box<dyn Sink>, limit: Duration) -> Pending<'static, Done> {
    Box::pin(async move {
        let confirmed = timeout(limit, sink.confirm()).await;
        let confirmed = confirmed.unwrap_or_else(|_| Confirmed {
            upto: None,
            lost: Some(too_long(limit)),
        });
        Done {
            sink: Some(sink),
            report: Report::Confirmed(confirmed),
        }
    })
}

pub(super) fn too_long(limit: Duration) -> String {
    let limit = crate::config::duration::format(limit);
    format!("takes longer than {limit} (timeout)")
}

impl Done {
    const fn unusable(what: String) -> Self {
        Self {
            sink: None,
            report: Report::Answer(Answer::Paused {
                why: Pause::Unusable,
                what,
                after: None,
            }),
        }
    }
}

/// Waits for what is under way, or for ever.
async fn waited(busy: &mut Option<Pending<'static, Done>>) -> Done {
    match busy {
        Some(busy) => busy.await,
        None => std::future::pending().await,
    }
}

async fn joined<T>(task: &mut Option<JoinHandle<std::io::Result<T>>>) -> std::io::Result<T> {
    match task {
        Some(task) => task
            .await
            .unwrap_or_else(|error| Err(std::io::Error::other(error))),
        None => std::future::pending().await,
    }
}

async fn fetched(
    task: &mut Option<(u64, JoinHandle<Result<Fetched, String>>)>,
) -> (u64, Result<Fetched, String>) {
    match task {
        Some((from, task)) => {
            let fetched = task.await.unwrap_or_else(|error| Err(error.to_string()));
            (*from, fetched)
        }
        None => std::future::pending().await,
    }
}
