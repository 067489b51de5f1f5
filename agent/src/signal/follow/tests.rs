//! The follower on real files: every way in which logs are rotated, cut off, or in the way.

use std::{
    fs::{self, OpenOptions, Permissions},
    io::Write as _,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::{PermissionsExt as _, symlink},
};

use tempfile::TempDir;
use tokio::sync::mpsc;

use super::{batches::FOUND_MAX, rotation::TICK, *};
use crate::{
    control::EventFeed,
    detection::Batch,
    policy::signal::PseudonymKey,
    signal::{
        JsonFields, JsonLines, Maker, Words,
        tally::{ABSENT, FOLLOWING},
    },
};

/// A directory with a log, and an agent that follows it.
pub(super) struct World {
    pub(super) directory: TempDir,
    pub(super) path: PathBuf,
    pub(super) follower: Option<Follower>,
    tally: Tally,
    feed: EventFeed,
    batches: mpsc::Receiver<Batch>,
    /// What has come and is not yet on disk.
    pub(super) waiting: VecDeque<Batch>,
    /// What is on disk: lines, and the position behind them.
    pub(super) kept: Vec<u32>,
    cursor: Option<Vec<u8>>,
    start: SignalStart,
}

/// A line of the log; its number is in the client's address.
pub(super) fn line(number: u32) -> String {
    let client = Ipv4Addr::from(0x0a00_0000 | number);
    format!("{{\"time\":1795279668,\"client\":\"{client}\",\"outcome\":\"failure\"}}\n")
}

impl World {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("access.log");
        Self::at(directory, path)
    }

    pub(super) fn at(directory: TempDir, path: PathBuf) -> Self {
        let feed = EventFeed::new(100, 0);
        let tally = Tally::new("access log", Clock::new(), feed.clone());
        Self {
            directory,
            path,
            follower: None,
            tally,
            feed,
            batches: mpsc::channel(1).1,
            waiting: VecDeque::new(),
            kept: Vec::new(),
            cursor: None,
            start: SignalStart::End,
        }
    }

    /// Starts an agent that knows what is on disk.
    pub(super) fn start(&mut self) {
        let (intake, batches) = Intake::new();
        self.batches = batches;
        let maker = Maker {
            key: PseudonymKey::new(1, 2),
            service: 0,
        };
        let fields = JsonFields::parse("", Words::default()).unwrap();
        let log = Log {
            source: Arc::from("access log"),
            path: self.path.clone(),
            start: self.start,
            clock: Clock::new(),
            tally: self.tally.clone(),
        };
        let format = Box::new(JsonLines::new(maker, fields, 0));
        let cursor = self.cursor.as_deref();
        self.follower = Some(Follower::new(log, cursor, intake, format));
    }

    /// Ends it at once: of what waits, only the first `kept` batches got to disk.
    pub(super) fn kill(&mut self, kept: usize) {
        self.receive();
        self.follower = None;
        for batch in self.waiting.drain(..).take(kept) {
            let numbers = batch.signals.iter().map(|signal| match signal.client {
                IpAddr::V4(address) => u32::from(address) & 0x00ff_ffff,
                IpAddr::V6(_) => panic!("all are IPv4"),
            });
            self.kept.extend(numbers);
            self.cursor = batch.position.map(|position| position.cursor);
        }
        self.waiting.clear();
    }

    pub(super) async fn look(&mut self) {
        if let Some(follower) = &mut self.follower {
            follower.look().await;
        }
        self.receive();
    }

    fn receive(&mut self) {
        while let Ok(batch) = self.batches.try_recv() {
            self.waiting.push_back(batch);
        }
    }

    /// Everything that was found up to now, in order.
    async fn found(&mut self) -> Vec<u32> {
        self.look().await;
        let follower = self.follower.take();
        let batches = std::mem::replace(&mut self.batches, mpsc::channel(1).1);
        self.kill(usize::MAX);
        self.follower = follower;
        self.batches = batches;
        self.kept.clone()
    }

    pub(super) fn append(&self, name: &str, text: &str) {
        let path = self.directory.path().join(name);
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn write(&self, numbers: std::ops::RangeInclusive<u32>) {
        numbers.for_each(|number| self.append("access.log", &line(number)));
    }

    pub(super) fn rename(&self, from: &str, to: &str) {
        let directory = self.directory.path();
        fs::rename(directory.join(from), directory.join(to)).unwrap();
    }

    pub(super) fn copytruncate(&self, to: &str) {
        fs::copy(&self.path, self.directory.path().join(to)).unwrap();
        OpenOptions::new()
            .write(true)
            .open(&self.path)
            .unwrap()
            .set_len(0)
            .unwrap();
    }

    pub(super) fn compress(&self, from: &str, to: &str) {
        let directory = self.directory.path();
        let text = fs::read(directory.join(from)).unwrap();
        let modified = fs::metadata(directory.join(from))
            .unwrap()
            .modified()
            .unwrap();
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(&text).unwrap();
        let target = File::create(directory.join(to)).unwrap();
        (&target).write_all(&packed.finish().unwrap()).unwrap();
        target.set_modified(modified).unwrap();
        fs::remove_file(directory.join(from)).unwrap();
    }

    fn restart(&mut self) {
        self.kill(usize::MAX);
        self.start();
    }

    fn events(&self) -> String {
        self.feed.recent(100).join("\n")
    }
}

