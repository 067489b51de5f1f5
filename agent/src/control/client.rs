//! The asking side of the control socket, blocking, for the CLI and for tests.

use std::{
    fmt,
    io::{self, BufRead, BufReader, ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use super::{Envelope, Failure, protocol::Reply};

/// A connection to an agent.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    path: PathBuf,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum ClientError {
    /// Nobody answers at the socket.
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// This account may not even connect.
    Forbidden {
        /// The socket.
        path: PathBuf,
    },
    /// The agent did not answer in time, or left in the middle.
    Interrupted {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// What came is not an answer.
    Garbled {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The agent refused.
    Refused(Failure),
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When nobody answers or this account may not connect.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path).map_err(|cause| match cause.kind() {
            ErrorKind::PermissionDenied => ClientError::Forbidden {
                path: path.to_path_buf(),
            },
            _ => ClientError::Unreachable {
                path: path.to_path_buf(),
                cause,
            },
        })?;
        Ok(Self {
            stream: BufReader::new(stream),
            path: path.to_path_buf(),
        })
    }

    /// Sends a request and waits for its reply for `patience` at most.
    ///
    /// # Errors
    /// When the agent refuses, does not answer in time or says what cannot be read.
    pub fn request(
        &mut self,
        envelope: &Envelope,
        patience: Duration,
    ) -> Result<Value, ClientError> {
        let mut line = envelope.to_line();
        line.push('\n');
        let stream = self.stream.get_ref();
        stream
            .set_write_timeout(Some(WRITE_TIMEOUT))
            .and_then(|()| stream.set_read_timeout(Some(patience)))
            .map_err(|cause| self.interrupted(cause))?;
        // A server that has refused already closes: its reason is still there to be read.
        let sent = self.stream.get_mut().write_all(line.as_bytes());
        let reply = match (self.read_line(REPLY_BYTES_MAX), sent) {
            (Ok(Some(reply)), _) => reply,
            (_, Err(cause)) => return Err(self.interrupted(cause)),
            (Ok(None), Ok(())) => return Err(self.interrupted(ErrorKind::UnexpectedEof.into())),
            (Err(error), Ok(())) => return Err(error),
        };
        match Reply::parse(&reply) {
            Ok(Ok(data)) => Ok(data),
            Ok(Err(failure)) => Err(ClientError::Refused(failure)),
            Err(error) => Err(ClientError::Garbled {
                path: self.path.clone(),
                cause: error.to_string(),
            }),
        }
    }

    /// The next line of a stream, waiting as long as it takes; none at its end.
    ///
    /// # Errors
    /// When the connection breaks or the line is too long.
    pub fn next_event(&mut self) -> Result<Option<String>, ClientError> {
        self.stream
            .get_ref()
            .set_read_timeout(None)
            .map_err(|cause| self.interrupted(cause))?;
        let Some(line) = self.read_line(EVENT_BYTES_MAX)? else {
            return Ok(None);
        };
        String::from_utf8(line)
            .map(|line| Some(line.trim_end().to_owned()))
            .map_err(|error| ClientError::Garbled {
                path: self.path.clone(),
                cause: error.to_string(),
            })
    }

    fn read_line(&mut self, bytes_max: u64) -> Result<Option<Vec<u8>>, ClientError> {
        let mut line = Vec::new();
        let read = (&mut self.stream)
            .take(bytes_max)
            .read_until(b'\n', &mut line)
            .map_err(|cause| self.interrupted(cause))?;
        match line.last() {
            Some(b'\n') => Ok(Some(line)),
            None => Ok(None),
            Some(_) if read as u64 >= bytes_max => Err(ClientError::Garbled {
                path: self.path.clone(),
                cause: format!("a line is longer than {bytes_max} bytes"),
            }),
            Some(_) => Err(self.interrupted(ErrorKind::UnexpectedEof.into())),
        }
    }

    fn interrupted(&self, cause: io::Error) -> ClientError {
        ClientError::Interrupted {
            path: self.path.clone(),
            cause,
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { path, cause } => write!(
                f,
                "no edgeward answers at {} ({cause}); start it with `edgeward run` or `systemctl start \
                 edgeward`, or name its socket with --socket. What the kernel already enforces goes on \
                 meanwhile",
                path.display()
            ),
            Self::Forbidden { path } => write!(
                f,
                "this account may not connect to {}; run the command as root or as an operator",
                path.display()
            ),
            Self::Interrupted { path, cause } => match cause.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => write!(
                    f,
                    "the agent at {} did not answer in time; it may still be carrying the command out",
                    path.display()
                ),
                _ => write!(
                    f,
                    "the connection to {} ended before the answer ({cause}); the agent may be stopping",
                    path.display()
                ),
            },
            Self::Garbled { path, cause } => write!(
                f,
                "what answers at {} does not speak edgeward's protocol: {cause}",
                path.display()
            ),
            Self::Refused(failure) => failure.fmt(f),
        }
    }
}

impl std::error::Error for ClientError {}

const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// A listing of everything in force.
const REPLY_BYTES_MAX: u64 = 512 << 20;
const EVENT_BYTES_MAX: u64 = 1 << 20;
