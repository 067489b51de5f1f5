//! What upstreams do: answer late, early, badly or not at all; and what it costs to pass much through.

use super::*;

#[test]
fn failures_of_the_upstream_are_told_apart() {
    let nowhere = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let fixture = Fixture::before(nowhere, "");
    assert_eq!(fixture.connect().get("/", "198.51.100.7").status, 502);
    assert_eq!(fixture.cause("upstream_connect"), 1);
    fixture.end();

    let upstream = Upstream::playing(|stream, head| match head.split(' ').nth(1) {
        Some("/closes") => false,
        Some("/garbage") => stream.write_all(b"SSH-2.0-x\r\n\r\n").is_ok(),
        _ => {
            thread::sleep(Duration::from_secs(4));
            true
        }
    });
    let fixture = Fixture::before(upstream.address, "upstream_timeout = \"1s\"");
    for (path, status, cause) in [
        ("/closes", 502, "upstream_broken"),
        ("/garbage", 502, "upstream_broken"),
        ("/silent", 504, "upstream_timeout"),
    ] {
        let counted = fixture.cause(cause);
        let mut client = fixture.connect();
        assert_eq!(client.get(path, "198.51.100.7").status, status, "{path}");
        assert_eq!(fixture.cause(cause), counted + 1, "{path}");
    }
}

#[test]
fn a_kept_connection_that_was_closed_is_replaced_without_a_word() {
    let upstream = Upstream::playing(|stream, _| {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .unwrap();
        false
    });
    let fixture = Fixture::before(upstream.address, "");
    let mut client = fixture.connect();
    for _ in 0..50 {
        assert_eq!(client.get("/", "198.51.100.7").status, 200);
    }
    assert_eq!(upstream.heads().len(), 50);
}

#[test]
fn an_answer_that_breaks_off_breaks_off_for_the_client_too() {
    let upstream = Upstream::playing(|stream, _| {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")
            .unwrap();
        false
    });
    let fixture = Fixture::before(upstream.address, "");
    let mut client = fixture.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.answer().is_none());
    until("counted", || fixture.cause("upstream_broken") == 1);
}

#[test]
fn an_early_answer_is_passed_on_while_the_request_is_still_being_sent() {
    let upstream = Upstream::playing(|stream, _| {
        stream
            .write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")
            .unwrap();
        let mut rest = [0; 10];
        stream.read_exact(&mut rest).is_ok()
    });
    let fixture = Fixture::before(upstream.address, "");
    let mut client = fixture.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345");
    let answer = client.answer().unwrap();
    assert_eq!((answer.status, answer.text()), (413, "no"));
}

#[test]
fn a_client_that_leaves_takes_its_upstream_request_with_it() {
    let (gone, seen) = std::sync::mpsc::sync_channel(1);
    let upstream = Upstream::playing(move |stream, _| {
        let mut byte = [0];
        let _ = gone.send(stream.read(&mut byte).map_or(0, |read| read));
        false
    });
    let fixture = Fixture::before(upstream.address, "");
    let mut client = fixture.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    until("the request at the upstream", || {
        upstream.heads().len() == 1
    });
    drop(client);
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), 0);
    until("counted", || fixture.cause("client_gone") == 1);
}

#[test]
fn expectations_are_met_here_and_trailers_pass() {
    let upstream = Upstream::playing(|stream, _| {
        let mut body = Vec::new();
        let mut byte = [0];
        while !body.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            body.push(byte[0]);
        }
        let body = String::from_utf8(body).unwrap();
        let answer = if body.contains("x-sum: 9") {
            "yes"
        } else {
            "no!"
        };
        write!(
            stream,
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-after\r\n\r\n3\r\n{answer}\r\n0\r\nx-after: z\r\n\r\n"
        )
        .is_ok()
    });
    let fixture = Fixture::before(upstream.address, "");
    let mut client = fixture.connect();
    client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nExpect: 100-continue\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    let goes_on = client.until(b"\r\n\r\n").unwrap();
    assert!(
        goes_on.starts_with(b"HTTP/1.1 100"),
        "{}",
        String::from_utf8_lossy(&goes_on)
    );
    client.send("2\r\nab\r\n0\r\nx-sum: 9\r\n\r\n");
    let answer = client.answer().unwrap();
    assert_eq!((answer.status, answer.text()), (200, "yes"));
    assert!(answer.head.contains("x-after: z"), "{answer:?}");
}

