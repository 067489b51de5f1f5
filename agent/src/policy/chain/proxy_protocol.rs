//! PROXY protocol v1 and v2 ahead of a connection's first byte: who the proxy speaks for.
//!
//! Only where it is configured and only from trusted peers; it is never guessed, since its absence and
//! its forgery look alike.

use std::net::{IpAddr, SocketAddr};

use super::element::{split_first, v4, v6_groups};
use crate::policy::prefix::canonical_address;

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Bytes of the header: what follows is the connection's own.
    pub consumed: usize,
    /// Source and destination; `None` where the proxy speaks for itself (`LOCAL`, `UNKNOWN`) or for no IP
    /// connection, and the real peer counts.
    pub address: Option<(SocketAddr, SocketAddr)>,
}

/// Why there is no header (yet).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// At least this many bytes are needed, those at hand among them; never more than [`BYTES_MAX`].
    Incomplete(usize),
    /// It is none, and no further byte makes it one.
    Invalid(&'static str),
}

/// Longest header of version 1, its line's end included.
pub const V1_BYTES_MAX: usize = 107;
/// Longest header that is read: version 2 with 4 KiB of addresses and extensions.
pub const BYTES_MAX: usize = V2_FIXED_BYTES + 4096;

const V1_START: &[u8] = b"PROXY ";
const V2_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED_BYTES: usize = 16;

/// Reads a header from the bytes received so far.
///
/// # Errors
/// [`Error::Incomplete`] until there is enough to say, [`Error::Invalid`] for everything else.
pub fn parse(bytes: &[u8]) -> Result<Parsed, Error> {
    if bytes.starts_with(V1_START) {
        return v1(bytes);
    }
    if let Some(behind) = bytes.strip_prefix(V2_START) {
        return v2(bytes, behind);
    }
    for start in [V1_START, V2_START] {
        if start.starts_with(bytes) {
            return Err(Error::Incomplete(start.len()));
        }
    }
    Err(Error::Invalid("does not begin as PROXY protocol"))
}

fn v1(bytes: &[u8]) -> Result<Parsed, Error> {
    let shown = bytes.get(..V1_BYTES_MAX).unwrap_or(bytes);
    let Some(end) = shown.windows(2).position(|pair| pair == b"\r\n") else {
        return Err(if bytes.len() >= V1_BYTES_MAX {
            Error::Invalid("a line of version 1 is longer than 107 bytes")
        } else {
            Error::Incomplete(bytes.len().saturating_add(1))
        });
    };
    let consumed = end.saturating_add(2);
    let line = shown.get(V1_START.len()..end).unwrap_or_default();
    if line == b"UNKNOWN" || line.starts_with(b"UNKNOWN ") {
        return Ok(Parsed {
            consumed,
            address: None,
        });
    }
    let address = v1_addresses(line).ok_or(Error::Invalid(
        "a line of version 1 has no two addresses and ports of one family",
    ))?;
    Ok(Parsed {
        consumed,
        address: Some(address),
    })
}

fn v1_addresses(line: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (family, rest) = split_first(line, b' ')?;
    let (source, rest) = split_first(rest, b' ')?;
    let (destination, rest) = split_first(rest, b' ')?;
    let (source_port, destination_port) = split_first(rest, b' ')?;
    let read = |text: &[u8]| -> Option<IpAddr> {
        match family {
            b"TCP4" => v4(text).map(IpAddr::V4),
            b"TCP6" => v6_groups(text).map(IpAddr::V6),
            _ => None,
        }
    };
    Some((
        socket(read(source)?, v1_port(source_port)?),
        socket(read(destination)?, v1_port(destination_port)?),
    ))
}

/// Decimal, without leading zeros.
fn v1_port(text: &[u8]) -> Option<u16> {
    let plain = text == b"0"
        || matches!(text, [b'1'..=b'9', rest @ ..] if rest.iter().all(u8::is_ascii_digit));
    plain
        .then(|| std::str::from_utf8(text).ok()?.parse().ok())
        .flatten()
}

