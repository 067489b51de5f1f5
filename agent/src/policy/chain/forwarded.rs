//! `Forwarded` (RFC 7239) from the right: where its last element begins, and whom that element is for.
//!
//! A client writes the left end of the header and our own proxies the right. So quotes are matched
//! leftwards from the end of the element that is being read, and a quote that was opened far to the left
//! and never closed reaches nothing that a proxy has appended.

use std::net::IpAddr;

use super::element::{Unreadable, node_address, split_first, trim};

/// Where the last element begins: the index of the comma before it, `None` at the beginning of the text.
pub(super) fn last_comma(text: &[u8]) -> Option<usize> {
    let mut end = text.len();
    loop {
        let head = text.get(..end)?;
        let at = head.iter().rposition(|byte| matches!(byte, b',' | b'"'))?;
        if head.get(at) == Some(&b',') {
            return Some(at);
        }
        // Without its opening quote it is no quoted text, and commas before it are commas.
        end = opening_quote(text, at).unwrap_or(at);
    }
}

/// Whom an element is for.
pub(super) fn address(element: &[u8]) -> Result<IpAddr, Unreadable> {
    let mut found = None;
    let mut rest = element;
    loop {
        let (pair, behind) = first_pair(rest)?;
        if let Some((name, value)) = split_first(trim(pair), b'=')
            && name.eq_ignore_ascii_case(b"for")
            && found.replace(value).is_some()
        {
            return Err(Unreadable::NoFor);
        }
        match behind {
            Some(behind) => rest = behind,
            None => break,
        }
    }
    let value = found.ok_or(Unreadable::NoFor)?;
    let Some(quoted) = value.strip_prefix(b"\"") else {
        return node_address(value);
    };
    let quoted = quoted.strip_suffix(b"\"").ok_or(Unreadable::NoFor)?;
    if !quoted.contains(&b'\\') {
        return node_address(quoted);
    }
    let mut plain = [0; NODE_BYTES_MAX];
    let plain = unescaped(quoted, &mut plain).ok_or(Unreadable::Garbage)?;
    node_address(plain)
}

/// The quote that opens the quoted text which the quote at `closing` ends. It stands behind `=`, as in
/// every element that a proxy writes, and nothing between them looks like a hop: `y=", for=192.0.2.1;z="`
/// is two halves of two elements.
fn opening_quote(text: &[u8], closing: usize) -> Option<usize> {
    let mut end = closing;
    loop {
        let head = text.get(..end)?;
        let at = head.iter().rposition(|byte| *byte == b'"')?;
        let before = head.get(..at)?;
        let escapes = before
            .iter()
            .rev()
            .take_while(|byte| **byte == b'\\')
            .count();
        if escapes % 2 == 1 {
            end = at;
            continue;
        }
        let inner = text.get(at.checked_add(1)?..closing)?;
        let hides_a_hop = inner.contains(&b',')
            && inner
                .windows(4)
                .any(|part| part.eq_ignore_ascii_case(b"for="));
        return (before.last() == Some(&b'=') && !hides_a_hop).then_some(at);
    }
}

/// One `name=value` and what follows its semicolon.
fn first_pair(text: &[u8]) -> Result<(&[u8], Option<&[u8]>), Unreadable> {
    let mut quoted = false;
    let mut escaped = false;
    for (index, byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b';' if !quoted => {
                let behind = index.checked_add(1).and_then(|next| text.get(next..));
                return Ok((text.get(..index).unwrap_or_default(), behind));
            }
            _ => {}
        }
    }
    if quoted {
        return Err(Unreadable::NoFor);
    }
    Ok((text, None))
}

/// Without the backslashes of quoted pairs; `None` where it is longer than any address.
fn unescaped<'a>(quoted: &[u8], into: &'a mut [u8; NODE_BYTES_MAX]) -> Option<&'a [u8]> {
    let mut length = 0;
    let mut bytes = quoted.iter();
    while let Some(byte) = bytes.next() {
        let byte = if *byte == b'\\' { bytes.next()? } else { byte };
        *into.get_mut(length)? = *byte;
        length += 1;
    }
    into.get(..length)
}

