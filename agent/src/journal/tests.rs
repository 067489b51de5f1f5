use std::{collections::BTreeSet, path::Path, sync::Arc, thread, time::Duration};

use serde_json::{Value, json};

use super::{
    Cursor, Entry, Facts, Filter, Ids, Journal, JournalSettings, Order, Page, Query, Reader,
    log_event::log_event,
    published,
    record::Record,
    slice::{Slice, Writing},
};
use crate::{clock::Clock, geo::Databases};

/// Events of these tests happened long ago.
const FOR_EVER: JournalSettings = JournalSettings {
    retention_ms: u64::MAX,
    bytes_max: 1 << 40,
    sync: true,
    names_users: false,
};

fn start(dir: &Path, settings: JournalSettings) -> Journal {
    Journal::start(
        dir,
        settings,
        Arc::new(Ids::new(1)),
        Clock::new(),
        Databases::none(),
    )
    .expect("a journal")
}

fn facts(event: Value) -> (Facts, Arc<str>) {
    let line = Arc::from(event.to_string());
    match event {
        Value::Object(facts) => (facts, line),
        other => panic!("{other} is no object"),
    }
}

fn decision(number: u64) -> Value {
    json!({
        "event": "decision.create", "time": 1_000 + number, "id": format!("id-{number}"), "actor": "root",
        "prefix": format!("198.51.100.{}/32", number % 256), "kind": "block",
    })
}

fn put(journal: &Journal, event: Value) {
    let (facts, line) = facts(event);
    journal.log().put(&facts, &line);
}

