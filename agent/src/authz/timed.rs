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
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// Whether a request has begun to arrive. Set by the stream, cleared by whoever answers.
#[derive(Debug, Default)]
pub(crate) struct Phase(AtomicBool);

impl Phase {
    /// The request has been read.
    pub(crate) fn idle(&self) {
        self.0.store(false, Relaxed);
    }

    fn begun(&self) {
        self.0.store(true, Relaxed);
    }

    fn is_begun(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// How long what may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// From the first byte of a request to the last of its head, and for the caller to take an answer.
    pub(crate) head: Duration,
    /// Without a request.
    pub(crate) idle: Duration,
}

/// See the module.
pub(crate) struct Timed<S> {
    stream: S,
    /// `None` where only silence counts.
    phase: Option<Arc<Phase>>,
    times: Times,
    reading: Pin<Box<Sleep>>,
    /// What `reading` was set for: a head, if true.
    armed_for_head: bool,
    /// Bytes have arrived since.
    progressed: bool,
    writing: Option<Pin<Box<Sleep>>>,
}

impl<S> Timed<S> {
    pub(crate) fn new(stream: S, phase: Option<Arc<Phase>>, times: Times) -> Self {
        Self {
            stream,
            phase,
            times,
            reading: Box::pin(sleep(times.idle)),
            armed_for_head: false,
            progressed: false,
            writing: None,
        }
    }

    fn silent(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let head = self.phase.as_ref().is_some_and(|phase| phase.is_begun());
        // More of one head does not give it more time; anything else does.
        if head != self.armed_for_head || (self.progressed && !head) {
            let time = if head {
                self.times.head
            } else {
                self.times.idle
            };
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
        let most = self.times.head;
        let timer = self.writing.get_or_insert_with(|| Box::pin(sleep(most)));
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

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::UnixStream,
    };

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(3_600);

    fn timed(head: Duration, idle: Duration) -> (UnixStream, Timed<UnixStream>, Arc<Phase>) {
        let (caller, ours) = UnixStream::pair().unwrap();
        let phase = Arc::new(Phase::default());
        let stream = Timed::new(ours, Some(Arc::clone(&phase)), Times { head, idle });
        (caller, stream, phase)
    }

    #[tokio::test]
    async fn silence_ends_it() {
        let (_caller, mut stream, _) = timed(LONG, SHORT);
        let ended = stream.read_u8().await.unwrap_err();
        assert_eq!(ended.kind(), ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_head_that_trickles_ends_it_and_one_that_was_read_does_not() {
        let (mut caller, mut stream, phase) = timed(SHORT, LONG);
        caller.write_all(b"G").await.unwrap();
        stream.read_u8().await.unwrap();
        // Answered: the time of the head does not run on.
        phase.idle();
        let quiet = tokio::time::timeout(SHORT * 3, stream.read_u8()).await;
        assert!(quiet.is_err(), "{quiet:?}");
        let trickle = tokio::spawn(async move {
            while caller.write_all(b"E").await.is_ok() {
                tokio::time::sleep(SHORT / 4).await;
            }
        });
        let ended = loop {
            if let Err(error) = stream.read_u8().await {
                break error;
            }
        };
        assert_eq!(ended.kind(), ErrorKind::TimedOut);
        drop(stream);
        trickle.await.unwrap();
    }

    #[tokio::test]
    async fn an_answer_that_is_not_taken_ends_it() {
        let (_caller, mut stream, _) = timed(SHORT, LONG);
        let much = vec![0; 64 << 20];
        let ended = stream.write_all(&much).await.unwrap_err();
        assert_eq!(ended.kind(), ErrorKind::TimedOut);
    }
}
