//! One request: who asks, how often, what for; and the answer with what every answer carries.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use http::{HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde_json::Value;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    time::timeout,
};

use super::{
    Material,
    fault::Fault,
    logs, secret, threats,
    tokens::{Budget, Budgets, Token},
    zones,
};
use crate::{
    clock::Clock,
    config::Scopes,
    control::{Command, EventFeed, Peer, Request as Asked},
    journal::{Log, Reader},
    lapi::answer::{Pieces, json},
};

/// An answer on its way.
pub(super) type Answer = Response<Pieces>;
/// The right to have a page in memory.
pub(super) type Place = OwnedSemaphorePermit;

/// What answers are made of.
pub(super) struct Desk {
    pub(super) material: watch::Receiver<Option<Arc<Material>>>,
    commands: mpsc::Sender<Command>,
    feed: EventFeed,
    clock: Clock,
    budgets: Budgets,
    pages: Arc<Semaphore>,
}

/// Longest body of a request, bytes: a zone with all the networks that it may have.
const BODY_BYTES_MAX: usize = 512 * 1024;
/// For the body of a request.
const BODY_TIME: Duration = Duration::from_secs(20);
/// Pages of events that are in memory at a time.
const PAGES_MAX: usize = 8;
/// For one of their places to be free.
const PLACE_TIME: Duration = Duration::from_secs(10);
/// For the keeper to take a command, and to do it.
const QUEUE_TIME: Duration = Duration::from_secs(5);
const ANSWER_TIME: Duration = Duration::from_secs(120);
/// The budget of those who have no token.
const NOBODY: &str = "";
/// Random bytes of a request's id.
const ID_BYTES: usize = 12;

/// What a path means.
enum Route<'p> {
    Logs,
    Threats,
    Zones,
    Zone(&'p str),
    Switch(&'p str, bool),
}

impl Route<'_> {
    /// The methods that it has, as the header `Allow` lists them.
    const fn methods(&self) -> &'static str {
        match self {
            Self::Logs => "GET, HEAD",
            Self::Threats | Self::Zones => "GET, HEAD, POST",
            Self::Zone(_) => "GET, HEAD, PUT, DELETE",
            Self::Switch(..) => "POST",
        }
    }
}

