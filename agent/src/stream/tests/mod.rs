//! Streams against receivers on this host that behave badly, and journals that do.

mod accounts;
mod lifecycle;
mod places;
mod receivers;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    source::{Entry, Source},
    *,
};
use crate::{
    config::StreamFormat,
    config::stream::{
        ClientTls, Framing, Place, Remote, StreamFile, StreamKind, StreamStart, Syslog, Transport,
        Webhook,
    },
};

/// A journal in memory.
pub(super) struct Memory {
    entries: Mutex<BTreeMap<u64, Entry>>,
    committed: watch::Sender<u64>,
}

impl Memory {
    pub(super) fn new(events: u64) -> Arc<Self> {
        let memory = Self {
            entries: Mutex::default(),
            committed: watch::Sender::new(0),
        };
        memory.commit(events);
        Arc::new(memory)
    }

    /// Adds events.
    pub(super) fn commit(&self, events: u64) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let from = *self.committed.borrow() + 1;
        for seq in from..from + events {
            entries.insert(seq, entry(seq, "a"));
        }
        drop(entries);
        self.committed.send_modify(|last| *last += events);
    }

    /// Retention.
    pub(super) fn keep_from(&self, oldest: u64) {
        let mut entries = self.entries.lock().unwrap();
        *entries = entries.split_off(&oldest);
    }
}

/// An event of the journal `of`.
pub(super) fn entry(seq: u64, of: &str) -> Entry {
    let id = format!("{of}-{seq:08}");
    let event = if seq.is_multiple_of(2) {
        "security.threat.detected"
    } else {
        "user.session.start"
    };
    let facts = json!({ "event": event, "time": 1_000 + seq, "id": id, "n": seq });
    let Value::Object(facts) = facts else {
        panic!("an object");
    };
    Entry {
        seq,
        id,
        published_ms: 1_000 + seq,
        facts,
    }
}

impl Source for Memory {
    fn after(&self, seq: u64, limit: usize, _bytes_max: usize) -> Result<Vec<Entry>, String> {
        let entries = self.entries.lock().unwrap();
        let committed = *self.committed.borrow();
        Ok(entries
            .range(seq + 1..=committed.max(seq + 1))
            .take(limit)
            .map(|(_, entry)| entry.clone())
            .collect())
    }

    fn committed(&self) -> watch::Receiver<u64> {
        self.committed.subscribe()
    }

    fn oldest(&self) -> u64 {
        let entries = self.entries.lock().unwrap();
        let next = *self.committed.borrow() + 1;
        entries.keys().next().copied().unwrap_or(next)
    }

    fn seq_at(&self, published_ms: u64) -> Result<u64, String> {
        let entries = self.entries.lock().unwrap();
        let found = entries
            .values()
            .find(|entry| entry.published_ms >= published_ms);
        let next = *self.committed.borrow() + 1;
        Ok(found.map_or(next, |entry| entry.seq))
    }
}

/// Streams at work over a journal.
pub(super) struct World {
    pub(super) streams: Streams,
    pub(super) journal: Arc<Memory>,
    pub(super) events: EventFeed,
    pub(super) board: Board,
    pub(super) plan: Vec<Stream>,
}

impl World {
    pub(super) fn start(dir: &Path, journal: &Arc<Memory>, plan: Vec<Stream>) -> Self {
        let events = EventFeed::new(1_000, 7);
        let board = Board::new(journal.committed());
        let wiring = Wiring {
            source: Arc::clone(journal) as Arc<dyn Source>,
            events: events.clone(),
            board: board.clone(),
            clock: Clock::new(),
        };
        let whole = Plan {
            streams: plan.clone(),
            actor: "uid 0".to_owned(),
        };
        Self {
            streams: Streams::start(dir, whole, wiring).unwrap(),
            journal: Arc::clone(journal),
            events,
            board,
            plan,
        }
    }

    pub(super) fn state(&self, name: &str) -> StreamState {
        let states = self.board.states(&self.plan, 0);
        states.into_iter().find(|state| state.name == name).unwrap()
    }

    /// Waits until something holds of a stream.
    pub(super) fn until(&self, name: &str, holds: impl Fn(&StreamState) -> bool) -> StreamState {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let state = self.state(name);
            if holds(&state) {
                return state;
            }
            assert!(Instant::now() < deadline, "{state:?}\n{:?}", self.told(""));
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until everything is settled.
    pub(super) fn settled(&self, name: &str) -> StreamState {
        self.until(name, |state| {
            state.settled == *self.journal.committed.borrow()
        })
    }

    pub(super) fn change(&mut self, plan: Vec<Stream>, actor: &str) {
        self.plan.clone_from(&plan);
        self.streams.orders().plan(Plan {
            streams: plan,
            actor: actor.to_owned(),
        });
    }

    pub(super) fn wish(&self, name: &str, what: What) -> Result<Value, Failure> {
        let (reply, answer) = oneshot::channel();
        let wish = Wish {
            name: name.to_owned(),
            actor: "uid 7".to_owned(),
            what,
            reply,
        };
        assert!(self.streams.orders().wish(wish).is_none());
        answer.blocking_recv().unwrap()
    }

    /// Events so far whose type ends like that.
    pub(super) fn told(&self, ending: &str) -> Vec<Value> {
        let all = self.events.recent(1_000);
        let events = all
            .iter()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        events
            .filter(|event| event["event"].as_str().unwrap().ends_with(ending))
            .collect()
    }
}

pub(super) fn stream(name: &str, kind: StreamKind) -> Stream {
    Stream {
        name: name.to_owned(),
        kind,
        format: StreamFormat::Okta,
        filter: None,
        enabled: true,
        from: StreamStart::Oldest,
        batch_events_max: 100,
        batch_bytes_max: 1 << 20,
        flush: Duration::from_millis(10),
        timeout: Duration::from_secs(2),
    }
}

pub(super) fn webhook(port: u16, secret_file: &Path) -> StreamKind {
    StreamKind::Webhook(Webhook {
        remote: Remote {
            uri: format!("http://127.0.0.1:{port}/hook?tenant=7")
                .parse()
                .unwrap(),
            tls: ClientTls::default(),
        },
        secret_files: vec![secret_file.to_path_buf()],
    })
}

pub(super) fn syslog(transport: Transport) -> StreamKind {
    StreamKind::Syslog(Syslog {
        transport,
        framing: Framing::OctetCounting,
        facility: 10,
        app_name: "edgeward".to_owned(),
        hostname: None,
        structured_data: None,
        message_bytes_max: 65_536,
        settle: Duration::from_millis(300),
    })
}

pub(super) fn tcp(port: u16) -> Transport {
    Transport::Tcp(Place {
        host: "127.0.0.1".to_owned(),
        port,
    })
}

pub(super) fn file(path: &Path) -> StreamKind {
    StreamKind::File(StreamFile {
        path: path.to_path_buf(),
        size_bytes_max: 1 << 30,
        kept_max: 1,
        rotate: true,
    })
}

/// A file with a webhook's secret.
pub(super) fn secret(dir: &Path) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = dir.join("hook.secret");
    std::fs::write(&path, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// The numbers of the events in lines of JSON.
pub(super) fn numbers(lines: &str) -> Vec<u64> {
    let of = |line: &str| -> u64 {
        let event: Value = serde_json::from_str(line).unwrap();
        number(&event)
    };
    lines.lines().map(of).collect()
}

/// The number that an event's id ends in.
pub(super) fn number(event: &Value) -> u64 {
    let id = event["uuid"].as_str().unwrap();
    id.rsplit('-').next().unwrap().parse().unwrap()
}
