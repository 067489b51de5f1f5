//! The deferred forms at work: threads of their own for whatever judges proxied requests, so that neither
//! the keeper nor the control socket waits for a request, nor a request for them.

use std::{sync::Arc, thread, time::Duration};

use anyhow::{Context as _, anyhow};
use tokio::sync::watch;
use tracing::warn;

use crate::{
    authz::{EndpointState, Endpoints},
    config::Config,
    datapath::Datapath,
    gate::Gate,
    gateway::{self, GatewayReport, Listeners, Material},
    privileges,
    signal::outcomes::Outcomes,
    threads::{Blocking, Duty, Thread},
};

/// What the keeper steers the deferred forms by.
pub(crate) struct Deferred {
    endpoints: watch::Sender<Arc<[crate::config::Endpoint]>>,
    endpoint_states: watch::Receiver<Vec<EndpointState>>,
    serving: Thread,
    gate: Gate,
    gateway: Option<Gateway>,
}

const DUTY: Duty = Duty {
    name: "endpoints",
    called: "the thread of the decision endpoints",
    without: "the decision endpoints cannot be served",
};

/// The gateway at work.
struct Gateway {
    running: gateway::Running,
    listeners: Listeners,
    /// The service manager holds the listeners too: they outlive the agent.
    kept: bool,
}

impl Deferred {
    /// Binds every listener and begins to serve; to be called while the agent still has its privileges.
    ///
    /// # Errors
    /// Every listener that cannot be had, in one sentence.
    pub(crate) fn start(config: &Config, gate: Gate, outcomes: Outcomes) -> anyhow::Result<Self> {
        let bound = Endpoints::bind(&config.endpoints).map_err(|failures| {
            let failures: Vec<String> = failures.iter().map(ToString::to_string).collect();
            anyhow!("{}", failures.join("; "))
        })?;
        let endpoint_states = bound.states();
        let judge = gate.clone();
        let (endpoints, wanted) = watch::channel(Arc::from(config.endpoints.as_slice()));
        let serving = Thread::start(DUTY, Blocking::Never, async move |stopped| {
            judge.ready().await;
            bound.serve(judge, outcomes, wanted, stopped).await;
        })?;
        Ok(Self {
            endpoints,
            endpoint_states,
            serving,
            gate,
            gateway: None,
        })
    }

    /// Takes a configuration over, after the snapshot was published and the program attached: endpoints and gateway
    /// become what it says. Listeners that have not changed go on.
    ///
    /// # Errors
    /// When a gateway cannot begin; connections then reach the application, or are refused where it says so.
    pub(crate) fn apply(
        &mut self,
        config: &Config,
        material: Material,
        datapath: &Datapath,
    ) -> anyhow::Result<()> {
        self.endpoints
            .send_replace(Arc::from(config.endpoints.as_slice()));
        let wanted = config
            .services
            .iter()
            .any(|service| service.gateway.is_some());
        match (&self.gateway, wanted) {
            (Some(gateway), true) => gateway.running.install(material),
            (None, true) => self.gateway = Some(self.begin(material, datapath)?),
            (_, false) => {
                if let Some(gateway) = self.gateway.take() {
                    datapath.clear_listeners();
                    gateway.end_aside(DRAIN_MAX);
                }
            }
        }
        Ok(())
    }

    fn begin(&self, material: Material, datapath: &Datapath) -> anyhow::Result<Gateway> {
        let listeners = Listeners::bind().context("the gateway's listeners")?;
        let heartbeat = datapath.heartbeat();
        let beat = Arc::new(move || heartbeat.beat());
        let running = gateway::start(self.gate.clone(), &listeners, material, beat)
            .context("the gateway's threads")?;
        if let Err(error) = datapath.set_listeners(Some(listeners.v4()), listeners.v6()) {
            // Nobody would ever end the threads, and they hold the sockets: a slot that was filled would stay so.
            datapath.clear_listeners();
            running.drain(Duration::ZERO);
            return Err(error);
        }
        let kept = match listeners.store() {
            // Without a service manager nothing was stored, and nobody was told.
            Ok(()) => std::env::var_os("NOTIFY_SOCKET").is_some(),
            Err(error) => {
                warn!(%error, "the service manager does not keep the gateway's listeners over a restart");
                false
            }
        };
        Ok(Gateway {
            running,
            listeners,
            kept,
        })
    }

    /// What the gateway is at, for `status`.
    pub(crate) fn gateway(&self) -> Option<GatewayReport> {
        self.gateway
            .as_ref()
            .map(|gateway| gateway.running.report())
    }

    /// What does not work, for `status`.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let states = self.endpoint_states.borrow();
        states
            .iter()
            .filter_map(|state| {
                let failure = state.failure.as_ref()?;
                Some(format!("endpoint \"{}\": {failure}", state.name))
            })
            .collect()
    }

    /// Ends everything; requests that are under way may end.
    ///
    /// Where the service manager keeps the listeners, new connections wait in them for the next agent. Otherwise they
    /// reach the application from now on, or are refused where the service says so.
    pub(crate) fn stop(self, config: &Config, datapath: &Datapath) {
        if let Some(gateway) = self.gateway {
            let limit = drain_limit(config);
            if gateway.kept {
                gateway.end(limit.min(WAITING_MAX));
            } else {
                datapath.clear_listeners();
                // What the kernel has handed over already is still taken.
                thread::sleep(HANDED_OVER);
                gateway.end(limit);
            }
        }
        self.serving.stop();
    }
}

/// The certificates and keys that a configuration names.
///
/// # Errors
/// Every one that cannot be used, in one sentence.
pub(crate) fn material(config: &Config) -> anyhow::Result<Material> {
    Material::read(&config.services).map_err(|failures| {
        let failures: Vec<String> = failures.iter().map(ToString::to_string).collect();
        anyhow!("{}", failures.join("; "))
    })
}

impl Gateway {
    fn end(self, limit: Duration) {
        self.running.close();
        // Whatever was being accepted at that moment is with a worker by then.
        thread::sleep(HANDED_OVER);
        if !self.running.drain(limit) {
            warn!("connections of the gateway were cut off: they took longer than drain_timeout");
        }
        drop(self.listeners);
    }

    /// The same without making anybody wait.
    fn end_aside(self, limit: Duration) {
        let ending = thread::Builder::new()
            .name("gateway end".to_owned())
            .spawn(move || {
                if let Err(error) = privileges::drop_all() {
                    // It reads nothing, and what it ends must end.
                    warn!("{error:#}");
                }
                thread::sleep(HANDED_OVER);
                self.end(limit);
            });
        if let Err(error) = ending {
            warn!(%error, "the gateway was ended at once");
        }
    }
}

/// The longest that a service gives its requests.
fn drain_limit(config: &Config) -> Duration {
    let gateways = config
        .services
        .iter()
        .filter_map(|service| service.gateway.as_ref());
    gateways
        .map(|gateway| gateway.limits.drain_timeout)
        .max()
        .unwrap_or_default()
}

/// How long new connections may wait for the next agent because of requests that the last one is ending.
const WAITING_MAX: Duration = Duration::from_secs(2);
/// From the emptied slot until every connection that went through it has been accepted.
const HANDED_OVER: Duration = Duration::from_millis(50);
/// How long requests of a gateway may take that a reload has taken away.
const DRAIN_MAX: Duration = Duration::from_secs(10);
