//! Looks at the set-up every minute, and when somebody asks, on a thread of its own without capabilities: what the keeper
//! knows is asked for, what lies in files is looked at here, and `policy::posture` says what is wrong. The keeper never
//! waits for it. Reports that take reading are made here too.

mod evidence;
mod looked;
pub(crate) mod reports;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{MissedTickBehavior, interval, timeout},
};
use tracing::warn;

use crate::{
    clock::Clock,
    config::Certificate,
    control::{EventFeed, Failure, FailureKind, ReportKind},
    detection,
    forwarders::Forwarders,
    geo::Databases,
    keeper::Work,
    policy::{
        impact::ImpactReport,
        posture::{Dismissals, Facts, Forwarder, Posture, State},
    },
    threads::{Blocking, Duty, Stopped, Thread},
};

/// Where an answer goes.
pub(crate) type Answer = oneshot::Sender<Result<Value, Failure>>;

/// What the keeper tells of how things are.
#[derive(Debug)]
pub(crate) struct Told {
    /// As far as the keeper knows them.
    pub(crate) facts: Facts,
    pub(crate) dismissals: Dismissals,
    /// Certificates that are to be looked at.
    pub(crate) certificates: Vec<Certificate>,
    /// Files that others should not be able to change or to read.
    pub(crate) files: Vec<Watched>,
    /// Tokens of the API: name, file, and whether it may do everything.
    pub(crate) tokens: Vec<(String, PathBuf, bool)>,
}

/// A file and what others may do with it at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Watched {
    pub(crate) path: PathBuf,
    /// Bits of the mode that must not be set.
    pub(crate) forbidden: u32,
}

/// What is asked of it.
#[derive(Debug)]
pub(crate) enum Order {
    /// How the set-up is.
    Look(Answer),
    /// A report.
    Report {
        what: ReportKind,
        /// How far back, ms.
        since_ms: u64,
        /// Rows at most.
        rows: usize,
        reply: Answer,
    },
}

/// What it needs of the rest of the agent.
pub(crate) struct Wiring {
    pub(crate) work: mpsc::Sender<Work>,
    pub(crate) feed: EventFeed,
    pub(crate) forwarders: Forwarders,
    pub(crate) detection: detection::Orders,
    pub(crate) geo: Databases,
    pub(crate) state_dir: PathBuf,
    pub(crate) clock: Clock,
    /// Says that the agent ends: whoever is reading stops.
    pub(crate) stopping: Arc<AtomicBool>,
}

impl Wiring {
    fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }
}

/// The thread at work.
pub(crate) struct Health {
    orders: Orders,
    stopping: Arc<AtomicBool>,
    thread: Thread,
}

const DUTY: Duty = Duty {
    name: "health",
    called: "the thread that looks at the set-up",
    without: "nobody looks at the set-up",
};

/// How the keeper reaches it.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    orders: mpsc::Sender<Order>,
    latest: watch::Receiver<Arc<Posture>>,
}

impl Health {
    /// Begins to look.
    ///
    /// # Errors
    /// There can be no thread.
    pub(crate) fn start(wiring: Wiring) -> anyhow::Result<Self> {
        let (orders, ordered) = mpsc::channel(ORDERS_QUEUED_MAX);
        let (told, latest) = watch::channel(Arc::default());
        wiring.forwarders.load(&wiring.state_dir);
        let stopping = Arc::clone(&wiring.stopping);
        let thread = Thread::start(DUTY, Blocking::Never, async move |stopped| {
            Task { wiring, told }.run(ordered, stopped).await;
        })?;
        Ok(Self {
            orders: Orders { orders, latest },
            stopping,
            thread,
        })
    }

    pub(crate) fn orders(&self) -> Orders {
        self.orders.clone()
    }

    pub(crate) fn stop(self) {
        self.stopping.store(true, Relaxed);
        self.thread.stop();
    }
}

impl Orders {
    /// Hands an order over; one that finds no room is answered.
    pub(crate) fn give(&self, order: Order) {
        let Err(refused) = self.orders.try_send(order) else {
            return;
        };
        let (Order::Look(reply) | Order::Report { reply, .. }) = refused.into_inner();
        // Whoever asked may be gone.
        drop(reply.send(Err(busy())));
    }

    /// What was found last.
    pub(crate) fn latest(&self) -> Arc<Posture> {
        Arc::clone(&self.latest.borrow())
    }
}

struct Task {
    wiring: Wiring,
    told: watch::Sender<Arc<Posture>>,
}

