//! The same judgement by every profile: the client behind proxies, forged headers, refusals and limits.

use std::net::IpAddr;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use spop::TypedData;

use super::*;
use crate::authz::{
    grpc::tests::{check_request_for, header as grpc_header},
    spoe::tests::{answered, notify, usual_hello, variables},
};

/// What every proxy does with an answer, in one shape.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    status: u16,
    /// Of a request that goes on.
    client: Option<String>,
    verdict: Option<String>,
    reason: Option<String>,
    would: Option<String>,
    /// Of a refusal.
    retry_after: Option<u64>,
    page: String,
}

/// A request as it reaches the proxy.
#[derive(Clone, Copy)]
struct Original<'a> {
    peer: &'a str,
    path: &'a str,
    lines: &'a [(&'a str, &'a str)],
}

const PROFILES: [Profile; 5] = [
    Profile::AuthRequest,
    Profile::ForwardAuth,
    Profile::ExtAuthz,
    Profile::ExtAuthzGrpc,
    Profile::Spoe,
];

/// Asks as the profile's proxy does.
async fn ask(profile: Profile, path: &Path, original: Original<'_>) -> Outcome {
    match profile {
        Profile::ExtAuthzGrpc => by_grpc(path, original).await,
        Profile::Spoe => by_spop(path, original).await,
        _ => by_http(profile, path, original).await,
    }
}

async fn by_http(profile: Profile, path: &Path, original: Original<'_>) -> Outcome {
    let mut raw = Raw::connect(path).await;
    let lines: String = original
        .lines
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let (target, peer) = (original.path, original.peer);
    let question = match profile {
        Profile::AuthRequest => format!(
            "GET /check HTTP/1.1\r\nHost: x\r\nX-Original-Method: POST\r\nX-Original-URI: {target}\r\n\
             X-Edgeward-Peer: {peer}\r\n{lines}\r\n"
        ),
        // A line of its own at the end is the same list as an element appended.
        Profile::ForwardAuth => format!(
            "GET /check HTTP/1.1\r\nHost: x\r\nX-Forwarded-Method: POST\r\nX-Forwarded-Uri: {target}\r\n\
             {lines}X-Forwarded-For: {peer}\r\n\r\n"
        ),
        _ => format!(
            "POST /check{target} HTTP/1.1\r\nHost: x\r\nX-Edgeward-Peer: {peer}\r\n{lines}\r\n"
        ),
    };
    let mut answer = raw.ask(question.as_bytes()).await;
    let mut status = answer.status;
    if profile == Profile::AuthRequest && status == 403 {
        // What the snippet does with it.
        let kept = |name: &str| answer.header(name).unwrap_or_default().to_owned();
        status = kept("x-edgeward-status").parse().unwrap();
        let accept = original.lines.iter().find(|(name, _)| *name == "Accept");
        let page = format!(
            "GET /refusal HTTP/1.1\r\nHost: x\r\nAccept: {}\r\nX-Edgeward-Status: {status}\r\n\
             X-Edgeward-Event-Id: {}\r\nX-Edgeward-Retry-After: {}\r\n\r\n",
            accept.map_or("", |(_, value)| value),
            kept("x-edgeward-event-id"),
            kept("x-edgeward-retry-after"),
        );
        answer = raw.ask(page.as_bytes()).await;
        assert_eq!(answer.status, status);
    }
    let text = |name: &str| answer.header(name).map(str::to_owned);
    let on = (200..300).contains(&status);
    Outcome {
        status: if on { 200 } else { status },
        client: text("x-edgeward-client"),
        verdict: text("x-edgeward-verdict"),
        reason: text("x-edgeward-reason"),
        would: text("x-edgeward-would"),
        retry_after: text("retry-after").map(|wait| wait.parse().unwrap()),
        page: answer.body,
    }
}

