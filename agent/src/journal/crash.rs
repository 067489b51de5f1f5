//! kill -9 a hundred times while a child writes as fast as it can and acknowledges what readers were shown: none of it
//! is missing afterwards, the numbers have no gap, and no file is damaged.
//!
//! The child is this very test binary, started with [`CHILD_DIRECTORY`] set.

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use rusqlite::Connection;
use serde_json::{Value, json};

use super::{Ids, Journal, JournalSettings, slice::Slice};
use crate::{clock::Clock, geo::Databases};

const CHILD_DIRECTORY: &str = "EDGEWARD_TEST_JOURNAL_DIRECTORY";
const KILLS: u64 = 100;
/// Nothing goes: what is missing afterwards was lost.
const SETTINGS: JournalSettings = JournalSettings {
    retention_ms: u64::MAX,
    bytes_max: 1 << 40,
    sync: true,
    names_users: false,
};

#[test]
fn kill_9_a_hundred_times_loses_nothing_acknowledged() {
    if let Ok(dir) = env::var(CHILD_DIRECTORY) {
        write_for_ever(Path::new(&dir));
    }
    let dir = tempfile::tempdir().expect("a directory");
    let mut acknowledged = 0;
    for round in 0..KILLS {
        let shown = run_and_kill(dir.path(), Duration::from_millis(round * 37 % 90));
        assert!(
            shown >= acknowledged,
            "round {round}: {shown} after {acknowledged}"
        );
        acknowledged = shown;
    }
    assert!(acknowledged > KILLS, "children lived long enough to write");
    let journal = Journal::start(
        dir.path(),
        SETTINGS,
        Arc::new(Ids::new(0)),
        Clock::new(),
        Databases::none(),
    )
    .expect("the log opens");
    let reader = journal.log().reader();
    let mut seen = 0;
    loop {
        let page = reader.after(seen, 1_000, 1 << 20).expect("read");
        if page.is_empty() {
            break;
        }
        for entry in page {
            seen += 1;
            assert_eq!(entry.seq, seen, "no number is missing");
            assert_eq!(entry.event_type(), "decision.create");
        }
    }
    assert!(seen >= acknowledged, "{seen} of {acknowledged}");
    journal.stop();
    for (_, path) in Slice::list(dir.path()).expect("listed") {
        let connection = Connection::open(&path).expect("opened");
        let answer: String = connection
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .expect("checked");
        assert_eq!(answer, "ok", "{}", path.display());
    }
}

/// The last number that the child was shown before it was killed.
fn run_and_kill(dir: &Path, after: Duration) -> u64 {
    let mut child = Command::new(env::current_exe().expect("this program"))
        .args([
            "--exact",
            "journal::crash::kill_9_a_hundred_times_loses_nothing_acknowledged",
            "--nocapture",
        ])
        .env(CHILD_DIRECTORY, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a child");
    let output = BufReader::new(child.stdout.take().expect("its output"));
    let reader = thread::spawn(move || {
        let numbers = output.lines().map_while(Result::ok);
        // The test harness says something of its own; a last line may be cut off, without its end.
        numbers
            .filter_map(|line| {
                line.strip_prefix("shown ")?
                    .strip_suffix('.')?
                    .parse::<u64>()
                    .ok()
            })
            .last()
    });
    // The time until it opens the log is not its writing time.
    thread::sleep(after + Duration::from_millis(60));
    child.kill().expect("killed");
    child.wait().expect("ended");
    let shown = reader.join().expect("read");
    shown.unwrap_or_else(|| newest(dir))
}

/// A child that was killed before it showed anything acknowledged nothing.
fn newest(dir: &Path) -> u64 {
    let listed = Slice::list(dir).expect("listed");
    let Some((first, path)) = listed.last() else {
        return 0;
    };
    Slice::open(path, *first).map_or(0, |slice| slice.summary().last)
}

fn write_for_ever(dir: &Path) -> ! {
    let journal = Journal::start(
        dir,
        SETTINGS,
        Arc::new(Ids::new(0)),
        Clock::new(),
        Databases::none(),
    )
    .expect("the log opens");
    let reader = journal.log().reader();
    thread::spawn(move || {
        let mut shown = 0;
        loop {
            let now = *reader.committed().borrow();
            if now != shown {
                shown = now;
                println!("shown {shown}.");
                std::io::stdout().flush().expect("written");
            }
            thread::sleep(Duration::from_micros(200));
        }
    });
    for number in 0_u64.. {
        let event = json!({
            "event": "decision.create", "time": number, "id": "", "prefix": "192.0.2.1/32", "actor": "root",
        });
        let line = Arc::from(event.to_string());
        if let Value::Object(facts) = event {
            journal.log().put(&facts, &line);
        }
        if number.is_multiple_of(20) {
            thread::sleep(Duration::from_millis(2));
        }
    }
    unreachable!("numbers do not end");
}
