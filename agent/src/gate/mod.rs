//! The gate: the one way in which a proxied request is judged, whoever asks – gateway, decision
//! endpoints, observation. It takes the snapshot, asks `policy`, counts, and makes the event; how the
//! answer reaches the client is the caller's business, what it says is `refusal`'s.

mod counters;
mod events;
mod refusal;
mod sign_ins;

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::sync::watch;
use tracing::debug;

use self::{
    counters::{Counted, Counters},
    events::{Events, Said},
};
pub(crate) use self::{
    refusal::{Refusal, Wanted},
    sign_ins::{Noted, SignIns},
};
use crate::{
    clock::Clock,
    control::{EventFeed, report::ProxiedReport},
    detection::Intake,
    forwarders::{Forwarded, Forwarders},
    histogram::Buckets,
    origins::{Attempt, Origins},
    policy::{
        chain::{ClientReason, Forwarding},
        clock::Now,
        explain::{Action, Judged},
        limits::{Limited, Limiter, Permit},
        mode::Mode,
        request::{Reason, RequestFacts, Ruling},
        signal::PseudonymKey,
        snapshot::Snapshot,
        suspects::Suspects,
    },
};

/// Judges proxied requests. Cheap to clone; shared by every task that does.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Inner>);

struct Inner {
    snapshot: watch::Receiver<Arc<Snapshot>>,
    suspects: watch::Receiver<Arc<Suspects>>,
    clock: Clock,
    limiter: Limiter,
    counters: Counters,
    events: Events,
    origins: Origins,
    forwarders: Forwarders,
    /// Absent until detection takes signals.
    sign_ins: OnceLock<SignIns>,
}

/// Bounds of the gate's memory and noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GateLimits {
    /// Events a second.
    pub(crate) events_per_second_max: u32,
    /// Clients (times limits) whose requests are counted at a time.
    pub(crate) clients_max: usize,
}

#[cfg(test)]
impl GateLimits {
    /// More than any test needs.
    pub(crate) const AMPLE: Self = Self {
        events_per_second_max: 1_000,
        clients_max: 1_024,
    };
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
    /// `x-edgeward-client`, `-verdict`, `-reason` and `-score` of a request that is let on, and `-would` where block
    /// mode, or a limit that is only previewed, would have refused it.
    pub(crate) headers: Vec<(&'static str, String)>,
    permit: Permit,
}

impl Decision {
    /// The request's part of concurrent limits, to be held for as long as it is in progress: all that is left to keep
    /// of a decision that has been acted on.
    pub(crate) fn into_permit(self) -> Permit {
        self.permit
    }
}

impl Gate {
    pub(crate) fn new(
        snapshot: watch::Receiver<Arc<Snapshot>>,
        suspects: watch::Receiver<Arc<Suspects>>,
        feed: EventFeed,
        clock: Clock,
        seed: u64,
        limits: &GateLimits,
    ) -> Self {
        Self(Arc::new(Inner {
            snapshot,
            suspects,
            clock,
            limiter: Limiter::new(seed.rotate_left(23), limits.clients_max),
            counters: Counters::default(),
            events: Events::new(feed, limits.events_per_second_max),
            origins: Origins::default(),
            forwarders: Forwarders::default(),
            sign_ins: OnceLock::new(),
        }))
    }

    /// From now on sign-ins are told to detection.
    pub(crate) fn tell_sign_ins(&self, key: PseudonymKey, intake: Intake) {
        // A second call would be a mistake of the agent; the first one holds.
        let _ = self.0.sign_ins.set(SignIns::new(key, intake));
    }

    /// Where sign-ins are told; `None` until detection takes signals.
    pub(crate) fn sign_ins(&self) -> Option<&SignIns> {
        self.0.sign_ins.get()
    }

    /// The time of signals, milliseconds since the epoch.
    pub(crate) fn now_ms(&self) -> u64 {
        self.0.clock.now().wall_ms
    }

    /// For tests that are about something else.
    #[cfg(test)]
    pub(crate) fn nobody_suspected() -> watch::Receiver<Arc<Suspects>> {
        watch::channel(Arc::default()).1
    }

    /// The snapshot in force: to find the service of a port, and its settings.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.snapshot.borrow())
    }

