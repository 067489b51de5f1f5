//! The protocol's words, and server and client against each other over a real Unix socket.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener as StdListener, UnixStream},
    },
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    Command, Envelope, EventFeed, Failure, FailureKind, Request, Role, Roles,
    client::{Client, ClientError},
    feed::FOLLOWED_QUEUED_MAX,
    protocol::Reply,
    server::{BindError, bind, serve},
};

const PATIENCE: Duration = Duration::from_secs(30);

/// A server in its own thread, whose commands are answered by a function in place of the keeper.
pub(crate) struct Server {
    _dir: tempfile::TempDir,
    pub(crate) path: PathBuf,
    pub(crate) feed: EventFeed,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(answer: fn(&Command) -> Option<Result<Value, Failure>>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/control.sock");
        let feed = EventFeed::new(10, 0);
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
        let (socket, events) = (path.clone(), feed.clone());
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = bind(&socket).unwrap();
                ready.send(()).unwrap();
                let (_roles, roles) = watch::channel(Roles::own().unwrap());
                let (commands, mut queue) = mpsc::channel::<Command>(4);
                let keeper = async {
                    while let Some(command) = queue.recv().await {
                        if let Some(answer) = answer(&command) {
                            drop(command.reply.send(answer));
                        }
                    }
                };
                tokio::select! {
                    () = serve(listener, roles, commands, events) => {}
                    () = keeper => {}
                    _ = stopped => {}
                }
            });
        });
        is_ready.recv().unwrap();
        Self {
            _dir: dir,
            path,
            feed,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    fn ask(&self, request: Request) -> Result<Value, ClientError> {
        Client::connect(&self.path)?.request(&request.into(), PATIENCE)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
        drop(self.thread.take().map(thread::JoinHandle::join));
    }
}

fn describe(command: &Command) -> Option<Result<Value, Failure>> {
    match &command.request {
        Request::Verify => None,
        Request::Detach => Some(Err(Failure {
            kind: FailureKind::Configuration,
            message: "no".to_owned(),
            details: vec!["because".to_owned()],
        })),
        request => Some(Ok(json!({
            "request": request,
            "uid": command.peer.uid,
            "pid": command.peer.pid,
            "ssh": command.ssh_peers,
        }))),
    }
}

#[test]
fn every_request_survives_its_line_and_has_its_role() {
    let cases = [
        (json!({"command": "status"}), Role::Reader),
        (json!({"command": "mode"}), Role::Reader),
        (
            json!({"command": "mode", "set": "block", "for_ms": 5, "confirm_within_ms": 6}),
            Role::Operator,
        ),
        (json!({"command": "mode_confirm"}), Role::Operator),
        (
            json!({"command": "block", "prefix": "192.0.2.0/24", "score": 3, "force": true}),
            Role::Operator,
        ),
        (
            json!({"command": "unblock", "prefix": "192.0.2.1-192.0.2.9"}),
            Role::Operator,
        ),
        (
            json!({"command": "exempt", "prefix": "2001:db8::1", "for_ms": 1}),
            Role::Operator,
        ),
        (
            json!({"command": "list", "origin": "operator", "reason": "x"}),
            Role::Reader,
        ),
        (json!({"command": "zone_list"}), Role::Reader),
        (json!({"command": "zone_show", "name": "cdn"}), Role::Reader),
        (
            json!({"command": "explain", "address": "192.0.2.1", "port": 443}),
            Role::Reader,
        ),
        (json!({"command": "verify"}), Role::Reader),
        (
            json!({"command": "events", "follow": true, "limit": 5}),
            Role::Reader,
        ),
        (json!({"command": "reload"}), Role::Operator),
        (json!({"command": "detach"}), Role::Operator),
    ];
    for (line, role) in cases {
        let mut envelope = Envelope::parse(line.to_string().as_bytes()).unwrap();
        assert_eq!(envelope.request.role(), role, "{line}");
        envelope.ssh_peers = vec!["192.0.2.9".parse().unwrap()];
        let again = Envelope::parse(envelope.to_line().as_bytes()).unwrap();
        assert_eq!(again, envelope, "{line}");
        let written: Value = serde_json::from_str(&envelope.to_line()).unwrap();
        for (key, value) in line.as_object().unwrap() {
            assert_eq!(written.get(key), Some(value), "{line}");
        }
    }
}

