//! Outcomes that applications report to an endpoint: from the body of a call to signals that are on disk.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

use super::{
    Maker, Told,
    ids::{Ids, Known, Written},
    reported::{self, REPORTED_MAX, Reported, Unreadable},
    tally::{Read, Tally},
};
use crate::{
    clock::Clock,
    config::{Endpoint, Listen, Profile},
    control::{EventFeed, report::SignalRow},
    detection::{BATCH_SIGNALS_MAX, Batch, Intake, Position},
    policy::{
        clock::Now,
        signal::{PseudonymKey, Signal},
    },
};

/// Takes reports. Cheap to clone; shared by all endpoints.
#[derive(Clone)]
pub(crate) struct Outcomes(Arc<Inner>);

struct Inner {
    /// How long a caller waits for the disk.
    patience: Duration,
    clock: Clock,
    feed: EventFeed,
    open: OnceLock<Open>,
    desks: Mutex<BTreeMap<String, Arc<Desk>>>,
}

/// Set once detection is there.
struct Open {
    intake: Intake,
    key: PseudonymKey,
    /// The ids that each endpoint had counted last.
    kept: BTreeMap<String, Vec<u8>>,
}

/// One endpoint's books.
struct Desk {
    source: Arc<str>,
    tally: Tally,
    ids: Mutex<Ids>,
}

/// What surrounds the body of a call.
pub(crate) struct Call<'a> {
    pub(crate) endpoint: &'a Endpoint,
    /// The place of a service in the configuration, by its name.
    pub(crate) service: &'a (dyn Fn(&str) -> Option<usize> + Sync),
    /// Whom the call's own headers name as the client, or why they name nobody.
    pub(crate) client: &'a (dyn Fn() -> Result<IpAddr, String> + Sync),
}

/// What became of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Everything in it was dealt with, and what was accepted is on disk.
    Done(Dealt),
    /// It cannot be read.
    Unreadable(Unreadable),
    /// Detection is behind, or not there yet: to be repeated as it is.
    Busy,
}

/// How the signals of a call were dealt with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dealt {
    pub(crate) accepted: usize,
    /// Their ids were there before.
    pub(crate) duplicates: usize,
    /// By their place in the call, from 0.
    pub(crate) rejected: Vec<(usize, String)>,
}

impl Outcomes {
    pub(crate) fn new(clock: Clock, feed: EventFeed) -> Self {
        Self::patient(clock, feed, WRITTEN_MAX)
    }

    fn patient(clock: Clock, feed: EventFeed, patience: Duration) -> Self {
        Self(Arc::new(Inner {
            patience,
            clock,
            feed,
            open: OnceLock::new(),
            desks: Mutex::default(),
        }))
    }

    /// From now on reports are taken. `kept` is where each source had got to.
    pub(crate) fn open(&self, intake: Intake, key: PseudonymKey, kept: &BTreeMap<String, Vec<u8>>) {
        let kept = kept
            .iter()
            .filter(|(source, _)| source.starts_with(SOURCE))
            .map(|(source, cursor)| (source.clone(), cursor.clone()))
            .collect();
        // A second time would change nothing; the agent opens it once.
        let _ = self.0.open.set(Open { intake, key, kept });
    }

    /// The clocks that reports are dated by.
    pub(crate) fn now(&self) -> Now {
        self.0.clock.now()
    }

    /// For `status`: endpoints for applications, and others that were called.
    pub(crate) fn rows(&self, endpoints: &[Endpoint]) -> Vec<SignalRow> {
        let desks = lock(&self.0.desks);
        let row = |endpoint: &Endpoint| match desks.get(&endpoint.name) {
            Some(desk) => Some(desk.tally.row()),
            None => (endpoint.profile == Profile::Signals).then(|| SignalRow {
                name: endpoint.name.clone(),
                place: place(endpoint),
                state: OPEN.to_owned(),
                ..SignalRow::default()
            }),
        };
        endpoints.iter().filter_map(row).collect()
    }

    /// Deals with one call. What it says was accepted is on disk then.
    pub(crate) async fn take(&self, call: &Call<'_>, body: &[u8]) -> Answer {
        let Some(open) = self.0.open.get() else {
            return Answer::Busy;
        };
        let desk = self.desk(call.endpoint, open);
        let reported = match reported::read(body) {
            Ok(reported) => reported,
            Err(unreadable) => {
                desk.tally.reject("a call", &unreadable.to_string());
                return Answer::Unreadable(unreadable);
            }
        };
        let mut dealt = Dealt::default();
        let mut found = Vec::new();
        for (index, one) in reported.into_iter().enumerate() {
            let made = one.map_err(|reason| reason.to_string()).and_then(|one| {
                self.signal(open, call, &one)
                    .map(|made| (id(open, &one), made))
            });
            match made {
                Ok(made) => found.push(made),
                Err(reason) => {
                    desk.tally
                        .reject(&format!("signal {index} of a call"), &reason);
                    dealt.rejected.push((index, reason));
                }
            }
        }
        self.hand_over(open, &desk, found, dealt).await
    }

