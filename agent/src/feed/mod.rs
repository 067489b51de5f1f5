//! Feeds: reputation from outside. Files and URLs, CrowdSec local APIs, TAXII servers and Okta System Logs are
//! read on a thread of their own; what they say becomes a table that the keeper merges with everything else.
//!
//! ```text
//! source ─▶ client, body (to disk, limited) ─▶ parse ─▶ gate ─▶ doubt ─▶ Work::Feed ─▶ keeper
//!                                                                  └─▶ cache (last good, on disk)
//! ```

mod board;
mod body;
mod cache;
mod client;
mod crowdsec;
mod okta;
pub(crate) mod parse;
mod round;
mod schedule;
mod task;
mod taxii;
mod whole;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use ipnet::IpNet;
use serde_json::Value;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};
use tracing::warn;

pub(crate) use self::board::Board;
pub use self::board::{BadPart, FeedState, Health};
use self::{cache::Mark, task::Task};
use crate::{
    clock::Clock,
    config::Feed,
    control::{EventFeed, Failure, FailureKind},
    keeper::Work,
    policy::feed::{Fact, FeedTable, Gate, Refused},
    threads::{Blocking, Duty, Thread},
};

/// Where feeds are kept, below the state directory.
pub(crate) const DIRECTORY: &str = "feeds";

/// What is to be fetched, and what none of it may touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) feeds: Vec<Feed>,
    pub(crate) spared: Arc<[(IpNet, Refused)]>,
}

/// What feeds need of the rest of the agent.
pub(crate) struct Wiring {
    pub(crate) work: mpsc::Sender<Work>,
    pub(crate) events: EventFeed,
    pub(crate) board: Board,
    pub(crate) clock: Clock,
}

/// How feeds are told what to do.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    plan: watch::Sender<Plan>,
    refresh: mpsc::Sender<Refresh>,
}

/// Somebody wants a feed looked at now.
#[derive(Debug)]
pub(crate) struct Refresh {
    pub(crate) name: String,
    pub(crate) forced: bool,
    pub(crate) reply: oneshot::Sender<Result<Value, Failure>>,
}

/// Feeds at work.
pub(crate) struct Feeds {
    orders: Orders,
    thread: Thread,
}

const DUTY: Duty = Duty {
    name: "feeds",
    called: "the thread of feeds",
    without: "feeds cannot be fetched",
};

/// Wishes that wait.
const REFRESHES_MAX: usize = 16;

impl Feeds {
    /// Begins to fetch.
    ///
    /// # Errors
    /// There can be no thread.
    pub(crate) fn start(state_dir: &Path, plan: Plan, wiring: Wiring) -> anyhow::Result<Self> {
        let wiring = task::Wiring {
            work: wiring.work,
            events: wiring.events,
            board: wiring.board,
            clock: wiring.clock,
            dir: state_dir.join(DIRECTORY),
        };
        let (plan, wanted) = watch::channel(plan);
        let (refresh, wishes) = mpsc::channel(REFRESHES_MAX);
        // A reader of a large feed is not waited for.
        let blocking = Blocking::Left {
            threads_max: READERS_MAX,
        };
        let thread = Thread::start(DUTY, blocking, async move |stopped| {
            stopped.ends(manage(wanted, wishes, wiring)).await;
        })?;
        Ok(Self {
            orders: Orders { plan, refresh },
            thread,
        })
    }

    pub(crate) fn orders(&self) -> Orders {
        self.orders.clone()
    }

    /// Ends fetching; what is in force stays.
    pub(crate) fn stop(self) {
        self.thread.stop();
    }
}

/// Feeds that are read and sorted at a time: each may need some tens of megabytes for that.
const READERS_MAX: usize = 4;

impl Orders {
    /// What is to be fetched from now on.
    pub(crate) fn plan(&self, plan: Plan) {
        self.plan.send_if_modified(|known| {
            let differs = *known != plan;
            *known = plan;
            differs
        });
    }

    /// Has a feed looked at; gives the wish back if too many wait.
    pub(crate) fn refresh(&self, refresh: Refresh) -> Option<Refresh> {
        let refused = self.refresh.try_send(refresh).err()?;
        Some(refused.into_inner())
    }
}

