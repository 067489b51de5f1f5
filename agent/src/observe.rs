//! Watching: request heads of plain HTTP that the kernel copied on their way from trusted proxies to a service with
//! `observe`. They are judged like any proxied request and nothing is done about them.
//!
//! The kernel copies the beginning of one segment. A head that does not end in it is counted and not judged: a
//! further line of the forwarding header could follow, and without it a client would be judged by what it says
//! of itself.

use std::borrow::Cow;

use crate::{
    datapath::{EventRing, ObservedHead, read_ring},
    gate::{Gate, Head, Via},
    policy::{chain::Forwarding, request::RequestFacts},
};

/// Reads the ring until the task is dropped.
pub(crate) async fn watch(ring: EventRing, gate: Gate) {
    read_ring(ring, "request heads", |record| {
        match ObservedHead::decode(record) {
            Some(head) => judge(&gate, &head),
            None => gate.rejected(Via::Observe, "record_unreadable", None),
        }
    })
    .await;
}

fn judge(gate: &Gate, observed: &ObservedHead<'_>) {
    let snapshot = gate.snapshot();
    let service = snapshot.service_at(observed.destination_port);
    let Some((service, settings)) = service
        .and_then(|index| Some((index, snapshot.services.get(index)?)))
        .filter(|(_, settings)| settings.observe)
    else {
        // Copied before a reload, read after it.
        gate.rejected(Via::Observe, "service_gone", Some(observed.source));
        return;
    };
    let mut room = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let request = match parse(observed.bytes, &mut room) {
        Ok(request) => request,
        Err(cause) => {
            gate.rejected(Via::Observe, cause, Some(observed.source));
            return;
        }
    };
    let values = |name: &'static str| {
        let lines = request.headers.iter();
        lines.filter_map(move |line| line.name.eq_ignore_ascii_case(name).then_some(line.value))
    };
    let forwarded: Vec<&[u8]> = values(settings.header.name()).collect();
    let host = values("host").next().map(String::from_utf8_lossy);
    let head = Head {
        facts: RequestFacts {
            service,
            peer: observed.source,
            path: path_of(request.path.unwrap_or_default()),
            user_agent: values("user-agent").next(),
            sign_in: None,
        },
        via: Via::Observe,
        method: request.method.unwrap_or_default(),
        host: host.as_ref().map(Cow::as_ref),
    };
    // The gate counts it and makes its event; there is nobody to be told.
    let forwarding = Forwarding::Lines(settings.header, forwarded.iter().copied());
    drop(gate.decide(&snapshot, &head, forwarding));
}

/// The request whose whole head this is, or why there is none: a word of a closed set.
fn parse<'a, 'h>(
    bytes: &'a [u8],
    room: &'h mut [httparse::Header<'a>],
) -> Result<httparse::Request<'h, 'a>, &'static str> {
    let mut request = httparse::Request::new(room);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => Ok(request),
        Ok(httparse::Status::Partial) => Err("head_truncated"),
        Err(httparse::Error::TooManyHeaders) => Err("too_many_headers"),
        Err(_) => Err("head_unreadable"),
    }
}

/// The path of a request target, also of one in absolute form.
fn path_of(target: &str) -> &str {
    let end = target.find(['?', '#']).unwrap_or(target.len());
    let path = target.get(..end).unwrap_or_default();
    match path.split_once("://") {
        Some((_, rest)) if !path.starts_with('/') => {
            let slash = rest.find('/').unwrap_or(rest.len());
            rest.get(slash..)
                .filter(|path| !path.is_empty())
                .unwrap_or("/")
        }
        _ => path,
    }
}

/// Header lines of a head that is read.
const HEADERS_MAX: usize = 128;

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn a_whole_head_is_read_and_a_cut_one_is_not() {
        let whole = "POST /login?next=%2F HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-For: 192.0.2.1\r\n\r\nuser=x";
        let end = whole.find("\r\n\r\n").unwrap() + 4;
        for cut in 0..whole.len() {
            let mut room = [httparse::EMPTY_HEADER; HEADERS_MAX];
            let found = parse(&whole.as_bytes()[..cut], &mut room);
            if cut < end {
                assert_eq!(found.err(), Some("head_truncated"), "{cut}");
            } else {
                let request = found.unwrap();
                assert_eq!(request.method, Some("POST"));
                assert_eq!(path_of(request.path.unwrap()), "/login");
                assert_eq!(request.headers.len(), 2);
            }
        }
    }

    #[test]
    fn what_is_no_head_has_a_cause() {
        let many = format!(
            "GET / HTTP/1.1\r\n{}\r\n",
            "a: b\r\n".repeat(HEADERS_MAX + 1)
        );
        let rows: [(&[u8], &str); 5] = [
            (b"GET / HTTP/1.1\r\nbad header\r\n\r\n", "head_unreadable"),
            (b"GET / HTTP/2.0\r\n\r\n", "head_unreadable"),
            (b"GET \0 HTTP/1.1\r\n\r\n", "head_unreadable"),
            (
                b"GET and the rest of a body that begins like this\r\n",
                "head_unreadable",
            ),
            (many.as_bytes(), "too_many_headers"),
        ];
        for (bytes, cause) in rows {
            let mut room = [httparse::EMPTY_HEADER; HEADERS_MAX];
            assert_eq!(parse(bytes, &mut room).err(), Some(cause), "{bytes:?}");
        }
    }

    #[test]
    fn paths_lose_query_fragment_and_authority() {
        for (target, path) in [
            ("/", "/"),
            ("/a/b?c=/d", "/a/b"),
            ("/a#b", "/a"),
            ("http://a.example/login?x", "/login"),
            ("http://a.example", "/"),
            ("/go?to=http://a", "/go"),
            ("/http://a", "/http://a"),
            ("*", "*"),
            ("", ""),
        ] {
            assert_eq!(path_of(target), path, "{target}");
        }
    }
}
