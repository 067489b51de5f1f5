//! Sign-ins: what detection is told of them, and that nothing else changes for those who sign in.

use tokio::sync::mpsc;

use super::*;
use crate::{
    detection::{Batch, Intake},
    gateway::{shared::Worker, sign_in::Outbox},
    policy::{
        detect::Findings,
        sign_in,
        signal::{
            Flow, Outcome,
            Outcome::{Challenge, Failure, Success, UnknownUser},
            PseudonymKey, Signal,
        },
        suspects::{Known, Suspect, Suspects},
    },
};

const KEY: PseudonymKey = PseudonymKey::new(1, 2);

const ROUTES: &str = r#"
[[service.sign_in]]
path = "/status"
user_field = "user"
body_bytes_max = 1024
success = [302]
failure = [200]
unknown_user = [410]
challenge = [202]
[[service.sign_in]]
path = "/header"
flow = "recovery"
user_basic = true
outcome_header = "location"
outcomes = ["failure=*?error*", "success=/home"]
[[service.sign_in]]
path = "/field"
flow = "enrolment"
user_field = "user.mail"
outcome_field = "error.code"
answer_bytes_max = 1024
outcomes = ["unknown-user=NOBODY", "failure=WRONG"]
success = [200]
"#;

/// A gateway whose upstream answers what the request's `x-answer` says, and keeps what it was sent.
struct World {
    fixture: Fixture,
    batches: mpsc::Receiver<Batch>,
    waiting: Vec<Signal>,
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
}

fn world() -> World {
    let bodies = Arc::<Mutex<Vec<Vec<u8>>>>::default();
    let kept = Arc::clone(&bodies);
    let upstream = Upstream::playing(move |stream, head| {
        let lower = head.to_lowercase();
        kept.lock().unwrap().push(read_body(stream, &lower));
        let answer = field(&lower, "x-answer").and_then(|answer| answer.parse::<usize>().ok());
        stream
            .write_all(&answers()[answer.unwrap_or_default()])
            .is_ok()
    });
    let fixture = Fixture::before(upstream.address, ROUTES);
    let (intake, batches) = Intake::new();
    fixture.gate.tell_sign_ins(KEY, intake);
    World {
        fixture,
        batches,
        waiting: Vec::new(),
        bodies,
    }
}

