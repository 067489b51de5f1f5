//! SPOP's bytes: variable-length integers, strings and typed values (HAProxy, doc/SPOE.txt, 3.1).
//!
//! Read in place: a value borrows from the frame. Whatever a frame claims about lengths is held against
//! what is there, so reading ends, allocates nothing and cannot panic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What is left of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

/// A typed value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    /// Any of the integers; signed ones come in two's complement of 64 bits.
    Integer(u64),
    Address(IpAddr),
    /// A string or binary.
    Bytes(&'a [u8]),
}

impl<'a> Reader<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// Below 240 one byte; else four bits in the first byte and seven in each one that follows.
    pub(super) fn varint(&mut self) -> Option<u64> {
        let first = self.byte()?;
        let mut value = u64::from(first);
        if first < 240 {
            return Some(value);
        }
        for shift in (4..u64::BITS).step_by(7) {
            let next = self.byte()?;
            let part = u64::from(next) << shift;
            if part >> shift != u64::from(next) {
                return None;
            }
            value = value.checked_add(part)?;
            if next < 128 {
                return Some(value);
            }
        }
        None
    }

    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.varint()?).ok()?;
        let (string, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(string)
    }

    /// Type in the low half of the first byte, flags in the high one.
    pub(super) fn value(&mut self) -> Option<Value<'a>> {
        let first = self.byte()?;
        Some(match first & 0x0f {
            0 => Value::Null,
            1 => Value::Bool(first & 0x10 != 0),
            2..=5 => Value::Integer(self.varint()?),
            6 => Value::Address(IpAddr::V4(Ipv4Addr::from(self.array::<4>()?))),
            7 => Value::Address(IpAddr::V6(Ipv6Addr::from(self.array::<16>()?))),
            8 | 9 => Value::Bytes(self.string()?),
            _ => return None,
        })
    }

    /// A name and its value.
    pub(super) fn pair(&mut self) -> Option<(&'a [u8], Value<'a>)> {
        Some((self.string()?, self.value()?))
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*array)
    }
}

/// Appends an integer.
pub(super) fn put_varint(out: &mut Vec<u8>, value: u64) {
    let low = |value: u64| value.to_le_bytes()[0];
    if value < 240 {
        out.push(low(value));
        return;
    }
    out.push(low(value) | 0xf0);
    let mut rest = (value - 240) >> 4;
    while rest >= 128 {
        out.push(low(rest) | 0x80);
        rest = (rest - 128) >> 7;
    }
    out.push(low(rest));
}

/// Appends a string without a type.
pub(super) fn put_string(out: &mut Vec<u8>, string: &[u8]) {
    put_varint(out, u64::try_from(string.len()).unwrap_or(u64::MAX));
    out.extend_from_slice(string);
}

/// Appends a typed string.
pub(super) fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    out.push(8);
    put_string(out, text);
}

/// Appends a typed 32-bit integer without sign.
pub(super) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.push(3);
    put_varint(out, u64::from(value));
}