#[test]
fn much_passes_through_in_little_memory() {
    const BYTES: usize = 256 << 20;
    let upstream = Upstream::playing(|stream, head| {
        let length: usize = field(&head.to_lowercase(), "content-length")
            .unwrap()
            .parse()
            .unwrap();
        let mut buffer = vec![0; 1 << 16];
        let mut left = length;
        while left > 0 {
            left -= stream.read(&mut buffer).unwrap();
        }
        write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n"
        )
        .unwrap();
        (0..length / buffer.len()).all(|_| stream.write_all(&buffer).is_ok())
    });
    let fixture = Fixture::before(upstream.address, "");
    let mut client = fixture.connect();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {BYTES}\r\n\r\n"
    ));
    let before = memory_kib();
    let buffer = vec![7; 1 << 16];
    for _ in 0..BYTES / buffer.len() {
        client.send(&buffer);
    }
    let head = client.until(b"\r\n\r\n").unwrap();
    assert!(head.starts_with(b"HTTP/1.1 200"));
    // Slower than the upstream: what it cannot get rid of must not pile up here.
    thread::sleep(Duration::from_millis(300));
    let grown = memory_kib().saturating_sub(before);
    let mut left = BYTES - client.read.len();
    let mut buffer = vec![0; 1 << 16];
    while left > 0 {
        left -= client.stream.read(&mut buffer).unwrap();
    }
    let grown = grown.max(memory_kib().saturating_sub(before));
    assert!(
        grown < 32 << 10,
        "{grown} KiB more for {BYTES} bytes each way"
    );
}

#[test]
fn a_client_that_does_not_read_is_let_go() {
    let upstream = Upstream::playing(|stream, _| {
        let length = 64 << 20;
        write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n"
        )
        .unwrap();
        stream.write_all(&vec![0; length]).is_ok()
    });
    let fixture = Fixture::before(upstream.address, "body_timeout = \"1s\"");
    let mut client = fixture.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    until("counted", || fixture.cause("body_timeout") == 1);
    until("closed", || fixture.running().report().connections == 0);
    assert_eq!(fixture.running().report().upstream_open, 0);
}

fn memory_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_websocket_is_a_tunnel_once_the_upstream_agrees() {
    let upstream = Upstream::playing(|stream, head| {
        if head.contains("/no") {
            return stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno")
                .is_ok();
        }
        assert_eq!(field(head, "upgrade"), Some("websocket"), "{head}");
        assert_eq!(field(head, "connection"), Some("upgrade"), "{head}");
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n\x81\x05hello")
            .unwrap();
        let mut buffer = [0; 64];
        while let Ok(read) = stream.read(&mut buffer) {
            if read == 0 {
                break;
            }
            stream.write_all(&buffer[..read]).unwrap();
        }
        false
    });
    let fixture = Fixture::before(upstream.address, "");
    let ask = |path: &str, client: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {client}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n"
        )
    };
    let mut client = fixture.connect();
    client.send(ask("/", "203.0.113.9"));
    assert_eq!(client.answer().unwrap().status, 403);
    client.send(ask("/no", "198.51.100.7"));
    assert_eq!(client.answer().unwrap().text(), "no");
    // Sent with the request, before the answer: not HTTP any more, and not looked at as such.
    client.send(format!("{}\x02\nearly", ask("/", "198.51.100.7")));
    let head = String::from_utf8(client.until(b"\r\n\r\n").unwrap()).unwrap();
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert_eq!(field(&head.to_lowercase(), "upgrade"), Some("websocket"));
    assert_eq!(client.exactly(7).unwrap(), b"\x81\x05hello");
    assert_eq!(client.exactly(7).unwrap(), b"\x02\nearly");
    client.send(b"GET / HTTP/1.1\n\n");
    assert_eq!(client.exactly(16).unwrap(), b"GET / HTTP/1.1\n\n");
    drop(client);
    until("the tunnel's end", || {
        fixture.running().report().connections == 0
    });
}

#[test]
fn an_upgrade_to_http_is_not_passed_on() {
    let upstream = Upstream::plain();
    let fixture = Fixture::before(upstream.address, "");
    let mut client = fixture.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n");
    assert_eq!(client.answer().unwrap().status, 200);
    assert_eq!(client.get("/", "198.51.100.7").status, 200);
    let head = &upstream.heads()[0];
    assert!(
        field(head, "upgrade").is_none() && field(head, "http2-settings").is_none(),
        "{head}"
    );
}

#[test]
fn reasons_pass_and_interim_answers_do_not() {
    let upstream = Upstream::playing(|stream, _| {
        stream
            .write_all(
                b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 Fine\r\ncontent-length: 2\r\n\r\nok",
            )
            .is_ok()
    });
    let fixture = Fixture::before(upstream.address, "");
    let mut client = fixture.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.until(b"\r\n\r\n").unwrap();
    assert!(
        head.starts_with(b"HTTP/1.1 200 Fine\r\n"),
        "{}",
        String::from_utf8_lossy(&head)
    );
}

/// A client that sends first and reads later gets its whole request through, and the whole answer back.
#[test]
fn a_long_request_goes_on_behind_an_answer_that_nobody_reads_yet() {
    const BYTES: usize = 4_000_000;
    let upstream = Upstream::playing(|stream, _| {
        let answer = "a".repeat(BYTES);
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {BYTES}\r\n\r\n").unwrap();
        let mut out = stream.try_clone().unwrap();
        let writer = thread::spawn(move || out.write_all(answer.as_bytes()).is_ok());
        let mut body = vec![0; BYTES];
        stream.read_exact(&mut body).is_ok() && writer.join().unwrap()
    });
    let fixture = Fixture::before(upstream.address, "");
    let mut client = fixture.connect();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {BYTES}\r\n\r\n{}",
        "b".repeat(BYTES)
    ));
    let answer = client.answer().unwrap();
    assert_eq!((answer.status, answer.text().len()), (200, BYTES));
}