impl Desk {
    pub(super) fn new(
        material: watch::Receiver<Option<Arc<Material>>>,
        commands: mpsc::Sender<Command>,
        feed: EventFeed,
        clock: Clock,
    ) -> Self {
        Self {
            material,
            commands,
            feed,
            clock,
            budgets: Budgets::default(),
            pages: Arc::new(Semaphore::new(PAGES_MAX)),
        }
    }

    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        secure: bool,
    ) -> Result<Answer, Infallible> {
        let (parts, body) = request.into_parts();
        let id = request_id();
        let material = self.material.borrow().clone();
        let now_ms = self.now_ms();
        let authorization = parts.headers.get(header::AUTHORIZATION);
        let token = material.as_ref().and_then(|material| {
            let given = authorization?.to_str().ok()?;
            material.tokens.of(given, now_ms)
        });
        let limit = material
            .as_ref()
            .map_or(0, |material| material.settings.requests_per_minute);
        let name = token.map_or(NOBODY, |token| token.name.as_str());
        let budget = self.budgets.spend(name, limit, now_ms);
        let outcome = if budget.granted {
            match token {
                Some(token) => self.routed(token, &parts, body, secure).await,
                None => Err(Fault::token()),
            }
        } else {
            Err(Fault::rate())
        };
        let mut answer = outcome.unwrap_or_else(|fault| {
            tracing::debug!(status = %fault.status, path = parts.uri.path(), token = name, "refused");
            let mut answer = json(
                fault.status,
                std::iter::once(fault.json(&id).to_string()),
            );
            if let Some((name, value)) = fault.header {
                answer
                    .headers_mut()
                    .insert(name, HeaderValue::from_static(value));
            }
            answer
        });
        finish(&mut answer, &id, budget);
        Ok(answer)
    }

    async fn routed(
        &self,
        token: &Token,
        parts: &Parts,
        body: Incoming,
        secure: bool,
    ) -> Result<Answer, Fault> {
        let path = parts.uri.path();
        let route = route(path).ok_or_else(|| Fault::not_found(path))?;
        // Whoever asks for the head alone gets that of GET: the connection leaves the body out.
        let method = match &parts.method {
            &Method::HEAD => &Method::GET,
            other => other,
        };
        let reads = *method == Method::GET;
        let wanted = match (&route, method.as_str()) {
            (Route::Logs, "GET") => Scopes::LOGS_READ,
            (Route::Threats, "GET" | "POST") if reads => Scopes::THREATS_READ,
            (Route::Threats, "POST") => Scopes::THREATS_MANAGE,
            (Route::Zones, "GET" | "POST") | (Route::Zone(_), "GET" | "PUT" | "DELETE") => {
                if reads {
                    Scopes::ZONES_READ
                } else {
                    Scopes::ZONES_MANAGE
                }
            }
            (Route::Switch(..), "POST") => Scopes::ZONES_MANAGE,
            _ => return Err(Fault::method(route.methods())),
        };
        if !token.scopes.allow(wanted) {
            return Err(Fault::scope(&wanted.to_string()));
        }
        let base = base(parts, secure, self.listen());
        let name = &token.name;
        match (route, method.as_str()) {
            (Route::Logs, _) => logs::list(self, parts, secure).await,
            (Route::Threats, "GET") => threats::show(self, name, &base).await,
            (Route::Threats, _) => {
                threats::update(self, name, &base, &read_json(body).await?).await
            }
            (Route::Zones, "GET") => zones::list(self, name, parts, &base).await,
            (Route::Zones, _) => zones::put(self, name, &base, None, &read_json(body).await?).await,
            (Route::Zone(id), "GET") => zones::show(self, name, &base, id).await,
            (Route::Zone(id), "PUT") => {
                zones::put(self, name, &base, Some(id), &read_json(body).await?).await
            }
            (Route::Zone(id), _) => zones::delete(self, name, id).await,
            (Route::Switch(id, active), _) => zones::switch(self, name, &base, id, active).await,
        }
    }

    /// Asks the keeper in the name of a token.
    pub(super) async fn ask(&self, request: Asked, token: &str) -> Result<Value, Fault> {
        let (reply, answer) = oneshot::channel();
        let command = Command {
            request,
            peer: NOT_AN_ACCOUNT,
            token: Some(token.to_owned()),
            ssh_peers: Vec::new(),
            reply,
        };
        match timeout(QUEUE_TIME, self.commands.send(command)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(Fault::unavailable("the agent is stopping")),
            Err(_) => {
                return Err(Fault::unavailable(
                    "the agent is busy with earlier commands; try again",
                ));
            }
        }
        match timeout(ANSWER_TIME, answer).await {
            Ok(Ok(answer)) => Ok(answer?),
            Ok(Err(_)) => Err(Fault::internal("a command was dropped without an answer")),
            Err(_) => Err(Fault::unavailable(
                "the agent took the request and is still at it",
            )),
        }
    }

    /// The right to have a page in memory.
    pub(super) async fn place(&self) -> Result<Place, Fault> {
        match timeout(PLACE_TIME, Arc::clone(&self.pages).acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(Fault::unavailable(
                "too many pages are being read; try again",
            )),
        }
    }

    pub(super) fn reader(&self) -> Option<Reader> {
        self.feed.log().map(Log::reader)
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.clock.now().wall_ms
    }

    pub(super) fn listen(&self) -> SocketAddr {
        self.material
            .borrow()
            .as_ref()
            .map_or(NOWHERE, |material| material.settings.listen)
    }
}

/// Commands of tokens come from no account of this host.
const NOT_AN_ACCOUNT: Peer = Peer {
    uid: u32::MAX,
    gid: u32::MAX,
    pid: None,
};
/// Between two configurations.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn route(path: &str) -> Option<Route<'_>> {
    match path.strip_prefix("/api/v1/")? {
        "logs" => Some(Route::Logs),
        "threats/configuration" => Some(Route::Threats),
        "zones" => Some(Route::Zones),
        other => {
            let (id, rest) = match other.strip_prefix("zones/")?.split_once('/') {
                None => (other.strip_prefix("zones/")?, ""),
                Some((id, rest)) => (id, rest),
            };
            match rest {
                _ if id.is_empty() => None,
                "" if !other.ends_with('/') => Some(Route::Zone(id)),
                "lifecycle/activate" => Some(Route::Switch(id, true)),
                "lifecycle/deactivate" => Some(Route::Switch(id, false)),
                _ => None,
            }
        }
    }
}

