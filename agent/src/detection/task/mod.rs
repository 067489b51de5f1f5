//! The thread: takes batches, orders and time, in that order.

mod orders;

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval},
};
use tracing::{error, info, warn};

use super::{
    Order, Wiring,
    core::{Attempt, Core, Counts, Entry},
    evidence,
    intake::Batch,
    journal::Journal,
    people::People,
    reading_up::ReadingUp,
    seen::Seen,
};
use crate::{
    keeper::{Detected, Work},
    policy::{defence::Decided, reputation::Scope, signal::Signal},
    threads::Stopped,
};

/// Everything that the thread owns.
pub(super) struct Task {
    core: Core,
    journal: Journal,
    wiring: Wiring,
    told: watch::Sender<Arc<Report>>,
    people: People,
    seen: Seen,
    /// Refusals by their end: what is left of a reputation is enforced then.
    ends: BinaryHeap<Reverse<(u64, Scope)>>,
    report: Report,
    /// Why the log took something not: said once, and so until the state has been written as a whole, which the log
    /// then lacks nothing of.
    log_fails: Option<String>,
    /// A checkpoint that failed is not tried again before, milliseconds since the epoch.
    save_after_ms: u64,
    reading_up: ReadingUp,
}

/// What detection is at, for `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// Sums over the life of the state.
    pub(crate) counts: Counts,
    /// Signals of exempt clients, trusted proxies and this host itself, since the agent's start.
    pub(crate) spared: u64,
    /// Signals whose time lay in the future, since the agent's start; they counted as of now.
    pub(crate) early: u64,
    /// Reputations that began since the agent's start.
    pub(crate) detected: u64,
    /// Batches that could not be written down, since the agent's start.
    pub(crate) unsaved: u64,
    /// Why they could not, until everything is written down again.
    pub(crate) failing: Option<String>,
    /// Sources that are remembered.
    pub(crate) sources: u64,
    /// Entries that gave way for want of room.
    pub(crate) displaced: u64,
    /// Attempts that only a simulated detection would have refused, since the agent's start.
    pub(crate) simulated: u64,
    /// What the operator should know.
    pub(crate) warnings: Vec<String>,
}

impl Task {
    pub(super) fn new(
        core: Core,
        mut journal: Journal,
        wiring: Wiring,
        told: watch::Sender<Arc<Report>>,
    ) -> Self {
        let warnings = journal.notice().into_iter().collect();
        let people = People::new(wiring.suspects.clone());
        let reading_up = ReadingUp::begin(wiring.clock.now().wall_ms);
        let seen = Seen::new(wiring.feed.clone());
        Self {
            core,
            journal,
            wiring,
            people,
            seen,
            told,
            ends: BinaryHeap::new(),
            report: Report {
                warnings,
                ..Report::default()
            },
            log_fails: None,
            save_after_ms: 0,
            reading_up,
        }
    }

    /// What an earlier agent had found and the keeper may not have written down.
    async fn restore(&mut self) {
        self.refresh();
        let now = self.now_ms();
        let standing: Vec<Decided> = self.core.defence().standing_now(now).collect();
        standing
            .iter()
            .for_each(|decided| self.people.decided(decided, now));
        for part in standing.chunks(RESTORED_AT_ONCE) {
            let found = part
                .iter()
                .filter_map(|decided| self.describe(decided, now, ""));
            let found = found.map(|detected| Detected {
                silent: true,
                ..detected
            });
            let found = found.collect();
            self.ends.extend(part.iter().map(end));
            self.hand_over(found).await;
        }
    }

    async fn take(&mut self, batch: Batch) {
        let now = self.now_ms();
        let snapshot = Arc::clone(&self.wiring.snapshot.borrow());
        let mut attempts = Vec::with_capacity(batch.signals.len());
        let at = self.wiring.clock.now();
        for mut signal in batch.signals {
            // This host itself: the gateway, where a log behind it does not name the client.
            if signal.client.is_loopback() || snapshot.is_spared(signal.client, at) {
                self.report.spared += 1;
                continue;
            }
            if signal.time_ms > now.saturating_add(EARLY_MS_MAX) {
                signal.time_ms = now;
                self.report.early += 1;
            }
            let service = snapshot.services.get(usize::from(signal.service));
            let service = service.map(|service| service.name.as_str());
            self.seen.note(&signal, service, now);
            signal.asn = self.wiring.geo.asn(signal.client);
            attempts.push(Attempt {
                listed: snapshot.would_refuse(signal.client, at),
                signal,
            });
        }
        if batch.position.is_some()
            && let Some(newest_ms) = attempts.iter().map(|one| one.signal.time_ms).max()
        {
            self.reading_up.read(newest_ms, now);
        }
        let position = batch
            .position
            .map(|position| (position.source.to_string(), position.cursor));
        let found = self.count(&Entry::Batch(attempts, position), now);
        if let Some(taken) = batch.taken {
            // Whoever waited may be gone.
            let _ = taken.send(());
        }
        self.hand_over(found).await;
    }

