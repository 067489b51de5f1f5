//! Streams come, change and go while others work, and somebody is told.

use super::{receivers::Web, *};

fn types(world: &World) -> Vec<String> {
    let of = |event: &Value| {
        let kind = event["event"].as_str().unwrap().rsplit('.').next().unwrap();
        format!(
            "{kind} {} {}",
            event["stream"].as_str().unwrap(),
            event["actor"].as_str().unwrap()
        )
    };
    world.told("").iter().map(of).collect()
}

#[test]
fn changes_keep_places_and_are_events() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let journal = Memory::new(10);
    let first = stream("a", file(&path("a.log")));
    let mut world = World::start(folder.path(), &journal, vec![first.clone()]);
    world.settled("a");
    // Another file for the same stream: it goes on where it was.
    let second = stream("a", file(&path("b.log")));
    world.change(
        vec![second.clone(), stream("c", file(&path("c.log")))],
        "uid 1",
    );
    world.settled("c");
    journal.commit(5);
    world.settled("a");
    assert!(
        numbers(&std::fs::read_to_string(path("b.log")).unwrap())
            .into_iter()
            .eq(11..=15)
    );
    // Off: it keeps its place, and others go on.
    let off = Stream {
        enabled: false,
        ..second.clone()
    };
    world.change(
        vec![off.clone(), stream("c", file(&path("c.log")))],
        "uid 2",
    );
    world.until("a", |state| state.health == StreamHealth::Off);
    journal.commit(5);
    world.settled("c");
    assert_eq!(world.state("a").lag_events, 5);
    world.change(vec![second], "uid 3");
    world.settled("a");
    assert!(
        numbers(&std::fs::read_to_string(path("b.log")).unwrap())
            .into_iter()
            .eq(11..=20)
    );
    let expected = [
        "create a uid 0",
        "update a uid 1",
        "create c uid 1",
        "update a uid 2",
        "deactivate a uid 2",
        "delete c uid 3",
        "update a uid 3",
        "activate a uid 3",
    ];
    let deadline = Instant::now() + Duration::from_secs(10);
    while types(&world).len() < expected.len() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(types(&world), expected);
    world.streams.stop();
    // What is taken out while the agent is away is told once.
    for told in [vec!["delete a uid 0"], vec![]] {
        let world = World::start(folder.path(), &journal, Vec::new());
        let expected: Vec<String> = told.iter().map(|one| (*one).to_owned()).collect();
        let deadline = Instant::now() + Duration::from_secs(10);
        while types(&world) != expected {
            assert!(Instant::now() < deadline, "{:?}", types(&world));
            thread::sleep(Duration::from_millis(10));
        }
        world.streams.stop();
    }
}

#[test]
fn a_test_goes_through_without_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let web = Web::start(&[], &[], 10);
    let lines = folder.path().join("events.log");
    let plan = vec![
        Stream {
            enabled: false,
            ..stream("hook", webhook(web.port, &secret(folder.path())))
        },
        stream("archive", file(&lines)),
        stream("nobody", syslog(tcp(1))),
    ];
    let world = World::start(folder.path(), &Memory::new(0), plan);
    let said = world.wish("archive", What::Test).unwrap();
    assert_eq!(
        (&said["outcome"], &said["kind"]),
        (&json!("accepted"), &json!("file"))
    );
    let text = std::fs::read_to_string(&lines).unwrap();
    let event: Value = serde_json::from_str(text.trim_end()).unwrap();
    assert_eq!(
        (&event["eventType"], &event["uuid"]),
        (&json!("system.log_stream.test"), &said["id"])
    );
    let failed = world.wish("nobody", What::Test).unwrap_err();
    assert!(failed.message.contains("tcp 127.0.0.1:1"), "{failed:?}");
    let gone = world.wish("other", What::Test).unwrap_err();
    assert_eq!(gone.kind, crate::control::FailureKind::NotFound);
    world.streams.stop();
}

#[test]
fn a_request_is_signed_and_shows_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let web = Web::start(&[], &[], 10);
    let hook = stream("hook", webhook(web.port, &secret(folder.path())));
    let world = World::start(folder.path(), &Memory::new(3), vec![hook]);
    world.settled("hook");
    world.streams.stop();
    let head = web.headers.lock().unwrap()[0].to_lowercase();
    for expected in [
        "post /hook?tenant=7 http/1.1",
        "webhook-id: msg_",
        "webhook-timestamp: ",
        "webhook-signature: v1,",
        "content-type: application/json",
    ] {
        assert!(head.contains(expected), "{head}");
    }
    assert!(!head.contains("mfkq9r8g"), "{head}");
}
