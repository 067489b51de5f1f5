//! Events of proxied requests, bounded under a flood: one client that is refused over and over makes one
//! event a while, and every refusal names the event that stands for it.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use super::{Head, Via};
use crate::{
    control::EventFeed,
    policy::{request::Reason, snapshot::Snapshot},
};

/// Makes events and remembers which stand for what.
#[derive(Debug)]
pub(super) struct Events {
    feed: EventFeed,
    running: Mutex<Running>,
    per_second_max: AtomicU32,
}

/// Which event stands for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    client: IpAddr,
    service: usize,
    reason: Option<Reason>,
    enforced: bool,
}

#[derive(Debug, Default)]
struct Running {
    /// Of each, its event and when it was made.
    events: HashMap<Key, (String, u64)>,
    /// The event that stands for whatever has no room, and when it was made.
    flood: Option<(String, u64)>,
    /// The second in which events are counted, and how many it has had.
    second: u64,
    sent: u32,
    /// Held back since the last event.
    suppressed: u64,
    swept_ms: u64,
    totals: EventTotals,
}

/// For `status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct EventTotals {
    pub(super) sent: u64,
    pub(super) suppressed: u64,
}

/// What is said of a request.
pub(super) struct Said<'a> {
    pub(super) head: &'a Head<'a>,
    pub(super) ruling: &'a crate::policy::request::Ruling,
    pub(super) reason: Option<Reason>,
    pub(super) limit: Option<&'a str>,
    pub(super) enforced: bool,
}

impl Events {
    pub(super) fn new(feed: EventFeed, per_second_max: u32) -> Self {
        Self {
            feed,
            running: Mutex::default(),
            per_second_max: AtomicU32::new(per_second_max),
        }
    }

    /// From the next event on; nobody waits for the others to see it.
    pub(super) fn set_per_second_max(&self, per_second_max: u32) {
        self.per_second_max.store(per_second_max, Relaxed);
    }

    /// Makes an event, or finds the one that already stands for the request; its id.
    pub(super) fn say(&self, snapshot: &Snapshot, said: &Said<'_>, now_ms: u64) -> String {
        let key = Key {
            client: said.ruling.chain.client,
            service: said.head.facts.service,
            reason: said.reason,
            enforced: said.enforced,
        };
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = running.standing(&key, now_ms) {
            return id;
        }
        let id = self.feed.ids().next(now_ms);
        let flood = !running.admit(key, &id, now_ms, self.per_second_max.load(Relaxed));
        let suppressed = std::mem::take(&mut running.suppressed);
        running.totals.sent = running.totals.sent.saturating_add(1);
        // Under the lock, so that nobody quotes an id before its event is there to be found.
        let line = line(snapshot, said, &id, now_ms, suppressed, flood);
        self.feed.push(line);
        id
    }

    pub(super) fn totals(&self) -> EventTotals {
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .totals
    }
}

impl Running {
    /// The event that stands for `key`, if there is one that is recent enough or if there is room for no more.
    fn standing(&mut self, key: &Key, now_ms: u64) -> Option<String> {
        let recent = |made: u64| now_ms.saturating_sub(made) < REPEAT_MS;
        let own = self.events.get(key).filter(|(_, made)| recent(*made));
        let found = match own {
            Some((id, _)) => Some(id.clone()),
            None => {
                let (id, made) = self.flood.as_ref()?;
                (now_ms / 1_000 == made / 1_000).then(|| id.clone())
            }
        }?;
        self.suppressed = self.suppressed.saturating_add(1);
        self.totals.suppressed = self.totals.suppressed.saturating_add(1);
        Some(found)
    }

    /// Takes note of a new event; says whether it is one of its own, not that of a flood.
    fn admit(&mut self, key: Key, id: &str, now_ms: u64, per_second_max: u32) -> bool {
        if self.second != now_ms / 1_000 {
            self.second = now_ms / 1_000;
            self.sent = 0;
        }
        self.sent = self.sent.saturating_add(1);
        if self.events.len() >= CLIENTS_MAX && self.swept_ms / 1_000 != self.second {
            self.swept_ms = now_ms;
            self.events
                .retain(|_, (_, made)| now_ms.saturating_sub(*made) < REPEAT_MS);
        }
        let room = self.events.len() < CLIENTS_MAX || self.events.contains_key(&key);
        // The last event of a second's budget stands for all that follow in it.
        if room && self.sent < per_second_max.max(1) {
            self.events.insert(key, (id.to_owned(), now_ms));
            return true;
        }
        self.flood = Some((id.to_owned(), now_ms));
        false
    }
}

fn line(
    snapshot: &Snapshot,
    said: &Said<'_>,
    id: &str,
    now_ms: u64,
    suppressed: u64,
    flood: bool,
) -> serde_json::Value {
    let (head, ruling) = (said.head, said.ruling);
    let entry = (ruling.score > 0)
        .then(|| snapshot.class(ruling.class))
        .flatten();
    let service = snapshot.services.get(head.facts.service);
    let text = |bytes: &[u8]| shortened(&String::from_utf8_lossy(bytes));
    serde_json::json!({
        "time": now_ms,
        "id": id,
        "event": kind(said),
        "outcome": match (said.enforced, said.reason) {
            (false, _) => "ALLOW",
            (true, Some(Reason::RateLimit)) => "RATE_LIMIT",
            (true, _) => "DENY",
        },
        "verdict": ruling.verdict,
        "reason": said.reason.map(Reason::name),
        "enforced": said.enforced,
        "client": ruling.chain.client,
        "client_reason": ruling.chain.reason,
        "ip_chain": ruling.chain.addresses,
        "source": head.facts.peer,
        "service": service.map(|service| service.name.as_str()),
        "via": head.via.name(),
        "method": shortened(head.method),
        "host": head.host.map(shortened),
        "path": shortened(head.facts.path),
        "user_agent": head.facts.user_agent.map(text),
        "score": (ruling.score > 0 && ruling.score <= 100).then_some(ruling.score),
        "origin": entry.map(|(origin, _)| origin.name()),
        "detail": said.limit.or(entry.map(|(_, name)| name)),
        "suppressed": suppressed,
        "stands_for_others": flood,
    })
}

fn kind(said: &Said<'_>) -> &'static str {
    match said.reason {
        Some(Reason::BlockedZone | Reason::RestrictedOrigin | Reason::ClientUnknown) => {
            "security.request.blocked"
        }
        Some(Reason::RateLimit) if said.enforced => "system.client.rate_limit.violation",
        Some(Reason::RateLimit) => "system.client.rate_limit.notification",
        Some(Reason::Reputation) => "security.threat.detected",
        None => "security.request.client_unknown",
    }
}

/// At most so much of what a client chose goes into an event.
fn shortened(text: &str) -> String {
    if text.len() <= TEXT_BYTES_MAX {
        return text.to_owned();
    }
    let mut end = TEXT_BYTES_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", text.get(..end).unwrap_or_default())
}

impl Via {
    pub(crate) const ALL: [Self; 3] = [Self::Gateway, Self::Endpoint, Self::Observe];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Endpoint => "endpoint",
            Self::Observe => "observe",
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

/// As the kernel's: the same outcome of the same source again after about eight seconds.
const REPEAT_MS: u64 = 8_000;
/// Clients whose events are remembered.
const CLIENTS_MAX: usize = 8_192;
const TEXT_BYTES_MAX: usize = 512;
