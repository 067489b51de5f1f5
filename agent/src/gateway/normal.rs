//! A request as the upstream gets it, whatever it came as: a target in origin form and one `Host`.

use http::{
    HeaderMap, HeaderValue, Uri, Version,
    header::{self, Entry},
    request::Parts,
    uri::PathAndQuery,
};

use super::{cause::Cause, connection::Conn};

/// Checks what only the parsed head shows, and brings target and `Host` into one form.
pub(super) fn request(parts: &mut Parts, conn: &Conn, headers_max: usize) -> Result<(), Cause> {
    if parts.method == http::Method::CONNECT {
        return Err(Cause::Method);
    }
    if parts.uri.authority().is_some() {
        let uri = std::mem::take(&mut parts.uri).into_parts();
        if let Some(authority) = uri.authority {
            host_is(&mut parts.headers, authority.as_str())?;
        }
        let path = uri
            .path_and_query
            .unwrap_or_else(|| PathAndQuery::from_static("/"));
        parts.uri = Uri::from(path);
    }
    if parts.version == Version::HTTP_2 {
        if parts.headers.len() > headers_max {
            return Err(Cause::Headers);
        }
        check_h2(&mut parts.headers)?;
    }
    if !parts.headers.contains_key(header::HOST) {
        if parts.version != Version::HTTP_10 {
            return Err(Cause::HostMissing);
        }
        let host = HeaderValue::try_from(conn.local.to_string()).map_err(|_| Cause::HostInvalid)?;
        parts.headers.insert(header::HOST, host);
    }
    parts.version = Version::HTTP_11;
    Ok(())
}

/// The authority is the host, and no `Host` says otherwise.
fn host_is(headers: &mut HeaderMap, authority: &str) -> Result<(), Cause> {
    if authority.contains('@') {
        return Err(Cause::HostInvalid);
    }
    match headers.entry(header::HOST) {
        Entry::Occupied(host) => {
            let same = host
                .get()
                .as_bytes()
                .eq_ignore_ascii_case(authority.as_bytes());
            same.then_some(()).ok_or(Cause::HostMismatch)
        }
        Entry::Vacant(none) => {
            none.insert(HeaderValue::try_from(authority).map_err(|_| Cause::HostInvalid)?);
            Ok(())
        }
    }
}

/// What HTTP/2 allows and HTTP/1 does not.
fn check_h2(headers: &mut HeaderMap) -> Result<(), Cause> {
    if headers.get_all(header::HOST).iter().count() > 1 {
        return Err(Cause::HostTwice);
    }
    if headers.get_all(header::CONTENT_LENGTH).iter().count() > 1 {
        return Err(Cause::LengthTwice);
    }
    let one_hop = [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    if one_hop.iter().any(|name| headers.contains_key(name)) {
        return Err(Cause::HeaderLine);
    }
    // RFC 9113, 8.2.3: pieces of one cookie.
    if headers.get_all(header::COOKIE).iter().count() > 1 {
        let pieces: Vec<&[u8]> = headers
            .get_all(header::COOKIE)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        let cookie =
            HeaderValue::from_bytes(&pieces.join(&b"; "[..])).map_err(|_| Cause::HeaderLine)?;
        headers.insert(header::COOKIE, cookie);
    }
    Ok(())
}
