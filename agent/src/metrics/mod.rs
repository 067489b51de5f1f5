//! Metrics for Prometheus: `GET /metrics` over HTTP, on a thread of its own that has no capabilities.
//!
//! Nothing is counted here: what the keeper knows is asked for when somebody asks, at most once a second, and written
//! down as text. A keeper that is busy makes the answer late or 503; nobody else waits.

mod families;
#[cfg(test)]
mod tests;
mod text;

use std::{convert::Infallible, io, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    sync::{Mutex, Semaphore, mpsc, oneshot, watch},
    time::{Instant, sleep, timeout},
};
use tracing::{debug, info, warn};

use crate::{
    authz::listen::Listener,
    config::Metrics as Settings,
    control::report::Status,
    histogram::Buckets,
    keeper::Work,
    policy::posture::Posture,
    threads::{Blocking, Duty, Thread},
};

/// What the keeper tells for metrics, besides what `status` shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) status: Status,
    /// When the agent started, milliseconds since the Unix epoch.
    pub(crate) started_ms: u64,
    /// What became of packets.
    pub(crate) packets: Vec<Packets>,
    /// How long judging took, by way.
    pub(crate) latencies: Vec<(&'static str, Buckets)>,
    /// How long it takes to write events down.
    pub(crate) commits: Buckets,
    /// The System Log cannot be written.
    pub(crate) journal_failing: bool,
    /// How much of it is kept at most, bytes.
    pub(crate) journal_bytes_max: u64,
    /// Reputations that began, by detector, since the agent's start.
    pub(crate) detections: Vec<(&'static str, u64)>,
    /// Services, and whether each is under attack.
    pub(crate) services: Vec<(String, bool)>,
    /// How the set-up is; without tasks while nobody has looked yet.
    pub(crate) posture: Arc<Posture>,
}

/// Packets with one outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packets {
    pub(crate) outcome: &'static str,
    /// Acted on, or only logged.
    pub(crate) enforced: bool,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

/// The server at work.
pub(crate) struct Metrics {
    orders: Orders,
    thread: Thread,
}

const DUTY: Duty = Duty {
    name: "metrics",
    called: "the thread of metrics",
    without: "metrics cannot be served",
};

/// How the keeper reaches it.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    settings: watch::Sender<Option<Settings>>,
    problem: watch::Receiver<Option<String>>,
}

impl Metrics {
    /// Begins to serve, if there is anything to serve.
    ///
    /// # Errors
    /// There can be no thread.
    pub(crate) fn start(
        settings: Option<Settings>,
        work: mpsc::Sender<Work>,
    ) -> anyhow::Result<Self> {
        let (settings, wanted) = watch::channel(settings);
        let (told, problem) = watch::channel(None);
        let thread = Thread::start(DUTY, Blocking::Never, async move |stopped| {
            stopped.ends(serve(wanted, work, told)).await;
        })?;
        Ok(Self {
            orders: Orders { settings, problem },
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
    /// What a configuration says.
    pub(crate) fn set(&self, settings: Option<Settings>) {
        self.settings.send_if_modified(|known| {
            let differs = *known != settings;
            *known = settings;
            differs
        });
    }

    /// What does not work.
    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.borrow().clone()
    }
}

/// Serves one configuration after the other.
async fn serve(
    mut wanted: watch::Receiver<Option<Settings>>,
    work: mpsc::Sender<Work>,
    told: watch::Sender<Option<String>>,
) {
    loop {
        let settings = wanted.borrow_and_update().clone();
        let mut changed = pin!(wanted.changed());
        let serving = async {
            match settings {
                None => {
                    told.send_replace(None);
                    std::future::pending().await
                }
                Some(settings) => loop {
                    let Err(what) = listen(&settings, &work, &told).await;
                    warn!("metrics are not served: {what}");
                    told.send_replace(Some(format!("metrics: {what}")));
                    sleep(AGAIN).await;
                },
            }
        };
        tokio::select! {
            changed = &mut changed => if changed.is_err() { return },
            never = serving => match never {},
        }
    }
}

/// Listens and serves; comes back only when that fails.
async fn listen(
    settings: &Settings,
    work: &mpsc::Sender<Work>,
    told: &watch::Sender<Option<String>>,
) -> Result<Infallible, String> {
    let listener =
        Listener::bind("metrics", &settings.listen).map_err(|error| error.to_string())?;
    let acceptor = listener
        .acceptor()
        .map_err(|error: io::Error| error.to_string())?;
    told.send_replace(None);
    info!("metrics are served");
    let desk = Arc::new(Desk {
        work: work.clone(),
        last: Mutex::default(),
    });
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // Ends with this function, and its connections with it.
    let mut open = tokio::task::JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&connections).acquire_owned().await else {
            return Err("no connections can be counted".to_owned());
        };
        while open.try_join_next().is_some() {}
        match acceptor.accept().await {
            Ok(stream) => {
                let desk = Arc::clone(&desk);
                open.spawn(async move {
                    let _place = place;
                    let service = service_fn(move |request| {
                        let desk = Arc::clone(&desk);
                        async move { Ok::<_, Infallible>(desk.answer(&request).await) }
                    });
                    let connection = http1::Builder::new()
                        .timer(TokioTimer::new())
                        .header_read_timeout(HEAD_TIME)
                        .max_buf_size(HEAD_BYTES_MAX)
                        .serve_connection(TokioIo::new(stream), service);
                    if let Ok(Err(error)) = timeout(CONNECTION_TIME, connection).await {
                        debug!(%error, "a connection for metrics");
                    }
                });
            }
            Err(error) => {
                warn!(%error, "a connection for metrics was not accepted");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Answers requests.
struct Desk {
    work: mpsc::Sender<Work>,
    /// The latest answer and when it was made: several who ask cost no more than one.
    last: Mutex<Option<(Instant, Bytes)>>,
}

impl Desk {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if request.uri().path() != "/metrics" {
            return plain(StatusCode::NOT_FOUND, "metrics are at /metrics\n");
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "metrics are only read\n");
            let allowed = HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(header::ALLOW, allowed);
            return response;
        }
        match timeout(ANSWER_TIME, self.measured()).await {
            Ok(Some(text)) => {
                let mut response = Response::new(Full::new(text));
                let kind = HeaderValue::from_static(CONTENT_TYPE);
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
                response
            }
            Ok(None) | Err(_) => plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "the agent is busy; ask again\n",
            ),
        }
    }

    async fn measured(&self) -> Option<Bytes> {
        let mut last = self.last.lock().await;
        if let Some((made, text)) = &*last
            && made.elapsed() < FRESH
        {
            return Some(text.clone());
        }
        let (reply, answer) = oneshot::channel();
        self.work.send(Work::Measure(reply)).await.ok()?;
        let text = Bytes::from(families::text(&answer.await.ok()?));
        *last = Some((Instant::now(), text.clone()));
        Some(text)
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}

/// Connections at a time; further ones wait in the backlog.
const CONNECTIONS_MAX: usize = 16;
/// For the head of a request.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// Bytes of a head.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// How long a connection may live: whoever scrapes makes a new one then.
const CONNECTION_TIME: Duration = Duration::from_secs(600);
/// How long somebody waits for the keeper.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// For how long an answer is given again.
const FRESH: Duration = Duration::from_secs(1);
/// Between two attempts to listen.
const AGAIN: Duration = Duration::from_secs(5);
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
