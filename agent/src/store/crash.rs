//! kill -9 at random moments while a child writes and acknowledges: whatever it acknowledged is there, and
//! what it was writing is there whole or not at all.
//!
//! The child is this very test binary, started with [`CHILD_DIRECTORY`] set.
#![expect(
    clippy::cast_possible_truncation,
    reason = "the numbers here are small"
)]

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead, BufReader, Write},
    net::Ipv4Addr,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ipnet::{IpNet, Ipv4Net};

use super::{ModeOrigin, ModeState, Store};
use crate::policy::{
    decision::{Author, Decision, Key, Kind, Origin},
    mode::Mode,
};

const CHILD_DIRECTORY: &str = "EDGEWARD_TEST_CRASH_DIRECTORY";
const CHILD_FIRST: &str = "EDGEWARD_TEST_CRASH_FIRST";
const KILLS: u32 = 10;
const BATCH: u64 = 200;

#[test]
fn kill_at_random_moments_loses_nothing_acknowledged() {
    if let Ok(dir) = env::var(CHILD_DIRECTORY) {
        write_for_ever(
            Path::new(&dir),
            env::var(CHILD_FIRST).unwrap().parse().unwrap(),
        );
    }
    let dir = tempfile::tempdir().unwrap();
    let mut model = Model::default();
    let mut next = 0;
    let mut acknowledged_total = 0;
    for round in 0..KILLS {
        let acknowledged =
            run_and_kill(dir.path(), next, Duration::from_millis(random(round) % 150));
        for step in next..acknowledged {
            model.apply(step);
        }
        acknowledged_total += acknowledged - next;
        let found = Model::read(dir.path());
        let mut one_more = model.clone();
        one_more.apply(acknowledged);
        // The step after the last acknowledged one may have been committed just before the kill.
        next = if found == model {
            acknowledged
        } else {
            assert!(
                found == one_more,
                "round {round}: lost or half written at step {acknowledged}"
            );
            model = one_more;
            acknowledged + 1
        };
    }
    assert!(
        acknowledged_total > 0,
        "no child lived long enough to write"
    );
}

/// What the database must hold after a number of steps.
#[derive(Clone, Default, PartialEq)]
struct Model {
    decisions: BTreeMap<Key, Decision>,
    mode: Option<ModeState>,
}

/// One write of the child, chosen by its number.
enum Step {
    Put(Decision),
    Batch(Vec<Decision>),
    Delete(Key),
    Mode(ModeState),
}

impl Model {
    fn apply(&mut self, step: u64) {
        match step_of(step) {
            Step::Put(decision) => drop(self.decisions.insert(decision.key(), decision)),
            Step::Batch(batch) => self
                .decisions
                .extend(batch.into_iter().map(|decision| (decision.key(), decision))),
            Step::Delete(key) => drop(self.decisions.remove(&key)),
            Step::Mode(mode) => self.mode = Some(mode),
        }
    }

    fn read(dir: &Path) -> Self {
        let store = Store::open(dir).unwrap();
        assert_eq!(store.recovered(), None, "a kill is no damage");
        Self {
            decisions: store
                .decisions()
                .unwrap()
                .into_iter()
                .map(|decision| (decision.key(), decision))
                .collect(),
            mode: store.mode().unwrap(),
        }
    }
}

fn step_of(step: u64) -> Step {
    match step % 8 {
        5 => Step::Mode(ModeState {
            mode: if step % 16 == 5 {
                Mode::Block
            } else {
                Mode::Log
            },
            origin: ModeOrigin::Operator,
            actor: "uid 0".to_owned(),
            since: step,
            until: None,
            unconfirmed: None,
        }),
        6 => Step::Batch(
            (0..BATCH)
                .map(|index| decision(step * 1000 + index))
                .collect(),
        ),
        7 => Step::Delete(Key {
            prefix: prefix((step - 7) * 1000),
            kind: Kind::Block,
            origin: Origin::Detection,
        }),
        _ => Step::Put(decision(step * 1000)),
    }
}

fn prefix(number: u64) -> IpNet {
    IpNet::V4(Ipv4Net::new(Ipv4Addr::from(number as u32), 32).unwrap())
}

fn decision(number: u64) -> Decision {
    let author = Author {
        origin: Origin::Detection,
        actor: "crash",
        now: number,
        lifetime_ms: None,
    };
    Decision::block(prefix(number), 50, "Brute Force", author).unwrap()
}

fn write_for_ever(dir: &Path, first: u64) -> ! {
    let mut store = Store::open(dir).unwrap();
    let mut out = std::io::stdout();
    let mut step = first;
    loop {
        match step_of(step) {
            Step::Put(decision) => store.put(&decision).unwrap(),
            Step::Batch(batch) => store.put_all(&batch).unwrap(),
            Step::Delete(key) => drop(store.delete(&key).unwrap()),
            Step::Mode(mode) => store.set_mode(&mode).unwrap(),
        }
        step += 1;
        // The number of steps that are done, straight to the pipe: only what is written counts.
        writeln!(out, "\ndone {step}").unwrap();
        out.flush().unwrap();
        assert!(step < first + 1_000_000, "the parent is gone");
    }
}

/// How many steps the child acknowledged before it was killed after about `life`.
fn run_and_kill(dir: &Path, first: u64, life: Duration) -> u64 {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("store::crash::kill_at_random_moments_loses_nothing_acknowledged")
        .env(CHILD_DIRECTORY, dir)
        .env(CHILD_FIRST, first.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let stdout = child.stdout.take().unwrap();
    let reader = thread::spawn(move || {
        let mut last = first;
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Some(step) = line.strip_prefix("done ") {
                last = step.parse().unwrap_or(last);
            }
        }
        last
    });
    thread::sleep(life);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

fn random(round: u32) -> u64 {
    let nanos = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .subsec_nanos();
    u64::from(nanos ^ round.wrapping_mul(0x9e37_79b9)).wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33
}
