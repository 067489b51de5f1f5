//! An HTTP/1.1 upstream's answer: its head, and where its body ends. As strict as the requests' side about
//! what two readers could understand differently. Pure: bytes in, a head or pieces of a body out.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version, header, response::Parts,
};
use http_body::{Frame, SizeHint};
use hyper::ext::ReasonPhrase;

use super::head::{chunk_size, decimal, trailer};

/// What an answer's head says.
pub(super) struct Head {
    pub(super) parts: Parts,
    pub(super) rest: Rest,
    /// The connection can be used again behind the answer.
    pub(super) keeps: bool,
}

/// What is still to come of a body.
#[derive(Debug)]
pub(super) enum Rest {
    Nothing,
    Bytes(u64),
    Chunked(Chunk),
    /// All until the connection ends.
    UntilClose,
}

/// Where in a chunked body the reader is.
#[derive(Debug)]
pub(super) enum Chunk {
    Size,
    Data(u64),
    End,
    Trailers { bytes: usize, fields: HeaderMap },
}

/// Something that is not HTTP, or could be read in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Invalid;

/// What a look at the bytes gives.
#[derive(Debug)]
pub(super) enum Piece {
    Frame(Frame<Bytes>),
    /// The body has ended.
    End,
    /// More bytes are needed.
    More,
}

/// Reads the head of a final answer, or of 101; other interim answers are read over. `None` if it has not all come.
pub(super) fn head(buffer: &mut BytesMut, to_head: bool) -> Result<Option<Head>, Invalid> {
    for _ in 0..INTERIM_MAX {
        let Some(parsed) = parse(buffer, to_head)? else {
            return if buffer.len() > HEAD_BYTES_MAX {
                Err(Invalid)
            } else {
                Ok(None)
            };
        };
        let status = parsed.parts.status;
        if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Some(parsed));
        }
    }
    Err(Invalid)
}

fn parse(buffer: &mut BytesMut, to_head: bool) -> Result<Option<Head>, Invalid> {
    // Shared first, so that header values can be pieces of it.
    let read = buffer.split().freeze();
    let mut fields = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut response, &read, &mut fields)
        .map_err(|_| Invalid)?;
    let httparse::Status::Complete(bytes) = parsed else {
        *buffer = read
            .try_into_mut()
            .unwrap_or_else(|read| BytesMut::from(&*read));
        return Ok(None);
    };
    buffer.extend_from_slice(read.get(bytes..).unwrap_or_default());
    let status = response.code.unwrap_or_default();
    let status = StatusCode::from_u16(status).map_err(|_| Invalid)?;
    let is_1_0 = response.version == Some(0);
    let reason = response.reason.unwrap_or_default();
    let reason = (status.canonical_reason() != Some(reason) && !reason.is_empty())
        .then(|| read.slice_ref(reason.as_bytes()));
    let mut headers = HeaderMap::with_capacity(response.headers.len());
    for field in response.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Invalid)?;
        let value = HeaderValue::from_maybe_shared(read.slice_ref(field.value));
        headers.append(name, value.map_err(|_| Invalid)?);
    }
    let keeps = keeps(&headers, is_1_0);
    let rest = rest(&mut headers, status, is_1_0, to_head)?;
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = status;
    parts.version = Version::HTTP_11;
    parts.headers = headers;
    if let Some(reason) = reason.and_then(|reason| ReasonPhrase::try_from(reason).ok()) {
        parts.extensions.insert(reason);
    }
    let keeps = keeps && !matches!(rest, Rest::UntilClose);
    Ok(Some(Head { parts, rest, keeps }))
}

/// RFC 9112, 9.3.
fn keeps(headers: &HeaderMap, is_1_0: bool) -> bool {
    let says = |word: &[u8]| {
        headers.get_all(header::CONNECTION).iter().any(|value| {
            value
                .as_bytes()
                .split(|&byte| byte == b',')
                .any(|token| token.trim_ascii().eq_ignore_ascii_case(word))
        })
    };
    !says(b"close") && (!is_1_0 || says(b"keep-alive"))
}

/// RFC 9112, 6.3.
fn rest(
    headers: &mut HeaderMap,
    status: StatusCode,
    is_1_0: bool,
    to_head: bool,
) -> Result<Rest, Invalid> {
    let length = length(headers)?;
    let chunked = {
        let mut encodings = headers.get_all(header::TRANSFER_ENCODING).iter();
        match (encodings.next(), encodings.next()) {
            (None, _) => false,
            (Some(one), None) if one.as_bytes().eq_ignore_ascii_case(b"chunked") && !is_1_0 => true,
            _ => return Err(Invalid),
        }
    };
    if chunked && length.is_some() {
        return Err(Invalid);
    }
    if to_head
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
    {
        return Ok(Rest::Nothing);
    }
    Ok(match length {
        _ if chunked => Rest::Chunked(Chunk::Size),
        Some(0) => Rest::Nothing,
        Some(bytes) => Rest::Bytes(bytes),
        None => Rest::UntilClose,
    })
}

