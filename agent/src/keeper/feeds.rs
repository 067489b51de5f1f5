//! The tables of feeds beside lists and decisions: taken over, merged, and ended.

use std::{collections::BTreeMap, sync::Arc};

use ipnet::IpNet;
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::{
    Keeper,
    commands::{Answer, data},
};
use crate::{
    api,
    config::Config,
    control::{Failure, FailureKind, report::FeedRows},
    datapath::netlink,
    feed, lapi, metrics,
    policy::{
        clock::Now,
        decision::{Decision, Kind},
        feed::{Changed, FeedTable, Refused, spared},
        prefix::host_network,
    },
};

/// What a feed says from now on.
#[derive(Debug)]
pub(crate) struct FeedUpdate {
    /// All of it.
    pub(crate) table: Arc<FeedTable>,
    /// Told when it is in force, or why it is not.
    pub(crate) done: oneshot::Sender<Result<Changed, String>>,
}

/// The tables by the feed's name.
#[derive(Debug, Default)]
pub(super) struct Feeds {
    held: BTreeMap<Arc<str>, Held>,
}

#[derive(Debug)]
struct Held {
    table: Arc<FeedTable>,
    /// Up to when ends have been looked after, seconds since the Unix epoch.
    swept_s: u32,
    /// The next end.
    next_end_s: Option<u32>,
}

/// Changed prefixes that are put one by one; more are one reconciliation.
const ONE_BY_ONE_MAX: usize = 1_024;

impl Feeds {
    /// Tables that were kept from an earlier run.
    pub(super) fn new(tables: Vec<Arc<FeedTable>>, now: Now) -> Self {
        let held = tables
            .into_iter()
            .map(|table| (Arc::clone(table.name()), Held::new(table, now)))
            .collect();
        Self { held }
    }

    /// The tables of the feeds that are configured, in that order.
    pub(super) fn tables<'a>(&'a self, config: &'a Config) -> impl Iterator<Item = &'a FeedTable> {
        config
            .feeds
            .iter()
            .filter_map(|feed| Some(&*self.held.get(feed.name.as_str())?.table))
    }

    /// What feeds say of exactly these prefixes now.
    pub(super) fn about(
        &self,
        config: &Config,
        prefixes: impl IntoIterator<Item = IpNet>,
        now: Now,
    ) -> Vec<Decision> {
        if self.held.is_empty() {
            return Vec::new();
        }
        prefixes
            .into_iter()
            .flat_map(|prefix| {
                self.tables(config)
                    .filter_map(move |table| table.decision(&prefix, now.wall_ms))
            })
            .collect()
    }

    /// Forgets the feeds that are not configured any more.
    pub(super) fn retain(&mut self, config: &Config) {
        self.held
            .retain(|name, _| config.feeds.iter().any(|feed| *feed.name == **name));
    }

    /// Prefixes whose entry has ended since the last time, by feed; `None` for too many to name.
    fn take_ended(&mut self, now_s: u32) -> Option<Vec<IpNet>> {
        let mut ended = Some(Vec::new());
        for held in self.held.values_mut() {
            if held.next_end_s.is_none_or(|end| end > now_s) {
                continue;
            }
            let found = held.table.ended(held.swept_s, now_s, ONE_BY_ONE_MAX);
            ended = ended.zip(found).map(|(mut all, found)| {
                all.extend(found);
                all
            });
            held.swept_s = now_s;
            held.next_end_s = held.table.next_end_s(now_s);
        }
        ended
    }
}

impl Held {
    fn new(table: Arc<FeedTable>, now: Now) -> Self {
        let now_s = now_s(now);
        Self {
            next_end_s: table.next_end_s(now_s),
            table,
            swept_s: now_s,
        }
    }
}

impl Keeper {
    /// What was last good when the agent ended, before anything else is in force.
    pub(super) fn restore_feeds(&mut self) {
        let spared = self.spared();
        let tables = feed::kept_tables(&self.config.state_dir, &self.config.feeds, &spared);
        self.feeds = Feeds::new(tables, self.clock.now());
    }

    /// From now on those who fetch are told what concerns them.
    pub(crate) fn command_feeds(&mut self, orders: feed::Orders) {
        self.fetching = Some(orders);
    }

    /// From now on the local API is told of reloads.
    pub(crate) fn command_lapi(&mut self, orders: lapi::Orders) {
        self.lapi = Some(orders);
    }

    /// What is to be fetched.
    pub(crate) fn feed_plan(&self) -> feed::Plan {
        feed::Plan {
            feeds: self.config.feeds.clone(),
            spared: self.spared().into(),
        }
    }

    /// Where those who fetch say how the feeds are.
    pub(crate) fn feed_board(&self) -> feed::Board {
        self.feed_board.clone()
    }

    /// After a reload: feeds that are gone are forgotten, the others are told.
    pub(super) fn plan_feeds(&mut self) {
        self.feeds.retain(&self.config);
        if let Some(orders) = &self.fetching {
            orders.plan(self.feed_plan());
        }
        if let Some(orders) = &self.lapi {
            orders.set(self.config.lapi.clone());
        }
        if let Some(orders) = &self.onlookers.metrics {
            orders.set(self.config.metrics.clone());
        }
    }

    pub(super) fn feed_rows(&self) -> FeedRows {
        FeedRows {
            feeds: self.feed_board.states(&self.config.feeds),
        }
    }

