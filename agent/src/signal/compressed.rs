//! Compressed logs: gzip, zstd, xz and bzip2, told by how they begin, in bounded memory.
//!
//! Files of several members, frames or streams are read as one, as rotated logs are often concatenated. A file that
//! ends too early, or asks for more memory than permitted, is an error that says so; what came before it was read.

use std::io::{self, BufRead, BufReader, Chain, Cursor, ErrorKind, Read};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::{
    BlockDecodingStrategy, FrameDecoder,
    errors::{FrameDecoderError, ReadFrameHeaderError},
};

use super::lines::BUFFER_BYTES;

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Zstd,
    Xz,
    Bzip2,
}

/// Most memory that a compressed log may ask for, MiB: what `xz -9` and `zstd --ultra -22` need.
pub const MEMORY_MIB_MAX: u32 = 128;

/// Opens a log: as it is, or decompressed where it begins like something compressed.
///
/// # Errors
/// The first bytes cannot be read.
pub fn decompressed(input: impl Read + Send + 'static) -> io::Result<Box<dyn BufRead + Send>> {
    let (compression, input) = begun(input)?;
    Ok(match compression {
        Some(compression) => {
            let decoder = decoder(compression, input);
            Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder))
        }
        None => Box::new(input),
    })
}

/// What is compressed in `input`; of anything else an error.
pub(super) fn unpacked(input: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    match begun(input)? {
        (Some(compression), input) => Ok(decoder(compression, input)),
        (None, _) => Err(io::Error::new(ErrorKind::InvalidData, "is not compressed")),
    }
}

impl Compression {
    /// By the first bytes of a file.
    pub(super) fn of(start: &[u8]) -> Option<Self> {
        let known: [(&[u8], Self); 4] = [
            (&[0x1f, 0x8b], Self::Gzip),
            (&[0x28, 0xb5, 0x2f, 0xfd], Self::Zstd),
            (&[0xfd, b'7', b'z', b'X', b'Z', 0], Self::Xz),
            (b"BZh", Self::Bzip2),
        ];
        let found = known
            .into_iter()
            .find(|(magic, _)| start.starts_with(magic));
        found.map(|(_, compression)| compression)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
        }
    }
}

type Begun<R> = Chain<Cursor<Vec<u8>>, BufReader<R>>;

/// The input with its beginning looked at. A pipe may give the first bytes one by one.
fn begun<R: Read>(input: R) -> io::Result<(Option<Compression>, Begun<R>)> {
    let mut input = BufReader::with_capacity(BUFFER_BYTES, input);
    let mut start = Vec::new();
    input
        .by_ref()
        .take(MAGIC_BYTES_MAX)
        .read_to_end(&mut start)?;
    let compression = Compression::of(&start);
    Ok((compression, Cursor::new(start).chain(input)))
}

fn decoder(compression: Compression, input: impl BufRead + Send + 'static) -> Box<dyn Read + Send> {
    let inner: Box<dyn Read + Send> = match compression {
        Compression::Gzip => Box::new(MultiGzDecoder::new(input)),
        Compression::Bzip2 => Box::new(MultiBzDecoder::new(input)),
        Compression::Xz => {
            let limit_kib = MEMORY_MIB_MAX << 10;
            Box::new(XzReader::new_mem_limit(Whole(input), true, limit_kib))
        }
        Compression::Zstd => Box::new(Zstd::new(input)),
    };
    Box::new(Named {
        compression,
        inner,
        failed: false,
    })
}

/// Says what went wrong in the words of a user, and does not go on after it: decoders may not be asked again.
struct Named {
    compression: Compression,
    inner: Box<dyn Read + Send>,
    failed: bool,
}

impl Read for Named {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.failed {
            return Err(io::Error::new(ErrorKind::InvalidData, "failed before"));
        }
        let outcome = self.inner.read(buf);
        match outcome {
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                self.failed = true;
                Err(self.explained(error))
            }
            outcome => outcome,
        }
    }
}

impl Named {
    fn explained(&self, error: io::Error) -> io::Error {
        let name = self.compression.name();
        if ends_early(&error) {
            let what = format!("it ends in the middle of its {name} data; was it cut off?");
            return io::Error::new(ErrorKind::UnexpectedEof, what);
        }
        if error.kind() == ErrorKind::OutOfMemory {
            let what = format!(
                "its {name} data needs more than {MEMORY_MIB_MAX} MiB of memory; decompress it into a pipe and name - as \
                 the log"
            );
            return io::Error::new(ErrorKind::OutOfMemory, what);
        }
        io::Error::new(error.kind(), format!("its {name} data is damaged: {error}"))
    }
}

/// Whether the input ended where more was needed, however deep in the error that is said.
fn ends_early(error: &io::Error) -> bool {
    if error.kind() == ErrorKind::UnexpectedEof {
        return true;
    }
    let mut cause = error
        .get_ref()
        .map(|inner| inner as &(dyn std::error::Error + 'static));
    while let Some(one) = cause {
        let inner = one.downcast_ref::<io::Error>();
        if inner.is_some_and(|inner| inner.kind() == ErrorKind::UnexpectedEof) {
            return true;
        }
        cause = one.source();
    }
    false
}

/// Gives as much as is asked for, up to the end: the xz reader takes a short read for the end.
struct Whole<R>(R);

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.0.read(rest) {
                Ok(0) => break,
                Ok(read) => filled = filled.saturating_add(read),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

/// Frame after frame of zstd (RFC 8878), checksums included; frames that are to be skipped are.
struct Zstd<R> {
    input: R,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<R: BufRead> Zstd<R> {
    fn new(input: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(u64::from(MEMORY_MIB_MAX) << 20);
        Self {
            input,
            decoder,
            in_frame: false,
        }
    }

    /// Begins the next frame; whether there is one.
    fn begin(&mut self) -> io::Result<bool> {
        while !self.input.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.input) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let length = u64::from(length);
                    let skipped = io::copy(&mut self.input.by_ref().take(length), &mut io::sink())?;
                    if skipped < length {
                        return Err(ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error @ FrameDecoderError::WindowSizeTooBig { .. }) => {
                    return Err(io::Error::new(ErrorKind::OutOfMemory, error));
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.in_frame && !self.begin()? {
                return Ok(0);
            }
            self.in_frame = true;
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder
                    .decode_blocks(&mut self.input, one)
                    .map_err(io::Error::other)?;
            }
            let read = self.decoder.read(buf)?;
            if read > 0 {
                return Ok(read);
            }
            if let Some(expected) = self.decoder.get_checksum_from_data()
                && self.decoder.get_calculated_checksum() != Some(expected)
            {
                return Err(io::Error::new(
                    ErrorKind::InvalidData,
                    "a checksum is wrong",
                ));
            }
            self.in_frame = false;
        }
    }
}

/// The longest of the beginnings, bytes.
const MAGIC_BYTES_MAX: u64 = 6;

#[cfg(test)]
#[path = "compressed_tests.rs"]
mod tests;
