//! What is typed against what is asked, printed and exited with, over a real control socket.

use std::{collections::BTreeMap, fs, io::ErrorKind, path::Path};

use clap::{CommandFactory, Parser};
use serde_json::{Value, json};

use super::{Cli, Trouble, execute, lifetime, output, status};
use crate::config::Config;
use crate::control::{
    Command, Failure, FailureKind, Request,
    report::{Interface, ModeReport, Status, Table},
    tests::Server,
};

fn run(socket: &Path, words: &[&str]) -> (String, Result<(), Trouble>) {
    let mut line = vec!["edgeward", "--socket"];
    line.push(socket.to_str().unwrap());
    line.extend(words);
    let mut out = Vec::new();
    let outcome = execute(Cli::try_parse_from(line).unwrap(), &mut out);
    (String::from_utf8(out).unwrap(), outcome)
}

/// Stands in for the keeper: facts for the readers' commands, the request itself for all others.
fn answer(command: &Command) -> Option<Result<Value, Failure>> {
    Some(match &command.request {
        Request::Block { prefix, force, .. } if !force => Err(Failure::new(
            FailureKind::Protected,
            format!("{prefix} is your own SSH peer"),
        )),
        Request::Block { prefix, score, .. } => Ok(json!({
            "decisions": [{"prefix": prefix.networks()[0], "kind": "block", "score": score.unwrap_or(100),
                "reason": "", "origin": "operator", "created": 1, "expires": null, "actor": "uid 0"}],
            "notes": ["the mode is log: it is reported, not dropped"],
        })),
        Request::Verify => Ok(
            json!({"matches": false, "checked": 2, "differences_total": 1,
            "differences": ["192.0.2.1/32 is missing"]}),
        ),
        Request::Reload => Err(Failure {
            kind: FailureKind::Configuration,
            message: "the configuration was not taken".to_owned(),
            details: vec!["a.toml:1: mode: no".to_owned()],
        }),
        Request::ZoneShow { .. } => Err(Failure::new(FailureKind::Denied, "no")),
        Request::Explain {
            address: Some(address),
            port,
            ..
        } => {
            let config =
                Config::parse("mode = \"log\"", Path::new("/nonexistent"), "test").unwrap();
            Ok(crate::policy::explain::offline(&config, *address, *port))
        }
        request => serde_json::to_value(request)
            .map_err(|error| Failure::new(FailureKind::Internal, error.to_string())),
    })
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn each_command_asks_for_what_was_typed() {
    let server = Server::start(answer);
    let cases: [(&[&str], Value); 9] = [
        (
            &[
                "explain",
                "--peer",
                "10.0.0.1",
                "--header",
                "A: 1",
                "--header",
                "b:2",
                "--service",
                "login",
                "--path",
                "/x",
            ],
            json!({"command": "explain", "address": null, "port": null, "peer": "10.0.0.1",
                "headers": ["A: 1", "b: 2"], "service": "login", "path": "/x"}),
        ),
        (&["status"], json!({"command": "status"})),
        (
            &["mode"],
            json!({"command": "mode", "set": null, "for_ms": null, "confirm_within_ms": null}),
        ),
        (
            &["mode", "block", "--for", "1h30m", "--confirm-within", "5m"],
            json!({"command": "mode", "set": "block", "for_ms": 5_400_000, "confirm_within_ms": 300_000}),
        ),
        (&["mode", "confirm"], json!({"command": "mode_confirm"})),
        (
            &["exempt", "192.0.2.1-192.0.2.9", "--for", "90s"],
            json!({"command": "exempt", "prefix": "192.0.2.1-192.0.2.9", "for_ms": 90_000}),
        ),
        (
            &["list", "--origin", "feed", "--reason", "x"],
            json!({"command": "list", "origin": "feed", "reason": "x"}),
        ),
        (&["zone", "list"], json!({"command": "zone_list"})),
        (&["detach"], json!({"command": "detach"})),
    ];
    for (words, asked) in cases {
        let mut line = words.to_vec();
        line.push("--json");
        let (out, outcome) = run(&server.path, &line);
        outcome.unwrap();
        let printed: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(printed, asked, "{words:?}");
        assert_eq!(out.lines().count(), 1, "one document");
    }
}

#[test]
fn failures_have_their_exit_codes() {
    let server = Server::start(answer);
    let nowhere = server.path.with_file_name("nobody.sock");
    let cases: [(&Path, &[&str], u8, &str); 6] = [
        (&server.path, &["block", "192.0.2.1"], 1, "own SSH peer"),
        (&server.path, &["mode", "--for", "5m"], 2, "--for"),
        (&server.path, &["verify"], 1, ""),
        (&server.path, &["reload"], 78, "a.toml:1"),
        (&server.path, &["zone", "show", "x"], 77, "no"),
        (&nowhere, &["status"], 69, "edgeward run"),
    ];
    for (socket, words, code, says) in cases {
        let trouble = run(socket, words).1.unwrap_err();
        assert_eq!(trouble.code(), code, "{words:?}: {trouble}");
        assert!(trouble.to_string().contains(says), "{trouble}");
    }
    let closed = Trouble::Output(ErrorKind::BrokenPipe.into());
    assert_eq!(closed.code(), 0, "`edgeward list | head` is no failure");
}

#[test]
fn usage_mistakes_are_refused_before_anybody_is_asked() {
    let cases: [&[&str]; 14] = [
        &["explain"],
        &["explain", "--peer", "nobody"],
        &["explain", "--peer", "10.0.0.1", "--header", "X-Real-IP"],
        &["explain", "192.0.2.1", "--header", "X-Real-IP: 192.0.2.2"],
        &["explain", "192.0.2.1", "--peer", "10.0.0.1"],
        &["explain", "--service", "login"],
        &["block", "10.0.0.1/8"],
        &["block", "10.0.0.0/8", "--score", "0"],
        &["block", "10.0.0.0/8", "--score", "101"],
        &["block", "10.0.0.0/8", "--for", "0s"],
        &["mode", "loud"],
        &["explain", "nobody"],
        &["list", "--origin", "rumour"],
        &["fly"],
    ];
    for words in cases {
        let error = Cli::try_parse_from([&["edgeward"], words].concat()).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{words:?}");
    }
    let error = Cli::try_parse_from(["edgeward", "block", "10.0.0.1/8"]).unwrap_err();
    assert!(error.to_string().contains("10.0.0.0/8"), "{error}");
    assert_eq!(lifetime("5m"), Ok(300_000));
}

#[test]
fn facts_are_readable() {
    let server = Server::start(answer);
    let (out, outcome) = run(
        &server.path,
        &["block", "192.0.2.1", "--force", "--score", "90"],
    );
    outcome.unwrap();
    assert_eq!(
        out,
        "blocked 192.0.2.1/32 with score 90; ends never\n\
         note: the mode is log: it is reported, not dropped\n"
    );
    let (out, outcome) = run(&server.path, &["explain", "192.0.2.1"]);
    outcome.unwrap();
    assert!(out.contains("1. exempt zone: no\n"), "{out}");
    assert!(out.contains("pass (mode log)"), "{out}");
    let (out, _) = run(&server.path, &["verify"]);
    assert!(out.starts_with("192.0.2.1/32 is missing\n"), "{out}");
    server
        .feed
        .push(json!({ "time": 86_400_000, "source": "192.0.2.1", "id": "" }));
    let (out, outcome) = run(&server.path, &["events"]);
    outcome.unwrap();
    assert_eq!(out, "1970-01-02T00:00:00Z  id=  source=192.0.2.1\n");
    let (out, _) = run(&server.path, &["events", "--json", "--limit", "1"]);
    assert_eq!(
        out,
        "{\"id\":\"\",\"source\":\"192.0.2.1\",\"time\":86400000}\n"
    );
}

#[test]
fn status_says_what_matters_first() {
    let status = Status {
        version: "0.1.0".to_owned(),
        pid: 7,
        uptime_ms: 11_520_000,
        mode: ModeReport {
            mode: "log".to_owned(),
            origin: "operator".to_owned(),
            actor: "uid 0".to_owned(),
            since: 1_000,
            next: Some("off".to_owned()),
            next_in_ms: Some(252_000),
            unconfirmed: true,
        },
        interfaces: vec![Interface {
            name: "eth0".to_owned(),
            attached: "native".to_owned(),
            note: None,
        }],
        tables: vec![Table {
            name: "hosts v4".to_owned(),
            used: 1_000_000,
            max: 1_048_576,
            displaced: 1,
        }],
        decisions: BTreeMap::from([("block".to_owned(), 1)]),
        zones: 2,
        ..Status::default()
    };
    let text = status::render(&status, 61_000);
    let expected = "\
edgeward      0.1.0, running for 3h12m (process 7)
mode          log: verdicts are counted and reported, nothing is dropped
              set by uid 0 1m ago
              goes back to off in 4m12s unless you run: edgeward mode confirm
interfaces    eth0  native
in force      1 block, 0 exemptions (edgeward list); 2 zones (edgeward zone list)
tables        hosts v4  1,000,000 of 1,048,576  FULL: 1 entry gave way
";
    assert_eq!(text, expected);
}

#[test]
fn the_socket_is_found_where_it_was_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("edgeward.toml");
    fs::write(&file, "mode = \"log\"\nsocket = \"/tmp/x.sock\"\n").unwrap();
    let mut out = Vec::new();
    let mut context = super::Context {
        json: false,
        socket: None,
        config: Some(file.clone()),
        now: 0,
        out: &mut out,
    };
    assert_eq!(super::socket_of(&file).unwrap(), Path::new("/tmp/x.sock"));
    context.socket = Some("/tmp/y.sock".into());
    assert_eq!(context.socket_path().unwrap(), Path::new("/tmp/y.sock"));
    fs::write(&file, "socket = 5\n").unwrap();
    assert_eq!(super::socket_of(&file).unwrap_err().code(), 78);
}

#[test]
fn numbers_and_moments() {
    assert_eq!(output::number(0), "0");
    assert_eq!(output::number(999), "999");
    assert_eq!(output::number(1_234_567), "1,234,567");
    assert_eq!(output::utc(1_709_210_096_000), "2024-02-29T12:34:56Z");
    assert_eq!(output::utc(4_102_444_799_999), "2099-12-31T23:59:59Z");
    assert_eq!(output::ends(None, 5), "never");
    assert_eq!(output::ends(Some(5), 5), "ended");
    assert_eq!(output::ends(Some(90_061_000), 0), "in 1d1h1m");
}
