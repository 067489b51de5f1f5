//! List files: one network a line, `#` and `;` begin comments, a million lines in a fraction of a second.
//!
//! A bad line is named by its number and the reading goes on: one broken line of somebody else's feed
//! must not cost the other million. Memory stays bounded by the networks found, not by the file.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use ipnet::{IpNet, Ipv4Net};

use super::networks::Networks;
use crate::policy::prefix::parse_network;

/// Longest file that is read, in bytes.
pub const FILE_BYTES_MAX: u64 = 1 << 30;
/// Longest line, in bytes; a longer one is no network.
pub const LINE_BYTES_MAX: usize = 4_096;
/// Bad lines that are described; the others are counted.
pub const BAD_LINES_KEPT_MAX: usize = 20;
/// Most networks in one zone or list: what the largest permitted map could hold.
pub const NETWORKS_MAX: usize = 1 << 24;

/// A line that is no network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Line number, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub what: String,
    /// What to write instead.
    pub suggestion: Option<String>,
}

/// What the reading of one file came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Lines, comments and blank ones included.
    pub lines: u64,
    /// The first bad lines.
    pub bad: Vec<BadLine>,
    /// All bad lines.
    pub bad_total: u64,
}

/// Adds the networks of a file to `networks` (unsorted; `Networks::finish` must follow).
///
/// # Errors
/// A sentence without the file's name: missing, unreadable, a directory or device, or past a limit.
pub fn read(path: &Path, networks: &mut Networks) -> Result<Scan, String> {
    // Looked at before it is opened: opening a FIFO would wait for a writer that may never come.
    let metadata = fs::metadata(path).map_err(|error| unreadable(&error))?;
    if metadata.is_dir() {
        return Err("is a directory; name a file".to_owned());
    }
    if !metadata.is_file() {
        return Err("is not a regular file".to_owned());
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(format!(
            "is {} bytes long; at most {FILE_BYTES_MAX} (1 GiB) are read",
            metadata.len()
        ));
    }
    let file = File::open(path).map_err(|error| unreadable(&error))?;
    // The size may grow between the look and the end of the reading.
    scan(file.take(FILE_BYTES_MAX), networks)
}

/// The same for anything that can be read.
///
/// # Errors
/// As [`read`].
pub fn scan(source: impl Read, networks: &mut Networks) -> Result<Scan, String> {
    let reader = BufReader::with_capacity(CHUNK_BYTES, source);
    scan_all(reader, networks, NETWORKS_MAX)
}

/// The same, for at most `networks_max` networks; sorted, each once.
///
/// # Errors
/// As [`read`].
pub fn scan_up_to(
    reader: impl BufRead,
    networks: &mut Networks,
    networks_max: usize,
) -> Result<Scan, String> {
    let scan = scan_all(reader, networks, networks_max)?;
    networks.finish();
    Ok(scan)
}

fn scan_all(
    mut reader: impl BufRead,
    networks: &mut Networks,
    networks_max: usize,
) -> Result<Scan, String> {
    let mut out = Scan::default();
    let mut carried = Carried::default();
    loop {
        let chunk = match reader.fill_buf() {
            Ok(chunk) => chunk,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(unreadable(&error)),
        };
        let taken = chunk.len();
        if taken == 0 {
            break;
        }
        let mut rest = chunk;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(end);
            if carried.is_empty() {
                out.line(line, networks);
            } else {
                carried.extend(line);
                carried.take_line(|line| out.line(line, networks));
            }
            rest = after.get(1..).unwrap_or_default();
        }
        carried.extend(rest);
        reader.consume(taken);
        if networks.len() > networks_max {
            return Err(format!(
                "brings more than {networks_max} networks together; split the list or shorten it"
            ));
        }
    }
    if !carried.is_empty() {
        carried.take_line(|line| out.line(line, networks));
    }
    Ok(out)
}

const CHUNK_BYTES: usize = 256 * 1024;

/// The beginning of a line whose end has not been read yet, cut one byte past the limit.
#[derive(Default)]
struct Carried(Vec<u8>);

