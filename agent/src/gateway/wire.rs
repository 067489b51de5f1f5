//! The client's side of an HTTP/1 connection as hyper reads and writes it: every byte is followed by
//! `framing` on its way in, and every wait has its limit.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use hyper::rt;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use super::{
    cause::Cause,
    framing::{Framing, Phase, Stop},
    line::Line,
    stream::Stream,
    wheel::{Alarm, Wheel},
};
use crate::config::GatewayLimits;

/// See the module.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) stream: Stream,
    line: Arc<Line>,
    framing: Framing,
    limits: GatewayLimits,
    /// Read, but not given out: the beginning of a head, or what follows an upgrade.
    kept: BytesMut,
    /// Bytes of `kept` that have been followed, and of these those that may be given out.
    followed: usize,
    ready: usize,
    fault: Option<Cause>,
    parked: bool,
    /// The fault has been seen once with nothing left to answer: what was answered is on its way out.
    settled: bool,
    reading: Alarm,
    /// What `reading` is set for.
    waits_for: Option<Phase>,
    /// Requests that had been answered when it was set for the next one.
    answers: u64,
    writing: Alarm,
    write_blocked: bool,
}

/// hyper's view of a [`Wire`]; the connection keeps the wire itself.
pub(super) struct Lent<'a>(pub(super) &'a mut Wire);

impl Wire {
    pub(super) fn new(
        stream: Stream,
        line: Arc<Line>,
        limits: GatewayLimits,
        wheel: &Arc<Wheel>,
    ) -> Self {
        Self {
            stream,
            line,
            framing: Framing::new(limits.head_bytes_max, limits.headers_max),
            limits,
            kept: BytesMut::new(),
            followed: 0,
            ready: 0,
            fault: None,
            parked: false,
            settled: false,
            reading: Alarm::new(wheel),
            waits_for: None,
            answers: 0,
            writing: Alarm::new(wheel),
            write_blocked: false,
        }
    }

    /// Why reading ended before the client did.
    pub(super) fn fault(&self) -> Option<Cause> {
        self.fault
    }

    /// Whether a request is in progress, or has begun to come in.
    pub(super) fn is_busy(&self) -> bool {
        self.framing.phase() != Phase::Idle || !self.all_answered()
    }

    /// Whether hyper saw an end only because nothing happened for a while.
    pub(super) fn is_parked(&self) -> bool {
        self.parked
    }

    /// Waits for the next request of a parked connection; `false` if there is none.
    pub(super) async fn resumes(&mut self, mut stays: impl FnMut() -> bool) -> bool {
        self.parked = false;
        self.waits_for = None;
        self.kept = BytesMut::new();
        let left = self.limits.idle_timeout.saturating_sub(PARKED_AFTER);
        self.reading.set(left);
        let resumes = std::future::poll_fn(|cx| {
            if !stays() {
                return Poll::Ready(false);
            }
            match self.poll_first(cx) {
                Poll::Pending if self.reading.rings(cx) => Poll::Ready(false),
                result => result,
            }
        })
        .await;
        self.reading.clear();
        resumes
    }

