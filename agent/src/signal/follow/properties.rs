//! Whatever is done to a log, and whenever the agent is killed: every line is found exactly once.

use std::{fs::OpenOptions, io::Write as _};

use super::{
    tests::{World, line},
    *,
};
use crate::policy::random::Random;

/// A program that writes the log, as logrotate finds it.
struct Writer {
    file: File,
    next: u32,
    /// What is left to write of a line.
    rest: Vec<u8>,
}

impl Writer {
    fn open(path: &Path) -> Self {
        Self {
            file: append(path),
            next: 1,
            rest: Vec::new(),
        }
    }

    fn lines(&mut self, count: u64) {
        for _ in 0..count {
            self.finish();
            self.file.write_all(line(self.next).as_bytes()).unwrap();
            self.next += 1;
        }
    }

    fn half_a_line(&mut self, random: &mut Random) {
        self.finish();
        let text = line(self.next);
        let at = usize::try_from(random.below(text.len() as u64)).unwrap();
        let (now, later) = text.as_bytes().split_at(at);
        self.file.write_all(now).unwrap();
        self.rest = later.to_vec();
        self.next += 1;
    }

    fn finish(&mut self) {
        self.file
            .write_all(&std::mem::take(&mut self.rest))
            .unwrap();
    }
}

fn append(path: &Path) -> File {
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .unwrap()
}

/// `access.log.1` becomes `access.log.2`, and so on; whatever is compressed stays so.
fn shift(world: &World) {
    for number in (1..40).rev() {
        for end in ["", ".gz"] {
            let name = |number: u32| format!("access.log.{number}{end}");
            if world.directory.path().join(name(number)).exists() {
                world.rename(&name(number), &name(number + 1));
            }
        }
    }
}

/// One thing that happens to a log. Copies that are cut off come only between whole lines: what is written between
/// the copy and the cut is lost to everybody.
fn happen(
    world: &World,
    writer: &mut Writer,
    random: &mut Random,
    agent_runs: bool,
) -> &'static str {
    match random.below(12) {
        0..=4 => {
            writer.lines(1 + random.below(4));
            "lines\n"
        }
        5 => {
            writer.half_a_line(random);
            "half a line\n"
        }
        6 => {
            writer.finish();
            "the other half\n"
        }
        7 | 8 => {
            shift(world);
            world.rename("access.log", "access.log.1");
            // A writer that is told late, or goes on with its line in the old file.
            if random.below(2) == 0 {
                writer.lines(random.below(3));
            }
            writer.finish();
            writer.file = append(&world.path);
            "rename\n"
        }
        9 => {
            writer.finish();
            shift(world);
            world.copytruncate("access.log.1");
            "copytruncate\n"
        }
        10 => {
            writer.lines(random.below(40));
            "many lines\n"
        }
        // As with delaycompress: nobody writes to the second any more.
        _ => {
            let packed = world.directory.path().join("access.log.2.gz");
            if !agent_runs
                && !packed.exists()
                && world.directory.path().join("access.log.2").exists()
            {
                world.compress("access.log.2", "access.log.2.gz");
            }
            "compress\n"
        }
    }
}

async fn history(seed: u64) {
    let mut random = Random::new(seed);
    let mut world = World::new();
    let mut writer = Writer::open(&world.path);
    let mut runs = true;
    world.start();
    world.look().await;
    world.kill(usize::MAX);
    world.start();
    let mut told = String::new();
    for _ in 0..random.below(60) {
        told.push_str(&format!(
            "next {} kept {} waiting {}: ",
            writer.next,
            world.kept.len(),
            world.waiting.len()
        ));
        match random.below(8) {
            0 if runs => {
                let kept = random.below(world.waiting.len() as u64 + 1);
                world.kill(usize::try_from(kept).unwrap());
                told.push_str(&format!("kill, {kept} kept\n"));
                runs = false;
            }
            0 | 1 if !runs => {
                told.push_str("start\n");
                world.start();
                runs = true;
            }
            2..=4 if runs => {
                told.push_str("look\n");
                world.look().await;
            }
            _ => told.push_str(happen(&world, &mut writer, &mut random, runs)),
        }
    }
    writer.finish();
    if !runs {
        world.start();
    }
    world.look().await;
    world.look().await;
    world.kill(usize::MAX);
    let mut found = std::mem::take(&mut world.kept);
    found.sort_unstable();
    let written: Vec<u32> = (1..writer.next).collect();
    assert!(found == written, "seed {seed}\n{told}\n{found:?}");
}

#[tokio::test]
async fn every_line_is_found_exactly_once() {
    // EDGEWARD_HISTORIES=5000 for a longer walk.
    let histories = std::env::var("EDGEWARD_HISTORIES").ok();
    let histories = histories.and_then(|text| text.parse().ok());
    for seed in 0..histories.unwrap_or(100) {
        history(seed).await;
    }
}
