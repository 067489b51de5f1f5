//! One request over HTTP/1.1, within limits of time and size: no pool, no cookies, no proxy, few redirects.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use http_body_util::Empty;
use hyper::{
    body::{Bytes, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore},
};

use super::body;
use crate::config::tls;

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;
/// For connecting to one address, TLS included.
const CONNECT: Duration = Duration::from_secs(10);
/// Redirects that are followed.
const REDIRECTS_MAX: usize = 5;
/// Longest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Asks servers; see the module.
#[derive(Clone)]
pub(super) struct Client {
    tls: Option<TlsConnector>,
    timeout: Duration,
}

/// What is asked.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    /// What proves who asks; sent to the origin of `uri` and nowhere else. Marked sensitive, so `Debug` hides it.
    pub(super) key: Option<(HeaderName, HeaderValue)>,
}

/// An answer whose body is in a file.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
}

/// Why there is no answer that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// For a person; nothing of a key and of a query is in it.
    pub(super) what: String,
    /// How long the server asks to be left alone.
    pub(super) retry_after: Option<Duration>,
}

impl Failure {
    pub(super) fn new(what: impl Into<String>) -> Self {
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

impl Client {
    /// For servers whose certificates chain to `ca_file`, or to the host's roots.
    pub(super) fn new(
        uri: &Uri,
        ca_file: Option<&Path>,
        timeout: Duration,
    ) -> Result<Self, Failure> {
        let wants_tls = uri.scheme_str() == Some("https");
        let tls = wants_tls.then(|| connector(ca_file)).transpose()?;
        Ok(Self { tls, timeout })
    }

    /// Asks and follows redirects; the body goes to `file`, at most `bytes_max` of it.
    ///
    /// The status is any; one that is no success has its body left out.
    pub(super) async fn get(
        &self,
        ask: &Ask,
        file: &Path,
        bytes_max: u64,
    ) -> Result<Answer, Failure> {
        match timeout(self.timeout, self.follow(ask, file, bytes_max)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::new(format!(
                "took longer than {} (timeout)",
                crate::config::duration::format(self.timeout)
            ))),
        }
    }

    async fn follow(&self, ask: &Ask, file: &Path, bytes_max: u64) -> Result<Answer, Failure> {
        let mut uri = ask.uri.clone();
        for _ in 0..=REDIRECTS_MAX {
            let key = ask.key.as_ref().filter(|_| same_origin(&uri, &ask.uri));
            let (_driver, answer) = self.once(&uri, &ask.headers, key).await?;
            let (head, body) = answer.into_parts();
            if let Some(next) = redirect(head.status, &head.headers, &uri)? {
                uri = next;
                continue;
            }
            if head.status.is_success() {
                body::save(body, file, bytes_max).await?;
            }
            return Ok(Answer {
                status: head.status,
                headers: head.headers,
            });
        }
        Err(Failure::new(format!(
            "redirects more than {REDIRECTS_MAX} times"
        )))
    }

    async fn once(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        key: Option<&(HeaderName, HeaderValue)>,
    ) -> Result<(Driver, http::Response<Incoming>), Failure> {
        let stream = self.connect(uri).await?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Failure::new(format!("does not speak HTTP: {error}")))?;
        let driver = Driver(tokio::spawn(async move {
            // Its errors are those of the answer, and told there.
            let _ = connection.await;
        }));
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let mut request = http::Request::new(Empty::<Bytes>::new());
        *request.uri_mut() = target
            .parse()
            .map_err(|_| Failure::new("has a URL that cannot be asked for"))?;
        let out = request.headers_mut();
        out.extend(headers.clone());
        let host = HeaderValue::from_str(authority)
            .map_err(|_| Failure::new("has a host that cannot be asked"))?;
        out.insert(header::HOST, host);
        out.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        out.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        out.insert(header::CONNECTION, HeaderValue::from_static("close"));
        if let Some((name, value)) = key {
            out.insert(name.clone(), value.clone());
        }
        let answer = sender
            .send_request(request)
            .await
            .map_err(|error| Failure::new(format!("gives no answer: {}", causes(&error))))?;
        Ok((driver, answer))
    }

