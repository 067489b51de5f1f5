//! Events of the kernel as lines for people and programs, off the keeper's thread.

use std::sync::Arc;

use edgeward_ebpf::verdict::{Outcome, Verdict};
use serde_json::json;
use tokio::sync::watch;
use tracing::warn;

use crate::{
    clock::Clock,
    control::EventFeed,
    datapath::{Event, EventRing, read_ring},
    gate::Gate,
    origins::{Attempt, Origins},
    policy::classes::{ClassOrigin, Classes},
};

/// What is needed to say in words what an event's numbers mean.
#[derive(Clone, Debug)]
pub(crate) struct EventContext {
    names: Arc<[Option<(ClassOrigin, String)>]>,
    clock: Clock,
}

impl EventContext {
    pub(super) fn new(classes: &Classes, clock: Clock) -> Self {
        let names = (0..=u8::MAX)
            .map(|id| {
                classes
                    .get(id)
                    .map(|(origin, name)| (origin, name.to_owned()))
            })
            .collect();
        Self { names, clock }
    }
}

impl Default for EventContext {
    fn default() -> Self {
        Self::new(&Classes::default(), Clock::new())
    }
}

/// Reads the ring until the task is dropped. What does not fit it is said in the next event.
pub(crate) async fn forward(
    ring: EventRing,
    context: watch::Receiver<EventContext>,
    feed: EventFeed,
    gate: Gate,
    origins: Origins,
) {
    read_ring(ring, "events", |record| {
        let Some(event) = Event::decode(record) else {
            warn!(bytes = record.len(), "an event of the kernel is too short");
            return;
        };
        let context = context.borrow();
        if event.outcome == Some(Outcome::RestrictedOrigin) {
            note_origin(&event, &context, &gate, &origins);
        }
        feed.push(line(&event, &context));
    })
    .await;
}

/// The kernel knows ports, the report knows services.
fn note_origin(event: &Event, context: &EventContext, gate: &Gate, origins: &Origins) {
    let snapshot = gate.snapshot();
    let service = snapshot
        .service_at(event.destination_port)
        .and_then(|index| snapshot.services.get(index));
    // A service that a reload has taken away since has nobody to be reported to.
    if let Some(service) = service {
        origins.seen(&Attempt {
            service: &service.name,
            source: event.source,
            when_ms: context.clock.wall_ms(event.boot_ns),
            enforced: event.enforced,
            suppressed: event.suppressed,
        });
    }
}

/// Names follow the System Log's event types.
fn line(event: &Event, context: &EventContext) -> serde_json::Value {
    let (origin, name) = match context
        .names
        .get(usize::from(event.class))
        .and_then(Option::as_ref)
    {
        Some((origin, name)) if event.score > 0 => (Some(origin.name()), Some(name.as_str())),
        _ => (None, None),
    };
    let verdict = event
        .outcome
        .map_or("unknown", |outcome| match outcome.verdict() {
            Verdict::Pass => "pass",
            Verdict::Defer => "defer",
            Verdict::Deny => "deny",
            Verdict::Limit => "limit",
        });
    let kind = match event.outcome {
        Some(Outcome::BlockedZone | Outcome::RestrictedOrigin) => "security.request.blocked",
        Some(Outcome::RateLimit) if event.enforced => "system.client.rate_limit.violation",
        Some(Outcome::RateLimit) => "system.client.rate_limit.notification",
        _ => "security.threat.detected",
    };
    let outcome = match (event.enforced, event.outcome) {
        (false, _) => "ALLOW",
        (true, Some(Outcome::Limited | Outcome::RateLimit)) => "RATE_LIMIT",
        (true, _) => "DENY",
    };
    json!({
        "time": context.clock.wall_ms(event.boot_ns),
        "event": kind,
        "outcome": outcome,
        "verdict": verdict,
        "reason": event.outcome.and_then(Outcome::reason),
        "enforced": event.enforced,
        "source": event.source,
        "source_port": event.source_port,
        "destination": event.destination,
        "destination_port": event.destination_port,
        "protocol": event.protocol,
        "interface": event.interface,
        "length": event.length,
        "score": (event.score <= 100 && event.score > 0).then_some(event.score),
        "origin": origin,
        "detail": name,
        "suppressed": event.suppressed,
    })
}
