//! One feed at work: looks at its source in time, judges what it brings, keeps it and hands it to the keeper.

use std::{path::PathBuf, sync::Arc, time::Duration};

use ipnet::IpNet;
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};
use tracing::{info, warn};

use super::{
    board::{Board, Health},
    cache::{self, Mark},
    crowdsec::CrowdSec,
    okta,
    parse::Report,
    round::{Brought, Harvested, Round, Trouble, aside},
    schedule,
    taxii::Taxii,
    whole,
};
use crate::{
    clock::Clock,
    config::{
        Feed,
        feed::{FeedFormat, FeedSource},
    },
    control::{EventFeed, Failure, FailureKind},
    keeper::{FeedUpdate, Work},
    policy::feed::{Changed, Fact, FeedTable, Gate, Refused},
};

/// What a feed needs of the rest of the agent.
#[derive(Clone)]
pub(super) struct Wiring {
    pub(super) work: mpsc::Sender<Work>,
    pub(super) events: EventFeed,
    pub(super) board: Board,
    pub(super) clock: Clock,
    pub(super) dir: PathBuf,
}

/// What a feed is told while it runs.
#[derive(Debug)]
pub(super) enum Order {
    /// Look now.
    Refresh {
        /// All of it, and whatever it is: an empty or a much changed feed is taken over.
        forced: bool,
        reply: oneshot::Sender<Result<Value, Failure>>,
    },
    /// Other zones: judge again what is known.
    Spare(Arc<[(IpNet, Refused)]>),
}

/// Orders that wait for one feed.
pub(super) const ORDERS_MAX: usize = 8;

pub(super) struct Task {
    feed: Feed,
    spared: Arc<[(IpNet, Refused)]>,
    wiring: Wiring,
    source: Source,
    table: Arc<FeedTable>,
    refused: Arc<[(IpNet, Fact, Refused)]>,
    mark: Mark,
    failures: u32,
    chance: u64,
    /// What was told last, so that the same trouble is told once.
    told: Option<String>,
}

/// Sources that remember.
enum Source {
    Whole,
    CrowdSec(Box<CrowdSec>),
    Taxii(Box<Taxii>),
    Okta,
}

impl Task {
    pub(super) fn new(feed: Feed, spared: Arc<[(IpNet, Refused)]>, wiring: Wiring) -> Self {
        let source = match (&feed.format, &feed.source) {
            (FeedFormat::CrowdSec(_), _) => Source::CrowdSec(Box::default()),
            (FeedFormat::Taxii(_), FeedSource::Url(_)) => Source::Taxii(Box::default()),
            (FeedFormat::Okta, _) => Source::Okta,
            _ => Source::Whole,
        };
        Self {
            table: Arc::new(FeedTable::empty(&feed.name)),
            refused: Arc::new([]),
            mark: Mark::default(),
            failures: 0,
            // Differs between hosts and feeds, and need not be secret.
            chance: wiring.clock.now().boot_ns,
            told: None,
            feed,
            spared,
            wiring,
            source,
        }
    }