    async fn connect(&self, uri: &Uri) -> Result<Box<dyn Stream>, Failure> {
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_tls = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let addresses = tokio::net::lookup_host((host, port))
            .await
            .map_err(|error| Failure::new(format!("its host {host} is not found: {error}")))?;
        let mut last = Failure::new(format!("its host {host} has no address"));
        for address in addresses.take(ADDRESSES_MAX) {
            let attempt = async {
                let tcp = TcpStream::connect(address).await.map_err(|error| {
                    Failure::new(format!("cannot be reached at {address}: {error}"))
                })?;
                self.secured(tcp, host, is_tls).await
            };
            match timeout(CONNECT, attempt).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(failure)) => last = failure,
                Err(_) => last = Failure::new(format!("does not answer at {address}")),
            }
        }
        Err(last)
    }

    async fn secured(
        &self,
        tcp: TcpStream,
        host: &str,
        is_tls: bool,
    ) -> Result<Box<dyn Stream>, Failure> {
        if !is_tls {
            return Ok(Box::new(tcp));
        }
        let connector = match &self.tls {
            Some(connector) => connector.clone(),
            // http that redirects to https.
            None => connector(None)?,
        };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Failure::new(format!("its host {host} is no name for TLS")))?;
        let stream = connector
            .connect(name, tcp)
            .await
            .map_err(|error| Failure::new(format!("TLS fails: {error}")))?;
        Ok(Box::new(stream))
    }
}

/// The connection's task; ends with it.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

const USER_AGENT: &str = concat!("edgeward/", env!("CARGO_PKG_VERSION"));

fn connector(ca_file: Option<&Path>) -> Result<TlsConnector, Failure> {
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
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Where an answer sends on to; `None` if it does not.
fn redirect(status: StatusCode, headers: &HeaderMap, from: &Uri) -> Result<Option<Uri>, Failure> {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let location = headers
        .get(header::LOCATION)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| Failure::new("redirects to nowhere"))?;
    let next = resolve(from, location)
        .ok_or_else(|| Failure::new("redirects to what cannot be followed"))?;
    if from.scheme_str() == Some("https") && next.scheme_str() != Some("https") {
        return Err(Failure::new("redirects from https to http"));
    }
    Ok(Some(next))
}

/// A reference as a URL of http or https.
pub(super) fn resolve(from: &Uri, reference: &str) -> Option<Uri> {
    let scheme = from.scheme_str()?;
    let authority = from.authority()?;
    let absolute = if let Some(rest) = reference.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if reference.starts_with('/') {
        format!("{scheme}://{authority}{reference}")
    } else if reference.contains("://") {
        reference.to_owned()
    } else {
        let (folder, _) = from.path().rsplit_once('/')?;
        format!("{scheme}://{authority}{folder}/{reference}")
    };
    let uri: Uri = absolute.split('#').next()?.parse().ok()?;
    let fits = matches!(uri.scheme_str(), Some("http" | "https"))
        && uri
            .authority()
            .is_some_and(|authority| !authority.as_str().contains('@'));
    fits.then_some(uri)
}

/// Whether a key may go to both.
pub(super) fn same_origin(a: &Uri, b: &Uri) -> bool {
    let port = |uri: &Uri| {
        uri.port_u16().unwrap_or(match uri.scheme_str() {
            Some("https") => 443,
            _ => 80,
        })
    };
    let host = |uri: &Uri| uri.host().map(str::to_ascii_lowercase);
    a.scheme_str() == b.scheme_str() && host(a) == host(b) && port(a) == port(b)
}

/// What to make of a status that is no success.
pub(super) fn refused(answer: &Answer, now_ms: u64) -> Failure {
    let hint = match answer.status.as_u16() {
        401 | 403 => "; is the key right?",
        404 => "; is the URL right?",
        429 => "; it is asked too often",
        _ => "",
    };
    Failure {
        what: format!("answers {}{hint}", answer.status),
        retry_after: retry_after(&answer.headers, now_ms),
    }
}

/// The longest that a server's wish to be left alone is followed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(86_400);

/// Seconds or a date (RFC 9110, section 10.2.3).
pub(super) fn retry_after(headers: &HeaderMap, now_ms: u64) -> Option<Duration> {
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
pub(super) fn causes(error: &dyn std::error::Error) -> String {
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

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
