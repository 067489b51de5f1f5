//! A connection from its first byte to its last: whose it is, what it speaks, and how it ends.

use std::{
    future::Future,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use hyper::{
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    cause::Cause,
    line::Line,
    opening::{self, Opened},
    request::{self, handle},
    respond,
    share::Place,
    shared::{Shared, Stage, Worker},
    stream::Stream,
    upgrade::{self, Upgraded},
    wheel::{Alarm, Wheel},
    wire::{Lent, Wire},
};
use crate::config::GatewayLimits;

/// What the requests of a connection have in common.
pub(super) struct Conn {
    pub(super) shared: Arc<Shared>,
    pub(super) worker: Arc<Worker>,
    pub(super) place: Place,
    pub(super) peer: SocketAddr,
    /// The connection's original destination.
    pub(super) local: SocketAddr,
    pub(super) announced: Announced,
    /// The name that the client asked for in its TLS handshake.
    pub(super) tls_name: Option<String>,
    pub(super) is_http1: bool,
    pub(super) line: Arc<Line>,
    upgraded: Mutex<Option<Upgraded>>,
}

/// What the PROXY protocol said ahead of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Announced {
    /// It is not spoken here, or names nobody.
    Nothing,
    /// Who connected to the proxy.
    Client(IpAddr),
}

