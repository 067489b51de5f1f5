//! `POST /v1/signals`, over real sockets.

use super::*;
use crate::policy::signal::{Outcome, Signal};

/// A call, its answer, and what it brought.
async fn call(
    serving: &mut Serving,
    raw: &mut Raw,
    head: &str,
    body: &str,
) -> (Answer, Vec<Signal>) {
    let call = format!(
        "POST /v1/signals HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n{head}\r\n{body}",
        body.len()
    );
    raw.send(call.as_bytes()).await;
    let mut found = Vec::new();
    loop {
        tokio::select! {
            answer = raw.answer() => return (answer.expect("an answer"), found),
            Some(batch) = serving.batches.recv() => {
                found.extend(batch.signals);
                batch.taken.expect("a call waits").send(()).expect("it still does");
            }
        }
    }
}

fn json(answer: &Answer) -> serde_json::Value {
    assert_eq!(answer.header("content-type"), Some("application/json"));
    serde_json::from_str(&answer.body).unwrap()
}

#[tokio::test]
async fn an_application_reports_outcomes() {
    let directory = tempfile::tempdir().unwrap();
    let place = unix(directory.path(), "app.sock");
    let mut serving = Serving::start(LOGIN, vec![endpoint(Profile::Signals, place)]);
    let mut raw = Raw::connect(&directory.path().join("app.sock")).await;
    let body = r#"[{"id":"1","client":"192.0.2.1","outcome":"failure","user":"bob"},{"client":"x","outcome":"success"}]"#;
    let (answer, found) = call(&mut serving, &mut raw, "", body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let said = json(&answer);
    assert_eq!(
        (&said["accepted"], &said["duplicates"]),
        (&1.into(), &0.into())
    );
    assert_eq!(said["rejected"][0]["index"], 1);
    assert_eq!(said["rejected"][0]["reason"], "the client is no IP address");
    assert_eq!(found[0].outcome, Outcome::Failure);
    // The same connection goes on.
    let (answer, found) = call(&mut serving, &mut raw, "", body).await;
    assert_eq!(json(&answer)["duplicates"], 1);
    assert!(found.is_empty());
    let (answer, _) = call(&mut serving, &mut raw, "", r#"{"outcome":"success"}"#).await;
    assert_eq!(answer.status, 422);
    assert!(
        answer.body.contains("`client` is missing"),
        "{}",
        answer.body
    );
    serving.stop().await;
}

#[tokio::test]
async fn the_calls_own_headers_may_name_the_client() {
    let directory = tempfile::tempdir().unwrap();
    let place = unix(directory.path(), "nginx.sock");
    let mut serving = Serving::start(
        &site("log", ""),
        vec![endpoint(Profile::AuthRequest, place)],
    );
    let mut raw = Raw::connect(&directory.path().join("nginx.sock")).await;
    let body = r#"{"outcome":"failure"}"#;
    for (head, client) in [
        // The peer is the proxy, so its header is believed; the rest of it is the client's own.
        (
            "X-Edgeward-Peer: 192.0.2.1\r\nX-Forwarded-For: 198.51.100.7, 203.0.113.9\r\n",
            "203.0.113.9",
        ),
        (
            "X-Edgeward-Peer: 198.51.100.1\r\nX-Forwarded-For: 203.0.113.9\r\n",
            "198.51.100.1",
        ),
    ] {
        let (answer, found) = call(&mut serving, &mut raw, head, body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(found[0].client.to_string(), client);
    }
    let unknown = "X-Edgeward-Peer: 192.0.2.1\r\nX-Forwarded-For: garbage\r\n";
    let (answer, _) = call(&mut serving, &mut raw, unknown, body).await;
    assert_eq!(answer.status, 422);
    assert!(answer.body.contains("cannot be read"), "{}", answer.body);
    // Questions are answered beside it.
    let answer = raw
        .ask(b"GET /check HTTP/1.1\r\nHost: x\r\nX-Original-Method: GET\r\nX-Original-URI: /\r\nX-Edgeward-Peer: 192.0.2.1\r\n\r\n")
        .await;
    assert_eq!(answer.status, 204);
    serving.stop().await;
}

#[tokio::test]
async fn what_is_no_call_is_turned_away() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let place = unix(directory.path(), "app.sock");
    let mut serving = Serving::start(LOGIN, vec![endpoint(Profile::Signals, place)]);
    for (head, status) in [
        ("GET /v1/signals HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        ("GET /check HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (
            "POST /v1/signals HTTP/1.1\r\nHost: x\r\nContent-Length: 262145\r\n\r\n",
            413,
        ),
        (
            "POST /v1/signals HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",
            415,
        ),
        (
            "POST /v1/signals HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n<ht>",
            400,
        ),
        (
            "POST /v1/signals HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n[]",
            400,
        ),
    ] {
        let mut raw = Raw::connect(&path).await;
        let answer = raw.ask(head.as_bytes()).await;
        assert_eq!(answer.status, status, "{head}");
    }
    // Without a length the limit holds too.
    let mut raw = Raw::connect(&path).await;
    raw.send(b"POST /v1/signals HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x1_0000)).repeat(5);
    let _ = raw.stream.write_all(chunk.as_bytes()).await;
    assert_eq!(raw.answer().await.expect("an answer").status, 413);
    assert!(serving.batches.try_recv().is_err());
    serving.stop().await;
}
