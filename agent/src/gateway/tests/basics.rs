//! Requests, refusals, limits and ends of plain HTTP/1.

use super::*;

#[test]
fn a_request_is_judged_by_its_client_and_passed_on() {
    let upstream = Upstream::plain();
    let fixture = Fixture::before(upstream.address, "");
    let mut client = fixture.connect();
    client.send(
        "GET /sign-in?user=x HTTP/1.1\r\nHost: login.example\r\nX-Forwarded-For: 198.51.100.7\r\n\
         X-Edgeward-Client: 1.2.3.4\r\nX_Forwarded_For: 1.2.3.4\r\nConnection: X-Forwarded-For, x-hop\r\nX-Hop: 1\r\n\r\n",
    );
    let answer = client.answer().unwrap();
    assert_eq!((answer.status, answer.text()), (200, "ok"));
    let [head] = <[String; 1]>::try_from(upstream.heads()).unwrap();
    assert!(
        head.starts_with("GET /sign-in?user=x HTTP/1.1\r\n"),
        "{head}"
    );
    assert_eq!(field(&head, "host"), Some("login.example"));
    assert_eq!(field(&head, "x-forwarded-for"), Some("198.51.100.7"));
    assert_eq!(field(&head, "x-edgeward-client"), Some("198.51.100.7"));
    assert_eq!(field(&head, "x-edgeward-verdict"), Some("pass"));
    for gone in ["connection", "x-hop", "x_forwarded_for"] {
        assert_eq!(field(&head, gone), None, "{gone} in {head}");
    }
    assert_eq!(fixture.judged(), (1, 1));
}

#[test]
fn a_refusal_is_for_that_request_alone() {
    let upstream = Upstream::plain();
    let fixture = Fixture::before(upstream.address, "");
    let mut client = fixture.connect();
    assert_eq!(client.get("/", "198.51.100.7").status, 200);
    let refused = client.get("/", "203.0.113.9");
    assert_eq!(refused.status, 403);
    assert!(
        refused.text().contains("You do not have permission"),
        "{refused:?}"
    );
    assert_eq!(refused.header("connection"), None);
    client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.9\r\nAccept: application/json\r\nContent-Length: 5\r\n\r\nabcde",
    );
    let refused = client.answer().unwrap();
    assert_eq!(
        (refused.status, refused.header("content-type")),
        (403, Some("application/json"))
    );
    assert_eq!(client.get("/", "198.51.100.7").status, 200);
    assert_eq!(upstream.heads().len(), 2);
    assert_eq!(fixture.judged(), (4, 2));
}

#[test]
fn a_refused_body_that_is_too_long_ends_the_connection_after_its_answer() {
    let upstream = Upstream::plain();
    let fixture = Fixture::before(upstream.address, "");
    for body in [
        "Content-Length: 10000000",
        "Expect: 100-continue\r\nContent-Length: 5",
    ] {
        let mut client = fixture.connect();
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.9\r\n{body}\r\n\r\n"
        ));
        let answer = client.answer().unwrap();
        assert_eq!(
            (answer.status, answer.header("connection")),
            (403, Some("close")),
            "{body}"
        );
        assert!(client.is_closed(), "{body}");
    }
    assert!(upstream.heads().is_empty());
}

#[test]
fn a_reload_holds_for_the_next_request_of_a_connection() {
    let upstream = Upstream::plain();
    let fixture = Fixture::before(upstream.address, "");
    let mut client = fixture.connect();
    let true_client = "GET / HTTP/1.1\r\nHost: a\r\nTrue-Client-IP: 203.0.113.9\r\n\r\n";
    client.send(true_client);
    assert_eq!(client.answer().unwrap().status, 200);
    fixture.reconfigure(
        "header = \"true-client-ip\"",
        &format!("upstream = \"{}\"", upstream.address),
    );
    client.send(true_client);
    assert_eq!(client.answer().unwrap().status, 403);
}

#[test]
fn ipv6_and_http_1_0_and_head() {
    let upstream = Upstream::playing(|stream, head| {
        let body = if head.starts_with("HEAD") { "" } else { "ok" };
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{body}").is_ok()
    });
    let fixture = Fixture::before(upstream.address, "");
    let mut client = Raw::connect(fixture.v6);
    assert_eq!(client.get("/", "2001:db8::1").status, 200);
    client.send("HEAD /h HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.0\r\n\r\n");
    let head = client.until(b"\r\n\r\n").unwrap();
    let head = String::from_utf8(head).unwrap();
    assert!(
        head.starts_with("HTTP/1.1 200") && head.contains("content-length: 2"),
        "{head}"
    );
    let old = client.answer().unwrap();
    assert_eq!((old.status, old.text()), (200, "ok"));
    assert!(client.is_closed());
    let heads = upstream.heads();
    assert!(
        heads[2].contains(&format!("host: {}", fixture.v6)),
        "{}",
        heads[2]
    );
}

