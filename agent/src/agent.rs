//! The running agent: the only place that knows every task.

use std::{path::Path, sync::Arc, thread, time::Duration};

use anyhow::{Context as _, anyhow};
use tokio::{
    net::UnixListener,
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot, watch},
    time::{MissedTickBehavior, interval},
};
use tracing::{error, info, warn};

use crate::{
    api::Api,
    clock::Clock,
    config::{Config, Interfaces},
    control::{Command, EventFeed, roles::Roles, server},
    detection, feed as feeds,
    gate::{Gate, GateLimits},
    geo,
    health::{self, Health},
    journal::Journal,
    keeper::{EventContext, Keeper, Shared, WORK_QUEUED_MAX, Work, forward},
    lapi::Lapi,
    life::Life,
    metrics::Metrics,
    observe,
    policy::{snapshot::Snapshot, suspects::Suspects},
    privileges, random,
    signal::{
        outcomes::Outcomes,
        sources::{Sources, Wiring},
    },
    stream::{self, Board, Streams},
    threads::single_threaded,
};

/// Runs until it is told to stop. What the kernel enforces stays when this returns.
///
/// # Errors
/// What keeps the agent from starting, in a sentence.
pub fn run(config: Config, interfaces: &[String]) -> anyhow::Result<()> {
    let interfaces = named(interfaces);
    privileges::raise_descriptor_limit();
    privileges::gain_no_more()?;
    let socket = config.socket.clone();
    let feed = EventFeed::new(config.events.kept_max, random::secret()?);
    let (roles_sender, roles) = watch::channel(roles(&config)?);
    let (context_sender, context) = watch::channel(EventContext::default());
    let (snapshot_sender, snapshot) = watch::channel(Arc::new(Snapshot::default()));
    let clock = Clock::new();
    let (suspects_sender, suspects) = watch::channel(Arc::default());
    let gate = gate(&config, snapshot.clone(), suspects, feed.clone(), clock)?;
    let origins = gate.origins();
    let outcomes = Outcomes::new(clock, feed.clone());
    let shared = Shared {
        feed: feed.clone(),
        roles: roles_sender,
        context: context_sender,
        snapshot: snapshot_sender,
        gate: gate.clone(),
        origins: origins.clone(),
        outcomes: outcomes.clone(),
    };
    let mut keeper = Keeper::start(config, interfaces, shared)?;
    // The keeper has made the state directory.
    let learned = detection::Opened::open(keeper.config(), clock, Arc::clone(feed.names()))?;
    gate.tell_sign_ins(learned.key(), learned.intake());
    let (ring, heads) = (keeper.take_events()?, keeper.take_heads()?);

    let runtime = single_threaded()?;
    let listener = listener(&runtime, &socket)?;
    privileges::drop_all_but_needed().context("cannot give up privileges")?;

    let (work, works) = mpsc::channel(WORK_QUEUED_MAX);
    let places = watch_places(&mut keeper)?;
    let wiring = detection::Wiring {
        work,
        snapshot,
        suspects: suspects_sender,
        feed: feed.clone(),
        clock,
        geo: places.databases(),
    };
    let (commands, received) = mpsc::channel(COMMANDS_QUEUED_MAX);
    let outside = Outside {
        outcomes: &outcomes,
        commands: commands.clone(),
    };
    let beside = Beside::start(&mut keeper, learned, outside, wiring)?;

    let (thread, ended) = start_keeper(keeper, received, works)?;
    // Whoever may connect to the control socket is read by this thread.
    privileges::drop_all()?;
    runtime.block_on(async {
        tokio::spawn(forward(ring, context, feed.clone(), gate.clone(), origins));
        tokio::spawn(observe::watch(heads, gate));
        tokio::spawn(server::serve(listener, roles, commands, feed));
        drop(ended.await);
        // The last answer is still on its way out.
        tokio::time::sleep(LAST_ANSWER).await;
    });
    remove(&socket);
    let records = beside.stop();
    places.stop()?;
    let outcome = thread
        .join()
        .map_err(|_| anyhow!("the keeper's thread panicked"))?;
    records.stop();
    outcome
}

/// What works beside the keeper, each on threads of its own.
struct Beside {
    records: Records,
    streams: Streams,
    detection: detection::Detection,
    fetching: feeds::Feeds,
    lapi: Lapi,
    metrics: Metrics,
    health: Health,
    api: Api,
}

/// How those who work beside the keeper hear of others and are heard.
struct Outside<'a> {
    outcomes: &'a Outcomes,
    commands: mpsc::Sender<Command>,
}