/// Waits for the writer, which answers within a second unless something is wrong.
fn committed(reader: &Reader, seq: u64) {
    for _ in 0..1_000 {
        if *reader.committed().borrow() >= seq {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!(
        "{seq} was not committed; {} was",
        *reader.committed().borrow()
    );
}

/// Files with these events, written as the writer does.
fn written(dir: &Path, first: u64, events: &[Value]) {
    let mut writing = Writing::open(dir, first, false, 0).expect("a slice");
    let records: Vec<Record> = events
        .iter()
        .map(|event| {
            let (facts, line) = facts(event.clone());
            Record::of(&facts, line)
        })
        .collect();
    writing.append(&records).expect("written");
    writing.finish();
}

#[test]
fn what_is_put_in_comes_out_in_order_and_again_after_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = start(dir.path(), FOR_EVER);
    for number in 0..2_500 {
        put(&journal, decision(number));
    }
    let reader = journal.log().reader();
    committed(&reader, 2_500);
    let check = |reader: &Reader| {
        let mut seen = 0;
        loop {
            let page = reader.after(seen, 700, 20_000).expect("read");
            if page.is_empty() {
                break;
            }
            for entry in page {
                assert_eq!(
                    (entry.id.as_str(), entry.seq),
                    (format!("id-{seen}").as_str(), seen + 1)
                );
                seen += 1;
            }
        }
        assert_eq!((seen, reader.oldest()), (2_500, 1));
    };
    check(&reader);
    journal.stop();
    let journal = start(dir.path(), FOR_EVER);
    let reader = journal.log().reader();
    committed(&reader, 2_500);
    check(&reader);
    put(&journal, decision(2_500));
    committed(&reader, 2_501);
    assert_eq!(
        reader.after(2_500, 10, 1 << 20).expect("read")[0].id,
        "id-2500"
    );
    journal.stop();
}

fn judgement(number: u64, time: u64) -> Value {
    let outcome = if number.is_multiple_of(3) {
        "ALLOW"
    } else {
        "DENY"
    };
    json!({
        "event": "security.threat.detected", "time": time, "id": format!("id-{number}"), "outcome": outcome,
        "reason": "reputation", "detail": "Password Spray", "origin": "detection", "score": 90,
        "source": format!("203.0.113.{}", number % 256), "suppressed": 0,
        "service": if number.is_multiple_of(5) { "shop" } else { "login" },
    })
}

fn all(reader: &Reader, query: &Query) -> Vec<Entry> {
    let mut found = Vec::new();
    let mut query = query.clone();
    for _ in 0..10_000 {
        let Page {
            entries,
            next,
            complete,
        } = reader.search(&query).expect("found");
        found.extend(entries);
        if complete {
            return found;
        }
        assert!(
            next.is_some(),
            "a page that is not the last says where to go on"
        );
        query.after = next;
    }
    panic!("the pages do not end");
}

/// Three slices whose times overlap, as those of a host whose clock was set back.
fn three_slices(dir: &Path, event: fn(u64, u64) -> Value) -> Vec<(u64, u64, Value)> {
    let mut known = Vec::new();
    for (slice, (first, base)) in [(1, 10_000), (1_001, 60_000), (2_001, 30_000)]
        .into_iter()
        .enumerate()
    {
        let events: Vec<Value> = (0..1_000_u64)
            .map(|number| event(slice as u64 * 1_000 + number, base + number * 37 % 50_000))
            .collect();
        written(dir, first, &events);
        known.extend(
            (first..)
                .zip(events)
                .map(|(seq, event)| (seq, event["time"].as_u64().expect("a time"), event)),
        );
    }
    known
}

/// Mostly judgements; some sign-ins, also of a user whose name is an address, and changes by people and by the agent.
fn any(number: u64, time: u64) -> Value {
    let users = ["alice", "203.0.113.9", "uid 0", "unknown"];
    let mut event = match (number % 11, number % 97) {
        (_, 7) => json!({ "event": "zone.create", "actor": "uid 0", "zone": "office" }),
        (_, 8) => json!({ "event": "zone.delete", "actor": "203.0.113.9" }),
        (_, 9) => json!({ "event": "decision.create", "actor": "edgeward" }),
        (3, turn) => json!({
            "event": "user.session.start", "outcome": "FAILURE", "client": format!("203.0.113.{}", number % 256),
            "user": users[usize::from(turn % 2 == 0) * 2 + usize::from(turn % 3 == 0)],
        }),
        _ => return judgement(number, time),
    };
    event["time"] = time.into();
    event["id"] = format!("id-{number}").into();
    event
}

/// What a look at every event finds.
fn looped(known: &[(u64, u64, Value)], query: &Query) -> Vec<u64> {
    let mut expected: Vec<(u64, u64)> = known
        .iter()
        .filter(|(_, time, event)| {
            let (facts, _) = facts(event.clone());
            query.since_ms.is_none_or(|since| *time >= since)
                && query.until_ms.is_none_or(|until| *time < until)
                && query
                    .filter
                    .as_ref()
                    .is_none_or(|filter| filter.matches(&log_event(&facts)))
        })
        .map(|(seq, time, _)| {
            (
                if query.by == Order::Published {
                    *time
                } else {
                    0
                },
                *seq,
            )
        })
        .collect();
    expected.sort_unstable();
    if query.descending {
        expected.reverse();
    }
    expected.iter().map(|(_, seq)| *seq).collect()
}

#[test]
fn searches_find_what_a_loop_over_everything_finds() {
    let dir = tempfile::tempdir().expect("a directory");
    let known = three_slices(dir.path(), any);
    let journal = start(dir.path(), FOR_EVER);
    let reader = journal.log().reader();
    let filters = [
        "eventType eq \"security.threat.detected\"",
        "outcome.result eq \"DENY\" and debugContext.debugData.service eq \"shop\"",
        "client.ipAddress eq \"203.0.113.7\"",
        "actor.id eq \"203.0.113.9\" and outcome.result eq \"ALLOW\"",
        "not (outcome.result eq \"DENY\") or client.ipAddress eq \"203.0.113.8\"",
        "client.ipAddress eq \"203.0.113.9\" or client.ipAddress eq \"203.0.113.10\" or uuid eq \"id-4\"",
        "(actor.id eq \"203.0.113.9\" and outcome.result eq \"DENY\") or eventType eq \"zone.create\"",
        "client.ipAddress sw \"203.0.113.1\"",
        "actor.id eq \"alice\"",
        "actor.alternateId eq \"alice\" and outcome.result eq \"FAILURE\"",
        "actor.displayName eq \"203.0.113.9\"",
        "actor.alternateId eq \"203.0.113.9\"",
        "actor.id eq \"uid 0\"",
        "actor.id eq \"unknown\"",
        "actor.alternateId eq \"unknown\"",
        "actor.id eq \"edgeward\"",
        "debugContext.debugData.user eq \"uid 0\"",
        "eventType eq \"zone.create\"",
        "debugContext.debugData.score eq \"90\" and severity eq \"WARN\"",
    ];
    for filter in [None].into_iter().chain(filters.map(Some)) {
        let filter = filter.map(|text| Filter::parse(text).expect("a filter"));
        for (since, until) in [
            (None, None),
            (Some(31_000), Some(70_001)),
            (Some(200_000), None),
        ] {
            for (by, descending) in [
                (Order::Persistence, false),
                (Order::Published, false),
                (Order::Published, true),
                (Order::Persistence, true),
            ] {
                let limits: &[usize] = if filter.is_none() && since.is_none() {
                    &[7, 1_000]
                } else {
                    &[97]
                };
                for limit in limits.iter().copied() {
                    let query = Query {
                        since_ms: since,
                        until_ms: until,
                        filter: filter.clone(),
                        limit,
                        descending,
                        by,
                        ..Query::default()
                    };
                    let expected = looped(&known, &query);
                    let found = all(&reader, &query);
                    let found: Vec<u64> = found.iter().map(|entry| entry.seq).collect();
                    assert!(
                        found == expected,
                        "{} instead of {}: {query:?}",
                        found.len(),
                        expected.len()
                    );
                }
            }
        }
    }
    journal.stop();
}

#[test]
fn words_are_found_in_any_case_in_any_value() {
    let dir = tempfile::tempdir().expect("a directory");
    three_slices(dir.path(), judgement);
    let journal = start(dir.path(), FOR_EVER);
    let reader = journal.log().reader();
    let count = |words: &[&str]| {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        all(
            &reader,
            &Query {
                words,
                limit: 1_000,
                ..Query::default()
            },
        )
        .len()
    };
    assert_eq!(count(&["suspicious", "password"]), 3_000);
    assert_eq!(count(&["suspicious", "203.0.113.77"]), 12);
    assert_eq!(count(&["nothing-like-it"]), 0);
    journal.stop();
}

#[test]
fn an_id_is_found_by_its_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let ids = Ids::new(3);
    let events: Vec<Value> = (0..100)
        .map(|number| {
            let mut event = judgement(number, 1_795_000_000_000 + number);
            event["id"] = ids.next(1_795_000_000_000 + number).into();
            event
        })
        .collect();
    written(dir.path(), 1, &events);
    let journal = start(dir.path(), FOR_EVER);
    let id = events[42]["id"].as_str().expect("an id");
    let filter = Filter::parse(&format!("uuid eq \"{id}\"")).expect("a filter");
    let query = Query {
        filter: Some(filter),
        limit: 10,
        ..Query::default()
    };
    let found = all(&journal.log().reader(), &query);
    assert_eq!(
        found
            .iter()
            .map(|entry| entry.id.as_str())
            .collect::<Vec<_>>(),
        [id]
    );
    journal.stop();
}

