//! How a judgement is said to callers that speak HTTP: statuses and headers of each profile.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER},
};
use http_body_util::Full;

use super::{fault::Fault, headers::Headers as _, question::Judged};
use crate::{
    config::Profile,
    gate::{self, Refusal, Wanted},
    policy::snapshot::Snapshot,
};

/// Headers of the next layer by the gate's names.
pub(super) static TOLD: [HeaderName; 5] = [
    HeaderName::from_static(gate::CLIENT),
    HeaderName::from_static(gate::VERDICT),
    HeaderName::from_static(gate::REASON),
    HeaderName::from_static(gate::SCORE),
    HeaderName::from_static(gate::WOULD),
];

/// nginx learns from it what the client is to be answered.
static STATUS: HeaderName = HeaderName::from_static("x-edgeward-status");
static EVENT_ID: HeaderName = HeaderName::from_static("x-edgeward-event-id");
static WAIT: HeaderName = HeaderName::from_static("x-edgeward-retry-after");
/// Envoy removes the headers named in it from the request.
static REMOVE: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");

/// The answer to a question.
pub(super) fn judged(profile: Profile, judged: &Judged) -> Response<Full<Bytes>> {
    match (&judged.decision.refusal, profile) {
        (None, _) => passed(profile, judged),
        (Some(refusal), Profile::AuthRequest) => for_nginx(refusal),
        (Some(refusal), _) => refused(refusal, judged.wanted),
    }
}

/// The answer to a question that cannot be judged.
pub(super) fn fault(fault: &Fault) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(format!("Edgeward: {fault}.\n")));
    *response.status_mut() = status(fault.status());
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response
}

/// The page of a refusal, for a caller that only passed on its status: what it was told comes back.
pub(super) fn page(
    asked: &HeaderMap,
    snapshot: &Snapshot,
    service: usize,
) -> Response<Full<Bytes>> {
    let text = |name: &HeaderName| {
        asked
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let event_id = text(&EVENT_ID);
    let wanted = Wanted::by_accept(asked.first("accept"));
    let event = !event_id.is_empty()
        && event_id.len() <= EVENT_ID_BYTES_MAX
        && event_id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    let refusal = Refusal::again(
        snapshot,
        service,
        text(&STATUS)
            .parse()
            .ok()
            .filter(|status| (400..600).contains(status)),
        text(&WAIT).parse().ok().map(std::time::Duration::from_secs),
        if event { event_id } else { "" },
    );
    refused(&refusal, wanted)
}

fn passed(profile: Profile, judged: &Judged) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    if profile == Profile::AuthRequest {
        *response.status_mut() = StatusCode::NO_CONTENT;
    }
    let headers = response.headers_mut();
    let mut absent = String::new();
    for name in &TOLD {
        match told(judged, name.as_str()) {
            Some(value) => {
                headers.insert(name.clone(), value);
            }
            None if profile == Profile::ExtAuthz => {
                if !absent.is_empty() {
                    absent.push(',');
                }
                absent.push_str(name.as_str());
            }
            None => {}
        }
    }
    if let Ok(absent) = HeaderValue::try_from(absent)
        && !absent.is_empty()
    {
        headers.insert(REMOVE.clone(), absent);
    }
    response
}

fn told(judged: &Judged, name: &str) -> Option<HeaderValue> {
    let (_, value) = judged
        .decision
        .headers
        .iter()
        .find(|(told, _)| *told == name)?;
    HeaderValue::from_str(value).ok()
}

/// nginx takes 2xx, 401 and 403 from an `auth_request`, and of the answer nothing but its headers.
fn for_nginx(refusal: &Refusal) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::FORBIDDEN;
    let headers = response.headers_mut();
    headers.insert(STATUS.clone(), HeaderValue::from(refusal.status));
    if let Ok(event_id) = HeaderValue::from_str(&refusal.event_id) {
        headers.insert(EVENT_ID.clone(), event_id);
    }
    if let Some(seconds) = refusal.retry_after_s() {
        headers.insert(WAIT.clone(), HeaderValue::from(seconds));
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// The whole answer to the client, which the caller passes on as it is.
fn refused(refusal: &Refusal, wanted: Wanted) -> Response<Full<Bytes>> {
    let (kind, body) = refusal.body(wanted);
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status(refusal.status);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, NO_STORE);
    if let Some(seconds) = refusal.retry_after_s() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::FORBIDDEN)
}

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const EVENT_ID_BYTES_MAX: usize = 64;
