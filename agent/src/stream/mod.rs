//! Streams: the System Log on its way to where a team looks. The journal is the queue; a stream is a place in it.
//!
//! ```text
//! journal ─▶ fetch (read, shape, encode) ─▶ policy::delivery ─▶ sink ─▶ receiver
//!                                              └─▶ place (on disk), dead letters, board, events
//! ```
//!
//! All streams are on one thread without privileges. A receiver that hangs, refuses or answers garbage costs its own
//! stream time, and nobody else anything.

mod board;
mod cursor;
mod dead;
mod fetch;
pub(crate) mod http;
mod kinds;
mod manage;
mod place;
mod probe;
pub(crate) mod shape;
pub(crate) mod sink;
pub(crate) mod source;
mod task;
mod teller;

use std::{path::Path, sync::Arc};

use serde_json::Value;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

pub(crate) use self::board::Board;
pub use self::board::{StreamHealth, StreamState};
pub(crate) use self::kinds::{aws_profile, webhook_secret};
use self::source::Source;
use crate::{
    clock::Clock,
    config::Stream,
    control::{EventFeed, Failure},
    threads::{Blocking, Duty, Thread},
};

/// Where streams are kept, below the state directory.
pub(crate) const DIRECTORY: &str = "streams";

/// What is to be sent, and who said so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) streams: Vec<Stream>,
    pub(crate) actor: String,
}

/// What streams need of the rest of the agent.
pub(crate) struct Wiring {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) events: EventFeed,
    pub(crate) board: Board,
    pub(crate) clock: Clock,
}

/// How streams are told what to do.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    plan: watch::Sender<Plan>,
    wishes: mpsc::Sender<Wish>,
}

/// What somebody wants of one stream.
#[derive(Debug)]
pub(crate) struct Wish {
    /// Its name.
    pub(crate) name: String,
    /// Who.
    pub(crate) actor: String,
    pub(crate) what: What,
    pub(crate) reply: oneshot::Sender<Result<Value, Failure>>,
}

/// What can be wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// An event that is a test.
    Test,
    /// Everything since a moment (milliseconds since the Unix epoch) once more.
    Replay { since_ms: u64 },
}

/// Streams at work.
pub(crate) struct Streams {
    orders: Orders,
    thread: Thread,
}

const DUTY: Duty = Duty {
    name: "streams",
    called: "the thread of streams",
    without: "nothing can be streamed",
};

/// Wishes that wait.
const WISHES_MAX: usize = 16;
/// Threads for what blocks: some for each stream, so that a disk or a name server that hangs holds up nobody else's. They
/// are there only while they are needed.
const BLOCKING_MAX: usize = 4 * crate::config::STREAMS_MAX;
/// Streams that read and encode at a time: the rest of the host has work to do as well.
const READING_MAX: usize = 2;

impl Streams {
    /// Begins to send.
    ///
    /// # Errors
    /// There can be no thread.
    pub(crate) fn start(state_dir: &Path, plan: Plan, wiring: Wiring) -> anyhow::Result<Self> {
        let wiring = task::Wiring {
            source: wiring.source,
            events: wiring.events,
            board: wiring.board,
            clock: wiring.clock,
            dir: state_dir.join(DIRECTORY),
            reading: Arc::new(Semaphore::new(READING_MAX)),
        };
        let (plan, wanted) = watch::channel(plan);
        let (wishes, received) = mpsc::channel(WISHES_MAX);
        // What hangs is not waited for.
        let blocking = Blocking::Left {
            threads_max: BLOCKING_MAX,
        };
        let thread = Thread::start(DUTY, blocking, async move |stopped| {
            manage::manage(wanted, received, wiring, stopped).await;
        })?;
        Ok(Self {
            orders: Orders { plan, wishes },
            thread,
        })
    }

    pub(crate) fn orders(&self) -> Orders {
        self.orders.clone()
    }

    /// Ends sending; every stream's place is kept.
    pub(crate) fn stop(self) {
        self.thread.stop();
    }
}

impl Orders {
    /// What is to be sent from now on.
    pub(crate) fn plan(&self, plan: Plan) {
        self.plan.send_if_modified(|known| {
            let differs = known.streams != plan.streams;
            if differs {
                *known = plan;
            }
            differs
        });
    }

    /// Hands a wish on; gives it back if too many wait.
    pub(crate) fn wish(&self, wish: Wish) -> Option<Wish> {
        let refused = self.wishes.try_send(wish).err()?;
        Some(refused.into_inner())
    }
}

#[cfg(test)]
mod tests;