impl Beside {
    fn start(
        keeper: &mut Keeper,
        learned: detection::Opened,
        outside: Outside<'_>,
        wiring: detection::Wiring,
    ) -> anyhow::Result<Self> {
        let (clock, feed) = (wiring.clock, wiring.feed.clone());
        let Outside { outcomes, commands } = outside;
        let records = Records::begin(keeper.config(), &feed, clock, wiring.geo.clone())?;
        let streams = stream(keeper, &records.journal, feed.clone(), clock)?;
        let lapi = serve_bouncers(keeper, wiring.snapshot.clone(), clock)?;
        let api = Api::start(keeper.config().api.as_ref(), commands, feed.clone(), clock)?;
        keeper.command_api(api.orders());
        let sources = sources(&learned, outcomes, feed.clone(), clock);
        let fetching = fetch(keeper, wiring.work.clone(), feed.clone(), clock)?;
        let metrics = Metrics::start(keeper.config().metrics.clone(), wiring.work.clone())?;
        keeper.command_metrics(metrics.orders());
        let (work, geo) = (wiring.work.clone(), wiring.geo.clone());
        let detection = learned.start(wiring)?;
        keeper.command_detection(detection.orders());
        let health = Health::start(health::Wiring {
            work,
            feed,
            forwarders: keeper.forwarders(),
            detection: detection.orders(),
            geo,
            state_dir: keeper.config().state_dir.clone(),
            clock,
            stopping: Arc::default(),
        })?;
        keeper.command_health(health.orders());
        keeper.follow(sources);
        Ok(Self {
            records,
            streams,
            detection,
            fetching,
            lapi,
            metrics,
            api,
            health,
        })
    }

    /// Ends everything but the records: the others may have something to say until their end.
    fn stop(self) -> Records {
        self.fetching.stop();
        self.lapi.stop();
        self.streams.stop();
        self.metrics.stop();
        self.health.stop();
        self.api.stop();
        self.detection.stop();
        self.records
    }
}

fn remove(socket: &Path) {
    if let Err(error) = std::fs::remove_file(socket) {
        warn!(%error, socket = %socket.display(), "the control socket stays behind");
    }
}

/// The System Log, and how this agent ends.
struct Records {
    journal: Journal,
    life: Life,
}

impl Records {
    /// Opens the System Log. What was said before goes there first.
    fn begin(
        config: &Config,
        feed: &EventFeed,
        clock: Clock,
        databases: geo::Databases,
    ) -> anyhow::Result<Self> {
        let life = Life::begin(&config.state_dir, feed, clock.now().wall_ms);
        let dir = config.state_dir.join("log");
        let journal = Journal::start(&dir, config.journal, feed.ids(), clock, databases)?;
        feed.keep_in(journal.log());
        Ok(Self { journal, life })
    }

    fn stop(self) {
        self.journal.stop();
        self.life.end();
    }
}

/// Begins to send events to where a team looks.
fn stream(
    keeper: &mut Keeper,
    journal: &Journal,
    events: EventFeed,
    clock: Clock,
) -> anyhow::Result<Streams> {
    let reader = journal.log().reader();
    let board = Board::new(reader.committed());
    let wiring = stream::Wiring {
        source: Arc::new(reader),
        events,
        board: board.clone(),
        clock,
    };
    let plan = keeper.stream_plan("edgeward");
    let streams = Streams::start(&keeper.config().state_dir, plan, wiring)?;
    keeper.command_streams(streams.orders(), board);
    Ok(streams)
}

/// Who may do what.
fn roles(config: &Config) -> anyhow::Result<Roles> {
    Roles::from_config(&config.control).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        anyhow!("[control] {}", errors.join("; "))
    })
}

/// The interfaces of the command line; `None` if it names none.
fn named(interfaces: &[String]) -> Option<Interfaces> {
    match interfaces {
        [] => None,
        [all] if all == "all" => Some(Interfaces::AllPhysical),
        names => Some(Interfaces::Named(names.to_vec())),
    }
}

/// Begins to open databases of places.
fn watch_places(keeper: &mut Keeper) -> anyhow::Result<geo::Watcher> {
    let places = geo::Watcher::start(keeper.config().geo.clone())?;
    keeper.command_geo(places.orders());
    Ok(places)
}

/// Begins to serve bouncers.
fn serve_bouncers(
    keeper: &mut Keeper,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    clock: Clock,
) -> anyhow::Result<Lapi> {
    let lapi = Lapi::start(keeper.config().lapi.clone(), snapshot, clock)?;
    keeper.command_lapi(lapi.orders());
    Ok(lapi)
}

