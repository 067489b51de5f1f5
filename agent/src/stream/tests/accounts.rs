//! Whatever receivers do, every event is accounted for.

use std::{collections::BTreeSet, sync::atomic::Ordering::SeqCst};

use super::{
    receivers::{Act, Rsyslog, Web},
    *,
};

fn all(events: u64) -> BTreeSet<u64> {
    (1..=events).collect()
}

/// The first copies, in the order of their arrival.
fn firsts(taken: &[u64]) -> Vec<u64> {
    let mut seen = BTreeSet::new();
    taken
        .iter()
        .copied()
        .filter(|seq| seen.insert(*seq))
        .collect()
}

#[test]
fn a_web_server_that_misbehaves_gets_each_event_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let acts = [
        Act::Take,
        Act::Say(503),
        Act::Take,
        Act::Garbage,
        Act::TakeAndHangUp,
        Act::Take,
        Act::Later(429),
        Act::HangUp,
        Act::Take,
        Act::Say(413),
        Act::Hang,
        Act::Take,
        Act::Say(401),
        Act::Say(302),
        Act::Take,
        Act::Say(400),
    ];
    let web = Web::start(&acts, &[], 1_000);
    let hook = stream("hook", webhook(web.port, &secret(folder.path())));
    let world = World::start(folder.path(), &Memory::new(1_000), vec![hook]);
    let state = world.settled("hook");
    assert_eq!(web.acts_left(), 0);
    let taken = web.taken();
    assert!(firsts(&taken).iter().copied().eq(1..=1_000), "{taken:?}");
    let doubled = taken.len() - 1_000;
    assert!(
        doubled <= 100,
        "only what was taken without an answer comes twice: {doubled}"
    );
    assert_eq!((state.delivered, state.dead, state.gap), (1_000, 0, 0));
    assert_eq!((state.health, state.error), (StreamHealth::Ok, None));
    assert!(state.failed_batches >= 8, "{}", state.failed_batches);
    assert!(!format!("{:?}{:?}", world.told(""), world.state("hook")).contains("tenant"));
    let paused = world.told(".pause");
    assert!(
        paused.iter().any(|event| event["cause"] == "unauthorized"),
        "{paused:?}"
    );
    world.streams.stop();
}

#[test]
fn what_no_server_takes_is_a_dead_letter_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let poison: &[u64] = &[1, 77, 78, 199];
    let web = Web::start(&[], poison, 30);
    let hook = stream("hook", webhook(web.port, &secret(folder.path())));
    let world = World::start(folder.path(), &Memory::new(200), vec![hook]);
    let state = world.settled("hook");
    world.streams.stop();
    let taken = web.taken();
    let expected: Vec<u64> = (1..=200).filter(|seq| !poison.contains(seq)).collect();
    assert_eq!(taken.len(), expected.len(), "nothing twice: {taken:?}");
    assert_eq!(
        firsts(&taken).into_iter().collect::<BTreeSet<_>>(),
        expected.into_iter().collect()
    );
    assert_eq!((state.delivered, state.dead), (196, 4));
    let path = folder.path().join("streams/hook.dead");
    let text = std::fs::read_to_string(path).unwrap();
    let seqs = text.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["seq"].as_u64().unwrap()
    });
    assert_eq!(seqs.collect::<Vec<_>>(), poison);
}

#[test]
fn a_syslog_connection_that_is_cut_off_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = Rsyslog::start();
    let journal = Memory::new(3_000);
    let siem = stream("siem", syslog(tcp(server.port)));
    let world = World::start(folder.path(), &journal, vec![siem]);
    for _ in 0..5 {
        let before = server.taken().len();
        journal.commit(2_000);
        let deadline = Instant::now() + Duration::from_secs(30);
        while server.taken().len() < before + 500 {
            assert!(Instant::now() < deadline, "{:?}", world.state("siem"));
            thread::sleep(Duration::from_millis(1));
        }
        server.cut();
    }
    let state = world.settled("siem");
    world.streams.stop();
    let taken = server.taken();
    assert_eq!(taken.iter().copied().collect::<BTreeSet<_>>(), all(13_000));
    assert!(
        state.delivered >= 13_000 && state.dead == 0 && state.gap == 0,
        "{state:?}"
    );
    assert_eq!(state.error, None);
}

#[test]
fn a_killed_agent_goes_on_behind_what_is_settled() {
    let folder = tempfile::tempdir().unwrap();
    let server = Rsyslog::start();
    let journal = Memory::new(5_000);
    let siem = stream("siem", syslog(tcp(server.port)));
    let world = World::start(folder.path(), &journal, vec![siem.clone()]);
    world.until("siem", |state| state.settled > 0);
    server.stalled.store(true, SeqCst);
    // Killed: no place is kept any more. A process that dies takes its sockets along.
    std::mem::forget(world.streams);
    server.cut();
    journal.commit(1_000);
    server.stalled.store(false, SeqCst);
    let copy = tempfile::tempdir().unwrap();
    std::fs::create_dir(copy.path().join("streams")).unwrap();
    let place = "streams/siem.cursor";
    if folder.path().join(place).exists() {
        std::fs::copy(folder.path().join(place), copy.path().join(place)).unwrap();
    }
    let again = World::start(copy.path(), &journal, vec![siem]);
    again.settled("siem");
    again.streams.stop();
    assert_eq!(
        server.taken().into_iter().collect::<BTreeSet<_>>(),
        all(6_000)
    );
}

#[test]
fn a_receiver_that_hangs_costs_nobody_else_anything() {
    let folder = tempfile::tempdir().unwrap();
    let web = Web::start(&[Act::Hang; 100], &[], 1_000);
    let lines = folder.path().join("events.log");
    let plan = vec![
        stream("hook", webhook(web.port, &secret(folder.path()))),
        stream("archive", file(&lines)),
    ];
    let world = World::start(folder.path(), &Memory::new(10_000), plan);
    let archive = world.settled("archive");
    assert_eq!((archive.delivered, archive.lag_events), (10_000, 0));
    let text = std::fs::read_to_string(&lines).unwrap();
    assert!(numbers(&text).into_iter().eq(1..=10_000));
    let hook = world.state("hook");
    assert_eq!((hook.settled, hook.lag_events), (0, 10_000));
    world.until("hook", |state| {
        state
            .error
            .as_ref()
            .is_some_and(|it| it.contains("timeout"))
    });
    world.streams.stop();
}
