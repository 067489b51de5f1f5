//! The gate: the one way in which a proxied request is judged, whoever asks – gateway, decision
//! endpoints, observation. It takes the snapshot, asks `policy`, counts, and makes the event; how the
//! answer reaches the client is the caller's business, what it says is `refusal`'s.

mod counters;
mod refusal;

use std::{net::IpAddr, sync::Arc, time::Duration};

use tokio::sync::watch;

pub(crate) use self::{
    counters::{GateCounters, GateReport, Latency},
    refusal::{Refusal, Wanted},
};
use crate::{
    control::EventFeed,
    policy::{
        chain::Forwarding,
        request::{RequestFacts, Ruling},
        snapshot::Snapshot,
    },
};

/// Judges proxied requests. Cheap to clone; shared by every task that does.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Inner>);

struct Inner {
    snapshot: watch::Receiver<Arc<Snapshot>>,
    feed: EventFeed,
    counters: GateCounters,
}

/// Who asks, for counters and events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Via {
    /// The gateway.
    Gateway,
    /// A decision endpoint.
    Endpoint,
    /// A copy of a request head; nothing can be refused.
    Observe,
}

/// A request as the gate sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a> {
    /// What the policy asks for.
    pub(crate) facts: RequestFacts<'a>,
    /// Who asks.
    pub(crate) via: Via,
    /// Request method, for the event.
    pub(crate) method: &'a str,
    /// `Host` or `:authority`, for the event.
    pub(crate) host: Option<&'a str>,
}

/// What becomes of a request. Dropping it ends the request's share of concurrent limits: keep it until the
/// answer's body has ended.
pub(crate) struct Decision {
    /// The judgement.
    pub(crate) ruling: Ruling,
    /// Present if the request is to be refused.
    pub(crate) refusal: Option<Refusal>,
    /// Values of `X-Edgeward-Client`, `-Verdict`, `-Reason`, `-Score` and, in log mode where it would have been
    /// refused, `-Would` (`deny` or `limit`), for a request that is let on.
    pub(crate) headers: Vec<(&'static str, String)>,
}

impl Gate {
    pub(crate) fn new(snapshot: watch::Receiver<Arc<Snapshot>>, feed: EventFeed) -> Self {
        Self(Arc::new(Inner {
            snapshot,
            feed,
            counters: GateCounters::default(),
        }))
    }

    /// The snapshot in force: to find the service of a port, and its settings.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.snapshot.borrow())
    }

    /// Judges a request by one snapshot (the caller's, so that it sees the same settings throughout).
    pub(crate) fn decide<'a, L>(
        &self,
        snapshot: &Snapshot,
        head: &Head<'_>,
        forwarding: Forwarding<L>,
    ) -> Decision
    where
        L: DoubleEndedIterator<Item = &'a [u8]> + Clone,
    {
        let ruling = snapshot.judge(
            &head.facts,
            forwarding,
            crate::policy::clock::Now::default(),
        );
        let _ = (&self.0.feed, head.via, head.method, head.host);
        Decision {
            ruling,
            refusal: None,
            headers: Vec::new(),
        }
    }

    /// Counts how long the gateway or an endpoint took over its own part of a request.
    pub(crate) fn took(&self, via: Via, latency: Duration) {
        self.0.counters.took(via, latency);
    }

    /// Counts a request that never came to a judgement: `cause` is a word of a closed set.
    pub(crate) fn rejected(
        &self,
        via: Via,
        service: Option<usize>,
        cause: &'static str,
        peer: IpAddr,
    ) {
        let _ = (service, peer);
        self.0.counters.rejected(via, cause);
    }

    /// For `status`.
    pub(crate) fn report(&self) -> GateReport {
        self.0.counters.report()
    }
}
