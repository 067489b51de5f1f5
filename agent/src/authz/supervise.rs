//! Keeps the listeners what the configuration wants them to be. What has not changed is not touched, and
//! a listener that cannot be had leaves the others alone and is tried again.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    CONNECTIONS_MAX, DRAIN_TIMEOUT,
    connection::{accept, places},
    listen::{BindError, Listener, set_mode},
};
use crate::{
    config::{Endpoint, Listen},
    gate::Gate,
    signal::outcomes::Outcomes,
};

/// The decision endpoints.
pub(crate) struct Endpoints {
    /// Bound, not yet served.
    bound: Vec<(Listen, Listener)>,
    states: watch::Sender<Vec<EndpointState>>,
}

/// How an endpoint is, for `status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EndpointState {
    /// Its name.
    pub(crate) name: String,
    /// Why it does not listen.
    pub(crate) failure: Option<String>,
}

impl Endpoints {
    /// Binds every listener. Before privileges are dropped this reaches directories and ports that a
    /// later reload cannot; needs no runtime.
    ///
    /// # Errors
    /// Every listener that cannot be had.
    pub(crate) fn bind(wanted: &[Endpoint]) -> Result<Self, Vec<BindError>> {
        let (mut bound, mut failures) = (Vec::new(), Vec::new());
        for endpoint in wanted {
            match Listener::bind(&endpoint.name, &endpoint.listen) {
                Ok(listener) => bound.push((endpoint.listen.clone(), listener)),
                Err(failure) => failures.push(failure),
            }
        }
        if failures.is_empty() {
            let (states, _) = watch::channel(Vec::new());
            Ok(Self { bound, states })
        } else {
            Err(failures)
        }
    }

    /// How each endpoint is, as it changes.
    pub(crate) fn states(&self) -> watch::Receiver<Vec<EndpointState>> {
        self.states.subscribe()
    }

    /// Serves until `shutdown` resolves or nobody can change `wanted` any more; then connections that
    /// are in the middle of a request may end it.
    pub(crate) async fn serve(
        self,
        gate: Gate,
        outcomes: Outcomes,
        mut wanted: watch::Receiver<Arc<[Endpoint]>>,
        shutdown: impl Future<Output = ()>,
    ) {
        let mut desks = Served {
            gate,
            outcomes,
            bound: self.bound,
            running: Vec::new(),
        };
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let endpoints = Arc::clone(&wanted.borrow_and_update());
            let states = desks.reconcile(&endpoints);
            let failed = states.iter().any(|state| state.failure.is_some());
            self.states.send_if_modified(|known| {
                let differs = *known != states;
                *known = states;
                differs
            });
            tokio::select! {
                () = &mut shutdown => break,
                changed = wanted.changed() => if changed.is_err() { break },
                () = sleep(RETRY), if failed => {}
            }
        }
        desks.end().await;
    }
}

/// What is being served.
struct Served {
    gate: Gate,
    outcomes: Outcomes,
    bound: Vec<(Listen, Listener)>,
    running: Vec<Running>,
}

/// An endpoint that listens. Dropping the settings ends it.
struct Running {
    listen: Listen,
    settings: watch::Sender<Arc<Endpoint>>,
    permits: Arc<Semaphore>,
    task: JoinHandle<()>,
}

impl Served {
    fn reconcile(&mut self, wanted: &[Endpoint]) -> Vec<EndpointState> {
        self.running.retain(|running| {
            let kept = wanted
                .iter()
                .any(|endpoint| same_place(&endpoint.listen, &running.listen))
                && !running.task.is_finished();
            if !kept {
                // The listener closes and its file goes now; its connections end by themselves.
                running.task.abort();
            }
            kept
        });
        let states = wanted
            .iter()
            .map(|endpoint| EndpointState {
                name: endpoint.name.clone(),
                failure: self.ensure(endpoint).err(),
            })
            .collect();
        // Bound for a configuration that has been replaced before it was served.
        self.bound.clear();
        states
    }

    /// Makes one endpoint what it should be.
    fn ensure(&mut self, endpoint: &Endpoint) -> Result<(), String> {
        let place = &endpoint.listen;
        if let Some(running) = self
            .running
            .iter_mut()
            .find(|running| same_place(&running.listen, place))
        {
            if let Listen::Unix(path, mode) = place
                && running.listen != *place
            {
                set_mode(path, *mode)
                    .map_err(|error| format!("the mode of {} stays: {error}", path.display()))?;
                running.listen = place.clone();
            }
            running.settings.send_if_modified(|settings| {
                let differs = **settings != *endpoint;
                if differs {
                    *settings = Arc::new(endpoint.clone());
                }
                differs
            });
            return Ok(());
        }
        let started = self.start(endpoint);
        if let Err(failure) = &started {
            tracing::warn!(endpoint = endpoint.name, "{failure}");
        }
        started
    }

    fn start(&mut self, endpoint: &Endpoint) -> Result<(), String> {
        let place = &endpoint.listen;
        let bound = self.bound.iter().position(|(listen, _)| listen == place);
        let listener = match bound {
            Some(index) => self.bound.swap_remove(index).1,
            None => Listener::bind(&endpoint.name, place).map_err(|error| error.sentence())?,
        };
        let acceptor = listener
            .acceptor()
            .map_err(|error| format!("no connections can be accepted: {error}"))?;
        let (settings, receiver) = watch::channel(Arc::new(endpoint.clone()));
        let permits = places();
        let serving = accept(
            acceptor,
            (self.gate.clone(), self.outcomes.clone()),
            receiver,
            Arc::clone(&permits),
        );
        let task = tokio::spawn(async move {
            serving.await;
            drop(listener);
        });
        self.running.push(Running {
            listen: place.clone(),
            settings,
            permits,
            task,
        });
        Ok(())
    }

    /// Closes the listeners and waits a little for requests in progress.
    async fn end(self) {
        let mut permits = Vec::new();
        for running in self.running {
            drop(running.settings);
            running.task.abort();
            permits.push(running.permits);
        }
        let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
        let ended = timeout(DRAIN_TIMEOUT, async {
            for permits in &permits {
                // Fails only if the semaphore is closed, which nobody does.
                let _ = permits.acquire_many(all).await;
            }
        });
        if ended.await.is_err() {
            tracing::info!("connections to decision endpoints were cut off");
        }
    }
}

/// Whether the same socket serves both: a Unix socket's mode can change under it.
fn same_place(one: &Listen, other: &Listen) -> bool {
    match (one, other) {
        (Listen::Unix(one, _), Listen::Unix(other, _)) => one == other,
        _ => one == other,
    }
}

/// How often a listener that could not be had is tried again.
const RETRY: Duration = Duration::from_secs(5);
