//! The threads that serve connections, each with a runtime of its own. All of them accept; whoever does
//! gives the connection to the one that has the fewest.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream},
    sync::{Arc, atomic::Ordering::Relaxed},
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    io::unix::AsyncFd,
    net::TcpStream,
    runtime,
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::{
    cause::Cause,
    connection,
    shared::{Shared, Stage},
    wheel::{Alarm, TICK},
};
use crate::privileges;

/// An accepted connection on its way to its worker.
pub(super) type Accepted = (StdStream, SocketAddr);

/// What a worker needs to accept and to be given connections.
pub(super) struct Seat {
    pub(super) index: usize,
    pub(super) listeners: Vec<StdListener>,
    pub(super) given: mpsc::Receiver<Accepted>,
    pub(super) others: Arc<[mpsc::Sender<Accepted>]>,
}

/// Starts a worker's thread; it ends when the gateway's last stage has come.
pub(super) fn start(shared: Arc<Shared>, seat: Seat) -> io::Result<JoinHandle<()>> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        // Sockets are looked at after that many tasks at the latest.
        .event_interval(EVENT_INTERVAL)
        .build()?;
    thread::Builder::new()
        .name(format!("gateway-{}", seat.index))
        .spawn(move || match privileges::drop_all() {
            Ok(()) => runtime.block_on(work(shared, seat)),
            // Without its part of the gateway's beat steering passes the gateway by.
            Err(error) => tracing::error!("a worker of the gateway does not begin: {error:#}"),
        })
}

async fn work(shared: Arc<Shared>, seat: Seat) {
    let Seat {
        index,
        listeners,
        mut given,
        others,
    } = seat;
    for listener in listeners {
        let (shared, others) = (Arc::clone(&shared), Arc::clone(&others));
        tokio::spawn(async move {
            if let Err(error) = accept(shared, index, listener, others).await {
                tracing::error!(%error, "the gateway cannot accept connections");
            }
        });
    }
    let Some(worker) = shared.workers.get(index).map(Arc::clone) else {
        return;
    };
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ticks = 0_u32;
    loop {
        tokio::select! {
            _ = tick.tick() => {
                worker.wheel.tick();
                shared.ticked();
                ticks = ticks.wrapping_add(1);
                if ticks.is_multiple_of(SWEEP_TICKS) {
                    worker.pool.sweep();
                    worker.muxes.sweep();
                }
                let over = shared.stage() == Stage::Over;
                let left = shared.stage() == Stage::Draining && worker.connections.load(Relaxed) == 0;
                if over || left {
                    break;
                }
            }
            Some((stream, peer)) = given.recv() => serve(&shared, index, stream, peer),
        }
    }
    worker.pool.clear();
    worker.muxes.clear();
    // A connection that was being closed gets to say so.
    tokio::time::sleep(LAST_WORDS).await;
    worker.outbox.empty(&shared.gate);
}

/// Accepts until the gateway takes no more connections.
async fn accept(
    shared: Arc<Shared>,
    index: usize,
    listener: StdListener,
    others: Arc<[mpsc::Sender<Accepted>]>,
) -> io::Result<()> {
    #[expect(
        deprecated,
        reason = "a listener keeps its one descriptor; the other way to say so is unsafe"
    )]
    let listener = AsyncFd::with_interest(listener, tokio::io::Interest::READABLE)?;
    let Some(wheel) = shared
        .workers
        .get(index)
        .map(|worker| Arc::clone(&worker.wheel))
    else {
        return Ok(());
    };
    let alarm = Alarm::new(&wheel);
    loop {
        let accepted = std::future::poll_fn(|cx| {
            if shared.stage() > Stage::Serving {
                return std::task::Poll::Ready(None);
            }
            let _ = alarm.rings(cx);
            listener.poll_read_ready(cx).map(Some)
        })
        .await;
        let Some(ready) = accepted else {
            return Ok(());
        };
        let mut ready = ready?;
        match ready.try_io(|listener| listener.get_ref().accept()) {
            Err(_would_block) => {}
            Ok(Ok((stream, peer))) => place(&shared, index, &others, stream, peer),
            Ok(Err(error)) if is_clients(&error) => {}
            Ok(Err(error)) => {
                shared.count(Cause::Accept, None);
                tracing::warn!(%error, "the gateway cannot accept a connection");
                // Out of descriptors, most likely: an immediate retry would spin.
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Gives the connection to the worker that has the fewest.
fn place(
    shared: &Arc<Shared>,
    index: usize,
    others: &[mpsc::Sender<Accepted>],
    stream: StdStream,
    peer: SocketAddr,
) {
    let load = |worker: usize| {
        let own = usize::from(worker != index);
        shared.workers.get(worker).map_or(usize::MAX, |worker| {
            worker
                .connections
                .load(Relaxed)
                .saturating_mul(2)
                .saturating_add(own)
        })
    };
    let least = (0..others.len())
        .min_by_key(|worker| load(*worker))
        .unwrap_or(index);
    if let Some(worker) = shared.workers.get(least) {
        worker.connections.fetch_add(1, Relaxed);
    }
    if least == index {
        return serve_counted(shared, index, stream, peer);
    }
    let Some(other) = others.get(least) else {
        return;
    };
    if let Err(error) = other.try_send((stream, peer)) {
        if let (Some(worker), Some(own)) = (shared.workers.get(least), shared.workers.get(index)) {
            worker.connections.fetch_sub(1, Relaxed);
            own.connections.fetch_add(1, Relaxed);
        }
        let (stream, peer) = error.into_inner();
        serve_counted(shared, index, stream, peer);
    }
}

fn serve(shared: &Arc<Shared>, index: usize, stream: StdStream, peer: SocketAddr) {
    serve_counted(shared, index, stream, peer);
}

/// Serves a connection that the worker has been charged with already.
fn serve_counted(shared: &Arc<Shared>, index: usize, stream: StdStream, peer: SocketAddr) {
    let Some(worker) = shared.workers.get(index).map(Arc::clone) else {
        return;
    };
    let stream = stream
        .set_nonblocking(true)
        .and_then(|()| TcpStream::from_std(stream));
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        match stream {
            Ok(stream) => connection::serve(shared, Arc::clone(&worker), stream, peer).await,
            Err(error) => {
                shared.count(Cause::Accept, Some(peer.ip()));
                tracing::debug!(%error, "an accepted connection cannot be used");
            }
        }
        worker.connections.fetch_sub(1, Relaxed);
    });
}

/// What `accept` says of a connection that was gone before it was accepted.
fn is_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

/// Connections that wait for a worker; a further one stays with who accepted it.
pub(super) const GIVEN_MAX: usize = 1_024;
const EVENT_INTERVAL: u32 = 61;
const SWEEP_TICKS: u32 = 4;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const LAST_WORDS: Duration = Duration::from_millis(20);
