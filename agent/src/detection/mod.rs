//! Detection at work: signals in, reputations out, and what was learned kept over restarts.
//!
//! One thread owns everything that detectors remember. Signals come to it through a bounded [`Intake`]; what it
//! finds goes to the keeper, which alone changes what is enforced. Every batch is written to a log before it is
//! counted, together with where its source has got to; from time to time the whole state is written down and the
//! log begins anew. An agent that was killed reads the state, counts the log again, and goes on where it was.

mod attacks;
mod core;
mod evidence;
mod intake;
mod journal;
mod people;
mod reading_up;
mod seen;
mod task;

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, anyhow};
use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot, watch};

use self::{core::Core, journal::Journal, task::Task};
pub(crate) use self::{
    intake::{BATCH_SIGNALS_MAX, Batch, CURSOR_BYTES_MAX, Intake, Position},
    task::Report,
};
use crate::{
    clock::Clock,
    config::Config,
    control::{EventFeed, Failure},
    geo::Databases,
    keeper::Work,
    policy::{
        attack,
        defence::{Services, Settings},
        names::Names,
        sign_in::{SignIn, UserPlace},
        signal::PseudonymKey,
        snapshot::Snapshot,
        suspects::Suspects,
    },
    random,
    threads::{Blocking, Duty, Thread},
};

/// What was learned, read back, before anything runs.
pub(crate) struct Opened {
    core: Core,
    journal: Journal,
    key: PseudonymKey,
    intake: Intake,
    batches: mpsc::Receiver<Batch>,
}

/// What detection needs of the rest of the agent.
pub(crate) struct Wiring {
    pub(crate) work: mpsc::Sender<Work>,
    pub(crate) snapshot: watch::Receiver<Arc<Snapshot>>,
    /// Users and user agents that requests are refused by.
    pub(crate) suspects: watch::Sender<Arc<Suspects>>,
    /// Sign-ins that were seen are told here.
    pub(crate) feed: EventFeed,
    pub(crate) clock: Clock,
    /// Whose an address is.
    pub(crate) geo: Databases,
}

/// Detection while it runs.
pub(crate) struct Detection {
    orders: Orders,
    thread: Thread,
}

const DUTY: Duty = Duty {
    name: "detection",
    called: "the thread of detection",
    without: "detection has ended",
};

/// What the keeper asks of detection, and what it is told.
#[derive(Clone)]
pub(crate) struct Orders {
    orders: mpsc::Sender<Order>,
    report: watch::Receiver<Arc<Report>>,
}

/// What an operator says about attacks.
#[derive(Debug)]
pub(crate) struct Said {
    /// About which service, by name; about all if absent.
    pub(crate) service: Option<String>,
    /// Under attack, or not.
    pub(crate) attacked: bool,
    /// For how long, ms.
    pub(crate) for_ms: u64,
    /// Who says so.
    pub(crate) actor: String,
    /// Who asked.
    pub(crate) reply: Answer,
}

/// Where an answer goes that detection gives by itself.
pub(crate) type Answer = oneshot::Sender<Result<serde_json::Value, Failure>>;

/// One order.
#[derive(Debug)]
pub(crate) enum Order {
    /// These are no attackers, says an operator: what is held against them is forgotten.
    Forget(Vec<IpNet>),
    /// The configuration was read again.
    Set(Box<Settings>),
    /// The same for the model of attacks: its settings, and the services by their place.
    Follow(Box<attack::Settings>, Vec<String>),
    /// An operator says that services are under attack, or are not.
    Attack(Box<Said>),
    /// How services stand.
    Attacks {
        /// Who asked.
        reply: Answer,
    },
    /// What block mode would have refused is told to whoever asked.
    Impact {
        /// How far back, ms.
        since_ms: u64,
        /// Prefixes at most.
        rows: usize,
        /// Who asked.
        reply: oneshot::Sender<Result<serde_json::Value, Failure>>,
    },
}

impl Opened {
    /// Reads what an earlier agent has learned.
    ///
    /// # Errors
    /// The state directory cannot be used. A damaged state is moved aside and told, and is no error.
    pub(crate) fn open(config: &Config, clock: Clock, names: Arc<Names>) -> anyhow::Result<Self> {
        let dir = config.state_dir.join(DIRECTORY);
        prepare(&dir).with_context(|| format!("the directory {}", dir.display()))?;
        let key = pseudonym_key(&dir.join(KEY_FILE))?.telling(names);
        let settings = settings(config);
        let seed = key.user(b"what falls into a sample").bits();
        let (mut journal, mut core) = Journal::open(&dir, settings, seed, clock.now().wall_ms)
            .with_context(|| format!("what detection has learned, in {}", dir.display()))?;
        if core.follow(config.attack, services(config)) {
            journal
                .checkpoint(&core)
                .context("what detection has learned")?;
        }
        let (intake, batches) = Intake::new();
        Ok(Self {
            core,
            journal,
            key,
            intake,
            batches,
        })
    }

