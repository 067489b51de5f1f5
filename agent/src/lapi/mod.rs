//! A CrowdSec local API for bouncers: existing ones enforce what Edgeward enforces, in other places.
//!
//! What is told is the snapshot: what the kernel of this host refuses, with everything exempt and every proxy carved
//! out, and nothing while the mode is not block. Each bouncer has a key of its own, and what it was told last is
//! remembered for it.

pub(crate) mod answer;
mod list;

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{Method, Request, Response, StatusCode};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use tokio::{sync::watch, time::timeout};
use tracing::{debug, info, warn};

use self::{
    answer::{Pieces, array, json, message},
    list::{Filter, List, Shared},
};
use crate::{
    authz::listen::{Listener, Stream},
    clock::Clock,
    config::{Lapi as Settings, read_key},
    policy::{
        clock::Now,
        prefix::parse_network,
        snapshot::{Snapshot, enforced_about},
    },
    served::{self, Problem},
    threads::{Blocking, Duty, Thread},
};

/// Connections at a time; further ones wait in the backlog.
const CONNECTIONS_MAX: usize = 64;
/// For the head of a request.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long a connection may live: a bouncer that polls makes a new one then.
const CONNECTION_TIME: Duration = Duration::from_secs(3_600);
/// Longest query, in bytes.
const QUERY_BYTES_MAX: usize = 8 * 1024;
/// Values of one parameter.
const WORDS_MAX: usize = 64;

/// The local API at work.
pub(crate) struct Lapi {
    orders: Orders,
    thread: Thread,
}

const DUTY: Duty = Duty {
    name: "lapi",
    called: "the thread of the local API",
    without: "the local API cannot be served",
};

/// How the keeper reaches it.
pub(crate) type Orders = served::Orders<Settings>;

