//! Answers: JSON that is written while it is sent, so that a million decisions cost no memory of their own.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame};
use hyper::body::Bytes;

/// Bytes that are gathered before they are sent.
const CHUNK_BYTES: usize = 64 * 1024;

/// A body out of pieces of text.
pub(crate) struct Pieces(Box<dyn Iterator<Item = String> + Send>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let mut chunk = String::new();
        while chunk.len() < CHUNK_BYTES {
            match self.0.next() {
                Some(piece) => chunk.push_str(&piece),
                None if chunk.is_empty() => return Poll::Ready(None),
                None => break,
            }
        }
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(chunk)))))
    }
}

/// An answer of JSON.
pub(crate) fn json(
    status: StatusCode,
    pieces: impl Iterator<Item = String> + Send + 'static,
) -> Response<Pieces> {
    let mut answer = Response::new(Pieces(Box::new(pieces)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json; charset=utf-8"),
    );
    answer
}

/// An answer with nothing but a sentence.
pub(super) fn message(status: StatusCode, text: &str) -> Response<Pieces> {
    let text = serde_json::json!({ "message": text }).to_string();
    json(status, std::iter::once(text))
}

/// `null`, or the elements between brackets.
pub(super) fn array(
    elements: impl Iterator<Item = String> + Send + 'static,
) -> impl Iterator<Item = String> + Send + 'static {
    let mut elements = elements;
    let (mut first, mut done) = (true, false);
    std::iter::from_fn(move || {
        if done {
            return None;
        }
        let next = elements.next();
        let piece = match (next, first) {
            (Some(element), true) => format!("[{element}"),
            (Some(element), false) => format!(",{element}"),
            (None, true) => {
                done = true;
                "null".to_owned()
            }
            (None, false) => {
                done = true;
                "]".to_owned()
            }
        };
        first = false;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::array;

    #[test]
    fn nothing_is_null_and_something_a_list() {
        let text = |elements: Vec<&'static str>| {
            array(elements.into_iter().map(str::to_owned)).collect::<String>()
        };
        assert_eq!(text(vec![]), "null");
        assert_eq!(text(vec!["1"]), "[1]");
        assert_eq!(text(vec!["1", "2", "3"]), "[1,2,3]");
    }
}