impl Conn {
    /// The connection becomes something else once the answer has been written.
    pub(super) fn upgraded(&self, upgraded: Upgraded) {
        *self.slot() = Some(upgraded);
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Upgraded>> {
        self.upgraded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves an accepted connection to its end.
pub(super) async fn serve(
    shared: Arc<Shared>,
    worker: Arc<Worker>,
    tcp: TcpStream,
    peer: SocketAddr,
) {
    let Ok(local) = tcp.local_addr() else {
        return shared.count(Cause::Accept, Some(peer.ip()));
    };
    let (peer, local) = (canonical(peer), canonical(local));
    let snapshot = shared.gate.snapshot();
    let Some(rules) = request::rules(&snapshot, local.port()) else {
        return shared.reject(Cause::NotAService, peer.ip());
    };
    let limits = rules.gateway.limits;
    let Some(place) = shared
        .load(&rules.service.name)
        .connect(limits.connections_max)
    else {
        return shared.reject(Cause::Connections, peer.ip());
    };
    let opened = match Box::pin(opening::open(&shared, &worker.wheel, tcp, peer, &rules)).await {
        Ok(Some(opened)) => opened,
        Ok(None) => return,
        Err(cause) => return shared.reject(cause, peer.ip()),
    };
    drop(snapshot);
    let Opened {
        stream,
        is_http2,
        announced,
        tls_name,
    } = opened;
    let conn = Conn {
        shared,
        worker,
        place,
        peer,
        local,
        announced,
        tls_name,
        is_http1: !is_http2,
        line: Arc::default(),
        upgraded: Mutex::new(None),
    };
    // Boxed, as other states below: what a connection is not at takes no room in it. Most are quiet.
    if is_http2 {
        Box::pin(serve_http2(Arc::new(conn), stream, limits)).await;
    } else {
        serve_http1(conn, stream, limits).await;
    }
}

async fn serve_http1(conn: Conn, stream: Stream, limits: GatewayLimits) {
    let mut wire = Wire::new(stream, Arc::clone(&conn.line), limits, &conn.worker.wheel);
    let mut leaving = Leaving::new(&conn);
    loop {
        Box::pin(speak_http1(&conn, &mut wire, &mut leaving, limits)).await;
        // A quiet connection is kept without what hyper needs for a busy one.
        if !wire.is_parked() || !wire.resumes(|| matches!(leaving.look(), Look::Stay)).await {
            break;
        }
    }
    Box::pin(end_http1(conn, wire)).await;
}

/// What follows on the last request: the change to something else, or a word about what was wrong.
async fn end_http1(conn: Conn, wire: Wire) {
    let fault = wire.fault();
    let is_busy = wire.is_busy();
    let (mut stream, ahead) = wire.into_parts();
    let upgraded = conn.slot().take();
    if let Some(upgraded) = upgraded {
        let (wheel, shared) = (&conn.worker.wheel, &conn.shared);
        return upgrade::run(stream, &ahead, upgraded, wheel, shared).await;
    }
    match fault {
        Some(cause) if !conn.line.is_broken() => {
            conn.shared.reject(cause, conn.peer.ip());
            let answer = respond::raw(cause);
            conn.worker
                .wheel
                .within(LINGER, stream.write_all(answer.as_bytes()))
                .await;
        }
        Some(cause) => conn.shared.count(cause, Some(conn.peer.ip())),
        None => {}
    }
    conn.worker.wheel.within(LINGER, stream.shutdown()).await;
    if fault.is_some() || is_busy {
        // What is closed with bytes unread is reset, and the answer with it.
        conn.worker.wheel.within(LINGER, discard(&mut stream)).await;
    }
}

async fn speak_http1(
    conn: &Conn,
    wire: &mut Wire,
    leaving: &mut Leaving<'_>,
    limits: GatewayLimits,
) {
    let service = service_fn(|request| {
        conn.line.begins();
        handle(conn, request)
    });
    let mut builder = http1::Builder::new();
    builder.max_buf_size(limits.head_bytes_max.max(READ_BYTES_MIN) + LINE_BYTES);
    if limits.headers_max > HYPERS_HEADERS_MAX {
        // Costs an allocation for each request.
        builder.max_headers(limits.headers_max);
    }
    let mut http = pin!(builder.serve_connection(Lent(wire), service));
    let ended = std::future::poll_fn(|cx| {
        loop {
            let leaves = match leaving.look_at(cx) {
                Look::Stay => false,
                Look::Leave => true,
                Look::Over => return Poll::Ready(Ok(())),
            };
            if leaves {
                http.as_mut().graceful_shutdown();
            }
            let begun = conn.line.has_begun();
            let result = http.as_mut().poll(cx);
            // Once more if this was the first request: its answer says whether the connection ends with it.
            if result.is_ready() || begun == conn.line.has_begun() {
                return result;
            }
        }
    })
    .await;
    if let Err(error) = ended
        && (error.is_parse() || error.is_parse_too_large())
    {
        conn.shared.reject(Cause::Http, conn.peer.ip());
    }
}

async fn serve_http2(conn: Arc<Conn>, stream: Stream, limits: GatewayLimits) {
    let streams = Streams {
        wheel: Arc::clone(&conn.worker.wheel),
        limit: limits.upstream_timeout.max(limits.body_timeout) + STREAM_SLACK,
    };
    let context = Arc::clone(&conn);
    let service = service_fn(move |request| {
        let conn = Arc::clone(&context);
        conn.line.begins();
        async move { handle(&conn, request).await }
    });
    let head_bytes = u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX);
    let mut http = pin!(
        http2::Builder::new(streams)
            .enable_connect_protocol()
            .max_concurrent_streams(limits.streams_max)
            .max_header_list_size(head_bytes)
            .serve_connection(TokioIo::new(stream), service)
    );
    let mut leaving = Leaving::new(&conn);
    let idle = Alarm::new(&conn.worker.wheel);
    let mut was_idle = false;
    let ended = std::future::poll_fn(|cx| {
        match leaving.look_at(cx) {
            Look::Stay => {}
            Look::Leave => http.as_mut().graceful_shutdown(),
            Look::Over => return Poll::Ready(Ok(())),
        }
        let result = http.as_mut().poll(cx);
        if result.is_ready() {
            return result;
        }
        let is_idle = conn.line.is_idle();
        match (was_idle, is_idle) {
            (false, true) => idle.set(limits.idle_timeout),
            (true, false) => idle.clear(),
            _ => {}
        }
        was_idle = is_idle;
        if idle.rings(cx) {
            http.as_mut().graceful_shutdown();
            idle.set(GOODBYE);
            if leaving.is_late() {
                return Poll::Ready(Ok(()));
            }
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    })
    .await;
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP/2 connection ended badly");
    }
}

/// Whether the connection is to end before the client ends it.
struct Leaving<'a> {
    conn: &'a Conn,
    epoch: u64,
    told: bool,
    rung: bool,
    /// Rings when the first request should have come.
    first: Alarm,
    waits: bool,
}

enum Look {
    Stay,
    Leave,
    Over,
}

impl<'a> Leaving<'a> {
    fn new(conn: &'a Conn) -> Self {
        Self {
            conn,
            epoch: conn.shared.epoch(),
            told: false,
            rung: false,
            first: Alarm::new(&conn.worker.wheel),
            waits: false,
        }
    }

