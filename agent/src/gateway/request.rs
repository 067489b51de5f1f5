//! One request: judged by the snapshot of its moment, then refused or passed on. Whatever the connection
//! did before has no say in it.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version, header,
    request::Parts,
};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, ext::ReasonPhrase};

use super::{
    body::{Ahead, OutBody, Source, UpBody, Upload},
    cause::Cause,
    connection::{Announced, Conn},
    forward::{self, Answer},
    headers, normal, respond,
    share::Share,
    sign_in::{Attempt, Unread},
    upgrade::{self, Hold, Upgraded, Wanted},
    wheel::Alarm,
};
use crate::{
    config::{Gateway, Header, Service},
    gate::{Decision, Head, Refusal, Via},
    policy::{chain::Forwarding, request::RequestFacts, snapshot::Snapshot, suspects::SignInFacts},
};

/// What a request needs of its service.
#[derive(Clone, Copy)]
pub(super) struct Rules<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) index: usize,
    pub(super) service: &'a Service,
    pub(super) gateway: &'a Gateway,
}

/// The service with a gateway that has the port.
pub(super) fn rules(snapshot: &Snapshot, port: u16) -> Option<Rules<'_>> {
    let index = snapshot.service_at(port)?;
    let service = snapshot.services.get(index)?;
    let gateway = service.gateway.as_ref()?;
    Some(Rules {
        snapshot,
        index,
        service,
        gateway,
    })
}

/// Serves a request.
pub(super) async fn handle(
    conn: &Conn,
    mut request: Request<Incoming>,
) -> Result<Response<OutBody>, Infallible> {
    let began = Instant::now();
    let snapshot = conn.shared.gate.snapshot();
    let hold = Hold::new(conn);
    let Some(rules) = rules(&snapshot, conn.local.port()) else {
        conn.shared.reject(Cause::NotAService, conn.peer.ip());
        conn.line.answered();
        return Ok(respond::failed(Cause::NotAService, None, true));
    };
    let Some(mut share) = share(conn, &rules) else {
        conn.shared.reject(Cause::Requests, conn.peer.ip());
        conn.line.answered();
        return Ok(respond::failed(Cause::Requests, None, true));
    };
    let upgrade = upgrade::wanted(conn, &mut request, rules.gateway);
    let (mut parts, mut body) = request.into_parts();
    if let Err(cause) = normal::request(&mut parts, conn, rules.gateway.limits.headers_max) {
        return Ok(unjudged(conn, cause, share));
    }
    let limit = rules.gateway.limits.body_timeout;
    let (mut attempt, mut ahead) = (Attempt::of(conn, &rules, &parts), None);
    if let Some(attempt) = &mut attempt {
        match attempt
            .look(&parts, &mut body, (limit, conn.is_http1))
            .await
        {
            Ok(read) => ahead = read,
            Err(unread) => return Ok(unread_body(conn, unread, share)),
        }
    }
    let facts = attempt.as_deref().map(Attempt::facts);
    let mut decision = judge(conn, &rules, &parts, facts);
    if let Some(refusal) = decision.refusal.take() {
        share.keep(decision.into_permit());
        let headers = &parts.headers;
        return Ok(refuse(conn, &refusal, headers, (body, ahead), share, began).await);
    }
    headers::clean_request(&mut parts.headers, rules.service.header.name());
    announce(&mut parts.headers, &mut decision);
    let client = decision.ruling.chain.client;
    if let Some(attempt) = &mut attempt {
        attempt.passed(client);
    }
    share.keep(decision.into_permit());
    if let Some(upgrade) = &upgrade {
        upgrade.ask(&mut parts.headers);
    }
    let (body, upload) = up_body(conn, ahead, body, limit);
    let judged = began.elapsed();
    let answer = forward::forward(conn, &rules, client, (parts, body), upload.as_deref()).await;
    let answered = Instant::now();
    let response = match answer {
        Ok(answer) => {
            let watch = attempt.and_then(|attempt| attempt.answered(&answer.parts));
            let response = deliver(conn, &rules, answer, upload, share, upgrade, hold).await;
            response.map(|body| body.watched(watch))
        }
        Err(cause) => {
            share.failed(cause);
            respond::failed(cause, Some(share), cause.of_client())
        }
    };
    conn.shared
        .gate
        .took(Via::Gateway, judged + answered.elapsed());
    Ok(response)
}

fn share(conn: &Conn, rules: &Rules<'_>) -> Option<Share> {
    Share::new(
        &conn.shared,
        conn.place.load(),
        rules.gateway.limits.requests_max,
        Arc::clone(&conn.line),
        conn.peer.ip(),
    )
}

/// Answers a request that never came to a judgement.
fn unjudged(conn: &Conn, cause: Cause, mut share: Share) -> Response<OutBody> {
    conn.shared.reject(cause, conn.peer.ip());
    share.ended();
    respond::failed(cause, Some(share), true)
}

fn unread_body(conn: &Conn, unread: Unread, mut share: Share) -> Response<OutBody> {
    match unread {
        Unread::Told(cause) => {
            share.ended();
            respond::failed(cause, Some(share), true)
        }
        Unread::Late => unjudged(conn, Cause::BodyTimeout, share),
        Unread::Broken => unjudged(conn, Cause::Chunk, share),
    }
}

