//! Which header lines pass: none that belong to one hop alone, none that could be taken for the gateway's
//! own or for the forwarding header, and never fewer than were sent because `Connection` says so.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Removes what may not pass to the upstream. `forwarding` is the service's forwarding header.
pub(super) fn clean_request(headers: &mut HeaderMap, forwarding: &str) {
    let te_trailers = headers
        .get_all(header::TE)
        .iter()
        .any(|value| lists(value, |token| token.eq_ignore_ascii_case(b"trailers")));
    remove_nominated(headers, forwarding);
    remove(headers, |name| {
        is_of_one_hop(name)
            || name == "expect"
            || name == "http2-settings"
            || is_ours_or_alias(name)
    });
    if te_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// Removes what may not pass to the client.
pub(super) fn clean_response(headers: &mut HeaderMap) {
    remove_nominated(headers, "");
    remove(headers, is_of_one_hop);
}

/// Removes what has no place in trailers.
pub(super) fn clean_trailers(trailers: &mut HeaderMap) {
    remove(trailers, |name| {
        is_of_one_hop(name)
            || is_ours_or_alias(name)
            || is_forwarding(name)
            || matches!(
                name,
                "host"
                    | "content-length"
                    | "content-type"
                    | "content-encoding"
                    | "content-range"
                    | "trailer"
                    | "authorization"
                    | "cookie"
                    | "set-cookie"
                    | "expect"
            )
    });
}

/// Removes what `Connection` nominates, except what must stay whoever nominates it.
fn remove_nominated(headers: &mut HeaderMap, forwarding: &str) {
    if !headers.contains_key(header::CONNECTION) {
        return;
    }
    let nominated: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        // hyper's own words; they name no header or one that goes anyway.
        .filter(|token| {
            !token.eq_ignore_ascii_case(b"close") && !token.eq_ignore_ascii_case(b"keep-alive")
        })
        .take(NOMINATED_MAX)
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .filter(|name| !stays(name.as_str(), forwarding))
        .collect();
    for name in nominated {
        headers.remove(name);
    }
}

/// What no nomination removes.
fn stays(name: &str, forwarding: &str) -> bool {
    name == forwarding
        || is_forwarding(name)
        || name.starts_with(OURS)
        || matches!(
            name,
            "host"
                | "content-length"
                | "authorization"
                | "cookie"
                | "content-type"
                | "te"
                | "upgrade"
        )
}

/// Removes every header whose name is one of those.
fn remove(headers: &mut HeaderMap, is_one: impl Fn(&str) -> bool) {
    while let Some(name) = headers.keys().find(|name| is_one(name.as_str())).cloned() {
        headers.remove(name);
    }
}

/// RFC 9110, 7.6.1, and what older ones had.
fn is_of_one_hop(name: &str) -> bool {
    matches!(
        name,
        "connection" | "keep-alive" | "proxy-connection" | "te" | "transfer-encoding" | "upgrade"
    )
}

/// `X-Edgeward-…` however it is spelt, and other spellings of forwarding headers, which some applications
/// take for the same.
fn is_ours_or_alias(name: &str) -> bool {
    if name.starts_with(OURS) {
        return true;
    }
    if !name.bytes().any(|byte| matches!(byte, b'_' | b'.')) {
        return false;
    }
    let plain = name.replace(['_', '.'], "-");
    plain.starts_with(OURS) || is_forwarding(&plain)
}

/// Headers by which clients are told on; also those that are not the service's own may matter to what
/// stands behind.
fn is_forwarding(name: &str) -> bool {
    matches!(
        name,
        "x-forwarded-for"
            | "x-forwarded-host"
            | "x-forwarded-proto"
            | "x-forwarded-port"
            | "forwarded"
            | "x-real-ip"
            | "true-client-ip"
            | "cf-connecting-ip"
            | "cloudfront-viewer-address"
    )
}

fn lists(value: &HeaderValue, is_it: impl Fn(&[u8]) -> bool) -> bool {
    value
        .as_bytes()
        .split(|&byte| byte == b',')
        .any(|token| is_it(token.trim_ascii()))
}

const OURS: &str = "x-edgeward-";
const NOMINATED_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_static(value),
            );
        }
        headers
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn hop_by_hop_and_aliases_go() {
        let mut headers = map(&[
            ("host", "a"),
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("keep-alive", "5"),
            ("proxy-connection", "close"),
            ("te", "gzip, trailers"),
            ("upgrade", "h2c"),
            ("http2-settings", "AA"),
            ("transfer-encoding", "chunked"),
            ("expect", "100-continue"),
            ("x-edgeward-client", "192.0.2.1"),
            ("x_edgeward_verdict", "pass"),
            ("x.forwarded.for", "192.0.2.1"),
            ("x_forwarded_for", "192.0.2.1"),
            ("true_client.ip", "192.0.2.1"),
            ("x-forwarded-for", "192.0.2.9"),
            ("x_other", "stays"),
        ]);
        clean_request(&mut headers, "x-forwarded-for");
        assert_eq!(
            names(&headers),
            ["host", "te", "x-forwarded-for", "x_other"]
        );
        assert_eq!(headers["te"], "trailers");
    }

    #[test]
    fn nominations_cannot_remove_what_identifies_the_client() {
        let mut headers = map(&[
            ("host", "a"),
            (
                "connection",
                "X-Forwarded-For, True-Client-IP, Host, X-Edgeward-Client, cookie, x-a",
            ),
            ("connection", "Content-Length"),
            ("x-forwarded-for", "192.0.2.9"),
            ("true-client-ip", "192.0.2.9"),
            ("content-length", "1"),
            ("cookie", "c"),
            ("x-a", "goes"),
        ]);
        clean_request(&mut headers, "true-client-ip");
        assert_eq!(
            names(&headers),
            [
                "content-length",
                "cookie",
                "host",
                "true-client-ip",
                "x-forwarded-for"
            ]
        );
    }

    #[test]
    fn trailers_cannot_carry_routing() {
        let mut trailers = map(&[
            ("x-checksum", "1"),
            ("grpc-status", "0"),
            ("x-forwarded-for", "192.0.2.1"),
            ("x_edgeward_client", "192.0.2.1"),
            ("host", "b"),
            ("transfer-encoding", "chunked"),
            ("content-length", "9"),
        ]);
        clean_trailers(&mut trailers);
        assert_eq!(names(&trailers), ["grpc-status", "x-checksum"]);
    }
}
