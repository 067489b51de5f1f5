//! One file that is being read: bytes in, lines out, and whether it still is the file that it was.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Cursor as Bytes, Read},
    mem,
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::Path,
    time::{Instant, SystemTime},
};

use super::spot::{HEAD_BYTES_MAX, Mark, Spot, TAIL_BYTES_MAX, before, beginning};
use crate::signal::{
    compressed::{Compression, unpacked},
    lines::{BUFFER_BYTES, Line, Lines},
};

/// A file that is being read, or watched for late lines.
pub(super) struct Reading {
    input: Input,
    device: u64,
    inode: u64,
    lines: Lines<Bytes<Vec<u8>>>,
    /// Where `lines` began.
    start: u64,
    /// The first bytes, as far as they were read.
    head: Vec<u8>,
    /// What stands before the place where the chunk began, as far as lines were taken there.
    tail: Vec<u8>,
    /// Where the chunk began.
    chunk_start: u64,
    pub(super) opened: SystemTime,
    /// When there last was something to read.
    pub(super) busy: Instant,
    /// Nobody writes to it any more: it is a copy, or compressed.
    pub(super) complete: bool,
}

enum Input {
    Plain(File),
    Packed(Box<dyn Read + Send>),
}

/// What came of reading on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// There are bytes to take lines from.
    Bytes,
    /// There is nothing more now.
    End,
    /// The file is no longer what was read: it was cut off or written anew.
    Replaced,
}

