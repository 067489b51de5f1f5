//! The place of a stream: found at its start, shown as it moves, kept on disk.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::Instant,
};
use tracing::warn;

use super::{
    super::{
        board::StreamHealth,
        cursor,
        place::{Found, Place},
    },
    Task, UNREAD,
};

/// How often places are kept.
const KEEP: Duration = Duration::from_secs(1);

impl Task {
    pub(super) async fn find_place(&mut self) {
        loop {
            let (dir, stream) = (self.wiring.dir.clone(), Arc::clone(&self.stream));
            let source = Arc::clone(&self.wiring.source);
            let found = spawn_blocking(move || Place::find(&dir, &stream, &*source)).await;
            match found.unwrap_or_else(|error| Err(error.to_string())) {
                Ok((place, found)) => {
                    self.delivery.go_to(place.cursor.settled);
                    self.place = place;
                    if let Found::Lost(why) = found {
                        let total = self.place.cursor.gap;
                        self.teller.gap(0, total, &why);
                    }
                    break;
                }
                Err(error) => {
                    warn!(stream = %self.stream.name, "the place of a stream cannot be looked up: {error}");
                    tokio::time::sleep(UNREAD).await;
                }
            }
        }
        let (dead, gap) = (self.place.cursor.dead, self.place.cursor.gap);
        self.teller
            .show(|state| (state.dead, state.gap) = (dead, gap));
        self.settle();
    }

    /// Shows where the stream is.
    pub(super) fn settle(&mut self) {
        self.place.settle(self.delivery.settled());
        let settled = self.place.cursor.settled;
        let handed = self.delivery.handed_to();
        let since = self
            .delivery
            .queue()
            .next()
            .map(|item| item.payload.published_ms);
        self.teller.show(|state| {
            state.settled = settled;
            state.handed = handed;
            state.waiting_since_ms = since;
        });
    }

    pub(super) fn keep(&mut self, now: Instant, wake: &mut Instant) {
        if now < self.keep_at {
            *wake = self.keep_at.min(*wake);
            return;
        }
        let Some(kept) = self.place.take_changed() else {
            return;
        };
        self.keep_at = now + KEEP;
        let dir = self.wiring.dir.clone();
        self.keeping = Some(spawn_blocking(move || cursor::write(&dir, &kept)));
    }

    pub(super) fn kept(&mut self, kept: std::io::Result<()>) {
        if let Err(error) = kept {
            warn!(stream = %self.stream.name, %error, "the place of a stream could not be kept; it is tried again");
            self.place.keep_again();
        }
    }

    pub(super) async fn stop(mut self) {
        self.busy = None;
        if let Some(keeping) = self.keeping.take() {
            drop(keeping.await);
        }
        if let Some(kept) = self.place.take_changed() {
            let dir = self.wiring.dir.clone();
            let written = spawn_blocking(move || cursor::write(&dir, &kept)).await;
            if let Ok(Err(error)) = written {
                warn!(stream = %self.stream.name, %error, "the place of a stream could not be kept");
            }
        }
        self.teller.show(|state| {
            if !matches!(state.health, StreamHealth::Off) {
                state.health = StreamHealth::New;
            }
        });
    }
}

pub(super) async fn joined<T>(
    task: &mut Option<JoinHandle<std::io::Result<T>>>,
) -> std::io::Result<T> {
    match task {
        Some(task) => task
            .await
            .unwrap_or_else(|error| Err(std::io::Error::other(error))),
        None => std::future::pending().await,
    }
}
