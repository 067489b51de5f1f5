//! `edgeward stream test`: one event that says that it is a test, through a sink of its own. The log does not get it, and
//! the stream's place stays.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::{
    sync::oneshot,
    task::spawn_blocking,
    time::{Instant, sleep, timeout},
};

use super::{
    kinds, shape,
    sink::{Answer, Event, Item, Piece, Sink},
    source::Entry,
    task::too_long,
};
use crate::{
    clock::Clock,
    config::Stream,
    control::{EventFeed, Failure, FailureKind},
};

/// How often, and how many times, a sink that only hands over is asked what became of it.
const CONFIRM: Duration = Duration::from_millis(50);
const CONFIRMS_MAX: usize = 100;

/// Sends the event and says what came of it.
pub(super) async fn probe(
    stream: Stream,
    events: EventFeed,
    clock: Clock,
    actor: String,
    reply: oneshot::Sender<Result<Value, Failure>>,
) {
    let limit = stream.timeout;
    let begun = Instant::now();
    let outcome = timeout(limit, send(&stream, &events, clock, &actor)).await;
    let outcome = outcome.unwrap_or_else(|_| Err(too_long(limit)));
    let said = outcome.map(|(id, what)| {
        let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        json!({
            "stream": stream.name,
            "kind": stream.kind.name(),
            "target": stream.target(),
            "id": id,
            "outcome": what,
            "took_ms": ms,
        })
    });
    let said = said.map_err(|what| {
        let text = format!(
            "the stream \"{}\" ({}) {what}",
            stream.name,
            stream.target()
        );
        Failure::new(FailureKind::Unavailable, text)
    });
    // Whoever asked may be gone.
    drop(reply.send(said));
}

async fn send(
    stream: &Stream,
    events: &EventFeed,
    clock: Clock,
    actor: &str,
) -> Result<(String, &'static str), String> {
    let item = item(stream, events, clock, actor)?;
    let id = item.payload.id.to_string();
    let settings = Arc::new(stream.clone());
    let opened = spawn_blocking(move || kinds::open(&settings, clock)).await;
    let mut sink = opened.unwrap_or_else(|error| Err(error.to_string()))?;
    match sink.send(&[item]).await {
        Answer::Accepted => Ok((id, "accepted")),
        Answer::Handed => Ok((id, confirmed(&mut *sink).await?)),
        Answer::AcceptedBut { what, .. }
        | Answer::Partly { what, .. }
        | Answer::Retry { what, .. }
        | Answer::Broken { what }
        | Answer::Paused { what, .. }
        | Answer::TooLarge { what }
        | Answer::Poison { what, .. }
        | Answer::Refused { what } => Err(what),
    }
}

async fn confirmed(sink: &mut dyn Sink) -> Result<&'static str, String> {
    for _ in 0..CONFIRMS_MAX {
        let confirmed = sink.confirm().await;
        if confirmed.upto.is_some() {
            return Ok("arrived");
        }
        if let Some(what) = confirmed.lost {
            return Err(what);
        }
        sleep(CONFIRM).await;
    }
    Ok("handed over")
}

fn item(
    stream: &Stream,
    events: &EventFeed,
    clock: Clock,
    actor: &str,
) -> Result<Item<Piece>, String> {
    let now_ms = clock.now().wall_ms;
    let id = events.ids().next(now_ms);
    let facts = json!({
        "event": "system.log_stream.test",
        "time": now_ms,
        "id": id,
        "actor": actor,
        "stream": stream.name,
    });
    let Value::Object(facts) = facts else {
        return Err("no event".to_owned());
    };
    let entry = Entry {
        seq: 1,
        id,
        published_ms: now_ms,
        facts,
    };
    let log_event = entry.log_event();
    let mut json = Vec::new();
    shape::write(stream.format, &entry, &log_event, &mut json);
    let event = Event {
        seq: entry.seq,
        id: &entry.id,
        published_ms: now_ms,
        event_type: entry.event_type(),
        severity: "INFO",
        json: std::str::from_utf8(&json).unwrap_or_default(),
    };
    let mut bytes = Vec::new();
    kinds::encoder(stream).encode(&event, &mut bytes)?;
    Ok(Item {
        seq: entry.seq,
        bytes: bytes.len(),
        payload: Piece {
            id: entry.id.as_str().into(),
            published_ms: now_ms,
            bytes: Bytes::from(bytes),
        },
    })
}