#[test]
fn old_slices_go_by_size_and_by_age_and_the_others_stay() {
    let dir = tempfile::tempdir().expect("a directory");
    three_slices(dir.path(), judgement);
    let settings = JournalSettings {
        bytes_max: 1,
        ..FOR_EVER
    };
    let journal = start(dir.path(), settings);
    let reader = journal.log().reader();
    for _ in 0..500 {
        if reader.oldest() > 1_001 {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    // Of three slices the newest two may remain: the last one is never removed.
    assert!(reader.oldest() >= 2_001, "{}", reader.oldest());
    journal.stop();
    let left: Vec<u64> = Slice::list(dir.path())
        .expect("listed")
        .iter()
        .map(|(first, _)| *first)
        .collect();
    assert!(!left.contains(&1) && !left.contains(&1_001), "{left:?}");
}

#[test]
fn a_damaged_slice_is_moved_aside_and_the_log_goes_on_behind_it() {
    let dir = tempfile::tempdir().expect("a directory");
    three_slices(dir.path(), judgement);
    for (first, path) in Slice::list(dir.path()).expect("listed") {
        if first != 1_001 {
            std::fs::write(
                &path,
                b"this is no database, and never was one; it is long enough to be looked at",
            )
            .expect("written");
        }
    }
    let journal = start(dir.path(), FOR_EVER);
    put(&journal, decision(1));
    let reader = journal.log().reader();
    committed(&reader, 2_001 + (1 << 20));
    let found = all(
        &reader,
        &Query {
            limit: 1_000,
            ..Query::default()
        },
    );
    let seqs: BTreeSet<u64> = found.iter().map(|entry| entry.seq).collect();
    assert_eq!(
        seqs.range(..=2_000).count(),
        1_000,
        "the slice in the middle is whole"
    );
    let types: Vec<&str> = found.iter().rev().take(2).map(Entry::event_type).collect();
    assert!(
        types.contains(&"system.log.damaged") && types.contains(&"decision.create"),
        "{types:?}"
    );
    let damaged = std::fs::read_dir(dir.path())
        .expect("listed")
        .filter(|entry| {
            entry
                .as_ref()
                .is_ok_and(|entry| entry.file_name().to_string_lossy().contains("damaged-0"))
        })
        .count();
    assert_eq!(damaged, 2);
    journal.stop();
}

#[test]
fn cursors_are_plain_words() {
    let cursor = Cursor {
        published_ms: 1_795_348_800_123,
        seq: u64::MAX >> 1,
    };
    let text = cursor.to_string();
    assert!(
        text.bytes().all(|byte| byte.is_ascii_alphanumeric()),
        "{text}"
    );
    assert_eq!(text.parse(), Ok(cursor));
    for bad in [
        "",
        "zz",
        "0123456789ab",
        "+123456789ab1",
        "0123456789ab-1",
        "0123456789abé",
    ] {
        assert_eq!(bad.parse::<Cursor>(), Err(()), "{bad}");
    }
}

#[test]
fn an_event_in_oktas_shape() {
    let (facts, _) = facts(judgement(1, 1_795_348_800_123));
    let event = log_event(&facts);
    assert_eq!(event["published"], published(1_795_348_800_123));
    assert_eq!(event["published"], "2026-11-22T12:00:00.123Z");
    assert_eq!(event["actor"]["type"], "IP address");
    assert_eq!(event["actor"]["alternateId"], "unknown");
    assert_eq!(
        event["outcome"],
        json!({ "result": "DENY", "reason": "Password Spray" })
    );
    assert_eq!(event["severity"], "WARN");
    assert_eq!(event["displayMessage"], "Request from suspicious actor");
    assert_eq!(event["target"], Value::Null);
    assert_eq!(event["request"]["ipChain"][0]["version"], "V4");
    assert_eq!(
        event["debugContext"]["debugData"]["threatDetections"],
        "{\"Password Spray\":\"HIGH\"}"
    );
    let data = event["debugContext"]["debugData"]
        .as_object()
        .expect("an object");
    assert!(data.values().all(Value::is_string), "{data:?}");
}
