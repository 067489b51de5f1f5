//! `multipart/form-data` (RFC 7578): the values of one field. Lines may end in LF alone, as lenient servers have it.

use memchr::memmem;

use super::{field::Field, user::Names};

/// The boundary of a content type, without the dashes ahead of it.
pub(super) fn boundary(content_type: &[u8]) -> Option<&[u8]> {
    let value = parameter(content_type, b"boundary")?;
    (!value.is_empty() && value.len() <= BOUNDARY_BYTES_MAX).then_some(value)
}

/// Adds the values of the field; `is_whole` says whether the text ends where the body does. Whether it has parts.
pub(super) fn read(
    text: &[u8],
    boundary: &[u8],
    is_whole: bool,
    field: &Field,
    names: &mut Names<'_>,
) -> bool {
    let delimiter = [b"--", boundary].concat();
    let finder = memmem::Finder::new(&delimiter);
    let Some(first) = find_delimiter(text, &finder, is_whole) else {
        return false;
    };
    let mut rest = first.behind;
    loop {
        let next = find_delimiter(rest, &finder, is_whole);
        let part = next.as_ref().map_or(rest, |next| next.ahead);
        part_of(part, next.is_some() || is_whole, field, names);
        match next {
            Some(next) if !next.is_last => rest = next.behind,
            _ => return true,
        }
    }
}

struct Delimiter<'a> {
    /// Up to the line end that belongs to it.
    ahead: &'a [u8],
    /// From the line behind it on.
    behind: &'a [u8],
    /// `--boundary--`.
    is_last: bool,
}

/// The next delimiter that stands on a line of its own.
fn find_delimiter<'a>(
    text: &'a [u8],
    finder: &memmem::Finder<'_>,
    is_whole: bool,
) -> Option<Delimiter<'a>> {
    let mut from = 0;
    loop {
        let at = from + finder.find(text.get(from..)?)?;
        let end = at + finder.needle().len();
        let ahead = text.get(..at)?;
        let behind = text.get(end..)?;
        from = end;
        let is_last = behind.starts_with(b"--");
        let line = memchr::memchr(b'\n', behind);
        let padding = line.and_then(|line| behind.get(..line)).unwrap_or(behind);
        let begins = ahead.is_empty() || ahead.ends_with(b"\n");
        // Where a text breaks off, more of the line may follow.
        let ends = line.is_some() || is_whole;
        if begins && (is_last || (ends && padding.trim_ascii().is_empty())) {
            let ahead = ahead.strip_suffix(b"\n").unwrap_or(ahead);
            return Some(Delimiter {
                ahead: ahead.strip_suffix(b"\r").unwrap_or(ahead),
                behind: line
                    .and_then(|line| behind.get(line + 1..))
                    .unwrap_or_default(),
                is_last,
            });
        }
    }
}

/// One part: header lines, an empty line, and the value. A part with a file name is a file.
fn part_of(part: &[u8], is_whole: bool, field: &Field, names: &mut Names<'_>) {
    let mut rest = part;
    let mut is_it = false;
    for _ in 0..PART_LINES_MAX {
        let Some(end) = memchr::memchr(b'\n', rest) else {
            return;
        };
        let line = rest.get(..end).unwrap_or_default().trim_ascii();
        rest = rest.get(end + 1..).unwrap_or_default();
        if line.is_empty() {
            if is_it {
                names.add(rest, is_whole);
            }
            return;
        }
        let Some((name, value)) = memchr::memchr(b':', line).and_then(|at| {
            let (name, value) = line.split_at_checked(at)?;
            Some((name, value.get(1..)?))
        }) else {
            continue;
        };
        if name
            .trim_ascii()
            .eq_ignore_ascii_case(b"content-disposition")
        {
            is_it = parameter(value, b"name").is_some_and(|name| field.is(name, names.any_case()))
                && parameter(value, b"filename").is_none();
        }
    }
}

/// A parameter of a header's value: `…; name=value` or `…; name="value"`. Names of fields with quotes or backslashes
/// in them are not found.
fn parameter<'a>(value: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    let mut rest = value;
    loop {
        let at = memchr::memchr(b';', rest)?;
        rest = rest.get(at + 1..)?.trim_ascii_start();
        let equals = rest
            .iter()
            .position(|byte| matches!(byte, b'=' | b';'))
            .filter(|at| rest.get(*at) == Some(&b'='));
        let Some(equals) = equals else {
            continue;
        };
        let (name, behind) = rest.split_at_checked(equals)?;
        let behind = behind.get(1..)?.trim_ascii_start();
        let value = match behind.strip_prefix(b"\"") {
            Some(quoted) => {
                let end = memchr::memchr(b'"', quoted)?;
                rest = quoted.get(end + 1..)?;
                quoted.get(..end)?
            }
            None => {
                let end = memchr::memchr(b';', behind).unwrap_or(behind.len());
                rest = behind.get(end..)?;
                behind.get(..end)?.trim_ascii_end()
            }
        };
        if name.trim_ascii().eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
    }
}

/// RFC 2046, 5.1.1, has 70; some clients take more.
const BOUNDARY_BYTES_MAX: usize = 256;
/// Most header lines of a part.
const PART_LINES_MAX: usize = 32;
