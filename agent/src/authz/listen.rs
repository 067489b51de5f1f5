//! Listeners: Unix sockets with their mode, loopback ports, and what is in the way of one.

use std::{
    fmt, fs,
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    path::Path,
    pin::Pin,
    task::{Context, Poll},
};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
};

use crate::config::Listen;

/// A bound listener. Dropping it closes it and takes the socket file away, if it is still ours.
pub(crate) struct Listener {
    listen: Listen,
    socket: Socket,
    /// Device and inode of the socket file.
    file: Option<(u64, u64)>,
}

/// Why an endpoint cannot listen.
#[derive(Debug)]
pub(crate) struct BindError {
    endpoint: String,
    listen: Listen,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    /// Somebody answers there.
    InUse,
    /// Something that is no socket has the name.
    NotASocket,
    System(io::Error),
}

impl Listener {
    pub(crate) fn bind(endpoint: &str, listen: &Listen) -> Result<Self, BindError> {
        let bound = match listen {
            Listen::Unix(path, mode) => bind_unix(path, *mode),
            Listen::Tcp(address) => bind_tcp(*address).map(|socket| (socket, None)),
        };
        match bound {
            Ok((socket, file)) => Ok(Self {
                listen: listen.clone(),
                socket,
                file,
            }),
            Err(cause) => Err(BindError {
                endpoint: endpoint.to_owned(),
                listen: listen.clone(),
                cause,
            }),
        }
    }

    /// The same socket as tokio takes it; needs a runtime.
    pub(crate) fn acceptor(&self) -> io::Result<Acceptor> {
        let socket = self.socket.try_clone()?;
        match &self.listen {
            Listen::Unix(..) => UnixListener::from_std(socket.into()).map(Acceptor::Unix),
            Listen::Tcp(_) => TcpListener::from_std(socket.into()).map(Acceptor::Tcp),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let (Listen::Unix(path, _), Some(ours)) = (&self.listen, self.file) else {
            return;
        };
        if identity(path).is_ok_and(|now| now == ours)
            && let Err(error) = fs::remove_file(path)
        {
            tracing::warn!(%error, socket = %path.display(), "an endpoint's socket stays behind");
        }
    }
}

/// Sets the mode of a socket that stays.
pub(super) fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Takes connections.
pub(crate) enum Acceptor {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Acceptor {
    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Unix(listener) => Ok(Stream::Unix(listener.accept().await?.0)),
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
        }
    }
}

/// A connection of a caller.
pub(crate) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

fn bind_unix(path: &Path, mode: u32) -> Result<(Socket, Option<(u64, u64)>), Cause> {
    if let Some(parent) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(parent)?;
    }
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
        Ok(metadata) if !metadata.file_type().is_socket() => return Err(Cause::NotASocket),
        // Only a connect tells a socket that is served from one that a dead agent left behind.
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => return Err(Cause::InUse),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path)?,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(Cause::InUse),
            Err(error) => return Err(error.into()),
        },
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Nobody is answered before `listen`, so nobody gets in under the mode that the umask made.
    set_mode(path, mode)?;
    let file = identity(path)?;
    socket.set_nonblocking(true)?;
    socket.listen(BACKLOG)?;
    Ok((socket, Some(file)))
}

fn bind_tcp(address: std::net::SocketAddr) -> Result<Socket, Cause> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // Without it a restart waits for connections of the last run to be forgotten.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into()).map_err(|error| {
        if error.kind() == ErrorKind::AddrInUse {
            Cause::InUse
        } else {
            Cause::System(error)
        }
    })?;
    socket.set_nonblocking(true)?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl BindError {
    /// What is in the way, without the endpoint's name.
    pub(super) fn sentence(&self) -> String {
        let place = match &self.listen {
            Listen::Unix(path, _) => path.display().to_string(),
            Listen::Tcp(address) => address.to_string(),
        };
        match &self.cause {
            Cause::InUse => format!(
                "somebody answers at {place} already; stop it, or give the endpoint another `listen`"
            ),
            Cause::NotASocket => format!(
                "{place} exists and is no socket; move it away or give the endpoint another `listen`"
            ),
            Cause::System(error) if error.kind() == ErrorKind::PermissionDenied => format!(
                "{place} cannot be opened ({error}); once started the agent may only open sockets in \
                 directories of its own account and ports from 1024 on, so restart it or choose such a place"
            ),
            Cause::System(error) => format!("{place} cannot be opened: {error}"),
        }
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "endpoint \"{}\": {}", self.endpoint, self.sentence())
    }
}

impl std::error::Error for BindError {}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Neither sort of socket keeps anything back.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

/// Connections that wait to be accepted; the kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4_096;
