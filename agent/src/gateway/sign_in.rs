//! Requests that sign somebody in: the beginning of their body is read before they are judged, and what the answer
//! says of them is told to detection. Names live as long as a look at them takes.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header, request, response};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::{
    answer_text::Encoding,
    body::{Ahead, cause_of},
    cause::Cause,
    connection::Conn,
    headers,
    request::Rules,
    shared::Worker,
};
use crate::{
    config::Service,
    gate::{Gate, Noted},
    policy::{
        sign_in::{self, Body, Place, SignIn, UserPlace},
        signal::{Outcome, Signal},
        suspects::SignInFacts,
    },
};

/// A sign-in on its way.
pub(super) struct Attempt {
    gate: Gate,
    worker: Arc<Worker>,
    services: Arc<[Service]>,
    /// Its place among the services, and its kind among the service's.
    place: (usize, usize),
    facts: SignInFacts,
    client: Option<std::net::IpAddr>,
    peer: std::net::IpAddr,
}

/// Signals of one worker that wait for company.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: Mutex<Vec<Signal>>,
    /// Somebody will look at it soon.
    is_due: AtomicBool,
}

/// Looks at an answer's body as it passes. Dropped, it tells what it has seen.
pub(super) struct Watch {
    attempt: Box<Attempt>,
    by_status: Option<Outcome>,
    encoding: Encoding,
    seen: Vec<u8>,
    bytes_max: usize,
    is_told: bool,
}

/// Why the beginning of a body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// The wire says so, and counts it.
    Told(Cause),
    /// It did not come in time.
    Late,
    /// It broke off.
    Broken,
}

impl Attempt {
    /// The sign-in that a request is, if it is one.
    pub(super) fn of(conn: &Conn, rules: &Rules<'_>, parts: &request::Parts) -> Option<Box<Self>> {
        let kinds = &rules.service.sign_ins;
        if kinds.is_empty() {
            return None;
        }
        let kind = sign_in::find(kinds, parts.method.as_str(), parts.uri.path())?;
        let kind = kinds.iter().position(|one| std::ptr::eq(one, kind))?;
        let gate = &conn.shared.gate;
        let key = gate.sign_ins()?.key();
        let user_agent = parts.headers.get(header::USER_AGENT);
        let user_agent = user_agent.map(HeaderValue::as_bytes);
        Some(Box::new(Self {
            gate: gate.clone(),
            worker: Arc::clone(&conn.worker),
            services: Arc::clone(&rules.snapshot.services),
            place: (rules.index, kind),
            facts: SignInFacts {
                user: None,
                agent: sign_in::agent(key, user_agent, parts.uri.path()),
            },
            client: None,
            peer: conn.peer.ip(),
        }))
    }

    /// Finds the user, in as much of the body as that takes. What was read of it is to be passed on. `limit` is that of
    /// one wait, and whether the wire holds the body to it already.
    pub(super) async fn look(
        &mut self,
        parts: &request::Parts,
        body: &mut Incoming,
        limit: (Duration, bool),
    ) -> Result<Option<Box<Ahead>>, Unread> {
        let services = Arc::clone(&self.services);
        let Some(kind) = kind(&services, self.place) else {
            return Ok(None);
        };
        let Some(sign_ins) = self.gate.sign_ins() else {
            return Ok(None);
        };
        let (field, take) = match &kind.user {
            UserPlace::Nowhere => return Ok(None),
            UserPlace::Basic => {
                let credentials = parts.headers.get(header::AUTHORIZATION);
                self.facts.user = credentials
                    .and_then(|value| sign_in::basic_user(sign_ins.key(), value.as_bytes()));
                return Ok(None);
            }
            UserPlace::Field(field, take) => (field, *take),
        };
        // Its state is no part of every other request's.
        let gathered = gather(&self.worker, body, kind.body_bytes_max, limit);
        let ahead = Box::pin(gathered).await?;
        let all = ahead.data.as_deref().unwrap_or_default();
        let bytes = all.get(..kind.body_bytes_max).unwrap_or(all);
        let text = |name| parts.headers.get(name).map(HeaderValue::as_bytes);
        let found = sign_in::read(
            field,
            take,
            sign_ins.key(),
            parts.uri.query(),
            Body {
                content_type: text(header::CONTENT_TYPE),
                content_encoding: text(header::CONTENT_ENCODING),
                bytes,
                is_whole: ahead.is_whole && bytes.len() == all.len(),
            },
        );
        self.facts.user = found.user;
        for (is_so, noted) in [
            (found.is_cut, Noted::BodyCut),
            (found.is_unreadable, Noted::BodyUnreadable),
            (found.is_repeated, Noted::UserRepeated),
        ] {
            if is_so {
                sign_ins.note(noted);
            }
        }
        // Nothing there, and nothing waited for: as if nobody had looked.
        Ok((ahead.data.is_some() || ahead.trailers.is_some()).then(|| Box::new(ahead)))
    }

