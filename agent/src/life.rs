//! How the agent before this one ended, and which version it was: said in the System Log by the one that follows.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde_json::json;
use tracing::warn;

use crate::control::EventFeed;

/// A note in the state directory that says which version runs, and whether it does.
#[derive(Debug)]
pub(crate) struct Life {
    path: PathBuf,
}

impl Life {
    /// Tells what the former agent's note says, and writes this one's.
    pub(crate) fn begin(state_dir: &Path, feed: &EventFeed, now_ms: u64) -> Self {
        let life = Self {
            path: state_dir.join(FILE),
        };
        let note = fs::read_to_string(&life.path).unwrap_or_default();
        let mut words = note.split_whitespace();
        let (version, state) = (words.next(), words.next());
        if state == Some(RUNNING) {
            feed.push(json!({
                "event": "system.agent.crash", "time": now_ms, "actor": ACTOR, "version": version,
                "why": "the former agent was killed or ended by an error; what the kernel held was enforced",
            }));
        }
        if let Some(version) = version.filter(|version| *version != VERSION) {
            feed.push(json!({
                "event": "system.agent.upgrade", "time": now_ms, "actor": ACTOR, "from": version, "to": VERSION,
            }));
        }
        life.write(RUNNING);
        life
    }

    /// It ended as it should.
    pub(crate) fn end(&self) {
        self.write(STOPPED);
    }

    fn write(&self, state: &str) {
        let written = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&self.path)
            .and_then(|mut file| writeln!(file, "{VERSION} {state}"));
        if let Err(error) = written {
            warn!(%error, "how this agent ends cannot be noted; the next one cannot say it");
        }
    }
}

const FILE: &str = "agent";
const VERSION: &str = env!("CARGO_PKG_VERSION");
const RUNNING: &str = "running";
const STOPPED: &str = "stopped";
const ACTOR: &str = "edgeward";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_agent_says_how_the_former_ended() {
        let dir = tempfile::tempdir().expect("a directory");
        let told = || {
            let feed = EventFeed::new(10, 0);
            let life = Life::begin(dir.path(), &feed, 1);
            let lines = feed.recent(10);
            let event =
                |line: &str| -> serde_json::Value { serde_json::from_str(line).expect("JSON") };
            let events: Vec<String> = lines
                .iter()
                .map(|line| event(line)["event"].to_string())
                .collect();
            (life, events)
        };
        assert!(told().1.is_empty(), "a first start");
        let (life, events) = told();
        assert_eq!(events, ["\"system.agent.crash\""]);
        life.end();
        assert!(told().1.is_empty());
        fs::write(dir.path().join(FILE), "0.0.1 stopped\n").expect("written");
        assert_eq!(told().1, ["\"system.agent.upgrade\""]);
    }
}
