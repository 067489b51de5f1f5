//! One server that is asked over HTTP/1.1 again and again, on one connection: for kinds that speak HTTP. The core limits
//! the time; here sizes are.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::sink::{Answer, Pause};
use crate::{
    config::{
        stream::{ClientTls, Remote},
        tls,
    },
    outbound::{self, Failure, Stream, USER_AGENT, causes},
};

/// Longest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// What is read of an answer's body, in bytes; one that is longer costs the connection.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// A server.
pub(crate) struct HttpClient {
    uri: Uri,
    tls: Option<(TlsConnector, String)>,
    connection: Option<Connection>,
}

/// What it answered.
#[derive(Clone, Debug)]
pub(crate) struct HttpAnswer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// The first of it.
    pub(crate) body: Bytes,
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    _driver: Driver,
}

/// The connection's task; ends with it.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl HttpClient {
    /// Reads the files that TLS needs; connects to nobody yet.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn new(remote: &Remote) -> Result<Self, String> {
        let is_tls = remote.uri.scheme_str() == Some("https");
        let tls = is_tls.then(|| connector(&remote.tls)).transpose()?;
        let (host, _) = outbound::place(&remote.uri);
        let name = remote.tls.server_name.as_deref().unwrap_or(host);
        Ok(Self {
            uri: remote.uri.clone(),
            tls: tls.map(|connector| (connector, name.to_owned())),
            connection: None,
        })
    }

    /// Posts to the server's URL.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub(crate) async fn post(
        &mut self,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<HttpAnswer, Failure> {
        let target = self
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str());
        let mut request = Request::new(body);
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = target
            .parse()
            .map_err(|_| Failure::new("has a URL that cannot be asked for"))?;
        *request.headers_mut() = headers;
        self.ask(request).await
    }

    /// Asks; `request` has a path and a query for a URL. `Host` and `User-Agent` are added.
    ///
    /// # Errors
    /// There was no whole answer. Whether the server has done what it was asked for is not known then.
    pub(crate) async fn ask(&mut self, request: Request<Bytes>) -> Result<HttpAnswer, Failure> {
        let mut connection = self.connected().await?;
        let (mut head, body) = request.into_parts();
        let authority = self
            .uri
            .authority()
            .map_or("", |authority| authority.as_str());
        let host = HeaderValue::from_str(authority)
            .map_err(|_| Failure::new("has a host that cannot be asked"))?;
        head.headers.insert(header::HOST, host);
        head.headers
            .insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        let request = Request::from_parts(head, Full::new(body));
        let answer = connection
            .sender
            .send_request(request)
            .await
            .map_err(|error| Failure::new(format!("gives no answer: {}", causes(&error))))?;
        let (head, body) = answer.into_parts();
        let (body, is_whole) = beginning(body).await?;
        if is_whole {
            self.connection = Some(connection);
        }
        Ok(HttpAnswer {
            status: head.status,
            headers: head.headers,
            body,
        })
    }

    /// The connection of before while it is open, or a new one.
    async fn connected(&mut self) -> Result<Connection, Failure> {
        if let Some(mut connection) = self.connection.take()
            && connection.sender.ready().await.is_ok()
        {
            return Ok(connection);
        }
        let (host, port) = outbound::place(&self.uri);
        let tls = &self.tls;
        let stream = outbound::dial(host, port, |tcp| async move {
            // A batch is written whole: waiting for more would only delay it.
            drop(tcp.set_nodelay(true));
            Ok(match tls {
                Some((connector, name)) => {
                    Box::new(outbound::secure(connector, name, tcp).await?) as Box<dyn Stream>
                }
                None => Box::new(tcp),
            })
        })
        .await?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Failure::new(format!("does not speak HTTP: {error}")))?;
        let driver = Driver(tokio::spawn(async move {
            // Its errors are those of the answer, and told there.
            let _ = connection.await;
        }));
        Ok(Connection {
            sender,
            _driver: driver,
        })
    }
}

impl HttpAnswer {
    /// What the status says of a flight, where nothing in the body says more.
    pub(crate) fn verdict(&self, now_ms: u64) -> Answer {
        let after = outbound::retry_after(&self.headers, now_ms);
        let what = format!("answers {}", self.status);
        match self.status.as_u16() {
            200..=299 => Answer::Accepted,
            401 | 403 | 407 => Answer::Paused {
                why: Pause::Unauthorized,
                what: format!("{what}; is the secret right?"),
                after,
            },
            400 | 422 => Answer::Refused { what },
            408 | 425 | 429 | 500..=599 => Answer::Retry { what, after },
            413 => Answer::TooLarge { what },
            _ => Answer::Paused {
                why: Pause::Misdirected,
                what: format!("{what}; is the URL right?"),
                after,
            },
        }
    }
}

impl From<Failure> for Answer {
    fn from(failure: Failure) -> Self {
        Self::Retry {
            what: failure.what,
            after: failure.retry_after,
        }
    }
}

/// TLS as a stream is to use it. Reads files.
///
/// # Errors
/// What is wrong with them.
pub(crate) fn connector(settings: &ClientTls) -> Result<TlsConnector, String> {
    let identity = settings.identity.as_ref().map(|files| {
        tls::certified_key(files).map_err(|faults| {
            let faults: Vec<String> = faults
                .into_iter()
                .map(|fault| {
                    let file = match fault.part {
                        tls::Part::Certificate => &files.certificate,
                        tls::Part::Key => &files.key,
                    };
                    format!("{} {}", file.display(), fault.what)
                })
                .collect();
            faults.join("; ")
        })
    });
    outbound::connector(settings.ca_file.as_deref(), identity.transpose()?)
        .map_err(|failure| failure.what)
}

/// The first of a body, and whether that is all of it.
async fn beginning(mut body: Incoming) -> Result<(Bytes, bool), Failure> {
    let mut out = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| Failure::new(format!("breaks off: {}", causes(&error))))?;
        if let Ok(data) = frame.into_data() {
            let room = BODY_BYTES_MAX.saturating_sub(out.len());
            out.extend_from_slice(data.get(..room).unwrap_or(&data));
            if data.len() > room {
                return Ok((out.into(), false));
            }
        }
    }
    Ok((out.into(), true))
}
