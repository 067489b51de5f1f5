//! HTTP/1.1 as a plain client speaks it, on a `TcpStream`: enough for sign-ins, independent of any library under test.

use std::io::{self, Read, Write};
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

    fn text(&self, address: SocketAddr) -> String {
        let mut lines = vec![
            format!("{} {} HTTP/1.1", self.method, self.path),
            format!("Host: {address}"),
            "Connection: close".to_owned(),
        ];
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
        let bad = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("no HTTP answer: {text:?}"),
            )
        };
        let (head, body) = text.split_once("\r\n\r\n").ok_or_else(bad)?;
        let mut words = head.split_whitespace();
        let version = words.next().ok_or_else(bad)?;
        let status = words
            .next()
            .and_then(|word| word.parse().ok())
            .ok_or_else(bad)?;
        if !version.starts_with("HTTP/1.") {
            return Err(bad());
        }
        Ok(Self {
            status,
            head: head.to_owned(),
            body: body.to_owned(),
        })
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
    stream.write_all(request.text(address).as_bytes())?;
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