/// Begins to fetch feeds.
fn fetch(
    keeper: &mut Keeper,
    work: mpsc::Sender<Work>,
    events: EventFeed,
    clock: Clock,
) -> anyhow::Result<feeds::Feeds> {
    let wiring = feeds::Wiring {
        work,
        events,
        board: keeper.feed_board(),
        clock,
    };
    let fetching = feeds::Feeds::start(&keeper.config().state_dir, keeper.feed_plan(), wiring)?;
    keeper.command_feeds(fetching.orders());
    Ok(fetching)
}

/// Where signals come from; calls are taken from now on.
fn sources(
    learned: &detection::Opened,
    outcomes: &Outcomes,
    feed: EventFeed,
    clock: Clock,
) -> Sources {
    outcomes.open(learned.intake(), learned.key(), learned.positions());
    let wiring = Wiring {
        intake: learned.intake(),
        key: learned.key(),
        clock,
        feed,
    };
    Sources::new(wiring, learned.positions().clone())
}

/// What judges proxied requests.
fn gate(
    config: &Config,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    suspects: watch::Receiver<Arc<Suspects>>,
    feed: EventFeed,
    clock: Clock,
) -> anyhow::Result<Gate> {
    let limits = GateLimits {
        events_per_second_max: config.events.per_second_max,
        clients_max: usize::try_from(config.capacity.rate_sources).unwrap_or(usize::MAX),
    };
    let seed = random::secret()?;
    Ok(Gate::new(snapshot, suspects, feed, clock, seed, &limits))
}

/// The control socket.
fn listener(runtime: &Runtime, socket: &Path) -> anyhow::Result<UnixListener> {
    let _inside = runtime.enter();
    Ok(server::bind(socket)?)
}

/// The keeper on a thread of its own, and a signal that comes when it ends.
fn start_keeper(
    keeper: Keeper,
    commands: mpsc::Receiver<Command>,
    works: mpsc::Receiver<Work>,
) -> anyhow::Result<(
    thread::JoinHandle<anyhow::Result<()>>,
    oneshot::Receiver<()>,
)> {
    let (ended_sender, ended) = oneshot::channel();
    let thread = thread::Builder::new()
        .name("keeper".to_owned())
        .spawn(move || {
            let outcome = keep(keeper, commands, works);
            // The main thread may be gone already.
            let _ = ended_sender.send(());
            outcome
        })?;
    Ok((thread, ended))
}

/// The keeper's thread.
fn keep(
    keeper: Keeper,
    commands: mpsc::Receiver<Command>,
    works: mpsc::Receiver<Work>,
) -> anyhow::Result<()> {
    single_threaded()?.block_on(serve(keeper, commands, works))
}

async fn serve(
    mut keeper: Keeper,
    mut commands: mpsc::Receiver<Command>,
    mut works: mpsc::Receiver<Work>,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut look = interval(INTERFACES);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    notify(&[sd_notify::NotifyState::Ready]);
    info!("ready");
    while !keeper.is_done() {
        tokio::select! {
            command = commands.recv() => match command {
                Some(command) => keeper.execute(command),
                None => return Err(anyhow!("the control server has gone")),
            },
            Some(work) = works.recv() => keeper.work(work),
            _ = tick.tick() => keeper.tick(),
            _ = look.tick() => keeper.watch_interfaces(),
            _ = hangup.recv() => reload(&mut keeper),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    notify(&[sd_notify::NotifyState::Stopping]);
    if !keeper.is_done() {
        info!("stopping; the kernel goes on with what it has (`edgeward detach` ends that)");
    }
    keeper.stop();
    Ok(())
}

fn reload(keeper: &mut Keeper) {
    match sd_notify::NotifyState::monotonic_usec_now() {
        Ok(since) => notify(&[sd_notify::NotifyState::Reloading, since]),
        Err(error) => warn!(%error, "the service manager is not told of the reload"),
    }
    if let Err(failure) = keeper.reload("signal HUP") {
        error!("{}", failure.message);
        failure.details.iter().for_each(|detail| error!("{detail}"));
    }
    notify(&[sd_notify::NotifyState::Ready]);
}

/// Tells systemd, where there is one.
fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "the service manager cannot be told");
    }
}

/// Commands that wait for the keeper; a further one is answered by the server itself.
const COMMANDS_QUEUED_MAX: usize = 64;
const TICK: Duration = Duration::from_millis(250);
const INTERFACES: Duration = Duration::from_secs(2);
const LAST_ANSWER: Duration = Duration::from_millis(100);
