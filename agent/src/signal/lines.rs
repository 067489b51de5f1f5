//! Lines of a byte stream, in bounded memory whatever the stream holds.

use std::io::{self, BufRead};

/// Longest line that is read, bytes. Longer ones are skipped to their end and counted.
pub const LINE_BYTES_MAX: usize = 64 << 10;

/// Reads lines one after the other.
pub struct Lines<R> {
    input: R,
    buffer: Vec<u8>,
    number: u64,
    /// Bytes of a line were read whose end was not.
    begun: bool,
    too_long: bool,
    /// Bytes that were read.
    read_bytes: u64,
    /// Of these, up to the end of the last line given.
    given_bytes: u64,
}

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// Without its end.
    Text(&'a [u8]),
    /// It was longer than [`LINE_BYTES_MAX`].
    TooLong,
}

impl<R: BufRead> Lines<R> {
    /// Lines of `input`.
    pub const fn new(input: R) -> Self {
        Self {
            input,
            buffer: Vec::new(),
            number: 0,
            begun: false,
            too_long: false,
            read_bytes: 0,
            given_bytes: 0,
        }
    }

    /// The next line and its number, from 1; `None` at the end. A last line without an end is one too.
    ///
    /// # Errors
    /// The input failed; what it had given before was read.
    pub fn next_line(&mut self) -> io::Result<Option<(u64, Line<'_>)>> {
        let ended = self.advance()?;
        Ok((ended || self.begun).then(|| self.line()))
    }

    /// The next line that has its end. `None` while the input gives no more: what has come of a line waits for the
    /// rest of it.
    ///
    /// # Errors
    /// The input failed; what it had given before was read.
    pub fn next_ended_line(&mut self) -> io::Result<Option<(u64, Line<'_>)>> {
        let ended = self.advance()?;
        Ok(ended.then(|| self.line()))
    }

    /// Bytes of the input up to the end of the last line that was given.
    pub const fn given_bytes(&self) -> u64 {
        self.given_bytes
    }

    /// Bytes of the input that were read.
    pub const fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// Where lines come from.
    pub const fn input(&self) -> &R {
        &self.input
    }

    /// Where lines come from, for whoever fills it.
    pub const fn input_mut(&mut self) -> &mut R {
        &mut self.input
    }

    /// Reads on to the end of the line, or to that of the input; whether the line has its end.
    fn advance(&mut self) -> io::Result<bool> {
        if !self.begun {
            self.buffer.clear();
            self.too_long = false;
        }
        loop {
            let chunk = match self.input.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if chunk.is_empty() {
                return Ok(false);
            }
            // A writer that goes on where a log was cut off under it leaves a hole ahead of its next line.
            let hole = if self.begun {
                0
            } else {
                chunk.iter().take_while(|byte| **byte == 0).count()
            };
            let rest = chunk.get(hole..).unwrap_or_default();
            let end = memchr::memchr(b'\n', rest);
            let part = rest.get(..end.unwrap_or(rest.len())).unwrap_or(rest);
            if self.buffer.len().saturating_add(part.len()) > LINE_BYTES_MAX {
                self.too_long = true;
                self.buffer.clear();
            } else if !self.too_long {
                self.buffer.extend_from_slice(part);
            }
            self.begun |= !part.is_empty();
            let used = hole
                .saturating_add(part.len())
                .saturating_add(usize::from(end.is_some()));
            self.input.consume(used);
            self.read_bytes = self.read_bytes.saturating_add(used as u64);
            if end.is_some() {
                return Ok(true);
            }
        }
    }

    /// What has been read of the line.
    fn line(&mut self) -> (u64, Line<'_>) {
        self.begun = false;
        self.given_bytes = self.read_bytes;
        self.number = self.number.saturating_add(1);
        if self.too_long {
            return (self.number, Line::TooLong);
        }
        let text = self.buffer.strip_suffix(b"\r").unwrap_or(&self.buffer);
        (self.number, Line::Text(text))
    }
}

/// How much of a log is read at a time, bytes.
pub(super) const BUFFER_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Cursor};

    use super::*;

    fn all(input: impl BufRead) -> Vec<(u64, Option<Vec<u8>>)> {
        let mut lines = Lines::new(input);
        let mut all = Vec::new();
        while let Some((number, line)) = lines.next_line().unwrap() {
            let text = match line {
                Line::Text(text) => Some(text.to_vec()),
                Line::TooLong => None,
            };
            all.push((number, text));
        }
        all
    }

    #[test]
    fn lines_end_in_all_the_ways_they_end() {
        let text = |text: &str| Some(text.as_bytes().to_vec());
        assert_eq!(all(Cursor::new("")), []);
        assert_eq!(
            all(Cursor::new("a\r\n\nb")),
            [(1, text("a")), (2, text("")), (3, text("b"))]
        );
    }

    #[test]
    fn a_line_waits_for_its_end() {
        let mut lines = Lines::new(Cursor::new(b"one\ntw".to_vec()));
        assert_eq!(
            lines.next_ended_line().unwrap(),
            Some((1, Line::Text(b"one")))
        );
        assert_eq!(lines.next_ended_line().unwrap(), None);
        assert_eq!((lines.given_bytes(), lines.read_bytes()), (4, 6));
        *lines.input_mut() = Cursor::new(b"o\r".to_vec());
        assert_eq!(lines.next_ended_line().unwrap(), None);
        *lines.input_mut() = Cursor::new(b"\nthree".to_vec());
        assert_eq!(
            lines.next_ended_line().unwrap(),
            Some((2, Line::Text(b"two")))
        );
        assert_eq!(lines.next_ended_line().unwrap(), None);
        assert_eq!(lines.next_line().unwrap(), Some((3, Line::Text(b"three"))));
        assert_eq!(lines.next_line().unwrap(), None);
        assert_eq!(lines.given_bytes(), 14);
    }

    #[test]
    fn a_hole_ahead_of_a_line_is_no_part_of_it() {
        let mut log = vec![0; 3 * LINE_BYTES_MAX];
        log.extend(b"one\n\0two\nth\0ree\n\0\0");
        let text = |text: &str| Some(text.as_bytes().to_vec());
        assert_eq!(
            all(BufReader::with_capacity(1_000, Cursor::new(log))),
            [(1, text("one")), (2, text("two")), (3, text("th\0ree"))]
        );
    }

    #[test]
    fn a_line_of_a_megabyte_costs_no_more_than_the_limit() {
        let mut log = vec![b'x'; 1 << 20];
        log.extend(b"\nshort\n");
        log.extend(vec![b'y'; LINE_BYTES_MAX]);
        // Small reads: the limit holds over chunks as well.
        let mut lines = Lines::new(BufReader::with_capacity(1_000, Cursor::new(log)));
        assert_eq!(lines.next_line().unwrap(), Some((1, Line::TooLong)));
        assert_eq!(lines.next_line().unwrap(), Some((2, Line::Text(b"short"))));
        let Some((3, Line::Text(text))) = lines.next_line().unwrap() else {
            panic!("the longest line is read");
        };
        assert_eq!(text.len(), LINE_BYTES_MAX);
        assert!(lines.buffer.capacity() <= 2 * LINE_BYTES_MAX);
        assert_eq!(lines.next_line().unwrap(), None);
    }
}