/// One feed's task.
struct Running {
    feed: Feed,
    orders: mpsc::Sender<task::Order>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn manage(
    mut wanted: watch::Receiver<Plan>,
    mut wishes: mpsc::Receiver<Refresh>,
    wiring: task::Wiring,
) {
    if let Err(error) = cache::prepare(&wiring.dir) {
        warn!(%error, "feeds cannot be kept in {}", wiring.dir.display());
    }
    let mut running: BTreeMap<String, Running> = BTreeMap::new();
    let mut spared: Arc<[(IpNet, Refused)]> = Arc::new([]);
    loop {
        let plan = wanted.borrow_and_update().clone();
        if plan.spared != spared {
            spared = Arc::clone(&plan.spared);
            for feed in running.values() {
                // A feed whose orders are full has looked away for long; the zones win in the verdict anyway.
                drop(
                    feed.orders
                        .try_send(task::Order::Spare(Arc::clone(&spared))),
                );
            }
        }
        running.retain(|_, known| plan.feeds.contains(&known.feed));
        wiring.board.retain(&plan.feeds);
        cache::sweep(&wiring.dir, &plan.feeds);
        for feed in &plan.feeds {
            running
                .entry(feed.name.clone())
                .or_insert_with(|| begin(feed, &spared, &wiring));
        }
        loop {
            tokio::select! {
                changed = wanted.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                Some(wish) = wishes.recv() => pass_on(wish, &running),
            }
        }
    }
}

fn begin(feed: &Feed, spared: &Arc<[(IpNet, Refused)]>, wiring: &task::Wiring) -> Running {
    let (orders, received) = mpsc::channel(task::ORDERS_MAX);
    let task = Task::new(feed.clone(), Arc::clone(spared), wiring.clone());
    Running {
        feed: feed.clone(),
        orders,
        task: tokio::spawn(task.run(received)),
    }
}

fn pass_on(wish: Refresh, running: &BTreeMap<String, Running>) {
    let Refresh {
        name,
        forced,
        reply,
    } = wish;
    let Some(feed) = running.get(&name) else {
        let gone = format!("the feed \"{name}\" is not configured any more");
        drop(reply.send(Err(Failure::new(FailureKind::NotFound, gone))));
        return;
    };
    let order = task::Order::Refresh { forced, reply };
    if let Err(error) = feed.orders.try_send(order)
        && let task::Order::Refresh { reply, .. } = error.into_inner()
    {
        let busy = format!("the feed \"{name}\" is busy; ask again");
        drop(reply.send(Err(Failure::new(FailureKind::Unavailable, busy))));
    }
}

/// What was last good, judged.
struct Good {
    table: Arc<FeedTable>,
    refused: Vec<(IpNet, Fact, Refused)>,
    mark: Mark,
    heard_ms: u64,
}

/// Reads back what was kept of a feed. What is damaged is told and fetched anew.
fn kept(dir: &Path, feed: &Feed, spared: &[(IpNet, Refused)]) -> Option<Good> {
    let kept = match cache::read(dir, feed) {
        Ok(kept) => kept?,
        Err(error) => {
            warn!(feed = %feed.name, %error, "what was kept of a feed cannot be used; it is fetched anew");
            return None;
        }
    };
    let gate = Gate::new(feed.limits, spared);
    let (table, refusals) = kept.draft.finish(&feed.name, &gate);
    Some(Good {
        table: Arc::new(table.with_until(kept.until_s, kept.heard_ms)),
        refused: refusals.entries,
        mark: kept.mark,
        heard_ms: kept.heard_ms,
    })
}

/// The tables that were kept from an earlier run, for the keeper's first reconciliation.
pub(crate) fn kept_tables(
    state_dir: &Path,
    feeds: &[Feed],
    spared: &[(IpNet, Refused)],
) -> Vec<Arc<FeedTable>> {
    let dir = state_dir.join(DIRECTORY);
    feeds
        .iter()
        .filter_map(|feed| kept(&dir, feed, spared))
        .map(|good| good.table)
        .collect()
}
