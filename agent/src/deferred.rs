//! The deferred forms at work: threads of their own for whatever judges proxied requests, so that neither
//! the keeper nor the control socket waits for a request, nor a request for them.

use std::{io, sync::Arc, thread};

use anyhow::{Context as _, anyhow};
use tokio::{
    runtime,
    sync::{oneshot, watch},
};
use tracing::error;

use crate::{
    authz::{EndpointState, Endpoints},
    config::Config,
    gate::Gate,
};

/// What the keeper steers the deferred forms by.
pub(crate) struct Deferred {
    endpoints: watch::Sender<Arc<[crate::config::Endpoint]>>,
    endpoint_states: watch::Receiver<Vec<EndpointState>>,
    /// Dropped, it ends the endpoints.
    serving: oneshot::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl Deferred {
    /// Binds every listener and begins to serve; to be called while the agent still has its privileges.
    ///
    /// # Errors
    /// Every listener that cannot be had, in one sentence.
    pub(crate) fn start(config: &Config, gate: Gate) -> anyhow::Result<Self> {
        let bound = Endpoints::bind(&config.endpoints).map_err(|failures| {
            let failures: Vec<String> = failures.iter().map(ToString::to_string).collect();
            anyhow!("{}", failures.join("; "))
        })?;
        let endpoint_states = bound.states();
        let (endpoints, wanted) = watch::channel(Arc::from(config.endpoints.as_slice()));
        let (serving, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new()
            .name("endpoints".to_owned())
            .spawn(move || {
                let served = single_threaded().map(|runtime| {
                    let shutdown = async {
                        // An error says that the sender is gone, which is the signal.
                        let _ = stopped.await;
                    };
                    runtime.block_on(async {
                        gate.ready().await;
                        bound.serve(gate, wanted, shutdown).await;
                    });
                });
                if let Err(error) = served {
                    error!(%error, "the decision endpoints cannot be served");
                }
            })
            .context("the thread of the decision endpoints")?;
        Ok(Self {
            endpoints,
            endpoint_states,
            serving,
            thread,
        })
    }

    /// Takes a new configuration over; listeners that have not changed go on.
    pub(crate) fn reload(&self, config: &Config) {
        self.endpoints
            .send_replace(Arc::from(config.endpoints.as_slice()));
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
    pub(crate) fn stop(self) {
        drop(self.serving);
        if self.thread.join().is_err() {
            error!("the thread of the decision endpoints panicked");
        }
    }
}

fn single_threaded() -> io::Result<runtime::Runtime> {
    runtime::Builder::new_current_thread().enable_all().build()
}