    /// What it is judged by.
    pub(super) const fn facts(&self) -> SignInFacts {
        self.facts
    }

    /// It was let on; this is its client.
    pub(super) const fn passed(&mut self, client: std::net::IpAddr) {
        self.client = Some(client);
    }

    /// The application has answered: tells the outcome, or what tells it once the body has passed.
    pub(super) fn answered(self: Box<Self>, answer: &response::Parts) -> Option<Box<Watch>> {
        let services = Arc::clone(&self.services);
        let rules = &kind(&services, self.place)?.answer;
        let by_status = rules.statuses.outcome(answer.status.as_u16());
        match &rules.place {
            Place::Status => self.tell(by_status),
            Place::Header(name) => {
                let words = answer.headers.get_all(name.as_str());
                let by_word = words.iter().find_map(|word| rules.word(word.as_bytes()));
                self.tell(by_word.or(by_status));
            }
            Place::Field(_, bytes_max) => {
                return Some(Box::new(Watch {
                    attempt: self,
                    by_status,
                    encoding: Encoding::of(&answer.headers),
                    seen: Vec::new(),
                    bytes_max: *bytes_max,
                    is_told: false,
                }));
            }
        }
        None
    }

    fn tell(&self, outcome: Option<Outcome>) {
        let (Some(client), Some(sign_ins)) = (self.client, self.gate.sign_ins()) else {
            return;
        };
        let (Some(outcome), Some(kind)) = (outcome, kind(&self.services, self.place)) else {
            return sign_ins.note(Noted::Unclear);
        };
        if outcome.failed() {
            let forwarders = self.gate.forwarders();
            forwarders.failed(self.peer, self.gate.now_ms());
        }
        let signal = Signal {
            time_ms: self.gate.now_ms(),
            client,
            service: u16::try_from(self.place.0).unwrap_or(u16::MAX),
            flow: kind.flow,
            outcome,
            user: self.facts.user,
            agent: self.facts.agent,
            asn: None,
        };
        Outbox::put(&self.worker, &self.gate, signal);
    }
}

fn kind(services: &[Service], (service, kind): (usize, usize)) -> Option<&SignIn> {
    services.get(service)?.sign_ins.get(kind)
}

