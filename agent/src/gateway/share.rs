//! What a service has in progress, and the share of it that one connection or request holds.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use super::{cause::Cause, line::Line, shared::Shared};
use crate::policy::limits::Permit;

/// Connections and requests of one service, over all workers.
#[derive(Debug, Default)]
pub(super) struct Load {
    connections: AtomicUsize,
    requests: AtomicUsize,
}

/// A connection's place; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Load>);

/// A request's place, kept until its answer has ended. Dropped before that, the client has gone.
pub(super) struct Share {
    shared: Arc<Shared>,
    load: Arc<Load>,
    line: Arc<Line>,
    peer: IpAddr,
    /// The request's part of concurrent limits.
    permit: Permit,
    ended: bool,
}

impl Load {
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }

    pub(super) fn requests(&self) -> usize {
        self.requests.load(Relaxed)
    }

    /// A place for a connection, if there are fewer than that.
    pub(super) fn connect(self: &Arc<Self>, connections_max: usize) -> Option<Place> {
        take(&self.connections, connections_max).then(|| Place(Arc::clone(self)))
    }
}

impl Place {
    pub(super) fn load(&self) -> &Arc<Load> {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
    }
}

impl Share {
    /// A place for a request; `None` if there is none left.
    pub(super) fn new(
        shared: &Arc<Shared>,
        load: &Arc<Load>,
        requests_max: usize,
        line: Arc<Line>,
        peer: IpAddr,
    ) -> Option<Self> {
        take(&load.requests, requests_max).then(|| Self {
            shared: Arc::clone(shared),
            load: Arc::clone(load),
            line,
            peer,
            permit: Permit::default(),
            ended: false,
        })
    }

    /// Keeps the request's part of concurrent limits until the end.
    pub(super) fn keep(&mut self, permit: Permit) {
        self.permit = permit;
    }

    /// The answer is complete.
    pub(super) fn ended(&mut self) {
        self.ended = true;
    }

    /// The answer will not be complete, and not because of the client's leaving.
    pub(super) fn failed(&mut self, cause: Cause) {
        self.ended = true;
        self.shared.count(cause, Some(self.peer));
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.load.requests.fetch_sub(1, Relaxed);
        if !self.ended {
            self.shared.count(Cause::ClientGone, Some(self.peer));
        }
        self.line.answered();
    }
}

fn take(counter: &AtomicUsize, max: usize) -> bool {
    if counter.fetch_add(1, Relaxed) < max {
        return true;
    }
    counter.fetch_sub(1, Relaxed);
    false
}
