//! The journal against everything that can happen to a process and a disk, and the task against its channels.

use std::{fs, net::IpAddr, path::Path};

use super::{
    core::{Attempt, Core, Entry},
    journal::Journal,
    settings,
};
use crate::{
    config::Config,
    policy::{
        random::Random,
        signal::{Flow, Outcome, PseudonymKey, Signal},
    },
};

const START_MS: u64 = 1_800_000_000_000;

fn signal(number: u64) -> Signal {
    let key = PseudonymKey::new(1, 2);
    let host = u8::try_from(number % 7).unwrap();
    Signal {
        time_ms: START_MS + number * 1_000,
        client: IpAddr::from([192, 0, 2, host]),
        service: 0,
        flow: Flow::SignIn,
        outcome: Outcome::Failure,
        user: Some(key.user(format!("user{number}").as_bytes())),
        agent: None,
        asn: None,
    }
}

fn batch(from: u64, count: u64) -> Entry {
    let cursor = (from + count).to_le_bytes().to_vec();
    Entry::Batch(
        (from..from + count)
            .map(|number| Attempt {
                signal: signal(number),
                listed: None,
            })
            .collect(),
        Some(("log".to_owned(), cursor)),
    )
}

fn open(dir: &Path) -> (Journal, Core) {
    Journal::open(dir, settings(&Config::default()), 1, START_MS).unwrap()
}

/// How many signals were counted, and where the source believes it is.
fn at(core: &Core) -> (u64, u64) {
    let cursor = core.positions().get("log");
    let cursor = cursor.map_or(0, |cursor| {
        u64::from_le_bytes(cursor.as_slice().try_into().unwrap())
    });
    (core.counts().signals, cursor)
}

/// What the core knows, in bytes. Tables are the same when they are filled in the same order.
fn bytes(core: &Core) -> Vec<u8> {
    postcard::to_stdvec(core).unwrap()
}

#[test]
fn a_killed_agent_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut straight = Core::new(settings(&Config::default()), 1);
    let mut random = Random::new(5);
    let mut done = 0;
    for _ in 0..60 {
        let (mut journal, mut core) = open(dir.path());
        assert_eq!(at(&core), (done, done), "neither lost nor doubled");
        assert_eq!(bytes(&core), bytes(&straight));
        for _ in 0..random.below(4) {
            let entry = batch(done, random.below(20));
            journal.append(&entry).unwrap();
            core.apply(&entry, |_, _| {});
            straight.apply(&entry, |_, _| {});
            done = at(&straight).1;
            if random.below(3) == 0 {
                journal.checkpoint(&core).unwrap();
            }
        }
        // Dropped without a word, as by kill -9.
    }
    assert!(done > 300, "{done}");
    let held = straight.defence().standing_now(START_MS + done * 1_000);
    assert!(held.count() >= 7, "all seven sources are known attackers");
}

#[test]
fn a_torn_piece_ends_the_log_and_what_follows_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let whole = {
        let (mut journal, _) = open(dir.path());
        journal.append(&batch(0, 5)).unwrap();
        journal.log_bytes()
    };
    let path = dir.path().join("log.0");
    for cut in 0..whole {
        let mut torn = fs::read(&path).unwrap();
        torn.truncate(whole.try_into().unwrap());
        let again = torn.clone();
        torn.extend(&again[..cut.try_into().unwrap()]);
        fs::write(&path, &torn).unwrap();
        let (mut journal, core) = open(dir.path());
        assert_eq!(at(&core), (5, 5), "cut at {cut}");
        assert_eq!(journal.log_bytes(), whole);
        journal.append(&batch(5, 2)).unwrap();
        drop(journal);
        assert_eq!(at(&open(dir.path()).1), (7, 7), "cut at {cut}");
    }
}

#[test]
fn a_flipped_bit_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (mut journal, mut core) = open(dir.path());
        let entry = batch(0, 50);
        journal.append(&entry).unwrap();
        core.apply(&entry, |_, _| {});
        journal.checkpoint(&core).unwrap();
        journal.append(&batch(50, 5)).unwrap();
    }
    let good = fs::read(dir.path().join("state")).unwrap();
    for place in [0, 5, 25, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[place] ^= 1;
        fs::write(dir.path().join("state"), &bad).unwrap();
        let (mut journal, core) = open(dir.path());
        let told = journal.notice().unwrap();
        assert!(told.contains("damaged"), "{told}");
        assert_eq!(at(&core).1, 55, "the log behind it still counts");
        let aside = fs::read_dir(dir.path()).unwrap().find_map(|entry| {
            let path = entry.unwrap().path();
            path.to_string_lossy().contains("damaged").then_some(path)
        });
        fs::remove_file(aside.unwrap()).unwrap();
        assert_eq!(open(dir.path()).0.notice(), None);
    }
    fs::write(dir.path().join("state"), &good).unwrap();
    assert_eq!(at(&open(dir.path()).1), (55, 55));
    // A bit of the log: it ends there.
    let mut log = fs::read(dir.path().join("log.1")).unwrap();
    log[20] ^= 1;
    fs::write(dir.path().join("log.1"), &log).unwrap();
    assert_eq!(at(&open(dir.path()).1), (50, 50));
}

#[test]
fn between_any_two_steps_of_a_checkpoint_there_is_a_whole_state() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, mut core) = open(dir.path());
    let entry = batch(0, 30);
    journal.append(&entry).unwrap();
    core.apply(&entry, |_, _| {});
    // The new log is there, the new state is not.
    fs::write(dir.path().join("log.1"), b"").unwrap();
    fs::write(dir.path().join("state.new"), b"half").unwrap();
    drop(journal);
    let (mut journal, core) = open(dir.path());
    assert_eq!(at(&core), (30, 30));
    journal.append(&batch(30, 3)).unwrap();
    drop(journal);
    let (mut journal, mut core) = open(dir.path());
    assert_eq!(at(&core), (33, 33));
    // The new state is there, and the old log still is.
    let old = fs::read(dir.path().join("log.0")).unwrap();
    journal.checkpoint(&core).unwrap();
    fs::write(dir.path().join("log.0"), old).unwrap();
    drop(journal);
    let (mut journal, read) = open(dir.path());
    assert_eq!(at(&read), (33, 33));
    assert!(!dir.path().join("log.0").exists());
    let entry = batch(33, 1);
    journal.append(&entry).unwrap();
    core.apply(&entry, |_, _| {});
    assert_eq!(at(&open(dir.path()).1), at(&core));
}

#[test]
fn whom_an_operator_clears_stays_cleared() {
    let dir = tempfile::tempdir().unwrap();
    let now = START_MS + 200_000;
    let client = "192.0.2.1/32".parse().unwrap();
    {
        let (mut journal, mut core) = open(dir.path());
        for entry in [batch(0, 140), Entry::Forget(client)] {
            journal.append(&entry).unwrap();
            core.apply(&entry, |_, _| {});
        }
    }
    let (_, core) = open(dir.path());
    let held: Vec<_> = core.defence().standing_now(now).collect();
    assert_eq!(held.len(), 6, "the six others: {held:?}");
}
