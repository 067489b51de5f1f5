//! One field of a JSON text, found in a prefix of it: nothing is built, nothing recurses, and a text that breaks off
//! has told what stood before.

use std::borrow::Cow;

use super::field::{Field, Step};

/// How far a text could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// To the end of its value.
    Whole,
    /// To where it breaks off.
    Cut,
    /// To where it is no JSON.
    Malformed,
}

/// Calls `found` for every value of the field that is a string, a number or a boolean, with whether it is whole.
pub(super) fn find(
    text: &[u8],
    field: &Field,
    any_case: bool,
    found: impl FnMut(&[u8], bool),
) -> End {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut walk = Walk {
        text,
        at: 0,
        field,
        any_case,
        open: Vec::new(),
        found,
    };
    match walk.run() {
        Ok(()) => End::Whole,
        Err(end) => end,
    }
}

struct Walk<'a, F> {
    text: &'a [u8],
    at: usize,
    field: &'a Field,
    any_case: bool,
    /// The objects and arrays around; no more than there are bytes.
    open: Vec<Container>,
    found: F,
}

struct Container {
    is_object: bool,
    /// Parts of the field's path that led here.
    matched: Option<usize>,
    /// Values so far.
    count: usize,
}

/// A string as it stands, without its quotes.
struct Quoted<'a> {
    raw: &'a [u8],
    is_escaped: bool,
    is_whole: bool,
}

impl<'a, F: FnMut(&[u8], bool)> Walk<'a, F> {
    fn run(&mut self) -> Result<(), End> {
        self.value(Some(Step::On(0)))?;
        while let Some(container) = self.open.last() {
            let (is_object, matched, count) =
                (container.is_object, container.matched, container.count);
            if self.next()? == if is_object { b'}' } else { b']' } {
                self.at += 1;
                self.open.pop();
                continue;
            }
            if count > 0 {
                self.expect(b',')?;
                self.next()?;
            }
            if let Some(container) = self.open.last_mut() {
                container.count += 1;
            }
            let step = if is_object {
                let key = self.key()?;
                matched.and_then(|matched| self.field.step(matched, &key, self.any_case))
            } else {
                matched.and_then(|matched| {
                    let index = count.to_string();
                    self.field.step(matched, index.as_bytes(), false)
                })
            };
            self.value(step)?;
        }
        Ok(())
    }

    /// A key with the colon behind it.
    fn key(&mut self) -> Result<Cow<'a, [u8]>, End> {
        let key = quoted(self.text, self.at)?;
        if !key.is_whole {
            return Err(End::Cut);
        }
        self.at += key.raw.len() + 2;
        self.expect(b':')?;
        Ok(key.text())
    }

    /// A value, or the beginning of one that holds others.
    fn value(&mut self, step: Option<Step>) -> Result<(), End> {
        match self.next()? {
            bracket @ (b'{' | b'[') => {
                self.at += 1;
                self.open.push(Container {
                    is_object: bracket == b'{',
                    matched: match step {
                        Some(Step::On(matched)) => Some(matched),
                        _ => None,
                    },
                    count: 0,
                });
                Ok(())
            }
            b'"' => {
                let value = quoted(self.text, self.at)?;
                if step == Some(Step::End) {
                    (self.found)(&value.text(), value.is_whole);
                }
                if !value.is_whole {
                    return Err(End::Cut);
                }
                self.at += value.raw.len() + 2;
                Ok(())
            }
            _ => self.plain(step),
        }
    }

    /// A number, `true`, `false` or `null`.
    fn plain(&mut self, step: Option<Step>) -> Result<(), End> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
        let length = rest.iter().take_while(|byte| plain(byte)).count();
        let word = rest.get(..length).unwrap_or_default();
        if word.is_empty() {
            return Err(End::Malformed);
        }
        self.at += length;
        let is_whole = self.at < self.text.len() || self.open.is_empty();
        if step == Some(Step::End) && word != b"null" {
            (self.found)(word, is_whole);
        }
        Ok(())
    }

    /// The next byte that is no space.
    fn next(&mut self) -> Result<u8, End> {
        loop {
            match self.text.get(self.at) {
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.at += 1,
                Some(byte) => return Ok(*byte),
                None => return Err(End::Cut),
            }
        }
    }

    fn expect(&mut self, wanted: u8) -> Result<(), End> {
        if self.next()? != wanted {
            return Err(End::Malformed);
        }
        self.at += 1;
        Ok(())
    }
}

/// The string whose opening quote stands at `start`.
fn quoted(text: &[u8], start: usize) -> Result<Quoted<'_>, End> {
    let inner = text
        .get(start..)
        .and_then(|rest| rest.strip_prefix(b"\""))
        .ok_or(End::Malformed)?;
    let mut at = 0;
    let mut is_escaped = false;
    while let Some(found) = inner
        .get(at..)
        .and_then(|rest| memchr::memchr2(b'"', b'\\', rest))
    {
        at += found;
        if inner.get(at) == Some(&b'"') {
            return Ok(Quoted {
                raw: inner.get(..at).unwrap_or_default(),
                is_escaped,
                is_whole: true,
            });
        }
        is_escaped = true;
        at += 2;
    }
    Ok(Quoted {
        raw: inner,
        is_escaped,
        is_whole: false,
    })
}

impl<'a> Quoted<'a> {
    fn text(&self) -> Cow<'a, [u8]> {
        if self.is_escaped {
            Cow::Owned(unescaped(self.raw))
        } else {
            Cow::Borrowed(self.raw)
        }
    }
}

fn unescaped(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        let Some((escape, behind)) = rest.split_first() else {
            break;
        };
        rest = behind;
        match escape {
            b'n' => out.push(b'\n'),
            b't' => out.push(b'\t'),
            b'r' => out.push(b'\r'),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'u' => {
                let (character, behind) = unicode(rest);
                rest = behind;
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            other => out.push(*other),
        }
    }
    out
}

/// The character of `\uXXXX`, or of two of them that are one; a half is U+FFFD.
fn unicode(rest: &[u8]) -> (char, &[u8]) {
    let Some((high, behind)) = unit(rest) else {
        return (char::REPLACEMENT_CHARACTER, rest);
    };
    let low = behind.strip_prefix(b"\\u").and_then(unit);
    if let (0xd800..=0xdbff, Some((low @ 0xdc00..=0xdfff, behind))) = (high, low) {
        let character = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        return (char::from_u32(character).unwrap_or_default(), behind);
    }
    let character = char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER);
    (character, behind)
}

fn unit(text: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, behind) = text.split_at_checked(4)?;
    let value = digits.iter().try_fold(0, |value, digit| {
        Some(value << 4 | char::from(*digit).to_digit(16)?)
    })?;
    Some((value, behind))
}
