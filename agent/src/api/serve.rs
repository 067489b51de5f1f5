//! Listening, TLS and connections, each bounded in number, size and time.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    time::{sleep, timeout},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{self, ServerConfig, server::ResolvesServerCert, sign::CertifiedKey},
};
use tracing::{debug, info, warn};

use super::{Material, desk::Desk};
use crate::{
    authz::{
        listen::{Acceptor, Listener, Stream},
        timed::{Phase, Timed, Times},
    },
    config::{Certificate, Listen, tls},
    served,
};

/// Connections at a time; further ones wait in the backlog.
const CONNECTIONS_MAX: usize = 64;
/// Bytes of a request's head: a filter may take a quarter of it.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// The same for HTTP/2.
const HEAD_LIST_BYTES_MAX: u32 = 64 << 10;
const HEADERS_MAX: usize = 100;
/// Requests of one HTTP/2 connection at a time.
const STREAMS_MAX: u32 = 16;
/// From the first byte of a request to the end of its head, and for the client to take an answer.
const HEAD_TIME: Duration = Duration::from_secs(15);
/// A connection without a request.
const IDLE_TIME: Duration = Duration::from_secs(120);
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// How long a connection may live: a client that polls makes a new one then.
const CONNECTION_TIME: Duration = Duration::from_secs(3_600);
/// Between two attempts to listen.
const AGAIN: Duration = Duration::from_secs(5);

/// Serves one configuration after the other. A listener whose address has not changed goes on.
pub(super) async fn serve(
    mut wanted: watch::Receiver<Option<Arc<Material>>>,
    desk: &Arc<Desk>,
    told: &watch::Sender<Option<String>>,
) {
    loop {
        let listen = address(&wanted.borrow_and_update());
        let serving = async {
            match listen {
                None => {
                    told.send_replace(None);
                    std::future::pending::<Infallible>().await
                }
                Some(listen) => loop {
                    let Err(what) = listening(listen, desk, told).await;
                    warn!("the API does not serve: {what}");
                    told.send_replace(Some(format!("api: {what}")));
                    sleep(AGAIN).await;
                },
            }
        };
        let moved = wanted.wait_for(|material| address(material) != listen);
        tokio::select! {
            moved = moved => if moved.is_err() { return },
            never = serving => match never {},
        }
    }
}

fn address(material: &Option<Arc<Material>>) -> Option<SocketAddr> {
    material.as_ref().map(|material| material.settings.listen)
}

/// Listens and serves; comes back only when that fails.
async fn listening(
    listen: SocketAddr,
    desk: &Arc<Desk>,
    told: &watch::Sender<Option<String>>,
) -> Result<Infallible, String> {
    let listener =
        Listener::bind("api", &Listen::Tcp(listen)).map_err(|error| error.to_string())?;
    let acceptor = listener.acceptor().map_err(|error| error.to_string())?;
    told.send_replace(None);
    info!("the API serves {listen}");
    accepting(&acceptor, desk).await
}

pub(super) async fn accepting(acceptor: &Acceptor, desk: &Arc<Desk>) -> Result<Infallible, String> {
    let refused = "a connection to the API was not accepted";
    served::accept(acceptor, CONNECTIONS_MAX, refused, |stream| {
        connection(stream, Arc::clone(desk))
    })
    .await
}

/// With the certificate of this moment.
async fn connection(stream: Stream, desk: Arc<Desk>) {
    let material = desk.material.borrow().clone();
    let Some(material) = material else {
        return;
    };
    let Some(tls) = &material.tls else {
        return http1(stream, desk, false).await;
    };
    let handshake = TlsAcceptor::from(Arc::clone(tls)).accept(stream);
    let stream = match timeout(HANDSHAKE_TIME, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return debug!(%error, "a TLS handshake of the API"),
        Err(_) => return debug!("a TLS handshake of the API took too long"),
    };
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(H2);
    if is_h2 {
        http2(stream, desk).await;
    } else {
        http1(stream, desk, true).await;
    }
}

async fn http1<S>(stream: S, desk: Arc<Desk>, secure: bool)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let phase = Arc::new(Phase::default());
    let stream = Timed::new(stream, Some(Arc::clone(&phase)), TIMES);
    let service = service_fn(move |request| {
        phase.idle();
        let desk = Arc::clone(&desk);
        async move { desk.answer(request, secure).await }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = timeout(CONNECTION_TIME, connection).await {
        debug!(%error, "a connection to the API");
    }
}

async fn http2<S>(stream: S, desk: Arc<Desk>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // Frames have no beginning and end that silence could be told from.
    let stream = Timed::new(stream, None, TIMES);
    let service = service_fn(move |request| {
        let desk = Arc::clone(&desk);
        async move { desk.answer(request, true).await }
    });
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_LIST_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = timeout(CONNECTION_TIME, connection).await {
        debug!(%error, "a connection to the API");
    }
}

/// The TLS of one certificate, whatever name a client asks for.
///
/// # Errors
/// What is wrong with each file.
pub(super) fn server_config(files: &Certificate) -> Result<ServerConfig, String> {
    let key = tls::certified_key(files).map_err(|faults| {
        let faults: Vec<String> = faults
            .iter()
            .map(|fault| {
                let file = match fault.part {
                    tls::Part::Certificate => &files.certificate,
                    tls::Part::Key => &files.key,
                };
                format!("{} {}", file.display(), fault.what)
            })
            .collect();
        faults.join("; ")
    })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Only(Arc::new(key))));
    config.alpn_protocols = vec![H2.to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

#[derive(Debug)]
struct Only(Arc<CertifiedKey>);

impl ResolvesServerCert for Only {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

const TIMES: Times = Times {
    head: HEAD_TIME,
    idle: IDLE_TIME,
};
/// By ALPN.
const H2: &[u8] = b"h2";