/// Longest node: IPv6 with IPv4 at its end, a zone id, brackets and an obfuscated port.
const NODE_BYTES_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    /// The elements from the right, as far as they go.
    fn elements(mut text: &str) -> Vec<&str> {
        let mut out = Vec::new();
        while let Some(at) = last_comma(text.as_bytes()) {
            out.push(&text[at + 1..]);
            text = &text[..at];
        }
        out.push(text);
        out
    }

    #[test]
    fn elements_end_at_commas_outside_their_own_quotes() {
        for (text, split) in [
            ("for=a, for=b", &[" for=b", "for=a"][..]),
            ("", &[""]),
            (",", &["", ""]),
            ("for=\"a,b\",c", &["c", "for=\"a,b\""]),
            ("for=\"a\\\",b\",c", &["c", "for=\"a\\\",b\""]),
            ("for=\", for=b", &[" for=b", "for=\""]),
            (
                "for=\"x, for=\"[2001:db8::1]\"",
                &[" for=\"[2001:db8::1]\"", "for=\"x"],
            ),
            ("for=\"x\\, for=\"b\"", &[" for=\"b\"", "for=\"x\\"]),
            // A quote opened by the client and one that a proxy's host name brought in.
            (
                "for=1.2.3.4;y=\", for=b;host=x\"",
                &[" for=b;host=x\"", "for=1.2.3.4;y=\""],
            ),
            ("a\"b,c\"", &["c\"", "a\"b"]),
        ] {
            assert_eq!(elements(text), split, "{text}");
        }
    }

    #[test]
    fn an_element_is_for_one_node() {
        use Unreadable::{Garbage, NoFor, Obfuscated, Port, Unknown};
        for (text, reads) in [
            ("for=192.0.2.1", Ok("192.0.2.1")),
            ("For=192.0.2.1", Ok("192.0.2.1")),
            ("for=\"192.0.2.1:80\"", Ok("192.0.2.1")),
            ("for=192.0.2.1:80", Ok("192.0.2.1")),
            ("for=\"192.0.2.1:_gazonk\"", Ok("192.0.2.1")),
            ("for=\"[2001:db8::1]\"", Ok("2001:db8::1")),
            ("for=\"[2001:db8::1]:4711\"", Ok("2001:db8::1")),
            ("for=\"\\[2001:db8:\\:1]\"", Ok("2001:db8::1")),
            (
                " proto=https ; by=203.0.113.43;FOR=192.0.2.1 ",
                Ok("192.0.2.1"),
            ),
            ("host=\"a;for=x\";for=192.0.2.1", Ok("192.0.2.1")),
            ("ext=\"a,b\";for=192.0.2.1", Ok("192.0.2.1")),
            ("for=unknown", Err(Unknown)),
            ("for=\"_SEVKISEK\"", Err(Obfuscated)),
            ("for=_hidden:_port", Err(Obfuscated)),
            ("proto=https", Err(NoFor)),
            ("192.0.2.1", Err(NoFor)),
            ("for=192.0.2.1;for=192.0.2.2", Err(NoFor)),
            ("for=\"192.0.2.1", Err(NoFor)),
            ("for=\"", Err(NoFor)),
            ("for=192.0.2.1;x=\"", Err(NoFor)),
            ("for=192.0.2.1\"", Err(NoFor)),
            ("for =192.0.2.1", Err(NoFor)),
            ("xfor=192.0.2.1", Err(NoFor)),
            ("for=", Err(Garbage)),
            ("for=\"\"", Err(Garbage)),
            ("for=\"192.0.2.1\\\"", Err(NoFor)),
            ("for= 192.0.2.1", Err(Garbage)),
            ("for=\"192.0.2.1:\"", Err(Port)),
        ] {
            let read = address(text.as_bytes()).map(|address| address.to_string());
            assert_eq!(read.as_deref(), reads.as_deref(), "{text}");
        }
        let long = format!("for=\"{}\"", "1".repeat(500));
        assert_eq!(address(long.as_bytes()), Err(Garbage));
    }
}
