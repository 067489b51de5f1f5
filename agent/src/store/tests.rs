//! The store against a real database: round trips, damage, a full disk, foreign directories, a million rows.

use std::{
    collections::HashMap,
    fs,
    net::Ipv4Addr,
    os::unix::fs::{FileExt, PermissionsExt},
    path::Path,
};

use ipnet::{IpNet, Ipv4Net};

use super::{ModeOrigin, ModeState, Revert, Store, StoreError, schema};
use crate::policy::{
    decision::{Author, Decision, Origin},
    mode::Mode,
};

fn author(origin: Origin, lifetime_ms: Option<u64>) -> Author<'static> {
    Author {
        origin,
        actor: "uid 0",
        now: 1_000,
        lifetime_ms,
    }
}

fn block(prefix: &str, lifetime_ms: Option<u64>) -> Decision {
    Decision::block(
        prefix.parse().unwrap(),
        80,
        "Password Spray",
        author(Origin::Operator, lifetime_ms),
    )
    .unwrap()
}

fn many(count: u32) -> Vec<Decision> {
    (0..count)
        .map(|index| {
            let address = Ipv4Addr::from(0x0100_0000 + index * 7);
            let prefix = IpNet::V4(Ipv4Net::new(address, 32).unwrap());
            Decision::block(
                prefix,
                80,
                "Password Spray",
                author(Origin::Feed, Some(3_600_000)),
            )
            .unwrap()
        })
        .collect()
}

#[test]
fn decisions_survive_reopening_and_keys_do_not_collide() {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("deep/state");
    let mut expected = vec![
        block("192.0.2.0/24", Some(5)),
        block("192.0.2.0/25", None),
        block("2001:db8::/32", None),
        block("::/0", None),
        Decision::exempt(
            "192.0.2.0/24".parse().unwrap(),
            "é\"'",
            author(Origin::Operator, None),
        )
        .unwrap(),
        Decision::exempt(
            "192.0.2.0/24".parse().unwrap(),
            "",
            author(Origin::Detection, None),
        )
        .unwrap(),
    ];
    let mut store = Store::open(&own).unwrap();
    store.put_all(&expected).unwrap();
    // The same key again replaces, it does not add.
    expected[1].score = 12;
    store.put(&expected[1]).unwrap();
    assert!(store.delete(&expected[2].key()).unwrap());
    assert!(!store.delete(&expected[2].key()).unwrap());
    expected.remove(2);
    drop(store);

    let store = Store::open(&own).unwrap();
    let mut found = store.decisions().unwrap();
    found.sort_by_key(Decision::key);
    expected.sort_by_key(Decision::key);
    assert_eq!(found, expected);
    assert_eq!(store.recovered(), None);
    assert_eq!(
        fs::metadata(&own).unwrap().permissions().mode() & 0o777,
        0o700
    );
}

#[test]
fn what_has_ended_is_purged_and_handed_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    let (short, long, ever) = (
        block("192.0.2.1/32", Some(10)),
        block("192.0.2.2/32", Some(11)),
        block("192.0.2.3/32", None),
    );
    store.put_all([&short, &long, &ever]).unwrap();
    assert_eq!(store.purge_expired(1_009).unwrap(), vec![]);
    assert_eq!(store.purge_expired(1_010).unwrap(), vec![short]);
    assert_eq!(store.decisions().unwrap(), vec![long.clone(), ever.clone()]);
    assert_eq!(store.purge_expired(u64::MAX).unwrap(), vec![long]);
    assert_eq!(store.decisions().unwrap(), vec![ever]);
}

#[test]
fn the_mode_keeps_its_origin_and_its_pending_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    assert_eq!(store.mode().unwrap(), None, "a first start has no mode");
    let state = ModeState {
        mode: Mode::Block,
        origin: ModeOrigin::Operator,
        actor: "uid 1000".to_owned(),
        since: 5,
        until: Some(Revert {
            previous: Mode::Off,
            at: 900,
        }),
        unconfirmed: Some(Revert {
            previous: Mode::Log,
            at: 300,
        }),
    };
    store.set_mode(&state).unwrap();
    drop(store);
    let state = Store::open(dir.path()).unwrap().mode().unwrap().unwrap();
    assert_eq!(state.reverted(299), None);
    let back = state.reverted(300).unwrap();
    assert_eq!((back.mode, back.origin), (Mode::Log, ModeOrigin::Revert));
    assert_eq!(back.next_revert(), None);
    let confirmed = ModeState {
        unconfirmed: None,
        ..state
    };
    assert_eq!(confirmed.reverted(300), None);
    assert_eq!(confirmed.reverted(900).unwrap().mode, Mode::Off);
}

#[test]
fn a_second_process_or_store_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = Store::open(dir.path()).unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::Busy { .. }), "{error}");
    drop(first);
    Store::open(dir.path()).unwrap();
}