    /// As [`Self::look`], but a connection that has had no request yet is given a moment for its first: it was
    /// accepted, and whoever sent it is not prepared to be turned away.
    fn look_at(&mut self, cx: &mut Context<'_>) -> Look {
        if self.conn.shared.stage() == Stage::Draining && !self.conn.line.has_begun() {
            if !self.waits {
                self.waits = true;
                self.first.set(FIRST_REQUEST);
            }
            if !self.first.rings(cx) {
                return Look::Stay;
            }
        }
        self.look()
    }

    fn look(&mut self) -> Look {
        let shared = &self.conn.shared;
        match shared.stage() {
            Stage::Serving | Stage::Closed => {}
            Stage::Over => return Look::Over,
            Stage::Draining => return self.leave(),
        }
        let epoch = shared.epoch();
        if epoch == self.epoch {
            return Look::Stay;
        }
        self.epoch = epoch;
        match request::rules(&shared.gate.snapshot(), self.conn.local.port()) {
            Some(_) => Look::Stay,
            None => self.leave(),
        }
    }

    fn leave(&mut self) -> Look {
        if std::mem::replace(&mut self.told, true) {
            Look::Stay
        } else {
            Look::Leave
        }
    }

    /// Whether it has been told to end for idleness before.
    fn is_late(&mut self) -> bool {
        std::mem::replace(&mut self.rung, true)
    }
}

/// Runs the streams of an HTTP/2 connection; one at which nothing happens for longer than any limit of its
/// own is dropped: its client does not read.
#[derive(Clone)]
struct Streams {
    wheel: Arc<Wheel>,
    limit: Duration,
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let alarm = Alarm::new(&self.wheel);
        let limit = self.limit;
        tokio::spawn(async move {
            let mut stream = pin!(stream);
            std::future::poll_fn(|cx| poll_stream(stream.as_mut(), &alarm, limit, cx)).await;
        });
    }
}

fn poll_stream<F>(
    stream: Pin<&mut F>,
    alarm: &Alarm,
    limit: Duration,
    cx: &mut Context<'_>,
) -> Poll<()>
where
    F: Future<Output = ()>,
{
    if alarm.rings(cx) {
        return Poll::Ready(());
    }
    let result = stream.poll(cx);
    alarm.set(limit);
    result
}

/// Reads what the client still sends, up to a bound, so that it sees what it was answered.
async fn discard(stream: &mut Stream) -> std::io::Result<()> {
    let mut buffer = [0; 4_096];
    let mut left = DISCARDED_BYTES_MAX;
    while left > 0 {
        match stream.read(&mut buffer).await? {
            0 => break,
            read => left = left.saturating_sub(read),
        }
    }
    Ok(())
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// hyper's own limit of headers; the wire holds the configured one.
const HYPERS_HEADERS_MAX: usize = 100;
/// hyper's least.
const READ_BYTES_MIN: usize = 8_192;
/// A head that is just too long is refused here before hyper refuses it.
const LINE_BYTES: usize = 4_096;
/// How long a connection without a request may live on once the gateway ends.
const FIRST_REQUEST: Duration = Duration::from_secs(1);
const LINGER: Duration = Duration::from_secs(2);
const GOODBYE: Duration = Duration::from_secs(5);
const STREAM_SLACK: Duration = Duration::from_secs(5);
const DISCARDED_BYTES_MAX: usize = 1_048_576;

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<A, B, C, D, F>(_: impl Fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_quiet_connection_takes_little_memory() {
        let bytes = bytes(serve);
        assert!(bytes <= 3_072, "{bytes} bytes a connection");
    }
}
