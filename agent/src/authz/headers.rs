//! Where the facts of the original request are found in what a proxy sends.

use std::{
    borrow::Cow,
    net::{IpAddr, SocketAddr},
};

use super::fault::Fault;
use crate::{
    config::{Endpoint, Header, PeerSource},
    policy::prefix::canonical_address,
};

/// Header lines by name, whatever the protocol they came in.
pub(super) trait Headers {
    /// The values of every line of that name (lower case), in order.
    fn lines<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]>;

    /// The value of the first line of that name.
    fn first<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        self.lines(name).next()
    }

    /// The value of the only line of that name, without spaces around.
    fn only<'a>(&'a self, what: &'static str, name: &'a str) -> Result<&'a [u8], Fault> {
        let mut lines = self.lines(name);
        let value = lines.next().unwrap_or_default().trim_ascii();
        if lines.next().is_some() {
            return Err(Fault::Repeated(what, name.to_owned()));
        }
        if value.is_empty() {
            return Err(Fault::Missing(what, name.to_owned()));
        }
        Ok(value)
    }
}

impl Headers for http::HeaderMap {
    fn lines<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.get_all(name).iter().map(http::HeaderValue::as_bytes)
    }
}

/// The peer of the proxy, and what it forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin<'a> {
    /// Canonical.
    pub(super) peer: IpAddr,
    /// The lines of the service's forwarding header, without the hop that is the peer; `None` where the
    /// proxy has walked the chain itself.
    pub(super) lines: Option<Vec<&'a [u8]>>,
}

/// Finds the peer as the endpoint's settings say; `protocol` is what the protocol itself carries.
pub(super) fn origin<'a>(
    endpoint: &'a Endpoint,
    header: Header,
    headers: &'a impl Headers,
    protocol: Option<IpAddr>,
) -> Result<Origin<'a>, Fault> {
    let mut appended = None;
    let peer = match &endpoint.peer {
        PeerSource::Header(name) => address(headers.only(PEER, name)?)
            .ok_or_else(|| Fault::Unreadable(PEER, name.clone()))?,
        PeerSource::LastHop => {
            let (peer, rest) = last_hop(headers.lines(APPENDED).collect())?;
            appended = Some(rest);
            peer
        }
        PeerSource::Protocol => {
            protocol.ok_or_else(|| Fault::Missing(PEER, PROTOCOL.to_owned()))?
        }
    };
    let lines = match (endpoint.resolved, header, appended) {
        (true, ..) => None,
        (false, Header::ProxyProtocol, _) => None,
        // The proxy's own entry is the peer, what stands left of it is what the peer forwarded.
        (false, Header::XForwardedFor, Some(rest)) => Some(rest),
        (false, header, _) => Some(headers.lines(header.name()).collect()),
    };
    Ok(Origin { peer, lines })
}

/// The last element of the lines, taken off.
fn last_hop(mut lines: Vec<&[u8]>) -> Result<(IpAddr, Vec<&[u8]>), Fault> {
    while let Some(line) = lines.pop() {
        let line = line.trim_ascii();
        let (rest, last) = match line.iter().rposition(|byte| *byte == b',') {
            Some(comma) => (line.get(..comma), line.get(comma.saturating_add(1)..)),
            None => (None, Some(line)),
        };
        let (rest, last) = (rest.unwrap_or_default(), last.unwrap_or_default());
        if last.trim_ascii().is_empty() {
            // An empty element, as in `192.0.2.1, `: it names nobody, the one before it does.
            if !rest.is_empty() {
                lines.push(rest);
            }
            continue;
        }
        let peer =
            address(last).ok_or_else(|| Fault::Unreadable(PEER, LAST_APPENDED.to_owned()))?;
        if !rest.is_empty() {
            lines.push(rest);
        }
        return Ok((peer, lines));
    }
    Err(Fault::Missing(PEER, LAST_APPENDED.to_owned()))
}

