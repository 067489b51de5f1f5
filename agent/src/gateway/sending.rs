//! A request on its way to an HTTP/1.1 upstream: its head as bytes, its body frame by frame. It can be sent
//! again for as long as nothing of it has been sent, or what was sent is a head alone.

use std::{
    io::{self, Write as _},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use http::{HeaderMap, Method, Uri, header, request::Parts};
use http_body::{Body as _, Frame};
use tokio::io::AsyncWrite;

use super::{body::UpBody, stream::Stream};

/// See the module.
pub(super) struct Sending {
    /// The head, later also what surrounds chunks, and small chunks themselves.
    out: Vec<u8>,
    /// Bytes of `out` that are sent.
    at: usize,
    /// A piece of the body behind `out`.
    data: Bytes,
    body: UpBody,
    framing: Framing,
    /// Whether the method allows a second attempt.
    repeatable: bool,
    /// The client has announced trailers; others are left out, as their receiver need not expect them.
    trailers: bool,
    pub(super) is_head: bool,
    begun: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// Nothing more comes from the body.
    Over,
    Length(u64),
    Chunked,
}

/// Why a request cannot be sent to its end.
#[derive(Debug)]
pub(super) enum Unsendable {
    /// The upstream takes no more; it may have answered all the same.
    Refused,
    /// The body broke off.
    Body,
}

impl Sending {
    pub(super) fn new(parts: &Parts, body: UpBody) -> Self {
        let framing = match (body.is_end_stream(), body.size_hint().exact()) {
            (true, _) | (false, Some(0)) => Framing::Over,
            (false, Some(bytes)) => Framing::Length(bytes),
            (false, None) => Framing::Chunked,
        };
        Self {
            out: head(&parts.method, &parts.uri, &parts.headers, framing),
            at: 0,
            data: Bytes::new(),
            repeatable: framing == Framing::Over
                && matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS),
            trailers: parts.headers.contains_key(header::TRAILER),
            is_head: parts.method == Method::HEAD,
            body: if framing == Framing::Over {
                UpBody::Empty
            } else {
                body
            },
            framing,
            begun: false,
        }
    }

    /// Whether all of it is sent.
    pub(super) fn is_sent(&self) -> bool {
        self.framing == Framing::Over && self.at >= self.out.len() && self.data.is_empty()
    }

    /// The request from its beginning, for another connection; `None` if it may have been seen by somebody who
    /// must not see it twice.
    pub(super) fn again(mut self) -> Option<Self> {
        if self.begun && !self.repeatable {
            return None;
        }
        self.at = 0;
        self.begun = false;
        Some(self)
    }

    /// Sends as much as the stream takes.
    pub(super) fn poll(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Unsendable>> {
        loop {
            let waits = self.fill(cx)?;
            let written = self.write(stream, cx);
            match ready!(written) {
                Ok(()) => {}
                Err(_) => return Poll::Ready(Err(Unsendable::Refused)),
            }
            if self.framing == Framing::Over || waits {
                if ready!(Pin::new(&mut *stream).poll_flush(cx)).is_err() {
                    return Poll::Ready(Err(Unsendable::Refused));
                }
                if waits {
                    return Poll::Pending;
                }
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Takes frames of the body until there is something worth writing; says whether the body is waited for.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<bool, Unsendable> {
        while self.framing != Framing::Over
            && self.data.is_empty()
            && self.out.len() < OUT_BYTES_MIN
        {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => return Ok(true),
                Poll::Ready(None) => self.end(None)?,
                Poll::Ready(Some(Ok(frame))) => self.take(frame)?,
                Poll::Ready(Some(Err(_))) => return Err(Unsendable::Body),
            }
        }
        Ok(false)
    }

    fn take(&mut self, frame: Frame<Bytes>) -> Result<(), Unsendable> {
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => return self.end(frame.into_trailers().ok().as_ref()),
        };
        if data.is_empty() {
            return Ok(());
        }
        match &mut self.framing {
            Framing::Over => return Err(Unsendable::Body),
            Framing::Length(left) => {
                let bytes = u64::try_from(data.len()).unwrap_or(u64::MAX);
                *left = left.checked_sub(bytes).ok_or(Unsendable::Body)?;
            }
            Framing::Chunked => write_to(&mut self.out, format_args!("{:x}\r\n", data.len())),
        }
        if data.len() <= COPIED_BYTES_MAX {
            self.out.extend_from_slice(&data);
            self.close_chunk();
        } else {
            self.data = data;
        }
        if self.framing == Framing::Length(0) {
            self.end(None)?;
        }
        Ok(())
    }

    fn close_chunk(&mut self) {
        if self.framing == Framing::Chunked {
            self.out.extend_from_slice(b"\r\n");
        }
    }

    /// The body has come to its end.
    fn end(&mut self, trailers: Option<&HeaderMap>) -> Result<(), Unsendable> {
        match self.framing {
            Framing::Over | Framing::Length(0) => {}
            Framing::Length(_) => return Err(Unsendable::Body),
            Framing::Chunked => {
                self.out.extend_from_slice(b"0\r\n");
                let trailers = trailers.filter(|_| self.trailers);
                fields(&mut self.out, trailers.into_iter().flatten());
                self.out.extend_from_slice(b"\r\n");
            }
        }
        self.framing = Framing::Over;
        self.body = UpBody::Empty;
        Ok(())
    }

    fn write(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while let Some(rest) = self.out.get(self.at..).filter(|rest| !rest.is_empty()) {
                self.at += ready!(write(stream, rest, cx))?;
                self.begun = true;
            }
            if !self.repeatable {
                self.out.clear();
                self.at = 0;
            }
            if self.data.is_empty() {
                return Poll::Ready(Ok(()));
            }
            while !self.data.is_empty() {
                let written = ready!(write(stream, &self.data, cx))?;
                self.data.advance(written);
            }
            self.data = Bytes::new();
            self.close_chunk();
        }
    }
}

fn write(stream: &mut Stream, bytes: &[u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    match ready!(Pin::new(stream).poll_write(cx, bytes))? {
        0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        written => Poll::Ready(Ok(written)),
    }
}

/// The head as bytes. How the body is framed is said here alone: whatever the headers say of it is left out.
fn head(method: &Method, uri: &Uri, headers: &HeaderMap, framing: Framing) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD_BYTES);
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    fields(
        &mut out,
        headers.iter().filter(|(name, _)| {
            *name != header::CONTENT_LENGTH && *name != header::TRANSFER_ENCODING
        }),
    );
    match framing {
        Framing::Length(bytes) => write_to(&mut out, format_args!("content-length: {bytes}\r\n")),
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        // RFC 9110, 8.6: said where a body would be expected.
        Framing::Over
            if headers.contains_key(header::CONTENT_LENGTH)
                || matches!(*method, Method::POST | Method::PUT | Method::PATCH) =>
        {
            out.extend_from_slice(b"content-length: 0\r\n");
        }
        Framing::Over => {}
    }
    out.extend_from_slice(b"\r\n");
    out
}

fn fields<'a>(
    out: &mut Vec<u8>,
    fields: impl Iterator<Item = (&'a http::HeaderName, &'a http::HeaderValue)>,
) {
    for (name, value) in fields {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// Writing into memory cannot fail.
fn write_to(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

/// What a common head takes.
const HEAD_BYTES: usize = 512;
/// As much is gathered before it is written.
const OUT_BYTES_MIN: usize = 8_192;
/// Pieces of a body up to that are written with what surrounds them.
const COPIED_BYTES_MAX: usize = 4_096;
