//! Envoy's `ext_authz` over gRPC. The peer is what the message says of Envoy's own connection; the call's
//! metadata are Envoy's and are not read.

mod frame;
mod messages;
#[cfg(test)]
pub(super) mod tests;

use std::{convert::Infallible, net::IpAddr, pin::Pin, sync::Arc};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::{body::Incoming, service::Service};
use prost::Message as _;
use tokio::time::timeout;

use self::{
    frame::{Code, Failure, Reply},
    messages::{
        CheckRequest, CheckResponse, Denied, HeaderValue, HeaderValueOption, HttpRequest,
        HttpStatus, OVERWRITE, Passed, RpcStatus,
    },
};
use super::{
    HEAD_TIMEOUT,
    desk::Desk,
    fault::Fault,
    headers::Headers,
    question::{Judged, Question, judge},
};

/// Answers the calls of one connection.
pub(super) struct Calls {
    pub(super) desk: Arc<Desk>,
}

impl Service<Request<Incoming>> for Calls {
    type Response = Response<Reply>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let desk = Arc::clone(&self.desk);
        Box::pin(async move { Ok(called(request, &desk).await) })
    }
}

async fn called(request: Request<Incoming>, desk: &Desk) -> Response<Reply> {
    let kind = request.headers().get(CONTENT_TYPE);
    if !kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
        let mut response = frame::failed(&Failure::new(Code::Unimplemented, "this is gRPC"));
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return response;
    }
    let checked = if request.uri().path() == METHOD {
        match message(request.into_body()).await {
            Ok(Some(message)) => check(message, desk),
            Ok(None) => {
                desk.garbled();
                Ok(too_long())
            }
            Err(failure) => Err(failure),
        }
    } else {
        Err(Failure::new(
            Code::Unimplemented,
            "only envoy.service.auth.v3.Authorization/Check is served",
        ))
    };
    match checked {
        Ok(answer) => frame::reply(&answer),
        Err(failure) => {
            if failure.code != Code::FailedPrecondition {
                desk.garbled();
            }
            frame::failed(&failure)
        }
    }
}

/// The call's message, bounded in size and in time; `None` if it is too long.
async fn message(body: Incoming) -> Result<Option<Bytes>, Failure> {
    let whole = timeout(
        HEAD_TIMEOUT,
        Limited::new(body, MESSAGE_BYTES_MAX).collect(),
    )
    .await
    .map_err(|_| Failure::new(Code::DeadlineExceeded, "the message did not come in time"))?;
    match whole {
        Ok(whole) => frame::message(&whole.to_bytes()).map(Some),
        Err(error) if error.is::<LengthLimitError>() => Ok(None),
        Err(_) => Err(Failure::new(
            Code::InvalidArgument,
            "the message was cut off",
        )),
    }
}

/// Judges one message.
fn check(message: Bytes, desk: &Desk) -> Result<CheckResponse, Failure> {
    let request = CheckRequest::decode(message)
        .map_err(|error| Failure::new(Code::InvalidArgument, error.to_string()))?;
    asked(request, desk).map_err(|fault| {
        desk.refuse(&fault);
        Failure::new(Code::FailedPrecondition, fault.to_string())
    })
}

fn asked(request: CheckRequest, desk: &Desk) -> Result<CheckResponse, Fault> {
    let attributes = request.attributes.unwrap_or_default();
    let peer = attributes
        .source
        .and_then(|source| source.address)
        .and_then(|address| address.socket_address)
        .and_then(|socket| {
            std::str::from_utf8(&socket.address)
                .ok()?
                .parse::<IpAddr>()
                .ok()
        });
    let http = attributes
        .request
        .and_then(|request| request.http)
        .ok_or_else(|| missing("attributes.request.http"))?;
    let lines = Lines::of(&http);
    let question = Question {
        method: fact(&http.method, "attributes.request.http.method")?,
        target: fact(&http.path, "attributes.request.http.path")?,
        headers: &lines,
        host: (!http.host.is_empty()).then_some(&http.host),
        peer,
    };
    let judged = judge(&desk.gate, &desk.endpoint(), &question)?;
    Ok(match judged.decision.refusal {
        None => passed(&judged, &lines),
        Some(_) => denied(&judged),
    })
}

