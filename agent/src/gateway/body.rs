//! Bodies on their way through: frame by frame, never gathered, each wait with its limit. Trailers pass
//! without the names that belong to framing, routing or forwarding.

use std::{
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::{
    cause::Cause,
    headers,
    http1::{Link, SharedLink, lock},
    share::Share,
    sign_in::Watch,
    wheel::{Alarm, Wheel},
};

/// A request's body on its way to the upstream.
pub(super) enum UpBody {
    Empty,
    Streaming(Streaming),
}

/// What was read of a body before its request was judged.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    pub(super) data: Option<Bytes>,
    pub(super) trailers: Option<HeaderMap>,
    /// There is no more.
    pub(super) is_whole: bool,
}

/// See [`UpBody`].
pub(super) struct Streaming {
    ahead: Option<Box<Ahead>>,
    incoming: Incoming,
    wait: Wait,
    upload: Arc<Upload>,
}

/// How far a request's body has come.
#[derive(Debug, Default)]
pub(super) struct Upload {
    frames: AtomicU64,
    ended: AtomicBool,
    fault: OnceLock<Cause>,
}

/// An answer's body on its way to the client, with what the request holds until it has ended.
pub(super) struct OutBody {
    content: Content,
    share: Option<Share>,
    /// Looks at what passes, where that tells how a sign-in ended.
    watch: Option<Box<Watch>>,
}

enum Content {
    Empty,
    Own(Bytes),
    Upstream { source: Source, wait: Wait },
}

/// What an upstream's body comes from.
pub(super) enum Source {
    /// Given back once the body has ended.
    Link(Link),
    Shared(SharedLink),
    /// A stream of an HTTP/2 connection.
    Stream(Incoming),
    /// It has ended.
    Over,
}

/// The wait for the next frame.
struct Wait {
    wheel: Arc<Wheel>,
    limit: Duration,
    /// While there is something to wait for.
    alarm: Option<Alarm>,
}

impl UpBody {
    /// A body that streams, behind what was read of it already; and its progress.
    pub(super) fn streaming(
        ahead: Option<Box<Ahead>>,
        incoming: Incoming,
        wheel: &Arc<Wheel>,
        limit: Duration,
    ) -> (Self, Arc<Upload>) {
        let upload = Arc::new(Upload::default());
        let body = Self::Streaming(Streaming {
            ahead,
            incoming,
            wait: Wait::new(wheel, limit),
            upload: Arc::clone(&upload),
        });
        (body, upload)
    }
}

impl Ahead {
    fn is_empty(&self) -> bool {
        self.data.is_none() && self.trailers.is_none()
    }

    fn frame(&mut self) -> Option<Frame<Bytes>> {
        let data = self.data.take().map(Frame::data);
        data.or_else(|| self.trailers.take().map(Frame::trailers))
    }
}

impl Upload {
    /// Frames so far.
    pub(super) fn frames(&self) -> u64 {
        self.frames.load(Relaxed)
    }

    /// Whether all of it has been read, or nobody wants more.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Relaxed)
    }

    /// Why the client's side of it broke off, if it did.
    pub(super) fn fault(&self) -> Option<Cause> {
        self.fault.get().copied()
    }

    fn fails(&self, cause: Cause) -> Cause {
        *self.fault.get_or_init(|| cause)
    }
}

