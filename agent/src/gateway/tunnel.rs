//! A connection that has become something else: bytes in both directions until one side ends or nothing
//! has moved for long.

use std::{
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};

use super::{
    shared::{Shared, Stage},
    stream::Stream,
    wheel::{Alarm, Wheel},
};

/// Passes bytes on until either side has ended, nothing has moved for `idle`, or the gateway is over.
pub(super) async fn splice<C: AsyncRead + AsyncWrite + Unpin>(
    client: &mut C,
    upstream: &mut Stream,
    idle: Duration,
    wheel: &Arc<Wheel>,
    shared: &Shared,
) -> io::Result<()> {
    let alarm = Alarm::new(wheel);
    alarm.set(idle);
    let mut client = Moving {
        stream: client,
        alarm: &alarm,
        idle,
    };
    let mut upstream = Moving {
        stream: upstream,
        alarm: &alarm,
        idle,
    };
    let mut copying = pin!(copy_bidirectional_with_sizes(
        &mut client,
        &mut upstream,
        BUFFER_BYTES,
        BUFFER_BYTES
    ));
    std::future::poll_fn(|cx| {
        if let Poll::Ready(result) = copying.as_mut().poll(cx) {
            return Poll::Ready(result.map(|_| ()));
        }
        if alarm.rings(cx) || shared.stage() == Stage::Over {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    })
    .await
}

/// Puts the alarm off whenever bytes move.
struct Moving<'a, S> {
    stream: &'a mut S,
    alarm: &'a Alarm,
    idle: Duration,
}

impl<S> Moving<'_, S> {
    fn moved<T>(&self, result: Poll<T>) -> Poll<T> {
        if result.is_ready() {
            self.alarm.set(self.idle);
        }
        result
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Moving<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut *self.stream).poll_read(cx, buf);
        self.moved(result)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Moving<'_, S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut *self.stream).poll_write(cx, buf);
        self.moved(result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(cx)
    }
}

/// For each direction.
const BUFFER_BYTES: usize = 16_384;
