//! A request on its way to the upstream: over a kept connection, or a new one, or a new one after a kept
//! one turned out to be closed.

use std::{
    net::{IpAddr, SocketAddr},
    pin::pin,
    task::Poll,
};

use http::{HeaderMap, Request, Uri, Version, header, request::Parts, response};
use rustls_pki_types::ServerName;

use super::{
    body::{Source, UpBody, Upload},
    cause::Cause,
    connection::Conn,
    http1::{CallError, Link},
    request::Rules,
    sending::Sending,
    upstream::{self, Key, Target},
    wheel::Alarm,
};
use crate::config::UpstreamProtocol;

/// The upstream's answer.
pub(super) struct Answer {
    pub(super) parts: response::Parts,
    pub(super) source: Source,
}

/// Sends a request to its service's upstream and waits for the head of the answer.
pub(super) async fn forward(
    conn: &Conn,
    rules: &Rules<'_>,
    client: IpAddr,
    request: (Parts, UpBody),
    upload: Option<&Upload>,
) -> Result<Answer, Cause> {
    let (parts, body) = request;
    let target = target(conn, rules, client, &parts.headers)?;
    match rules.gateway.upstream_protocol {
        UpstreamProtocol::Http1 => {
            let request = Sending::new(&parts, body);
            drop(parts);
            http1(conn, &target, request, upload).await
        }
        UpstreamProtocol::Http2 => {
            let mut request = Request::new(body);
            *request.method_mut() = parts.method;
            *request.uri_mut() = parts.uri;
            *request.headers_mut() = parts.headers;
            http2(conn, &target, request, upload).await
        }
    }
}

async fn http1(
    conn: &Conn,
    target: &Target,
    mut request: Sending,
    upload: Option<&Upload>,
) -> Result<Answer, Cause> {
    let worker = &conn.worker;
    let mut kept = worker.pool.take(&target.key);
    let alarm = Alarm::new(&worker.wheel);
    for _ in 0..ATTEMPTS_MAX {
        let mut link = match kept.take() {
            Some(link) => link,
            None => {
                let stream = upstream::connect(target, &worker.wheel).await?;
                Link::new(stream, target.key.clone(), &worker.pool)
            }
        };
        alarm.set(target.timeout);
        match link.call(request, upload, (&alarm, target.timeout)).await {
            Ok(parts) => {
                return Ok(Answer {
                    parts,
                    source: Source::Link(link),
                });
            }
            Err(CallError::Slow) => return Err(fault(upload, Cause::UpstreamTimeout)),
            // One kept connection was closed; the others probably were too.
            Err(CallError::Broken(Some(again))) => request = *again,
            Err(CallError::Broken(None)) => break,
        }
    }
    Err(fault(upload, Cause::UpstreamBroken))
}

async fn http2(
    conn: &Conn,
    target: &Target,
    mut request: Request<UpBody>,
    upload: Option<&Upload>,
) -> Result<Answer, Cause> {
    let worker = &conn.worker;
    let mut sender = worker.muxes.sender(target, &worker.wheel).await?;
    to_absolute(&mut request, target.tls.is_some());
    let alarm = Alarm::new(&worker.wheel);
    alarm.set(target.timeout);
    let mut frames = 0;
    let mut sent = pin!(sender.send_request(request));
    std::future::poll_fn(|cx| {
        if let Poll::Ready(result) = sent.as_mut().poll(cx) {
            return Poll::Ready(result.map_err(|_| fault(upload, Cause::UpstreamBroken)));
        }
        if let Some(upload) = upload.filter(|upload| upload.frames() > frames) {
            frames = upload.frames();
            alarm.set(target.timeout);
        }
        if alarm.rings(cx) {
            return Poll::Ready(Err(fault(upload, Cause::UpstreamTimeout)));
        }
        Poll::Pending
    })
    .await
    .map(|response| {
        let (parts, incoming) = response.into_parts();
        Answer {
            parts,
            source: Source::Stream(incoming),
        }
    })
}

/// HTTP/2 carries the host in the target.
fn to_absolute(request: &mut Request<UpBody>, tls: bool) {
    *request.version_mut() = Version::HTTP_2;
    let Some(host) = request.headers_mut().remove(header::HOST) else {
        return;
    };
    let mut uri = std::mem::take(request.uri_mut()).into_parts();
    uri.scheme = Some(if tls {
        http::uri::Scheme::HTTPS
    } else {
        http::uri::Scheme::HTTP
    });
    uri.authority = http::uri::Authority::try_from(host.as_bytes()).ok();
    if let Ok(uri) = Uri::from_parts(uri) {
        *request.uri_mut() = uri;
    }
}

/// Where this request goes.
fn target(
    conn: &Conn,
    rules: &Rules<'_>,
    client: IpAddr,
    headers: &HeaderMap,
) -> Result<Target, Cause> {
    let gateway = rules.gateway;
    let address = gateway.upstream.unwrap_or(conn.local);
    let tls = if gateway.upstream_tls {
        let material = conn.shared.material();
        let tls = material
            .service(&rules.service.name)
            .and_then(|tls| tls.client.clone());
        Some(tls.ok_or(Cause::Certificates)?)
    } else {
        None
    };
    let announced = gateway.upstream_proxy_protocol.then(|| {
        let port = if client == conn.peer.ip() {
            conn.peer.port()
        } else {
            0
        };
        (SocketAddr::new(client, port), conn.local)
    });
    let name = tls
        .as_ref()
        .map(|(_, number)| (server_name(conn, headers, address), *number));
    Ok(Target {
        key: Key {
            address,
            tls: name,
            announced,
        },
        reserved: super::request::rules(rules.snapshot, address.port()).is_some(),
        tls: tls.map(|(config, _)| config),
        timeout: gateway.limits.upstream_timeout,
    })
}

/// The name that the client asked for: the upstream is asked for the same.
fn server_name(conn: &Conn, headers: &HeaderMap, address: SocketAddr) -> ServerName<'static> {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .map(without_port);
    conn.tls_name
        .as_deref()
        .or(host)
        .and_then(|name| ServerName::try_from(name.to_owned()).ok())
        .unwrap_or_else(|| ServerName::from(address.ip()))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.contains(':') =>
        {
            name
        }
        _ => host,
    }
}

/// Whose fault it is that a request was not answered: the client's if its body broke off.
fn fault(upload: Option<&Upload>, otherwise: Cause) -> Cause {
    upload.and_then(Upload::fault).unwrap_or(otherwise)
}

/// A kept connection may have been closed; a fresh one is the last word.
const ATTEMPTS_MAX: usize = 2;
