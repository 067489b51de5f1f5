//! A stream that ends by itself: heads that do not come to an end, silence, and callers that do not
//! take their answers. HTTP's own timer cannot tell a slow head from an idle connection.

use std::{
    io::{self, ErrorKind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use super::{HEAD_TIMEOUT, IDLE_TIMEOUT};

/// Whether a request has begun to arrive. Set by the stream, cleared by whoever answers.
#[derive(Debug, Default)]
pub(super) struct Phase(AtomicBool);

impl Phase {
    /// The request has been read.
    pub(super) fn idle(&self) {
        self.0.store(false, Relaxed);
    }

    fn begun(&self) {
        self.0.store(true, Relaxed);
    }

    fn is_begun(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// See the module.
pub(super) struct Timed<S> {
    stream: S,
    /// `None` where only silence counts.
    phase: Option<Arc<Phase>>,
    reading: Pin<Box<Sleep>>,
    /// What `reading` was set for: a head, if true.
    armed_for_head: bool,
    /// Bytes have arrived since.
    progressed: bool,
    writing: Option<Pin<Box<Sleep>>>,
}

impl<S> Timed<S> {
    pub(super) fn new(stream: S, phase: Option<Arc<Phase>>) -> Self {
        Self {
            stream,
            phase,
            reading: Box::pin(sleep(IDLE_TIMEOUT)),
            armed_for_head: false,
            progressed: false,
            writing: None,
        }
    }

    fn silent(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let head = self.phase.as_ref().is_some_and(|phase| phase.is_begun());
        // More of one head does not give it more time; anything else does.
        if head != self.armed_for_head || (self.progressed && !head) {
            let time = if head { HEAD_TIMEOUT } else { IDLE_TIMEOUT };
            self.reading.as_mut().reset(Instant::now() + time);
            self.armed_for_head = head;
        }
        self.progressed = false;
        self.reading
            .as_mut()
            .poll(context)
            .map(|()| io::Error::new(ErrorKind::TimedOut, "nothing came in time"))
    }

    fn written<T>(
        &mut self,
        outcome: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.writing = None;
            return outcome;
        }
        let timer = self
            .writing
            .get_or_insert_with(|| Box::pin(sleep(HEAD_TIMEOUT)));
        timer.as_mut().poll(context).map(|()| {
            Err(io::Error::new(
                ErrorKind::TimedOut,
                "the answer was not taken in time",
            ))
        })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Ready(outcome) => {
                if let Some(phase) = &self.phase {
                    phase.begun();
                }
                self.progressed = true;
                Poll::Ready(outcome)
            }
            Poll::Pending => self.silent(context).map(Err),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(outcome, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.written(outcome, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
