//! One hop of a forwarding header: which address it names, or why it names none.
//!
//! Accepted are `v4`, `v4:port`, `v6`, `[v6]` and `[v6]:port`, within quotes or not, an IPv6 address with
//! a zone id or not. What could be read in two ways is not read: `010.0.0.1` is 8 in one program and 10
//! in another.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::policy::prefix::canonical_address;

/// Why a hop cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// No address at all.
    Garbage,
    /// The word `unknown`.
    Unknown,
    /// An obfuscated identifier, `_…`.
    Obfuscated,
    /// `0.0.0.0` or `::`, which nobody has.
    Unspecified,
    /// What follows the address is no port.
    Port,
    /// An element of `Forwarded` without `for=`, or with two, or that breaks its grammar.
    NoFor,
    /// A header of a single address that occurs more than once, or is a list.
    Repeated,
}

impl Unreadable {
    /// What is wrong, after "it".
    #[must_use]
    pub const fn why(self) -> &'static str {
        match self {
            Self::Garbage => "is no IP address",
            Self::Unknown => "says `unknown`",
            Self::Obfuscated => "is an obfuscated identifier",
            Self::Unspecified => "is the unspecified address, which nobody has",
            Self::Port => "has something behind the address that is no port",
            Self::NoFor => "has not one `for=` that can be read",
            Self::Repeated => "is a header of one address that names several",
        }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.why())
    }
}

/// Reads one element of a list, without its commas.
pub(super) fn address(text: &[u8]) -> Result<IpAddr, Unreadable> {
    node(unquoted(trim(text)), is_port)
}

/// Reads the value of `for=`: as [`address`], and the port may be obfuscated.
pub(super) fn node_address(text: &[u8]) -> Result<IpAddr, Unreadable> {
    node(text, |port| is_port(port) || is_obfuscated(port))
}

/// Reads `ip:port` where IPv6 stands without brackets, so that the last colon is the port's.
pub(super) fn viewer_address(text: &[u8]) -> Result<IpAddr, Unreadable> {
    let text = unquoted(trim(text));
    if text.first() == Some(&b'[') || !text.contains(&b':') {
        return node(text, is_port);
    }
    let (host, port) = split_last(text, b':').ok_or(Unreadable::Garbage)?;
    if !is_port(port) {
        return Err(Unreadable::Port);
    }
    let found = if host.contains(&b':') {
        v6(host).map(IpAddr::V6)
    } else {
        v4(host).map(IpAddr::V4)
    };
    judged(found.ok_or(Unreadable::Garbage)?)
}

/// The canonical form of an address that a hop can have.
pub(super) fn judged(address: IpAddr) -> Result<IpAddr, Unreadable> {
    let address = canonical_address(address);
    if address.is_unspecified() {
        Err(Unreadable::Unspecified)
    } else {
        Ok(address)
    }
}

/// Without spaces and tabs around.
pub(super) fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

fn node(text: &[u8], is_port: impl Fn(&[u8]) -> bool) -> Result<IpAddr, Unreadable> {
    if let Some(inner) = text.strip_prefix(b"[") {
        let (host, behind) = split_first(inner, b']').ok_or(Unreadable::Garbage)?;
        let address = v6(host).ok_or(Unreadable::Garbage)?;
        return match behind.split_first() {
            None => judged(IpAddr::V6(address)),
            Some((b':', port)) if is_port(port) => judged(IpAddr::V6(address)),
            Some(_) => Err(Unreadable::Port),
        };
    }
    let Some((host, port)) = split_first(text, b':') else {
        return match v4(text) {
            Some(address) => judged(IpAddr::V4(address)),
            None => Err(word(text)),
        };
    };
    if port.contains(&b':') {
        return judged(IpAddr::V6(v6(text).ok_or(Unreadable::Garbage)?));
    }
    let address = v4(host).ok_or_else(|| word(host))?;
    if is_port(port) {
        judged(IpAddr::V4(address))
    } else {
        Err(Unreadable::Port)
    }
}

/// What a text is that is no address.
fn word(text: &[u8]) -> Unreadable {
    if text.eq_ignore_ascii_case(b"unknown") {
        Unreadable::Unknown
    } else if text.first() == Some(&b'_') {
        Unreadable::Obfuscated
    } else {
        Unreadable::Garbage
    }
}

fn unquoted(text: &[u8]) -> &[u8] {
    match text {
        [b'"', inner @ .., b'"'] => trim(inner),
        _ => text,
    }
}

pub(super) fn v4(text: &[u8]) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut at = 0;
    for (index, octet) in octets.iter_mut().enumerate() {
        if index > 0 {
            if text.get(at) != Some(&b'.') {
                return None;
            }
            at += 1;
        }
        let start = at;
        let mut value = 0_u16;
        while let Some(digit @ b'0'..=b'9') = text.get(at) {
            if at - start == 3 {
                return None;
            }
            value = value * 10 + u16::from(digit - b'0');
            at += 1;
        }
        if at == start || (at - start > 1 && text.get(start) == Some(&b'0')) {
            return None;
        }
        *octet = u8::try_from(value).ok()?;
    }
    (at == text.len()).then(|| Ipv4Addr::from(octets))
}