impl Reading {
    /// Reads `file` from `start` on.
    pub(super) fn plain(file: File, start: u64) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let mut head = beginning(&file)?;
        head.truncate(usize::try_from(start).unwrap_or(usize::MAX));
        let tail = before(&file, start, TAIL_BYTES_MAX)?;
        Ok(Self::new(&metadata, Input::Plain(file), start, head, tail))
    }

    /// Reads what is compressed in `file`, whose decompressed form was read up to `spot`. `None` if it is not
    /// what was read.
    pub(super) fn packed(file: File, spot: &Spot) -> io::Result<Option<Self>> {
        let metadata = file.metadata()?;
        let mut stream = unpacked(rewound(file.try_clone()?)?)?;
        let mut head = Vec::new();
        let first = (HEAD_BYTES_MAX as u64).min(spot.offset);
        stream.by_ref().take(first).read_to_end(&mut head)?;
        let mut stream = unpacked(rewound(file)?)?;
        if !spot.is_in_stream(&mut stream)? {
            return Ok(None);
        }
        let input = Input::Packed(stream);
        let mut reading = Self::new(&metadata, input, spot.offset, head, Vec::new());
        reading.complete = true;
        Ok(Some(reading))
    }

    fn new(metadata: &Metadata, input: Input, start: u64, head: Vec<u8>, tail: Vec<u8>) -> Self {
        Self {
            input,
            device: metadata.dev(),
            inode: metadata.ino(),
            lines: Lines::new(Bytes::default()),
            start,
            head,
            tail,
            chunk_start: start,
            opened: SystemTime::now(),
            busy: Instant::now(),
            complete: false,
        }
    }

    /// Its device and inode.
    pub(super) const fn id(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// Whether not even a line was read of it yet.
    pub(super) const fn is_fresh(&self) -> bool {
        self.offset() == 0 && !self.complete
    }

    /// Up to where lines were taken.
    pub(super) const fn offset(&self) -> u64 {
        self.start.saturating_add(self.lines.given_bytes())
    }

    /// Where reading has got to.
    pub(super) fn spot(&self) -> Spot {
        Spot::new(self.inode, &self.head, self.taken(), self.offset())
    }

    /// The file's beginning, as far as it was read. What is not even a line may begin any other file too.
    pub(super) fn mark(&self) -> Mark {
        match memchr::memrchr(b'\n', &self.head) {
            Some(end) => Mark::of(self.head.get(..=end).unwrap_or_default()),
            None if self.head.is_empty() || self.head.len() == HEAD_BYTES_MAX => {
                Mark::of(&self.head)
            }
            None => Mark::whole(&self.head),
        }
    }

    /// What stands right before the place up to where lines were taken, as it was read.
    fn taken(&self) -> &[u8] {
        match self.offset().checked_sub(self.chunk_start) {
            None | Some(0) => &self.tail,
            Some(of_chunk) => {
                let chunk = self.lines.input().get_ref();
                let end = usize::try_from(of_chunk).unwrap_or(usize::MAX);
                chunk.get(..end).unwrap_or_default()
            }
        }
    }

    /// When it was last written to; `None` where that says nothing.
    pub(super) fn modified(&self) -> Option<SystemTime> {
        match &self.input {
            Input::Plain(file) => file.metadata().ok()?.modified().ok(),
            Input::Packed(_) => None,
        }
    }

    /// Bytes that are still to be read.
    pub(super) fn lag_bytes(&self) -> u64 {
        match &self.input {
            Input::Plain(file) => {
                let length = file.metadata().map_or(0, |metadata| metadata.len());
                length.saturating_sub(self.offset())
            }
            Input::Packed(_) => 0,
        }
    }

    /// Reads on, into `chunk`; to be called when there are no more lines.
    ///
    /// What was read counts only if the file still is the same afterwards: a log may be cut off at any moment.
    pub(super) fn fill(&mut self, chunk: &mut Vec<u8>) -> io::Result<Filled> {
        let at = self.start.saturating_add(self.lines.read_bytes());
        chunk.resize(BUFFER_BYTES, 0);
        let count = match &mut self.input {
            Input::Plain(file) => {
                let count = again(|| file.read_at(chunk, at))?;
                let end = at.saturating_add(count as u64);
                let now = beginning(file)?;
                if file.metadata()?.len() < end || !now.starts_with(&self.head) {
                    return Ok(Filled::Replaced);
                }
                count
            }
            Input::Packed(stream) => again(|| stream.read(chunk))?,
        };
        chunk.truncate(count);
        if count == 0 {
            return Ok(Filled::End);
        }
        if at == self.head.len() as u64 {
            let room = HEAD_BYTES_MAX.saturating_sub(self.head.len());
            self.head.extend(chunk.iter().take(room));
        }
        self.chunk_start = at;
        self.busy = Instant::now();
        *self.lines.input_mut() = Bytes::new(mem::take(chunk));
        Ok(Filled::Bytes)
    }

    /// Gives the chunk back.
    pub(super) fn emptied(&mut self) -> Vec<u8> {
        let taken = self.taken();
        let from = taken.len().saturating_sub(TAIL_BYTES_MAX);
        self.tail = taken.get(from..).unwrap_or_default().to_vec();
        self.chunk_start = self.start.saturating_add(self.lines.read_bytes());
        mem::take(self.lines.input_mut()).into_inner()
    }

    /// The next line of what was read, and where it begins.
    pub(super) fn line(&mut self) -> Option<(u64, Line<'_>)> {
        let at = self.offset();
        // Reading from memory does not fail.
        let (_, line) = self.lines.next_ended_line().ok()??;
        Some((at, line))
    }

    /// The last line, if it never got its end.
    pub(super) fn rest(&mut self) -> Option<(u64, Line<'_>)> {
        let at = self.offset();
        let (_, line) = self.lines.next_line().ok()??;
        Some((at, line))
    }
}

/// Opens a file for reading if it is a regular one; a FIFO would wait for a writer.
///
/// # Errors
/// Also for what is no regular file.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_NOCTTY)
        .open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        return Ok(file);
    }
    let what = if kind.is_dir() {
        "is a directory"
    } else {
        "is not a regular file"
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, what))
}

/// Whether it begins like something compressed.
pub(super) fn is_packed(file: &File) -> io::Result<bool> {
    Ok(Compression::of(&beginning(file)?).is_some())
}

/// The decompressed beginning.
pub(super) fn unpacked_beginning(file: &File) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    unpacked(rewound(file.try_clone()?)?)?
        .take(HEAD_BYTES_MAX as u64)
        .read_to_end(&mut head)?;
    Ok(head)
}

fn rewound(mut file: File) -> io::Result<File> {
    io::Seek::rewind(&mut file)?;
    Ok(file)
}

fn again(mut read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}