async fn by_grpc(path: &Path, original: Original<'_>) -> Outcome {
    let stream = TokioIo::new(UnixStream::connect(path).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
            .await
            .unwrap();
    tokio::spawn(connection);
    let mut joined: Vec<(String, String)> = Vec::new();
    for (name, value) in original.lines {
        let name = name.to_ascii_lowercase();
        // Envoy's map has one entry a name.
        match joined.iter_mut().find(|(known, _)| *known == name) {
            Some((_, all)) => *all = format!("{all},{value}"),
            None => joined.push((name, (*value).to_owned())),
        }
    }
    let lines: Vec<Vec<u8>> = joined
        .iter()
        .map(|(name, value)| grpc_header(name, value.as_bytes()))
        .collect();
    let message = check_request_for(original.peer, original.path, &lines);
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let body = Bytes::from([&[0][..], &length, &message].concat());
    let request = Request::post("http://e/envoy.service.auth.v3.Authorization/Check")
        .header("content-type", "application/grpc")
        .body(Full::new(body))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    crate::authz::grpc::tests::read_answer(&body[5..], |status, headers, page| Outcome {
        status,
        client: headers("x-edgeward-client"),
        verdict: headers("x-edgeward-verdict"),
        reason: headers("x-edgeward-reason"),
        would: headers("x-edgeward-would"),
        retry_after: headers("retry-after").map(|wait| wait.parse().unwrap()),
        page,
    })
}

async fn by_spop(path: &Path, original: Original<'_>) -> Outcome {
    let mut stream = UnixStream::connect(path).await.unwrap();
    let lines: String = original
        .lines
        .iter()
        .map(|(name, value)| format!("{}: {value}\r\n", name.to_ascii_lowercase()))
        .collect();
    let src: TypedData = match original.peer.parse().unwrap() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => address.into(),
    };
    let question = notify(
        1,
        1,
        &[
            ("src", src),
            ("method", "POST".into()),
            ("path", original.path.into()),
            ("headers", format!("{lines}\r\n").into()),
        ],
    );
    let bytes = [usual_hello(), question].concat();
    stream.write_all(&bytes).await.unwrap();
    let mut read = Vec::new();
    while answered(&read).len() < 2 {
        assert!(stream.read_buf(&mut read).await.unwrap() > 0);
    }
    let set = variables(answered(&read)[1].3);
    assert!(!set.iter().any(|(_, value)| value.contains('\n')));
    let text = |name: &str| {
        let found = set.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone())
    };
    let status = text("status").unwrap().parse().unwrap();
    Outcome {
        status,
        client: text("client"),
        verdict: text("verdict").filter(|_| status == 200),
        reason: text("reason"),
        would: text("would"),
        retry_after: text("retry_after").map(|wait| wait.parse().unwrap()),
        page: text("body").unwrap_or_default(),
    }
}

/// Asks every profile the same.
async fn every(config: &str, originals: &[Original<'_>], check: impl Fn(usize, &Outcome)) {
    for profile in PROFILES {
        let directory = tempfile::tempdir().unwrap();
        let place = unix(directory.path(), "e.sock");
        let serving = Serving::start(config, vec![endpoint(profile, place)]);
        for (index, original) in originals.iter().enumerate() {
            let outcome = ask(profile, &directory.path().join("e.sock"), *original).await;
            println!("{profile:?} {index}: {outcome:?}");
            check(index, &outcome);
        }
        serving.stop().await;
    }
}

fn on(client: &str) -> Outcome {
    Outcome {
        status: 200,
        client: Some(client.to_owned()),
        verdict: Some("pass".to_owned()),
        ..Outcome::default()
    }
}

fn through<'a>(peer: &'a str, lines: &'a [(&'a str, &'a str)]) -> Original<'a> {
    Original {
        peer,
        path: "/login?user=a",
        lines,
    }
}

#[tokio::test]
async fn the_client_is_found_behind_proxies_by_every_profile() {
    const XFF: &str = "X-Forwarded-For";
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);
    let cases: [Case<'_>; 7] = [
        ("192.0.2.1", &[(XFF, "198.51.100.7")], "198.51.100.7"),
        (
            "192.0.2.1",
            &[(XFF, "198.51.100.7, 192.0.2.9")],
            "198.51.100.7",
        ),
        (
            "192.0.2.1",
            &[
                (XFF, "203.0.113.9"),
                (XFF, "198.51.100.7"),
                (XFF, "192.0.2.9"),
            ],
            "198.51.100.7",
        ),
        ("2001:db8:1::1", &[(XFF, "2001:db8:5::7")], "2001:db8:5::7"),
        // Forged by somebody who is no proxy: it has no effect.
        ("198.51.100.8", &[(XFF, "203.0.113.9")], "198.51.100.8"),
        ("198.51.100.8", &[], "198.51.100.8"),
        // A proxy that says nothing is never refused.
        ("192.0.2.1", &[], "192.0.2.1"),
    ];
    let originals: Vec<_> = cases.iter().map(|case| through(case.0, case.1)).collect();
    every(&site("block", ""), &originals, |index, outcome| {
        assert_eq!(*outcome, on(cases[index].2));
    })
    .await;
}