fn upto(last: u32) -> Vec<u32> {
    (1..=last).collect()
}

#[tokio::test]
async fn what_was_there_before_is_past_and_a_line_being_written_is_read_whole() {
    let mut world = World::new();
    world.write(1..=3);
    let (first, second) = (line(4), line(5));
    world.append("access.log", &first[..10]);
    world.start();
    assert!(world.found().await.is_empty());
    world.append("access.log", &first[10..]);
    world.append("access.log", &second[..20]);
    assert_eq!(world.found().await, [4]);
    world.append("access.log", &second[20..]);
    assert_eq!(world.found().await, [4, 5]);
}

#[tokio::test]
async fn a_log_may_be_read_from_its_beginning() {
    let mut world = World::new();
    world.start = SignalStart::Beginning;
    world.write(1..=3);
    world.start();
    assert_eq!(world.found().await, upto(3));
    world.restart();
    world.write(4..=4);
    assert_eq!(world.found().await, upto(4));
}

#[tokio::test]
async fn a_file_that_is_not_there_is_waited_for() {
    let mut world = World::new();
    world.start();
    assert!(world.found().await.is_empty());
    assert_eq!(world.tally.row().state, ABSENT);
    world.write(1..=2);
    assert_eq!(world.found().await, upto(2), "from its first line");
    assert_eq!(world.tally.row().state, FOLLOWING);
    assert_eq!(world.events(), "");
}

#[tokio::test]
async fn renamed_and_created_anew() {
    let mut world = World::new();
    world.start();
    world.write(1..=3);
    world.look().await;
    world.write(4..=5);
    world.rename("access.log", "access.log.1");
    assert_eq!(world.found().await, upto(5), "the rest of the old one");
    // Its writer has not noticed yet.
    world.append("access.log.1", &line(6));
    world.write(7..=8);
    let late = line(10);
    world.append("access.log.1", &late[..5]);
    assert_eq!(world.found().await, [1, 2, 3, 4, 5, 6, 7, 8]);
    world.append("access.log.1", &late[5..]);
    world.write(9..=9);
    world.rename("access.log.1", "access.log.2");
    let mut found = world.found().await;
    found.sort_unstable();
    assert_eq!(found, upto(10));
}

#[tokio::test]
async fn rotated_twice_between_two_looks() {
    let mut world = World::new();
    world.start();
    world.write(1..=3);
    world.look().await;
    world.write(4..=5);
    world.rename("access.log", "access.log.1");
    world.write(6..=7);
    world.rename("access.log.1", "access.log.2");
    world.rename("access.log", "access.log.1");
    world.write(8..=9);
    assert_eq!(world.found().await, upto(9));
}

#[tokio::test]
async fn copied_and_cut_off() {
    let mut world = World::new();
    world.start();
    world.write(1..=30);
    world.look().await;
    world.write(31..=35);
    world.copytruncate("access.log.1");
    world.write(36..=37);
    assert_eq!(world.found().await, upto(37));
    // More than before is there already when it is noticed.
    world.rename("access.log.1", "access.log.2");
    world.copytruncate("access.log.1");
    world.write(38..=90);
    assert_eq!(world.found().await, upto(90));
    assert_eq!(world.events(), "");
}

#[tokio::test]
async fn an_empty_file_that_was_written_to_copied_and_cut_off() {
    let mut world = World::new();
    world.append("access.log", "");
    world.start();
    world.look().await;
    world.write(1..=2);
    world.copytruncate("access.log.1");
    assert_eq!(world.found().await, upto(2));
    // The same with half a line that was seen before, and more than that afterwards.
    world.copytruncate("access.log.2");
    world.look().await;
    let text = line(3);
    world.append("access.log", &text[..10]);
    world.look().await;
    world.append("access.log", &text[10..]);
    world.copytruncate("access.log.3");
    world.write(4..=9);
    assert_eq!(world.found().await, upto(9));
    assert_eq!(world.events(), "");
}

