//! HTTP/1.1 towards the upstream: kept-alive connections of one worker. A connection is driven by the
//! request that uses it, in that request's own task, so that nothing is handed from task to task.

use std::{
    collections::HashMap,
    future::poll_fn,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::http1::{Builder, Connection, SendRequest},
};
use hyper_util::rt::TokioIo;

use super::{
    body::{UpBody, Upload},
    cause::Cause,
    stream::Stream,
    upstream::Key,
    wheel::Alarm,
};

/// A connection to an upstream.
pub(super) struct Link(Box<Inner>);

struct Inner {
    sender: SendRequest<UpBody>,
    connection: Connection<TokioIo<Stream>, UpBody>,
    key: Key,
    pool: Pooled,
    /// The connection has ended, well or badly.
    over: bool,
    reused: bool,
    /// Sweeps since it became idle.
    sweeps: u32,
}

/// The pool that a connection is counted in.
struct Pooled(Arc<Pool>);

/// The idle connections of one worker.
#[derive(Default)]
pub(super) struct Pool {
    idle: Mutex<HashMap<Key, Vec<Link>>>,
    /// Idle and busy.
    open: AtomicUsize,
}

/// Why there is no answer.
pub(super) enum CallError {
    /// Nothing of the request was sent.
    Unsent(Box<Request<UpBody>>),
    /// The connection ended before an answer came.
    Broken,
    /// No answer in time.
    Slow,
}

impl Pool {
    /// An idle connection that is still there.
    pub(super) fn take(&self, key: &Key) -> Option<Link> {
        loop {
            let mut link = self.lock().get_mut(key)?.pop()?;
            link.0.reused = true;
            if link.is_usable() {
                return Some(link);
            }
        }
    }

    /// Closes what has ended or has been idle for long. Called every few ticks.
    pub(super) fn sweep(&self) {
        self.lock().retain(|_, links| {
            links.retain_mut(|link| {
                link.0.sweeps += 1;
                link.0.sweeps <= IDLE_SWEEPS_MAX && link.is_usable()
            });
            !links.is_empty()
        });
    }

    /// Closes them all.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    /// Idle connections, and all of them.
    pub(super) fn sizes(&self) -> (usize, usize) {
        let idle = self.lock().values().map(Vec::len).sum();
        (idle, self.open.load(Relaxed))
    }

    fn put(&self, mut link: Link) {
        link.0.sweeps = 0;
        let mut idle = self.lock();
        if idle.len() >= UPSTREAMS_MAX && !idle.contains_key(&link.0.key) {
            return;
        }
        match idle.get_mut(&link.0.key) {
            Some(links) if links.len() >= IDLE_MAX => {}
            Some(links) => links.push(link),
            None => {
                idle.insert(link.0.key.clone(), vec![link]);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Vec<Link>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    /// Speaks HTTP/1.1 over a fresh connection.
    pub(super) async fn new(stream: Stream, key: Key, pool: &Arc<Pool>) -> Result<Self, Cause> {
        let (sender, connection) = Builder::new()
            .max_buf_size(READ_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| Cause::UpstreamBroken)?;
        pool.open.fetch_add(1, Relaxed);
        Ok(Self(Box::new(Inner {
            sender,
            connection,
            key,
            pool: Pooled(Arc::clone(pool)),
            over: false,
            reused: false,
            sweeps: 0,
        })))
    }

    /// Whether it has served a request before, and may have been closed meanwhile.
    pub(super) fn is_reused(&self) -> bool {
        self.0.reused
    }

    /// Sends a request and waits for the head of its answer. `alarm` is set; an upload that goes on sets it anew.
    pub(super) async fn call(
        &mut self,
        request: Request<UpBody>,
        upload: Option<&Upload>,
        alarm: (&Alarm, Duration),
    ) -> Result<Response<Incoming>, CallError> {
        let (alarm, limit) = alarm;
        let mut frames = 0;
        let mut uploading = upload.is_some();
        let mut sent = pin!(self.0.sender.try_send_request(request));
        let inner = &mut *self.0;
        let (connection, over) = (&mut inner.connection, &mut inner.over);
        poll_fn(|cx| {
            drive(connection, over, cx);
            if let Poll::Ready(result) = sent.as_mut().poll(cx) {
                return Poll::Ready(result.map_err(|mut error| match error.take_message() {
                    Some(request) => CallError::Unsent(Box::new(request)),
                    None => CallError::Broken,
                }));
            }
            if let Some(upload) = upload
                && uploading
                && (upload.frames() > frames || upload.has_ended())
            {
                // The answer is waited for from the last piece of the request on.
                frames = upload.frames();
                uploading = !upload.has_ended();
                alarm.set(limit);
            }
            if alarm.rings(cx) {
                return Poll::Ready(Err(CallError::Slow));
            }
            Poll::Pending
        })
        .await
    }

    /// Lets the connection read and write.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        drive(&mut self.0.connection, &mut self.0.over, cx);
    }

    /// The request that used it has ended.
    pub(super) fn give_back(mut self, cx: &mut Context<'_>) {
        self.drive(cx);
        if !self.0.over && !self.0.sender.is_closed() {
            let pool = Arc::clone(&self.0.pool.0);
            pool.put(self);
        }
    }

    /// The same, for an answer without a body.
    pub(super) async fn given_back(self) {
        let mut link = Some(self);
        poll_fn(|cx| {
            if let Some(link) = link.take() {
                link.give_back(cx);
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Drives it to its end in a task of its own, for a request that is still being sent and an answer that
    /// has begun; not for longer than `limit` without a piece of the request.
    pub(super) fn detach(mut self, upload: Arc<Upload>, alarm: Alarm, limit: Duration) {
        alarm.set(limit);
        let mut frames = upload.frames();
        tokio::spawn(poll_fn(move |cx| {
            self.drive(cx);
            if upload.has_ended() {
                // The answer has limits of its own, and takes the connection with it.
                alarm.clear();
            } else if upload.frames() > frames {
                frames = upload.frames();
                alarm.set(limit);
            }
            if self.0.over || alarm.rings(cx) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }));
    }

    /// The connection after an answer of 101: what it has become, and what was read of that.
    pub(super) async fn upgraded(mut self) -> Option<(Stream, Bytes)> {
        if !self.0.over {
            let result = poll_fn(|cx| self.0.connection.poll_without_shutdown(cx)).await;
            self.0.over = true;
            result.ok()?;
        }
        let parts = self.0.connection.into_parts();
        Some((parts.io.into_inner(), parts.read_buf))
    }

    fn is_usable(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        !self.0.over && self.0.sender.is_ready()
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

/// Drives a connection unless it is over.
fn drive(
    connection: &mut Connection<TokioIo<Stream>, UpBody>,
    over: &mut bool,
    cx: &mut Context<'_>,
) {
    if !*over && connection.poll_without_shutdown(cx).is_ready() {
        *over = true;
    }
}

/// Bytes of an answer read at a time, and the most that its head may have.
const READ_BYTES_MAX: usize = 131_072;
/// Idle connections to one upstream.
const IDLE_MAX: usize = 512;
/// Upstreams with idle connections: each client is one where the PROXY protocol is spoken.
const UPSTREAMS_MAX: usize = 1_024;
/// Sweeps are a second apart; common servers close after 60 s or later.
const IDLE_SWEEPS_MAX: u32 = 50;