    /// The secret under which names become pseudonyms; the same over restarts.
    pub(crate) fn key(&self) -> PseudonymKey {
        self.key.clone()
    }

    /// Where signals go.
    pub(crate) fn intake(&self) -> Intake {
        self.intake.clone()
    }

    /// Where each source had got to.
    pub(crate) const fn positions(&self) -> &BTreeMap<String, Vec<u8>> {
        self.core.positions()
    }

    /// Begins to detect, on a thread of its own.
    ///
    /// # Errors
    /// There can be no more threads.
    pub(crate) fn start(self, wiring: Wiring) -> anyhow::Result<Detection> {
        let (orders, ordered) = mpsc::channel(ORDERS_QUEUED_MAX);
        let (told, report) = watch::channel(Arc::default());
        // Its own end would keep the channel open after every source has gone.
        drop(self.intake);
        let task = Task::new(self.core, self.journal, wiring, told);
        let batches = self.batches;
        let thread = Thread::start(DUTY, Blocking::Never, async move |stopped| {
            task::run(task, batches, ordered, stopped).await;
        })?;
        Ok(Detection {
            orders: Orders { orders, report },
            thread,
        })
    }
}

impl Detection {
    /// How the keeper reaches it.
    pub(crate) fn orders(&self) -> Orders {
        self.orders.clone()
    }

    /// Counts what has come in, writes everything down and ends.
    pub(crate) fn stop(self) {
        self.thread.stop();
    }
}

impl Orders {
    /// Hands an order over; whether there was room.
    pub(crate) fn give(&self, order: Order) -> bool {
        self.hand(order).is_none()
    }

    /// Hands an order over; gives it back if there was no room.
    pub(crate) fn hand(&self, order: Order) -> Option<Order> {
        self.orders
            .try_send(order)
            .err()
            .map(mpsc::error::TrySendError::into_inner)
    }

    /// For `status`.
    pub(crate) fn report(&self) -> Arc<Report> {
        Arc::clone(&self.report.borrow())
    }
}

/// The services by their place.
pub(crate) fn services(config: &Config) -> Vec<String> {
    let services = config.services.iter();
    services.map(|service| service.name.clone()).collect()
}

/// What the configuration says of detection.
pub(crate) fn settings(config: &Config) -> Settings {
    let detection = config.detection;
    Settings {
        thresholds: detection.thresholds,
        capacity: detection.capacity,
        lifetimes: detection.lifetimes,
        block_score: config.reputation.block,
        limit_score: config.reputation.limit,
        sees_requests: sees_requests(config),
        learned: detection.learned,
    }
}

/// Services whose sign-ins are refused by user and user agent: those where the gateway knows both.
fn sees_requests(config: &Config) -> Services {
    let services = (0..).zip(&config.services);
    let seen = services.filter(|(_, service)| {
        let named = |one: &SignIn| one.user != UserPlace::Nowhere;
        service.gateway.is_some() && service.sign_ins.iter().any(named)
    });
    seen.fold(Services::NONE, |all, (index, _)| all.with(index))
}

fn prepare(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
}

/// Sixteen bytes, made once.
fn pseudonym_key(path: &PathBuf) -> anyhow::Result<PseudonymKey> {
    let read = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let (low, high) = (random::secret()?, random::secret()?);
            let bytes = [low.to_le_bytes(), high.to_le_bytes()].concat();
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
                .with_context(|| format!("{} cannot be made", path.display()))?;
            file.write_all(&bytes)
                .and_then(|()| file.sync_all())
                .with_context(|| format!("{} cannot be written", path.display()))?;
            bytes
        }
        Err(error) => {
            return Err(error).with_context(|| format!("{} cannot be read", path.display()));
        }
    };
    let (low, high) = read
        .split_first_chunk::<8>()
        .and_then(|(low, rest)| Some((low, <&[u8; 8]>::try_from(rest).ok()?)))
        .ok_or_else(|| {
            anyhow!(
                "{} is damaged (it should have 16 bytes): remove it, and users and user agents that were seen before \
                 are new ones",
                path.display()
            )
        })?;
    Ok(PseudonymKey::new(
        u64::from_le_bytes(*low),
        u64::from_le_bytes(*high),
    ))
}

/// Its directory in the state directory.
const DIRECTORY: &str = "detection";
const KEY_FILE: &str = "pseudonym.key";
/// Orders that wait.
const ORDERS_QUEUED_MAX: usize = 64;

#[cfg(test)]
mod tests;
