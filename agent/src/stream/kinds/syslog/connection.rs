//! Syslog over a connection: TCP, TLS or a Unix socket.

use std::{
    future::poll_fn,
    io,
    os::fd::{AsFd, OwnedFd},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::UnixStream,
};
use tokio_rustls::TlsConnector;

use super::{
    super::super::{
        http,
        sink::{Answer, Confirmed, Item, Pending, Piece, Sink, joined},
    },
    tail::Tail,
};
use crate::{
    config::stream::{Place, Syslog, Transport},
    outbound::{self, Failure, Stream},
};

/// A receiver on the other end of a connection.
pub(super) struct Connection {
    transport: Transport,
    tls: Option<TlsConnector>,
    settle: Duration,
    link: Option<Link>,
}

/// An open connection.
struct Link {
    stream: Box<dyn Stream>,
    tail: Tail,
    /// Bytes that went into the socket, those of TLS included.
    written: Arc<AtomicU64>,
}

impl Connection {
    pub(super) fn new(settings: &Syslog) -> Result<Self, String> {
        let tls = match &settings.transport {
            Transport::Tls(_, tls) => Some(http::connector(tls)?),
            _ => None,
        };
        Ok(Self {
            transport: settings.transport.clone(),
            tls,
            settle: settings.settle,
            link: None,
        })
    }

    async fn write(&mut self, flight: &[Item<Piece>]) -> Answer {
        if let Some(link) = &mut self.link
            && let Some(what) = link.closed().await
        {
            if !link.tail.is_empty() {
                return Answer::Broken { what };
            }
            self.link = None;
        }
        let link = match &mut self.link {
            Some(link) => link,
            none => match open(&self.transport, self.tls.as_ref()).await {
                Ok(link) => none.insert(link),
                Err(failure) => return failure.into(),
            },
        };
        let bytes = joined(b"", flight, b"", b"");
        let written = match link.stream.write_all(&bytes).await {
            Ok(()) => link.stream.flush().await,
            error => error,
        };
        if let Err(error) = written {
            let what = format!("breaks off: {error}");
            return Answer::Broken { what };
        }
        if let Some(last) = flight.last() {
            link.tail.wrote(link.written.load(Relaxed), last.seq);
        }
        Answer::Handed
    }

    async fn confirmed(&mut self) -> Confirmed {
        let Some(link) = &mut self.link else {
            return Confirmed::default();
        };
        // First, so that what the other end had taken before it went is not sent again.
        let upto = link.tail.settled(link.written.load(Relaxed), self.settle);
        Confirmed {
            upto,
            lost: link.closed().await,
        }
    }
}

impl Sink for Connection {
    fn send<'a>(&'a mut self, flight: &'a [Item<Piece>]) -> Pending<'a, Answer> {
        Box::pin(self.write(flight))
    }

    fn confirm(&mut self) -> Pending<'_, Confirmed> {
        Box::pin(self.confirmed())
    }
}

impl Link {
    fn new(stream: impl Stream + 'static, socket: OwnedFd, written: Arc<AtomicU64>) -> Self {
        Self {
            stream: Box::new(stream),
            tail: Tail::new(socket),
            written,
        }
    }

    /// Why the other end is gone, if it is. Nobody sends anything to a sender of syslog; if somebody does, it is left out.
    async fn closed(&mut self) -> Option<String> {
        let mut heard = [0; 512];
        loop {
            let mut buffer = ReadBuf::new(&mut heard);
            let stream = &mut self.stream;
            let read = poll_fn(|context| {
                Poll::Ready(Pin::new(&mut *stream).poll_read(context, &mut buffer))
            });
            match read.await {
                Poll::Pending => return None,
                Poll::Ready(Err(error)) => return Some(format!("breaks off: {error}")),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                    return Some("has closed the connection".to_owned());
                }
                Poll::Ready(Ok(())) => {}
            }
        }
    }
}

async fn open(transport: &Transport, tls: Option<&TlsConnector>) -> Result<Link, Failure> {
    match transport {
        Transport::Tls(place, settings) => {
            let name = settings.server_name.as_deref().unwrap_or(&place.host);
            dial(place, tls.map(|connector| (connector, name))).await
        }
        Transport::Tcp(place) | Transport::Udp(place) => dial(place, None).await,
        Transport::Unix(path) | Transport::UnixDatagram(path) => {
            let failed = |error: io::Error| Failure::new(format!("cannot be reached: {error}"));
            let stream = UnixStream::connect(path).await.map_err(failed)?;
            let socket = stream.as_fd().try_clone_to_owned().map_err(failed)?;
            let (counted, written) = counted(stream);
            Ok(Link::new(counted, socket, written))
        }
    }
}

async fn dial(place: &Place, tls: Option<(&TlsConnector, &str)>) -> Result<Link, Failure> {
    outbound::dial(&place.host, place.port, |tcp| async move {
        let failed = |error: io::Error| Failure::new(format!("cannot be used: {error}"));
        // A batch is written whole: waiting for more would only delay it.
        tcp.set_nodelay(true).map_err(failed)?;
        let socket = tcp.as_fd().try_clone_to_owned().map_err(failed)?;
        let (counted, written) = counted(tcp);
        Ok(match tls {
            Some((connector, name)) => {
                let secured = outbound::secure(connector, name, counted).await?;
                Link::new(secured, socket, written)
            }
            None => Link::new(counted, socket, written),
        })
    })
    .await
}

/// Counts what goes into a socket.
struct Counted<T> {
    inner: T,
    written: Arc<AtomicU64>,
}

fn counted<T>(inner: T) -> (Counted<T>, Arc<AtomicU64>) {
    let written = Arc::default();
    let counted = Counted {
        inner,
        written: Arc::clone(&written),
    };
    (counted, written)
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = polled {
            self.written.fetch_add(count as u64, Relaxed);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
