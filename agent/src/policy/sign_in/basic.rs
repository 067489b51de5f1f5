//! The user of HTTP Basic authentication (RFC 7617).

/// The user id of the credentials, as bytes; `None` if they are of another scheme or not readable.
pub(super) fn user(authorization: &[u8]) -> Option<Vec<u8>> {
    let (scheme, rest) = authorization.trim_ascii().split_at_checked(SCHEME.len())?;
    if !scheme.eq_ignore_ascii_case(SCHEME) || !rest.starts_with(b" ") {
        return None;
    }
    let mut name = Vec::new();
    for group in rest.trim_ascii().chunks(4) {
        let mut bits = 0_u32;
        let mut digits = 0;
        for digit in group.iter().take_while(|digit| **digit != b'=') {
            bits = bits << 6 | value(*digit)?;
            digits += 1;
        }
        // What a short group lacks are zero bits.
        let [_, bytes @ ..] = (bits << (6 * (4 - digits))).to_be_bytes();
        let whole = match digits {
            4 => 3,
            3 => 2,
            2 => 1,
            _ => return None,
        };
        for byte in bytes.into_iter().take(whole) {
            if byte == b':' {
                return (!name.is_empty()).then_some(name);
            }
            name.push(byte);
        }
    }
    // Without a colon there is no password, and these are no credentials.
    None
}

fn value(digit: u8) -> Option<u32> {
    let place = ALPHABET.iter().position(|one| *one == digit)?;
    u32::try_from(place).ok()
}

const SCHEME: &[u8] = b"basic";
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
