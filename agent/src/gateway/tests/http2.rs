//! HTTP/2 from clients and towards the upstream.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::Incoming,
    client::conn::http2::{SendRequest, handshake},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::*;

/// A client by prior knowledge.
pub(super) async fn client(to: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = tokio::net::TcpStream::connect(to).await.unwrap();
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

pub(super) fn request(path: &str, client: &str, body: &'static str) -> Request<Full<Bytes>> {
    Request::builder()
        .method(if body.is_empty() {
            Method::GET
        } else {
            Method::POST
        })
        .uri(format!("http://login.example{path}"))
        .header("x-forwarded-for", client)
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(Full::from(body))
        .unwrap()
}

pub(super) async fn text(response: Response<Incoming>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

pub(super) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let test = async {
        tokio::time::timeout(PATIENCE, test).await.unwrap();
    };
    runtime.block_on(test);
}

#[test]
fn streams_are_judged_one_by_one() {
    let upstream = Upstream::plain();
    let fixture = Fixture::before(upstream.address, "");
    run(async {
        let mut client = client(fixture.v4).await;
        let good = client
            .send_request(request("/1", "198.51.100.7", ""))
            .await
            .unwrap();
        assert_eq!(
            (good.status(), text(good).await.as_str()),
            (StatusCode::OK, "ok")
        );
        let (bad, posted) = tokio::join!(
            client
                .clone()
                .send_request(request("/2", "203.0.113.9", "")),
            client
                .clone()
                .send_request(request("/3", "198.51.100.7", "body")),
        );
        assert_eq!(bad.unwrap().status(), StatusCode::FORBIDDEN);
        assert_eq!(posted.unwrap().status(), StatusCode::OK);
        let refused = client
            .send_request(request("/4", "203.0.113.9", "body"))
            .await
            .unwrap();
        assert_eq!(refused.status(), StatusCode::FORBIDDEN);
        let again = client
            .send_request(request("/5", "198.51.100.7", ""))
            .await
            .unwrap();
        assert_eq!(again.status(), StatusCode::OK);
    });
    let heads = upstream.heads();
    assert_eq!(heads.len(), 3);
    assert!(heads[0].starts_with("GET /1 HTTP/1.1\r\n"), "{}", heads[0]);
    assert_eq!(field(&heads[0], "host"), Some("login.example"));
    assert_eq!(field(&heads[0], "cookie"), Some("a=1; b=2"));
    assert_eq!(field(&heads[1], "content-length"), Some("4"));
    assert_eq!(fixture.judged(), (5, 3));
}

#[test]
fn what_http_1_could_misread_does_not_pass() {
    let upstream = Upstream::plain();
    let fixture = Fixture::before(upstream.address, "");
    run(async {
        let mut client = client(fixture.v4).await;
        for (name, value) in [
            ("host", "other.example"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
        ] {
            let mut request = request("/t", "198.51.100.7", "");
            request.headers_mut().insert(
                http::HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
            // hyper's client may refuse to send it, h2 may reset the stream, the gateway may answer 400.
            if let Ok(answer) = client.send_request(request).await {
                let removed = name != "host" && answer.status() == StatusCode::OK;
                assert!(
                    removed || answer.status() == StatusCode::BAD_REQUEST,
                    "{name}: {answer:?}"
                );
            }
        }
    });
    for head in upstream.heads() {
        assert!(
            field(&head, "transfer-encoding").is_none() && field(&head, "upgrade").is_none(),
            "{head}"
        );
    }
    assert_eq!(fixture.cause("host_mismatch"), 1);
}

#[test]
fn too_many_headers_are_refused_on_their_stream() {
    let upstream = Upstream::plain();
    let fixture = Fixture::before(upstream.address, "headers_max = 5");
    run(async {
        let mut client = client(fixture.v4).await;
        let mut many = request("/", "198.51.100.7", "");
        for number in 0..9 {
            let name = http::HeaderName::try_from(format!("x-{number}")).unwrap();
            many.headers_mut().insert(name, "1".parse().unwrap());
        }
        let answer = client.send_request(many).await.unwrap();
        assert_eq!(answer.status().as_u16(), 431);
        let answer = client
            .send_request(request("/", "198.51.100.7", ""))
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    });
}

/// HTTP/2 in raw frames, for what no client library sends.
#[test]
fn line_ends_in_http_2_headers_reset_the_stream() {
    let upstream = Upstream::plain();
    let fixture = Fixture::before(upstream.address, "");
    for (name, value) in [
        ("x", "a\r\nGET /hidden HTTP/1.1"),
        ("x\r\ny", "z"),
        ("connection", "close"),
        ("x", "a\nb: c"),
    ] {
        let mut block = vec![0x82, 0x86, 0x84, 0x41, 1, b'a'];
        block.push(0);
        block.push(u8::try_from(name.len()).unwrap());
        block.extend_from_slice(name.as_bytes());
        block.push(u8::try_from(value.len()).unwrap());
        block.extend_from_slice(value.as_bytes());
        let mut client = fixture.connect();
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
        let length = u8::try_from(block.len()).unwrap();
        client.send([&[0, 0, length, 1, 5, 0, 0, 0, 1][..], &block].concat());
        let reset = loop {
            let Some(frame) = client.exactly(9) else {
                break true;
            };
            let length = usize::from(frame[1]) << 8 | usize::from(frame[2]);
            let _ = client.exactly(length);
            assert_ne!(frame[3], 1, "an answer to {name:?}: {value:?}");
            // RST_STREAM or GOAWAY.
            if frame[3] == 3 || frame[3] == 7 {
                break true;
            }
        };
        assert!(reset);
    }
    assert!(upstream.heads().is_empty(), "{:?}", upstream.heads());
    assert_eq!(fixture.judged(), (0, 0));
}

#[test]
fn an_http_2_upstream_shares_one_connection() {
    let (address, seen) = http2_upstream();
    let fixture = Fixture::before(address, "upstream_protocol = \"h2\"");
    let mut client = fixture.connect();
    for path in ["/1", "/2"] {
        let answer = client.get(path, "198.51.100.7");
        assert_eq!((answer.status, answer.text()), (200, "h2"));
    }
    client.send("POST /3 HTTP/1.1\r\nHost: login.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    assert_eq!(client.answer().unwrap().status, 200);
    let seen = seen.lock().unwrap();
    let paths: Vec<&str> = seen.iter().map(|(uri, _, _)| uri.as_str()).collect();
    assert_eq!(
        paths,
        [
            "http://login.example/1",
            "http://login.example/2",
            "http://login.example/3"
        ]
    );
    assert_eq!(seen[0].1["x-edgeward-client"], "198.51.100.7");
    assert_eq!(seen[2].2, 3);
}

/// Target, headers and length of the body.
type Seen = Arc<Mutex<Vec<(String, HeaderMap, usize)>>>;

fn http2_upstream() -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Seen::default();
    let kept = Arc::clone(&seen);
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let kept = Arc::clone(&kept);
                let service = service_fn(move |request: Request<Incoming>| {
                    let kept = Arc::clone(&kept);
                    async move {
                        let (parts, body) = request.into_parts();
                        let bytes = body.collect().await.unwrap().to_bytes().len();
                        kept.lock()
                            .unwrap()
                            .push((parts.uri.to_string(), parts.headers, bytes));
                        Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::from("h2")))
                    }
                });
                let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
            }
        });
    });
    (address, seen)
}

