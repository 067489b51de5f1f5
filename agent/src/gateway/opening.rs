//! What comes before the first request: the PROXY protocol where it is spoken, TLS where it ends here, and
//! which HTTP it is. All of it within the time that a head may take.

use std::{net::SocketAddr, pin::pin, sync::Arc, task::Poll};

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::{
    cause::Cause,
    connection::Announced,
    request::Rules,
    shared::{Shared, Stage},
    stream::{Socket, Stream},
    tls::H2,
    wheel::{Alarm, Wheel},
};
use crate::{config::Header, policy::chain::proxy_protocol};

/// A connection that is ready for its first request.
pub(super) struct Opened {
    pub(super) stream: Stream,
    pub(super) is_http2: bool,
    pub(super) announced: Announced,
    pub(super) tls_name: Option<String>,
}

/// Opens a connection; `None` if it ends before its first byte.
pub(super) async fn open(
    shared: &Shared,
    wheel: &Arc<Wheel>,
    tcp: TcpStream,
    peer: SocketAddr,
    rules: &Rules<'_>,
) -> Result<Option<Opened>, Cause> {
    let limits = rules.gateway.limits;
    let mut socket = Socket::new(tcp);
    let alarm = Alarm::new(wheel);
    alarm.set(limits.idle_timeout);
    let first = until(
        &alarm,
        shared,
        Stage::Draining,
        socket.read_ahead(PREFACE.len()),
    )
    .await;
    match first {
        Some(Ok(read)) if read > 0 => {}
        _ => return Ok(None),
    }
    alarm.set(limits.head_timeout);
    let opened = until(
        &alarm,
        shared,
        Stage::Over,
        speak(shared, socket, peer, rules),
    )
    .await;
    opened.unwrap_or(Err(Cause::HeadTimeout)).map(Some)
}

async fn speak(
    shared: &Shared,
    mut socket: Socket,
    peer: SocketAddr,
    rules: &Rules<'_>,
) -> Result<Opened, Cause> {
    // Somebody else's header would be believed by nobody, and may as well be an attack on who reads it.
    let speaks_proxy =
        rules.service.header == Header::ProxyProtocol && rules.snapshot.is_trusted_proxy(peer.ip());
    let announced = match speaks_proxy {
        true => announced(&mut socket).await?,
        false => Announced::Nothing,
    };
    if rules.gateway.certificates.is_empty() {
        return plain(socket, announced).await;
    }
    let material = shared.material();
    let config = material
        .service(&rules.service.name)
        .and_then(|tls| tls.server.clone())
        .ok_or(Cause::Certificates)?;
    let tls = TlsAcceptor::from(config)
        .accept(socket)
        .await
        .map_err(|error| {
            tracing::debug!(%error, "a TLS handshake failed");
            Cause::TlsHandshake
        })?;
    let (_, session) = tls.get_ref();
    Ok(Opened {
        is_http2: session.alpn_protocol() == Some(H2),
        tls_name: session.server_name().map(str::to_owned),
        announced,
        stream: Stream::Tls(Box::new(tls.into())),
    })
}

/// Reads the header of the PROXY protocol, which must be there.
async fn announced(socket: &mut Socket) -> Result<Announced, Cause> {
    loop {
        let wanted = match proxy_protocol::parse(socket.ahead()) {
            Ok(parsed) => {
                let consumed = parsed.consumed;
                drop(socket.ahead().split_to(consumed));
                return Ok(match parsed.address {
                    Some((source, _)) => Announced::Client(source.ip()),
                    None => Announced::Nothing,
                });
            }
            Err(proxy_protocol::Error::Incomplete(bytes)) => bytes,
            Err(proxy_protocol::Error::Invalid(_)) => return Err(Cause::ProxyHeader),
        };
        match socket
            .read_ahead(wanted.min(proxy_protocol::BYTES_MAX))
            .await
        {
            Ok(0) | Err(_) => return Err(Cause::ProxyHeader),
            Ok(_) => {}
        }
    }
}

/// HTTP/2 by prior knowledge begins with its preface; everything else is HTTP/1.
async fn plain(mut socket: Socket, announced: Announced) -> Result<Opened, Cause> {
    let is_http2 = loop {
        let ahead = socket.ahead();
        if ahead.len() >= PREFACE.len() {
            break ahead.starts_with(PREFACE);
        }
        if !PREFACE.starts_with(ahead) {
            break false;
        }
        match socket.read_ahead(PREFACE.len()).await {
            Ok(0) | Err(_) => break false,
            Ok(_) => {}
        }
    };
    Ok(Opened {
        stream: Stream::Plain(socket),
        is_http2,
        announced,
        tls_name: None,
    })
}

/// What becomes of it before the alarm rings or the gateway comes to that stage.
async fn until<T>(
    alarm: &Alarm,
    shared: &Shared,
    stage: Stage,
    future: impl Future<Output = T>,
) -> Option<T> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        if alarm.rings(cx) || shared.stage() >= stage {
            return Poll::Ready(None);
        }
        Poll::Pending
    })
    .await
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
