//! `name=value&name=value`, in a query and as `application/x-www-form-urlencoded`
//! (<https://url.spec.whatwg.org/#application/x-www-form-urlencoded>).

use super::{field::Field, user::Names};

/// Adds the values of the field; `is_whole` says whether the text ends where the form does.
pub(super) fn read(text: &[u8], is_whole: bool, field: &Field, names: &mut Names<'_>) {
    let mut rest = Some(text);
    while let Some(left) = rest {
        let piece = match memchr::memchr(b'&', left) {
            Some(at) => {
                rest = left.get(at.saturating_add(1)..);
                left.get(..at).unwrap_or_default()
            }
            None => {
                rest = None;
                left
            }
        };
        let Some(at) = memchr::memchr(b'=', piece) else {
            continue;
        };
        let (name, value) = (piece.get(..at), piece.get(at.saturating_add(1)..));
        if field.is(&decoded(name.unwrap_or_default()), names.any_case()) {
            names.add(
                &decoded(value.unwrap_or_default()),
                is_whole || rest.is_some(),
            );
        }
    }
}

/// Percent-decoded bytes; what is no escape stands for itself.
fn decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text;
    while let Some((byte, rest)) = bytes.split_first() {
        bytes = rest;
        match (byte, rest) {
            (b'+', _) => out.push(b' '),
            (b'%', [high, low, behind @ ..]) => match hex(*high).zip(hex(*low)) {
                Some((high, low)) => {
                    out.push(high << 4 | low);
                    bytes = behind;
                }
                None => out.push(b'%'),
            },
            _ => out.push(*byte),
        }
    }
    out
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}
