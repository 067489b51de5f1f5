//! Where events are put: a bounded ring of the latest for `edgeward events`, a broadcast for who follows, and the System
//! Log.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use serde_json::Value;
use tokio::sync::broadcast;

use crate::{
    journal::{Facts, Ids, Log},
    policy::names::Names,
};

/// Events on their way to everybody: those who ask for the latest, those who follow, and the System Log.
#[derive(Clone, Debug)]
pub struct EventFeed {
    ring: Arc<Mutex<VecDeque<Arc<str>>>>,
    kept_max: usize,
    sender: broadcast::Sender<Arc<str>>,
    ids: Arc<Ids>,
    log: Arc<OnceLock<Log>>,
    names: Arc<Names>,
}

impl EventFeed {
    /// A feed that keeps the last `kept_max` events for later readers. The ids that it gives differ from those of
    /// another feed if the seeds do.
    #[must_use]
    pub fn new(kept_max: usize, seed: u64) -> Self {
        Self {
            ring: Arc::new(Mutex::new(VecDeque::new())),
            kept_max,
            sender: broadcast::Sender::new(FOLLOWED_QUEUED_MAX),
            ids: Arc::new(Ids::new(seed)),
            log: Arc::default(),
            names: Arc::default(),
        }
    }

    /// From now on every event goes to the System Log too, those first that there were before.
    pub(crate) fn keep_in(&self, log: Log) {
        let ring = self.ring();
        for line in ring.iter() {
            if let Ok(Value::Object(facts)) = serde_json::from_str(line) {
                log.put(&facts, line);
            }
        }
        // There is one log, and it is told once. Under the lock, so that each event gets there exactly once.
        drop(self.log.set(log));
    }

    /// The System Log, once it is at work.
    pub(crate) fn log(&self) -> Option<&Log> {
        self.log.get()
    }

    /// The names of users, if events are to tell them.
    pub(crate) fn names(&self) -> &Arc<Names> {
        &self.names
    }

    /// What makes the ids of events.
    pub(crate) fn ids(&self) -> Arc<Ids> {
        Arc::clone(&self.ids)
    }

    /// Adds an event: an object with at least `time` (milliseconds since the Unix epoch) and `event`. It gets an `id` if
    /// it has none. Never waits: a follower that is too slow is told how many it lost.
    pub fn push(&self, event: Value) {
        let Some((event, line)) = self.identified(event) else {
            return;
        };
        let mut ring = self.ring();
        if let Some(log) = self.log.get() {
            log.put(&event, &line);
        }
        if self.kept_max > 0 {
            while ring.len() >= self.kept_max {
                ring.pop_front();
            }
            ring.push_back(Arc::clone(&line));
        }
        // Under the lock, so that `subscribe` sees every event exactly once. No receiver is no error.
        drop(self.sender.send(line));
    }

    /// Adds an event for the System Log alone: there can be many of them, and who follows wants to see the others.
    pub(crate) fn keep(&self, event: Value) {
        if let (Some(log), Some((event, line))) = (self.log.get(), self.identified(event)) {
            log.put(&event, &line);
        }
    }

    fn identified(&self, event: Value) -> Option<(Facts, Arc<str>)> {
        let Value::Object(mut facts) = event else {
            tracing::error!("an event is no object: {event}");
            return None;
        };
        if !facts.contains_key("id") {
            let time = facts
                .get("time")
                .and_then(Value::as_u64)
                .unwrap_or_default();
            facts.insert("id".to_owned(), self.ids.next(time).into());
        }
        let event = Value::Object(facts);
        let line = event.to_string().into();
        match event {
            Value::Object(facts) => Some((facts, line)),
            _ => None,
        }
    }

    /// The last `limit` events, oldest first.
    #[must_use]
    pub fn recent(&self, limit: usize) -> Vec<Arc<str>> {
        last(&self.ring(), limit)
    }

    /// The last `limit` events and a receiver of all that follow, with none lost or doubled in between.
    #[must_use]
    pub fn subscribe(&self, limit: usize) -> (Vec<Arc<str>>, broadcast::Receiver<Arc<str>>) {
        let ring = self.ring();
        (last(&ring, limit), self.sender.subscribe())
    }

    fn ring(&self) -> MutexGuard<'_, VecDeque<Arc<str>>> {
        // The ring is whole at every moment: a panic elsewhere leaves nothing half done in it.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn last(ring: &VecDeque<Arc<str>>, limit: usize) -> Vec<Arc<str>> {
    ring.iter()
        .skip(ring.len().saturating_sub(limit))
        .cloned()
        .collect()
}

/// How far a follower may fall behind before it loses events.
pub const FOLLOWED_QUEUED_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::EventFeed;

    #[test]
    fn the_ring_keeps_the_latest_in_order() {
        let feed = EventFeed::new(3, 0);
        for number in 0..5 {
            feed.push(json!({ "time": number, "event": "test", "id": number.to_string() }));
        }
        let texts = |lines: Vec<std::sync::Arc<str>>| -> Vec<u64> {
            let value = |line: &str| serde_json::from_str::<Value>(line).expect("JSON");
            lines
                .iter()
                .map(|line| value(line)["time"].as_u64().expect("a time"))
                .collect()
        };
        assert_eq!(texts(feed.recent(10)), [2, 3, 4]);
        assert_eq!(texts(feed.recent(2)), [3, 4]);
        let (past, mut coming) = feed.subscribe(1);
        feed.push(json!({ "time": 5, "event": "test" }));
        assert_eq!(texts(past), [4]);
        let line = coming.try_recv().expect("an event");
        let event: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(event["id"].as_str().map(str::len), Some(36), "{event}");
    }
}
