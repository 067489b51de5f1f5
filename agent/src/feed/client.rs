//! One request over HTTP/1.1, within limits of time and size: no pool, no cookies, no proxy, few redirects.

use std::{path::Path, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use http_body_util::Empty;
use hyper::{
    body::{Bytes, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use tokio::{task::JoinHandle, time::timeout};
use tokio_rustls::TlsConnector;

use super::body;
use crate::outbound::{self, Stream, USER_AGENT, retry_after};
pub(super) use crate::outbound::{Failure, causes};

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

impl Client {
    /// For servers whose certificates chain to `ca_file`, or to the host's roots.
    pub(super) fn new(
        uri: &Uri,
        ca_file: Option<&Path>,
        timeout: Duration,
    ) -> Result<Self, Failure> {
        let wants_tls = uri.scheme_str() == Some("https");
        let tls = wants_tls
            .then(|| outbound::connector(ca_file, None))
            .transpose()?;
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
        let (host, port) = outbound::place(uri);
        let connector = match &self.tls {
            _ if uri.scheme_str() != Some("https") => None,
            Some(connector) => Some(connector.clone()),
            // http that redirects to https.
            None => Some(outbound::connector(None, None)?),
        };
        outbound::dial(host, port, |tcp| async {
            Ok(match &connector {
                Some(connector) => {
                    Box::new(outbound::secure(connector, host, tcp).await?) as Box<dyn Stream>
                }
                None => Box::new(tcp),
            })
        })
        .await
    }
}

/// The connection's task; ends with it.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
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

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
