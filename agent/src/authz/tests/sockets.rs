//! Sockets over reloads, stops and what is in their way.

use std::{
    net::TcpListener,
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
};

use super::*;

#[tokio::test]
async fn a_socket_has_its_mode_and_goes_with_the_agent() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("below/nginx.sock");
    let place = Listen::Unix(path.clone(), 0o620);
    let serving = Serving::start(LOGIN, vec![endpoint(Profile::AuthRequest, place)]);
    let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o620);
    serving.stop().await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!path.exists());
}

#[tokio::test]
async fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("nginx.sock");
    let wanted = endpoint(Profile::AuthRequest, unix(directory.path(), "nginx.sock"));
    let live = UnixListener::bind(&path).unwrap();
    let refused = Endpoints::bind(std::slice::from_ref(&wanted));
    let told = refused.map(drop).unwrap_err()[0].to_string();
    assert!(told.contains("somebody answers"), "{told}");
    drop(live);
    assert!(path.exists(), "what a dead agent leaves");
    let serving = Serving::start(LOGIN, vec![wanted.clone()]);
    Raw::connect(&path).await;
    serving.stop().await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }

    std::fs::write(&path, "notes").unwrap();
    let refused = Endpoints::bind(&[wanted]);
    let told = refused.map(drop).unwrap_err()[0].to_string();
    assert!(told.contains("is no socket"), "{told}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "notes");
}

#[tokio::test]
async fn a_socket_that_somebody_else_has_made_since_is_left_to_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("nginx.sock");
    let wanted = endpoint(Profile::AuthRequest, unix(directory.path(), "nginx.sock"));
    let bound = Endpoints::bind(&[wanted]).unwrap_or_else(|errors| panic!("{errors:?}"));
    std::fs::remove_file(&path).unwrap();
    let theirs = UnixListener::bind(&path).unwrap();
    drop(bound);
    assert!(path.exists());
    drop(theirs);
}

#[tokio::test]
async fn a_reload_leaves_alone_what_has_not_changed() {
    let directory = tempfile::tempdir().unwrap();
    let stays = endpoint(Profile::AuthRequest, unix(directory.path(), "stays.sock"));
    let goes = endpoint(Profile::ForwardAuth, unix(directory.path(), "goes.sock"));
    let serving = Serving::start(LOGIN, vec![stays.clone(), goes]);
    let mut kept = Raw::connect(&directory.path().join("stays.sock")).await;
    let mut ended = Raw::connect(&directory.path().join("goes.sock")).await;
    let question =
        b"GET /check HTTP/1.1\r\nHost: x\r\nX-Original-Method: GET\r\nX-Original-URI: /\r\n\
        X-Edgeward-Peer: 192.0.2.1\r\nX-Other: 192.0.2.2\r\n\r\n";
    assert_eq!(kept.ask(question).await.status, 204);

    let comes = endpoint(Profile::ExtAuthz, unix(directory.path(), "comes.sock"));
    let mut stays = stays;
    by_header(&mut stays, "x-other");
    stays.listen = Listen::Unix(directory.path().join("stays.sock"), 0o600);
    serving.wanted.send(vec![stays, comes].into()).unwrap();
    assert!(ended.answer().await.is_none(), "it has been taken away");
    assert!(!directory.path().join("goes.sock").exists());
    // The same connection follows the new settings.
    let answer = kept.ask(question).await;
    assert_eq!(answer.header("x-edgeward-client"), Some("192.0.2.2"));
    let mode = std::fs::metadata(directory.path().join("stays.sock")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    Raw::connect(&directory.path().join("comes.sock")).await;
    serving.stop().await;
}

#[tokio::test]
async fn a_listener_that_cannot_be_had_leaves_the_others_alone() {
    let directory = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let stays = endpoint(Profile::AuthRequest, unix(directory.path(), "stays.sock"));
    let bound =
        Endpoints::bind(std::slice::from_ref(&stays)).unwrap_or_else(|errors| panic!("{errors:?}"));
    let mut states = bound.states();
    let wanted: Arc<[Endpoint]> = vec![stays.clone()].into();
    let (sender, receiver) = watch::channel(wanted);
    let outcomes = Outcomes::new(Clock::new(), EventFeed::new(100, 0));
    let task = tokio::spawn(bound.serve(gate(LOGIN), outcomes, receiver, std::future::pending()));
    let mut fails = endpoint(
        Profile::ForwardAuth,
        Listen::Tcp(taken.local_addr().unwrap()),
    );
    fails.name = "fails".to_owned();
    sender.send(vec![fails, stays].into()).unwrap();
    let failed = states
        .wait_for(|states| states.iter().any(|state| state.failure.is_some()))
        .await
        .unwrap()
        .clone();
    assert_eq!(failed.len(), 2);
    let told = failed[0].failure.as_deref().unwrap();
    assert!(failed[0].name == "fails" && told.contains("somebody answers"));
    assert_eq!(failed[1].failure, None);
    Raw::connect(&directory.path().join("stays.sock")).await;
    task.abort();
}

#[tokio::test]
async fn another_profile_ends_connections_and_serves_new_ones() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("e.sock");
    let place = || unix(directory.path(), "e.sock");
    let serving = Serving::start(LOGIN, vec![endpoint(Profile::AuthRequest, place())]);
    let mut before = Raw::connect(&path).await;
    let question =
        b"GET /check/ HTTP/1.1\r\nHost: x\r\nX-Original-Method: GET\r\nX-Original-URI: /\r\n\
        X-Edgeward-Peer: 192.0.2.1\r\n\r\n";
    assert_eq!(before.ask(question).await.status, 204);
    let other = endpoint(Profile::ExtAuthz, place());
    serving.wanted.send(vec![other].into()).unwrap();
    assert!(before.answer().await.is_none(), "it has been ended");
    let mut after = Raw::connect(&path).await;
    assert_eq!(after.ask(question).await.status, 200);
    serving.stop().await;
}
