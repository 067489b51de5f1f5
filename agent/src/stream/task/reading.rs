//! Reads the log ahead of what is sent.

use std::sync::Arc;

use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::Instant,
};
use tracing::warn;

use super::{
    super::fetch::{Fetched, fetch},
    Task, UNREAD,
};

impl Task {
    /// Reads on if there is room and it is time: a batch is full, or its first event has waited long enough.
    pub(super) fn read_ahead(&mut self, now: Instant, wake: &mut Instant) {
        let committed = *self.committed.borrow_and_update();
        let pending = committed.saturating_sub(self.delivery.read());
        if pending == 0 {
            self.waiting = None;
            return;
        }
        let (events_max, bytes_max) = (self.stream.batch_events_max, self.stream.batch_bytes_max);
        let (mut events, mut bytes) = (0_usize, 0_usize);
        for item in self.delivery.queue() {
            events = events.saturating_add(1);
            bytes = bytes.saturating_add(item.bytes);
        }
        if events >= events_max.saturating_mul(2) || bytes >= bytes_max.saturating_mul(2) {
            return;
        }
        if now < self.read_at {
            *wake = self.read_at.min(*wake);
            return;
        }
        let fitting = (bytes_max / self.event_bytes.max(1)).clamp(1, events_max);
        let since = *self.waiting.get_or_insert(now);
        let is_full = pending >= u64::try_from(fitting).unwrap_or(u64::MAX);
        let flush_at = since + self.stream.flush;
        if !is_full && now < flush_at {
            *wake = flush_at.min(*wake);
            return;
        }
        self.waiting = None;
        let (recipe, from) = (self.recipe.clone(), self.delivery.read());
        let reading = Arc::clone(&self.wiring.reading);
        self.fetching = Some((
            from,
            tokio::spawn(async move {
                let turn = reading.acquire_owned().await;
                let work = spawn_blocking(move || {
                    let _turn = turn;
                    fetch(&recipe, from, fitting, bytes_max)
                });
                work.await.unwrap_or_else(|error| Err(error.to_string()))
            }),
        ));
    }

    pub(super) async fn loaded(&mut self, from: u64, fetched: Result<Fetched, String>) {
        let fetched = match fetched {
            Ok(fetched) if from == self.delivery.read() => fetched,
            // The stream has gone somewhere else meanwhile.
            Ok(_) => return,
            Err(error) => {
                warn!(stream = %self.stream.name, "the log cannot be read: {error}");
                self.read_at = Instant::now() + UNREAD;
                self.teller
                    .show(|state| state.error = Some(format!("cannot read the log: {error}")));
                return;
            }
        };
        let Fetched {
            first,
            read,
            items,
            filtered,
            unfit,
        } = fetched;
        let bytes = items
            .iter()
            .fold(0_usize, |sum, item| sum.saturating_add(item.bytes));
        if let Some(average) = bytes.checked_div(items.len()) {
            self.event_bytes = average.max(1);
        }
        let upto = read.as_ref().map_or(from, |mark| mark.seq);
        let gap = self.delivery.load(first, items, upto);
        if gap > 0 {
            self.place.count(0, gap);
            let total = self.place.cursor.gap;
            self.teller.gap(
                gap,
                total,
                "events were no longer kept when they were to be sent",
            );
        }
        if let Some(mark) = read {
            self.place.read(mark);
        } else if gap == 0 {
            // Nothing, though there should have been something: not asked again at once.
            self.read_at = Instant::now() + UNREAD;
        }
        if filtered > 0 {
            self.teller
                .show(|state| state.filtered = state.filtered.saturating_add(filtered));
        }
        self.bury(unfit).await;
        self.settle();
    }
}

pub(super) async fn fetched(
    task: &mut Option<(u64, JoinHandle<Result<Fetched, String>>)>,
) -> (u64, Result<Fetched, String>) {
    match task {
        Some((from, task)) => {
            let fetched = task.await.unwrap_or_else(|error| Err(error.to_string()));
            (*from, fetched)
        }
        None => std::future::pending().await,
    }
}
