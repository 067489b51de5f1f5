//! The objects of JSON lists, one at a time: a feed of a hundred megabytes is never in memory, and one bad
//! object does not cost the others.
//!
//! What is walked is `[object, …]` or `{"key": [object, …], "other": value}`. Objects are handed on as bytes;
//! whether they are JSON is found out by whoever reads them.

use std::io::{self, BufRead};

use super::{OBJECT_BYTES_MAX, Unfit};

/// What a walk meets.
pub(super) enum Item<'a> {
    /// An element of the list under a key; the key of a list at the top is empty.
    Element {
        list: &'a str,
        index: u64,
        /// `None` if it is longer than [`OBJECT_BYTES_MAX`].
        json: Option<&'a [u8]>,
    },
    /// Any other value beside the lists, if it is not longer than [`VALUE_BYTES_MAX`].
    Value { key: &'a str, json: &'a [u8] },
}

/// Longest value beside the lists that is handed on, in bytes.
const VALUE_BYTES_MAX: usize = 8 * 1024;
/// Longest key, in bytes.
const KEY_BYTES_MAX: usize = 256;

/// Walks a document to its end.
///
/// # Errors
/// It is no such document, is cut off, or `each` says so.
pub(super) fn walk(
    source: impl BufRead,
    mut each: impl FnMut(Item<'_>) -> Result<(), Unfit>,
) -> Result<(), Unfit> {
    let mut cursor = Cursor {
        source,
        buffer: Vec::new(),
    };
    cursor.skip_mark()?;
    match cursor.token()? {
        b'[' => cursor.list("", &mut each)?,
        b'{' => cursor.object(&mut each)?,
        _ => return Err(content("is no JSON object or list")),
    }
    match cursor.peek_token() {
        Ok(Some(_)) => Err(content("goes on behind the end of its JSON")),
        Ok(None) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

struct Cursor<R> {
    source: R,
    buffer: Vec<u8>,
}

impl<R: BufRead> Cursor<R> {
    fn object(
        &mut self,
        each: &mut impl FnMut(Item<'_>) -> Result<(), Unfit>,
    ) -> Result<(), Unfit> {
        if self.peek_some()? == b'}' {
            self.token()?;
            return Ok(());
        }
        loop {
            if self.peek_some()? != b'"' {
                return Err(content("has something else where a key should be"));
            }
            if !self.value(KEY_BYTES_MAX)? {
                return Err(content("has a key that is too long"));
            }
            let key: String = serde_json::from_slice(&self.buffer)
                .map_err(|_| content("has a key that cannot be read"))?;
            if self.token()? != b':' {
                return Err(content("has a key without a value"));
            }
            if self.peek_some()? == b'[' {
                self.token()?;
                self.list(&key, each)?;
            } else if self.value(VALUE_BYTES_MAX)? {
                each(Item::Value {
                    key: &key,
                    json: &self.buffer,
                })?;
            }
            match self.token()? {
                b',' => {}
                b'}' => return Ok(()),
                _ => return Err(content("lacks a comma between two of its values")),
            }
        }
    }

    /// The elements of a list whose bracket has been read.
    fn list(
        &mut self,
        name: &str,
        each: &mut impl FnMut(Item<'_>) -> Result<(), Unfit>,
    ) -> Result<(), Unfit> {
        if self.peek_some()? == b']' {
            self.token()?;
            return Ok(());
        }
        for index in 0.. {
            let whole = self.value(OBJECT_BYTES_MAX)?;
            each(Item::Element {
                list: name,
                index,
                json: whole.then_some(self.buffer.as_slice()),
            })?;
            match self.token()? {
                b',' => {}
                b']' => break,
                _ => return Err(content("lacks a comma between two of its objects")),
            }
        }
        Ok(())
    }

    /// Reads one value into the buffer; whether it is within the limit. A longer one is read and forgotten.
    fn value(&mut self, bytes_max: usize) -> Result<bool, Unfit> {
        self.buffer.clear();
        let first = self.peek_some()?;
        let mut scan = Scan::new(first);
        let mut whole = true;
        loop {
            let chunk = fill(&mut self.source)?;
            if chunk.is_empty() {
                return if scan.may_end() {
                    Ok(whole)
                } else {
                    Err(cut_off())
                };
            }
            let taken = scan.take(chunk);
            let part = chunk.get(..taken).unwrap_or(chunk);
            if self.buffer.len().saturating_add(part.len()) > bytes_max {
                whole = false;
                self.buffer.clear();
            } else if whole {
                self.buffer.extend_from_slice(part);
            }
            let done = scan.done;
            self.source.consume(taken);
            if done {
                return Ok(whole);
            }
        }
    }

    /// The next byte that is no space.
    fn token(&mut self) -> Result<u8, Unfit> {
        let byte = self.peek_some()?;
        self.source.consume(1);
        Ok(byte)
    }

    fn peek_some(&mut self) -> Result<u8, Unfit> {
        self.peek_token()?.ok_or_else(cut_off)
    }

    /// The next byte that is no space, which stays; `None` at the end.
    fn peek_token(&mut self) -> io::Result<Option<u8>> {
        loop {
            let chunk = fill(&mut self.source)?;
            if chunk.is_empty() {
                return Ok(None);
            }
            let spaces = chunk
                .iter()
                .take_while(|byte| byte.is_ascii_whitespace())
                .count();
            let found = chunk.get(spaces).copied();
            self.source.consume(spaces);
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    fn skip_mark(&mut self) -> io::Result<()> {
        let chunk = fill(&mut self.source)?;
        if chunk.starts_with(b"\xef\xbb\xbf") {
            self.source.consume(3);
        }
        Ok(())
    }
}

fn fill(source: &mut impl BufRead) -> io::Result<&[u8]> {
    // A loop with `continue` would hold the borrow of the first try.
    while let Err(error) = source.fill_buf() {
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    source.fill_buf()
}

/// Finds the end of one value without understanding it.
struct Scan {
    depth: u64,
    in_string: bool,
    escaped: bool,
    /// A number or a word, which ends before what follows it.
    bare: bool,
    done: bool,
}

impl Scan {
    const fn new(first: u8) -> Self {
        Self {
            depth: 0,
            in_string: false,
            escaped: false,
            bare: !matches!(first, b'{' | b'[' | b'"'),
            done: false,
        }
    }

    /// How many bytes of the chunk belong to the value.
    fn take(&mut self, chunk: &[u8]) -> usize {
        for (at, byte) in chunk.iter().enumerate() {
            if self.bare {
                if matches!(byte, b',' | b']' | b'}') || byte.is_ascii_whitespace() {
                    self.done = true;
                    return at;
                }
                continue;
            }
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
            } else {
                match byte {
                    b'"' => self.in_string = true,
                    b'{' | b'[' => self.depth = self.depth.saturating_add(1),
                    b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                    _ => {}
                }
            }
            if !self.in_string && self.depth == 0 {
                self.done = true;
                return at.saturating_add(1);
            }
        }
        chunk.len()
    }

    const fn may_end(&self) -> bool {
        self.bare
    }
}

fn content(what: &str) -> Unfit {
    Unfit::Content(what.to_owned())
}

fn cut_off() -> Unfit {
    content("is cut off: its JSON does not end")
}
