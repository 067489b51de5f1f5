//! HAProxy's conversation over a real socket.

use std::net::Ipv4Addr;

use spop::TypedData;

use super::*;
use crate::authz::spoe::tests::{answered, hello, notify, status, usual_hello, variables};

async fn connect(directory: &Path) -> UnixStream {
    UnixStream::connect(directory.join("spoe.sock"))
        .await
        .unwrap()
}

fn start(directory: &Path) -> Serving {
    let place = unix(directory, "spoe.sock");
    Serving::start(LOGIN, vec![endpoint(Profile::Spoe, place)])
}

/// Reads until that many frames are there, or the end.
async fn frames(stream: &mut UnixStream, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while answered(&bytes).len() < count {
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            break;
        }
    }
    bytes
}

fn question(stream: u64, src: Ipv4Addr) -> Vec<u8> {
    notify(
        stream,
        1,
        &[
            ("src", src.into()),
            ("method", "POST".into()),
            ("path", "/login".into()),
            (
                "headers",
                "host: login.example\r\nuser-agent: curl\r\n\r\n".into(),
            ),
        ],
    )
}

#[tokio::test]
async fn questions_in_flight_are_answered_with_their_numbers() {
    let directory = tempfile::tempdir().unwrap();
    let serving = start(directory.path());
    let mut stream = connect(directory.path()).await;
    stream.write_all(&usual_hello()).await.unwrap();
    let greeting = frames(&mut stream, 1).await;
    assert_eq!(answered(&greeting)[0].0, 101);
    let mut together = Vec::new();
    for number in 1..=200u8 {
        together.extend(question(
            u64::from(number) * 1_000,
            Ipv4Addr::new(192, 0, 2, number),
        ));
    }
    // In pieces that cut through frames.
    let sender = async {
        for piece in together.chunks(1_001) {
            stream.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        frames(&mut stream, 200).await
    };
    let answers = sender.await;
    let answers = answered(&answers);
    assert_eq!(answers.len(), 200);
    for (number, (kind, stream, frame, payload)) in (1u64..).zip(answers) {
        assert_eq!((kind, stream, frame), (103, number * 1_000, 1));
        let set = variables(payload);
        for expected in [
            ("status", "200".to_owned()),
            ("client", format!("192.0.2.{number}")),
            ("verdict", "pass".to_owned()),
        ] {
            assert!(
                set.contains(&(expected.0.to_owned(), expected.1)),
                "{set:?}"
            );
        }
    }
    serving.stop().await;
}

#[tokio::test]
async fn a_question_that_lacks_something_sets_no_verdict() {
    let directory = tempfile::tempdir().unwrap();
    let serving = start(directory.path());
    let mut stream = connect(directory.path()).await;
    stream.write_all(&usual_hello()).await.unwrap();
    frames(&mut stream, 1).await;
    let whole: [(&str, TypedData); 4] = [
        ("src", Ipv4Addr::LOCALHOST.into()),
        ("method", "GET".into()),
        ("path", "/".into()),
        ("headers", "\r\n".into()),
    ];
    for left_out in 0..whole.len() {
        let mut arguments = whole.to_vec();
        arguments.remove(left_out);
        stream.write_all(&notify(1, 1, &arguments)).await.unwrap();
        let answer = frames(&mut stream, 1).await;
        let set = variables(answered(&answer)[0].3);
        assert_eq!(set, [("fault".to_owned(), "missing".to_owned())]);
    }
    assert_eq!(serving.rejected("missing"), 4);
    serving.stop().await;
}

#[tokio::test]
async fn connections_that_break_the_rules_are_told_and_ended() {
    let directory = tempfile::tempdir().unwrap();
    let serving = start(directory.path());
    let old = hello(&[
        ("supported-versions", "1.0".into()),
        ("max-frame-size", 16_380u32.into()),
        ("capabilities", "".into()),
    ]);
    let cases: [(&str, Vec<u8>, u64); 5] = [
        (
            "a question before the hello",
            question(1, Ipv4Addr::LOCALHOST),
            4,
        ),
        ("an old version", old, 8),
        ("two hellos", [usual_hello(), usual_hello()].concat(), 4),
        (
            "too long a frame",
            [usual_hello(), vec![0, 1, 0, 0]].concat(),
            3,
        ),
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec(), 3),
    ];
    for (what, bytes, expected) in cases {
        let mut stream = connect(directory.path()).await;
        stream.write_all(&bytes).await.unwrap();
        let told = frames(&mut stream, usize::MAX).await;
        let told = answered(&told);
        let last = told.last().unwrap_or_else(|| panic!("{what}"));
        assert_eq!((last.0, status(last.3)), (102, Some(expected)), "{what}");
    }
    assert_eq!(serving.rejected("malformed"), 5);
    serving.stop().await;
}

#[tokio::test]
async fn a_health_check_is_answered_and_a_stop_is_announced() {
    let directory = tempfile::tempdir().unwrap();
    let serving = start(directory.path());
    let mut stream = connect(directory.path()).await;
    let check = hello(&[
        ("supported-versions", "2.0".into()),
        ("max-frame-size", 16_380u32.into()),
        ("capabilities", "".into()),
        ("healthcheck", true.into()),
    ]);
    stream.write_all(&check).await.unwrap();
    let told = frames(&mut stream, usize::MAX).await;
    assert_eq!(answered(&told).len(), 1);
    let mut stream = connect(directory.path()).await;
    stream.write_all(&usual_hello()).await.unwrap();
    frames(&mut stream, 1).await;
    serving.stop().await;
    let told = frames(&mut stream, usize::MAX).await;
    let told = answered(&told);
    assert_eq!((told[0].0, status(told[0].3)), (102, Some(0)));
}
