//! The keeper: the one owner of configuration, decisions, store and data path.
//!
//! It runs on a thread of its own, takes commands from a bounded channel and does one at a time, so
//! there is nothing to lock. What is enforced comes first, what is remembered second, the answer last:
//! an acknowledged change is both in force and on disk.

mod attack;
mod changed;
mod commands;
mod decisions;
mod feeds;
mod force;
mod guard;
mod health;
mod kernel_events;
mod made;
mod measured;
mod published;
mod report;
mod settings;
mod streams;
mod timers;
mod verify;
mod wanted;
mod work;
mod zones;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ipnet::IpNet;
use serde_json::json;
use tokio::sync::watch;
use tracing::{info, warn};

pub(crate) use self::{
    attack::Attacked,
    feeds::FeedUpdate,
    kernel_events::{EventContext, forward},
    work::{Detected, WORK_QUEUED_MAX, Work},
};
use self::{feeds::Feeds, made::Made, measured::Onlookers, published::Published};
use crate::{
    api,
    clock::Clock,
    config::{Config, Interfaces},
    control::{EventFeed, roles::Roles},
    datapath::{Datapath, EventRing, Sizes},
    deferred::{self, Deferred},
    detection::Orders,
    feed,
    gate::Gate,
    geo, lapi,
    origins::Origins,
    policy::{
        classes::Classes,
        decision::{Decision, Key, Kind, Origin},
        listing::Evicted,
        snapshot::Snapshot,
    },
    random,
    signal::{outcomes::Outcomes, sources::Sources},
    store::{MadeZone, ModeOrigin, ModeState, Store},
};

/// Everything the agent decides with.
pub(crate) struct Keeper {
    /// Zones that were made stand behind the configuration's own.
    config: Config,
    made: Made,
    /// From the command line; beats the configuration's, also after a reload.
    interfaces: Option<Interfaces>,
    store: Store,
    decisions: BTreeMap<Key, Decision>,
    /// Ends of decisions, so that the sweep looks only at what is due.
    expiries: BTreeSet<(u64, Key)>,
    classes: Classes,
    datapath: Datapath,
    mode: ModeState,
    clock: Clock,
    started_ms: u64,
    feed: EventFeed,
    roles: watch::Sender<Roles>,
    context: watch::Sender<EventContext>,
    published: Published,
    gate: Gate,
    origins: Origins,
    deferred: Deferred,
    /// What feeds say.
    feeds: Feeds,
    /// How the feeds are.
    feed_board: feed::Board,
    /// How those who fetch are reached; absent until they run.
    fetching: Option<feed::Orders>,
    /// How the local API for bouncers is reached; absent until it runs.
    lapi: Option<lapi::Orders>,
    /// How streams are reached; absent until they run.
    streams: Option<streams::Streams>,
    /// Those who look on.
    onlookers: Onlookers,
    /// How the HTTP API is reached; absent until it runs.
    api: Option<api::Orders>,
    /// How detection is reached; absent until it runs.
    detection: Option<Orders>,
    /// How whoever opens databases of places is reached; absent until it runs.
    geo: Option<geo::Orders>,
    /// Services under attack, by name: a reload may give them other places.
    attacked: BTreeSet<String>,
    outcomes: Outcomes,
    /// The logs that are followed; absent until they are.
    sources: Option<Sources>,
    evicted: Evicted,
    /// What the operator should know until the next reload.
    notices: Vec<String>,
    missing_interfaces: Vec<(String, String)>,
    /// The agent should end; the host stays guarded unless it was detached.
    done: bool,
}

/// What the keeper shares with the rest of the agent.
pub(crate) struct Shared {
    pub(crate) feed: EventFeed,
    pub(crate) roles: watch::Sender<Roles>,
    pub(crate) context: watch::Sender<EventContext>,
    /// What proxied requests are judged by; the keeper publishes it with every change.
    pub(crate) snapshot: watch::Sender<Arc<Snapshot>>,
    pub(crate) gate: Gate,
    /// Who went around the proxies of restricted services.
    pub(crate) origins: Origins,
    /// What applications report to endpoints.
    pub(crate) outcomes: Outcomes,
}

impl Keeper {
    /// Adopts what the kernel and the disk hold, reconciles it with the configuration and attaches.
    pub(crate) fn start(
        config: Config,
        interfaces: Option<Interfaces>,
        shared: Shared,
    ) -> anyhow::Result<Self> {
        let material = deferred::material(&config)?;
        let deferred = Deferred::start(&config, shared.gate.clone(), shared.outcomes.clone())?;
        let clock = Clock::new();
        let datapath = Datapath::open(&config.bpffs_dir, &Sizes::of(&config), random::secret()?)?;
        let mut store = Store::open(&config.state_dir)?;
        let mut notices = Vec::new();
        if let Some(recovered) = store.recovered() {
            warn!("{recovered}");
            notices.push(recovered.to_string());
        }
        let now = clock.now().wall_ms;
        store.purge_expired(now)?;
        let mode = first_mode(&mut store, &config, now)?;
        let mut decisions = BTreeMap::new();
        store.each(|decision| drop(decisions.insert(decision.key(), decision)))?;
        let ends = decisions
            .iter()
            .filter_map(|(key, one): (&Key, &Decision)| Some((one.expires?, *key)));
        let expiries = ends.collect();
        let classes = Classes::load(datapath.classes()?);
        let (config, made) = with_made(config, store.zones()?, &mut notices);
        shared.feed.names().want(config.journal.names_users);
        let mut keeper = Self {
            config,
            made,
            interfaces,
            store,
            decisions,
            expiries,
            classes,
            datapath,
            mode,
            clock,
            started_ms: now,
            feed: shared.feed,
            roles: shared.roles,
            context: shared.context,
            published: Published::new(shared.snapshot),
            gate: shared.gate,
            origins: shared.origins,
            deferred,
            feeds: Feeds::default(),
            feed_board: feed::Board::default(),
            fetching: None,
            lapi: None,
            streams: None,
            onlookers: Onlookers::default(),
            api: None,
            detection: None,
            geo: None,
            attacked: BTreeSet::new(),
            outcomes: shared.outcomes,
            sources: None,
            evicted: Evicted::default(),
            notices,
            missing_interfaces: Vec::new(),
            done: false,
        };
        keeper.restore_feeds();
        let change = keeper.reconcile()?;
        info!(?change, "the kernel holds what it should");
        keeper.attach()?;
        let config = &keeper.config;
        keeper.deferred.apply(config, material, &keeper.datapath)?;
        let detail = json!({ "mode": keeper.mode.mode });
        keeper.announce("system.agent.start", "edgeward", detail);
        Ok(keeper)
    }