    /// Waits for the first snapshot: until then nothing can be judged, and nobody should be answered.
    pub(crate) async fn ready(&self) {
        // An error says that the keeper is gone: there is nothing to wait for.
        let _ = self.0.snapshot.clone().changed().await;
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
        let now = self.0.clock.now();
        let has_header = match &forwarding {
            Forwarding::Lines(_, lines) => lines.clone().next().is_some(),
            Forwarding::Address(_) => true,
            Forwarding::Nothing => false,
        };
        let mut ruling = snapshot.judge(&head.facts, forwarding, now);
        self.note_forwarder(snapshot, head, &ruling, has_header, now);
        if let Some(facts) = &head.facts.sign_in {
            let suspects = Arc::clone(&self.0.suspects.borrow());
            ruling = snapshot.with_suspects(ruling, &suspects, facts, now);
        }
        let outcome = self.outcome(snapshot, head, &ruling, now);
        self.record(snapshot, head, ruling, outcome, now)
    }

    /// Counts how long the gateway or an endpoint took over its own part of a request.
    pub(crate) fn took(&self, via: Via, latency: Duration) {
        self.0.counters.took(via, latency);
    }

    /// How long each way took, in buckets.
    pub(crate) fn latencies(&self) -> Vec<(&'static str, Buckets)> {
        self.0.counters.latencies()
    }

    /// Counts a request that never came to a judgement: `cause` is a word of a closed set.
    pub(crate) fn rejected(&self, via: Via, cause: &'static str, peer: Option<IpAddr>) {
        debug!(
            via = via.name(),
            cause,
            ?peer,
            "a request that cannot be judged"
        );
        self.0.counters.rejected(via, cause);
    }

    /// Sets how many events a second there may be, as a reload does.
    pub(crate) fn set_events_per_second_max(&self, most: u32) {
        self.0.events.set_per_second_max(most);
    }

    /// Who reached around the proxies of restricted services; whoever else sees such a source adds to it.
    pub(crate) fn origins(&self) -> Origins {
        self.0.origins.clone()
    }

    /// For `status`.
    pub(crate) fn report(&self) -> ProxiedReport {
        let totals = self.0.events.totals();
        let limiter = self.0.limiter.report();
        let events = [
            ("sent", totals.sent),
            ("suppressed", totals.suppressed),
            ("limits_displaced", limiter.displaced),
            ("limits_uncounted", limiter.uncounted),
        ];
        ProxiedReport {
            events: events
                .into_iter()
                .map(|(name, count)| (name.to_owned(), count))
                .collect(),
            sign_ins: self.sign_ins().map(SignIns::report).unwrap_or_default(),
            ..self.0.counters.report()
        }
    }

    /// Who forwards requests, and whether it names their clients.
    pub(crate) fn forwarders(&self) -> &Forwarders {
        &self.0.forwarders
    }

    /// Of addresses that are no proxies only those are counted that claim to be one.
    fn note_forwarder(
        &self,
        snapshot: &Snapshot,
        head: &Head<'_>,
        ruling: &Ruling,
        has_header: bool,
        now: Now,
    ) {
        if ruling.chain.reason == ClientReason::Peer && !has_header {
            return;
        }
        let service = snapshot.services.get(head.facts.service);
        self.0.forwarders.seen(&Forwarded {
            peer: head.facts.peer,
            chain: &ruling.chain,
            service: service.map_or("", |service| service.name.as_str()),
            is_sign_in: head.facts.sign_in.is_some(),
            now_ms: now.wall_ms,
        });
    }

    /// What the ruling and the limits of requests say together.
    fn outcome(&self, snapshot: &Snapshot, head: &Head<'_>, ruling: &Ruling, now: Now) -> Outcome {
        if ruling.verdict == Judged::Deny {
            return Outcome {
                reason: ruling.reason,
                enforced: ruling.action == Action::Refuse && head.via != Via::Observe,
                limited: None,
                permit: Permit::default(),
            };
        }
        let admission = self.0.limiter.admit(snapshot, ruling, &head.facts, now);
        let preview = admission.previews.into_iter().next();
        let limited = admission.exceeded.or(preview);
        let enforced = limited.as_ref().is_some_and(|limited| limited.enforced)
            && snapshot.mode == Mode::Block
            && head.via != Via::Observe;
        Outcome {
            reason: limited.is_some().then_some(Reason::RateLimit),
            enforced,
            limited,
            permit: admission.permit,
        }
    }