/// With or without a zone id, which means something on the host only that wrote it.
fn v6(text: &[u8]) -> Option<Ipv6Addr> {
    let text = match split_first(text, b'%') {
        None => text,
        Some((_, zone)) if zone.is_empty() || !zone.iter().all(u8::is_ascii_graphic) => {
            return None;
        }
        Some((host, _)) => host,
    };
    v6_groups(text)
}

/// As the standard library reads it, in a third of its time: most of what a chain of IPv6 hops costs.
pub(super) fn v6_groups(text: &[u8]) -> Option<Ipv6Addr> {
    let mut groups = [0_u16; 8];
    let mut count = 0;
    let mut gap = None;
    let mut rest = text;
    if let Some(behind) = rest.strip_prefix(b"::") {
        gap = Some(0);
        rest = behind;
    }
    while !(rest.is_empty() && gap == Some(count)) {
        let (value, digits) = hex_group(rest);
        let behind = rest.get(digits..)?;
        if behind.first() == Some(&b'.') {
            let [a, b, c, d] = v4(rest)?.octets();
            *groups.get_mut(count)? = u16::from_be_bytes([a, b]);
            *groups.get_mut(count + 1)? = u16::from_be_bytes([c, d]);
            count += 2;
            break;
        }
        if digits == 0 {
            return None;
        }
        *groups.get_mut(count)? = value;
        count += 1;
        match behind {
            [] => break,
            [b':', b':', behind @ ..] if gap.is_none() => {
                gap = Some(count);
                rest = behind;
            }
            [b':', behind @ ..] if !behind.is_empty() => rest = behind,
            _ => return None,
        }
    }
    match gap {
        None if count == 8 => {}
        // `::` stands for at least one group.
        Some(gap) if count < 8 => {
            groups.get_mut(gap..)?.rotate_right(8 - count);
        }
        _ => return None,
    }
    Some(Ipv6Addr::from(groups))
}

/// The value of up to four hexadecimal digits, and how many there are. By table: whether a digit is a letter
/// cannot be predicted, and a wrong guess costs more than the rest.
fn hex_group(text: &[u8]) -> (u16, usize) {
    let mut value = 0;
    let mut digits = 0;
    while digits < 4 {
        let Some(byte) = text.get(digits) else {
            break;
        };
        let digit = HEX.get(usize::from(*byte)).copied().unwrap_or(NO_DIGIT);
        if digit == NO_DIGIT {
            break;
        }
        value = value << 4 | u16::from(digit);
        digits += 1;
    }
    (value, digits)
}

/// By byte, the value of a hexadecimal digit.
static HEX: [u8; 256] = hex_table();
const NO_DIGIT: u8 = 16;

#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "evaluated by the compiler"
)]
const fn hex_table() -> [u8; 256] {
    let mut table = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        table[b"0123456789abcdef"[value] as usize] = value as u8;
        table[b"0123456789ABCDEF"[value] as usize] = value as u8;
        value += 1;
    }
    table
}

/// 0 to 65535.
fn is_port(text: &[u8]) -> bool {
    let mut value = 0_u32;
    for digit in text {
        if !digit.is_ascii_digit() {
            return false;
        }
        value = value
            .saturating_mul(10)
            .saturating_add(u32::from(digit - b'0'));
    }
    !text.is_empty() && text.len() <= 5 && value <= 65_535
}

/// `_` and letters, digits, dots, underscores, dashes.
fn is_obfuscated(text: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    matches!(text.split_first(), Some((b'_', rest)) if !rest.is_empty() && rest.iter().all(allowed))
}

pub(super) fn split_first(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let index = text.iter().position(|byte| *byte == at)?;
    let (before, behind) = text.split_at_checked(index)?;
    Some((before, behind.get(1..)?))
}