    pub(super) fn feed_row(&self, name: &str) -> Answer {
        match self
            .feed_rows()
            .feeds
            .into_iter()
            .find(|feed| feed.name == name)
        {
            Some(feed) => data(feed),
            None => Err(no_feed(name)),
        }
    }

    /// Those who fetch answer by themselves: the keeper never waits for them, since they wait for the keeper.
    pub(super) fn refresh_feed(&self, name: String, forced: bool, reply: oneshot::Sender<Answer>) {
        if !self.config.feeds.iter().any(|feed| feed.name == name) {
            drop(reply.send(Err(no_feed(&name))));
            return;
        }
        let Some(orders) = &self.fetching else {
            return;
        };
        let refresh = feed::Refresh {
            name,
            forced,
            reply,
        };
        if let Some(refresh) = orders.refresh(refresh) {
            let busy = Failure::new(FailureKind::Unavailable, "feeds are busy; ask again");
            drop(refresh.reply.send(Err(busy)));
        }
    }

    /// What does not work, for `status`.
    pub(super) fn feed_warnings(&self) -> Vec<String> {
        let states = self.feed_board.states(&self.config.feeds);
        let lapi = self.lapi.as_ref().and_then(lapi::Orders::problem);
        let metrics = self
            .onlookers
            .metrics
            .as_ref()
            .and_then(metrics::Orders::problem);
        states
            .into_iter()
            .filter_map(|state| Some(format!("feed \"{}\" {}", state.name, state.error?)))
            .chain(lapi)
            .chain(metrics)
            .chain(self.api.as_ref().and_then(api::Orders::problem))
            .collect()
    }

    /// Takes over what a feed says and puts the difference in force.
    pub(super) fn feed_updated(&mut self, update: FeedUpdate) {
        let FeedUpdate { table, done } = update;
        let outcome = self.take_table(table);
        if let Err(error) = &outcome {
            warn!("a feed could not be put in force: {error}");
        }
        // Whoever fetched it may have ended with a reload.
        drop(done.send(outcome));
    }

    fn take_table(&mut self, table: Arc<FeedTable>) -> Result<Changed, String> {
        let name = Arc::clone(table.name());
        if !self.config.feeds.iter().any(|feed| *feed.name == *name) {
            return Err("is not configured any more".to_owned());
        }
        let now = self.clock.now();
        let before = self
            .feeds
            .held
            .insert(name, Held::new(Arc::clone(&table), now));
        let old = before.map_or_else(
            || Arc::new(FeedTable::empty(table.name())),
            |held| held.table,
        );
        let changed = table.changed(&old, ONE_BY_ONE_MAX);
        if let Err(error) = self.enforce_changed(&changed) {
            let name = Arc::clone(old.name());
            self.feeds.held.insert(name, Held::new(old, now));
            let again = self.reconcile();
            if let Err(again) = again {
                warn!("a feed's former entries could not be restored: {again:#}");
            }
            return Err(format!("{error:#}"));
        }
        info!(
            feed = %table.name(),
            added = changed.added,
            removed = changed.removed,
            altered = changed.altered,
            "a feed is in force"
        );
        Ok(Changed {
            prefixes: Vec::new(),
            ..changed
        })
    }

    fn enforce_changed(&mut self, changed: &Changed) -> anyhow::Result<()> {
        if changed.is_complete() {
            return changed
                .prefixes
                .iter()
                .try_for_each(|prefix| self.refresh(*prefix));
        }
        self.reconcile().map(|_| ())
    }

    /// The kernel has stopped honouring ended entries already; this makes room and restores what they hid.
    pub(super) fn end_feed_entries(&mut self) {
        let ended = self.feeds.take_ended(now_s(self.clock.now()));
        let done = match ended {
            Some(prefixes) => prefixes
                .into_iter()
                .try_for_each(|prefix| self.refresh(prefix)),
            None => self.reconcile().map(|_| ()),
        };
        if let Err(error) = done {
            warn!("entries of feeds have ended and are still listed: {error:#}");
        }
    }

    /// What feeds say of these prefixes.
    pub(super) fn told(&self, prefixes: impl IntoIterator<Item = IpNet>) -> Vec<Decision> {
        self.feeds.about(&self.config, prefixes, self.clock.now())
    }

    /// Decisions about these prefixes, and what feeds were found to say.
    pub(super) fn against<'a>(
        &'a self,
        prefixes: impl Iterator<Item = IpNet>,
        told: &'a [Decision],
    ) -> Vec<&'a Decision> {
        prefixes.flat_map(|net| self.at(net)).chain(told).collect()
    }

    /// What no feed may touch.
    pub(super) fn spared(&self) -> Vec<(IpNet, Refused)> {
        let exempt = self
            .decisions
            .values()
            .filter(|decision| decision.kind == Kind::Exempt)
            .map(|decision| decision.prefix);
        // Without a list of addresses the zones still hold.
        let own = netlink::addresses().unwrap_or_default();
        spared(
            &self.config.zones,
            exempt,
            own.into_iter().map(host_network),
        )
    }
}

fn no_feed(name: &str) -> Failure {
    Failure::new(
        FailureKind::NotFound,
        format!("there is no feed \"{name}\"; `edgeward feed list` shows them"),
    )
}

fn now_s(now: Now) -> u32 {
    u32::try_from(now.wall_ms / 1_000).unwrap_or(u32::MAX)
}
