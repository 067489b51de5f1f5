//! Sources as reloads start, change and end them, with real files.

use std::{fs, io::Write as _, path::Path};

use tokio::sync::mpsc;

use super::*;
use crate::detection::Batch;

const LINE: &str =
    "192.0.2.1 - - [21/Nov/2026:16:47:48 +0000] \"POST /login HTTP/1.1\" 401 12 \"-\" \"UA\"\n";

struct World {
    directory: tempfile::TempDir,
    sources: Sources,
    batches: mpsc::Receiver<Batch>,
}

impl World {
    fn new() -> Self {
        let (intake, batches) = Intake::new();
        let wiring = Wiring {
            intake,
            key: PseudonymKey::new(1, 2),
            clock: Clock::new(),
            feed: EventFeed::new(10, 0),
        };
        Self {
            directory: tempfile::tempdir().unwrap(),
            sources: Sources::new(wiring, BTreeMap::new()),
            batches,
        }
    }

    /// Logs by name and file, of the last of two services.
    fn apply(&mut self, logs: &[(&str, &str)]) {
        let mut text = "interfaces = [\"eth0\"]\n".to_owned();
        for (name, port) in [("shop", 80), ("login", 443)] {
            text.push_str(&format!(
                "[[service]]\nname = \"{name}\"\nports = [{port}]\n"
            ));
        }
        for (name, file) in logs {
            let path = self.directory.path().join(file);
            text.push_str(&format!(
                "[[signal]]\nname = \"{name}\"\nservice = \"login\"\nfile = \"{}\"\nformat = \"nginx\"\nstart = \"beginning\"\n",
                path.display()
            ));
        }
        let config = Config::parse(&text, Path::new("/"), "test.toml");
        self.sources
            .apply(&config.unwrap_or_else(|mistakes| panic!("{mistakes}")));
    }

    fn write(&self, file: &str, lines: usize) {
        let path = self.directory.path().join(file);
        let mut file = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .unwrap();
        file.write_all(LINE.repeat(lines).as_bytes()).unwrap();
    }

    /// Waits for so many signals; by which sources they came.
    fn signals(&mut self, count: usize) -> BTreeMap<String, usize> {
        let mut found = BTreeMap::new();
        while found.values().sum::<usize>() < count {
            let batch = self.batches.blocking_recv().unwrap();
            assert!(batch.signals.iter().all(|signal| signal.service == 1));
            let source = batch.position.unwrap().source.to_string();
            *found.entry(source).or_default() += batch.signals.len();
        }
        found.retain(|_, count| *count > 0);
        found
    }

    fn lines(&self, name: &str) -> Option<u64> {
        let rows = self.sources.rows();
        rows.iter()
            .find(|row| row.name == name)
            .map(|row| row.lines)
    }
}

fn counted(of: &[(&str, usize)]) -> BTreeMap<String, usize> {
    of.iter()
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect()
}

#[test]
fn sources_come_change_and_go_without_losing_their_place() {
    let mut world = World::new();
    world.write("a.log", 2);
    world.apply(&[("a", "a.log")]);
    assert_eq!(world.signals(2), counted(&[("a", 2)]));
    // Another comes; the first is not disturbed.
    world.write("b.log", 3);
    world.write("a.log", 1);
    world.apply(&[("a", "a.log"), ("b", "b.log")]);
    assert_eq!(world.signals(4), counted(&[("a", 1), ("b", 3)]));
    assert_eq!(world.lines("a"), Some(3));
    // The first goes, and what is written meanwhile is there when it comes back.
    world.apply(&[("b", "b.log")]);
    assert_eq!(world.lines("a"), None);
    world.write("a.log", 4);
    world.write("b.log", 1);
    world.apply(&[("a", "a.log"), ("b", "b.log")]);
    // It may have been on its way out when they were written: each counts once all the same.
    assert_eq!(world.signals(5), counted(&[("a", 4), ("b", 1)]));
    // Another file under the same name is read from its own beginning.
    world.write("c.log", 5);
    world.apply(&[("a", "c.log"), ("b", "b.log")]);
    assert_eq!(world.signals(5), counted(&[("a", 5)]));
    world.sources.stop();
    assert!(
        world
            .batches
            .blocking_recv()
            .is_none_or(|batch| batch.signals.is_empty())
    );
}

#[test]
fn a_source_that_waits_for_detection_ends_all_the_same() {
    let mut world = World::new();
    // More batches than there is room for.
    world.write("a.log", 100_000);
    world.apply(&[("a", "a.log")]);
    world.signals(1);
    world.sources.stop();
}