    /// Ends what judges requests; what the kernel enforces stays.
    pub(crate) fn stop(self) {
        self.announce("system.agent.stop", "edgeward", json!({}));
        self.deferred.stop(&self.config, &self.datapath);
        if let Some(sources) = self.sources {
            sources.stop();
        }
    }

    /// The configuration in force.
    pub(crate) const fn config(&self) -> &Config {
        &self.config
    }

    /// From now on detection is told what concerns it.
    pub(crate) fn command_detection(&mut self, orders: Orders) {
        self.detection = Some(orders);
    }

    /// From now on databases of places are those of the configuration.
    pub(crate) fn command_geo(&mut self, orders: geo::Orders) {
        self.geo = Some(orders);
    }

    /// From now on the API is told of reloads.
    pub(crate) fn command_api(&mut self, orders: api::Orders) {
        self.api = Some(orders);
    }

    /// From now on logs are followed as the configuration says.
    pub(crate) fn follow(&mut self, mut sources: Sources) {
        sources.apply(&self.config);
        self.sources = Some(sources);
    }

    /// The event ring, for whoever forwards it.
    pub(crate) fn take_events(&mut self) -> anyhow::Result<EventRing> {
        self.datapath.take_events()
    }

    /// The ring of request heads, for whoever judges them.
    pub(crate) fn take_heads(&mut self) -> anyhow::Result<EventRing> {
        self.datapath.take_heads()
    }

    /// The interfaces that run the program, for the log.
    pub(crate) fn attached(&self) -> String {
        let attached = self.datapath.attached().iter();
        attached
            .map(|at| format!("{} ({:?})", at.name, at.mode))
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// Decisions about exactly this prefix.
    fn at(&self, prefix: IpNet) -> impl Iterator<Item = &Decision> {
        at(&self.decisions, prefix)
    }

    fn remember(&mut self, decision: Decision) {
        let key = decision.key();
        self.forget(&key);
        self.expiries.extend(decision.expires.map(|at| (at, key)));
        self.decisions.insert(key, decision);
    }

    fn forget(&mut self, key: &Key) -> Option<Decision> {
        let old = self.decisions.remove(key)?;
        if let Some(at) = old.expires {
            self.expiries.remove(&(at, *key));
        }
        Some(old)
    }

    /// What became of a decision, as an event.
    fn announce_decision(&self, event: &str, actor: &str, decision: &Decision) {
        let detail = json!({
            "prefix": decision.prefix,
            "kind": decision.kind,
            "score": decision.score,
            "reason": decision.reason,
            "origin": decision.origin,
            "expires": decision.expires,
        });
        self.announce(event, actor, detail);
    }

    /// A change of state, as an event.
    fn announce(&self, event: &str, actor: &str, mut detail: serde_json::Value) {
        if let Some(detail) = detail.as_object_mut() {
            detail.insert("time".to_owned(), self.clock.now().wall_ms.into());
            detail.insert("event".to_owned(), event.into());
            detail.insert("actor".to_owned(), actor.into());
        }
        self.feed.push(detail);
    }
}

fn at(decisions: &BTreeMap<Key, Decision>, prefix: IpNet) -> impl Iterator<Item = &Decision> {
    let first = Key {
        prefix,
        kind: Kind::Block,
        origin: Origin::Operator,
    };
    decisions
        .range(first..)
        .take_while(move |(key, _)| key.prefix == prefix)
        .map(|(_, decision)| decision)
}

/// The configuration with the zones that were made.
fn with_made(
    mut config: Config,
    zones: Vec<MadeZone>,
    notices: &mut Vec<String>,
) -> (Config, Made) {
    let mut made = Made::new(zones);
    for note in made.join(&mut config) {
        warn!("{note}");
        notices.push(note);
    }
    (config, made)
}

/// The operator's last word, or the configuration's on a first start.
fn first_mode(store: &mut Store, config: &Config, now: u64) -> anyhow::Result<ModeState> {
    let stored = store.mode()?;
    if let Some(state) = stored {
        return match state.reverted(now) {
            None => Ok(state),
            Some(next) => {
                store.set_mode(&next)?;
                Ok(next)
            }
        };
    }
    let state = ModeState {
        mode: config.mode,
        origin: ModeOrigin::Configuration,
        actor: "configuration".to_owned(),
        since: now,
        until: None,
        unconfirmed: None,
    };
    store.set_mode(&state)?;
    Ok(state)
}