impl Task {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>, mut stopped: Stopped) {
        let mut look = interval(EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // What is not so yet right after the start is no news.
        look.reset_after(FIRST);
        loop {
            tokio::select! {
                () = &mut stopped => break,
                order = orders.recv() => match order {
                    Some(order) => self.answer(order).await,
                    None => break,
                },
                _ = look.tick() => {
                    if let Err(error) = self.look(false).await {
                        warn!("the set-up was not looked at: {}", error.message);
                    }
                    self.save();
                }
            }
        }
        self.save();
    }

    fn save(&self) {
        if let Err(error) = self.wiring.forwarders.save(&self.wiring.state_dir) {
            warn!(%error, "who forwards requests could not be written down");
        }
    }

    async fn answer(&mut self, order: Order) {
        let (reply, answer) = match order {
            Order::Look(reply) => {
                let found = self.look(true).await;
                (reply, found.map(|posture| json!(*posture)))
            }
            Order::Report {
                what,
                since_ms,
                rows,
                reply,
            } => {
                let now_ms = self.wiring.clock.now().wall_ms;
                let asked = reports::Asked {
                    since_ms: now_ms.saturating_sub(since_ms),
                    now_ms,
                    rows,
                };
                (reply, reports::make(what, &asked, &self.wiring))
            }
        };
        // Whoever asked may be gone.
        drop(reply.send(answer));
    }

    /// Looks at everything, tells what has changed, and remembers it.
    async fn look(&mut self, asked: bool) -> Result<Arc<Posture>, Failure> {
        let (reply, answer) = oneshot::channel();
        let work = Work::Facts(reply, asked);
        let sent = timeout(PATIENCE, self.wiring.work.send(work)).await;
        if !matches!(sent, Ok(Ok(()))) {
            return Err(busy());
        }
        let told = timeout(PATIENCE, answer).await;
        let Ok(Ok(mut told)) = told else {
            return Err(busy());
        };
        told.facts.block_mode = self.block_mode().await;
        told.facts.forwarders = self.forwarders();
        told.facts.certificates = looked::certificates(&told.certificates);
        told.facts.open_files = looked::files(&told.files);
        told.facts.tokens = looked::tokens(&told.tokens, told.facts.now_ms);
        told.facts.clock_synchronised = crate::datapath::clock_synchronised();
        let posture = Arc::new(Posture::of(&told.facts, &told.dismissals));
        self.tell(&posture, told.facts.now_ms);
        self.told.send_replace(Arc::clone(&posture));
        Ok(posture)
    }

    fn tell(&mut self, posture: &Posture, now_ms: u64) {
        let before = Arc::clone(&self.told.borrow());
        for (task, stood) in posture.changes(&before) {
            self.wiring.feed.push(json!({
                "event": "system.posture.update",
                "time": now_ms,
                "actor": "edgeward",
                "task": task.id,
                "severity": task.severity,
                "from": stood.map(State::name),
                "to": task.state.name(),
                "why": if task.evidence.is_empty() { &task.title } else { &task.evidence },
                "score": posture.score,
            }));
        }
    }

    /// What detection says of block mode; nothing while it is busy.
    async fn block_mode(&self) -> Option<String> {
        let (reply, answer) = oneshot::channel();
        let order = detection::Order::Impact {
            since_ms: IMPACT_MS,
            rows: 0,
            reply,
        };
        if !self.wiring.detection.give(order) {
            return None;
        }
        let report = timeout(PATIENCE, answer).await.ok()?.ok()?.ok()?;
        let report: ImpactReport = serde_json::from_value(report).ok()?;
        Some(report.block_mode)
    }

    fn forwarders(&self) -> Vec<Forwarder> {
        let now_ms = self.wiring.clock.now().wall_ms;
        let since = now_ms.saturating_sub(FORWARDED_MS);
        let (found, _) = self.wiring.forwarders.since(since);
        let found = found.into_iter().map(|one| Forwarder {
            address: one.address,
            trusted: one.trusted,
            requests: one.counts.requests,
            sign_ins: one.counts.sign_ins,
            no_header: one.counts.no_header,
        });
        found.collect()
    }
}

fn busy() -> Failure {
    Failure::new(FailureKind::Unavailable, "the agent is busy; ask again")
}

/// Orders that wait.
const ORDERS_QUEUED_MAX: usize = 16;
/// Between two looks.
const EVERY: Duration = Duration::from_secs(60);
/// Before the first one.
const FIRST: Duration = Duration::from_secs(20);
/// How long the keeper and detection are waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// How far back the impact of block mode is looked at.
const IMPACT_MS: u64 = 7 * 86_400_000;
/// How far back it is looked at who forwards.
const FORWARDED_MS: u64 = 7 * 86_400_000;