pub(super) fn split_last(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let index = text.iter().rposition(|byte| *byte == at)?;
    let (before, behind) = text.split_at_checked(index)?;
    Some((before, behind.get(1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, Unreadable> {
        address(text.as_bytes()).map(|address| address.to_string())
    }

    #[test]
    fn every_spelling_of_an_address() {
        for (text, reads) in [
            ("192.0.2.1", "192.0.2.1"),
            (" \t192.0.2.1\t ", "192.0.2.1"),
            ("192.0.2.1:0", "192.0.2.1"),
            ("192.0.2.1:65535", "192.0.2.1"),
            ("\"192.0.2.1\"", "192.0.2.1"),
            ("\"192.0.2.1:443\"", "192.0.2.1"),
            ("255.255.255.255", "255.255.255.255"),
            ("2001:db8::1", "2001:db8::1"),
            ("2001:DB8:0:0::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("\"[2001:db8::1]:443\"", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1"),
            ("[fe80::1%25eth0]:80", "fe80::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("[::ffff:192.0.2.1]:80", "192.0.2.1"),
            ("::ffff:c000:201", "192.0.2.1"),
            ("::1", "::1"),
            ("127.0.0.1", "127.0.0.1"),
            // Not a port: brackets would say so.
            ("2001:db8::1:8080", "2001:db8::1:8080"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(reads), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_says_why() {
        use Unreadable::{Garbage, Obfuscated, Port, Unknown, Unspecified};
        for (text, why) in [
            ("unknown", Unknown),
            ("UNKNOWN", Unknown),
            ("unknown:80", Unknown),
            ("_hidden", Obfuscated),
            ("_hidden:80", Obfuscated),
            ("0.0.0.0", Unspecified),
            ("0.0.0.0:80", Unspecified),
            ("::", Unspecified),
            ("[::]:80", Unspecified),
            ("::ffff:0.0.0.0", Unspecified),
            ("192.0.2.1:", Port),
            ("192.0.2.1:65536", Port),
            ("192.0.2.1:000080", Port),
            ("192.0.2.1:http", Port),
            ("192.0.2.1:_obf", Port),
            ("[2001:db8::1]x", Port),
            ("[2001:db8::1]:", Port),
            ("192.0.2.01", Garbage),
            ("010.0.0.1", Garbage),
            ("192.0.2", Garbage),
            ("192.0.2.1.", Garbage),
            (".192.0.2.1", Garbage),
            ("192.0.2.1.5", Garbage),
            ("192.0.2.256", Garbage),
            ("192.0.2.1000", Garbage),
            ("192.0..1", Garbage),
            ("3221225985", Garbage),
            ("0xc0000201", Garbage),
            ("192.0.2.1%eth0", Garbage),
            ("[192.0.2.1]", Garbage),
            ("[2001:db8::1", Garbage),
            ("2001:db8::1]", Garbage),
            ("2001:db8:::1", Garbage),
            ("2001:db8:1:2:3:4:5:6:7", Garbage),
            ("2001:db8::12345", Garbage),
            ("::ffff:192.0.2.01", Garbage),
            ("fe80::1%", Garbage),
            ("192.0.2.1 192.0.2.2", Garbage),
            ("192.0.2.1\u{a0}", Garbage),
            ("١٩٢.0.2.1", Garbage),
            ("example.com", Garbage),
            ("\"192.0.2.1", Garbage),
            ("-1.0.2.1", Garbage),
            ("+1.0.2.1", Garbage),
        ] {
            assert_eq!(read(text), Err(why), "{text}");
        }
        assert_eq!(address(b"\xff\xfe"), Err(Garbage));
    }

    #[test]
    fn numbers_are_read_as_the_standard_library_reads_them() {
        let mut random = crate::policy::random::Random::new(61);
        let pieces = [
            ":",
            ":",
            ":",
            "::",
            "0",
            "1",
            "db8",
            "2001",
            "ffff",
            "FFFF",
            "00001",
            "g",
            ".",
            "192.0.2.1",
            "1.2",
            "256.1.1.1",
            "01.2.3.4",
            "",
        ];
        let mut read = 0;
        for _ in 0..200_000 {
            let text = match random.below(3) {
                // Whole addresses, a byte of which may be another one.
                0 => {
                    let bits = u128::from(random.next()) << 64 | u128::from(random.next());
                    let zeros = u128::MAX << random.below(128) >> random.below(64);
                    let mut text = Ipv6Addr::from(bits & zeros).to_string().into_bytes();
                    let at = usize::try_from(random.below(text.len() as u64)).unwrap();
                    if random.below(2) == 0 {
                        text[at] = random.pick(b":.0f%[");
                    }
                    String::from_utf8(text).unwrap()
                }
                _ => (0..random.below(18))
                    .map(|_| random.pick(&pieces))
                    .collect(),
            };
            let wanted: Option<Ipv6Addr> = text.parse().ok();
            read += u32::from(wanted.is_some());
            assert_eq!(v6_groups(text.as_bytes()), wanted, "{text}");
            assert_eq!(v4(text.as_bytes()), text.parse().ok(), "{text}");
        }
        assert!(read > 20_000, "{read}");
    }

    #[test]
    fn a_viewer_address_ends_at_its_last_colon() {
        let read = |text: &str| viewer_address(text.as_bytes()).map(|address| address.to_string());
        for (text, reads) in [
            ("198.51.100.10:46532", Ok("198.51.100.10")),
            ("198.51.100.10", Ok("198.51.100.10")),
            ("2001:db8::1:46532", Ok("2001:db8::1")),
            ("2001:db8:1:2:3:4:5:6:46532", Ok("2001:db8:1:2:3:4:5:6")),
            ("[2001:db8::1]:46532", Ok("2001:db8::1")),
            ("::ffff:192.0.2.1:80", Ok("192.0.2.1")),
            ("2001:db8:1:2:3:4:5:6", Err(Unreadable::Garbage)),
            ("2001:db8::1:beef", Err(Unreadable::Port)),
            ("0.0.0.0:80", Err(Unreadable::Unspecified)),
            ("unknown", Err(Unreadable::Unknown)),
        ] {
            assert_eq!(read(text).as_deref(), reads.as_deref(), "{text}");
        }
    }
}
