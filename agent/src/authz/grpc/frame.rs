//! gRPC over HTTP/2 as far as one unary call needs it: the five bytes ahead of a message, and a status in
//! the trailers.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response, header::CONTENT_TYPE};
use http_body::{Body, Frame};
use prost::Message;

/// How a call failed, by gRPC's numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: Code,
    pub(super) message: String,
}

/// gRPC's status codes that are used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    Ok = 0,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Unimplemented = 12,
}

impl Failure {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

/// The only message of a request's body.
pub(super) fn message(body: &Bytes) -> Result<Bytes, Failure> {
    let Some(([compressed, length @ ..], rest)) = body.split_first_chunk::<PREFIX_BYTES>() else {
        return Err(Failure::new(Code::InvalidArgument, "there is no message"));
    };
    if *compressed != 0 {
        return Err(Failure::new(
            Code::Unimplemented,
            "compressed messages are not read; send them as they are (identity)",
        ));
    }
    if usize::try_from(u32::from_be_bytes(*length)) != Ok(rest.len()) {
        return Err(Failure::new(
            Code::InvalidArgument,
            "the body is not one whole message",
        ));
    }
    Ok(body.slice(PREFIX_BYTES..))
}

/// A call's successful answer.
pub(super) fn reply(message: &impl Message) -> Response<Reply> {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(length.saturating_add(PREFIX_BYTES));
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // Fails only for want of room, which a buffer that grows has.
    let _ = message.encode(&mut bytes);
    let mut response = Response::new(Reply {
        message: Some(bytes.freeze()),
        ended: false,
    });
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

/// A call's failure: a head alone.
pub(super) fn failed(failure: &Failure) -> Response<Reply> {
    let mut response = Response::new(Reply {
        message: None,
        ended: true,
    });
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, GRPC);
    headers.insert(STATUS.clone(), HeaderValue::from(failure.code as u16));
    if let Ok(message) = HeaderValue::try_from(percent_encoded(&failure.message)) {
        headers.insert(MESSAGE.clone(), message);
    }
    response.headers_mut().insert(ACCEPTED.clone(), IDENTITY);
    response
}

/// A message, then the status; or neither.
#[derive(Debug)]
pub(in crate::authz) struct Reply {
    message: Option<Bytes>,
    ended: bool,
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(message) = self.message.take() {
            return Poll::Ready(Some(Ok(Frame::data(message))));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        self.ended = true;
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert(STATUS.clone(), HeaderValue::from(Code::Ok as u16));
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if matches!(byte, 0x20..=0x7e) && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

static STATUS: HeaderName = HeaderName::from_static("grpc-status");
static MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
static ACCEPTED: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const IDENTITY: HeaderValue = HeaderValue::from_static("identity");
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
/// Whether the message is compressed, and its length.
const PREFIX_BYTES: usize = 5;
