//! HTTP/1.1 towards the upstream: kept-alive connections of one worker. A connection is driven by the
//! request that uses it, in that request's own task, so that nothing is handed from task to task.

use std::{
    collections::HashMap,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::response::Parts;
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _};

use super::{
    answer::{self, Piece, Rest},
    body::Upload,
    sending::{Sending, Unsendable},
    stream::Stream,
    upstream::Key,
    wheel::Alarm,
};

/// A connection to an upstream.
pub(super) struct Link(Box<Inner>);

/// A connection whose request is still being sent by a task of its own while its answer is read.
pub(super) type SharedLink = Arc<Mutex<Link>>;

struct Inner {
    stream: Stream,
    /// Read, but not given out.
    buffer: BytesMut,
    request: Option<Sending>,
    rest: Rest,
    /// The connection can be used again once this answer has ended.
    keeps: bool,
    /// The request could not be sent to its end, through the upstream's fault.
    refused: bool,
    broken: bool,
    key: Key,
    pool: Pooled,
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
    /// The connection ended before an answer came. With the request, if it can be sent again.
    Broken(Option<Box<Sending>>),
    /// No answer in time.
    Slow,
}

/// The upstream broke off, or answered something that is not HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

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
    pub(super) fn new(stream: Stream, key: Key, pool: &Arc<Pool>) -> Self {
        pool.open.fetch_add(1, Relaxed);
        Self(Box::new(Inner {
            stream,
            buffer: BytesMut::new(),
            request: None,
            rest: Rest::Nothing,
            keeps: false,
            refused: false,
            broken: false,
            key,
            pool: Pooled(Arc::clone(pool)),
            reused: false,
            sweeps: 0,
        }))
    }

    /// Sends a request and waits for the head of its answer. `alarm` is set; an upload that goes on sets it anew.
    pub(super) async fn call(
        &mut self,
        request: Sending,
        upload: Option<&Upload>,
        alarm: (&Alarm, Duration),
    ) -> Result<Parts, CallError> {
        let (alarm, limit) = alarm;
        let mut frames = 0;
        let mut uploading = upload.is_some();
        let inner = &mut *self.0;
        inner.request = Some(request);
        inner.refused = false;
        poll_fn(|cx| {
            let head = match inner.poll_request(cx) {
                Poll::Ready(Err(Broken)) => Poll::Ready(Err(Broken)),
                _ => inner.poll_head(cx),
            };
            if let Poll::Ready(head) = head {
                return Poll::Ready(head.map_err(|Broken| CallError::Broken(inner.again())));
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

    /// Sends what is left of the request: its last piece may not have gone out when the answer began.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        let _ = self.0.poll_request(cx);
    }

    /// The next piece of the answer's body.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let inner = &mut *self.0;
        loop {
            if inner.broken {
                return Poll::Ready(Some(Err(Broken)));
            }
            match inner.rest.take(&mut inner.buffer) {
                Ok(Piece::Frame(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(Piece::End) => return Poll::Ready(None),
                Ok(Piece::More) => {}
                Err(answer::Invalid) => {
                    inner.broken = true;
                    continue;
                }
            }
            match ready!(inner.poll_read(cx)) {
                Ok(0) if inner.rest.ends_here() => return Poll::Ready(None),
                Ok(0) | Err(_) => inner.broken = true,
                Ok(_) => {}
            }
        }
    }

    /// Whether the answer has no more body.
    pub(super) fn has_ended(&self) -> bool {
        self.0.rest.is_over() && !self.0.broken
    }

    /// What is known of the body's length.
    pub(super) fn size_hint(&self) -> SizeHint {
        self.0.rest.size_hint()
    }

    /// The answer has been read to its end.
    pub(super) fn give_back(mut self) {
        let inner = &mut *self.0;
        let sent = inner.request.take().is_some_and(|sent| sent.is_sent());
        if sent && inner.keeps && inner.rest.is_over() && !inner.broken && inner.buffer.is_empty() {
            if inner.buffer.capacity() > READ_BYTES {
                inner.buffer = BytesMut::new();
            }
            let pool = Arc::clone(&inner.pool.0);
            pool.put(self);
        }
    }

    /// Sends the rest of the request in a task of its own, for an answer that has begun before; not for longer
    /// than `limit` without a piece of the request.
    pub(super) fn share(self, upload: Arc<Upload>, alarm: Alarm, limit: Duration) -> SharedLink {
        alarm.set(limit);
        let mut frames = upload.frames();
        let shared = Arc::new(Mutex::new(self));
        let link = Arc::clone(&shared);
        tokio::spawn(poll_fn(move |cx| {
            let mut link = lock(&link);
            let sent = link.0.poll_request(cx);
            if upload.frames() > frames {
                frames = upload.frames();
                alarm.set(limit);
            }
            match sent {
                Poll::Ready(Ok(())) => return Poll::Ready(()),
                Poll::Pending if !alarm.rings(cx) => return Poll::Pending,
                Poll::Ready(Err(Broken)) | Poll::Pending => {}
            }
            // What has been sent is no whole request. The upstream is told so, and whoever reads sees its end.
            let _ = Pin::new(&mut link.0.stream).poll_shutdown(cx);
            Poll::Ready(())
        }));
        shared
    }

    /// The connection after an answer of 101: what it has become, and what was read of that.
    pub(super) fn upgraded(self) -> (Stream, Bytes) {
        let inner = *self.0;
        (inner.stream, inner.buffer.freeze())
    }

    /// Whether nothing has come since the last answer, not even the end.
    fn is_usable(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.0.poll_read(&mut cx).is_pending()
    }
}

impl Inner {
    /// Sends the request; ends once it is sent or the upstream takes no more.
    fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let Some(request) = self.request.as_mut().filter(|_| !self.refused) else {
            return Poll::Ready(Ok(()));
        };
        if request.is_sent() {
            return Poll::Ready(Ok(()));
        }
        match ready!(request.poll(&mut self.stream, cx)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(Unsendable::Refused) => {
                // It may have answered before it stopped to read.
                self.refused = true;
                Poll::Ready(Ok(()))
            }
            Err(Unsendable::Body) => {
                self.broken = true;
                Poll::Ready(Err(Broken))
            }
        }
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Parts, Broken>> {
        let to_head = self.request.as_ref().is_some_and(|request| request.is_head);
        loop {
            match ready!(self.poll_read(cx)) {
                Ok(0) | Err(_) => return Poll::Ready(Err(Broken)),
                Ok(_) => {}
            }
            match answer::head(&mut self.buffer, to_head) {
                Ok(Some(head)) => {
                    self.rest = head.rest;
                    self.keeps = head.keeps && !self.refused;
                    return Poll::Ready(Ok(head.parts));
                }
                Ok(None) => {}
                Err(answer::Invalid) => {
                    // No other connection would answer better.
                    self.request = None;
                    return Poll::Ready(Err(Broken));
                }
            }
        }
    }

    /// Reads behind what is in the buffer; 0 is the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        let expected = match self.rest {
            Rest::Bytes(left) => usize::try_from(left).unwrap_or(usize::MAX),
            Rest::Chunked(_) | Rest::UntilClose => READ_BYTES_LARGE,
            Rest::Nothing => 0,
        };
        if self.buffer.capacity() - self.buffer.len() < READ_BYTES_LEAST {
            self.buffer
                .reserve(expected.clamp(READ_BYTES, READ_BYTES_LARGE));
        }
        pin!(self.stream.read_buf(&mut self.buffer)).poll(cx)
    }

    /// The request for another connection, if this one was closed because it had been idle.
    fn again(&mut self) -> Option<Box<Sending>> {
        let request = self.request.take()?;
        let untouched = self.reused && self.buffer.is_empty() && !self.broken;
        untouched.then(|| request.again()).flatten().map(Box::new)
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

/// The link of an answer whose request is still being sent.
pub(super) fn lock(link: &SharedLink) -> MutexGuard<'_, Link> {
    link.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes read at a time where no more are expected; an idle connection keeps no more.
const READ_BYTES: usize = 8_192;
/// Bytes read at a time of a long body.
const READ_BYTES_LARGE: usize = 65_536;
/// With less room than that a read is not worth its call.
const READ_BYTES_LEAST: usize = 2_048;
/// Idle connections to one upstream.
const IDLE_MAX: usize = 512;
/// Upstreams with idle connections: each client is one where the PROXY protocol is spoken.
const UPSTREAMS_MAX: usize = 1_024;
/// Sweeps are a second apart; common servers close after 60 s or later.
const IDLE_SWEEPS_MAX: u32 = 50;
