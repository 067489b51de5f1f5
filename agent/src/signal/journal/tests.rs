//! What journalctl says, taken apart. That it runs, ends and begins again is seen where it runs.

use tokio::sync::mpsc;

use super::*;
use crate::{
    control::EventFeed,
    policy::signal::PseudonymKey,
    signal::{Maker, Sshd},
};

const CURSOR: &str = "s=0cbd;i=2f1;b=4b;m=1d9;t=5f6;x=1e";

fn journal(cursor: Option<&str>) -> (Journal, mpsc::Receiver<Batch>) {
    let (intake, batches) = Intake::new();
    let maker = Maker {
        key: PseudonymKey::new(1, 2),
        service: 0,
    };
    let journal = Journal {
        source: Arc::from("sshd"),
        units: vec!["ssh.service".to_owned()],
        clock: Clock::new(),
        tally: Tally::new("sshd", Clock::new(), EventFeed::new(10, 0)),
        intake,
        format: Box::new(Sshd::new(maker, 0)),
        cursor: cursor.map(str::to_owned),
    };
    (journal, batches)
}

fn entry(cursor: &str, message: &str) -> String {
    format!(
        r#"{{"__CURSOR":"{cursor}","__REALTIME_TIMESTAMP":"1795279668250000","SYSLOG_IDENTIFIER":"sshd","_PID":"7","MESSAGE":"{message}"}}"#
    )
}

#[tokio::test]
async fn entries_become_signals_with_the_cursor_behind_them() {
    let (mut journal, mut batches) = journal(Some(CURSOR));
    let mut taken = Taken::default();
    let failed = "Failed password for root from 192.0.2.1 port 4 ssh2";
    // The one that was read before the restart comes again.
    journal.take(Line::Text(entry(CURSOR, failed).as_bytes()), &mut taken);
    assert!(taken.found.is_empty());
    let next = CURSOR.replace("2f1", "2f2");
    journal.take(Line::Text(entry(&next, failed).as_bytes()), &mut taken);
    let last = CURSOR.replace("2f1", "2f3");
    // A client chose a name that looks like a cursor.
    let forged = r#"Invalid user \"__CURSOR\":\"s=1\" from 192.0.2.2"#;
    journal.take(Line::Text(entry(&last, forged).as_bytes()), &mut taken);
    journal.put(&mut taken).await;
    let batch = batches.try_recv().unwrap();
    assert_eq!(batch.signals.len(), 1);
    assert_eq!(batch.position.unwrap().cursor, last.as_bytes());
    assert_eq!(journal.tally.place().unwrap(), last.as_bytes());
    let row = journal.tally.row();
    assert_eq!((row.lines, row.signals), (2, 1));
}

#[tokio::test]
async fn what_is_no_entry_is_counted_and_passed_over() {
    let (mut journal, mut batches) = journal(None);
    let mut taken = Taken::default();
    journal.take(Line::Text(b"{broken"), &mut taken);
    journal.take(Line::TooLong, &mut taken);
    journal.put(&mut taken).await;
    assert!(batches.try_recv().is_err(), "there is no place to keep");
    let row = journal.tally.row();
    assert_eq!((row.lines, row.rejected.len()), (2, 2));
}

#[tokio::test]
async fn a_place_that_journald_does_not_know_is_said_and_left() {
    // A journal is not needed for this, journalctl is; without it that is what is said.
    let (journal, _batches) = journal(Some("s=1"));
    let tally = journal.tally.clone();
    let running = tokio::spawn(journal.run());
    let row = loop {
        let row = tally.row();
        if row.state == FOLLOWING && row.last_error.is_some() || row.state == "failing" {
            break row;
        }
        sleep(Duration::from_millis(20)).await;
    };
    running.abort();
    let error = row.last_error.unwrap();
    match row.state.as_str() {
        FOLLOWING => assert!(
            error.starts_with("journald does not know the place"),
            "{error}"
        ),
        _ => assert!(error.starts_with("there is no journalctl"), "{error}"),
    }
}

#[test]
fn only_a_cursor_is_taken_for_one() {
    assert_eq!(
        Journal::cursor(Some(CURSOR.as_bytes())).as_deref(),
        Some(CURSOR)
    );
    let long = "a".repeat(CURSOR_BYTES_MAX + 1);
    for bad in ["", "s=1 --flush", "s=1\n", "s=\u{fc}", long.as_str()] {
        assert_eq!(Journal::cursor(Some(bad.as_bytes())), None, "{bad}");
    }
    // That of a file, under the same name before.
    assert_eq!(Journal::cursor(Some(&[1, 0, 0xff])), None);
    assert_eq!(Journal::cursor(None), None);
}

#[test]
fn the_child_is_asked_for_what_comes_behind_the_cursor() {
    let arguments = |journal: &Journal| {
        let command = journal.command();
        let arguments = command.as_std().get_args();
        let arguments: Vec<&str> = arguments.map(|text| text.to_str().unwrap()).collect();
        arguments.join(" ")
    };
    let (fresh, _) = journal(None);
    assert!(arguments(&fresh).ends_with("--unit=ssh.service --lines=0"));
    let (known, _) = journal(Some(CURSOR));
    let expected = format!("--unit=ssh.service --no-tail --cursor={CURSOR}");
    assert!(arguments(&known).ends_with(&expected));
}
