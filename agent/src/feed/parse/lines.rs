//! Lines of a feed, one at a time, none longer than [`LINE_BYTES_MAX`] in memory.

use std::io::{self, BufRead};

use super::LINE_BYTES_MAX;

/// Reads lines without their ends.
pub(super) struct Lines<R> {
    source: R,
    line: Vec<u8>,
    /// The number of the line that was read last, from 1.
    pub(super) number: u64,
}

/// One line.
pub(super) enum Line<'a> {
    /// Whole, without a byte order mark and CR.
    Text(&'a str),
    /// Longer than the limit.
    TooLong,
    /// Not UTF-8, or with a NUL byte.
    Binary,
}

impl<R: BufRead> Lines<R> {
    pub(super) const fn new(source: R) -> Self {
        Self {
            source,
            line: Vec::new(),
            number: 0,
        }
    }

    /// The next line; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        let mut any = false;
        loop {
            let chunk = match self.source.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if chunk.is_empty() {
                break;
            }
            any = true;
            let end = memchr::memchr(b'\n', chunk);
            let part = chunk.get(..end.unwrap_or(chunk.len())).unwrap_or(chunk);
            // One byte past the limit tells a line that is too long.
            let room = (LINE_BYTES_MAX + 2).saturating_sub(self.line.len());
            self.line
                .extend_from_slice(part.get(..room).unwrap_or(part));
            let taken = part.len().saturating_add(usize::from(end.is_some()));
            self.source.consume(taken);
            if end.is_some() {
                break;
            }
        }
        if !any {
            return Ok(None);
        }
        self.number = self.number.saturating_add(1);
        let line = self.line.as_slice();
        let line = match self.number {
            1 => line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line),
            _ => line,
        };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        Ok(Some(if line.len() > LINE_BYTES_MAX {
            Line::TooLong
        } else {
            match str::from_utf8(line) {
                Ok(text) if !text.contains('\0') => Line::Text(text),
                _ => Line::Binary,
            }
        }))
    }
}

/// What to say of a line that is no text.
pub(super) fn fault(line: &Line<'_>) -> Option<String> {
    match line {
        Line::Text(_) => None,
        Line::TooLong => Some(format!("is longer than {LINE_BYTES_MAX} bytes")),
        Line::Binary => Some("is no text in UTF-8".to_owned()),
    }
}