    async fn hand_over(
        &self,
        open: &Open,
        desk: &Desk,
        found: Vec<(Option<u64>, Signal)>,
        mut dealt: Dealt,
    ) -> Answer {
        let written = Written::default();
        let (told, taken) = oneshot::channel();
        {
            // Under the lock, so that positions reach detection in the order of their ids.
            let mut ids = lock(&desk.ids);
            let mut new = Vec::new();
            let mut signals = Vec::new();
            for (id, signal) in found {
                match id.map(|id| (id, ids.get(id))) {
                    Some((_, Known::Counted)) => dealt.duplicates += 1,
                    // Another call has it in hand: whether it counts is not known yet.
                    Some((_, Known::Pending)) => return desk.busy(),
                    Some((id, Known::New)) if new.contains(&id) => dealt.duplicates += 1,
                    Some((id, Known::New)) => {
                        new.push(id);
                        signals.push(signal);
                    }
                    None => signals.push(signal),
                }
            }
            dealt.accepted = signals.len();
            if signals.is_empty() {
                desk.tally.called(dealt.duplicates as u64, 0);
                return Answer::Done(dealt);
            }
            let now = self.now().wall_ms;
            new.iter().for_each(|id| ids.add(*id, now, &written));
            let batch = Batch {
                signals,
                position: (!new.is_empty()).then(|| Position {
                    source: Arc::clone(&desk.source),
                    cursor: ids.cursor(),
                }),
                taken: Some(told),
            };
            if open.intake.try_put(batch).is_err() {
                ids.take_back(&new);
                return desk.busy();
            }
        }
        // Goes on when the caller does not wait any longer.
        let waiting = tokio::spawn(async move {
            let is_written = taken.await.is_ok();
            written.store(is_written, Relaxed);
            is_written
        });
        match timeout(self.0.patience, waiting).await {
            Ok(Ok(true)) => {
                desk.tally.add(Read {
                    lines: 1,
                    signals: dealt.accepted as u64,
                });
                desk.tally.called(dealt.duplicates as u64, 0);
                Answer::Done(dealt)
            }
            _ => desk.busy(),
        }
    }

    fn signal(&self, open: &Open, call: &Call<'_>, one: &Reported) -> Result<Signal, String> {
        let service = match &one.service {
            Some(name) => (call.service)(name).ok_or_else(|| {
                format!(
                    "there is no such service (\"{}\")",
                    crate::config::error::shown(name)
                )
            })?,
            None if call.endpoint.service.is_empty() => {
                return Err("`service` is missing, and the endpoint has none".to_owned());
            }
            None => (call.service)(&call.endpoint.service)
                .ok_or_else(|| "the endpoint's service is not there".to_owned())?,
        };
        let client = match one.client {
            Some(client) => client,
            None => (call.client)()?,
        };
        let maker = Maker {
            key: open.key.clone(),
            service: u16::try_from(service).unwrap_or_default(),
        };
        Ok(maker.signal(Told {
            time_ms: one.time_ms.unwrap_or_else(|| self.now().wall_ms),
            client,
            flow: one.flow,
            outcome: one.outcome,
            user: one.user.as_deref(),
            agent: one.user_agent.as_deref(),
            path: one.path.as_deref(),
        }))
    }

    fn desk(&self, endpoint: &Endpoint, open: &Open) -> Arc<Desk> {
        let mut desks = lock(&self.0.desks);
        if let Some(desk) = desks.get(&endpoint.name) {
            return Arc::clone(desk);
        }
        let source = format!("{SOURCE}{}", endpoint.name);
        let tally = Tally::new(&endpoint.name, self.0.clock, self.0.feed.clone());
        tally.located(place(endpoint));
        tally.well(OPEN);
        let kept = open.kept.get(&source);
        let ids = kept.map(|cursor| Ids::restored(cursor, self.now().wall_ms));
        let desk = Arc::new(Desk {
            source: Arc::from(source.as_str()),
            tally,
            ids: Mutex::new(ids.unwrap_or_default()),
        });
        desks.insert(endpoint.name.clone(), Arc::clone(&desk));
        desk
    }
}

impl Desk {
    fn busy(&self) -> Answer {
        self.tally.called(0, 1);
        Answer::Busy
    }
}

/// A keyed hash of an id: applications may put into it what their clients choose.
fn id(open: &Open, one: &Reported) -> Option<u64> {
    let id = one.id.as_ref()?;
    Some(open.key.agent(id.as_bytes(), ID_DOMAIN).bits())
}

fn place(endpoint: &Endpoint) -> String {
    match &endpoint.listen {
        Listen::Unix(path, _) => format!("unix:{}", path.display()),
        Listen::Tcp(address) => address.to_string(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in there is ever half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Positions of endpoints beside those of logs, whose names hold no control characters.
const SOURCE: &str = "endpoint\t";
/// Hashes of ids are not those of user agents.
const ID_DOMAIN: &[u8] = b"\0id of a reported signal";
/// In `status`.
const OPEN: &str = "open";
/// How long a caller waits for the disk.
const WRITTEN_MAX: Duration = Duration::from_secs(5);
const _: () = assert!(REPORTED_MAX <= BATCH_SIGNALS_MAX);

#[cfg(test)]
mod tests;
