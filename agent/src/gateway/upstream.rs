//! Where requests go: the application's own port, from the reserved source that steering lets through.

use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use edgeward_ebpf::abi::steer;
use rustls_pki_types::ServerName;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::{TlsConnector, rustls::ClientConfig};

use super::{
    cause::Cause,
    stream::{Socket, Stream},
    wheel::Wheel,
};

/// Where a request goes, and how.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) key: Key,
    /// Must come from the reserved source, or steering would send it back to the gateway.
    pub(super) reserved: bool,
    pub(super) tls: Option<Arc<ClientConfig>>,
    /// For connecting, and apart from that for the head of an answer.
    pub(super) timeout: Duration,
}

/// What makes two connections to an upstream interchangeable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) address: SocketAddr,
    /// Name and number of the TLS settings, which change with a reload.
    pub(super) tls: Option<(ServerName<'static>, u64)>,
    /// Who is announced by the PROXY protocol as having connected to what.
    pub(super) announced: Option<(SocketAddr, SocketAddr)>,
}

/// Connects, within the target's time.
pub(super) async fn connect(target: &Target, wheel: &Arc<Wheel>) -> Result<Stream, Cause> {
    let connected = wheel.within(target.timeout, establish(target)).await;
    connected.unwrap_or(Err(Cause::UpstreamConnectTimeout))
}

async fn establish(target: &Target) -> Result<Stream, Cause> {
    let address = target.key.address;
    let mut tcp = tcp(address, target.reserved).await.map_err(|error| {
        tracing::debug!(%address, %error, "the upstream takes no connection");
        Cause::UpstreamConnect
    })?;
    // What the gateway writes is whole messages: waiting for more would only delay them.
    let _ = tcp.set_nodelay(true);
    if let Some((client, destination)) = target.key.announced {
        tcp.write_all(&preamble(client, destination))
            .await
            .map_err(|_| Cause::UpstreamConnect)?;
    }
    let socket = Socket::new(tcp);
    let (Some(config), Some((name, _))) = (&target.tls, &target.key.tls) else {
        return Ok(Stream::Plain(socket));
    };
    TlsConnector::from(Arc::clone(config))
        .connect(name.clone(), socket)
        .await
        .map(|tls| Stream::Tls(Box::new(tls.into())))
        .map_err(|error| {
            tracing::warn!(%address, %error, "TLS to the upstream failed");
            Cause::UpstreamTls
        })
}

async fn tcp(address: SocketAddr, reserved: bool) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if is_local(address.ip()) {
        let source = match address {
            SocketAddr::V4(_) => IpAddr::V4(steer::UPSTREAM_SOURCE_V4),
            SocketAddr::V6(_) => IpAddr::V6(steer::UPSTREAM_SOURCE_V6),
        };
        match socket.bind(SocketAddr::new(source, 0)) {
            // Nothing is steered on this host, and nothing can come back.
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable && !reserved => {}
            bound => bound?,
        }
    }
    socket.connect(address).await
}

/// Whether the address is this host's: such a connection goes through this host's steering.
fn is_local(address: IpAddr) -> bool {
    address.is_loopback() || UdpSocket::bind(SocketAddr::new(address, 0)).is_ok()
}

/// The PROXY protocol's second version: who connected to what.
fn preamble(client: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let mut header = PROXY_V2.to_vec();
    let (family, addresses): (u8, Vec<u8>) = match (client.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => (0x11, [from.octets(), to.octets()].concat()),
        (from, to) => (0x21, [v6(from).octets(), v6(to).octets()].concat()),
    };
    header.push(0x21);
    header.push(family);
    let length = u16::try_from(addresses.len() + 4).unwrap_or_default();
    header.extend_from_slice(&length.to_be_bytes());
    header.extend_from_slice(&addresses);
    header.extend_from_slice(&client.port().to_be_bytes());
    header.extend_from_slice(&destination.port().to_be_bytes());
    header
}

fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

const PROXY_V2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preamble_is_what_the_specification_says() {
        let client: SocketAddr = "203.0.113.5:7".parse().unwrap();
        let to: SocketAddr = "192.0.2.1:443".parse().unwrap();
        assert_eq!(
            preamble(client, to),
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x05\xc0\0\x02\x01\0\x07\x01\xbb"
        );
        let mixed = preamble("[2001:db8::1]:7".parse().unwrap(), to);
        assert_eq!(mixed.len(), 16 + 36);
        assert_eq!(mixed.get(12..16), Some(&b"\x21\x21\0\x24"[..]));
    }
}