    /// Counts, makes the event and builds the answer.
    fn record(
        &self,
        snapshot: &Snapshot,
        head: &Head<'_>,
        ruling: Ruling,
        outcome: Outcome,
        now: Now,
    ) -> Decision {
        let services = &snapshot.services;
        let service = services.get(head.facts.service);
        let name = service.map_or("", |service| service.name.as_str());
        let unknown = ruling.chain.reason == ClientReason::Unknown && snapshot.mode != Mode::Off;
        let counted = match outcome.reason {
            None if ruling.exempt => Counted::Exempt,
            None => Counted::Passed,
            Some(reason) if outcome.enforced => Counted::Refused(reason),
            Some(reason) => Counted::WouldRefuse(reason),
        };
        let counters = self.0.counters.service(name);
        counters.add(head.via, counted, unknown, head.facts.path);
        if outcome.reason == Some(Reason::RestrictedOrigin) {
            self.0.origins.seen(&Attempt {
                service: name,
                source: ruling.chain.client,
                when_ms: now.wall_ms,
                enforced: outcome.enforced,
                suppressed: 0,
            });
        }
        let event_id = (outcome.reason.is_some() || unknown).then(|| {
            let said = Said {
                head,
                ruling: &ruling,
                reason: outcome.reason,
                limit: outcome
                    .limited
                    .as_ref()
                    .map(|limited| limited.limit.as_str()),
                enforced: outcome.enforced,
            };
            self.0.events.say(snapshot, &said, now.wall_ms)
        });
        let refusal = match (event_id, outcome.enforced, service) {
            (Some(event_id), true, Some(service)) => Some(Refusal {
                status: match outcome.limited {
                    Some(_) => service.refusals.limit_status,
                    None => service.refusals.status,
                },
                retry_after: outcome.limited.map(|limited| limited.retry_after),
                event_id,
                services: Arc::clone(services),
                service: head.facts.service,
            }),
            _ => None,
        };
        let headers = headers(&ruling, outcome.reason, refusal.is_some());
        Decision {
            ruling,
            refusal,
            headers,
            permit: outcome.permit,
        }
    }
}

/// What the ruling and the limits say together.
struct Outcome {
    reason: Option<Reason>,
    enforced: bool,
    limited: Option<Limited>,
    permit: Permit,
}

/// What the next layer is told of a request that is let on.
fn headers(ruling: &Ruling, would: Option<Reason>, refused: bool) -> Vec<(&'static str, String)> {
    if refused {
        return Vec::new();
    }
    let verdict = match ruling.verdict {
        _ if would == Some(Reason::RateLimit) => "limit",
        Judged::Pass | Judged::Defer => "pass",
        Judged::Deny => "deny",
        Judged::Limit => "limit",
    };
    let mut headers = vec![
        (CLIENT, ruling.chain.client.to_string()),
        (VERDICT, verdict.to_owned()),
    ];
    let reason = would.or(ruling.reason);
    headers.extend(reason.map(|reason| (REASON, reason.name().to_owned())));
    if ruling.score > 0 && ruling.score <= 100 {
        headers.push((SCORE, ruling.score.to_string()));
    }
    headers.extend(would.map(|_| (WOULD, verdict.to_owned())));
    headers
}

/// The names of the headers above: whoever passes a request on removes these first, whoever sent them.
pub(crate) const CLIENT: &str = "x-edgeward-client";
/// `pass`, `deny` or `limit`.
pub(crate) const VERDICT: &str = "x-edgeward-verdict";
/// Why it would have been refused, or is watched.
pub(crate) const REASON: &str = "x-edgeward-reason";
/// 1 to 100.
pub(crate) const SCORE: &str = "x-edgeward-score";
/// `deny` or `limit`: what would have happened.
pub(crate) const WOULD: &str = "x-edgeward-would";

#[cfg(test)]
mod tests;
