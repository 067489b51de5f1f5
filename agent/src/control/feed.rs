//! The latest events for `edgeward events`: a bounded ring for what was, a broadcast for what comes.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::broadcast;

/// Event lines (JSON without a line's end), shared between whoever makes events and the control server.
#[derive(Clone, Debug)]
pub struct EventFeed {
    ring: Arc<Mutex<VecDeque<Arc<str>>>>,
    kept_max: usize,
    sender: broadcast::Sender<Arc<str>>,
}

impl EventFeed {
    /// A feed that keeps the last `kept_max` events for later readers.
    #[must_use]
    pub fn new(kept_max: usize) -> Self {
        Self {
            ring: Arc::new(Mutex::new(VecDeque::new())),
            kept_max,
            sender: broadcast::Sender::new(FOLLOWED_QUEUED_MAX),
        }
    }

    /// Adds an event. Never waits: a follower that is too slow is told how many it lost.
    pub fn push(&self, line: impl Into<Arc<str>>) {
        let line = line.into();
        let mut ring = self.ring();
        if self.kept_max > 0 {
            while ring.len() >= self.kept_max {
                ring.pop_front();
            }
            ring.push_back(Arc::clone(&line));
        }
        // Under the lock, so that `subscribe` sees every event exactly once. No receiver is no error.
        drop(self.sender.send(line));
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
    use super::EventFeed;

    #[test]
    fn the_ring_keeps_the_latest_in_order() {
        let feed = EventFeed::new(3);
        for number in 0..5 {
            feed.push(number.to_string());
        }
        let texts = |lines: Vec<std::sync::Arc<str>>| lines.join(",");
        assert_eq!(texts(feed.recent(10)), "2,3,4");
        assert_eq!(texts(feed.recent(2)), "3,4");
        let (past, mut coming) = feed.subscribe(1);
        feed.push("5");
        assert_eq!(texts(past), "4");
        assert_eq!(coming.try_recv().as_deref(), Ok("5"));
    }
}
