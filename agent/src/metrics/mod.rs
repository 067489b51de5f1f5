//! Metrics for Prometheus: `GET /metrics` over HTTP, on a thread of its own that has no capabilities.
//!
//! Nothing is counted here: what the keeper knows is asked for when somebody asks, at most once a second, and written
//! down as text. A keeper that is busy makes the answer late or 503; nobody else waits.

mod families;
#[cfg(test)]
mod tests;
mod text;

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    time::{Instant, timeout},
};
use tracing::{debug, info};

use crate::{
    authz::listen::{Listener, Stream},
    config::Metrics as Settings,
    control::report::Status,
    histogram::Buckets,
    keeper::Work,
    policy::posture::Posture,
    served::{self, Problem},
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
pub(crate) type Orders = served::Orders<Settings>;

impl Metrics {
    /// Begins to serve, if there is anything to serve.
    ///
    /// # Errors
    /// There can be no thread.
    pub(crate) fn start(
        settings: Option<Settings>,
        work: mpsc::Sender<Work>,
    ) -> anyhow::Result<Self> {
        let (orders, wanted) = served::orders(settings);
        let thread = Thread::start(DUTY, Blocking::Never, async move |stopped| {
            let fails = "metrics are not served";
            let serving = wanted.serve("metrics", fails, async |settings, problem| {
                listen(settings, &work, problem).await
            });
            stopped.ends(serving).await;
        })?;
        Ok(Self { orders, thread })
    }

    pub(crate) fn orders(&self) -> Orders {
        self.orders.clone()
    }

    pub(crate) fn stop(self) {
        self.thread.stop();
    }
}

/// Listens and serves; comes back only when that fails.
async fn listen(
    settings: &Settings,
    work: &mpsc::Sender<Work>,
    problem: &Problem,
) -> Result<Infallible, String> {
    let listener =
        Listener::bind("metrics", &settings.listen).map_err(|error| error.to_string())?;
    let acceptor = listener
        .acceptor()
        .map_err(|error: io::Error| error.to_string())?;
    problem.none();
    info!("metrics are served");
    let desk = Arc::new(Desk {
        work: work.clone(),
        last: Mutex::default(),
    });
    let refused = "a connection for metrics was not accepted";
    served::accept(&acceptor, CONNECTIONS_MAX, refused, |stream| {
        connection(stream, Arc::clone(&desk))
    })
    .await
}

async fn connection(stream: Stream, desk: Arc<Desk>) {
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
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
