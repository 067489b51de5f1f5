//! The HTTP API, in the shape of Okta's: the System Log, the mode with its exempt zones, and zones. Off by default.
//!
//! A thread of its own without capabilities. A request is who asks (`tokens`), what for (`desk`), and one of `logs`,
//! `threats`, `zones`; refusals are `fault`. Whatever changes something is a command of the keeper's, as from the control
//! socket, with the token's name as its actor.

mod desk;
mod fault;
mod logs;
pub(crate) mod secret;
mod serve;
#[cfg(test)]
mod tests;
mod threats;
mod tokens;
mod zones;

use std::sync::Arc;

use anyhow::anyhow;
use tokio::sync::{mpsc, watch};
use tokio_rustls::rustls::ServerConfig;

use self::{desk::Desk, tokens::Tokens};
use crate::{
    clock::Clock,
    config::Api as Settings,
    control::{Command, EventFeed},
    threads::{Blocking, Duty, Thread},
};

/// The API at work.
pub(crate) struct Api {
    orders: Orders,
    thread: Thread,
}

const DUTY: Duty = Duty {
    name: "api",
    called: "the thread of the API",
    without: "the API cannot be served",
};

/// How the keeper reaches it.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    material: watch::Sender<Option<Arc<Material>>>,
    problem: watch::Receiver<Option<String>>,
}

/// A configuration with what its files hold.
#[derive(Debug)]
pub(crate) struct Material {
    settings: Settings,
    tokens: Tokens,
    tls: Option<Arc<ServerConfig>>,
}

impl Material {
    /// Reads tokens and certificates; nothing, if the API is off.
    ///
    /// # Errors
    /// Every file that cannot be used, in one sentence.
    pub(crate) fn read(settings: Option<&Settings>) -> anyhow::Result<Option<Arc<Self>>> {
        let Some(settings) = settings else {
            return Ok(None);
        };
        let tls = settings.tls.as_ref().map(serve::server_config);
        let (tokens, tls) = match (Tokens::read(&settings.tokens), tls.transpose()) {
            (Ok(tokens), Ok(tls)) => (tokens, tls),
            (tokens, tls) => {
                let mut errors = tokens.err().unwrap_or_default();
                errors.extend(tls.err());
                return Err(anyhow!("[api]: {}", errors.join("; ")));
            }
        };
        Ok(Some(Arc::new(Self {
            settings: settings.clone(),
            tokens,
            tls: tls.map(Arc::new),
        })))
    }
}

impl Api {
    /// Begins to serve, if there is anything to serve.
    ///
    /// # Errors
    /// Tokens or certificates cannot be read, or there can be no thread.
    pub(crate) fn start(
        settings: Option<&Settings>,
        commands: mpsc::Sender<Command>,
        feed: EventFeed,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let (material, wanted) = watch::channel(Material::read(settings)?);
        let (told, problem) = watch::channel(None);
        let blocking = Blocking::Awaited {
            threads_max: BLOCKING_MAX,
        };
        let thread = Thread::start(DUTY, blocking, async move |stopped| {
            let desk = Arc::new(Desk::new(wanted.clone(), commands, feed, clock));
            stopped.ends(serve::serve(wanted, &desk, &told)).await;
        })?;
        Ok(Self {
            orders: Orders { material, problem },
            thread,
        })
    }

    pub(crate) fn orders(&self) -> Orders {
        self.orders.clone()
    }

    pub(crate) fn stop(self) {
        self.thread.stop();
    }
}

impl Orders {
    /// What a configuration says. Tokens and certificates are read anew though their names are the same.
    pub(crate) fn set(&self, material: Option<Arc<Material>>) {
        self.material.send_replace(material);
    }

    /// What does not work.
    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.borrow().clone()
    }
}

/// Threads that read the System Log at a time.
const BLOCKING_MAX: usize = 4;