fn answers() -> Vec<Vec<u8>> {
    let answer = |head: &str, body: &[u8]| {
        let head = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    };
    let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    zipped.write_all(br#"{"error":{"code":"NOBODY"}}"#).unwrap();
    let zipped = zipped.finish().unwrap();
    let long = format!(
        "{{\"x\":\"{}\",\"error\":{{\"code\":\"NOBODY\"}}}}",
        "x".repeat(20_000)
    );
    vec![
        answer("200 OK", b"again"),
        answer("302 Found", b""),
        answer("410 Gone", b""),
        answer("202 Accepted", b"code?"),
        answer("503 Busy", b""),
        answer("302 Found\r\nLocation: /login?error=1", b""),
        answer("302 Found\r\nLocation: /home", b""),
        answer("200 OK", br#"{"error":{"code":"WRONG"}}"#),
        answer("200 OK\r\nContent-Encoding: gzip", &zipped),
        answer("200 OK", br#"{"user":{}}"#),
        answer("200 OK", long.as_bytes()),
        answer("401 No\r\nContent-Encoding: br", b"\x1b\x03"),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\n{\"error\":\r\nf\r\n{\"code\":\"WRONG\"\r\n2\r\n}}\r\n0\r\n\r\n".to_vec(),
    ]
}

fn read_body(stream: &mut TcpStream, head: &str) -> Vec<u8> {
    let mut body = Vec::new();
    if let Some(length) = field(head, "content-length") {
        body.resize(length.parse().unwrap(), 0);
        stream.read_exact(&mut body).unwrap();
        return body;
    }
    if field(head, "transfer-encoding").is_none() {
        return body;
    }
    loop {
        let size = usize::from_str_radix(read_line(stream).trim(), 16).unwrap();
        if size == 0 {
            break;
        }
        let mut chunk = vec![0; size + 2];
        stream.read_exact(&mut chunk).unwrap();
        body.extend_from_slice(&chunk[..size]);
    }
    while read_line(stream) != "\r\n" {}
    body
}

fn read_line(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\n") {
        stream.read_exact(&mut byte).unwrap();
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}

impl World {
    /// The next signal.
    fn signal(&mut self) -> Signal {
        let began = Instant::now();
        while self.waiting.is_empty() {
            assert!(began.elapsed() < PATIENCE, "no signal");
            match self.batches.try_recv() {
                Ok(batch) => self.waiting.extend(batch.signals),
                Err(_) => thread::sleep(Duration::from_millis(2)),
            }
        }
        self.waiting.remove(0)
    }

    fn counted(&self, name: &str) -> u64 {
        self.fixture.gate.report().sign_ins[name]
    }

    fn last_body(&self) -> Vec<u8> {
        self.bodies.lock().unwrap().last().unwrap().clone()
    }
}

fn post(path: &str, answer: usize, more: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.7\r\nUser-Agent: test\r\nX-Answer: {answer}\r\n\
         {more}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

const BASIC: &str = "Authorization: Basic YWxpY2U6eA==\r\n";
const JSON: &str = r#"{"user":{"mail":"Alice"},"password":"x"}"#;

/// Path, which answer, more of the head, body, flow, outcome.
type Row = (
    &'static str,
    usize,
    &'static str,
    &'static str,
    Flow,
    Option<Outcome>,
);

const SIGN_INS: &[Row] = &[
    (
        "/status",
        1,
        "",
        "user=alice&password=x",
        Flow::SignIn,
        Some(Success),
    ),
    (
        "/status",
        0,
        "",
        "user=alice&password=x",
        Flow::SignIn,
        Some(Failure),
    ),
    (
        "//status/?x=1",
        2,
        "",
        "password=x&user=alice",
        Flow::SignIn,
        Some(UnknownUser),
    ),
    (
        "/status?user=alice",
        3,
        "",
        "",
        Flow::SignIn,
        Some(Challenge),
    ),
    ("/status", 4, "", "user=alice", Flow::SignIn, None),
    ("/header", 5, BASIC, "", Flow::Recovery, Some(Failure)),
    ("/header", 6, BASIC, "x", Flow::Recovery, Some(Success)),
    ("/header", 1, BASIC, "", Flow::Recovery, Some(Success)),
    ("/field", 7, "", JSON, Flow::Enrolment, Some(Failure)),
    ("/field", 8, "", JSON, Flow::Enrolment, Some(UnknownUser)),
    ("/field", 9, "", JSON, Flow::Enrolment, Some(Success)),
    ("/field", 10, "", JSON, Flow::Enrolment, Some(Success)),
    ("/field", 11, "", JSON, Flow::Enrolment, Some(Failure)),
    ("/field", 12, "", JSON, Flow::Enrolment, Some(Failure)),
    ("/other", 1, "", "user=alice", Flow::SignIn, None),
];

#[test]
fn outcomes_are_told_by_status_header_and_field() {
    let mut world = world();
    let mut client = world.fixture.connect();
    for &(path, answer, more, body, flow, expected) in SIGN_INS {
        client.send(post(path, answer, more, body));
        let got = client.answer().unwrap();
        let sent = String::from_utf8_lossy(&answers()[answer]).into_owned();
        assert!(
            answer == 12 || sent.as_bytes().ends_with(&got.body) || answer == 8,
            "{path} {answer}"
        );
        assert_eq!(world.last_body(), body.as_bytes(), "{path} {answer}");
        let Some(outcome) = expected else {
            continue;
        };
        let signal = world.signal();
        let spelt = path.split('?').next().unwrap();
        let expected = Signal {
            time_ms: signal.time_ms,
            client: "198.51.100.7".parse().unwrap(),
            service: 0,
            flow,
            outcome,
            user: Some(KEY.user(b"alice")),
            agent: sign_in::agent(&KEY, Some(b"test"), spelt),
            asn: None,
        };
        assert_eq!(signal, expected, "{path} {answer}");
    }
    assert_eq!(world.counted("signals"), 13);
    assert_eq!(world.counted("outcome_unclear"), 1);
    assert_eq!(
        world.counted("answer_unreadable"),
        2,
        "the long one, the one in br"
    );
}

#[test]
fn bodies_pass_as_they_came() {
    let mut world = world();
    let mut client = world.fixture.connect();
    let head = |framing: &str| {
        format!(
            "POST /status HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.7\r\nX-Answer: 1\r\n{framing}\r\n\r\n"
        )
    };
    // In pieces, one of which is the middle of a name.
    client.send(head("Transfer-Encoding: chunked"));
    for piece in ["user=al", "ice&pass", "word=x"] {
        client.send(format!("{:x}\r\n{piece}\r\n", piece.len()));
        thread::sleep(Duration::from_millis(5));
    }
    client.send("0\r\nX-Trailer: 1\r\n\r\n");
    assert_eq!(client.answer().unwrap().status, 302);
    assert_eq!(world.last_body(), b"user=alice&password=x");
    assert_eq!(world.signal().user, Some(KEY.user(b"alice")));
    // Longer than what is looked at, and named behind that.
    let long = format!(
        "x={}&user=alice&y={}",
        "x".repeat(1_500),
        "y".repeat(300_000)
    );
    client.send(post("/status", 1, "", &long));
    assert_eq!(client.answer().unwrap().status, 302);
    assert_eq!(world.last_body(), long.as_bytes());
    assert_eq!(world.signal().user, None);
    assert_eq!(world.counted("body_cut"), 1);
    // Of a name that is too long the beginning counts.
    let long = format!("user={}", "x".repeat(1 << 20));
    client.send(post("/status", 1, "", &long));
    assert_eq!(client.answer().unwrap().status, 302);
    assert_eq!(world.last_body().len(), long.len());
    assert_eq!(world.signal().user, Some(KEY.user(&[b'x'; 600])));
    // Compressed: it is not looked into.
    client.send(post(
        "/status",
        1,
        "Content-Encoding: gzip\r\n",
        "user=alice",
    ));
    assert_eq!(client.answer().unwrap().status, 302);
    assert_eq!(world.last_body(), b"user=alice");
    assert_eq!(
        (world.signal().user, world.counted("body_unreadable")),
        (None, 1)
    );
    // No body, and an empty one in chunks.
    client.send(head("Content-Length: 0"));
    assert_eq!(client.answer().unwrap().status, 302);
    client.send(format!("{}0\r\n\r\n", head("Transfer-Encoding: chunked")));
    assert_eq!(client.answer().unwrap().status, 302);
    assert_eq!(world.last_body(), b"");
    assert_eq!((world.signal().user, world.signal().user), (None, None));
    // Asked first whether it may come.
    client.send(head("Expect: 100-continue\r\nContent-Length: 10"));
    assert_eq!(client.answer().unwrap().status, 100);
    client.send("user=alice");
    assert_eq!(client.answer().unwrap().status, 302);
    assert_eq!(world.signal().user, Some(KEY.user(b"alice")));
}

#[test]
fn a_body_that_stays_away_is_not_waited_for() {
    let upstream = Upstream::plain();
    let fixture = Fixture::before(
        upstream.address,
        &format!("body_timeout = \"300ms\"\n{ROUTES}"),
    );
    let (intake, _batches) = Intake::new();
    fixture.gate.tell_sign_ins(KEY, intake);
    let mut client = fixture.connect();
    client.send(post("/status", 1, "", "user=alice").trim_end_matches("ice"));
    assert_eq!(client.answer().unwrap().status, 408);
    assert!(client.is_closed());
    assert!(upstream.heads().is_empty(), "nobody has judged it");
    let causes = fixture.running().report().causes;
    assert_eq!(fixture.cause("body_timeout"), 1, "{causes:?}");
    let mut client = fixture.connect();
    client.send(post("/status", 1, "", "user=alice").trim_end_matches("ice"));
    drop(client);
    until("the client has gone", || {
        fixture.cause("client_gone") + fixture.cause("chunk") >= 1
    });
    assert!(upstream.heads().is_empty());
}

#[test]
fn what_is_refused_is_no_signal_and_a_user_can_be_refused() {
    let mut world = world();
    let mut client = world.fixture.connect();
    client.send(post("/status", 1, "", "user=bob").replace("198.51.100.7", "203.0.113.9"));
    assert_eq!(client.answer().unwrap().status, 403);
    let mut suspects = Suspects::new(Arc::new(Known::new(7)));
    let suspect = Suspect {
        score: 100,
        until_ms: u64::MAX,
        findings: Findings::default(),
    };
    suspects.note_user(KEY.user(b"bob").bits(), suspect, 0);
    world.fixture.suspects.send_replace(Arc::new(suspects));
    client.send(post("/status", 1, "", "user=bob"));
    assert_eq!(client.answer().unwrap().status, 403);
    // His body was asked for, so the connection goes on.
    client.send(post("/status", 1, "Expect: 100-continue\r\n", "user=bob"));
    let mut answer = client.answer().unwrap();
    if answer.status == 100 {
        answer = client.answer().unwrap();
    }
    assert_eq!((answer.status, answer.header("connection")), (403, None));
    client.send(post("/status", 1, "", "user=alice"));
    assert_eq!(client.answer().unwrap().status, 302);
    assert_eq!(world.signal().user, Some(KEY.user(b"alice")));
    assert_eq!(world.bodies.lock().unwrap().len(), 1);
    assert_eq!(world.counted("signals"), 1);
}

#[test]
fn streams_sign_in_alike() {
    let mut world = world();
    let address = world.fixture.v4;
    http2::run(async {
        let mut client = http2::client(address).await;
        for (path, body) in [("/status", "user=alice"), ("/field", "user.mail=alice")] {
            let answer = client
                .send_request(http2::request(path, "198.51.100.7", body))
                .await
                .unwrap();
            assert_eq!(http2::text(answer).await, "again");
        }
    });
    assert_eq!(world.last_body(), b"user.mail=alice");
    for flow in [Flow::SignIn, Flow::Enrolment] {
        let signal = world.signal();
        assert_eq!((signal.flow, signal.user), (flow, Some(KEY.user(b"alice"))));
    }
}

#[test]
fn detection_that_is_behind_is_not_waited_for() {
    let upstream = Upstream::plain();
    let fixture = Fixture::before(upstream.address, ROUTES);
    let (intake, mut batches) = Intake::new();
    while intake.try_put(Batch::default()).is_ok() {}
    fixture.gate.tell_sign_ins(KEY, intake);
    let signal = |number: u64| Signal {
        time_ms: number,
        client: "198.51.100.7".parse().unwrap(),
        service: 0,
        flow: Flow::SignIn,
        outcome: Outcome::Failure,
        user: None,
        agent: None,
        asn: None,
    };
    let worker = Arc::<Worker>::default();
    http2::run(async {
        for number in 0..5_000 {
            Outbox::put(&worker, &fixture.gate, signal(number));
        }
        let counts = fixture.gate.report().sign_ins;
        assert_eq!(
            (counts["signals"], counts["signals_dropped"]),
            (0, 5_000 - 4_096)
        );
        let mut found = Vec::new();
        while found.len() < 4_096 {
            found.extend(batches.recv().await.unwrap().signals);
        }
        assert_eq!(found, (0..4_096).map(signal).collect::<Vec<_>>());
    });
    assert_eq!(fixture.gate.report().sign_ins["signals"], 4_096);
}