fn fact<'a>(bytes: &'a Bytes, name: &str) -> Result<&'a [u8], Fault> {
    if bytes.is_empty() {
        return Err(missing(name));
    }
    Ok(bytes)
}

fn missing(name: &str) -> Fault {
    Fault::Missing(FACT, name.to_owned())
}

/// The header lines of the original request, names in lower case: one by one, or those of one name joined.
struct Lines<'a>(&'a [HeaderValue]);

impl<'a> Lines<'a> {
    fn of(http: &'a HttpRequest) -> Self {
        match &http.header_map {
            Some(map) => Self(&map.headers),
            None => Self(&http.headers),
        }
    }
}

impl Headers for Lines<'_> {
    fn lines<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.0
            .iter()
            .filter(move |line| line.key.eq_ignore_ascii_case(name.as_bytes()))
            .map(|line| match line.raw_value.is_empty() {
                true => &line.value[..],
                false => &line.raw_value[..],
            })
    }
}

fn passed(judged: &Judged, lines: &Lines<'_>) -> CheckResponse {
    let told = &judged.decision.headers;
    // Envoy removes after it has set, so what is set must not be among them.
    let headers_to_remove = lines
        .0
        .iter()
        .map(|line| &line.key)
        .filter(|key| is_ours(key))
        .filter(|key| !told.iter().any(|(name, _)| name.as_bytes() == &key[..]))
        .take(REMOVED_MAX)
        .cloned()
        .collect();
    CheckResponse {
        status: Some(RpcStatus {
            code: Code::Ok as i32,
        }),
        denied: None,
        ok: Some(Passed {
            headers: told
                .iter()
                .map(|(name, value)| header(name, value.clone()))
                .collect(),
            headers_to_remove,
        }),
    }
}

/// `x-edgeward-…`, also in the spellings that some applications take for it.
fn is_ours(name: &[u8]) -> bool {
    name.get(..OURS.len()).is_some_and(|start| {
        start.iter().zip(OURS).all(|(byte, expected)| {
            byte.eq_ignore_ascii_case(expected)
                || (*expected == b'-' && matches!(byte, b'_' | b'.'))
        })
    })
}

fn denied(judged: &Judged) -> CheckResponse {
    let Some(refusal) = &judged.decision.refusal else {
        return CheckResponse::default();
    };
    let (kind, body) = refusal.body(judged.wanted);
    let wait = refusal.retry_after_s();
    let mut headers = vec![
        header("content-type", kind),
        header("cache-control", "no-store"),
    ];
    headers.extend(wait.map(|seconds| header("retry-after", seconds.to_string())));
    let code = match wait {
        Some(_) => Code::ResourceExhausted,
        None => Code::PermissionDenied,
    };
    CheckResponse {
        status: Some(RpcStatus { code: code as i32 }),
        denied: Some(Denied {
            status: Some(HttpStatus {
                code: i32::from(refusal.status),
            }),
            headers,
            body,
        }),
        ok: None,
    }
}

/// A client can make a message long, so the answer is a refusal: after a failure Envoy may let it on.
fn too_long() -> CheckResponse {
    CheckResponse {
        status: Some(RpcStatus {
            code: Code::ResourceExhausted as i32,
        }),
        denied: Some(Denied {
            status: Some(HttpStatus { code: 431 }),
            headers: Vec::new(),
            body: Bytes::new(),
        }),
        ok: None,
    }
}

fn header(name: &str, value: impl Into<Bytes>) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue {
            key: Bytes::copy_from_slice(name.as_bytes()),
            value: value.into(),
            raw_value: Bytes::new(),
        }),
        append_action: OVERWRITE,
    }
}

const METHOD: &str = "/envoy.service.auth.v3.Authorization/Check";
const FACT: &str = "fact of the original request";
const OURS: &[u8] = b"x-edgeward-";
/// Envoy's heads have 60 KiB by default.
const MESSAGE_BYTES_MAX: usize = 256 << 10;
/// Names of headers to be removed from one request.
const REMOVED_MAX: usize = 256;