    /// Writes an entry down and counts it; what is to be enforced.
    fn count(&mut self, entry: &Entry, now: u64) -> Vec<Detected> {
        if let Err(error) = self.journal.append(entry) {
            self.report.unsaved += 1;
            if self.log_fails.is_none() {
                error!(%error, "what detection learns cannot be written down; it goes on without");
                self.log_fails = Some(error.to_string());
            }
        }
        let mut begun: Vec<(Decided, u16)> = Vec::new();
        if let Entry::Batch(attempts, _) = entry {
            attempts
                .iter()
                .for_each(|attempt| self.people.seen(&attempt.signal));
        }
        self.core.apply(entry, |signal: &Signal, decided| {
            begun.push((*decided, signal.service))
        });
        let mut found = Vec::new();
        for (decided, service) in begun {
            self.people.decided(&decided, now);
            self.report.detected += 1;
            self.ends.push(end(&decided));
            found.extend(self.describe(&decided, now, &self.service(service)));
        }
        found
    }

    fn service(&self, index: u16) -> String {
        let snapshot = self.wiring.snapshot.borrow();
        let service = snapshot.services.get(usize::from(index));
        service.map_or_else(String::new, |service| service.name.clone())
    }

    fn describe(&self, decided: &Decided, now: u64, service: &str) -> Option<Detected> {
        evidence::detected(self.core.defence(), decided, now, service)
    }

    /// After a refusal its source is slowed for a while, by what is left of its score.
    async fn ends(&mut self) {
        let now = self.now_ms();
        let limit = self.core.defence().settings().limit_score;
        let mut found = Vec::new();
        while let Some(Reverse((at, _))) = self.ends.peek()
            && *at <= now
        {
            let Some(Reverse((until_ms, scope))) = self.ends.pop() else {
                break;
            };
            let Some(standing) = self.core.defence().standing_of(scope) else {
                continue;
            };
            // Found anew meanwhile, or faded.
            if standing.until_ms != until_ms || standing.score(now) < limit {
                continue;
            }
            let until_ms = standing.faded_below_ms(limit);
            let decided = Decided { scope, standing };
            found.extend(self.describe(&decided, now, "").map(|detected| Detected {
                until_ms,
                silent: true,
                ..detected
            }));
        }
        self.hand_over(found).await;
    }

    /// Who is at home, once a day.
    fn refresh(&mut self) {
        let now = self.now_ms();
        self.people.refresh(self.core.defence(), now);
    }

    async fn hand_over(&self, found: Vec<Detected>) {
        if !found.is_empty() && self.wiring.work.send(Work::Detected(found)).await.is_err() {
            warn!("detections have nowhere to go: the keeper has ended");
        }
    }

    fn tell(&mut self) {
        let (sources, displaced) = self.core.defence().fill();
        self.report.counts = self.core.counts();
        (self.report.sources, self.report.displaced) = (sources, displaced);
        self.report.simulated = self.core.defence().simulated();
        self.report.failing.clone_from(&self.log_fails);
        let report = &self.report;
        self.told.send_if_modified(|told| {
            let news = **told != *report;
            if news {
                *told = Arc::new(report.clone());
            }
            news
        });
    }

    /// Writes the state down when its log has become long.
    fn save(&mut self, log_bytes_max: u64) {
        if self.journal.log_bytes() <= log_bytes_max && self.log_fails.is_none() {
            return;
        }
        // Everything is written anew: on a disk that refuses, not five times a second. The last try is at the end.
        let now = self.now_ms();
        if now < self.save_after_ms && log_bytes_max > 0 {
            return;
        }
        match self.journal.checkpoint(&self.core) {
            Ok(()) => {
                if self.log_fails.take().is_some() {
                    info!("what detection has learned is written down again, without a gap");
                }
            }
            Err(error) => {
                self.save_after_ms = now.saturating_add(SAVE_AGAIN_MS);
                warn!(%error, "what detection has learned cannot be written down as a whole");
            }
        }
    }

    fn now_ms(&self) -> u64 {
        self.wiring.clock.now().wall_ms
    }
}

/// Works until it is told to stop; then counts what has come in, and writes everything down.
pub(super) async fn run(
    mut task: Task,
    mut batches: mpsc::Receiver<Batch>,
    mut orders: mpsc::Receiver<Order>,
    mut stopped: Stopped,
) {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    task.restore().await;
    task.restore_attacks().await;
    let mut sources = true;
    loop {
        tokio::select! {
            biased;
            () = &mut stopped => break,
            Some(order) = orders.recv() => task.obey(order).await,
            _ = tick.tick() => {
                task.ends().await;
                let now = task.now_ms();
                task.core.tick(now, task.reading_up.is_over(now));
                task.seen.tick(now, false);
                task.attacks(None, None).await;
                task.refresh();
                task.save(LOG_BYTES_MAX);
                task.tell();
            }
            batch = batches.recv(), if sources => match batch {
                Some(batch) => task.take(batch).await,
                None => sources = false,
            },
        }
    }
    while let Ok(batch) = batches.try_recv() {
        task.take(batch).await;
    }
    task.seen.tick(task.now_ms(), true);
    task.save(0);
}

fn end(decided: &Decided) -> Reverse<(u64, Scope)> {
    Reverse((decided.standing.until_ms, decided.scope))
}

const TICK: Duration = Duration::from_millis(200);
/// How far ahead of this host's clock another's may be.
const EARLY_MS_MAX: u64 = 5 * 60_000;
/// A log of this length is read back in about three seconds.
const LOG_BYTES_MAX: u64 = 64 << 20;
/// Between two tries to write the whole state down.
const SAVE_AGAIN_MS: u64 = 10_000;
const RESTORED_AT_ONCE: usize = 4_096;
