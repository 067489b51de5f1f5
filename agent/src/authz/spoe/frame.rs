//! SPOP's frames (HAProxy, doc/SPOE.txt, 3.2): what HAProxy sends, read in place, and what it is sent.

use super::wire::{Reader, Value, put_string, put_text, put_u32, put_varint};

/// What the first bytes hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cut<'a> {
    /// Not a whole frame yet.
    More,
    /// A frame, without its length, and how many bytes it takes with it.
    Frame(&'a [u8], usize),
    /// Longer than agreed.
    TooLong,
}

/// A frame of HAProxy's.
#[derive(Debug)]
pub(super) enum Frame<'a> {
    Hello(Hello),
    Notify(Notify<'a>),
    Disconnect,
    /// To be skipped, as the protocol says of frames that are not known.
    Unknown,
}

/// The offer of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) frame_bytes_max: u32,
    pub(super) pipelining: bool,
    /// Only a check whether somebody answers.
    pub(super) health_check: bool,
}

/// Messages of a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Notify<'a> {
    pub(super) stream: u64,
    pub(super) frame: u64,
    messages: Reader<'a>,
}

/// A message's arguments.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arguments<'a> {
    count: u8,
    pairs: Reader<'a>,
}

/// Why a connection is ended, by the protocol's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Normal = 0,
    TooBig = 3,
    Invalid = 4,
    NoVersion = 5,
    NoFrameSize = 6,
    NoCapabilities = 7,
    BadVersion = 8,
    BadFrameSize = 9,
    Fragmented = 10,
}

/// Cuts the first frame off.
pub(super) fn cut(bytes: &[u8], frame_bytes_max: u32) -> Cut<'_> {
    let mut reader = Reader(bytes);
    let Some(length) = reader.u32() else {
        return Cut::More;
    };
    if length > frame_bytes_max {
        return Cut::TooLong;
    }
    let Ok(length) = usize::try_from(length) else {
        return Cut::TooLong;
    };
    match reader.0.get(..length) {
        Some(frame) => Cut::Frame(frame, length.saturating_add(4)),
        None => Cut::More,
    }
}

/// Reads a frame.
pub(super) fn read(frame: &[u8]) -> Result<Frame<'_>, Status> {
    let mut reader = Reader(frame);
    let kind = reader.byte().ok_or(Status::Invalid)?;
    let flags = reader.u32().ok_or(Status::Invalid)?;
    let stream = reader.varint().ok_or(Status::Invalid)?;
    let number = reader.varint().ok_or(Status::Invalid)?;
    match kind {
        // A further piece of a frame: not agreed on.
        0 => Err(Status::Fragmented),
        _ if flags & FINAL == 0 => Err(Status::Fragmented),
        _ if flags & ABORT != 0 => Err(Status::Invalid),
        1 => hello(reader).map(Frame::Hello),
        2 => Ok(Frame::Disconnect),
        3 => Ok(Frame::Notify(Notify {
            stream,
            frame: number,
            messages: reader,
        })),
        _ => Ok(Frame::Unknown),
    }
}

fn hello(mut reader: Reader<'_>) -> Result<Hello, Status> {
    let (mut versions, mut frame_bytes_max, mut capabilities, mut health_check) =
        (None, None, None, false);
    while !reader.is_empty() {
        match reader.pair().ok_or(Status::Invalid)? {
            (b"supported-versions", Value::Bytes(list)) => versions = Some(list),
            (b"max-frame-size", Value::Integer(bytes)) => frame_bytes_max = Some(bytes),
            (b"capabilities", Value::Bytes(list)) => capabilities = Some(list),
            (b"healthcheck", Value::Bool(set)) => health_check = set,
            _ => {}
        }
    }
    let versions = versions.ok_or(Status::NoVersion)?;
    let major =
        |version: &[u8]| version.trim_ascii().split(|byte| *byte == b'.').next() == Some(b"2");
    if !versions.split(|byte| *byte == b',').any(major) {
        return Err(Status::BadVersion);
    }
    let frame_bytes_max = frame_bytes_max.ok_or(Status::NoFrameSize)?;
    if frame_bytes_max < FRAME_BYTES_MIN {
        return Err(Status::BadFrameSize);
    }
    let capabilities = capabilities.ok_or(Status::NoCapabilities)?;
    Ok(Hello {
        frame_bytes_max: u32::try_from(frame_bytes_max).unwrap_or(u32::MAX),
        pipelining: capabilities
            .split(|byte| *byte == b',')
            .any(|capability| capability.trim_ascii() == b"pipelining"),
        health_check,
    })
}