    /// Runs until it is dropped.
    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        self.wiring.board.begin(&self.feed);
        self.restore().await;
        let mut at = Instant::now();
        loop {
            let order = tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => Some(order),
                    None => return,
                },
                () = sleep_until(at) => None,
            };
            let wait = match order {
                None => self.look(false).await.0,
                Some(Order::Refresh { forced, reply }) => {
                    let (wait, outcome) = self.look(forced).await;
                    let outcome = outcome.map_err(|what| {
                        let what = format!("the feed \"{}\" {what}", self.feed.name);
                        Failure::new(FailureKind::Unavailable, what)
                    });
                    // Whoever asked may be gone.
                    drop(reply.send(outcome));
                    wait
                }
                Some(Order::Spare(spared)) => {
                    self.spared = spared;
                    self.judge_again().await;
                    continue;
                }
            };
            at = Instant::now() + wait;
            let next = self.wiring.clock.now().wall_ms;
            let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            self.wiring.board.change(&self.feed, |state| {
                state.next = Some(next.saturating_add(wait_ms));
            });
        }
    }

    /// What was kept from before, or nothing: either replaces what another configuration of the feed left in force.
    async fn restore(&mut self) {
        let (dir, feed, spared) = (
            self.wiring.dir.clone(),
            self.feed.clone(),
            Arc::clone(&self.spared),
        );
        let kept = aside(move || super::kept(&dir, &feed, &spared)).await;
        if let Ok(Some(good)) = kept {
            self.table = good.table;
            self.refused = good.refused.into();
            self.mark = good.mark;
            self.wiring.board.change(&self.feed, |state| {
                state.heard = Some(good.heard_ms);
            });
        }
        if let Err(error) = self.hand_over(Arc::clone(&self.table)).await {
            warn!(feed = %self.feed.name, "{error}");
        }
        self.show_table();
    }

    /// One look; how long to wait for the next, and what came of it.
    async fn look(&mut self, forced: bool) -> (Duration, Result<Value, String>) {
        let now_ms = self.wiring.clock.now().wall_ms;
        self.wiring
            .board
            .change(&self.feed, |state| state.tried = Some(now_ms));
        let brought = self.ask(now_ms, forced).await;
        let outcome = match brought {
            Ok(Brought::Unchanged { heard_ms }) => self.unchanged(heard_ms).await,
            Ok(Brought::Read(harvested)) => self.take(*harvested, forced).await,
            Err(trouble) => Err(trouble),
        };
        self.chance = self
            .chance
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(now_ms | 1);
        match outcome {
            Ok(said) => {
                self.well();
                (
                    schedule::regular(self.feed.interval, self.chance >> 16),
                    Ok(said),
                )
            }
            Err(trouble) => {
                self.failures = self.failures.saturating_add(1);
                let retry_after = match &trouble {
                    Trouble::Failed(failure) => failure.retry_after,
                    Trouble::Refused(_) => None,
                };
                // What is refused today is not better in ten seconds.
                let failures = match &trouble {
                    Trouble::Failed(_) => self.failures,
                    Trouble::Refused(_) => u32::MAX,
                };
                let what = self.ill(&trouble);
                let wait = schedule::after_failure(
                    self.feed.interval,
                    failures,
                    retry_after,
                    self.chance >> 16,
                );
                (wait, Err(what))
            }
        }
    }

    async fn ask(&mut self, now_ms: u64, forced: bool) -> Result<Brought, Trouble> {
        let round = Round {
            feed: &self.feed,
            table: &self.table,
            mark: &self.mark,
            scratch: cache::path(&self.wiring.dir, &self.feed.name, "part"),
            now_ms,
            forced,
        };
        let brought = match (&mut self.source, &self.feed.format, &self.feed.source) {
            (Source::CrowdSec(state), FeedFormat::CrowdSec(filters), FeedSource::Url(uri)) => {
                state.round(&round, uri, filters).await
            }
            (Source::Taxii(state), FeedFormat::Taxii(names), FeedSource::Url(uri)) => {
                state.round(&round, uri, names).await
            }
            (Source::Okta, _, FeedSource::Url(uri)) => okta::round(&round, uri).await,
            _ => whole::round(&round).await,
        };
        // Without a body there is nothing to take away.
        drop(std::fs::remove_file(&round.scratch));
        brought
    }

    async fn unchanged(&mut self, heard_ms: u64) -> Result<Value, Trouble> {
        self.wiring.board.change(&self.feed, |state| {
            state.unchanged = state.unchanged.saturating_add(1);
            state.heard = Some(heard_ms);
        });
        let until_s = self.until_s(heard_ms);
        if self.is_worth_renewing(until_s) {
            let table = Arc::new(self.table.with_until(until_s, heard_ms));
            self.put(
                table,
                Arc::clone(&self.refused),
                self.mark.clone(),
                heard_ms,
            )
            .await?;
        }
        Ok(json!({ "changed": false, "entries": self.table.len() }))
    }

    /// Entries end a lifetime after the feed was last heard of. Each renewal changes all of them in the kernel, so they
    /// are renewed when half of it is over, not with every look.
    fn is_worth_renewing(&self, until_s: u32) -> bool {
        let Some(lifetime) = self.feed.lifetime else {
            return until_s != self.table.until_s();
        };
        let half = u32::try_from(lifetime.as_secs() / 2).unwrap_or(u32::MAX);
        until_s.saturating_sub(self.table.until_s()) > half
    }

    fn until_s(&self, heard_ms: u64) -> u32 {
        let Some(lifetime) = self.feed.lifetime else {
            return 0;
        };
        let lifetime_ms = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
        super::parse::seconds(heard_ms.saturating_add(lifetime_ms))
    }

    /// Judges what was read, puts it in force and keeps it.
    async fn take(&mut self, harvested: Harvested, forced: bool) -> Result<Value, Trouble> {
        let Harvested {
            draft,
            report,
            mark,
            heard_ms,
            whole,
        } = harvested;
        self.wiring
            .board
            .change(&self.feed, |state| state.report(&report));
        let limits = self.feed.limits;
        let (name, spared) = (self.feed.name.clone(), Arc::clone(&self.spared));
        let until_s = self.until_s(heard_ms);
        let (table, refusals) = aside(move || {
            let (table, refusals) = draft.finish(&name, &Gate::new(limits, &spared));
            (table.with_until(until_s, heard_ms), refusals)
        })
        .await?;
        let listed = table.len().saturating_add(refusals.entries.len());
        if whole && !forced {
            self.doubt(listed, &report).map_err(Trouble::Refused)?;
        }
        let counts = refusals
            .counts
            .iter()
            .map(|(why, count)| (why.name().to_owned(), *count))
            .collect();
        let table = Arc::new(table);
        let changed = self
            .put(table, refusals.entries.into(), mark, heard_ms)
            .await?;
        self.wiring.board.change(&self.feed, |state| {
            state.fetched = state.fetched.saturating_add(1);
            state.heard = Some(heard_ms);
            state.refused = counts;
        });
        let mut said = json!({
            "changed": changed.total() > 0,
            "entries": self.table.len(),
            "added": changed.added,
            "removed": changed.removed,
            "altered": changed.altered,
            "refused": refusals.counts,
            "bad": report.bad,
        });
        if changed.total() > 0 {
            self.announce("feed.fetched", said.clone());
        }
        if let Some(said) = said.as_object_mut() {
            said.insert("bad_parts".to_owned(), json!(report.bad_kept));
        }
        Ok(said)
    }

    /// Why a refresh that came whole is not believed.
    fn doubt(&self, listed: usize, report: &Report) -> Result<(), String> {
        let accept = format!(
            "`edgeward feed refresh {} --force` takes it over all the same",
            self.feed.name
        );
        if listed == 0 && !self.feed.empty_allowed {
            return Err(format!(
                "is empty ({} lines or objects); {accept}",
                report.seen
            ));
        }
        let before = self.table.len().saturating_add(self.refused.len());
        let change = listed.abs_diff(before);
        let percent_max = usize::try_from(self.feed.change_percent_max).unwrap_or(usize::MAX);
        let is_much = change > before.saturating_mul(percent_max) / 100;
        if before > 0 && change > CHANGE_MAX_WITHOUT_DOUBT && is_much {
            let word = if listed > before { "grows" } else { "shrinks" };
            return Err(format!(
                "{word} from {before} to {listed} entries, more than {percent_max} % at once (change_percent_max); {accept}"
            ));
        }
        Ok(())
    }

    /// The same entries under other zones.
    async fn judge_again(&mut self) {
        let (table, refused) = (Arc::clone(&self.table), Arc::clone(&self.refused));
        let (limits, spared) = (self.feed.limits, Arc::clone(&self.spared));
        let judged = aside(move || table.judged(&refused, &Gate::new(limits, &spared))).await;
        let Ok((table, refusals)) = judged else {
            return;
        };
        let counts = refusals
            .counts
            .iter()
            .map(|(why, count)| (why.name().to_owned(), *count))
            .collect();
        self.refused = refusals.entries.into();
        self.wiring
            .board
            .change(&self.feed, |state| state.refused = counts);
        match self.hand_over(Arc::new(table)).await {
            Ok(_) => self.show_table(),
            Err(error) => warn!(feed = %self.feed.name, "{error}"),
        }
    }

    /// In force first, on disk second.
    async fn put(
        &mut self,
        table: Arc<FeedTable>,
        refused: Arc<[(IpNet, Fact, Refused)]>,
        mark: Mark,
        heard_ms: u64,
    ) -> Result<Changed, Trouble> {
        let changed = self
            .hand_over(table)
            .await
            .map_err(|what| Trouble::Refused(format!("could not be put in force: {what}")))?;
        self.refused = refused;
        self.mark = mark;
        self.show_table();
        let (dir, feed) = (self.wiring.dir.clone(), self.feed.clone());
        let (table, refused) = (Arc::clone(&self.table), Arc::clone(&self.refused));
        let mark = self.mark.clone();
        let kept =
            aside(move || cache::write(&dir, &feed, &table, &refused, &mark, heard_ms)).await;
        match kept {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                warn!(feed = %self.feed.name, %error, "a feed is in force and could not be kept on disk");
            }
            Err(failure) => warn!(feed = %self.feed.name, "{failure}"),
        }
        Ok(changed)
    }

    async fn hand_over(&mut self, table: Arc<FeedTable>) -> Result<Changed, String> {
        let (done, outcome) = oneshot::channel();
        let update = FeedUpdate {
            table: Arc::clone(&table),
            done,
        };
        let gone = |()| "the keeper is gone".to_owned();
        self.wiring
            .work
            .send(Work::Feed(update))
            .await
            .map_err(|_| gone(()))?;
        let changed = outcome.await.map_err(|_| gone(()))??;
        self.table = table;
        Ok(changed)
    }

    fn show_table(&self) {
        let entries = u64::try_from(self.table.len()).unwrap_or(u64::MAX);
        let until = match self.table.until_s() {
            0 => None,
            at => Some(u64::from(at) * 1_000),
        };
        self.wiring.board.change(&self.feed, |state| {
            state.entries = entries;
            state.until = until;
        });
    }

    fn well(&mut self) {
        let was_ill = self.told.take().is_some();
        let failures = std::mem::take(&mut self.failures);
        self.wiring.board.change(&self.feed, |state| {
            state.health = Health::Ok;
            state.error = None;
        });
        if was_ill {
            info!(feed = %self.feed.name, "a feed is well again");
            self.announce("feed.recovered", json!({ "failures": failures }));
        }
    }

    /// Says what is wrong, once until it changes.
    fn ill(&mut self, trouble: &Trouble) -> String {
        let (health, event, what) = match trouble {
            Trouble::Failed(failure) => (Health::Failing, "feed.failed", failure.what.clone()),
            Trouble::Refused(what) => (Health::Refused, "feed.refused", what.clone()),
        };
        self.wiring.board.change(&self.feed, |state| {
            state.health = health;
            state.error = Some(what.clone());
            match health {
                Health::Refused => state.rejected = state.rejected.saturating_add(1),
                _ => state.failed = state.failed.saturating_add(1),
            }
        });
        if self.told.as_ref() != Some(&what) {
            warn!(feed = %self.feed.name, source = %self.feed.source, "a feed {what}; what was last good stays");
            self.announce(
                event,
                json!({ "why": what, "failures": self.failures, "entries": self.table.len() }),
            );
            self.told = Some(what.clone());
        }
        what
    }

    fn announce(&self, event: &str, mut detail: Value) {
        if let Some(detail) = detail.as_object_mut() {
            detail.insert("time".to_owned(), self.wiring.clock.now().wall_ms.into());
            detail.insert("event".to_owned(), event.into());
            detail.insert("actor".to_owned(), "edgeward".into());
            detail.insert("feed".to_owned(), self.feed.name.as_str().into());
        }
        self.wiring.events.push(detail);
    }
}

/// Entries by which a small feed may change at once, whatever part of it they are.
const CHANGE_MAX_WITHOUT_DOUBT: usize = 20;
