//! What was written comes back, and what was damaged does not.

use std::{path::PathBuf, time::Duration};

use super::*;
use crate::{
    config::feed::{FeedFormat, FeedSource},
    policy::feed::{Gate, Limits},
};

fn feed(name: &str) -> Feed {
    Feed {
        name: name.to_owned(),
        format: FeedFormat::Netset,
        source: FeedSource::File(PathBuf::from("/x")),
        interval: Duration::from_secs(10),
        score: 80,
        score_min: 0,
        reason: "own".to_owned(),
        lifetime: None,
        size_bytes_max: 1 << 20,
        entries_max: 100,
        change_percent_max: 50,
        empty_allowed: false,
        limits: Limits::default(),
        timeout: Duration::from_secs(10),
        key: None,
        ca_file: None,
    }
}

fn table() -> (FeedTable, Vec<(IpNet, Fact, Refused)>) {
    let mut draft = Draft::new(100, "own");
    for (prefix, score, ends, reason) in [
        ("8.8.8.8/32", 80, 0, None),
        ("9.9.9.0/24", 40, 1_900_000_000, Some("scan")),
        ("2001:db8::1/128", 80, 0, Some("spray")),
        ("10.0.0.1/32", 80, 0, Some("scan")),
    ] {
        draft
            .push(prefix.parse().unwrap(), score, ends, reason)
            .unwrap();
    }
    let (table, refusals) = draft.finish("f", &Gate::new(Limits::default(), &[]));
    (table.with_until(7, 9), refusals.entries)
}

fn lines(table: &FeedTable) -> Vec<String> {
    let decisions = table.decisions(0);
    decisions.map(|decision| format!("{decision:?}")).collect()
}

#[test]
fn what_was_kept_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (table, refused) = table();
    let mark = Mark {
        etag: Some("\"x\"".to_owned()),
        file: Some((-1, 2, 3)),
        ..Mark::default()
    };
    write(dir.path(), &feed("a b/c"), &table, &refused, &mark, 9).unwrap();
    let kept = read(dir.path(), &feed("a b/c")).unwrap().unwrap();
    assert_eq!((kept.until_s, kept.heard_ms, &kept.mark), (7, 9, &mark));
    let gate = Gate::new(Limits::default(), &[]);
    let (back, refusals) = kept.draft.finish("f", &gate);
    assert_eq!(lines(&back.with_until(7, 9)), lines(&table));
    assert_eq!(refusals.entries, refused, "what was set apart is kept too");
    let dearer = Feed {
        score: 90,
        ..feed("a b/c")
    };
    let kept = read(dir.path(), &dearer).unwrap().unwrap();
    assert_eq!(
        kept.mark,
        Mark::default(),
        "to be read again under other terms"
    );
    assert!(read(dir.path(), &feed("other")).unwrap().is_none());
    let moved = Feed {
        source: FeedSource::File(PathBuf::from("/y")),
        ..feed("a b/c")
    };
    assert!(
        read(dir.path(), &moved).unwrap().is_none(),
        "another source"
    );
}

#[test]
fn every_damage_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (table, refused) = table();
    write(
        dir.path(),
        &feed("f"),
        &table,
        &refused,
        &Mark::default(),
        9,
    )
    .unwrap();
    let file = path(dir.path(), "f", "table");
    let whole = fs::read(&file).unwrap();
    for end in 0..whole.len() {
        fs::write(&file, &whole[..end]).unwrap();
        assert!(read(dir.path(), &feed("f")).is_err(), "cut at {end}");
    }
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&file, &bytes).unwrap();
        let found = read(dir.path(), &feed("f"));
        // Within the identity a flipped bit makes it another source's.
        assert!(!matches!(found, Ok(Some(_))), "flipped at {at}");
    }
}

#[test]
fn files_of_feeds_that_are_gone_go() {
    let dir = tempfile::tempdir().unwrap();
    let (table, refused) = table();
    for name in ["a", "b"] {
        write(
            dir.path(),
            &feed(name),
            &table,
            &refused,
            &Mark::default(),
            9,
        )
        .unwrap();
    }
    fs::write(path(dir.path(), "b", "part"), "x").unwrap();
    sweep(dir.path(), &[feed("a")]);
    let left: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(left, [path(dir.path(), "a", "table")]);
}
