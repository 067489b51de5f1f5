//! Answers of the gateway's own: plain and short, without a word about what was configured.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::{body::OutBody, cause::Cause, share::Share};
use crate::gate::{Refusal, Wanted};

/// The answer to a request that could not be served. `close` ends the connection with it.
pub(super) fn failed(cause: Cause, share: Option<Share>, close: bool) -> Response<OutBody> {
    let status = cause.status();
    let mut response = Response::new(OutBody::own(
        Bytes::from_static(text(status).as_bytes()),
        share,
    ));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PLAIN));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if close {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The answer to a refused request.
pub(super) fn refused(
    refusal: &Refusal,
    request: &HeaderMap,
    share: Share,
    close: bool,
) -> Response<OutBody> {
    let accept = request.get(header::ACCEPT).map(HeaderValue::as_bytes);
    let (kind, body) = refusal.body(Wanted::by_accept(accept));
    let mut response = Response::new(OutBody::own(body, Some(share)));
    *response.status_mut() = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::FORBIDDEN);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    if let Some(seconds) = refusal.retry_after_s() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if close {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The same as bytes, for a connection that hyper no longer reads.
pub(super) fn raw(cause: Cause) -> String {
    let status = cause.status();
    let text = text(status);
    format!(
        "HTTP/1.1 {} {}\r\ncontent-type: {PLAIN}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
        status.as_str(),
        status.canonical_reason().unwrap_or_default(),
        text.len(),
    )
}

fn text(status: StatusCode) -> &'static str {
    match status.as_u16() {
        405 => "Method not allowed.\n",
        408 => "The request took too long.\n",
        431 => "The request's head is too large.\n",
        502 => "The service does not answer as it should.\n",
        503 => "The service is busy. Try again later.\n",
        504 => "The service does not answer in time.\n",
        _ => "The request cannot be read.\n",
    }
}

const PLAIN: &str = "text/plain; charset=utf-8";