#[tokio::test]
async fn cut_off_under_a_writer_that_goes_on_at_its_old_place() {
    let mut world = World::new();
    let mut writer = File::create(&world.path).unwrap();
    world.start();
    writer.write_all(line(1).as_bytes()).unwrap();
    world.look().await;
    world.copytruncate("access.log.1");
    writer.write_all(line(2).as_bytes()).unwrap();
    assert_eq!(
        world.found().await,
        upto(2),
        "the hole is no part of the line"
    );
    assert_eq!(world.tally.row().rejected.len(), 0);
}

#[tokio::test]
async fn cut_off_without_a_copy_is_said() {
    let mut world = World::new();
    world.start();
    world.write(1..=3);
    world.look().await;
    fs::write(&world.path, line(4)).unwrap();
    assert_eq!(world.found().await, upto(4));
    assert!(
        world.events().contains("was cut off behind byte"),
        "{}",
        world.events()
    );
}

#[tokio::test]
async fn a_link_that_is_switched() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("current");
    let mut world = World::at(directory, path.clone());
    let switch = |to: &str| {
        let _ = fs::remove_file(&path);
        symlink(to, &path).unwrap();
    };
    world.append("app-20261120.log", "");
    switch("app-20261120.log");
    world.start();
    world.append("app-20261120.log", &line(1));
    world.look().await;
    world.append("app-20261120.log", &line(2));
    world.append("app-20261121.log", &line(3));
    world.append("app-20261122.log", &line(4));
    switch("app-20261122.log");
    assert_eq!(world.found().await, upto(4));
    world.restart();
    world.append("app-20261122.log", &line(5));
    world.append("app-20261123.log", &line(6));
    switch("app-20261123.log");
    assert_eq!(world.found().await, upto(6));
}

#[tokio::test]
async fn rotated_while_nobody_looked() {
    let mut world = World::new();
    world.start();
    world.write(1..=3);
    world.look().await;
    world.write(4..=5);
    world.kill(usize::MAX);
    // logrotate with delaycompress, three times.
    world.write(6..=7);
    world.rename("access.log", "access.log.1");
    world.write(8..=9);
    world.compress("access.log.1", "access.log.2.gz");
    world.rename("access.log", "access.log.1");
    world.write(10..=11);
    world.rename("access.log.2.gz", "access.log.3.gz");
    world.compress("access.log.1", "access.log.2.gz");
    world.rename("access.log", "access.log.1");
    world.write(12..=13);
    world.start();
    assert_eq!(world.found().await, upto(13));
    assert_eq!(world.events(), "");
}

#[tokio::test]
async fn old_rotated_files_are_left_alone() {
    let mut world = World::new();
    world.append("access.log.1", &line(100));
    world.append("access.log.2", &line(101));
    world.compress("access.log.2", "access.log.2.gz");
    std::thread::sleep(3 * TICK);
    world.write(1..=2);
    world.start = SignalStart::Beginning;
    world.start();
    assert_eq!(world.found().await, upto(2));
    world.restart();
    world.rename("access.log.1", "access.log.3");
    world.rename("access.log", "access.log.1");
    world.write(3..=3);
    assert_eq!(world.found().await, upto(3));
}

#[tokio::test]
async fn cut_off_while_nobody_looked() {
    let mut world = World::new();
    world.start();
    world.write(1..=3);
    world.look().await;
    world.kill(usize::MAX);
    world.write(4..=5);
    world.copytruncate("access.log.1");
    world.write(6..=40);
    world.start();
    assert_eq!(world.found().await, upto(40));
}

#[tokio::test]
async fn a_file_that_is_gone_after_a_restart_is_said() {
    let mut world = World::new();
    world.start();
    world.write(1..=3);
    world.look().await;
    world.kill(usize::MAX);
    fs::remove_file(&world.path).unwrap();
    world.write(4..=4);
    world.start();
    assert_eq!(world.found().await, upto(4));
    assert!(world.events().contains("is gone"), "{}", world.events());
}

#[tokio::test]
async fn a_copy_in_its_place_is_read_on_where_the_old_one_was() {
    let mut world = World::new();
    world.start();
    world.write(1..=3);
    world.look().await;
    fs::copy(&world.path, world.directory.path().join("edited")).unwrap();
    world.rename("edited", "access.log");
    world.write(4..=4);
    assert_eq!(world.found().await, upto(4));
    world.kill(usize::MAX);
    fs::copy(&world.path, world.directory.path().join("restored")).unwrap();
    fs::remove_file(&world.path).unwrap();
    world.rename("restored", "access.log");
    world.write(5..=5);
    world.start();
    assert_eq!(world.found().await, upto(5));
}