/// An address that the proxy writes: bare, or with a port (IPv6 then in brackets).
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text.trim_ascii()).ok()?;
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(canonical_address(address));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(canonical_address(address.ip()));
    }
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    inner
        .parse::<std::net::Ipv6Addr>()
        .ok()
        .map(|address| canonical_address(IpAddr::V6(address)))
}

/// The path of a request target, without query and fragment; also of one in absolute form.
pub(super) fn path_of(target: &str) -> &str {
    let end = target.find(['?', '#']).unwrap_or(target.len());
    let path = target.get(..end).unwrap_or_default();
    if path.starts_with('/') {
        return path;
    }
    let Some((_, authority)) = path.split_once("://") else {
        return path;
    };
    match authority.find('/') {
        Some(slash) => authority.get(slash..).unwrap_or("/"),
        None => "/",
    }
}

/// As text: a byte that is no UTF-8 is shown as such. Clients choose these bytes, so they must not make a
/// question unreadable.
pub(super) fn shown(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

const PROTOCOL: &str =
    "the source address that the protocol carries (SPOE `src`, gRPC `attributes.source.address`)";
const PEER: &str = "address of the proxy's peer";
const APPENDED: &str = "x-forwarded-for";
const LAST_APPENDED: &str = "the last hop of x-forwarded-for";

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(of: &[&'static str]) -> Vec<&'static [u8]> {
        of.iter().map(|line| line.as_bytes()).collect()
    }

    #[test]
    fn the_last_hop_is_the_peer_and_the_rest_the_chain() {
        let cases: &[(&[&str], &str, &[&str])] = &[
            (&["192.0.2.1"], "192.0.2.1", &[]),
            (&["198.51.100.9, 192.0.2.1"], "192.0.2.1", &["198.51.100.9"]),
            (&["a, b,192.0.2.1"], "192.0.2.1", &["a, b"]),
            (&["a", "b, 192.0.2.1"], "192.0.2.1", &["a", "b"]),
            (&["a", "192.0.2.1"], "192.0.2.1", &["a"]),
            (&["a", "192.0.2.1, ,"], "192.0.2.1", &["a"]),
            (&["a, 192.0.2.1", ""], "192.0.2.1", &["a"]),
            (&["a,2001:db8::1"], "2001:db8::1", &["a"]),
            (&["[2001:db8::1]:443"], "2001:db8::1", &[]),
            (&["::ffff:192.0.2.1"], "192.0.2.1", &[]),
            (&["192.0.2.1:5000"], "192.0.2.1", &[]),
        ];
        for (given, peer, rest) in cases {
            let (found, left) = last_hop(lines(given)).unwrap();
            assert_eq!(found.to_string(), *peer, "{given:?}");
            assert_eq!(left, lines(rest), "{given:?}");
        }
    }

    #[test]
    fn a_last_hop_that_names_nobody_is_a_fault() {
        for given in [&[][..], &[""], &[" , "]] {
            assert!(
                matches!(last_hop(lines(given)), Err(Fault::Missing(..))),
                "{given:?}"
            );
        }
        for given in [&["192.0.2.1, unknown"][..], &["unix:"], &["192.0.2.1 x"]] {
            assert!(
                matches!(last_hop(lines(given)), Err(Fault::Unreadable(..))),
                "{given:?}"
            );
        }
    }

    #[test]
    fn paths_lose_query_fragment_and_authority() {
        let cases = [
            ("/login", "/login"),
            ("/login?next=/", "/login"),
            ("/login#top", "/login"),
            ("/?", "/"),
            ("http://login.example/a/b?c", "/a/b"),
            ("http://login.example", "/"),
            ("*", "*"),
            ("//evil/x", "//evil/x"),
            ("/a://b", "/a://b"),
        ];
        for (target, path) in cases {
            assert_eq!(path_of(target), path, "{target}");
        }
    }
}
