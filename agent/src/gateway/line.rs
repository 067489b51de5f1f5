//! What the requests of a connection and its wire tell each other.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Waker},
};

/// What the requests of a connection tell its wire.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Requests that have begun.
    begun: AtomicU64,
    /// Requests that have been answered to the end.
    answered: AtomicU64,
    /// The upgrade that was asked for does not happen.
    declined: AtomicBool,
    /// A body was cut off because of something the client did.
    broken: AtomicBool,
    /// Whoever reads waits for one of the above, not for the client.
    waits: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Line {
    /// A request begins.
    pub(super) fn begins(&self) {
        self.begun.fetch_add(1, Relaxed);
    }

    /// Whether there has been a request.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(Relaxed) > 0
    }

    /// Whether no HTTP/2 request is in progress.
    pub(super) fn is_idle(&self) -> bool {
        self.begun.load(Relaxed) <= self.answered.load(Relaxed)
    }

    /// A request has been answered to its end.
    pub(super) fn answered(&self) {
        self.answered.fetch_add(1, Relaxed);
        self.wake();
    }

    /// The request that asked for an upgrade does not get it.
    pub(super) fn declined(&self) {
        self.declined.store(true, Relaxed);
        self.wake();
    }

    /// Wakes the task once a request has ended or an upgrade is declined.
    pub(super) fn wait(&self, cx: &Context<'_>) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        self.waits.store(true, Relaxed);
    }

    fn wake(&self) {
        if self.waits.swap(false, Relaxed) {
            let waker = self
                .waker
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            waker.into_iter().for_each(Waker::wake);
        }
    }

    /// Whether a body ended badly because of the client.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Relaxed)
    }

    /// Whether that many requests have been answered.
    pub(super) fn has_answered(&self, requests: u64) -> bool {
        requests <= self.answered.load(Relaxed)
    }

    /// Requests that have been answered to their end.
    pub(super) fn answers(&self) -> u64 {
        self.answered.load(Relaxed)
    }

    /// Whether an upgrade was declined since this was asked last.
    pub(super) fn takes_decline(&self) -> bool {
        self.declined.swap(false, Relaxed)
    }

    /// A body ends badly because of the client.
    pub(super) fn breaks(&self) {
        self.broken.store(true, Relaxed);
    }
}
