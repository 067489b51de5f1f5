//! The client against servers that answer as asked and as they should not: real sockets, bytes by hand.

use std::{io::Write as _, path::PathBuf, time::Duration};

use flate2::{Compression, write::GzEncoder};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::mpsc,
};

use super::*;

const BYTES_MAX: u64 = 64 * 1024;

/// Serves each connection the next of these answers, and gives back the requests.
async fn server(answers: Vec<Vec<u8>>) -> (Uri, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/list?key=1", listener.local_addr().unwrap());
    let (sender, requests) = mpsc::channel(16);
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            sender.send(String::from_utf8(head).unwrap()).await.unwrap();
            if stream.write_all(&answer).await.is_ok() {
                drop(stream.shutdown().await);
            }
        }
    });
    (uri.parse().unwrap(), requests)
}

fn answer(head: &str, body: &[u8]) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {head}\r\n").into_bytes();
    out.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
    out.extend(body);
    out
}

struct Asked {
    outcome: Result<Answer, Failure>,
    /// What the file says when it is read as a feed is.
    read: Result<String, String>,
    _dir: tempfile::TempDir,
}

async fn ask(uri: &Uri, key: bool, timeout: Duration) -> Asked {
    let dir = tempfile::tempdir().unwrap();
    let file: PathBuf = dir.path().join("body");
    let client = Client::new(uri, None, timeout).unwrap();
    let key = key.then(|| {
        let mut value = HeaderValue::from_static("secret");
        value.set_sensitive(true);
        (HeaderName::from_static("x-api-key"), value)
    });
    let ask = Ask {
        uri: uri.clone(),
        headers: HeaderMap::new(),
        key,
    };
    assert!(!format!("{ask:?}").contains("secret"));
    let outcome = client.get(&ask, &file, BYTES_MAX).await;
    let read = body::open(&file, BYTES_MAX).and_then(|mut source| {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut source, &mut text).map(|_| text)
    });
    Asked {
        outcome,
        read: read.map_err(|error| error.to_string()),
        _dir: dir,
    }
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test)
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_body_is_what_was_sent_packed_or_not() {
    run(async {
        let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
        packer.write_all(b"192.0.2.1\n").unwrap();
        let packed = packer.finish().unwrap();
        let (uri, mut requests) = server(vec![
            answer("200 OK", b"192.0.2.1\n"),
            answer("200 OK\r\nContent-Encoding: gzip", &packed),
        ])
        .await;
        for _ in 0..2 {
            let asked = ask(&uri, true, LONG).await;
            assert_eq!(asked.outcome.unwrap().status, StatusCode::OK);
            assert_eq!(asked.read.unwrap(), "192.0.2.1\n");
        }
        let request = requests.recv().await.unwrap();
        assert!(
            request.starts_with("GET /list?key=1 HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(request.contains("x-api-key: secret\r\n"), "{request}");
    });
}

#[test]
fn what_is_cut_too_long_or_wrongly_packed_is_an_error() {
    run(async {
        let mut cut = answer("200 OK", &[b'x'; 500]);
        cut.truncate(300);
        let endless = answer("200 OK", &vec![b'1'; 100_000]);
        let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
        bomb.write_all(&vec![b'1'; 10_000_000]).unwrap();
        let bomb = answer("200 OK", &bomb.finish().unwrap());
        let broken = answer("200 OK", b"\x1f\x8b\x08 no gzip at all");
        let (uri, _requests) = server(vec![
            cut,
            endless,
            bomb,
            broken,
            b"nonsense\r\n\r\n".to_vec(),
        ])
        .await;
        let asked = ask(&uri, false, LONG).await;
        assert!(asked.outcome.unwrap_err().what.starts_with("breaks off"));
        let asked = ask(&uri, false, LONG).await;
        assert!(asked.outcome.unwrap_err().what.contains("size_bytes_max"));
        let asked = ask(&uri, false, LONG).await;
        assert!(asked.read.unwrap_err().contains("size_bytes_max"));
        let asked = ask(&uri, false, LONG).await;
        assert!(asked.read.is_err());
        let asked = ask(&uri, false, LONG).await;
        assert!(
            asked
                .outcome
                .unwrap_err()
                .what
                .starts_with("gives no answer")
        );
    });
}

#[test]
fn nobody_is_waited_for_longer_than_permitted() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri: Uri = format!("http://{}/", listener.local_addr().unwrap())
            .parse()
            .unwrap();
        let asked = ask(&uri, false, Duration::from_millis(50)).await;
        assert!(asked.outcome.unwrap_err().what.contains("timeout"));
    });
}

#[test]
fn a_key_goes_to_no_other_server() {
    run(async {
        let (other, mut seen) = server(vec![answer("200 OK", b"192.0.2.1\n")]).await;
        let away = format!("302 Found\r\nLocation: {other}");
        let near = "301 Moved\r\nLocation: /moved".to_owned();
        let (uri, mut requests) = server(vec![answer(&near, b""), answer(&away, b"")]).await;
        let asked = ask(&uri, true, LONG).await;
        assert_eq!(asked.read.unwrap(), "192.0.2.1\n");
        assert!(requests.recv().await.unwrap().contains("x-api-key"));
        let moved = requests.recv().await.unwrap();
        assert!(moved.starts_with("GET /moved ") && moved.contains("x-api-key"));
        assert!(!seen.recv().await.unwrap().contains("x-api-key"));
    });
}

#[test]
fn redirects_end() {
    run(async {
        let again = answer("302 Found\r\nLocation: /again", b"");
        let (uri, _requests) = server(vec![again; 8]).await;
        let asked = ask(&uri, false, LONG).await;
        assert_eq!(
            asked.outcome.unwrap_err().what,
            "redirects more than 5 times"
        );
    });
    let from: Uri = "https://host/a/b?c=d".parse().unwrap();
    let table = [
        ("/x", Some("https://host/x")),
        ("x", Some("https://host/a/x")),
        ("//other/x", Some("https://other/x")),
        ("http://host/x", Some("http://host/x")),
        ("ftp://host/x", None),
        ("https://u:p@host/x", None),
    ];
    for (reference, wanted) in table {
        let found = resolve(&from, reference).map(|uri| uri.to_string());
        assert_eq!(found.as_deref(), wanted, "{reference}");
    }
    let mut headers = HeaderMap::new();
    headers.insert(header::LOCATION, HeaderValue::from_static("http://host/x"));
    let refused = redirect(StatusCode::FOUND, &headers, &from).unwrap_err();
    assert_eq!(refused.what, "redirects from https to http");
}

#[test]
fn a_server_may_ask_to_be_left_alone() {
    let at = |text: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static(text));
        retry_after(&headers, 1_445_412_420_000).map(|wait| wait.as_secs())
    };
    assert_eq!(at("120"), Some(120));
    assert_eq!(at("Wed, 21 Oct 2015 07:28:00 GMT"), Some(60));
    assert_eq!(at("Wed, 21 Oct 2015 07:00:00 GMT"), Some(0));
    assert_eq!(at("99999999999"), Some(86_400));
    assert_eq!(at("soon"), None);
    let a: Uri = "https://Host/x".parse().unwrap();
    for (other, same) in [
        ("https://host:443/y", true),
        ("http://host/x", false),
        ("https://host:8443/x", false),
        ("https://host.example/x", false),
    ] {
        assert_eq!(same_origin(&a, &other.parse().unwrap()), same, "{other}");
    }
}
