//! A request's head, line by line and more strictly than hyper reads it: whatever two servers could
//! understand differently is refused before it is judged. Pure: bytes in, framing or a cause out.

use super::cause::Cause;

/// How the head's body is framed, and what else the connection must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) body: BodyLength,
    /// The connection is to become something else; what follows is not HTTP if the answer is 101.
    pub(super) upgrade: bool,
}

/// Where the body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyLength {
    None,
    Bytes(u64),
    Chunked,
}

/// Reads one head after the other.
#[derive(Debug)]
pub(super) struct HeadReader {
    head_bytes_max: usize,
    headers_max: usize,
    bytes: usize,
    facts: Facts,
}

/// What the lines of a head have said so far.
#[derive(Debug, Default)]
struct Facts {
    request_line: bool,
    http_1_0: bool,
    /// Of a target in absolute form.
    authority: Option<Vec<u8>>,
    lines: usize,
    hosts: usize,
    /// Kept only to be compared with `authority`.
    host: Vec<u8>,
    length: Option<u64>,
    chunked: bool,
    connection_upgrade: bool,
    upgrade: bool,
}

impl HeadReader {
    pub(super) fn new(head_bytes_max: usize, headers_max: usize) -> Self {
        Self {
            head_bytes_max,
            headers_max,
            bytes: 0,
            facts: Facts::default(),
        }
    }

    /// Whether something of a head has been read.
    pub(super) fn begun(&self) -> bool {
        self.bytes > 0
    }

    /// Counts bytes of the head, whole lines or not.
    pub(super) fn count(&mut self, bytes: usize) -> Result<(), Cause> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.head_bytes_max {
            return Err(Cause::HeadBytes);
        }
        Ok(())
    }

    /// Reads a line, LF included. The last one of a head gives its framing, and the next head begins.
    pub(super) fn line(&mut self, line: &[u8]) -> Result<Option<Read>, Cause> {
        let line = without_end(line)?;
        if !self.facts.request_line {
            if line.is_empty() {
                // RFC 9112, 2.2: an empty line before the request line is ignored, here one.
                return if self.bytes > 2 {
                    Err(Cause::RequestLine)
                } else {
                    Ok(None)
                };
            }
            self.request_line(line)?;
            return Ok(None);
        }
        if !line.is_empty() {
            self.facts.lines += 1;
            if self.facts.lines > self.headers_max {
                return Err(Cause::Headers);
            }
            self.header(line)?;
            return Ok(None);
        }
        let read = self.facts.finish()?;
        self.bytes = 0;
        self.facts = Facts::default();
        Ok(Some(read))
    }

    fn request_line(&mut self, line: &[u8]) -> Result<(), Cause> {
        let mut parts = line.split(|&byte| byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Cause::RequestLine);
        };
        if !is_token(method) || target.is_empty() || has_control(target) || target.contains(&b'\t')
        {
            return Err(Cause::RequestLine);
        }
        self.facts.http_1_0 = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            _ => return Err(Cause::RequestLine),
        };
        match target {
            _ if method == b"CONNECT" => return Err(Cause::Method),
            [b'/', ..] => {}
            b"*" if method == b"OPTIONS" => {}
            _ => self.facts.authority = Some(authority(target).ok_or(Cause::RequestLine)?.to_vec()),
        }
        self.facts.request_line = true;
        Ok(())
    }

    fn header(&mut self, line: &[u8]) -> Result<(), Cause> {
        if let [b' ' | b'\t', ..] = line {
            return Err(Cause::Folded);
        }
        let colon = line.iter().position(|&byte| byte == b':');
        let (name, value) = colon
            .and_then(|at| Some((line.get(..at)?, line.get(at + 1..)?)))
            .ok_or(Cause::HeaderLine)?;
        if !is_token(name) {
            return Err(Cause::HeaderLine);
        }
        if has_control(value) {
            return Err(Cause::Control);
        }
        self.facts.note(name, value.trim_ascii())
    }
}

