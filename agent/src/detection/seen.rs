//! Sign-ins that were seen, as events of the System Log: one by one as long as that is bearable, gathered with a count
//! beyond that. The counts add up to the signals.

use std::{collections::HashMap, net::IpAddr};

use serde_json::json;

use crate::{
    control::EventFeed,
    policy::signal::{Flow, Outcome, Signal},
};

/// Tells of sign-ins.
pub(super) struct Seen {
    feed: EventFeed,
    /// In the present second.
    second: u64,
    told: u32,
    /// In the present window.
    window_ms: u64,
    singles: HashMap<Key, u32>,
    gathered: HashMap<Key, Gathered>,
}

/// Sign-ins that are gathered into one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    /// None for whatever found no room by its address.
    client: Option<IpAddr>,
    service: u16,
    flow: Flow,
    outcome: Outcome,
}

#[derive(Debug)]
struct Gathered {
    count: u64,
    first_ms: u64,
    last_ms: u64,
    service: Option<String>,
}

impl Seen {
    pub(super) fn new(feed: EventFeed) -> Self {
        Self {
            feed,
            second: 0,
            told: 0,
            window_ms: 0,
            singles: HashMap::new(),
            gathered: HashMap::new(),
        }
    }

    /// A sign-in, and the name of its service.
    pub(super) fn note(&mut self, signal: &Signal, service: Option<&str>, now_ms: u64) {
        if self.second != now_ms / 1_000 {
            (self.second, self.told) = (now_ms / 1_000, 0);
        }
        let mut key = Key {
            client: Some(signal.client),
            service: signal.service,
            flow: signal.flow,
            outcome: signal.outcome,
        };
        if self.told < SECOND_MAX && self.is_single(key) {
            self.told += 1;
            self.tell(&key, service, signal.time_ms, Some(signal), None);
            return;
        }
        if self.gathered.len() >= GATHERED_MAX && !self.gathered.contains_key(&key) {
            key.client = None;
        }
        let gathered = self.gathered.entry(key).or_insert_with(|| Gathered {
            count: 0,
            first_ms: signal.time_ms,
            last_ms: signal.time_ms,
            service: service.map(str::to_owned),
        });
        gathered.count = gathered.count.saturating_add(1);
        gathered.first_ms = gathered.first_ms.min(signal.time_ms);
        gathered.last_ms = gathered.last_ms.max(signal.time_ms);
    }

    /// Ends a window; at the end of everything, `last`, whatever its age.
    pub(super) fn tick(&mut self, now_ms: u64, last: bool) {
        if now_ms < self.window_ms.saturating_add(WINDOW_MS) && !last {
            return;
        }
        self.window_ms = now_ms;
        self.singles.clear();
        for (key, gathered) in std::mem::take(&mut self.gathered) {
            self.tell(
                &key,
                gathered.service.as_deref(),
                gathered.last_ms,
                None,
                Some(&gathered),
            );
        }
    }

    /// Of one source few failures are told one by one, of its successes more: an office has many.
    fn is_single(&mut self, key: Key) -> bool {
        let single_max = if key.outcome.failed() {
            FAILURES_SINGLE_MAX
        } else {
            SUCCESSES_SINGLE_MAX
        };
        if self.singles.len() >= SINGLES_MAX && !self.singles.contains_key(&key) {
            return false;
        }
        let count = self.singles.entry(key).or_insert(0);
        *count = count.saturating_add(1);
        *count <= single_max
    }

    fn tell(
        &self,
        key: &Key,
        service: Option<&str>,
        time_ms: u64,
        signal: Option<&Signal>,
        gathered: Option<&Gathered>,
    ) {
        let event = match key.flow {
            Flow::SignIn => "user.session.start",
            Flow::Recovery => "user.account.reset_password",
            Flow::Enrolment => "user.lifecycle.create",
        };
        let (outcome, reason) = match key.outcome {
            Outcome::Success => ("SUCCESS", None),
            Outcome::Failure => ("FAILURE", Some("INVALID_CREDENTIALS")),
            Outcome::UnknownUser => ("FAILURE", Some("VERIFICATION_ERROR")),
            Outcome::Challenge => ("CHALLENGE", None),
        };
        let user = signal.and_then(|signal| signal.user);
        let mut facts = json!({
            "event": event,
            "time": time_ms,
            "client": key.client,
            "service": service,
            "outcome": outcome,
            "reason": reason,
            "sign_in": key.outcome.name(),
            "user": user.map(|user| self.feed.names().call(user)),
        });
        if let (Some(gathered), Some(facts)) = (gathered, facts.as_object_mut()) {
            facts.insert("count".to_owned(), gathered.count.into());
            facts.insert("first_seen".to_owned(), gathered.first_ms.into());
            facts.insert("last_seen".to_owned(), gathered.last_ms.into());
        }
        self.feed.keep(facts);
    }
}

/// Told one by one in a second, on the whole.
const SECOND_MAX: u32 = 5_000;
/// For how long sign-ins are gathered into one event.
const WINDOW_MS: u64 = 60_000;
/// Of one source, service and outcome in a window, one by one.
const FAILURES_SINGLE_MAX: u32 = 20;
const SUCCESSES_SINGLE_MAX: u32 = 1_000;
const SINGLES_MAX: usize = 65_536;
const GATHERED_MAX: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Journal, JournalSettings};

    #[test]
    fn the_counts_add_up_to_the_signals() {
        let dir = tempfile::tempdir().expect("a directory");
        let settings = JournalSettings {
            retention_ms: u64::MAX,
            ..JournalSettings::default()
        };
        let journal = Journal::at(dir.path(), settings).expect("a log");
        let feed = EventFeed::new(10, 0);
        feed.keep_in(journal.log());
        let mut seen = Seen::new(feed.clone());
        let total = 60_000_u32;
        for number in 0..total {
            let failed = number.is_multiple_of(2);
            let signal = Signal {
                time_ms: u64::from(number) / 30,
                client: IpAddr::from((0x0a00_0000 + number % 25_000).to_be_bytes()),
                service: 0,
                flow: Flow::SignIn,
                outcome: if failed {
                    Outcome::Failure
                } else {
                    Outcome::Success
                },
                user: None,
                agent: None,
                asn: None,
            };
            seen.note(&signal, Some("login"), signal.time_ms);
        }
        seen.tick(2_000, true);
        let reader = journal.log().reader();
        assert_eq!(feed.log().map(|log| log.report()["lost"]), Some(0));
        // It writes everything before it ends.
        journal.stop();
        let (mut counted, mut events, mut after) = (0, 0, 0);
        loop {
            let page = reader.after(after, 1_000, 1 << 22).expect("read");
            let Some(last) = page.last() else { break };
            after = last.seq;
            events += page.len();
            let count = |entry: &crate::journal::Entry| {
                entry.facts.get("count").and_then(|count| count.as_u64())
            };
            counted += page
                .iter()
                .map(|entry| count(entry).unwrap_or(1))
                .sum::<u64>();
        }
        assert_eq!(counted, u64::from(total));
        assert!(events < 60_000, "{events} events");
        assert!(feed.recent(10).is_empty(), "who follows is spared them");
    }
}