    /// Reads what comes into `kept`; `false` at the end of the stream.
    fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        SCRATCH.with_borrow_mut(|scratch| {
            let room = FIRST_BYTES_MAX.min(scratch.len());
            let (scratch, _) = scratch.split_at_mut(room);
            let mut read = ReadBuf::new(scratch);
            let result = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read));
            self.kept.extend_from_slice(read.filled());
            Poll::Ready(result.is_ok() && !read.filled().is_empty())
        })
    }

    /// The stream, and what was read of it behind the last request.
    pub(super) fn into_parts(self) -> (Stream, Bytes) {
        (self.stream, self.kept.freeze())
    }

    fn all_answered(&self) -> bool {
        self.line.has_answered(self.framing.heads())
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        mut buf: rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.ready > 0 {
                let given = self.ready.min(buf.remaining());
                buf.put_slice(&self.kept.split_to(given));
                self.ready -= given;
                self.followed -= given;
                return Poll::Ready(Ok(()));
            }
            if let Some(cause) = self.fault {
                return if self.framing.phase() == Phase::Body {
                    self.poll_broken(cause)
                } else {
                    self.poll_stopped(cx)
                };
            }
            if self.framing.phase() == Phase::Held {
                if !self.line.takes_decline() {
                    self.wait_for(None);
                    self.line.wait(cx);
                    let _ = self.reading.rings(cx);
                    return Poll::Pending;
                }
                self.framing.release();
            }
            if self.followed < self.kept.len() {
                self.follow_kept();
            } else if ready!(self.poll_more(cx, &mut buf))? {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Reads from the stream; `false` if that must be looked at before something can be given out.
    fn poll_more(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<bool>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let room = scratch.len().min(buf.remaining());
            let (scratch, _) = scratch.split_at_mut(room);
            let mut read = ReadBuf::new(scratch);
            if Pin::new(&mut self.stream)
                .poll_read(cx, &mut read)?
                .is_pending()
            {
                return self.poll_wait(cx).map_ok(|()| true);
            }
            let data = read.filled();
            if data.is_empty() {
                return Poll::Ready(Ok(true));
            }
            if matches!(self.framing.phase(), Phase::Body | Phase::Held) {
                self.wait_for(None);
            }
            if !self.kept.is_empty() {
                self.kept.extend_from_slice(data);
                self.follow_kept();
                return Poll::Ready(Ok(false));
            }
            let taken = self.framing.take(data);
            if let Some(Stop::Fault(cause)) = taken.stop {
                self.fault = Some(cause);
            }
            let (now, later) = data.split_at(taken.ready);
            self.kept.extend_from_slice(later);
            self.followed = taken.bytes - taken.ready;
            if now.is_empty() {
                return Poll::Ready(Ok(false));
            }
            buf.put_slice(now);
            Poll::Ready(Ok(true))
        })
    }

    /// Follows what is kept and has not been followed yet.
    fn follow_kept(&mut self) {
        let taken = self
            .framing
            .take(self.kept.get(self.followed..).unwrap_or_default());
        if taken.ready > 0 {
            self.ready = self.followed + taken.ready;
        }
        self.followed += taken.bytes;
        if let Some(Stop::Fault(cause)) = taken.stop {
            self.fault = Some(cause);
        }
    }

    /// Nothing to read for now: sets the limit that holds here.
    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let phase = self.framing.phase();
        self.wait_for(Some(phase));
        if !self.reading.rings(cx) {
            return Poll::Pending;
        }
        if phase == Phase::Idle && !(self.all_answered() && self.answers == self.line.answers()) {
            // Not quiet for so long yet: counted from a look after the last answer, which costs a request nothing.
            self.waits_for = None;
            self.wait_for(Some(phase));
            let _ = self.reading.rings(cx);
            return Poll::Pending;
        }
        match phase {
            Phase::Head => {
                self.fault = Some(Cause::HeadTimeout);
                self.poll_stopped(cx)
            }
            Phase::Body => self.poll_broken(Cause::BodyTimeout),
            // The end of the stream for hyper; the connection may go on with another one of it.
            Phase::Idle => {
                self.parked = self.limits.idle_timeout > PARKED_AFTER && !self.write_blocked;
                Poll::Ready(Ok(()))
            }
            Phase::Held => Poll::Ready(Ok(())),
        }
    }

    /// Sets the alarm for what is waited for, unless it is set for just that.
    fn wait_for(&mut self, phase: Option<Phase>) {
        if self.waits_for == phase {
            return;
        }
        self.waits_for = phase;
        match phase {
            Some(Phase::Idle) => {
                self.answers = self.line.answers();
                self.reading.set(self.limits.idle_timeout.min(PARKED_AFTER));
            }
            Some(Phase::Head) => self.reading.set(self.limits.head_timeout),
            Some(Phase::Body) => self.reading.set(self.limits.body_timeout),
            Some(Phase::Held) | None => self.reading.clear(),
        }
    }

    /// No more heads are read: the stream ends for hyper once all before the fault is answered.
    fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let _ = self.reading.rings(cx);
        if self.all_answered() && !self.write_blocked {
            if self.settled {
                return Poll::Ready(Ok(()));
            }
            // hyper reads on before it has written the end of an answer, and forgets that at an end.
            self.settled = true;
            cx.waker().wake_by_ref();
        } else {
            self.line.wait(cx);
        }
        Poll::Pending
    }

    fn poll_broken(&mut self, cause: Cause) -> Poll<io::Result<()>> {
        self.fault = Some(cause);
        self.line.breaks();
        Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, cause)))
    }

    /// What a write that returned means for its limit.
    fn wrote<T>(&mut self, cx: &Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            if self.write_blocked {
                self.write_blocked = false;
                self.writing.clear();
            }
            return result;
        }
        if !self.write_blocked {
            self.write_blocked = true;
            self.writing.set(self.limits.body_timeout);
        }
        if self.writing.rings(cx) {
            self.fault = Some(Cause::BodyTimeout);
            self.line.breaks();
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                Cause::BodyTimeout,
            )));
        }
        Poll::Pending
    }
}

impl rt::Read for Lent<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.get_mut().0.poll_read(cx, buf)
    }
}

impl rt::Write for Lent<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wire = &mut *self.get_mut().0;
        let result = Pin::new(&mut wire.stream).poll_write(cx, buf);
        wire.wrote(cx, result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wire = &mut *self.get_mut().0;
        let result = Pin::new(&mut wire.stream).poll_write_vectored(cx, bufs);
        wire.wrote(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = &mut *self.get_mut().0;
        let result = Pin::new(&mut wire.stream).poll_flush(cx);
        wire.wrote(cx, result)
    }

    /// The connection closes its stream itself: it may have something to say after hyper.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        Poll::Ready(Ok(()))
    }
}

thread_local! {
    /// Where a worker's reads land first, so that they can be looked at before hyper has them.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH_BYTES]);
}

/// How long a connection is quiet before it is kept without hyper; up to twice that and a tick.
const PARKED_AFTER: Duration = Duration::from_millis(250);
/// Read at once when a request comes over a parked connection; the rest of it stays in the socket.
const FIRST_BYTES_MAX: usize = 8_192;
const SCRATCH_BYTES: usize = 65_536;
