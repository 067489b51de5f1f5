//! Connections to servers outside, for feeds and streams: addresses of a name, TLS, and what answers have in common.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use http::{HeaderMap, Uri, header};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        sign::{CertifiedKey, SingleCertAndKey},
    },
};

use crate::config::tls;

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;
/// For connecting to one address, TLS included.
const CONNECT: Duration = Duration::from_secs(10);
/// The longest that a server's wish to be left alone is followed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(86_400);

/// What the agent calls itself.
pub(crate) const USER_AGENT: &str = concat!("edgeward/", env!("CARGO_PKG_VERSION"));

/// Why there is no answer that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// For a person; nothing of a key and of a query is in it.
    pub(crate) what: String,
    /// How long the server asks to be left alone.
    pub(crate) retry_after: Option<Duration>,
}

/// A connection, with or without TLS.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Failure {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            retry_after: None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// Connects to the first address of a host that `then` is content with.
///
/// # Errors
/// What was wrong with the last address.
pub(crate) async fn dial<T, F>(
    host: &str,
    port: u16,
    mut then: impl FnMut(TcpStream) -> F,
) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let addresses = tokio::net::lookup_host((host, port))
        .await
        .map_err(|error| Failure::new(format!("its host {host} is not found: {error}")))?;
    let mut last = Failure::new(format!("its host {host} has no address"));
    for address in addresses.take(ADDRESSES_MAX) {
        let attempt = async {
            let tcp = TcpStream::connect(address).await.map_err(|error| {
                Failure::new(format!("cannot be reached at {address}: {error}"))
            })?;
            then(tcp).await
        };
        match timeout(CONNECT, attempt).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(failure)) => last = failure,
            Err(_) => last = Failure::new(format!("does not answer at {address}")),
        }
    }
    Err(last)
}

/// Host and port that a URL of http or https names.
pub(crate) fn place(uri: &Uri) -> (&str, u16) {
    let host = uri.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let default = if uri.scheme_str() == Some("https") {
        443
    } else {
        80
    };
    (host, uri.port_u16().unwrap_or(default))
}

/// TLS over a connection, for a server that is to be `host`.
///
/// # Errors
/// The server is another one, or speaks no TLS.
pub(crate) async fn secure<T: AsyncRead + AsyncWrite + Unpin>(
    connector: &TlsConnector,
    host: &str,
    plain: T,
) -> Result<TlsStream<T>, Failure> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| Failure::new(format!("its host {host} is no name for TLS")))?;
    connector
        .connect(name, plain)
        .await
        .map_err(|error| Failure::new(format!("TLS fails: {error}")))
}

/// TLS with servers whose certificates chain to `ca_file`, or to the host's roots; `identity` is what the agent shows of
/// itself. Reads files.
///
/// # Errors
/// What is wrong with the files.
pub(crate) fn connector(
    ca_file: Option<&Path>,
    identity: Option<CertifiedKey>,
) -> Result<TlsConnector, Failure> {
    let roots = match ca_file {
        Some(file) => tls::roots(file)
            .map_err(|what| Failure::new(format!("ca_file {}: {what}", file.display())))?,
        None => {
            let found = rustls_native_certs::load_native_certs();
            let mut store = RootCertStore::empty();
            let (added, _) = store.add_parsable_certificates(found.certs);
            if added == 0 {
                return Err(Failure::new(
                    "this host has no certificates to check servers by; name a ca_file, or install ca-certificates",
                ));
            }
            store
        }
    };
    let provider = tokio_rustls::rustls::crypto::ring::default_provider();
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::new(format!("TLS cannot be used: {error}")))?
        .with_root_certificates(roots);
    let config = match identity {
        Some(pair) => config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair))),
        None => config.with_no_client_auth(),
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Seconds or a date (RFC 9110, section 10.2.3).
pub(crate) fn retry_after(headers: &HeaderMap, now_ms: u64) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => Duration::from_millis(http_date(text)?.saturating_sub(now_ms)),
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// `Wed, 21 Oct 2015 07:28:00 GMT`, milliseconds since the epoch.
fn http_date(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once(", ")?;
    let mut parts = rest.split(' ');
    let (day, month, year, clock) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let month = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]
    .iter()
    .position(|name| *name == month)?
    .saturating_add(1);
    crate::signal::time::iso(&format!("{year}-{month:02}-{day}T{clock}Z")).map(|(at, _)| at)
}

/// An error and what is behind it.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut out = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !out.contains(&cause_text) {
            out.push_str(": ");
            out.push_str(&cause_text);
        }
        next = cause.source();
    }
    out
}
