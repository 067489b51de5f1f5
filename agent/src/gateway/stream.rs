//! One type for every connection, in and out, plain and TLS: bytes that were read to find out what the
//! connection speaks are given out again first.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::TlsStream;

/// A TCP connection with what was read of it ahead of time.
#[derive(Debug)]
pub(super) struct Socket {
    tcp: TcpStream,
    /// Read, but not given out yet.
    ahead: BytesMut,
}

/// See the module.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

impl Socket {
    pub(super) fn new(tcp: TcpStream) -> Self {
        Self {
            tcp,
            ahead: BytesMut::new(),
        }
    }

    /// What was read ahead.
    pub(super) fn ahead(&mut self) -> &mut BytesMut {
        &mut self.ahead
    }

    /// Reads more ahead, no more than `bytes_max`; 0 is the end.
    pub(super) async fn read_ahead(&mut self, bytes_max: usize) -> io::Result<usize> {
        let mut chunk = [0; 1_024];
        let room = bytes_max.saturating_sub(self.ahead.len()).min(chunk.len());
        let (chunk, _) = chunk.split_at_mut(room);
        let read = self.tcp.read(chunk).await?;
        let (chunk, _) = chunk.split_at(read);
        self.ahead.extend_from_slice(chunk);
        Ok(read)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ahead.is_empty() {
            return Pin::new(&mut this.tcp).poll_read(cx, buf);
        }
        let given = this.ahead.len().min(buf.remaining());
        buf.put_slice(&this.ahead.split_to(given));
        if this.ahead.is_empty() {
            // A connection lives long: its first bytes' memory need not.
            this.ahead = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let tcp = Pin::new(&mut self.get_mut().tcp);
        match bufs {
            // The plainer call costs the kernel less, also where it costs a short copy.
            [one] => tcp.poll_write(cx, one),
            several => {
                let bytes: usize = several.iter().map(|piece| piece.len()).sum();
                if bytes > GATHERED_BYTES_MAX {
                    return tcp.poll_write_vectored(cx, several);
                }
                GATHERED.with_borrow_mut(|gathered| {
                    gathered.clear();
                    several
                        .iter()
                        .for_each(|piece| gathered.extend_from_slice(piece));
                    tcp.poll_write(cx, gathered)
                })
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}

thread_local! {
    /// Where a short answer's head and body come together.
    static GATHERED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Pieces that are copied rather than written one by one.
const GATHERED_BYTES_MAX: usize = 4_096;

/// Calls a method of whichever stream it is.
macro_rules! either {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Plain(socket) => {
                let $stream = Pin::new(socket);
                $call
            }
            Stream::Tls(tls) => {
                let $stream = Pin::new(tls.as_mut());
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_write_vectored(),
            Self::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_shutdown(cx))
    }
}
