//! What two servers could understand differently: never more than one request at the upstream for each
//! that was judged, and nothing at all of what is refused.

use super::*;

/// A request behind the tricky one, that must not reach the upstream as part of its body's bytes.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn ambiguous_requests_are_refused_and_nothing_of_them_passes() {
    let upstream = Upstream::plain();
    let fixture = Fixture::before(upstream.address, "");
    let table: Vec<(String, &str)> = [
        ("POST /t HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "length_and_encoding"),
        ("POST /t HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n8\r\nSMUGGLED\r\n0\r\n\r\n", "length_and_encoding"),
        ("POST /t HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n\r\n0\r\n\r\n", "transfer_encoding"),
        ("POST /t HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: cow\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "transfer_encoding"),
        ("POST /t HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "transfer_encoding"),
        ("POST /t HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", "transfer_encoding"),
        ("POST /t HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", "header_line"),
        ("POST /t HTTP/1.1\r\nHost: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "folded_header"),
        ("POST /t HTTP/1.1\r\nHost: a\r\nX: y\r\n\tTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "folded_header"),
        ("POST /t HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n", "control_character"),
        ("POST /t HTTP/1.1\r\nHost: a\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "bare_lf"),
        ("POST /t HTTP/1.1\r\nHost: a\r\nX: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "control_character"),
        ("POST /t HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "transfer_encoding"),
        ("POST /t HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n", "length_twice"),
        ("POST /t HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 5\r\n\r\n", "length_invalid"),
        ("POST /t HTTP/1.1\r\nHost: a\r\nContent-Length: +0\r\n\r\n", "length_invalid"),
        ("POST /t HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", "length_invalid"),
        ("POST /t HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", "length_invalid"),
        ("GET /t HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "host_twice"),
        ("GET /t HTTP/1.1\r\n\r\n", "host_missing"),
        ("GET http://a/t HTTP/1.1\r\nHost: b\r\n\r\n", "host_mismatch"),
        ("GET /t HTTP/1.1\nHost: a\n\n", "bare_lf"),
        ("GET /t HTTP/1.1\r\nHost: a\r\n\n", "bare_lf"),
        ("\nGET /t HTTP/1.1\r\nHost: a\r\n\r\n", "bare_lf"),
        ("GET /t HTTP/1.1\r\nHost: a\r\nX:\0y\r\n\r\n", "control_character"),
        ("GET /t HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n", "request_line"),
        ("GET /t HTTP/1.1x\r\nHost: a\r\n\r\n", "request_line"),
    ]
    .into_iter()
    .map(|(request, cause)| (format!("{request}{HIDDEN}"), cause))
    .collect();
    for (request, cause) in &table {
        for pieces in [request.len(), 1] {
            let counted = fixture.cause(cause);
            let mut client = fixture.connect();
            for piece in request.as_bytes().chunks(pieces) {
                // The gateway may have had enough before the last piece.
                let _ = client.stream.write_all(piece);
            }
            let answer = client
                .answer()
                .unwrap_or_else(|| panic!("no answer to {request:?}"));
            assert_eq!(
                (answer.status, answer.header("connection")),
                (400, Some("close")),
                "{request:?}"
            );
            assert!(client.is_closed(), "{request:?}");
            until(cause, || fixture.cause(cause) == counted + 1);
        }
    }
    assert_eq!(upstream.heads(), Vec::<String>::new());
    assert_eq!(fixture.judged(), (0, 0));
}

#[test]
fn a_fault_behind_good_requests_leaves_their_answers_whole() {
    let upstream = Upstream::plain();
    let fixture = Fixture::before(upstream.address, "");
    let good = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut client = fixture.connect();
    client.send(format!(
        "{good}{good}{good}GET /2 HTTP/1.1\r\nHost: a\n\r\n{HIDDEN}"
    ));
    for status in [200, 200, 200, 400] {
        assert_eq!(client.answer().map(|answer| answer.status), Some(status));
    }
    assert!(client.is_closed());
    assert_eq!(upstream.heads().len(), 3);
    assert_eq!(fixture.judged(), (3, 3));
}

#[test]
fn one_upstream_request_for_each_that_was_judged() {
    let upstream = Upstream::plain();
    let fixture = Fixture::before(upstream.address, "");
    let requests = [
        "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;ext=\"GET / HTTP/1.1\"\r\nab\ncd\r\n0\r\nX: y\r\n\r\n",
        "POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 36\r\n\r\nGET /no HTTP/1.1\r\nHost: a\r\n\r\n12345678",
        "GET /3 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody",
        "POST /4 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1d\r\nGET /no HTTP/1.1\r\nHost: a\r\n\r\n\r\n0\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a/6 HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    let mut client = fixture.connect();
    client.send(requests.concat());
    for request in requests {
        assert_eq!(
            client.answer().map(|answer| answer.status),
            Some(200),
            "{request:?}"
        );
    }
    let targets: Vec<String> = upstream
        .heads()
        .iter()
        .map(|head| head.split(' ').nth(1).unwrap().to_owned())
        .collect();
    assert_eq!(targets, ["/1", "/2", "/3", "/4", "*", "/6"]);
    assert_eq!(fixture.judged(), (6, 6));
}

#[test]
fn bad_chunks_end_the_request_at_both_sides() {
    let upstream = Upstream::plain();
    let fixture = Fixture::before(upstream.address, "");
    for chunks in [
        "5\r\nabcdeX\r\n0\r\n\r\n",
        "5\nabcde\r\n0\r\n\r\n",
        "zz\r\n",
        "5 \r\nabcde\r\n",
        "0\r\nX: y\n\r\n",
    ] {
        let counted = fixture.cause("chunk") + fixture.cause("bare_lf");
        let mut client = fixture.connect();
        client.send(format!(
            "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"
        ));
        let answer = client
            .answer()
            .unwrap_or_else(|| panic!("no answer to {chunks:?}"));
        assert_eq!(answer.status, 400, "{chunks:?}");
        assert!(client.is_closed(), "{chunks:?}");
        until(chunks, || {
            fixture.cause("chunk") + fixture.cause("bare_lf") > counted
        });
    }
}