impl Carried {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn extend(&mut self, part: &[u8]) {
        let room = (LINE_BYTES_MAX + 2).saturating_sub(self.0.len());
        self.0.extend_from_slice(part.get(..room).unwrap_or(part));
    }

    fn take_line(&mut self, mut each: impl FnMut(&[u8])) {
        each(&self.0);
        self.0.clear();
    }
}

impl Scan {
    fn line(&mut self, line: &[u8], networks: &mut Networks) {
        self.lines = self.lines.saturating_add(1);
        let line = if self.lines == 1 {
            line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line)
        } else {
            line
        };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > LINE_BYTES_MAX {
            self.bad(format!("is longer than {LINE_BYTES_MAX} bytes"), None);
            return;
        }
        match quick(line) {
            Some(Quick::Host(host)) => networks.hosts_v4.push(host),
            Some(Quick::Prefix(prefix)) => networks.push(IpNet::V4(prefix)),
            None => self.careful(line, networks),
        }
    }

    /// Whatever the quick reading left: comments, IPv6, ranges, mistakes.
    fn careful(&mut self, line: &[u8], networks: &mut Networks) {
        if line.contains(&0) {
            self.bad(
                "holds a NUL byte; the file is binary or UTF-16".to_owned(),
                None,
            );
            return;
        }
        let content = line
            .split(|byte| matches!(byte, b'#' | b';'))
            .next()
            .unwrap_or_default()
            .trim_ascii();
        if content.is_empty() {
            return;
        }
        let Ok(text) = str::from_utf8(content) else {
            self.bad("is not UTF-8".to_owned(), None);
            return;
        };
        match parse_network(text) {
            Ok(found) => found.into_iter().for_each(|network| networks.push(network)),
            Err(error) => self.bad(error.what(), error.suggestion()),
        }
    }

    fn bad(&mut self, what: String, suggestion: Option<String>) {
        self.bad_total = self.bad_total.saturating_add(1);
        if self.bad.len() < BAD_LINES_KEPT_MAX {
            self.bad.push(BadLine {
                line: self.lines,
                what,
                suggestion,
            });
        }
    }
}

enum Quick {
    Host(u32),
    Prefix(Ipv4Net),
}

/// `a.b.c.d` or `a.b.c.d/len`, with nothing but space or a comment behind; `None` means "look closer".
fn quick(line: &[u8]) -> Option<Quick> {
    let (a, rest) = octet(line)?;
    let (b, rest) = octet(rest.strip_prefix(b".")?)?;
    let (c, rest) = octet(rest.strip_prefix(b".")?)?;
    let (d, rest) = octet(rest.strip_prefix(b".")?)?;
    let host = u32::from_be_bytes([a, b, c, d]);
    let Some(rest) = rest.strip_prefix(b"/") else {
        return ends(rest).then_some(Quick::Host(host));
    };
    let (length, rest) = octet(rest)?;
    // Host bits or a length past 32: the general parser has the words for it.
    let network = Ipv4Net::new(host.into(), length)
        .ok()
        .filter(|network| network.trunc() == *network)?;
    let found = if length == 32 {
        Quick::Host(host)
    } else {
        Quick::Prefix(network)
    };
    ends(rest).then_some(found)
}

/// One decimal number up to 255 without leading zeros, and what follows it.
fn octet(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| u16::from(byte - b'0'));
    let (first, mut rest) = bytes.split_first()?;
    let mut value = digit(*first)?;
    if value > 0 {
        for _ in 0..2 {
            let Some((next, after)) = rest
                .split_first()
                .and_then(|(byte, after)| Some((digit(*byte)?, after)))
            else {
                break;
            };
            value = value * 10 + next;
            rest = after;
        }
    }
    Some((u8::try_from(value).ok()?, rest))
}

fn ends(rest: &[u8]) -> bool {
    matches!(rest.trim_ascii_start(), [] | [b'#' | b';', ..])
}

pub(super) fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "may not be read (permission denied)".to_owned(),
        _ => format!("cannot be read: {error}"),
    }
}

#[cfg(test)]
#[path = "list_file_tests.rs"]
mod tests;