fn v2(bytes: &[u8], behind: &[u8]) -> Result<Parsed, Error> {
    let Some([what, transport, high, low]) = behind.first_chunk::<4>() else {
        return Err(Error::Incomplete(V2_FIXED_BYTES));
    };
    if what >> 4 != 2 {
        return Err(Error::Invalid(
            "is PROXY protocol of another version than 1 or 2",
        ));
    }
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let consumed = V2_FIXED_BYTES.saturating_add(length);
    if consumed > BYTES_MAX {
        return Err(Error::Invalid(
            "a header of version 2 is longer than 4112 bytes",
        ));
    }
    let Some(body) = bytes.get(V2_FIXED_BYTES..consumed) else {
        return Err(Error::Incomplete(consumed));
    };
    let local = match what & 15 {
        0 => true,
        1 => false,
        _ => {
            return Err(Error::Invalid(
                "a header of version 2 has an unknown command",
            ));
        }
    };
    let (address, extensions) = v2_addresses(*transport, body)?;
    if !local {
        check_extensions(extensions)?;
    }
    Ok(Parsed {
        consumed,
        address: address.filter(|_| !local),
    })
}

type Addresses = Option<(SocketAddr, SocketAddr)>;

/// The addresses, and what follows them.
fn v2_addresses(transport: u8, body: &[u8]) -> Result<(Addresses, &[u8]), Error> {
    const SHORT: Error = Error::Invalid("a header of version 2 is too short for its addresses");
    if transport & 15 > 2 || transport >> 4 > 3 {
        return Err(Error::Invalid(
            "a header of version 2 has an unknown family or transport",
        ));
    }
    match transport >> 4 {
        1 => {
            let (fixed, rest) = body.split_first_chunk::<12>().ok_or(SHORT)?;
            let [s0, s1, s2, s3, d0, d1, d2, d3, ports @ ..] = *fixed;
            let address = pair([s0, s1, s2, s3].into(), [d0, d1, d2, d3].into(), ports);
            Ok((Some(address), rest))
        }
        2 => {
            let (source, rest) = body.split_first_chunk::<16>().ok_or(SHORT)?;
            let (destination, rest) = rest.split_first_chunk::<16>().ok_or(SHORT)?;
            let (ports, rest) = rest.split_first_chunk::<4>().ok_or(SHORT)?;
            let address = pair((*source).into(), (*destination).into(), *ports);
            Ok((Some(address), rest))
        }
        // Unix sockets: two paths of 108 bytes.
        3 => Ok((None, body.get(216..).ok_or(SHORT)?)),
        _ => Ok((None, &[])),
    }
}

/// Whether the rest is made of type, length and value: a header that goes on differently was not meant so.
fn check_extensions(mut rest: &[u8]) -> Result<(), Error> {
    const BROKEN: Error = Error::Invalid("a header of version 2 ends within an extension");
    while let Some((_, behind)) = rest.split_first() {
        let (length, behind) = behind.split_first_chunk::<2>().ok_or(BROKEN)?;
        let length = usize::from(u16::from_be_bytes(*length));
        rest = behind.get(length..).ok_or(BROKEN)?;
    }
    Ok(())
}

fn pair(source: IpAddr, destination: IpAddr, ports: [u8; 4]) -> (SocketAddr, SocketAddr) {
    let [s0, s1, d0, d1] = ports;
    (
        socket(source, u16::from_be_bytes([s0, s1])),
        socket(destination, u16::from_be_bytes([d0, d1])),
    )
}

