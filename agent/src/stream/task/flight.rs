//! What is on its way: sends a flight, asks what has become of others, and acts on the answers.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::spawn_blocking,
    time::{Instant, timeout},
};
use tracing::warn;

use super::{
    super::{
        dead, kinds,
        sink::{Answer, Confirmed, Item, Pause, Pending, Piece, Sink},
    },
    Task,
};
use crate::{clock::Clock, config::Stream, policy::delivery::Health};

/// How often receivers are asked what has become of what they got.
const CONFIRM: Duration = Duration::from_millis(200);

/// A flight or a question that is over.
pub(super) struct Done {
    sink: Option<Box<dyn Sink>>,
    report: Report,
}

enum Report {
    Answer(Answer),
    Confirmed(Confirmed),
}

impl Task {
    /// A flight if one is due, or the question what has become of others.
    pub(super) fn begin(&mut self, now: Instant, wake: &mut Instant) {
        if self.delivery.is_in_doubt()
            && let Some(sink) = self.sink.take()
        {
            if now >= self.confirm_at {
                self.confirm_at = now + CONFIRM;
                self.busy = Some(confirm(sink, self.stream.timeout));
                return;
            }
            self.sink = Some(sink);
            *wake = self.confirm_at.min(*wake);
        }
        if now < self.send_at {
            *wake = self.send_at.min(*wake);
            return;
        }
        let is_full = self.sink.as_ref().is_some_and(|sink| sink.is_full());
        if is_full && self.delivery.is_in_doubt() {
            // Asked for again above, until there is room.
            return;
        }
        let flight: Vec<Item<Piece>> = self.delivery.next().cloned().collect();
        if !flight.is_empty() {
            let sink = self.sink.take();
            self.busy = Some(send(
                Arc::clone(&self.stream),
                self.wiring.clock,
                sink,
                flight,
            ));
        }
    }

    pub(super) async fn done(&mut self, done: Done) {
        let Done { sink, report } = done;
        self.sink = sink;
        let answer = match report {
            Report::Answer(answer) => answer,
            Report::Confirmed(confirmed) => {
                if let Some(seq) = confirmed.upto {
                    self.delivery.confirmed(seq);
                }
                match confirmed.lost {
                    None => {
                        let health = self.delivery.health().clone();
                        if health == Health::Fine {
                            self.teller.health(&health, 0, Duration::ZERO);
                        }
                        return self.settle();
                    }
                    // Nothing may be left of the flight that was not begun.
                    Some(what) => Answer::Broken { what },
                }
            }
        };
        self.count(&answer);
        if let Answer::AcceptedBut { rejected, what } = &answer {
            // Nobody knows which: there is nothing to put among the dead letters, only their number.
            self.place.count(*rejected, 0);
            self.teller.dead(*rejected, what, self.place.cursor.dead);
        }
        self.chance = self
            .chance
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(self.wiring.clock.now().wall_ms | 1);
        let step = self.delivery.answered(answer, self.chance);
        if step.broken {
            self.sink = None;
        }
        self.send_at = Instant::now() + step.wait;
        let health: Health = self.delivery.health().clone();
        self.teller
            .health(&health, self.delivery.failures(), step.wait);
        self.bury(step.dead).await;
        self.settle();
    }

    /// What an answer says that has arrived.
    fn count(&self, answer: &Answer) {
        let flight: Vec<usize> = self.delivery.flight().map(|item| item.bytes).collect();
        let taken = |index: usize| match answer {
            Answer::Accepted | Answer::AcceptedBut { .. } | Answer::Handed => true,
            Answer::Partly { failed, .. } => !failed.contains(&index),
            Answer::Poison {
                index: bad,
                earlier_taken,
                ..
            } => *earlier_taken && index < *bad,
            _ => false,
        };
        let (mut events, mut bytes) = (0_u64, 0_u64);
        for (_, length) in flight.iter().enumerate().filter(|(index, _)| taken(*index)) {
            events = events.saturating_add(1);
            bytes = bytes.saturating_add(u64::try_from(*length).unwrap_or(u64::MAX));
        }
        if let Answer::AcceptedBut { rejected, .. } = answer {
            events = events.saturating_sub(*rejected);
        }
        if !matches!(
            answer,
            Answer::Accepted | Answer::AcceptedBut { .. } | Answer::Handed
        ) {
            self.teller
                .show(|state| state.failed_batches = state.failed_batches.saturating_add(1));
        }
        if events == 0 {
            return;
        }
        let now_ms = self.wiring.clock.now().wall_ms;
        self.teller.show(|state| {
            state.delivered = state.delivered.saturating_add(events);
            state.delivered_bytes = state.delivered_bytes.saturating_add(bytes);
            state.last_delivered = Some(now_ms);
        });
    }

    /// Keeps dead letters, before anything says that they are done.
    pub(super) async fn bury(&mut self, dead: Vec<(Item<Piece>, String)>) {
        let Some((_, why)) = dead.first() else {
            return;
        };
        let (why, count) = (why.clone(), u64::try_from(dead.len()).unwrap_or(u64::MAX));
        let (dir, name) = (self.wiring.dir.clone(), self.stream.name.clone());
        let now_ms = self.wiring.clock.now().wall_ms;
        let kept = spawn_blocking(move || dead::append(&dir, &name, now_ms, &dead)).await;
        if let Ok(Err(error)) = kept {
            warn!(stream = %self.stream.name, %error, "dead letters are counted and could not be kept");
        }
        self.place.count(count, 0);
        self.teller.dead(count, &why, self.place.cursor.dead);
    }
}

/// Sends a flight, through a new sink if there is none, within the stream's time.
fn send(
    stream: Arc<Stream>,
    clock: Clock,
    sink: Option<Box<dyn Sink>>,
    flight: Vec<Item<Piece>>,
) -> Pending<'static, Done> {
    Box::pin(async move {
        let mut sink = match sink {
            Some(sink) => sink,
            None => {
                let settings = Arc::clone(&stream);
                let opened = spawn_blocking(move || kinds::open(&settings, clock)).await;
                match opened.unwrap_or_else(|error| Err(error.to_string())) {
                    Ok(sink) => sink,
                    Err(what) => return Done::unusable(what),
                }
            }
        };
        let answer = timeout(stream.timeout, sink.send(&flight)).await;
        let answer = answer.unwrap_or_else(|_| Answer::Broken {
            what: too_long(stream.timeout),
        });
        Done {
            sink: Some(sink),
            report: Report::Answer(answer),
        }
    })
}

fn confirm(mut sink: Box<dyn Sink>, limit: Duration) -> Pending<'static, Done> {
    Box::pin(async move {
        let confirmed = timeout(limit, sink.confirm()).await;
        let confirmed = confirmed.unwrap_or_else(|_| Confirmed {
            upto: None,
            lost: Some(too_long(limit)),
        });
        Done {
            sink: Some(sink),
            report: Report::Confirmed(confirmed),
        }
    })
}

pub(in crate::stream) fn too_long(limit: Duration) -> String {
    let limit = crate::config::duration::format(limit);
    format!("takes longer than {limit} (timeout)")
}

impl Done {
    const fn unusable(what: String) -> Self {
        Self {
            sink: None,
            report: Report::Answer(Answer::Paused {
                why: Pause::Unusable,
                what,
                after: None,
            }),
        }
    }
}

/// Waits for what is under way, or for ever.
pub(super) async fn waited(busy: &mut Option<Pending<'static, Done>>) -> Done {
    match busy {
        Some(busy) => busy.await,
        None => std::future::pending().await,
    }
}