fn judge(conn: &Conn, rules: &Rules<'_>, parts: &Parts, sign_in: Option<SignInFacts>) -> Decision {
    let head = Head {
        facts: RequestFacts {
            service: rules.index,
            peer: conn.peer.ip(),
            path: parts.uri.path(),
            user_agent: parts
                .headers
                .get(header::USER_AGENT)
                .map(HeaderValue::as_bytes),
            sign_in,
        },
        via: Via::Gateway,
        method: parts.method.as_str(),
        host: parts
            .headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok()),
    };
    let gate = &conn.shared.gate;
    match (rules.service.header, conn.announced) {
        (Header::ProxyProtocol, Announced::Client(address)) => gate.decide(
            rules.snapshot,
            &head,
            Forwarding::<NoLines>::Address(address),
        ),
        (Header::ProxyProtocol, _) => {
            gate.decide(rules.snapshot, &head, Forwarding::<NoLines>::Nothing)
        }
        (named, _) => {
            let mut lines = parts
                .headers
                .get_all(named.name())
                .iter()
                .map(HeaderValue::as_bytes);
            match (lines.next(), lines.next()) {
                (first, None) => gate.decide(
                    rules.snapshot,
                    &head,
                    Forwarding::Lines(named, first.into_iter()),
                ),
                _ => {
                    let lines: Vec<&[u8]> = parts
                        .headers
                        .get_all(named.name())
                        .iter()
                        .map(HeaderValue::as_bytes)
                        .collect();
                    gate.decide(
                        rules.snapshot,
                        &head,
                        Forwarding::Lines(named, lines.iter().copied()),
                    )
                }
            }
        }
    }
}

/// Tells the client no; its body is read first, up to a bound, so that the connection can go on.
async fn refuse(
    conn: &Conn,
    refusal: &Refusal,
    headers: &HeaderMap,
    (mut body, ahead): (Incoming, Option<Box<Ahead>>),
    mut share: Share,
    began: Instant,
) -> Response<OutBody> {
    conn.shared.gate.took(Via::Gateway, began.elapsed());
    // Whoever waited for a word to send its body has had it when some was read.
    let expects = ahead.is_none() && headers.contains_key(header::EXPECT);
    let mut close = false;
    if !ahead.is_some_and(|ahead| ahead.is_whole) && !body.is_end_stream() {
        let fits = body
            .size_hint()
            .exact()
            .is_none_or(|bytes| bytes <= DRAINED_BYTES_MAX);
        if conn.is_http1 {
            close = expects || !fits || !drained(&mut body).await;
        } else if fits && !expects {
            // The reset of a stream whose body nobody reads can overtake its answer: the client then sees an error
            // and no refusal. Nothing else bounds how long a stream may take.
            let reading = drained(&mut body);
            let _ = conn.worker.wheel.within(DRAINING_MAX, reading).await;
        }
    }
    share.ended();
    respond::refused(refusal, headers, share, close)
}

/// Reads a body that nobody wants; `false` if it is too long or breaks off.
async fn drained(body: &mut Incoming) -> bool {
    let mut left = DRAINED_BYTES_MAX;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        let bytes = frame
            .data_ref()
            .map_or(0, |data| u64::try_from(data.len()).unwrap_or(u64::MAX));
        let Some(rest) = left.checked_sub(bytes) else {
            return false;
        };
        left = rest;
    }
    true
}

/// Hands the upstream's answer on.
async fn deliver(
    conn: &Conn,
    rules: &Rules<'_>,
    answer: Answer,
    upload: Option<Arc<Upload>>,
    mut share: Share,
    upgrade: Option<Wanted>,
    hold: Hold<'_>,
) -> Response<OutBody> {
    let Answer {
        mut parts,
        mut source,
    } = answer;
    parts.version = Version::HTTP_11;
    let reason = parts.extensions.remove::<ReasonPhrase>();
    parts.extensions.clear();
    if let Some(reason) = reason {
        parts.extensions.insert(reason);
    }
    let switched = parts.headers.remove(header::UPGRADE);
    headers::clean_response(&mut parts.headers);
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        let (Source::Link(link), Some(upgrade)) = (source, upgrade) else {
            share.failed(Cause::UpstreamBroken);
            return respond::failed(Cause::UpstreamBroken, Some(share), true);
        };
        let (stream, ahead) = link.upgraded();
        share.ended();
        let upgraded = Upgraded {
            stream,
            ahead,
            share,
            idle: rules.gateway.limits.idle_timeout,
        };
        return upgrade.switch(conn, parts, switched, upgraded, hold);
    }
    let limit = rules.gateway.limits.body_timeout;
    if let Some(upload) = upload.filter(|upload| !upload.has_ended())
        && let Source::Link(link) = source
    {
        // The request goes on being sent while its answer is read, at a pace of its own.
        source = Source::Shared(link.share(upload, Alarm::new(&conn.worker.wheel), limit));
    }
    if source.has_ended() {
        source.finish();
        share.ended();
        return Response::from_parts(parts, OutBody::empty(Some(share)));
    }
    Response::from_parts(
        parts,
        OutBody::upstream(source, &conn.worker.wheel, limit, share),
    )
}

/// What the next layer is told.
fn announce(headers: &mut HeaderMap, decision: &mut Decision) {
    for (name, value) in decision.headers.drain(..) {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

fn up_body(
    conn: &Conn,
    ahead: Option<Box<Ahead>>,
    body: Incoming,
    limit: Duration,
) -> (UpBody, Option<Arc<Upload>>) {
    if ahead.is_none() && body.is_end_stream() {
        return (UpBody::Empty, None);
    }
    let (body, upload) = UpBody::streaming(ahead, body, &conn.worker.wheel, limit);
    (body, Some(upload))
}

type NoLines = std::iter::Empty<&'static [u8]>;

/// Bytes of a refused request's body that are read, so that the connection can go on.
const DRAINED_BYTES_MAX: u64 = 65_536;
/// Longest an HTTP/2 stream's refused body is waited for.
const DRAINING_MAX: Duration = Duration::from_secs(2);