impl Facts {
    /// Takes what framing and routing depend on.
    fn note(&mut self, name: &[u8], value: &[u8]) -> Result<(), Cause> {
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                self.hosts += 1;
                if self.hosts > 1 {
                    return Err(Cause::HostTwice);
                }
                if !is_host(value) {
                    return Err(Cause::HostInvalid);
                }
                if self.authority.is_some() {
                    self.host = value.to_vec();
                }
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
            10 if name.eq_ignore_ascii_case(b"connection") => {
                self.connection_upgrade |= value
                    .split(|&byte| byte == b',')
                    .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"));
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                if self.length.is_some() {
                    return Err(Cause::LengthTwice);
                }
                self.length = Some(decimal(value).ok_or(Cause::LengthInvalid)?);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.chunked || self.http_1_0 || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Cause::Encoding);
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// What the whole head says.
    fn finish(&self) -> Result<Read, Cause> {
        if self.hosts == 0 && !self.http_1_0 {
            return Err(Cause::HostMissing);
        }
        if let Some(authority) = &self.authority
            && self.hosts > 0
            && !authority.eq_ignore_ascii_case(&self.host)
        {
            return Err(Cause::HostMismatch);
        }
        let body = match (self.length, self.chunked) {
            (Some(_), true) => return Err(Cause::LengthAndEncoding),
            (None, true) => BodyLength::Chunked,
            (None | Some(0), false) => BodyLength::None,
            (Some(bytes), false) => BodyLength::Bytes(bytes),
        };
        Ok(Read {
            body,
            upgrade: self.upgrade
                && self.connection_upgrade
                && !self.http_1_0
                && body == BodyLength::None,
        })
    }
}

/// A line of a chunked body's trailers; `None` once they have ended.
pub(super) fn trailer(line: &[u8]) -> Result<Option<()>, Cause> {
    let line = without_end(line)?;
    if line.is_empty() {
        return Ok(None);
    }
    let colon = line.iter().position(|&byte| byte == b':');
    let name = colon.and_then(|at| line.get(..at)).ok_or(Cause::Chunk)?;
    if !is_token(name) || has_control(line) {
        return Err(Cause::Chunk);
    }
    Ok(Some(()))
}

/// The size that a chunk's line says. Extensions are read over: they are not passed on.
pub(super) fn chunk_size(line: &[u8]) -> Result<u64, Cause> {
    let line = without_end(line)?;
    let digits = line
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    let (size, extension) = line.split_at_checked(digits).ok_or(Cause::Chunk)?;
    let extended = matches!(extension, [] | [b';', ..]) && !has_control(extension);
    if !extended || digits == 0 || digits > CHUNK_DIGITS_MAX {
        return Err(Cause::Chunk);
    }
    std::str::from_utf8(size)
        .ok()
        .and_then(|size| u64::from_str_radix(size, 16).ok())
        .ok_or(Cause::Chunk)
}

fn without_end(line: &[u8]) -> Result<&[u8], Cause> {
    line.strip_suffix(b"\r\n").ok_or(Cause::BareLf)
}

/// The authority of a target in absolute form.
fn authority(target: &[u8]) -> Option<&[u8]> {
    let scheme = target.get(..5)?.eq_ignore_ascii_case(b"http:");
    let rest = if scheme {
        target.get(5..)?
    } else {
        let https = target.get(..6)?.eq_ignore_ascii_case(b"https:");
        https.then(|| target.get(6..)).flatten()?
    };
    let rest = rest.strip_prefix(b"//")?;
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?' | b'#'))
        .unwrap_or(rest.len());
    let authority = rest.get(..end)?;
    (!authority.is_empty() && is_host(authority)).then_some(authority)
}

/// What a host and port may be made of; whether it names something is the application's question.
fn is_host(value: &[u8]) -> bool {
    value.iter().all(|&byte| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']' | b'~' | b'%')
    })
}