#[test]
fn what_is_not_understood_is_named() {
    let cases = [
        ("", "EOF"),
        ("[]", "command"),
        ("{\"command\":\"fly\"}", "fly"),
        ("{\"command\":\"block\"}", "prefix"),
        (
            "{\"command\":\"block\",\"prefix\":\"10.0.0.1/8\"}",
            "10.0.0.0/8",
        ),
        (
            "{\"command\":\"block\",\"prefix\":\"10.0.0.0/8\",\"fro_ms\":1}",
            "fro_ms",
        ),
        (
            "{\"command\":\"block\",\"prefix\":\"10.0.0.0/8\",\"score\":300}",
            "300",
        ),
        ("{\"command\":\"explain\",\"address\":\"x\"}", "address"),
        ("{\"command\":\"status\",\"ssh_peers\":\"x\"}", "sequence"),
    ];
    for (line, names) in cases {
        let failure = Envelope::parse(line.as_bytes()).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Usage);
        assert!(failure.message.contains(names), "{line}: {failure}");
    }
}

#[test]
fn replies_are_what_the_protocol_promises() {
    let failure = Failure::new(FailureKind::NotFound, "no zone `x`");
    assert_eq!(
        Reply::line(Err(failure.clone())),
        "{\"ok\":false,\"error\":{\"kind\":\"not_found\",\"message\":\"no zone `x`\"}}\n"
    );
    assert_eq!(
        Reply::line(Ok(json!({"a": 1}))),
        "{\"ok\":true,\"data\":{\"a\":1}}\n"
    );
    let read = |line: String| Reply::parse(line.as_bytes()).unwrap();
    assert_eq!(read(Reply::line(Err(failure.clone()))), Err(failure));
    assert_eq!(
        read(Reply::events_line(&["{}".into(), "7".into()])),
        Ok(json!({"events": [{}, 7]}))
    );
}

#[test]
fn a_request_reaches_the_keeper_with_its_peer() {
    let server = Server::start(describe);
    let mut client = Client::connect(&server.path).unwrap();
    let mut envelope =
        Envelope::parse(b"{\"command\":\"block\",\"prefix\":\"192.0.2.1\"}").unwrap();
    envelope.ssh_peers = vec!["::ffff:192.0.2.77".parse().unwrap()];
    let data = client.request(&envelope, PATIENCE).unwrap();
    assert_eq!(data.pointer("/request/prefix"), Some(&json!("192.0.2.1")));
    assert_eq!(data.get("pid"), Some(&json!(std::process::id())));
    let ssh = data.get("ssh").and_then(Value::as_array).unwrap();
    assert!(ssh.contains(&json!("192.0.2.77")), "canonical: {ssh:?}");
    // The same connection takes another one, and a failure arrives whole.
    let detach = Request::Detach;
    match client.request(&detach.into(), PATIENCE).unwrap_err() {
        ClientError::Refused(failure) => {
            assert_eq!(failure.kind, FailureKind::Configuration);
            assert_eq!(failure.details, ["because"]);
        }
        other => panic!("{other}"),
    }
    // A command that the keeper drops is an answer, not a silence.
    match server.ask(Request::Verify).unwrap_err() {
        ClientError::Refused(failure) => assert_eq!(failure.kind, FailureKind::Internal),
        other => panic!("{other}"),
    }
}