impl Lapi {
    /// Begins to serve, if there is anything to serve.
    ///
    /// # Errors
    /// There can be no thread.
    pub(crate) fn start(
        settings: Option<Settings>,
        snapshot: watch::Receiver<Arc<Snapshot>>,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let (orders, wanted) = served::orders(settings);
        let thread = Thread::start(DUTY, Blocking::Never, async move |stopped| {
            let fails = "the local API does not serve";
            let serving = wanted.serve("lapi", fails, async |settings, problem| {
                listen(settings, &snapshot, clock, problem).await
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
    snapshot: &watch::Receiver<Arc<Snapshot>>,
    clock: Clock,
    problem: &Problem,
) -> Result<Infallible, String> {
    let mut keys = Vec::new();
    for bouncer in &settings.bouncers {
        let key = read_key(&bouncer.key_file)
            .map_err(|what| format!("{} {what}", bouncer.key_file.display()))?;
        keys.push((key, bouncer.name.clone()));
    }
    let listener = Listener::bind("lapi", &settings.listen).map_err(|error| error.to_string())?;
    let acceptor = listener
        .acceptor()
        .map_err(|error: io::Error| error.to_string())?;
    problem.none();
    info!("the local API serves {} bouncers", keys.len());
    let desk = Arc::new(Desk {
        keys,
        settings: settings.clone(),
        snapshot: snapshot.clone(),
        clock,
        state: Mutex::default(),
    });
    let refused = "a bouncer's connection was not accepted";
    served::accept(&acceptor, CONNECTIONS_MAX, refused, |stream| {
        connection(stream, Arc::clone(&desk))
    })
    .await
}

async fn connection(stream: Stream, desk: Arc<Desk>) {
    let service = service_fn(move |request| {
        let desk = Arc::clone(&desk);
        async move { Ok::<_, Infallible>(desk.answer(&request)) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = timeout(CONNECTION_TIME, connection).await {
        debug!(%error, "a bouncer's connection");
    }
}

/// Answers requests.
struct Desk {
    /// Keys with the names of their bouncers.
    keys: Vec<(String, String)>,
    settings: Settings,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The present list and the snapshot that it is of.
    present: Option<(Arc<Snapshot>, Shared)>,
    /// What each bouncer was told last.
    told: HashMap<String, Shared>,
}

impl Desk {
    fn answer(&self, request: &Request<Incoming>) -> Response<Pieces> {
        let Some(bouncer) = self.bouncer(request) else {
            return message(StatusCode::FORBIDDEN, "access forbidden");
        };
        let query = request.uri().query().unwrap_or_default();
        if query.len() > QUERY_BYTES_MAX {
            return message(StatusCode::URI_TOO_LONG, "the query is too long");
        }
        let query = Query::new(query);
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/v1/decisions/stream") => self.stream(&bouncer, &query),
            (&Method::GET, "/v1/decisions") => self.decisions(&query),
            (&Method::HEAD, "/v1/decisions" | "/v1/decisions/stream") => {
                json(StatusCode::OK, std::iter::empty())
            }
            // What a bouncer counts is taken note of nowhere.
            (&Method::POST, "/v1/usage-metrics") => json(StatusCode::CREATED, std::iter::empty()),
            (&Method::GET, "/v1/heartbeat" | "/health") => {
                json(StatusCode::OK, std::iter::once("null".to_owned()))
            }
            _ => message(StatusCode::NOT_FOUND, "Page or Method not found"),
        }
    }

    /// Whose key the request has. Every key is compared, and all of it: how long that takes tells nothing.
    fn bouncer(&self, request: &Request<Incoming>) -> Option<String> {
        let given = request.headers().get("x-api-key")?.as_bytes();
        let mut found = None;
        for (key, name) in &self.keys {
            if is_same(key.as_bytes(), given) {
                found = Some(name.clone());
            }
        }
        found
    }

    fn stream(&self, bouncer: &str, query: &Query) -> Response<Pieces> {
        let now = self.clock.now();
        let filter = query.filter();
        let whole = query.is_true("startup");
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let list = state.present(self, now);
        let before = state.told.insert(bouncer.to_owned(), Arc::clone(&list));
        drop(state);
        // Whoever was never told anything is told everything.
        let before = before.filter(|_| !whole).unwrap_or_default();
        if Arc::ptr_eq(&before, &list) {
            let nothing = r#"{"deleted":null,"new":null}"#.to_owned();
            return json(StatusCode::OK, std::iter::once(nothing));
        }
        let delta = list.since(&before);
        let (new_list, new_filter) = (list, filter.clone());
        let new = delta.new.into_iter().filter_map(move |one| {
            let wanted = new_list.passes(&one, &new_filter);
            wanted.then(|| new_list.told(&one, now, false))
        });
        let deleted = delta.deleted.into_iter().filter_map(move |one| {
            let wanted = before.passes(&one, &filter);
            wanted.then(|| before.told(&one, now, true))
        });
        let text = |text: &str| std::iter::once(text.to_owned());
        json(
            StatusCode::OK,
            text("{\"deleted\":")
                .chain(array(deleted))
                .chain(text(",\"new\":"))
                .chain(array(new))
                .chain(text("}")),
        )
    }

    fn decisions(&self, query: &Query) -> Response<Pieces> {
        let now = self.clock.now();
        let mut filter = query.filter();
        let mut asked = query.first("ip").or_else(|| query.first("range"));
        if let Some(scope) = query.first("scope") {
            filter.scopes = vec![scope.to_lowercase()];
            asked = asked.or_else(|| query.first("value"));
        }
        let networks = match asked.as_deref().map(parse_network) {
            None => None,
            Some(Ok(networks)) => Some(networks),
            Some(Err(error)) => return message(StatusCode::BAD_REQUEST, &error.what()),
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let list = state.present(self, now);
        drop(state);
        let found = match networks {
            None => list.entries.clone(),
            Some(networks) => networks
                .iter()
                .flat_map(|network: &IpNet| enforced_about(&list.entries, network))
                .collect(),
        };
        let elements = found.into_iter().filter_map(move |one| {
            let wanted = list.passes(&one, &filter);
            wanted.then(|| list.told(&one, now, false))
        });
        json(StatusCode::OK, array(elements))
    }
}

impl State {
    /// The list of this moment; the same one as long as nothing has changed and nothing has ended.
    fn present(&mut self, desk: &Desk, now: Now) -> Shared {
        let snapshot = Arc::clone(&desk.snapshot.borrow());
        if let Some((of, list)) = &self.present
            && Arc::ptr_eq(of, &snapshot)
            && now.is_live(list.next_end())
        {
            return Arc::clone(list);
        }
        let list = Arc::new(List::of(&snapshot, &desk.settings.origins, now));
        if list.left_out > 0 {
            warn!(
                entries = list.left_out,
                "bouncers are not told of entries most of which is exempt or a proxy"
            );
        }
        self.present = Some((snapshot, Arc::clone(&list)));
        list
    }
}

/// The parameters of a query.
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn new(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (unescaped(name), unescaped(value))
                })
                .collect(),
        )
    }

    pub(crate) fn first(&self, name: &str) -> Option<String> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone())
    }

    fn is_true(&self, name: &str) -> bool {
        self.first(name)
            .is_some_and(|value| matches!(value.as_str(), "true" | "1"))
    }

    /// The values of a parameter, between commas, in lower case.
    fn words(&self, name: &str) -> Vec<String> {
        let values = self.0.iter().filter(|(known, _)| known == name);
        values
            .flat_map(|(_, value)| value.split(','))
            .filter(|word| !word.is_empty())
            .take(WORDS_MAX)
            .map(str::to_lowercase)
            .collect()
    }

    fn filter(&self) -> Filter {
        Filter {
            origins: self.words("origins"),
            scopes: self.words("scopes"),
            containing: self.words("scenarios_containing"),
            not_containing: self.words("scenarios_not_containing"),
        }
    }
}

/// `%41` and `+` as what they stand for; what is no escape stays.
fn unescaped(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let hex = |byte: Option<u8>| char::from(byte?).to_digit(16);
        match byte {
            b'+' => out.push(b' '),
            b'%' => match (hex(ahead.next()), hex(ahead.next())) {
                (Some(high), Some(low)) => {
                    out.push(u8::try_from(high << 4 | low).unwrap_or(b'%'));
                    bytes = ahead;
                }
                _ => out.push(b'%'),
            },
            byte => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Whether two keys are the same, in a time that depends on their lengths alone.
pub(crate) fn is_same(key: &[u8], given: &[u8]) -> bool {
    let differences = key.iter().zip(given).fold(0, |sum, (a, b)| sum | (a ^ b));
    key.len() == given.len() && std::hint::black_box(differences) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_as_browsers_write_it() {
        let query = Query::new(
            "startup=true&scopes=ip,Range&scenarios_containing=ssh+bf%2C&x&scopes=AS&y=%zz",
        );
        assert!(query.is_true("startup") && !query.is_true("x"));
        assert_eq!(query.words("scopes"), ["ip", "range", "as"]);
        assert_eq!(query.words("scenarios_containing"), ["ssh bf"]);
        assert_eq!(query.first("y").as_deref(), Some("%zz"));
        assert_eq!(query.filter().origins, [] as [&str; 0]);
    }

    #[test]
    fn only_the_whole_key_is_the_key() {
        assert!(is_same(b"secret", b"secret"));
        for other in ["", "secre", "secret ", "Secret", "secres"] {
            assert!(!is_same(b"secret", other.as_bytes()), "{other}");
        }
    }
}
