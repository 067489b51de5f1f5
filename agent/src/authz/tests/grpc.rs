//! Envoy's calls by a real HTTP/2 client.

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::Incoming,
    client::conn::http2::{SendRequest, handshake},
};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::*;
use crate::authz::grpc::tests::{check_request, field, forged, read_answer, xff};

const METHOD: &str = "/envoy.service.auth.v3.Authorization/Check";

fn start(directory: &Path) -> Serving {
    let place = unix(directory, "envoy.sock");
    Serving::start(LOGIN, vec![endpoint(Profile::ExtAuthzGrpc, place)])
}

async fn connect(directory: &Path) -> SendRequest<Full<Bytes>> {
    let stream = UnixStream::connect(directory.join("envoy.sock"))
        .await
        .unwrap();
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

fn framed(message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(message.len().try_into().unwrap());
    bytes.put_slice(message);
    bytes.freeze()
}

fn request(path: &str, body: Bytes) -> Request<Full<Bytes>> {
    Request::post(format!("http://edgeward{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(body))
        .unwrap()
}

/// gRPC's status and the message.
async fn outcome(response: Response<Incoming>) -> (String, Bytes) {
    let in_head = response.headers().get("grpc-status").cloned();
    let body = response.into_body().collect().await.unwrap();
    let in_trailers = body
        .trailers()
        .and_then(|lines| lines.get("grpc-status"))
        .cloned();
    let status = in_head.or(in_trailers).unwrap();
    (status.to_str().unwrap().to_owned(), body.to_bytes())
}

/// The fields of a message: tag and content.
fn fields(mut bytes: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = prost::encoding::decode_varint(&mut bytes).unwrap();
        let tag = u32::try_from(key >> 3).unwrap();
        if key & 7 == 0 {
            let value = prost::encoding::decode_varint(&mut bytes).unwrap();
            found.push((tag, value.to_le_bytes().to_vec()));
        } else {
            let length = prost::encoding::decode_varint(&mut bytes).unwrap();
            let (content, rest) = bytes.split_at(usize::try_from(length).unwrap());
            found.push((tag, content.to_vec()));
            bytes = rest;
        }
    }
    found
}

#[tokio::test]
async fn a_call_is_judged_by_the_peer_in_its_message() {
    let directory = tempfile::tempdir().unwrap();
    let serving = start(directory.path());
    let mut client = connect(directory.path()).await;
    let parts = [
        xff("198.51.100.1, 203.0.113.9"),
        forged("x-edgeward-client"),
        forged("x-edgeward-score"),
        forged("x_edgeward_reason"),
    ];
    let message = framed(&check_request("192.0.2.7", &parts));
    let mut request = request(METHOD, message);
    // Envoy's own, about its own connection.
    let own = "203.0.113.99".parse().unwrap();
    request.headers_mut().insert("x-forwarded-for", own);
    let (status, body) = outcome(client.send_request(request).await.unwrap()).await;
    assert_eq!(status, "0");
    let answer = fields(&body[5..]);
    assert!(
        answer
            .iter()
            .any(|(tag, content)| (*tag, content.len()) == (1, 0)),
        "status OK"
    );
    let (_, passed) = answer.iter().find(|(tag, _)| *tag == 3).unwrap();
    let passed = fields(passed);
    let removed: Vec<&[u8]> = passed
        .iter()
        .filter(|(tag, _)| *tag == 5)
        .map(|(_, name)| &name[..])
        .collect();
    assert_eq!(removed, [&b"x-edgeward-score"[..], b"x_edgeward_reason"]);
    let client = [field(1, b"x-edgeward-client"), field(2, b"192.0.2.7")].concat();
    let set = [field(1, &client), vec![0x18, 0x02]].concat();
    assert!(passed.contains(&(2, set)), "{passed:?}");
    serving.stop().await;
}

#[tokio::test]
async fn calls_that_cannot_be_judged_fail_by_number() {
    let directory = tempfile::tempdir().unwrap();
    let serving = start(directory.path());
    let mut client = connect(directory.path()).await;
    let good = check_request("192.0.2.7", &[]);
    let mut compressed = BytesMut::from(&framed(&good)[..]);
    compressed[0] = 1;
    let cases: [(&str, &str, Bytes, &str); 6] = [
        (
            "another method",
            "/grpc.health.v1.Health/Check",
            framed(&good),
            "12",
        ),
        ("compressed", METHOD, compressed.freeze(), "12"),
        ("nothing", METHOD, Bytes::new(), "3"),
        ("garbage", METHOD, framed(b"\xff\xff\xff"), "3"),
        ("an empty message", METHOD, framed(b""), "9"),
        (
            "no address",
            METHOD,
            framed(&check_request("/run/pipe", &[])),
            "9",
        ),
    ];
    for (what, path, body, expected) in cases {
        let response = client.send_request(request(path, body)).await.unwrap();
        assert_eq!(outcome(response).await.0, expected, "{what}");
    }
    assert_eq!(serving.rejected("missing"), 2);
    assert_eq!(serving.rejected("malformed"), 4);
    // A client can make it long: that must not look like an agent that is down.
    let long = framed(&vec![0; 300 << 10]);
    let response = client.send_request(request(METHOD, long)).await.unwrap();
    let (status, body) = outcome(response).await;
    assert_eq!(status, "0");
    let refused = read_answer(&body[5..], |status, _, _| status);
    assert_eq!(refused, 431);
    // The connection goes on.
    let response = client.send_request(request(METHOD, framed(&good))).await;
    assert_eq!(outcome(response.unwrap()).await.0, "0");
    let plain = Request::get("http://edgeward/")
        .body(Full::default())
        .unwrap();
    let response = client.send_request(plain).await.unwrap();
    assert_eq!(response.status(), 415);
    serving.stop().await;
}

#[tokio::test]
async fn many_calls_share_a_connection() {
    let directory = tempfile::tempdir().unwrap();
    let serving = start(directory.path());
    let client = connect(directory.path()).await;
    let mut calls = tokio::task::JoinSet::new();
    for last in 1..=200u8 {
        let mut client = client.clone();
        calls.spawn(async move {
            let message = framed(&check_request(&format!("192.0.2.{last}"), &[]));
            let response = client.send_request(request(METHOD, message)).await;
            let (status, body) = outcome(response.unwrap()).await;
            let named = format!("192.0.2.{last}");
            let found = body
                .windows(named.len())
                .any(|part| part == named.as_bytes());
            (status, found)
        });
    }
    assert_eq!(calls.len(), 200);
    while let Some(call) = calls.join_next().await {
        assert_eq!(call.unwrap(), ("0".to_owned(), true));
    }
    serving.stop().await;
}