#[test]
fn too_long_a_line_is_refused_and_half_a_line_hurts_nobody() {
    let server = Server::start(describe);
    let mut raw = UnixStream::connect(&server.path).unwrap();
    // The server stops reading at its limit, so the rest may find the connection closed.
    drop(raw.write_all(&vec![b'x'; 70 << 10]));
    let mut answer = String::new();
    drop(raw.read_to_string(&mut answer));
    assert!(answer.contains("longer than 65536 bytes"), "{answer}");

    let mut half = UnixStream::connect(&server.path).unwrap();
    half.write_all(b"{\"command\":\"sta").unwrap();
    server.ask(Request::Status).unwrap();
    let mut answer = String::new();
    half.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("not finished"), "{answer}");
}

#[test]
fn the_sixty_fifth_connection_is_told_so() {
    let server = Server::start(describe);
    let mut held: Vec<_> = (0..64)
        .map(|_| {
            let mut client = Client::connect(&server.path).unwrap();
            client.request(&Request::Status.into(), PATIENCE).unwrap();
            client
        })
        .collect();
    match server.ask(Request::Status).unwrap_err() {
        ClientError::Refused(failure) => assert_eq!(failure.kind, FailureKind::Unavailable),
        other => panic!("{other}"),
    }
    held.pop();
    // The place is free once the server has seen the end; until then it may refuse.
    let freed = (0..1000).any(|_| server.ask(Request::Status).is_ok());
    assert!(freed);
}

#[test]
fn events_past_and_coming_arrive_in_order_and_losses_are_counted() {
    let server = Server::start(describe);
    for number in 0..3 {
        server.feed.push(json!({ "n": number, "id": "" }));
    }
    let events = |follow, limit| Request::Events { follow, limit };
    let data = server.ask(events(false, Some(2))).unwrap();
    assert_eq!(
        data,
        json!({"events": [{"n": 1, "id": ""}, {"n": 2, "id": ""}]})
    );

    let mut client = Client::connect(&server.path).unwrap();
    let data = client
        .request(&events(true, Some(1)).into(), PATIENCE)
        .unwrap();
    assert_eq!(data, json!({"events": [{"n": 2, "id": ""}]}));
    server.feed.push(json!({ "n": 3, "id": "" }));
    assert_eq!(
        client.next_event().unwrap().as_deref(),
        Some("{\"id\":\"\",\"n\":3}")
    );

    // Nobody reads while more is pushed than the socket and the queue together can hold.
    let long = json!({ "t": "x".repeat(4000) });
    let count = FOLLOWED_QUEUED_MAX * 4;
    for _ in 0..count {
        server.feed.push(long.clone());
    }
    server.feed.push(json!({ "end": true }));
    let (mut seen, mut lost) = (0, 0);
    loop {
        let line = client.next_event().unwrap().unwrap();
        let event: Value = serde_json::from_str(&line).unwrap();
        if let Some(number) = event.get("lost") {
            lost += number.as_u64().unwrap();
        } else if event.get("end").is_some() {
            break;
        } else {
            seen += 1;
        }
    }
    assert!(lost > 0, "the queue is bounded");
    assert_eq!(seen + lost, count as u64, "what is lost is counted");
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let server = Server::start(describe);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&server.path), 0o666);
    assert_eq!(mode(server.path.parent().unwrap()), 0o755);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _entered = runtime.enter();
    assert!(matches!(bind(&server.path), Err(BindError::InUse(_))));
    server.ask(Request::Status).unwrap();

    let dir = tempfile::tempdir().unwrap();
    let stale = dir.path().join("stale.sock");
    drop(StdListener::bind(&stale).unwrap());
    let error = Client::connect(&stale).unwrap_err().to_string();
    assert!(
        error.contains("stale.sock") && error.contains("edgeward run"),
        "{error}"
    );
    drop(bind(&stale).unwrap());

    let file = dir.path().join("file");
    fs::write(&file, "precious").unwrap();
    assert!(matches!(bind(&file), Err(BindError::NotASocket(_))));
    assert_eq!(fs::read(&file).unwrap(), b"precious");
}