/// Scheme and authority, as the client knows this server.
pub(super) fn base(parts: &Parts, secure: bool, listen: SocketAddr) -> String {
    let scheme = if secure { "https" } else { "http" };
    let said = parts.uri.authority().map(http::uri::Authority::as_str);
    let host = said.or_else(|| parts.headers.get(header::HOST)?.to_str().ok());
    let is_host = |host: &&str| {
        let plain = |byte: u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']')
        };
        !host.is_empty() && host.bytes().all(plain)
    };
    match host.filter(is_host) {
        Some(host) => format!("{scheme}://{host}"),
        None => format!("{scheme}://{listen}"),
    }
}

async fn read_json(body: Incoming) -> Result<Value, Fault> {
    let read = Limited::new(body, BODY_BYTES_MAX).collect();
    let bytes = match timeout(BODY_TIME, read).await {
        Err(_) => return Err(Fault::body("it did not come to its end in time")),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return Err(Fault::too_large(BODY_BYTES_MAX));
        }
        Ok(Err(error)) => return Err(Fault::body(&error.to_string())),
        Ok(Ok(read)) => read.to_bytes(),
    };
    serde_json::from_slice(&bytes).map_err(|error| Fault::body(&error.to_string()))
}

/// Names this page and the next one, in one line: some clients read no second one.
pub(super) fn link(answer: &mut Answer, own: &str, next: Option<String>) {
    let next = next.map_or_else(String::new, |next| format!(", <{next}>; rel=\"next\""));
    // What cannot stand in a header was escaped.
    if let Ok(value) = HeaderValue::try_from(format!("<{own}>; rel=\"self\"{next}")) {
        answer.headers_mut().insert(header::LINK, value);
    }
}

/// An answer of one value.
pub(super) fn told(value: &Value) -> Answer {
    json(StatusCode::OK, std::iter::once(value.to_string()))
}

/// An answer of nothing.
pub(super) fn done() -> Answer {
    let mut answer = json(StatusCode::NO_CONTENT, std::iter::empty());
    answer.headers_mut().remove(header::CONTENT_TYPE);
    answer
}

fn finish(answer: &mut Answer, id: &str, budget: Budget) {
    let headers = answer.headers_mut();
    let mut number =
        |name: &'static str, value: u64| headers.insert(name, HeaderValue::from(value));
    number("x-rate-limit-limit", budget.limit.into());
    number("x-rate-limit-remaining", budget.remaining.into());
    number("x-rate-limit-reset", budget.reset_s);
    if let Ok(id) = HeaderValue::try_from(id) {
        headers.insert("x-okta-request-id", id);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
}

/// An id that an operator can look for. Without random numbers it says nothing.
fn request_id() -> String {
    let mut bytes = [0; ID_BYTES];
    drop(secret::random(&mut bytes));
    format!("oae{}", secret::hex(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_served_has_a_route() {
        let shown = |path| match route(path) {
            None => String::new(),
            Some(Route::Logs) => "logs".to_owned(),
            Some(Route::Threats) => "threats".to_owned(),
            Some(Route::Zones) => "zones".to_owned(),
            Some(Route::Zone(id)) => format!("zone {id}"),
            Some(Route::Switch(id, active)) => format!("switch {id} {active}"),
        };
        let cases = [
            ("/api/v1/logs", "logs"),
            ("/api/v1/threats/configuration", "threats"),
            ("/api/v1/zones", "zones"),
            ("/api/v1/zones/nzo1", "zone nzo1"),
            ("/api/v1/zones/nzo1/lifecycle/activate", "switch nzo1 true"),
            (
                "/api/v1/zones/nzo1/lifecycle/deactivate",
                "switch nzo1 false",
            ),
            ("/api/v1/zones/", ""),
            ("/api/v1/zones/nzo1/", ""),
            ("/api/v1/zones//lifecycle/activate", ""),
            ("/api/v1/zones/nzo1/lifecycle", ""),
            ("/api/v1/logs/", ""),
            ("/api/v1/users", ""),
            ("/api/v1", ""),
            ("/", ""),
        ];
        for (path, expected) in cases {
            assert_eq!(shown(path), expected, "{path}");
        }
    }
}