#[tokio::test]
async fn a_bad_client_is_refused_by_every_profile() {
    let html = [("X-Forwarded-For", "203.0.113.9")];
    let json = [
        ("X-Forwarded-For", "2001:db8:bad::1, 192.0.2.9"),
        ("Accept", "application/json"),
    ];
    let originals = [
        through("192.0.2.1", &html),
        through("2001:db8:1::1", &json),
        through("203.0.113.9", &[]),
    ];
    every(&site("block", ""), &originals, |index, outcome| {
        assert_eq!(outcome.status, 403);
        assert_eq!(outcome.client, None, "nothing is passed on");
        assert!(outcome.page.contains("You do not have permission"));
        assert!(!outcome.page.contains("botnet"), "no hint of the rule");
        assert_eq!(outcome.page.starts_with('{'), index == 1);
    })
    .await;
}

#[tokio::test]
async fn log_mode_lets_on_and_tells() {
    let lines = [("X-Forwarded-For", "203.0.113.9")];
    every(
        &site("log", ""),
        &[through("192.0.2.1", &lines)],
        |_, outcome| {
            assert_eq!(outcome.status, 200);
            assert_eq!(outcome.client.as_deref(), Some("203.0.113.9"));
            assert_eq!(outcome.verdict.as_deref(), Some("deny"));
            assert_eq!(outcome.reason.as_deref(), Some("reputation"));
            assert_eq!(outcome.would.as_deref(), Some("deny"));
        },
    )
    .await;
}

#[tokio::test]
async fn a_limit_is_429_with_its_wait_by_every_profile() {
    let lines = [("X-Forwarded-For", "198.51.100.7")];
    let original = Original {
        path: "/limited?n=1",
        ..through("192.0.2.1", &lines)
    };
    every(&site("block", ""), &[original; 3], |index, outcome| {
        let limited = index == 2;
        assert_eq!(outcome.status, if limited { 429 } else { 200 });
        assert_eq!(outcome.retry_after.is_some(), limited);
        assert_eq!(outcome.page.contains("Too many requests"), limited);
    })
    .await;
}

#[tokio::test]
async fn the_peer_comes_from_where_the_endpoint_says() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("e.sock");
    let place = || unix(directory.path(), "e.sock");
    let site = site("block", "header = \"cf-connecting-ip\"");
    // The last hop of X-Forwarded-For is the peer, another header names the client.
    let serving = Serving::start(&site, vec![endpoint(Profile::ForwardAuth, place())]);
    let lines = [
        ("X-Forwarded-For", "203.0.113.9"),
        ("CF-Connecting-IP", "198.51.100.7"),
    ];
    let outcome = ask(Profile::ForwardAuth, &path, through("192.0.2.1", &lines)).await;
    assert_eq!(outcome, on("198.51.100.7"));
    let outcome = ask(Profile::ForwardAuth, &path, through("198.51.100.8", &lines)).await;
    assert_eq!(outcome, on("198.51.100.8"));
    // An address that is the client already: no header is read.
    let mut resolved = endpoint(Profile::ForwardAuth, place());
    resolved.resolved = true;
    serving.wanted.send(vec![resolved].into()).unwrap();
    tokio::task::yield_now().await;
    let outcome = ask(Profile::ForwardAuth, &path, through("203.0.113.9", &lines)).await;
    assert_eq!(outcome.status, 403);
    let outcome = ask(Profile::ForwardAuth, &path, through("198.51.100.9", &lines)).await;
    assert_eq!(outcome, on("198.51.100.9"));
    serving.stop().await;
}

#[tokio::test]
async fn bytes_that_are_no_text_are_judged_like_any() {
    let directory = tempfile::tempdir().unwrap();
    let place = unix(directory.path(), "e.sock");
    let serving = Serving::start(
        &site("block", ""),
        vec![endpoint(Profile::AuthRequest, place)],
    );
    let mut raw = Raw::connect(&directory.path().join("e.sock")).await;
    let mut question = b"GET /check HTTP/1.1\r\nHost: \xff\r\nX-Original-Method: GET\r\n\
        X-Edgeward-Peer: 192.0.2.1\r\nX-Forwarded-For: 203.0.113.9\r\nUser-Agent: \xfe\r\n"
        .to_vec();
    question.extend_from_slice(b"X-Original-URI: /login\xff\xfe?\xc0\r\n\r\n");
    // A client chooses these bytes: a 500 would open the door where nginx is told to open on errors.
    assert_eq!(raw.ask(&question).await.status, 403);
    serving.stop().await;
}
