//! HTTP/1.1 callers: nginx, Caddy and Traefik, Envoy.

use super::*;

#[tokio::test]
async fn nginx_is_answered_without_a_body() {
    let directory = tempfile::tempdir().unwrap();
    let place = unix(directory.path(), "nginx.sock");
    let serving = Serving::start(LOGIN, vec![endpoint(Profile::AuthRequest, place)]);
    let mut raw = Raw::connect(&directory.path().join("nginx.sock")).await;
    for peer in ["192.0.2.7", "2001:db8::7", "::ffff:192.0.2.7"] {
        let question = format!(
            "GET /check HTTP/1.1\r\nHost: login\r\nX-Original-Method: POST\r\nX-Original-URI: /login?a=b\r\n\
             X-Edgeward-Peer: {peer}\r\n\r\n"
        );
        let answer = raw.ask(question.as_bytes()).await;
        assert_eq!(answer.status, 204, "{}", answer.head);
        assert_eq!(answer.body, "");
        let client = answer.header("x-edgeward-client").unwrap();
        assert_eq!(client, peer.trim_start_matches("::ffff:"));
        assert_eq!(answer.header("x-edgeward-verdict"), Some("pass"));
    }
    serving.stop().await;
}

#[tokio::test]
async fn questions_that_come_together_are_answered_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let place = unix(directory.path(), "nginx.sock");
    let serving = Serving::start(LOGIN, vec![endpoint(Profile::AuthRequest, place)]);
    let mut raw = Raw::connect(&directory.path().join("nginx.sock")).await;
    let mut together = Vec::new();
    for last in 1..=50 {
        together.extend(
            format!(
                "GET /check HTTP/1.1\r\nHost: x\r\nX-Original-Method: GET\r\nX-Original-URI: /\r\n\
                 X-Edgeward-Peer: 192.0.2.{last}\r\n\r\n"
            )
            .bytes(),
        );
    }
    raw.send(&together).await;
    for last in 1..=50 {
        let answer = raw.answer().await.unwrap();
        let client = answer.header("x-edgeward-client").unwrap();
        assert_eq!(client, format!("192.0.2.{last}"));
    }
    serving.stop().await;
}

#[tokio::test]
async fn forward_auth_takes_the_last_hop_for_the_peer() {
    let directory = tempfile::tempdir().unwrap();
    let place = unix(directory.path(), "caddy.sock");
    let serving = Serving::start(LOGIN, vec![endpoint(Profile::ForwardAuth, place)]);
    let mut raw = Raw::connect(&directory.path().join("caddy.sock")).await;
    let answer = raw
        .ask(
            b"GET /check HTTP/1.1\r\nHost: x\r\nX-Forwarded-Method: POST\r\nX-Forwarded-Uri: /login\r\n\
              X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-For: 203.0.113.9, 192.0.2.1\r\n\r\n",
        )
        .await;
    assert_eq!(answer.status, 200);
    // Nobody is trusted here, so the peer is the client.
    assert_eq!(answer.header("x-edgeward-client"), Some("192.0.2.1"));
    serving.stop().await;
}

#[tokio::test]
async fn envoy_asks_with_the_original_path_and_method() {
    let directory = tempfile::tempdir().unwrap();
    let place = unix(directory.path(), "envoy.sock");
    let serving = Serving::start(LOGIN, vec![endpoint(Profile::ExtAuthz, place)]);
    let mut raw = Raw::connect(&directory.path().join("envoy.sock")).await;
    let answer = raw
        .ask(b"POST /check/login?x HTTP/1.1\r\nHost: x\r\nX-Edgeward-Peer: 192.0.2.1\r\nContent-Length: 3\r\n\r\nabc")
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-edgeward-client"), Some("192.0.2.1"));
    // Envoy takes away what did not come from here.
    let removed = answer.header("x-envoy-auth-headers-to-remove").unwrap();
    assert_eq!(
        removed,
        "x-edgeward-reason,x-edgeward-score,x-edgeward-would"
    );
    // The body was skipped and the connection goes on.
    let answer = raw
        .ask(b"GET /check/ HTTP/1.1\r\nHost: x\r\nX-Edgeward-Peer: 192.0.2.2\r\n\r\n")
        .await;
    assert_eq!(answer.header("x-edgeward-client"), Some("192.0.2.2"));
    let answer = raw
        .ask(b"GET /login HTTP/1.1\r\nHost: x\r\nX-Edgeward-Peer: 192.0.2.2\r\n\r\n")
        .await;
    assert_eq!(answer.status, 404, "Envoy's path_prefix is not set");
    serving.stop().await;
}