#[tokio::test]
async fn another_file_under_the_same_name_of_the_source_begins_anew() {
    let mut world = World::new();
    world.start();
    world.write(1..=3);
    world.look().await;
    world.kill(usize::MAX);
    world.path = world.directory.path().join("other.log");
    world.append("other.log", &line(50));
    world.start();
    world.append("other.log", &line(4));
    assert_eq!(world.found().await, upto(4));
    assert_eq!(world.events(), "");
}

#[tokio::test]
async fn what_is_in_the_way_is_said_and_its_end_too() {
    let mut world = World::new();
    world.start();
    world.write(1..=2);
    world.look().await;
    world.rename("access.log", "access.log.1");
    fs::create_dir(&world.path).unwrap();
    assert_eq!(world.found().await, upto(2));
    let row = world.tally.row();
    assert_eq!(row.state, "failing");
    assert!(
        row.last_error
            .unwrap()
            .ends_with("access.log is a directory")
    );
    fs::remove_dir(&world.path).unwrap();
    world.write(3..=4);
    assert_eq!(world.found().await, upto(4));
    assert_eq!(world.tally.row().state, FOLLOWING);
    let events = world.events();
    assert!(events.contains("system.signal_source.fail"), "{events}");
    assert!(events.contains("system.signal_source.recover"), "{events}");
}

#[tokio::test]
async fn what_cannot_be_opened_is_read_once_it_can() {
    let mut world = World::new();
    // A link to itself cannot be opened by anybody, not even by root.
    symlink("access.log", &world.path).unwrap();
    world.start();
    world.look().await;
    assert_eq!(world.tally.row().state, "failing");
    fs::remove_file(&world.path).unwrap();
    world.write(1..=1);
    fs::set_permissions(&world.path, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(world.found().await, upto(1));
}

#[tokio::test]
async fn bad_lines_are_counted_and_named_and_cost_no_memory() {
    let mut world = World::new();
    world.start();
    world.look().await;
    world.append("access.log", &line(1));
    let long = "x".repeat(1 << 20);
    world.append("access.log", &format!("{long}\n"));
    let at = fs::metadata(&world.path).unwrap().len();
    let mut file = OpenOptions::new().append(true).open(&world.path).unwrap();
    file.write_all(b"\x7fELF\0\x02\xff\n\xff\xfe{\"time\"\n")
        .unwrap();
    world.append(
        "access.log",
        "{\"time\":1,\"outcome\":\"failure\",\"client\":\"nobody\"}\n",
    );
    // Time goes backwards, a name is in Latin-1.
    file.write_all(
        b"{\"time\":5,\"client\":\"10.0.0.2\",\"outcome\":\"failure\",\"user\":\"J\xfcrgen\"}\n",
    )
    .unwrap();
    assert_eq!(world.found().await, upto(2));
    let row = world.tally.row();
    assert_eq!((row.lines, row.signals), (6, 2));
    let expected = [
        ("holds binary data", 1),
        ("is longer than 65536 bytes", 1),
        ("is not valid JSON", 1),
        ("the client is no IP address", 1),
    ];
    let expected = expected.map(|(reason, count)| (reason.to_owned(), count));
    assert_eq!(row.rejected, expected.into_iter().collect());
    let (place, reason) = row
        .last_rejected
        .as_ref()
        .unwrap()
        .split_once(": ")
        .unwrap();
    assert_eq!(reason, "the client is no IP address");
    let byte: u64 = place.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(byte > at, "{place}");
}

#[tokio::test]
async fn many_signals_come_in_several_batches_each_with_its_position() {
    let mut world = World::new();
    world.start();
    let text: String = (1..=3_000).map(line).collect();
    world.append("access.log", &text);
    world.look().await;
    assert!(world.waiting.len() >= 3, "{}", world.waiting.len());
    assert!(
        world
            .waiting
            .iter()
            .all(|batch| batch.signals.len() <= FOUND_MAX)
    );
    // After any of them the next agent goes on behind it.
    world.kill(2);
    world.start();
    world.look().await;
    world.kill(usize::MAX);
    assert_eq!(world.kept, upto(3_000));
}

#[tokio::test]
async fn following_notices_by_itself() {
    let mut world = World::new();
    world.start();
    let follower = world.follower.take().unwrap();
    let running = tokio::spawn(follower.run());
    let mut found = 0;
    for round in 0..4 {
        world.write(round * 2 + 1..=round * 2 + 2);
        while found < round as usize * 2 + 2 {
            let batch = world.batches.recv().await.expect("the follower goes on");
            found += batch.signals.len();
        }
        world.rename("access.log", &format!("access.log.{}", 9 - round));
    }
    running.abort();
    assert_eq!(found, 8);
}