#[test]
fn limits_have_their_status_and_cause() {
    let upstream = Upstream::plain();
    let fixture = Fixture::before(
        upstream.address,
        "head_bytes_max = 2048\nheaders_max = 5\nhead_timeout = \"1s\"\nidle_timeout = \"1s\"\nbody_timeout = \"1s\"",
    );
    let table = [
        (
            format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(4_000)),
            431,
            "head_bytes",
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(9)),
            431,
            "too_many_headers",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX: slow".to_owned(),
            408,
            "head_timeout",
        ),
        (
            "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            405,
            "method",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab".to_owned(),
            408,
            "body_timeout",
        ),
    ];
    for (request, status, cause) in table {
        let mut client = fixture.connect();
        client.send(&request);
        let answer = client
            .answer()
            .unwrap_or_else(|| panic!("{cause}: no answer"));
        assert_eq!(answer.status, status, "{cause}");
        assert!(client.is_closed(), "{cause}");
        until(cause, || fixture.cause(cause) > 0);
    }
    // Idle: closed without a word.
    let mut client = fixture.connect();
    assert!(client.is_closed());
    let mut client = fixture.connect();
    assert_eq!(client.get("/", "198.51.100.7").status, 200);
    assert!(client.is_closed());
}

#[test]
fn a_connection_that_was_quiet_for_long_goes_on() {
    let upstream = Upstream::plain();
    let fixture = Fixture::before(upstream.address, "");
    let mut client = fixture.connect();
    for _ in 0..2 {
        assert_eq!(client.get("/", "198.51.100.7").status, 200);
        thread::sleep(Duration::from_millis(1_800));
    }
    // The head in pieces, and another request behind it.
    client.send("GET /a HTTP/1.1\r\nHos");
    thread::sleep(Duration::from_millis(50));
    client.send("t: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.answer().unwrap().status, 200);
    assert_eq!(client.answer().unwrap().status, 200);
    assert_eq!(fixture.judged(), (4, 4));
    assert_eq!(fixture.cause("client_gone"), 0);
}

#[test]
fn places_are_limited_and_free_again() {
    let upstream = Upstream::plain();
    let fixture = Fixture::before(upstream.address, "connections_max = 1");
    let mut first = fixture.connect();
    assert_eq!(first.get("/", "198.51.100.7").status, 200);
    assert!(fixture.connect().is_closed());
    assert_eq!(fixture.cause("too_many_connections"), 1);
    drop(first);
    until("a free place", || {
        fixture.running().report().connections == 0
    });
    assert_eq!(fixture.connect().get("/", "198.51.100.7").status, 200);
}

#[test]
fn a_slow_drip_of_a_head_is_cut_off() {
    let upstream = Upstream::plain();
    let fixture = Fixture::before(upstream.address, "head_timeout = \"1s\"");
    let mut client = fixture.connect();
    let began = Instant::now();
    let mut written = true;
    while written && began.elapsed() < PATIENCE {
        written = client.stream.write_all(b"G").is_ok() && fixture.cause("head_timeout") == 0;
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(fixture.cause("head_timeout"), 1);
}

#[test]
fn workers_beat_until_the_end() {
    let upstream = Upstream::plain();
    let fixture = Fixture::before(upstream.address, "");
    let beats = Arc::clone(&fixture.beats);
    until("three beats", || beats.load(SeqCst) >= 3);
    fixture.end();
    let last = beats.load(SeqCst);
    thread::sleep(Duration::from_millis(600));
    assert_eq!(beats.load(SeqCst), last);
}

#[test]
fn draining_answers_what_has_begun_and_closes() {
    let (go, wait) = std::sync::mpsc::sync_channel::<()>(1);
    let wait = Mutex::new(wait);
    let upstream = Upstream::playing(move |stream, _| {
        wait.lock().unwrap().recv().unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .is_ok()
    });
    let mut fixture = Fixture::before(upstream.address, "");
    let mut idle = fixture.connect();
    let mut busy = fixture.connect();
    busy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    until("the request at the upstream", || {
        upstream.heads().len() == 1
    });
    let running = fixture.running.take().unwrap();
    running.close();
    let drained = thread::spawn(move || running.drain(PATIENCE));
    assert!(idle.is_closed());
    go.send(()).unwrap();
    let answer = busy.answer().unwrap();
    assert_eq!(
        (answer.status, answer.header("connection")),
        (200, Some("close"))
    );
    assert!(drained.join().unwrap());
}

#[test]
fn a_port_of_no_service_is_closed_and_counted() {
    let upstream = Upstream::plain();
    let fixture = Fixture::before(upstream.address, "");
    let config = config(1, 2, "", "upstream = \"127.0.0.1:9\"");
    fixture
        .snapshot
        .send_replace(Arc::new(Snapshot::of_config(&config, Now::default())));
    assert!(fixture.connect().is_closed());
    assert_eq!(fixture.cause("not_a_service"), 1);
}
