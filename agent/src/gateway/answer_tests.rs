//! Heads and bodies of answers: what is read of them, however they are cut, and what is refused.

use super::*;

/// The body's data and trailers, and whether it ended; bytes come in pieces of `size`, then the connection ends.
fn read(
    text: &str,
    to_head: bool,
    size: usize,
) -> Result<(Head, Vec<u8>, HeaderMap, bool), Invalid> {
    let mut buffer = BytesMut::new();
    let mut pieces = text.as_bytes().chunks(size);
    let mut head = loop {
        match super::head(&mut buffer, to_head)? {
            Some(head) => break head,
            None => buffer.extend_from_slice(pieces.next().ok_or(Invalid)?),
        }
    };
    let (mut body, mut trailers) = (Vec::new(), HeaderMap::new());
    let ended = loop {
        match head.rest.take(&mut buffer)? {
            Piece::End => break true,
            Piece::Frame(frame) => match frame.into_data() {
                Ok(data) => body.extend_from_slice(&data),
                Err(frame) => trailers = frame.into_trailers().unwrap(),
            },
            Piece::More => match pieces.next() {
                Some(piece) => buffer.extend_from_slice(piece),
                None => break head.rest.ends_here(),
            },
        }
    };
    Ok((head, body, trailers, ended))
}

/// An answer, whether it is one to `HEAD`, its body, whether the connection can be used again.
const GOOD: &[(&str, bool, &str, bool)] = &[
    (
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc",
        false,
        "abc",
        true,
    ),
    (
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc",
        true,
        "",
        true,
    ),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        false,
        "abc",
        true,
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
        false,
        "abc",
        true,
    ),
    ("HTTP/1.1 200 OK\r\n\r\nabc", false, "abc", false),
    (
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\nConnection: Close\r\n\r\na",
        false,
        "a",
        false,
    ),
    (
        "HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\na",
        false,
        "a",
        false,
    ),
    (
        "HTTP/1.0 200 OK\r\ncontent-length: 1\r\nconnection: keep-alive\r\n\r\na",
        false,
        "a",
        true,
    ),
    ("HTTP/1.1 204 No Content\r\n\r\n", false, "", true),
    (
        "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n",
        false,
        "",
        true,
    ),
    (
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        false,
        "",
        true,
    ),
];

#[test]
fn answers_are_read_however_they_are_cut() {
    for &(text, to_head, wanted, keeps) in GOOD {
        for size in 1..=text.len() {
            let (head, body, _, ended) =
                read(text, to_head, size).unwrap_or_else(|_| panic!("{text}"));
            assert!(ended && head.keeps == keeps, "{text}, pieces of {size}");
            assert_eq!(body, wanted.as_bytes(), "{text}, pieces of {size}");
            assert!(
                head.parts
                    .headers
                    .get_all(header::CONTENT_LENGTH)
                    .iter()
                    .count()
                    <= 1,
                "{text}"
            );
        }
    }
}

#[test]
fn a_body_that_breaks_off_has_not_ended() {
    for text in [
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n",
    ] {
        let (_, body, _, ended) = read(text, false, 7).unwrap_or_else(|_| panic!("{text}"));
        assert_eq!((body.as_slice(), ended), (&b"ab"[..], false), "{text}");
    }
}

#[test]
fn what_two_readers_could_read_differently_is_refused() {
    for text in [
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: +3\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 3, 3\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\nab\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-1\r\n",
        "HTTP/1.1 200 OK\r\nx: a\r\n b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx : a\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "SSH-2.0-x\r\n\r\n",
    ] {
        assert!(read(text, false, 5).is_err(), "{text}");
    }
    let long = format!("HTTP/1.1 200 OK\r\nx: {}", "a".repeat(HEAD_BYTES_MAX));
    assert!(read(&long, false, 60_000).is_err());
    let interim = "HTTP/1.1 102 Processing\r\n\r\n".repeat(INTERIM_MAX + 1);
    assert!(read(&interim, false, interim.len()).is_err());
}

#[test]
fn reasons_and_trailers_are_kept() {
    let text =
        "HTTP/1.1 200 Fine\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 9\r\n\r\n";
    let (head, body, trailers, ended) =
        read(text, false, text.len()).unwrap_or_else(|_| panic!("{text}"));
    assert_eq!((body.as_slice(), ended), (&b"a"[..], true));
    assert_eq!(trailers.get("x-sum").unwrap(), "9");
    let reason = head.parts.extensions.get::<ReasonPhrase>().unwrap();
    assert_eq!(reason.as_bytes(), b"Fine");
}
