//! The gateway: a reverse proxy for the connections that the kernel steers from trusted proxies to the
//! agent. It judges every request by its client and passes on what is not refused.
//!
//! ```text
//! listeners ─▶ worker ─▶ connection ─▶ opening (PROXY, TLS, which HTTP)
//!                            └─▶ wire + framing + head (HTTP/1 read strictly) ─▶ request ─▶ gate
//!                                                    respond ◀── refused ──────────┤
//!                            tunnel ◀── 101 ── body ◀── forward ◀──────────────────┘
//!                                                        └─▶ http1 (sending, answer), http2 ─▶ upstream
//! ```
//!
//! How to run it: [`Material::read`] the certificates of the configuration (a mistake there is a mistake of
//! the configuration), [`Listeners::bind`], put both sockets where steering finds them, then [`start`].
//! On a reload, read the material of the new configuration first, publish the snapshot, then
//! [`Running::install`] it. To stop: empty the slots of steering or leave the listeners to the service
//! manager, then [`Running::close`] and [`Running::drain`].

mod answer;
mod answer_text;
mod body;
mod cause;
mod connection;
mod forward;
mod framing;
mod head;
mod headers;
mod http1;
mod http2;
mod line;
mod listeners;
mod normal;
mod opening;
mod request;
mod respond;
mod sending;
mod share;
mod shared;
mod sign_in;
mod stream;
mod tls;
mod tunnel;
mod upgrade;
mod upstream;
mod wheel;
mod wire;
mod worker;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use self::shared::{Shared, Stage};
pub(crate) use self::{listeners::Listeners, tls::Material};
use crate::gate::Gate;

/// Called about every 250 ms as long as every worker gets its turn.
pub(crate) type Beat = Arc<dyn Fn() + Send + Sync>;

/// A gateway at work. Dropped, it goes on; [`Running::drain`] is its end.
#[derive(Debug)]
pub(crate) struct Running {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// For `status`.
#[derive(Clone, Debug, Default)]
pub(crate) struct GatewayReport {
    /// Connections open, tunnels included.
    pub(crate) connections: usize,
    /// By service: its name, connections open, requests in progress.
    pub(crate) services: Vec<(String, usize, usize)>,
    /// HTTP/1.1 connections to upstreams that wait for a request.
    pub(crate) upstream_idle: usize,
    /// All HTTP/1.1 connections to upstreams.
    pub(crate) upstream_open: usize,
    /// Why connections and requests were not served as they were asked to.
    pub(crate) causes: Vec<(&'static str, u64)>,
}

/// Starts the workers: as many as the machine has CPUs, within bounds.
///
/// # Errors
/// When threads, runtimes or copies of the listeners cannot be had.
pub(crate) fn start(
    gate: Gate,
    listeners: &Listeners,
    material: Material,
    beat: Beat,
) -> io::Result<Running> {
    let workers = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(WORKERS_MAX);
    let shared = Arc::new(Shared::new(gate, material, workers, beat));
    let (others, given): (Vec<_>, Vec<_>) = (0..workers)
        .map(|_| mpsc::channel(worker::GIVEN_MAX))
        .unzip();
    let others: Arc<[_]> = others.into();
    let mut running = Running {
        shared: Arc::clone(&shared),
        threads: Vec::new(),
    };
    for (index, given) in given.into_iter().enumerate() {
        let seat = listeners.copies().map(|listeners| worker::Seat {
            index,
            listeners,
            given,
            others: Arc::clone(&others),
        });
        match seat.and_then(|seat| worker::start(Arc::clone(&shared), seat)) {
            Ok(thread) => running.threads.push(thread),
            Err(error) => {
                running.drain(Duration::ZERO);
                return Err(error);
            }
        }
    }
    Ok(running)
}

impl Running {
    /// Takes the certificates of a reload, after its snapshot was published. Connections keep theirs;
    /// those whose service has no gateway any more end with the request that they are at.
    pub(crate) fn install(&self, material: Material) {
        self.shared.install(material);
    }

    /// Accepts no more connections; those that wait in the listeners stay there.
    pub(crate) fn close(&self) {
        self.shared.advance(Stage::Closed);
    }

    /// Lets every connection end with the request that it is at (HTTP/1 `Connection: close`, HTTP/2 GOAWAY),
    /// and ends what is left after `limit`. Blocks until the workers have ended. Says whether all ended in time.
    pub(crate) fn drain(self, limit: Duration) -> bool {
        self.shared.advance(Stage::Draining);
        let until = Instant::now() + limit;
        while Instant::now() < until && self.threads.iter().any(|thread| !thread.is_finished()) {
            thread::sleep(DRAIN_LOOK);
        }
        let left = self.shared.connections();
        self.shared.advance(Stage::Over);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a worker of the gateway panicked");
            }
        }
        left == 0
    }

    /// What it is at.
    pub(crate) fn report(&self) -> GatewayReport {
        let pools = self.shared.workers.iter().map(|worker| worker.pool.sizes());
        let (upstream_idle, upstream_open) = pools
            .fold((0, 0), |(idle, open), (more_idle, more_open)| {
                (idle + more_idle, open + more_open)
            });
        GatewayReport {
            connections: self.shared.connections(),
            services: self.shared.loads(),
            upstream_idle,
            upstream_open,
            causes: self.shared.causes(),
        }
    }
}

impl GatewayReport {
    /// All of it as named numbers: `connections`, `requests`, `upstream_idle`, `upstream_open`, and each cause as
    /// `cause.…`.
    pub(crate) fn gauges(&self) -> BTreeMap<String, u64> {
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let requests = self.services.iter().map(|(_, _, requests)| requests).sum();
        let mut gauges = BTreeMap::from([
            ("connections".to_owned(), number(self.connections)),
            ("requests".to_owned(), number(requests)),
            ("upstream_idle".to_owned(), number(self.upstream_idle)),
            ("upstream_open".to_owned(), number(self.upstream_open)),
        ]);
        for (cause, count) in &self.causes {
            gauges.insert(format!("cause.{cause}"), *count);
        }
        gauges
    }
}

/// More workers than that are more upstream connections than any application wants.
const WORKERS_MAX: usize = 64;
const DRAIN_LOOK: Duration = Duration::from_millis(20);
