//! The sockets that every steered connection arrives at: one for IPv4, one for IPv6 where there is any, on loopback
//! under ports of the kernel's choice. They can outlive the agent in systemd's fd store, so that an upgrade
//! refuses no connection.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    os::fd::{AsFd, BorrowedFd},
};

use sd_notify::NotifyState;
use socket2::{Domain, SockRef, Socket, Type};

use crate::datapath::inherited_sockets;

/// See the module.
#[derive(Debug)]
pub(crate) struct Listeners {
    v4: TcpListener,
    /// None where the host has no IPv6.
    v6: Option<TcpListener>,
}

impl Listeners {
    /// Takes the sockets that the service manager kept, or makes new ones. A host without IPv6 gets none for that,
    /// and a warning.
    ///
    /// # Errors
    /// When the system gives none for IPv4.
    pub(crate) fn bind() -> io::Result<Self> {
        let (mut v4, mut v6) = (None, None);
        for (name, socket) in inherited_sockets() {
            let listener = TcpListener::from(socket);
            match name.as_str() {
                NAME_V4 if is_ours(&listener, Ipv4Addr::LOCALHOST.into()) => v4 = Some(listener),
                NAME_V6 if is_ours(&listener, Ipv6Addr::LOCALHOST.into()) => v6 = Some(listener),
                _ => {}
            }
        }
        let v6 = v6.map_or_else(|| listen((Ipv6Addr::LOCALHOST, 0).into()), Ok);
        Ok(Self {
            v4: v4.map_or_else(|| listen((Ipv4Addr::LOCALHOST, 0).into()), Ok)?,
            v6: match v6 {
                Ok(v6) => Some(v6),
                Err(error) => {
                    tracing::warn!(%error, "the gateway takes no connections over IPv6: ::1 cannot be listened at");
                    None
                }
            },
        })
    }

    /// Gives the service manager a copy to keep while the agent restarts. Does nothing where there is none.
    ///
    /// # Errors
    /// When the service manager cannot be told.
    pub(crate) fn store(&self) -> io::Result<()> {
        let v6 = self.v6.iter().map(|v6| (NAME_V6, v6));
        for (name, listener) in [(NAME_V4, &self.v4)].into_iter().chain(v6) {
            sd_notify::notify_with_fds(
                &[NotifyState::FdStore, NotifyState::FdName(name)],
                &[listener.as_fd()],
            )?;
        }
        Ok(())
    }

    /// For the slots that steering takes its socket from.
    pub(crate) fn v4(&self) -> BorrowedFd<'_> {
        self.v4.as_fd()
    }

    /// See [`Self::v4`]; `None` where the host has no IPv6.
    pub(crate) fn v6(&self) -> Option<BorrowedFd<'_>> {
        self.v6.as_ref().map(TcpListener::as_fd)
    }

    /// Where they listen.
    #[cfg(test)]
    pub(crate) fn addresses(&self) -> io::Result<(SocketAddr, Option<SocketAddr>)> {
        let v6 = self.v6.as_ref().map(TcpListener::local_addr).transpose()?;
        Ok((self.v4.local_addr()?, v6))
    }

    /// The same sockets once more, for a worker.
    pub(super) fn copies(&self) -> io::Result<Vec<TcpListener>> {
        let v6 = self.v6.iter();
        [&self.v4]
            .into_iter()
            .chain(v6)
            .map(TcpListener::try_clone)
            .collect()
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    // Accepted connections inherit it.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.listen(BACKLOG_CONNECTIONS_MAX)?;
    Ok(socket.into())
}

/// Whether an inherited socket is what its name says: somebody else's would never be steered to.
fn is_ours(listener: &TcpListener, address: std::net::IpAddr) -> bool {
    let ready = || {
        let socket = SockRef::from(listener);
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.listen(BACKLOG_CONNECTIONS_MAX)?;
        listener.local_addr()
    };
    ready().is_ok_and(|local| local.ip() == address)
}

/// Connections that wait to be accepted; the kernel may hold it lower (`net.core.somaxconn`).
const BACKLOG_CONNECTIONS_MAX: i32 = 4_096;
const NAME_V4: &str = "gateway-v4";
const NAME_V6: &str = "gateway-v6";
