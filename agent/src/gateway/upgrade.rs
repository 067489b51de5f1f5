//! Connections and streams that become something else: WebSocket and whatever `Upgrade` names over
//! HTTP/1.1, extended CONNECT (RFC 8441) over HTTP/2. Towards the upstream it is always an `Upgrade`.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header, response::Parts,
};
use http_body::Body as _;
use hyper::{body::Incoming, ext::Protocol, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use super::{
    body::OutBody, connection::Conn, share::Share, shared::Shared, stream::Stream, tunnel,
    wheel::Wheel,
};
use crate::config::{Gateway, UpstreamProtocol};

/// A change of protocol that a request asks for and the gateway goes along with.
pub(super) struct Wanted {
    protocol: HeaderValue,
    /// The HTTP/2 stream that it is asked for; otherwise it is the connection.
    stream: Option<OnUpgrade>,
}

/// The upstream's side of what has become something else.
pub(super) struct Upgraded {
    pub(super) stream: Stream,
    /// Read from the upstream behind its answer.
    pub(super) ahead: Bytes,
    pub(super) share: Share,
    pub(super) idle: Duration,
}

/// Tells the wire that the connection stays HTTP, unless it becomes something else.
pub(super) struct Hold<'a>(Option<&'a Conn>);

/// What the request asks to change to, if anything. HTTP and TLS are not changed to within a connection:
/// what came then would not be judged.
pub(super) fn wanted(
    conn: &Conn,
    request: &mut Request<Incoming>,
    gateway: &Gateway,
) -> Option<Wanted> {
    if gateway.upstream_protocol != UpstreamProtocol::Http1 {
        return None;
    }
    if !conn.is_http1 {
        return wanted_stream(request);
    }
    let headers = request.headers();
    let protocol = headers.get(header::UPGRADE)?;
    let once = headers.get_all(header::UPGRADE).iter().count() == 1;
    let asked = headers
        .get_all(header::CONNECTION)
        .iter()
        .any(|value| tokens(value).any(|token| token.eq_ignore_ascii_case(b"upgrade")));
    let plain = request.version() == Version::HTTP_11 && request.body().is_end_stream();
    let barred = tokens(protocol).any(|token| {
        let token = token.to_ascii_lowercase();
        token.starts_with(b"h2") || token.starts_with(b"http/") || token.starts_with(b"tls/")
    });
    (once && asked && plain && !barred).then(|| Wanted {
        protocol: protocol.clone(),
        stream: None,
    })
}

/// Extended CONNECT is made the `GET` with `Upgrade` that it stands for.
fn wanted_stream(request: &mut Request<Incoming>) -> Option<Wanted> {
    if request.method() != Method::CONNECT {
        return None;
    }
    let protocol = request.extensions_mut().remove::<Protocol>()?;
    let protocol = HeaderValue::from_str(protocol.as_str()).ok()?;
    let stream = hyper::upgrade::on(&mut *request);
    *request.method_mut() = Method::GET;
    if protocol == "websocket" {
        request
            .headers_mut()
            .insert(header::SEC_WEBSOCKET_KEY, key());
    }
    Some(Wanted {
        protocol,
        stream: Some(stream),
    })
}

impl Wanted {
    /// Asks the upstream for it.
    pub(super) fn ask(&self, headers: &mut HeaderMap) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, self.protocol.clone());
    }

    /// The upstream has agreed: tells the client, and lets bytes pass from then on.
    pub(super) fn switch(
        self,
        conn: &Conn,
        mut answer: Parts,
        switched: Option<HeaderValue>,
        upgraded: Upgraded,
        hold: Hold<'_>,
    ) -> Response<OutBody> {
        match self.stream {
            None => {
                let headers = &mut answer.headers;
                headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
                headers.insert(header::UPGRADE, switched.unwrap_or(self.protocol));
                hold.keep(upgraded);
            }
            Some(stream) => {
                answer.status = StatusCode::OK;
                answer.headers.remove(header::SEC_WEBSOCKET_ACCEPT);
                let (shared, wheel) = (Arc::clone(&conn.shared), Arc::clone(&conn.worker.wheel));
                tokio::spawn(async move {
                    if let Ok(client) = stream.await {
                        let client = TokioIo::new(client);
                        run(client, &Bytes::new(), upgraded, &wheel, &shared).await;
                    }
                });
            }
        }
        Response::from_parts(answer, OutBody::empty(None))
    }
}

/// Passes bytes until one side has ended. `ahead` was read from the client behind its request.
pub(super) async fn run<C>(
    mut client: C,
    ahead: &[u8],
    upgraded: Upgraded,
    wheel: &Arc<Wheel>,
    shared: &Shared,
) where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let Upgraded {
        stream: mut upstream,
        ahead: behind,
        share: _share,
        idle,
    } = upgraded;
    let greeted = async {
        upstream.write_all(ahead).await?;
        client.write_all(&behind).await?;
        client.flush().await
    };
    let ended = match wheel.within(idle, greeted).await {
        Some(Ok(())) => tunnel::splice(&mut client, &mut upstream, idle, wheel, shared).await,
        Some(failed) => failed,
        None => Err(std::io::ErrorKind::TimedOut.into()),
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a tunnel was cut");
    }
}

impl<'a> Hold<'a> {
    pub(super) fn new(conn: &'a Conn) -> Self {
        Self(Some(conn))
    }

    fn keep(mut self, upgraded: Upgraded) {
        if let Some(conn) = self.0.take() {
            conn.upgraded(upgraded);
        }
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        if let Some(conn) = self.0 {
            conn.line.declined();
        }
    }
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value
        .as_bytes()
        .split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
}

/// A `Sec-WebSocket-Key` for the upstream: 16 bytes in Base64 that a cache cannot have seen.
fn key() -> HeaderValue {
    let random = || RandomState::new().build_hasher().finish();
    let bytes = [random().to_be_bytes(), random().to_be_bytes()].concat();
    let bits = bytes
        .iter()
        .fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
    // 21 digits of six bits, and one of two bits and four that are 0.
    let digits = (0..21).map(|at| bits >> (122 - 6 * at)).chain([bits << 4]);
    let text: String = digits
        .filter_map(|digit| {
            ALPHABET
                .chars()
                .nth(usize::try_from(digit & 63).unwrap_or(0))
        })
        .chain("==".chars())
        .collect();
    HeaderValue::try_from(text)
        .unwrap_or_else(|_| HeaderValue::from_static("AAAAAAAAAAAAAAAAAAAAAA=="))
}

const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sixteen_bytes_and_differ() {
        let one = key();
        let text = one.to_str().unwrap();
        assert_eq!((text.len(), text.ends_with("==")), (24, true));
        assert!(
            matches!(text.as_bytes()[21], b'A' | b'Q' | b'g' | b'w'),
            "{text}"
        );
        assert_ne!(one, key());
    }
}
