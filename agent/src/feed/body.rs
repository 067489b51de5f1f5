//! Bodies on their way to disk and from there to a reader: never whole in memory, and never longer than permitted.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use flate2::bufread::MultiGzDecoder;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::client::{Failure, causes};

const CHUNK_BYTES: usize = 256 * 1024;

/// Writes a body to a file of its own.
pub(super) async fn save(body: Incoming, file: &Path, bytes_max: u64) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::new(format!("cannot be kept on disk: {error}"));
    let mut out = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(file)
        .map_err(failed)?;
    let mut body = body;
    let mut taken: u64 = 0;
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| Failure::new(format!("breaks off: {}", causes(&error))))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        taken = taken.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
        if taken > bytes_max {
            return Err(Failure::new(too_long(bytes_max)));
        }
        out.write_all(&data).map_err(failed)?;
    }
    Ok(())
}

/// A file as what is in it, decompressed if it is gzip; more than `bytes_max` is an error.
pub(super) fn open(file: &Path, bytes_max: u64) -> io::Result<Box<dyn BufRead>> {
    let mut file = File::open(file)?;
    let mut start = [0; 2];
    let is_gzip = file.read(&mut start)? == 2 && start == [0x1f, 0x8b];
    file.seek(SeekFrom::Start(0))?;
    let reader = BufReader::with_capacity(CHUNK_BYTES, file);
    Ok(if is_gzip {
        let limited = Limited::new(MultiGzDecoder::new(reader), bytes_max);
        Box::new(BufReader::with_capacity(CHUNK_BYTES, limited))
    } else {
        let limited = Limited::new(reader, bytes_max);
        Box::new(BufReader::with_capacity(CHUNK_BYTES, limited))
    })
}

/// Says so when there is more than there may be.
struct Limited<R> {
    source: R,
    left: u64,
    bytes_max: u64,
}

impl<R> Limited<R> {
    const fn new(source: R, bytes_max: u64) -> Self {
        Self {
            source,
            left: bytes_max,
            bytes_max,
        }
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let taken = self.source.read(buffer)?;
        let count = u64::try_from(taken).unwrap_or(u64::MAX);
        match self.left.checked_sub(count) {
            Some(left) => {
                self.left = left;
                Ok(taken)
            }
            None => Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                too_long(self.bytes_max),
            )),
        }
    }
}

fn too_long(bytes_max: u64) -> String {
    format!("is longer than {bytes_max} bytes (size_bytes_max)")
}