#[test]
fn draining_says_goodbye_to_streams() {
    let upstream = Upstream::plain();
    let mut fixture = Fixture::before(upstream.address, "");
    let address = fixture.v4;
    let running = fixture.running.take().unwrap();
    run(async {
        let mut client = client(address).await;
        let answer = client
            .send_request(request("/", "198.51.100.7", ""))
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let drained = tokio::task::spawn_blocking(move || running.drain(PATIENCE));
        assert!(drained.await.unwrap());
        assert!(
            client.ready().await.is_err()
                || client
                    .send_request(request("/", "198.51.100.7", ""))
                    .await
                    .is_err()
        );
    });
}

#[test]
fn extended_connect_becomes_a_tunnel() {
    let upstream = Upstream::playing(|stream, head| {
        assert!(head.starts_with("GET /ws HTTP/1.1\r\n"), "{head}");
        assert_eq!(field(head, "upgrade"), Some("websocket"), "{head}");
        assert_eq!(
            field(head, "sec-websocket-key").map(str::len),
            Some(24),
            "{head}"
        );
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")
            .unwrap();
        let mut buffer = [0; 64];
        while let Ok(read) = stream.read(&mut buffer) {
            if read == 0 || stream.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        false
    });
    let fixture = Fixture::before(upstream.address, "");
    run(async {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut client = client(fixture.v4).await;
        let ask = |address: &str| {
            let mut request = request("/ws", address, "");
            *request.method_mut() = Method::CONNECT;
            request.headers_mut().remove("content-length");
            request
                .extensions_mut()
                .insert(hyper::ext::Protocol::from_static("websocket"));
            request
        };
        // The server's settings say that it may; they must have come first.
        let plain = client
            .send_request(request("/no", "203.0.113.9", ""))
            .await
            .unwrap();
        assert_eq!(plain.status(), StatusCode::FORBIDDEN);
        let refused = client.send_request(ask("203.0.113.9")).await.unwrap();
        assert_eq!(refused.status(), StatusCode::FORBIDDEN);
        let agreed = client.send_request(ask("198.51.100.7")).await.unwrap();
        assert_eq!(agreed.status(), StatusCode::OK);
        let mut tunnel = TokioIo::new(hyper::upgrade::on(agreed).await.unwrap());
        let mut read = [0; 5];
        tunnel.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"hello");
        tunnel.write_all(b"again").await.unwrap();
        tunnel.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"again");
    });
    until("the tunnel's end", || {
        fixture.running().report().services[0].2 == 0
    });
}