/// The one length that all lines agree on.
fn length(headers: &mut HeaderMap) -> Result<Option<u64>, Invalid> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else {
        return Ok(None);
    };
    let length = decimal(first.as_bytes()).ok_or(Invalid)?;
    let mut several = false;
    for other in lengths {
        several = true;
        if decimal(other.as_bytes()) != Some(length) {
            return Err(Invalid);
        }
    }
    if several {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(Some(length))
}

impl Rest {
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Nothing => SizeHint::with_exact(0),
            Self::Bytes(left) => SizeHint::with_exact(*left),
            Self::Chunked(_) | Self::UntilClose => SizeHint::default(),
        }
    }

    /// The connection has ended; says whether that ends the body.
    pub(super) fn ends_here(&mut self) -> bool {
        let ends = matches!(self, Self::UntilClose | Self::Nothing);
        *self = Self::Nothing;
        ends
    }

    /// Takes the next piece from the front of `buffer`.
    pub(super) fn take(&mut self, buffer: &mut BytesMut) -> Result<Piece, Invalid> {
        loop {
            match self {
                Self::Nothing => return Ok(Piece::End),
                _ if buffer.is_empty() => return Ok(Piece::More),
                Self::UntilClose => return Ok(data(buffer.split())),
                Self::Bytes(left) => {
                    let taken = run(buffer, left);
                    if *left == 0 {
                        *self = Self::Nothing;
                    }
                    return Ok(data(taken));
                }
                Self::Chunked(Chunk::Data(left)) => {
                    let taken = run(buffer, left);
                    if *left == 0 {
                        *self = Self::Chunked(Chunk::End);
                    }
                    return Ok(data(taken));
                }
                Self::Chunked(chunk) => {
                    let Some(at) = memchr::memchr(b'\n', buffer) else {
                        return if buffer.len() > LINE_BYTES_MAX {
                            Err(Invalid)
                        } else {
                            Ok(Piece::More)
                        };
                    };
                    let line = buffer.split_to(at + 1);
                    if let Some(fields) = chunk.line(&line)? {
                        *self = Self::Nothing;
                        if !fields.is_empty() {
                            return Ok(Piece::Frame(Frame::trailers(fields)));
                        }
                    }
                }
            }
        }
    }
}

impl Chunk {
    /// Reads a line; the last one of the body gives its trailers.
    fn line(&mut self, line: &[u8]) -> Result<Option<HeaderMap>, Invalid> {
        match self {
            Self::Size => {
                *self = match chunk_size(line).map_err(|_| Invalid)? {
                    0 => Self::Trailers {
                        bytes: 0,
                        fields: HeaderMap::new(),
                    },
                    size => Self::Data(size),
                };
            }
            Self::End if line == b"\r\n" => *self = Self::Size,
            Self::Trailers { bytes, fields } => {
                *bytes += line.len();
                if *bytes > TRAILER_BYTES_MAX {
                    return Err(Invalid);
                }
                if trailer(line).map_err(|_| Invalid)?.is_none() {
                    return Ok(Some(std::mem::take(fields)));
                }
                let at = memchr::memchr(b':', line).ok_or(Invalid)?;
                let (name, value) = line.split_at(at);
                let value = value.get(1..).unwrap_or_default().trim_ascii();
                fields.append(
                    HeaderName::from_bytes(name).map_err(|_| Invalid)?,
                    HeaderValue::from_bytes(value).map_err(|_| Invalid)?,
                );
            }
            Self::End | Self::Data(_) => return Err(Invalid),
        }
        Ok(None)
    }
}

/// As much of a run of `left` bytes as has come.
fn run(buffer: &mut BytesMut, left: &mut u64) -> BytesMut {
    let bytes = usize::try_from(*left).map_or(buffer.len(), |left| left.min(buffer.len()));
    *left = left.saturating_sub(u64::try_from(bytes).unwrap_or(u64::MAX));
    if bytes == buffer.len() {
        buffer.split()
    } else {
        buffer.split_to(bytes)
    }
}

fn data(bytes: BytesMut) -> Piece {
    Piece::Frame(Frame::data(bytes.freeze()))
}

/// The most that a head may have.
const HEAD_BYTES_MAX: usize = 131_072;
const HEADERS_MAX: usize = 100;
/// Interim answers that have come whole before the final one is read.
const INTERIM_MAX: usize = 16;
const LINE_BYTES_MAX: usize = 8_192;
const TRAILER_BYTES_MAX: usize = 8_192;

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
