//! The logs that are followed: each by a thread of its own, so that one on a file system that hangs, or one with a
//! backlog, keeps no other waiting. A reload starts, ends and changes them, and their places stay.

use std::{
    collections::BTreeMap,
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;
use tracing::{error, warn};

use super::{
    Maker,
    follow::{Follower, Log},
    journal::Journal,
    tally::Tally,
};
use crate::{
    clock::Clock,
    config::{Config, SignalPlace, SignalSource},
    control::{EventFeed, report::SignalRow},
    detection::Intake,
    policy::signal::PseudonymKey,
    privileges, threads,
};

/// What sources need of the rest of the agent.
#[derive(Clone)]
pub(crate) struct Wiring {
    pub(crate) intake: Intake,
    pub(crate) key: PseudonymKey,
    pub(crate) clock: Clock,
    pub(crate) feed: EventFeed,
}

/// The logs that are followed.
pub(crate) struct Sources {
    wiring: Wiring,
    /// Where each source had got to when the agent started.
    kept: BTreeMap<String, Vec<u8>>,
    /// Of every source that was ever configured while the agent runs: its books, and where it has got to.
    tallies: BTreeMap<String, Tally>,
    running: Vec<Running>,
    /// Threads that were told to end, by the name of their source.
    ending: BTreeMap<String, JoinHandle<()>>,
}

/// One source at work. Dropping `stop` ends it.
struct Running {
    wanted: Wanted,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// What a source is to do.
#[derive(Clone, PartialEq, Eq)]
struct Wanted {
    source: SignalSource,
    service: u16,
}

impl Sources {
    /// Nothing is followed yet. `kept` is where each source had got to.
    pub(crate) fn new(wiring: Wiring, kept: BTreeMap<String, Vec<u8>>) -> Self {
        Self {
            wiring,
            kept,
            tallies: BTreeMap::new(),
            running: Vec::new(),
            ending: BTreeMap::new(),
        }
    }

    /// Follows what the configuration says. What has not changed goes on undisturbed. Threads inherit the privileges
    /// of the caller.
    pub(crate) fn apply(&mut self, config: &Config) {
        let wanted: Vec<Wanted> = config
            .signals
            .iter()
            .map(|source| Wanted::of(source, config))
            .collect();
        for running in std::mem::take(&mut self.running) {
            if wanted.contains(&running.wanted) && !running.thread.is_finished() {
                self.running.push(running);
            } else {
                drop(running.stop);
                self.ending
                    .insert(running.wanted.source.name, running.thread);
            }
        }
        self.ending.retain(|_, thread| !thread.is_finished());
        for wanted in wanted {
            if self.running.iter().all(|running| running.wanted != wanted) {
                self.start(wanted);
            }
        }
    }

    /// For `status`.
    pub(crate) fn rows(&self) -> Vec<SignalRow> {
        self.running
            .iter()
            .filter_map(|running| self.tallies.get(&running.wanted.source.name))
            .map(Tally::row)
            .collect()
    }

    /// Ends them all, and waits a little until they have.
    pub(crate) fn stop(mut self) {
        for running in self.running {
            drop(running.stop);
            self.ending
                .insert(running.wanted.source.name, running.thread);
        }
        let began = Instant::now();
        while self.ending.values().any(|thread| !thread.is_finished()) {
            if began.elapsed() > ENDING_MAX {
                warn!("a log that is being read does not let go; it is left behind");
                return;
            }
            thread::sleep(LOOK);
        }
    }

    fn start(&mut self, wanted: Wanted) {
        let name = &wanted.source.name;
        let place = match &wanted.source.place {
            SignalPlace::File(path) => path.display().to_string(),
            SignalPlace::Journal(units) => format!("journal of {}", units.join(", ")),
        };
        let (wiring, kept) = (&self.wiring, &mut self.kept);
        let tally = self.tallies.entry(name.clone()).or_insert_with(|| {
            let tally = Tally::new(name, wiring.clock, wiring.feed.clone());
            if let Some(cursor) = kept.remove(name) {
                tally.reached(cursor);
            }
            tally
        });
        tally.located(place);
        let (stop, stopped) = oneshot::channel();
        let former = self.ending.remove(name);
        let (own, source) = (tally.clone(), wanted.clone());
        let wiring = wiring.clone();
        let spawned = thread::Builder::new()
            .name("signal source".to_owned())
            .spawn(move || {
                // Two at a time would read the same lines; what the former panicked of is in the log.
                if let Some(former) = former {
                    let _ = former.join();
                }
                let followed = privileges::drop_all()
                    .and_then(|()| Ok(source.follow(&wiring, &own, stopped)?));
                if let Err(error) = followed {
                    own.failing(&format!("cannot be followed: {error}"));
                }
            });
        match spawned {
            Ok(thread) => self.running.push(Running {
                wanted,
                stop,
                thread,
            }),
            Err(error) => {
                error!(%error, source = name, "no thread to follow it");
                tally.failing(&format!("there is no thread to follow it: {error}"));
            }
        }
    }
}

impl Wanted {
    fn of(source: &SignalSource, config: &Config) -> Self {
        let name = source.service.as_ref();
        let service = name.and_then(|name| {
            let known = &config.services;
            known.iter().position(|service| service.name == *name)
        });
        Self {
            source: source.clone(),
            service: service
                .and_then(|index| u16::try_from(index).ok())
                .unwrap_or_default(),
        }
    }

    fn follow(
        &self,
        wiring: &Wiring,
        tally: &Tally,
        stopped: oneshot::Receiver<()>,
    ) -> io::Result<()> {
        let maker = Maker {
            key: wiring.key.clone(),
            service: self.service,
        };
        let format = self.source.recipe.reader(maker, wiring.clock.now().wall_ms);
        let source: Arc<str> = Arc::from(self.source.name.as_str());
        let runtime = threads::single_threaded()?;
        let kept = tally.place();
        runtime.block_on(async {
            let following = async {
                match &self.source.place {
                    SignalPlace::File(path) => {
                        let log = Log {
                            source,
                            path: path.clone(),
                            start: self.source.start,
                            clock: wiring.clock,
                            tally: tally.clone(),
                        };
                        let intake = wiring.intake.clone();
                        Follower::new(log, kept.as_deref(), intake, format)
                            .run()
                            .await
                    }
                    SignalPlace::Journal(units) => {
                        let journal = Journal {
                            source,
                            units: units.clone(),
                            clock: wiring.clock,
                            tally: tally.clone(),
                            intake: wiring.intake.clone(),
                            format,
                            cursor: Journal::cursor(kept.as_deref()),
                        };
                        journal.run().await
                    }
                }
            };
            tokio::select! {
                biased;
                // An error says that the sender is gone, which is the signal.
                _ = stopped => {}
                never = following => match never {},
            }
        });
        Ok(())
    }
}

/// How long sources may take to end once the agent stops.
const ENDING_MAX: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests;
