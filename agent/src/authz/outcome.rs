//! `POST /v1/signals`: applications report how sign-ins ended. Where a proxy asks, the same headers as of a question
//! may stand for the client.

use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode,
    header::{ALLOW, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER},
    request::Parts,
};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{desk::Desk, headers};
use crate::{
    config::Endpoint,
    policy::{
        chain::{ClientReason, Forwarding},
        request::RequestFacts,
    },
    signal::outcomes::{Answer, Call, Dealt},
};

/// Where outcomes are reported.
pub(super) const PATH: &str = "/v1/signals";

/// Answers one call.
pub(super) async fn report(desk: Arc<Desk>, parts: Parts, body: Incoming) -> Response<Full<Bytes>> {
    if parts.method != Method::POST {
        let mut response = error(
            StatusCode::METHOD_NOT_ALLOWED,
            "signals are reported with POST",
        );
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    let Ok(_place) = desk.bodies.try_acquire() else {
        return busy();
    };
    match read(&parts.headers, body).await {
        Ok(body) => {
            let endpoint = desk.endpoint();
            let snapshot = desk.gate.snapshot();
            let call = Call {
                endpoint: &endpoint,
                service: &|name| snapshot.service_named(name),
                client: &|| client(&desk, &endpoint, &parts.headers),
            };
            answer(desk.outcomes.take(&call, &body).await)
        }
        Err(refused) => refused,
    }
}

/// The whole body, within its limits.
async fn read(headers: &HeaderMap, body: Incoming) -> Result<Bytes, Response<Full<Bytes>>> {
    let too_long = || {
        let what = format!("a call has at most {BODY_BYTES_MAX} bytes");
        error(StatusCode::PAYLOAD_TOO_LARGE, &what)
    };
    if headers.contains_key(CONTENT_ENCODING) {
        let what = "the body of a call is not compressed";
        return Err(error(StatusCode::UNSUPPORTED_MEDIA_TYPE, what));
    }
    let said = headers.get(CONTENT_LENGTH);
    let said = said.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if said.is_some_and(|length| length > BODY_BYTES_MAX as u64) {
        return Err(too_long());
    }
    match timeout(BODY_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(failure)) if failure.is::<LengthLimitError>() => Err(too_long()),
        Ok(Err(_)) => Err(error(
            StatusCode::BAD_REQUEST,
            "the body of the call is cut off",
        )),
        Err(_) => Err(error(
            StatusCode::REQUEST_TIMEOUT,
            "the body of the call came too slowly",
        )),
    }
}

/// Whom the call's headers name, found as for a question.
fn client(desk: &Desk, endpoint: &Endpoint, headers: &HeaderMap) -> Result<IpAddr, String> {
    let snapshot = desk.gate.snapshot();
    let service = snapshot.service_named(&endpoint.service);
    let header = service
        .and_then(|service| snapshot.services.get(service))
        .map(|service| service.header)
        .unwrap_or_default();
    let origin = headers::origin(endpoint, header, headers, None)
        .map_err(|fault| format!("`client` is missing, and the call names none: {fault}"))?;
    let facts = RequestFacts {
        // Only the limits of reading depend on it.
        service: service.unwrap_or(usize::MAX),
        peer: origin.peer,
        path: "/",
        user_agent: None,
        sign_in: None,
    };
    let forwarding = match &origin.lines {
        Some(lines) => Forwarding::Lines(header, lines.iter().copied()),
        None => Forwarding::Nothing,
    };
    let chain = snapshot
        .judge(&facts, forwarding, desk.outcomes.now())
        .chain;
    match chain.reason {
        ClientReason::Unknown => Err(
            "`client` is missing, and the forwarding header of the call cannot be read".to_owned(),
        ),
        _ => Ok(chain.client),
    }
}

fn answer(answer: Answer) -> Response<Full<Bytes>> {
    match answer {
        Answer::Busy => busy(),
        Answer::Unreadable(why) => error(StatusCode::BAD_REQUEST, &why.to_string()),
        Answer::Done(dealt) => {
            let none = dealt.accepted == 0 && dealt.duplicates == 0;
            let status = if none {
                StatusCode::UNPROCESSABLE_ENTITY
            } else {
                StatusCode::OK
            };
            said(status, &facts(&dealt))
        }
    }
}

fn facts(dealt: &Dealt) -> Value {
    let rejected = dealt
        .rejected
        .iter()
        .map(|(index, reason)| json!({ "index": index, "reason": reason }));
    json!({
        "accepted": dealt.accepted,
        "duplicates": dealt.duplicates,
        "rejected": rejected.collect::<Vec<Value>>(),
    })
}

fn busy() -> Response<Full<Bytes>> {
    let what = "detection is behind; send the same again, with the same ids";
    let mut response = error(StatusCode::SERVICE_UNAVAILABLE, what);
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn error(status: StatusCode, what: &str) -> Response<Full<Bytes>> {
    said(status, &json!({ "error": what }))
}

fn said(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(format!("{value}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Bytes of a call.
const BODY_BYTES_MAX: usize = 256 << 10;
/// From the head of a call to the end of its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Calls of one endpoint that are being read or written at a time.
pub(super) const BODIES_MAX: usize = 64;
