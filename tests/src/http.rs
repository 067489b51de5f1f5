//! HTTP/1.1 as a plain client speaks it, on a `TcpStream`: enough for sign-ins, independent of any library under test.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A request to be sent by [`crate::Host::http`].
#[derive(Debug, Clone)]
#[must_use]
pub struct Request {
    method: String,
    path: String,
    headers: Vec<String>,
    body: String,
}

/// An answer, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Status line and headers, without the empty line.
    pub head: String,
    /// Everything behind the empty line.
    pub body: String,
}

/// A connection that is kept open between requests.
#[derive(Debug)]
pub struct KeptAlive {
    stream: BufReader<TcpStream>,
    host: String,
}

impl Request {
    /// A GET request.
    pub fn get(path: &str) -> Self {
        Self {
            method: "GET".into(),
            path: path.into(),
            headers: Vec::new(),
            body: String::new(),
        }
    }

    /// A POST request with a form body, as a sign-in page sends it.
    pub fn post(path: &str, form: &str) -> Self {
        let request = Self {
            method: "POST".into(),
            body: form.into(),
            ..Self::get(path)
        };
        request.header("Content-Type: application/x-www-form-urlencoded")
    }

    /// Adds a header line, `"Name: value"`, as it is.
    pub fn header(mut self, line: &str) -> Self {
        self.headers.push(line.to_owned());
        self
    }

    fn text(&self, host: &str, close: bool) -> String {
        let mut lines = vec![
            format!("{} {} HTTP/1.1", self.method, self.path),
            format!("Host: {host}"),
        ];
        if close {
            lines.push("Connection: close".to_owned());
        }
        if !self.body.is_empty() {
            lines.push(format!("Content-Length: {}", self.body.len()));
        }
        lines.extend(self.headers.iter().cloned());
        format!("{}\r\n\r\n{}", lines.join("\r\n"), self.body)
    }
}

impl Response {
    fn parse(bytes: &[u8]) -> io::Result<Self> {
        let text = String::from_utf8_lossy(bytes);
        let bad = || no_http(&text);
        let (head, body) = text.split_once("\r\n\r\n").ok_or_else(bad)?;
        let mut answer = Self::of_head(head)?;
        answer.body = if answer.is_chunked() {
            unchunked(body).ok_or_else(bad)?
        } else {
            body.to_owned()
        };
        Ok(answer)
    }

    /// Status line and headers alone.
    fn of_head(head: &str) -> io::Result<Self> {
        let mut words = head.split_whitespace();
        let version = words.next().unwrap_or_default();
        let status = words.next().and_then(|word| word.parse().ok());
        match status {
            Some(status) if version.starts_with("HTTP/1.") => Ok(Self {
                status,
                head: head.to_owned(),
                body: String::new(),
            }),
            _ => Err(no_http(head)),
        }
    }

    /// The value of the first line of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    fn is_chunked(&self) -> bool {
        self.header("Transfer-Encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    }
}

impl KeptAlive {
    /// Takes a connection over. `host` is what requests say they are for; each step may take `timeout`.
    ///
    /// # Errors
    /// As the system says.
    pub fn new(stream: TcpStream, host: &str, timeout: Duration) -> io::Result<Self> {
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::new(stream),
            host: host.to_owned(),
        })
    }

    /// Sends a request and reads its answer; the connection stays.
    ///
    /// # Errors
    /// `UnexpectedEof` when the other end has closed it, `InvalidData` when the answer is no HTTP.
    pub fn send(&mut self, request: &Request) -> io::Result<Response> {
        let text = request.text(&self.host, false);
        self.stream.get_mut().write_all(text.as_bytes())?;
        self.answer()
    }

    /// Sends bytes as they are and reads one answer.
    ///
    /// # Errors
    /// As [`KeptAlive::send`].
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<Response> {
        self.stream.get_mut().write_all(bytes)?;
        self.answer()
    }

    /// True when the other end has closed the connection; waits for that for the connection's time at most.
    pub fn ends(&mut self) -> bool {
        match self.stream.fill_buf() {
            Ok(bytes) => bytes.is_empty(),
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }

    fn answer(&mut self) -> io::Result<Response> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            self.line(&mut bytes)?;
        }
        let mut answer = Response::of_head(String::from_utf8_lossy(&bytes).trim_end())?;
        if answer.is_chunked() {
            let mut chunks = Vec::new();
            // An empty line ends the trailers, which follow the last chunk.
            while !chunks.ends_with(b"\r\n0\r\n\r\n") && chunks != b"0\r\n\r\n" {
                self.line(&mut chunks)?;
            }
            answer.body = unchunked(&String::from_utf8_lossy(&chunks)).unwrap_or_default();
        } else if let Some(length) = answer.header("Content-Length") {
            let length = length.parse().map_err(io::Error::other)?;
            let mut body = vec![0; usize::min(length, ANSWER_BYTES_MAX)];
            self.stream.read_exact(&mut body)?;
            answer.body = String::from_utf8_lossy(&body).into_owned();
        }
        Ok(answer)
    }

    fn line(&mut self, into: &mut Vec<u8>) -> io::Result<()> {
        if into.len() > ANSWER_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if self.stream.read_until(b'\n', into)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

fn no_http(text: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("no HTTP answer: {text:?}"),
    )
}

/// The body behind chunked coding, `None` if it is none or not whole. Small bodies of text only.
fn unchunked(text: &str) -> Option<String> {
    let mut rest = text;
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.push_str(after.get(..size)?);
        rest = after.get(size..)?.strip_prefix("\r\n")?;
    }
}

/// Sends a request and reads the answer up to the end of the connection.
pub(crate) fn exchange(
    mut stream: TcpStream,
    address: SocketAddr,
    request: &Request,
    timeout: Duration,
) -> io::Result<Response> {
    let deadline = Instant::now() + timeout;
    stream.set_write_timeout(Some(timeout))?;
    stream.write_all(request.text(&address.to_string(), true).as_bytes())?;
    let mut answer = Vec::new();
    let mut chunk = [0_u8; 4096];
    while answer.len() < ANSWER_BYTES_MAX {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut chunk) {
            Ok(0) => return Response::parse(&answer),
            Ok(count) => answer.extend(chunk.iter().take(count)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A read that ran into its timeout says WouldBlock.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        "the answer is too long",
    ))
}

/// Longest answer a test reads, in bytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_put_together() -> io::Result<()> {
        let answer = Response::parse(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        )?;
        assert_eq!(answer.body, "abcde");
        assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
        assert_eq!(unchunked("5\r\nabc"), None);
        Ok(())
    }

    #[test]
    fn an_answer_is_parsed_and_garbage_is_named() -> io::Result<()> {
        let answer = Response::parse(b"HTTP/1.1 403 Forbidden\r\nA: b\r\n\r\nno")?;
        assert_eq!((answer.status, answer.body.as_str()), (403, "no"));
        for garbage in [
            &b""[..],
            b"HTTP/1.1 200 OK\r\n",
            b"SSH-2.0 9 \r\n\r\n",
            b"HTTP/1.1 x\r\n\r\n",
        ] {
            assert!(Response::parse(garbage).is_err(), "{garbage:?}");
        }
        Ok(())
    }
}