impl Body for UpBody {
    type Data = Bytes;
    type Error = Cause;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        let Self::Streaming(streaming) = self.get_mut() else {
            return Poll::Ready(None);
        };
        let upload = &streaming.upload;
        if let Some(ahead) = &mut streaming.ahead {
            if let Some(frame) = ahead.frame() {
                upload.frames.fetch_add(1, Relaxed);
                return Poll::Ready(Some(Ok(frame)));
            }
            if ahead.is_whole {
                upload.ended.store(true, Relaxed);
                return Poll::Ready(None);
            }
        }
        let next = poll_incoming(&mut streaming.incoming, cx);
        match streaming.wait.poll(next, cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Next::Frame(frame)) => {
                upload.frames.fetch_add(1, Relaxed);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Next::End) => {
                upload.ended.store(true, Relaxed);
                Poll::Ready(None)
            }
            Poll::Ready(Next::Broken(cause)) => {
                Poll::Ready(Some(Err(upload.fails(cause.unwrap_or(Cause::Chunk)))))
            }
            Poll::Ready(Next::Slow) => Poll::Ready(Some(Err(upload.fails(Cause::BodyTimeout)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streaming(streaming) => {
                let ahead = streaming.ahead.as_deref();
                ahead.is_none_or(Ahead::is_empty)
                    && (ahead.is_some_and(|ahead| ahead.is_whole)
                        || streaming.incoming.is_end_stream())
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        let Self::Streaming(streaming) = self else {
            return SizeHint::with_exact(0);
        };
        let rest = streaming.incoming.size_hint();
        let ahead = streaming
            .ahead
            .as_ref()
            .and_then(|ahead| ahead.data.as_ref());
        let ahead = ahead.map_or(0, Bytes::len);
        match (rest.exact(), u64::try_from(ahead)) {
            (Some(rest), Ok(ahead)) => SizeHint::with_exact(rest.saturating_add(ahead)),
            _ => rest,
        }
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.upload.ended.store(true, Relaxed);
    }
}

impl OutBody {
    pub(super) fn empty(share: Option<Share>) -> Self {
        Self {
            content: Content::Empty,
            share,
            watch: None,
        }
    }

    /// A body of the gateway's own.
    pub(super) fn own(bytes: Bytes, share: Option<Share>) -> Self {
        Self {
            content: Content::Own(bytes),
            share,
            watch: None,
        }
    }

    /// The upstream's body.
    pub(super) fn upstream(
        source: Source,
        wheel: &Arc<Wheel>,
        limit: Duration,
        share: Share,
    ) -> Self {
        Self {
            content: Content::Upstream {
                source,
                wait: Wait::new(wheel, limit),
            },
            share: Some(share),
            watch: None,
        }
    }

    /// The same, with somebody who looks at what passes.
    pub(super) fn watched(mut self, watch: Option<Box<Watch>>) -> Self {
        self.watch = watch;
        self
    }
}

impl Body for OutBody {
    type Data = Bytes;
    type Error = Cause;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        let this = self.get_mut();
        match &mut this.content {
            Content::Empty => Poll::Ready(None),
            Content::Own(bytes) => {
                let bytes = std::mem::take(bytes);
                this.content = Content::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Content::Upstream { source, wait } => {
                let next = wait.poll(source.poll_frame(cx), cx);
                let share = this.share.as_mut();
                Poll::Ready(match ready!(next) {
                    Next::Frame(frame) => {
                        if let (Some(watch), Some(data)) = (&mut this.watch, frame.data_ref()) {
                            watch.see(data);
                        }
                        if source.has_ended() {
                            end(source, share);
                        }
                        Some(Ok(frame))
                    }
                    Next::End => {
                        end(source, share);
                        None
                    }
                    Next::Broken(_) => {
                        fail(share, Cause::UpstreamBroken);
                        Some(Err(Cause::UpstreamBroken))
                    }
                    Next::Slow => {
                        fail(share, Cause::UpstreamBodyTimeout);
                        Some(Err(Cause::UpstreamBodyTimeout))
                    }
                })
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Empty => true,
            Content::Own(bytes) => bytes.is_empty(),
            Content::Upstream { source, .. } => source.has_ended(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Empty => SizeHint::with_exact(0),
            Content::Own(bytes) => {
                SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
            }
            Content::Upstream { source, .. } => source.size_hint(),
        }
    }
}

impl Source {
    /// Whether there is no more of the body.
    pub(super) fn has_ended(&self) -> bool {
        match self {
            Self::Link(link) => link.has_ended(),
            Self::Shared(link) => lock(link).has_ended(),
            Self::Stream(incoming) => incoming.is_end_stream(),
            Self::Over => true,
        }
    }

    /// Lets the next request have what the body came over.
    pub(super) fn finish(&mut self) {
        if let Self::Link(link) = std::mem::replace(self, Self::Over) {
            link.give_back();
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Link(link) => link.size_hint(),
            Self::Shared(link) => lock(link).size_hint(),
            Self::Stream(incoming) => incoming.size_hint(),
            Self::Over => SizeHint::with_exact(0),
        }
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Option<Cause>>>> {
        let without_cause = |frame: Result<_, _>| frame.map_err(|_| None);
        match self {
            Self::Link(link) => {
                link.drive(cx);
                link.poll_frame(cx).map(|next| next.map(without_cause))
            }
            Self::Shared(link) => lock(link)
                .poll_frame(cx)
                .map(|next| next.map(without_cause)),
            Self::Stream(incoming) => poll_incoming(incoming, cx),
            Self::Over => Poll::Ready(None),
        }
    }
}

fn poll_incoming(
    incoming: &mut Incoming,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, Option<Cause>>>> {
    Pin::new(incoming)
        .poll_frame(cx)
        .map(|next| next.map(|frame| frame.map_err(|error| cause_of(&error))))
}

/// The body has come to its end.
fn end(source: &mut Source, share: Option<&mut Share>) {
    source.finish();
    if let Some(share) = share {
        share.ended();
    }
}

fn fail(share: Option<&mut Share>, cause: Cause) {
    if let Some(share) = share {
        share.failed(cause);
    }
}

/// What the wait for a frame ended with.
enum Next {
    Frame(Frame<Bytes>),
    End,
    /// With the wire's own word for it, if it has one.
    Broken(Option<Cause>),
    Slow,
}

impl Wait {
    fn new(wheel: &Arc<Wheel>, limit: Duration) -> Self {
        Self {
            wheel: Arc::clone(wheel),
            limit,
            alarm: None,
        }
    }

    /// What a look at the body means: a wait that goes on is held to the limit.
    fn poll(
        &mut self,
        next: Poll<Option<Result<Frame<Bytes>, Option<Cause>>>>,
        cx: &Context<'_>,
    ) -> Poll<Next> {
        match next {
            Poll::Pending => {
                let alarm = self.alarm.get_or_insert_with(|| {
                    let alarm = Alarm::new(&self.wheel);
                    alarm.set(self.limit);
                    alarm
                });
                if alarm.rings(cx) {
                    return Poll::Ready(Next::Slow);
                }
                Poll::Pending
            }
            Poll::Ready(next) => {
                self.alarm = None;
                Poll::Ready(match next {
                    None => Next::End,
                    Some(Err(cause)) => Next::Broken(cause),
                    Some(Ok(frame)) => Next::Frame(without_forbidden(frame)),
                })
            }
        }
    }
}

/// The cause that the wire gave for an error, which has come through hyper since.
pub(super) fn cause_of(error: &hyper::Error) -> Option<Cause> {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return io.get_ref()?.downcast_ref::<Cause>().copied();
        }
        source = error.source();
    }
    None
}

fn without_forbidden(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            headers::clean_trailers(&mut trailers);
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    }
}
