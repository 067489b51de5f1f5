//! Which streams run: as the configuration says, each with its place, and with an event for what has changed.

use std::{collections::BTreeMap, path::Path, time::Duration};

use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{JoinHandle, spawn_blocking},
    time::timeout,
};
use tracing::warn;

use super::{
    Plan, What, Wish,
    cursor::{self, Cursor},
    probe,
    task::{self, Order, Task, Wiring},
    teller::announce,
};
use crate::{
    config::{Stream, diff},
    control::{Failure, FailureKind},
    threads::Stopped,
};

/// How long a stream may take to keep its place and end.
const STOP: Duration = Duration::from_secs(3);

/// One stream's task.
struct Running {
    stream: Stream,
    orders: mpsc::Sender<Order>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(super) async fn manage(
    mut wanted: watch::Receiver<Plan>,
    mut wishes: mpsc::Receiver<Wish>,
    wiring: Wiring,
    mut stopped: Stopped,
) {
    if let Err(error) = cursor::prepare(&wiring.dir) {
        warn!(%error, "streams cannot be kept in {}", wiring.dir.display());
    }
    let mut running: BTreeMap<String, Running> = BTreeMap::new();
    let mut is_first = true;
    loop {
        let plan = wanted.borrow_and_update().clone();
        apply(&plan, is_first, &mut running, &wiring).await;
        is_first = false;
        loop {
            tokio::select! {
                changed = wanted.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return stop_all(running).await,
                },
                () = &mut stopped => return stop_all(running).await,
                Some(wish) = wishes.recv() => pass_on(wish, &running, &wiring),
            }
        }
    }
}

async fn apply(
    plan: &Plan,
    is_first: bool,
    running: &mut BTreeMap<String, Running>,
    wiring: &Wiring,
) {
    let say = |stream: &str, event: &str, detail: Value| {
        let event = format!("system.log_stream.lifecycle.{event}");
        announce(
            &wiring.events,
            wiring.clock,
            stream,
            &event,
            &plan.actor,
            detail,
        );
    };
    let is_planned = |name: &str| plan.streams.iter().any(|stream| stream.name == name);
    let mut gone: Vec<String> = running
        .keys()
        .filter(|name| !is_planned(name))
        .cloned()
        .collect();
    if is_first {
        let dir = wiring.dir.clone();
        let known = spawn_blocking(move || cursor::names(&dir)).await;
        gone.extend(
            known
                .unwrap_or_default()
                .into_iter()
                .filter(|name| !is_planned(name)),
        );
    }
    for name in gone {
        if let Some(running) = running.remove(&name) {
            stop(running).await;
        }
        if forget(&wiring.dir, &name).await {
            say(&name, "delete", json!({}));
        }
    }
    wiring.board.retain(&plan.streams);
    for stream in &plan.streams {
        let target = json!({ "kind": stream.kind.name(), "target": stream.target() });
        match running.remove(&stream.name) {
            Some(known) if known.stream == *stream => {
                running.insert(stream.name.clone(), known);
                continue;
            }
            Some(known) => {
                let changes = diff::stream(&known.stream, stream);
                let was_enabled = known.stream.enabled;
                stop(known).await;
                say(&stream.name, "update", json!({ "changes": changes }));
                match (was_enabled, stream.enabled) {
                    (false, true) => say(&stream.name, "activate", target),
                    (true, false) => say(&stream.name, "deactivate", target),
                    _ => {}
                }
            }
            None if is_new(&wiring.dir, &stream.name).await => say(&stream.name, "create", target),
            None => {}
        }
        running.insert(stream.name.clone(), begin(stream, wiring));
    }
}

fn begin(stream: &Stream, wiring: &Wiring) -> Running {
    let (orders, received) = mpsc::channel(task::ORDERS_MAX);
    let task = Task::new(stream, wiring.clone());
    Running {
        stream: stream.clone(),
        orders,
        task: tokio::spawn(task.run(received)),
    }
}

/// Lets a stream keep its place.
async fn stop(mut running: Running) {
    let (done, ended) = oneshot::channel();
    let ask = async {
        if running.orders.send(Order::Stop(done)).await.is_ok() {
            drop(ended.await);
        }
        drop((&mut running.task).await);
    };
    if timeout(STOP, ask).await.is_err() {
        warn!(stream = %running.stream.name, "a stream did not end in time; some events may be sent twice");
    }
}

async fn stop_all(running: BTreeMap<String, Running>) {
    // All at once: each may take its time.
    let ending: Vec<JoinHandle<()>> = running
        .into_values()
        .map(|running| tokio::spawn(stop(running)))
        .collect();
    for ended in ending {
        drop(ended.await);
    }
}

/// Nothing is known of a stream of this name, or that it was taken away.
async fn is_new(dir: &Path, name: &str) -> bool {
    let (dir, name) = (dir.to_path_buf(), name.to_owned());
    let known = spawn_blocking(move || cursor::read(&dir, &name)).await;
    matches!(known, Ok(Ok(None | Some(Cursor { removed: true, .. }))))
}

/// Notes that a stream was taken away; whether that is news. Its place stays, for the case that it comes back.
async fn forget(dir: &Path, name: &str) -> bool {
    let (dir, name) = (dir.to_path_buf(), name.to_owned());
    let work = spawn_blocking(move || {
        let Some(cursor) = cursor::read(&dir, &name)? else {
            return Ok(true);
        };
        let is_news = !cursor.removed;
        if is_news {
            cursor::write(
                &dir,
                &Cursor {
                    removed: true,
                    ..cursor
                },
            )?;
        }
        Ok::<_, std::io::Error>(is_news)
    });
    match work.await {
        Ok(Ok(is_news)) => is_news,
        Ok(Err(error)) => {
            warn!(%error, "the place of a stream that is gone could not be changed");
            true
        }
        Err(_) => true,
    }
}

fn pass_on(wish: Wish, running: &BTreeMap<String, Running>, wiring: &Wiring) {
    let Wish {
        name,
        actor,
        what,
        reply,
    } = wish;
    let Some(known) = running.get(&name) else {
        let gone = format!("the stream \"{name}\" is not configured any more");
        drop(reply.send(Err(Failure::new(FailureKind::NotFound, gone))));
        return;
    };
    let since_ms = match what {
        What::Test => {
            tokio::spawn(probe::probe(
                known.stream.clone(),
                wiring.events.clone(),
                wiring.clock,
                actor,
                reply,
            ));
            return;
        }
        What::Replay { since_ms } => since_ms,
    };
    let order = Order::Replay {
        since_ms,
        actor,
        reply,
    };
    if let Err(error) = known.orders.try_send(order)
        && let Order::Replay { reply, .. } = error.into_inner()
    {
        let busy = format!("the stream \"{name}\" is busy; ask again");
        drop(reply.send(Err(Failure::new(FailureKind::Unavailable, busy))));
    }
}