#[test]
fn a_file_that_is_no_database_is_moved_aside_whole() {
    let dir = tempfile::tempdir().unwrap();
    let garbage = b"not a database at all, but somebody's only copy of it".repeat(100);
    fs::write(dir.path().join("edgeward.db"), &garbage).unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    let recovered = store.recovered().unwrap().clone();
    assert_eq!(recovered.decisions_kept, 0);
    assert_eq!(fs::read(&recovered.moved_to).unwrap(), garbage);
    let name = recovered.moved_to.file_name().unwrap().to_string_lossy();
    assert!(name.starts_with("edgeward.db.corrupt-"), "{name}");
    assert!(recovered.to_string().contains(&*name), "{recovered}");
    // Enforcement goes on: the new database takes decisions and is clean the next time.
    store.put(&block("192.0.2.0/24", None)).unwrap();
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.recovered(), None);
    assert_eq!(store.decisions().unwrap().len(), 1);
}

#[test]
fn damage_in_the_middle_loses_only_what_it_hit() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    let all = many(20_000);
    store.put_all(&all).unwrap();
    store
        .set_mode(&ModeState {
            mode: Mode::Block,
            origin: ModeOrigin::Operator,
            actor: "uid 0".to_owned(),
            since: 1,
            until: None,
            unconfirmed: None,
        })
        .unwrap();
    drop(store);
    let path = dir.path().join("edgeward.db");
    let bytes = fs::metadata(&path).unwrap().len();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0xa5; 4096], (bytes / 2) & !4095)
        .unwrap();
    drop(file);

    let store = Store::open(dir.path()).unwrap();
    let recovered = store.recovered().unwrap();
    let found = store.decisions().unwrap();
    assert_eq!(recovered.decisions_kept, found.len());
    assert!(
        found.len() > 10_000 && found.len() <= all.len(),
        "{recovered}"
    );
    let written: HashMap<_, _> = all
        .iter()
        .map(|decision| (decision.key(), decision))
        .collect();
    assert!(
        found
            .iter()
            .all(|decision| written.get(&decision.key()) == Some(&decision)),
        "nothing was invented"
    );
    assert_eq!(store.mode().unwrap().unwrap().mode, Mode::Block);
}

#[test]
fn a_full_disk_is_an_error_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    let kept = block("192.0.2.0/24", None);
    store.put(&kept).unwrap();
    // SQLite's own limit makes it answer exactly as a full file system does (SQLITE_FULL).
    store
        .connection
        .pragma_update_and_check(None, "max_page_count", 12, |_| Ok(()))
        .unwrap();
    let error = store.put_all(&many(10_000)).unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert_eq!(store.decisions().unwrap(), vec![kept.clone()]);
    store
        .connection
        .pragma_update_and_check(None, "max_page_count", 1_000_000, |_| Ok(()))
        .unwrap();
    store.put_all(&many(10_000)).unwrap();
    assert_eq!(store.decisions().unwrap().len(), 10_001);
}

#[test]
fn a_directory_of_others_is_neither_closed_nor_used() {
    let dir = tempfile::tempdir().unwrap();
    let shared = dir.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(shared.join("somebody.txt"), "x").unwrap();
    let error = Store::open(&shared).unwrap_err();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
    assert_eq!(mode_bits(&shared), 0o755);
    // Emptied, it is as good as a new one.
    fs::remove_file(shared.join("somebody.txt")).unwrap();
    Store::open(&shared).unwrap();
    assert_eq!(mode_bits(&shared), 0o700);
}

#[test]
fn the_first_layout_is_brought_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("edgeward.db");
    let old = rusqlite::Connection::open(&path).unwrap();
    old.execute_batch(schema::TABLES).unwrap();
    old.execute(
        "INSERT INTO decisions (address, length, kind, origin, score, reason, actor, created)
         VALUES (x'c0000201', 32, 1, 1, 90, 'old', 'uid 0', 7)",
        [],
    )
    .unwrap();
    drop(old);
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    for _ in 0..2 {
        let mut store = Store::open(dir.path()).unwrap();
        let found = store.decisions().unwrap();
        let old = found
            .iter()
            .find(|decision| decision.reason == "old")
            .unwrap();
        assert_eq!((old.score, old.evidence.as_str()), (90, ""));
        let new = block("192.0.2.2/32", None).with_evidence("eight\nfailures");
        store.put(&new).unwrap();
        assert!(store.decisions().unwrap().contains(&new));
        assert_eq!(new.evidence, "eight failures");
    }
}

#[test]
fn a_newer_schema_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store
        .connection
        .execute("UPDATE meta SET value = 99 WHERE key = 'schema'", [])
        .unwrap();
    drop(store);
    match Store::open(dir.path()).unwrap_err() {
        StoreError::Newer { found, .. } => assert_eq!(found, 99),
        other => panic!("{other}"),
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn durability_is_what_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let read = |pragma: &str| -> String {
        store
            .connection
            .pragma_query_value(None, pragma, |row| {
                row.get_ref(0).map(|value| match value {
                    rusqlite::types::ValueRef::Integer(number) => number.to_string(),
                    other => other.as_str().unwrap().to_owned(),
                })
            })
            .unwrap()
    };
    assert_eq!(read("journal_mode"), "wal");
    assert_eq!(read("synchronous"), "2");
    assert_eq!(read("locking_mode"), "exclusive");
}

fn mode_bits(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}