impl<'a> Notify<'a> {
    /// Every message's arguments, in order; `Err` where the bytes make no sense.
    pub(super) fn messages(self) -> impl Iterator<Item = Result<Arguments<'a>, Status>> {
        let mut rest = Some(self.messages);
        std::iter::from_fn(move || {
            let mut reader = rest.take().filter(|reader| !reader.is_empty())?;
            let mut next = || {
                reader.string()?;
                let count = reader.byte()?;
                let pairs = reader;
                for _ in 0..count {
                    reader.pair()?;
                }
                Some(Arguments { count, pairs })
            };
            let message = next();
            // After a mistake nothing further can be found.
            rest = message.is_some().then_some(reader);
            Some(message.ok_or(Status::Invalid))
        })
    }
}

impl<'a> Arguments<'a> {
    /// The first argument of that name.
    pub(super) fn get(&self, name: &str) -> Option<Value<'a>> {
        let mut pairs = self.pairs;
        (0..self.count)
            .map_while(|_| pairs.pair())
            .find(|(found, _)| *found == name.as_bytes())
            .map(|(_, value)| value)
    }
}

/// Appends an AGENT-HELLO.
pub(super) fn put_agent_hello(out: &mut Vec<u8>, frame_bytes_max: u32, pipelining: bool) {
    put_frame(out, 101, 0, 0, |out| {
        put_string(out, b"version");
        put_text(out, b"2.0");
        put_string(out, b"max-frame-size");
        put_u32(out, frame_bytes_max);
        put_string(out, b"capabilities");
        put_text(out, if pipelining { b"pipelining" } else { b"" });
    });
}

/// Appends an AGENT-DISCONNECT.
pub(super) fn put_disconnect(out: &mut Vec<u8>, status: Status) {
    put_frame(out, 102, 0, 0, |out| {
        put_string(out, b"status-code");
        put_u32(out, u32::from(status as u8));
        put_string(out, b"message");
        put_text(out, status.text());
    });
}

/// Appends an ACK with what `actions` appends.
pub(super) fn put_ack(out: &mut Vec<u8>, notify: &Notify<'_>, actions: impl FnOnce(&mut Vec<u8>)) {
    put_frame(out, 103, notify.stream, notify.frame, actions);
}

/// Begins the action that sets a variable of the transaction; its typed value follows.
pub(super) fn put_set_variable(out: &mut Vec<u8>, name: &str) {
    // set-var, three arguments, scope of the transaction
    out.extend_from_slice(&[1, 3, 2]);
    put_string(out, name.as_bytes());
}

fn put_frame(
    out: &mut Vec<u8>,
    kind: u8,
    stream: u64,
    number: u64,
    payload: impl FnOnce(&mut Vec<u8>),
) {
    let begin = out.len();
    out.extend_from_slice(&[0; 4]);
    out.push(kind);
    out.extend_from_slice(&FINAL.to_be_bytes());
    put_varint(out, stream);
    put_varint(out, number);
    payload(out);
    let length = out.len().saturating_sub(begin).saturating_sub(4);
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    if let Some(place) = out.get_mut(begin..).and_then(<[u8]>::first_chunk_mut::<4>) {
        *place = length;
    }
}

impl Status {
    fn text(self) -> &'static [u8] {
        match self {
            Self::Normal => b"",
            Self::TooBig => b"frame is too big",
            Self::Invalid => b"invalid frame received",
            Self::NoVersion => b"version value not found",
            Self::NoFrameSize => b"max-frame-size value not found",
            Self::NoCapabilities => b"capabilities value not found",
            Self::BadVersion => b"unsupported version",
            Self::BadFrameSize => b"max-frame-size too big or too small",
            Self::Fragmented => b"payload fragmentation is not supported",
        }
    }
}

const FINAL: u32 = 1;
const ABORT: u32 = 2;
const FRAME_BYTES_MIN: u64 = 256;