fn socket(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(canonical_address(address), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(bytes: &[u8]) -> Result<(usize, Option<String>), Error> {
        parse(bytes).map(|parsed| {
            let text = parsed.address.map(|(from, to)| format!("{from} {to}"));
            (parsed.consumed, text)
        })
    }

    fn done(consumed: usize, address: &str) -> Result<(usize, Option<String>), Error> {
        Ok((consumed, (!address.is_empty()).then(|| address.to_owned())))
    }

    #[test]
    fn version_1() {
        for (line, told_so) in [
            (
                "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\nGET",
                done(45, "192.0.2.1:56324 198.51.100.1:443"),
            ),
            (
                "PROXY TCP6 2001:db8::1 2001:db8::2 0 65535\r\n",
                done(44, "[2001:db8::1]:0 [2001:db8::2]:65535"),
            ),
            (
                "PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 1 2\r\n",
                done(50, "192.0.2.1:1 192.0.2.2:2"),
            ),
            ("PROXY UNKNOWN\r\n", done(15, "")),
            ("PROXY UNKNOWN ffff::1 anything at all\r\n", done(39, "")),
        ] {
            assert_eq!(told(line.as_bytes()), told_so, "{line}");
            for cut in 0..told_so.unwrap().0 {
                let needs = parse(&line.as_bytes()[..cut]);
                assert!(
                    matches!(needs, Err(Error::Incomplete(need)) if need > cut),
                    "{line} {cut}: {needs:?}"
                );
            }
        }
        for line in [
            "GET / HTTP/1.1\r\n",
            "proxy TCP4 192.0.2.1 198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2.01 198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 01 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 1 65536\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 1 +2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 1\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 1 2 3\r\n",
            "PROXY TCP4 192.0.2.1  198.51.100.1 1 2\r\n",
            "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
            "PROXY TCP6 192.0.2.1 198.51.100.1 1 2\r\n",
            "PROXY TCP6 fe80::1%eth0 2001:db8::2 1 2\r\n",
            "PROXY UDP4 192.0.2.1 198.51.100.1 1 2\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY \r\n",
        ] {
            assert!(
                matches!(told(line.as_bytes()), Err(Error::Invalid(_))),
                "{line}"
            );
        }
        let endless = format!("PROXY UNKNOWN {}", "x".repeat(200));
        assert!(matches!(parse(endless.as_bytes()), Err(Error::Invalid(_))));
        let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(V1_BYTES_MAX - 16));
        assert_eq!(told(longest.as_bytes()), done(107, ""));
    }

    fn v2(what: u8, transport: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [V2_START, &[what, transport], &length, body].concat()
    }

    const BODY4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 4, 1, 0xbb];

    #[test]
    fn version_2() {
        let mut body6 = [0; 36];
        body6[..2].copy_from_slice(&[0x20, 1]);
        body6[15] = 1;
        body6[26..32].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 2]);
        body6[32..].copy_from_slice(&[0, 80, 1, 0xbb]);
        let extended = [&BODY4[..], &[4, 0, 1, 9, 0xea, 0, 0]].concat();
        for (bytes, told_so) in [
            (
                v2(0x21, 0x11, &BODY4),
                done(28, "192.0.2.1:56324 198.51.100.1:443"),
            ),
            (
                v2(0x21, 0x12, &BODY4),
                done(28, "192.0.2.1:56324 198.51.100.1:443"),
            ),
            (
                v2(0x21, 0x11, &extended),
                done(35, "192.0.2.1:56324 198.51.100.1:443"),
            ),
            (
                v2(0x21, 0x21, &body6),
                done(52, "[2001::1]:80 192.0.2.2:443"),
            ),
            (v2(0x20, 0x11, &BODY4), done(28, "")),
            (v2(0x20, 0, &[]), done(16, "")),
            (v2(0x20, 0, b"whatever"), done(24, "")),
            (v2(0x21, 0, &[]), done(16, "")),
            (v2(0x21, 0x31, &[0; 216]), done(232, "")),
        ] {
            let more = [&bytes[..], b"GET"].concat();
            assert_eq!(told(&more), told_so);
            for cut in 0..bytes.len() {
                let needs = parse(&bytes[..cut]);
                assert!(
                    matches!(needs, Err(Error::Incomplete(need)) if need > cut && need <= bytes.len()),
                    "{cut}: {needs:?}"
                );
            }
        }
        for bytes in [
            v2(0x11, 0x11, &BODY4),
            v2(0x31, 0x11, &BODY4),
            v2(0x22, 0x11, &BODY4),
            v2(0x21, 0x13, &BODY4),
            v2(0x21, 0x41, &BODY4),
            v2(0x21, 0x11, &BODY4[..11]),
            v2(0x21, 0x21, &BODY4),
            v2(0x21, 0x31, &[0; 215]),
            v2(0x21, 0x11, &[&BODY4[..], &[4, 0]].concat()),
            v2(0x21, 0x11, &[&BODY4[..], &[4, 0, 2, 1]].concat()),
            v2(0x21, 0x11, &[0; 4097]),
        ] {
            assert!(matches!(told(&bytes), Err(Error::Invalid(_))), "{bytes:?}");
        }
        let huge = [V2_START, &[0x21, 0x11, 0xff, 0xff]].concat();
        assert!(
            matches!(parse(&huge), Err(Error::Invalid(_))),
            "refused before it is waited for"
        );
    }
}
