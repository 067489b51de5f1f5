//! Follows the requests of an HTTP/1 connection byte by byte: which bytes hyper may read, and where it
//! has to stop. hyper never sees a head that was not read here first, nor a byte behind an upgrade.

use super::{
    cause::Cause,
    head::{BodyLength, HeadReader, chunk_size, trailer},
};

/// See the module.
#[derive(Debug)]
pub(super) struct Framing {
    state: State,
    reader: HeadReader,
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
    /// Heads read to their end.
    heads: u64,
    /// Bytes of the trailers being read.
    trailer_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Length(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    Held,
}

/// How much of some bytes may be read on, and why not more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// Bytes that were followed.
    pub(super) bytes: usize,
    /// Of these, how many may be read on: all but those of a head that has not ended yet. 0 if there are
    /// none but bytes of a head that began before.
    pub(super) ready: usize,
    pub(super) stop: Option<Stop>,
}

/// Why reading stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// For good.
    Fault(Cause),
    /// Until it is known whether the connection becomes something else.
    Held,
}

/// Where in a request the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Between requests.
    Idle,
    /// In a head.
    Head,
    /// In a body.
    Body,
    /// Behind a head that asks for an upgrade.
    Held,
}

impl Framing {
    pub(super) fn new(head_bytes_max: usize, headers_max: usize) -> Self {
        Self {
            state: State::Head,
            reader: HeadReader::new(head_bytes_max, headers_max),
            partial: Vec::new(),
            heads: 0,
            trailer_bytes: 0,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        match self.state {
            State::Head if self.reader.begun() => Phase::Head,
            State::Head => Phase::Idle,
            State::Held => Phase::Held,
            _ => Phase::Body,
        }
    }

    /// Heads read to their end so far.
    pub(super) fn heads(&self) -> u64 {
        self.heads
    }

    /// The connection stays HTTP after all.
    pub(super) fn release(&mut self) {
        if self.state == State::Held {
            self.state = State::Head;
        }
    }

    /// Follows `data`.
    pub(super) fn take(&mut self, data: &[u8]) -> Taken {
        let mut rest = data;
        let mut ready = 0;
        let mut stop = None;
        while !rest.is_empty() && stop.is_none() {
            if self.state == State::Held {
                stop = Some(Stop::Held);
                break;
            }
            match self.step(rest) {
                Ok(bytes) => {
                    rest = rest.get(bytes..).unwrap_or_default();
                    if self.phase() != Phase::Head {
                        ready = data.len() - rest.len();
                    }
                }
                Err(cause) => stop = Some(Stop::Fault(cause)),
            }
        }
        Taken {
            bytes: data.len() - rest.len(),
            ready,
            stop,
        }
    }

    /// Takes a line or a run of body bytes; at least one byte.
    fn step(&mut self, rest: &[u8]) -> Result<usize, Cause> {
        match self.state {
            State::Length(left) => {
                let (taken, left) = run(rest, left);
                self.state = if left == 0 {
                    State::Head
                } else {
                    State::Length(left)
                };
                Ok(taken)
            }
            State::ChunkData(left) => {
                let (taken, left) = run(rest, left);
                self.state = if left == 0 {
                    State::ChunkEnd
                } else {
                    State::ChunkData(left)
                };
                Ok(taken)
            }
            State::Head | State::ChunkSize | State::ChunkEnd | State::Trailers | State::Held => {
                self.line(rest)
            }
        }
    }

    /// Takes a line, or its beginning.
    fn line(&mut self, rest: &[u8]) -> Result<usize, Cause> {
        let found = memchr::memchr(b'\n', rest);
        let taken = found.map_or(rest.len(), |at| at + 1);
        let piece = rest.get(..taken).unwrap_or(rest);
        match self.state {
            State::Head => self.reader.count(taken)?,
            State::Trailers => {
                self.trailer_bytes += taken;
                if self.trailer_bytes > TRAILER_BYTES_MAX {
                    return Err(Cause::HeadBytes);
                }
            }
            _ if self.partial.len() + taken > CHUNK_LINE_BYTES_MAX => return Err(Cause::Chunk),
            _ => {}
        }
        if found.is_none() {
            self.partial.extend_from_slice(piece);
            return Ok(taken);
        }
        if self.partial.is_empty() {
            self.whole_line(piece)?;
        } else {
            let mut line = std::mem::take(&mut self.partial);
            line.extend_from_slice(piece);
            self.whole_line(&line)?;
        }
        Ok(taken)
    }

    fn whole_line(&mut self, line: &[u8]) -> Result<(), Cause> {
        match self.state {
            State::Head => {
                if let Some(read) = self.reader.line(line)? {
                    self.heads += 1;
                    self.state = match read.body {
                        _ if read.upgrade => State::Held,
                        BodyLength::None => State::Head,
                        BodyLength::Bytes(bytes) => State::Length(bytes),
                        BodyLength::Chunked => State::ChunkSize,
                    };
                }
            }
            State::ChunkSize => {
                self.state = match chunk_size(line)? {
                    0 => {
                        self.trailer_bytes = 0;
                        State::Trailers
                    }
                    size => State::ChunkData(size),
                }
            }
            State::ChunkEnd if line == b"\r\n" => self.state = State::ChunkSize,
            State::Trailers => {
                if trailer(line)?.is_none() {
                    self.state = State::Head;
                }
            }
            _ => return Err(Cause::Chunk),
        }
        Ok(())
    }
}

/// How many of the bytes belong to a run of `left`, and how many of it are left then.
fn run(rest: &[u8], left: u64) -> (usize, u64) {
    let taken = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
    (
        taken,
        left.saturating_sub(u64::try_from(taken).unwrap_or(u64::MAX)),
    )
}

const CHUNK_LINE_BYTES_MAX: usize = 1_024;
const TRAILER_BYTES_MAX: usize = 8_192;

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab\ncdGET /b HTTP/1.1\r\nHost: a\r\n\r\n\
        POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\n\n\nz\r\n0\r\nT: 1\r\n\r\nGET /d HTTP/1.1\r\nHost: a\r\n\r\n";