/// Reads the beginning of a body: so many bytes, or what comes within the limit of one wait. Pieces are put together,
/// so that many small ones take no more room than their bytes.
async fn gather(
    worker: &Worker,
    body: &mut Incoming,
    bytes_max: usize,
    (limit, is_timed): (Duration, bool),
) -> Result<Ahead, Unread> {
    let began = Instant::now();
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    let mut trailers: Option<HeaderMap> = None;
    let mut is_whole = body.is_end_stream();
    while !is_whole && first.len() + more.len() < bytes_max && began.elapsed() < limit {
        let next = if is_timed {
            Some(body.frame().await)
        } else {
            worker.wheel.within(limit, body.frame()).await
        };
        let Some(next) = next else {
            return Err(Unread::Late);
        };
        let Some(frame) = next else {
            is_whole = true;
            break;
        };
        let frame = frame.map_err(|error| match cause_of(&error) {
            Some(cause) => Unread::Told(cause),
            None => Unread::Broken,
        })?;
        match frame.into_data() {
            Ok(data) if first.is_empty() && more.is_empty() => first = data,
            Ok(data) => {
                if more.is_empty() {
                    more.extend_from_slice(&first);
                    first = Bytes::new();
                }
                more.extend_from_slice(&data);
            }
            Err(frame) => {
                if let Ok(mut last) = frame.into_trailers() {
                    headers::clean_trailers(&mut last);
                    trailers = Some(last);
                }
            }
        }
        is_whole = body.is_end_stream();
    }
    let data = if more.is_empty() {
        first
    } else {
        more.freeze()
    };
    Ok(Ahead {
        data: Some(data).filter(|data| !data.is_empty()),
        trailers,
        is_whole,
    })
}

impl Watch {
    /// A piece of the body passes.
    pub(super) fn see(&mut self, data: &[u8]) {
        let room = self.bytes_max.saturating_sub(self.seen.len());
        self.seen.extend(data.iter().take(room));
        if self.seen.len() >= self.bytes_max {
            self.tell();
        }
    }

    fn tell(&mut self) {
        if std::mem::replace(&mut self.is_told, true) {
            return;
        }
        let seen = std::mem::take(&mut self.seen);
        let services = Arc::clone(&self.attempt.services);
        let rules = kind(&services, self.attempt.place).map(|kind| &kind.answer);
        let by_word = rules.and_then(|rules| {
            let Place::Field(field, _) = &rules.place else {
                return None;
            };
            let text = self.encoding.text(&seen, self.bytes_max);
            let (word, is_whole) =
                text.map_or((None, false), |text| sign_in::field_of_answer(&text, field));
            if word.is_none()
                && !is_whole
                && let Some(sign_ins) = self.attempt.gate.sign_ins()
            {
                sign_ins.note(Noted::AnswerUnreadable);
            }
            rules.word(&word?)
        });
        self.attempt.tell(by_word.or(self.by_status));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.tell();
    }
}

impl Outbox {
    /// Puts a signal in; it is handed over with others, or soon.
    pub(super) fn put(worker: &Arc<Worker>, gate: &Gate, signal: Signal) {
        let mut waiting = worker.outbox.lock();
        if waiting.len() >= WAITING_MAX {
            drop(waiting);
            if let Some(sign_ins) = gate.sign_ins() {
                sign_ins.note(Noted::Dropped);
            }
            return;
        }
        waiting.push(signal);
        let is_enough = waiting.len().is_multiple_of(TOGETHER);
        drop(waiting);
        if is_enough {
            worker.outbox.empty(gate);
        }
        Self::empty_soon(worker, gate);
    }

    /// Hands over what waits; what detection has no room for waits on.
    pub(super) fn empty(&self, gate: &Gate) {
        let Some(sign_ins) = gate.sign_ins() else {
            return;
        };
        let mut waiting = self.lock();
        if waiting.is_empty() {
            return;
        }
        if let Err(back) = sign_ins.hand_over(std::mem::take(&mut *waiting)) {
            *waiting = back;
        }
    }

    fn empty_soon(worker: &Arc<Worker>, gate: &Gate) {
        if worker.outbox.lock().is_empty() || worker.outbox.is_due.swap(true, Relaxed) {
            return;
        }
        // While a worker ends there is no runtime any more; it empties its outbox itself.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let (worker, gate) = (Arc::clone(worker), gate.clone());
        runtime.spawn(async move {
            tokio::time::sleep(SOON).await;
            worker.outbox.is_due.store(false, Relaxed);
            worker.outbox.empty(&gate);
            Self::empty_soon(&worker, &gate);
        });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Signal>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Signals that are handed over at once.
const TOGETHER: usize = 64;
/// How long a signal waits for others.
const SOON: Duration = Duration::from_millis(20);
/// Signals that wait while detection has no room.
const WAITING_MAX: usize = 4_096;