#[tokio::test]
async fn a_mistake_of_the_snippet_is_named_counted_and_never_a_pass() {
    let directory = tempfile::tempdir().unwrap();
    let place = unix(directory.path(), "nginx.sock");
    let serving = Serving::start(LOGIN, vec![endpoint(Profile::AuthRequest, place)]);
    let mut raw = Raw::connect(&directory.path().join("nginx.sock")).await;
    let whole = [
        "X-Original-Method: GET\r\n",
        "X-Original-URI: /\r\n",
        "X-Edgeward-Peer: 192.0.2.1\r\n",
    ];
    let cases: [(Vec<&str>, &str, &str); 7] = [
        (vec![whole[1], whole[2]], "missing", "x-original-method"),
        (vec![whole[0], whole[2]], "missing", "x-original-uri"),
        (vec![whole[0], whole[1]], "missing", "x-edgeward-peer"),
        (
            vec![whole[0], whole[1], "X-Edgeward-Peer: \r\n"],
            "missing",
            "x-edgeward-peer",
        ),
        (
            vec![whole[0], whole[1], whole[2], whole[2]],
            "repeated",
            "x-edgeward-peer",
        ),
        (
            vec![whole[0], whole[1], "X-Edgeward-Peer: unix:\r\n"],
            "unreadable",
            "x-edgeward-peer",
        ),
        (
            vec![
                whole[0],
                whole[1],
                "X-Edgeward-Peer: 192.0.2.1, 192.0.2.2\r\n",
            ],
            "unreadable",
            "x-edgeward-peer",
        ),
    ];
    for (lines, cause, named) in cases {
        let before = serving.rejected(cause);
        let question = format!("GET /check HTTP/1.1\r\nHost: x\r\n{}\r\n", lines.concat());
        let answer = raw.ask(question.as_bytes()).await;
        assert_eq!(answer.status, 500, "{lines:?}");
        assert!(answer.body.contains(named), "{}", answer.body);
        assert_eq!(serving.rejected(cause), before + 1, "{lines:?}");
    }
    serving.stop().await;
}

#[tokio::test]
async fn heads_past_the_limits_are_turned_away() {
    let directory = tempfile::tempdir().unwrap();
    let place = unix(directory.path(), "nginx.sock");
    let serving = Serving::start(LOGIN, vec![endpoint(Profile::AuthRequest, place)]);
    let path = directory.path().join("nginx.sock");
    let many = "X-A: b\r\n".repeat(crate::authz::HEADERS_MAX + 1);
    let long = format!("X-A: {}\r\n", "b".repeat(2 * crate::authz::HEAD_BYTES_MAX));
    for (what, lines) in [("many", many), ("long", long)] {
        let mut raw = Raw::connect(&path).await;
        let question = format!("GET /check HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
        // The end of a long question may find the connection closed.
        let _ = raw.stream.write_all(question.as_bytes()).await;
        let answer = raw
            .answer()
            .await
            .unwrap_or_else(|| panic!("no answer to {what}"));
        assert_eq!(answer.status, 431, "{what}");
        assert!(raw.answer().await.is_none(), "the connection goes on");
    }
    assert_eq!(serving.rejected("malformed"), 2);
    serving.stop().await;
}
