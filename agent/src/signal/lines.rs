//! Lines of a byte stream, in bounded memory whatever the stream holds.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

/// Longest line that is read, bytes. Longer ones are skipped to their end and counted.
pub const LINE_BYTES_MAX: usize = 64 << 10;

/// Reads lines one after the other.
pub struct Lines<R> {
    input: R,
    buffer: Vec<u8>,
    number: u64,
}

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// Without its end.
    Text(&'a [u8]),
    /// It was longer than [`LINE_BYTES_MAX`].
    TooLong,
}

/// Opens a log: as it is, or through gzip where it begins like gzip.
///
/// # Errors
/// The first bytes cannot be read.
pub fn decompressed(input: impl Read + 'static) -> io::Result<Box<dyn BufRead>> {
    let mut input = BufReader::with_capacity(BUFFER_BYTES, input);
    let start = input.fill_buf()?;
    if start.starts_with(&GZIP) {
        let decoder = MultiGzDecoder::new(input);
        return Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder)));
    }
    if start.starts_with(&ZSTD) || start.starts_with(&XZ) || start.starts_with(BZIP2) {
        let what = "is compressed with something other than gzip; decompress it into a pipe and name - as the log";
        return Err(io::Error::new(io::ErrorKind::Unsupported, what));
    }
    Ok(Box::new(input))
}

impl<R: BufRead> Lines<R> {
    /// Lines of `input`.
    pub const fn new(input: R) -> Self {
        Self {
            input,
            buffer: Vec::new(),
            number: 0,
        }
    }

    /// The next line and its number, from 1; `None` at the end.
    ///
    /// # Errors
    /// The input failed; what it had given before was read.
    pub fn next_line(&mut self) -> io::Result<Option<(u64, Line<'_>)>> {
        self.buffer.clear();
        let mut too_long = false;
        let mut any = false;
        loop {
            let chunk = match self.input.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if chunk.is_empty() {
                break;
            }
            any = true;
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let part = chunk.get(..end.unwrap_or(chunk.len())).unwrap_or(chunk);
            if self.buffer.len().saturating_add(part.len()) > LINE_BYTES_MAX {
                too_long = true;
                self.buffer.clear();
            } else if !too_long {
                self.buffer.extend_from_slice(part);
            }
            let used = part.len().saturating_add(usize::from(end.is_some()));
            self.input.consume(used);
            if end.is_some() {
                break;
            }
        }
        if !any {
            return Ok(None);
        }
        self.number = self.number.saturating_add(1);
        if too_long {
            return Ok(Some((self.number, Line::TooLong)));
        }
        let text = self.buffer.strip_suffix(b"\r").unwrap_or(&self.buffer);
        Ok(Some((self.number, Line::Text(text))))
    }
}

const BUFFER_BYTES: usize = 256 << 10;
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const XZ: [u8; 6] = [0xfd, b'7', b'z', b'X', b'Z', 0];
const BZIP2: &[u8] = b"BZh";

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

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

    #[test]
    fn gzip_is_read_through_and_others_are_named() {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(b"one\ntwo\n").unwrap();
        let mut packed = packed.finish().unwrap();
        // Rotated logs are often concatenated.
        packed.extend(packed.clone());
        let read = all(decompressed(Cursor::new(packed.clone())).unwrap());
        assert_eq!(read.len(), 4);
        packed.truncate(packed.len() - 6);
        let mut lines = Lines::new(decompressed(Cursor::new(packed)).unwrap());
        assert!((0..5).any(|_| lines.next_line().is_err()), "cut off");
        let error = decompressed(Cursor::new(ZSTD)).err().unwrap();
        assert!(error.to_string().contains("gzip"), "{error}");
    }
}