    #[test]
    fn a_stream_is_followed_however_it_is_cut() {
        for size in 1..STREAM.len() {
            let mut framing = Framing::new(1_024, 10);
            for piece in STREAM.as_bytes().chunks(size) {
                let taken = framing.take(piece);
                assert_eq!(
                    (taken.bytes, taken.stop),
                    (piece.len(), None),
                    "pieces of {size}"
                );
                if framing.phase() != Phase::Head {
                    assert_eq!(taken.ready, piece.len(), "pieces of {size}");
                }
            }
            assert_eq!(
                (framing.heads(), framing.phase()),
                (4, Phase::Idle),
                "pieces of {size}"
            );
        }
    }

    #[test]
    fn nothing_of_a_faulty_head_is_given_out() {
        let good = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let table = [
            (
                "GET /x HTTP/1.1\r\nHost: a\r\nB: c\n\r\n",
                "",
                Cause::BareLf,
            ),
            ("GET /x HTTP/1.1\r\n\r\n", "", Cause::HostMissing),
            (
                "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n",
                "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab",
                Cause::Chunk,
            ),
        ];
        for (bad, given, cause) in table {
            let mut framing = Framing::new(1_024, 10);
            let taken = framing.take(format!("{good}{bad}").as_bytes());
            assert_eq!(
                (taken.ready, taken.stop),
                (good.len() + given.len(), Some(Stop::Fault(cause))),
                "{bad}"
            );
        }
    }

    #[test]
    fn what_follows_an_upgrade_is_held_until_it_is_decided() {
        let head = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
        let mut framing = Framing::new(1_024, 10);
        let taken = framing.take(format!("{head}\x01\x02").as_bytes());
        assert_eq!(
            taken,
            Taken {
                bytes: head.len(),
                ready: head.len(),
                stop: Some(Stop::Held)
            }
        );
        assert_eq!(framing.phase(), Phase::Held);
        framing.release();
        assert_eq!(
            framing.take(b"\x01\n").stop,
            Some(Stop::Fault(Cause::BareLf))
        );
    }
}