/// A length, if it is digits alone.
pub(super) fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > LENGTH_DIGITS_MAX || !value.iter().all(u8::is_ascii_digit)
    {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// A control character other than HTAB, bare CR included.
fn has_control(bytes: &[u8]) -> bool {
    // Without an early exit, which keeps it in wide registers.
    bytes.iter().fold(false, |found, &byte| {
        found | ((byte < 0x20) & (byte != b'\t')) | (byte == 0x7f)
    })
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes
            .iter()
            .all(|&byte| TOKEN.get(usize::from(byte)).copied().unwrap_or(false))
}

/// RFC 9110, 5.6.2.
const TOKEN: [bool; 128] = {
    let mut table = [false; 128];
    let mut byte = 0;
    while byte < 128_u8 {
        #[expect(
            clippy::indexing_slicing,
            reason = "a constant, checked when it is compiled"
        )]
        {
            table[byte as usize] = byte.is_ascii_alphanumeric()
                || matches!(
                    byte,
                    b'!' | b'#'
                        | b'$'
                        | b'%'
                        | b'&'
                        | b'\''
                        | b'*'
                        | b'+'
                        | b'-'
                        | b'.'
                        | b'^'
                        | b'_'
                        | b'`'
                        | b'|'
                        | b'~'
                );
        }
        byte += 1;
    }
    table
};
const CHUNK_DIGITS_MAX: usize = 15;
const LENGTH_DIGITS_MAX: usize = 18;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(head: &str) -> Result<Option<Read>, Cause> {
        let mut reader = HeadReader::new(4_096, 8);
        let mut last = Ok(None);
        for line in head.split_inclusive('\n') {
            reader.count(line.len())?;
            last = reader.line(line.as_bytes());
            if last.is_err() {
                break;
            }
        }
        last
    }

    #[test]
    fn framing_of_good_heads() {
        let table = [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", BodyLength::None, false),
            (
                "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
                BodyLength::None,
                false,
            ),
            ("GET / HTTP/1.0\r\n\r\n", BodyLength::None, false),
            (
                "OPTIONS * HTTP/1.1\r\nhost:\r\n\r\n",
                BodyLength::None,
                false,
            ),
            (
                "POST / HTTP/1.1\r\nHost: a:80\r\nContent-Length: 12\r\n\r\n",
                BodyLength::Bytes(12),
                false,
            ),
            (
                "POST / HTTP/1.1\r\nHost: [::1]:80\r\nTransfer-Encoding: Chunked\r\n\r\n",
                BodyLength::Chunked,
                false,
            ),
            (
                "GET http://a/x HTTP/1.1\r\nHost: A\r\n\r\n",
                BodyLength::None,
                false,
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n",
                BodyLength::None,
                true,
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
                BodyLength::None,
                false,
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\nContent-Length: 1\r\n\r\n",
                BodyLength::Bytes(1),
                false,
            ),
        ];
        for (head, body, upgrade) in table {
            assert_eq!(read(head), Ok(Some(Read { body, upgrade })), "{head}");
        }
    }

    const AMBIGUOUS: &[(&str, Cause)] = &[
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", Cause::BareLf),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", Cause::BareLf),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", Cause::BareLf),
        ("\r\n\r\nGET / HTTP/1.1\r\n", Cause::RequestLine),
        ("GET  / HTTP/1.1\r\n", Cause::RequestLine),
        ("GET / HTTP/1.1 \r\n", Cause::RequestLine),
        ("GET /\r\n", Cause::RequestLine),
        ("GET / HTTP/2.0\r\n", Cause::RequestLine),
        ("GET a HTTP/1.1\r\n", Cause::RequestLine),
        ("GET /\t HTTP/1.1\r\n", Cause::RequestLine),
        ("GET /\rx HTTP/1.1\r\n", Cause::RequestLine),
        ("GET http://u@a/ HTTP/1.1\r\n", Cause::RequestLine),
        ("CONNECT a:443 HTTP/1.1\r\n", Cause::Method),
        ("GET / HTTP/1.1\r\n\r\n", Cause::HostMissing),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n",
            Cause::HostTwice,
        ),
        ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", Cause::HostInvalid),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", Cause::HostInvalid),
        (
            "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
            Cause::HostMismatch,
        ),
        ("GET / HTTP/1.1\r\nHost : a\r\n", Cause::HeaderLine),
        ("GET / HTTP/1.1\r\n: a\r\n", Cause::HeaderLine),
        ("GET / HTTP/1.1\r\nHost\r\n", Cause::HeaderLine),
        ("GET / HTTP/1.1\r\nX: a\r\n b\r\n", Cause::Folded),
        ("GET / HTTP/1.1\r\nX: a\rb\r\n", Cause::Control),
        ("GET / HTTP/1.1\r\nX: \0\r\n", Cause::Control),
        (
            "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n",
            Cause::LengthTwice,
        ),
        (
            "GET / HTTP/1.1\r\nContent-Length: 1, 1\r\n",
            Cause::LengthInvalid,
        ),
        (
            "GET / HTTP/1.1\r\nContent-Length: +1\r\n",
            Cause::LengthInvalid,
        ),
        (
            "GET / HTTP/1.1\r\nContent-Length: 0x1\r\n",
            Cause::LengthInvalid,
        ),
        (
            "GET / HTTP/1.1\r\nContent-Length:\r\n",
            Cause::LengthInvalid,
        ),
        (
            "GET / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n",
            Cause::Encoding,
        ),
        (
            "GET / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n",
            Cause::Encoding,
        ),
        (
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            Cause::Encoding,
        ),
        (
            "GET / HTTP/1.1\r\nTransfer-Encoding: identity\r\n",
            Cause::Encoding,
        ),
        (
            "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n",
            Cause::Encoding,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            Cause::LengthAndEncoding,
        ),
        (
            "GET / HTTP/1.1\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\n",
            Cause::Headers,
        ),
    ];

    #[test]
    fn ambiguous_heads_are_refused_with_their_cause() {
        for (head, cause) in AMBIGUOUS.iter().copied() {
            assert_eq!(read(head), Err(cause), "{head:?}");
        }
        let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(4_096));
        assert_eq!(read(&long), Err(Cause::HeadBytes));
    }

    #[test]
    fn chunk_lines() {
        let table: [(&[u8], Option<u64>); 11] = [
            (b"0\r\n", Some(0)),
            (b"1aF\r\n", Some(0x1af)),
            (b"5;a=b\r\n", Some(5)),
            (b"5\n", None),
            (b"\r\n", None),
            (b"5 \r\n", None),
            (b" 5\r\n", None),
            (b"0x5\r\n", None),
            (b"5;a\rb\r\n", None),
            (b"-1\r\n", None),
            (b"1000000000000000\r\n", None),
        ];
        for (line, size) in table {
            assert_eq!(chunk_size(line).ok(), size, "{line:?}");
        }
    }
}
