//! Where streams begin, go on, and go back to.

use super::{place::Found, *};
use crate::config::stream::StreamFilter;

fn lines(path: &Path) -> Vec<u64> {
    numbers(&std::fs::read_to_string(path).unwrap_or_default())
}

#[test]
fn a_new_stream_begins_at_the_present_or_with_the_oldest() {
    let folder = tempfile::tempdir().unwrap();
    let (now, oldest) = (
        folder.path().join("now.log"),
        folder.path().join("oldest.log"),
    );
    let journal = Memory::new(50);
    journal.keep_from(11);
    let plan = vec![
        Stream {
            from: StreamStart::Now,
            ..stream("now", file(&now))
        },
        stream("oldest", file(&oldest)),
    ];
    let world = World::start(folder.path(), &journal, plan);
    world.settled("oldest");
    world.until("now", |state| state.settled == 50);
    journal.commit(3);
    world.settled("oldest");
    assert_eq!(world.settled("now").gap, 0);
    assert!(lines(&now).into_iter().eq(51..=53));
    assert!(lines(&oldest).into_iter().eq(11..=53));
    world.streams.stop();
}

#[test]
fn a_place_survives_and_a_filter_passes_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.log");
    let text = "eventType eq \"security.threat.detected\"";
    let only = Stream {
        filter: Some(StreamFilter {
            text: text.to_owned(),
            filter: crate::journal::filter::Filter::parse(text).unwrap(),
        }),
        ..stream("archive", file(&path))
    };
    let journal = Memory::new(20);
    let world = World::start(folder.path(), &journal, vec![only.clone()]);
    let state = world.settled("archive");
    assert_eq!((state.delivered, state.filtered), (10, 10));
    world.streams.stop();
    journal.commit(10);
    let again = World::start(folder.path(), &journal, vec![only]);
    again.settled("archive");
    assert!(lines(&path).into_iter().eq((2..=30).step_by(2)));
    // From somewhere in between once more.
    let said = again
        .wish("archive", What::Replay { since_ms: 1_025 })
        .unwrap();
    assert_eq!((&said["from"], &said["events"]), (&json!(25), &json!(6)));
    again.until("archive", |state| state.delivered == 8);
    assert!(
        lines(&path)
            .into_iter()
            .eq((2..=30).step_by(2).chain([26, 28, 30]))
    );
    assert_eq!(again.told(".replay")[0]["actor"], "uid 7");
    again.streams.stop();
}

#[test]
fn what_retention_took_is_counted_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.log");
    let journal = Memory::new(20);
    let archive = stream("archive", file(&path));
    let world = World::start(folder.path(), &journal, vec![archive.clone()]);
    world.settled("archive");
    world.streams.stop();
    journal.commit(100);
    journal.keep_from(91);
    let again = World::start(folder.path(), &journal, vec![archive]);
    let state = again.settled("archive");
    assert_eq!((state.gap, state.delivered), (70, 30));
    assert!(lines(&path).into_iter().eq((1..=20).chain(91..=120)));
    let gaps = again.told(".gap");
    assert_eq!((gaps.len(), &gaps[0]["count"]), (1, &json!(70)));
    again.streams.stop();
}

#[test]
fn a_journal_that_is_another_one_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join(DIRECTORY);
    let archive = stream("archive", file(&folder.path().join("events.log")));
    let journal = Memory::new(40);
    let world = World::start(folder.path(), &journal, vec![archive.clone()]);
    world.settled("archive");
    world.streams.stop();
    let find = |journal: &Memory| {
        let (place, found) = place::Place::find(&dir, &archive, journal).unwrap();
        (place.cursor.settled, found)
    };
    assert_eq!(find(&journal), (40, Found::Kept));
    // Its end is lost and other events have taken the numbers.
    let renewed = Memory::new(35);
    for seq in 36..=60 {
        renewed.entries.lock().unwrap().insert(seq, entry(seq, "b"));
    }
    renewed.committed.send_replace(60);
    let (settled, found) = find(&renewed);
    assert!(matches!(found, Found::Lost(_)), "{found:?}");
    assert_eq!(
        settled, 39,
        "the first event that is not older than the last one known is sent"
    );
    // All of it is lost.
    let (settled, found) = find(&Memory::new(0));
    assert!(matches!(found, Found::Lost(_)) && settled == 0, "{found:?}");
    // A place that cannot be read costs copies, not events.
    std::fs::write(dir.join("archive.cursor"), "\0\0\0").unwrap();
    let (settled, found) = find(&journal);
    assert!(matches!(found, Found::Lost(_)) && settled == 0, "{found:?}");
}
