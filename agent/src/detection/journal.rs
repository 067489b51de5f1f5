//! What detection has learned, on disk: a state and the log of what came after it.
//!
//! | file | what |
//! |---|---|
//! | `state` | everything at one moment, with the number of the log that follows it |
//! | `log.N` | pieces of the log; each with its length and checksum |
//!
//! A piece is one `write`, so kill -9 loses nothing that was counted. Power cuts lose what the kernel had not
//! written out yet, about half a minute; enforcement does not depend on it. A log that ends in a torn piece ends
//! there. A state that cannot be read is moved aside.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Read as _, Seek as _, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use flate2::Crc;
use tracing::warn;

use super::core::{Core, Entry};
use crate::policy::defence::Settings;

/// State and log of one directory.
#[derive(Debug)]
pub(super) struct Journal {
    dir: PathBuf,
    number: u64,
    log: File,
    /// Bytes of the log that are whole.
    log_bytes: u64,
    buffer: Vec<u8>,
    /// What became of the state at the start, for the operator.
    notice: Option<String>,
}

impl Journal {
    /// Reads state and log back and goes on with the log. `seed` is a secret, for a state that begins anew.
    pub(super) fn open(
        dir: &Path,
        settings: Settings,
        seed: u64,
        now_ms: u64,
    ) -> io::Result<(Self, Core)> {
        let mut notice = None;
        let (first, mut core) = match read_state(&dir.join(STATE)) {
            Ok(Some(read)) => read,
            Ok(None) => (0, Core::new(settings, seed)),
            Err(why) => {
                let aside = dir.join(format!("{STATE}.damaged-{now_ms}"));
                fs::rename(dir.join(STATE), &aside)?;
                let told = format!(
                    "what detection had learned was damaged ({why}); it is now {}, and detection begins anew",
                    aside.display()
                );
                warn!("{told}");
                notice = Some(told);
                (newest_log(dir)?.unwrap_or(0), Core::new(settings, seed))
            }
        };
        core.set(settings, now_ms);
        let mut number = first;
        let mut log_bytes = 0;
        while dir.join(log_name(number)).exists() {
            log_bytes = replay(&dir.join(log_name(number)), &mut core)?;
            if !dir.join(log_name(number.saturating_add(1))).exists() {
                break;
            }
            number = number.saturating_add(1);
        }
        remove_logs(dir, |one| one < first)?;
        let mut log = open_log(dir, number)?;
        // A torn piece is overwritten, or everything behind it would be unreadable.
        log.set_len(log_bytes)?;
        log.seek(SeekFrom::End(0))?;
        let journal = Self {
            dir: dir.to_owned(),
            number,
            log,
            log_bytes,
            buffer: Vec::new(),
            notice,
        };
        Ok((journal, core))
    }

    /// Writes one piece; what could not be written whole is taken back.
    pub(super) fn append(&mut self, entry: &Entry) -> io::Result<()> {
        self.buffer.clear();
        self.buffer.extend([0; HEAD_BYTES]);
        let buffer = std::mem::take(&mut self.buffer);
        let mut buffer = postcard::to_extend(entry, buffer).map_err(io::Error::other)?;
        let body = buffer.get(HEAD_BYTES..).unwrap_or_default();
        let head = head(body)?;
        if let Some(place) = buffer.first_chunk_mut::<HEAD_BYTES>() {
            *place = head;
        }
        let written = self.log.write_all(&buffer);
        if written.is_ok() {
            self.log_bytes = self.log_bytes.saturating_add(buffer.len() as u64);
        } else {
            self.log.set_len(self.log_bytes)?;
            self.log.seek(SeekFrom::End(0))?;
        }
        self.buffer = buffer;
        written
    }

    /// Bytes of the log since the state was last written.
    pub(super) const fn log_bytes(&self) -> u64 {
        self.log_bytes
    }

    /// Writes the state and begins a new log. If it fails, the old state and its log still stand.
    pub(super) fn checkpoint(&mut self, core: &Core) -> io::Result<()> {
        let written = self.write_anew(core);
        if written.is_err() {
            // On a disk that is full a part of a state takes the room that the log needs.
            let _ = fs::remove_file(self.dir.join(STATE_NEW));
        }
        written
    }

    fn write_anew(&mut self, core: &Core) -> io::Result<()> {
        let next = self.number.saturating_add(1);
        let log = open_log(&self.dir, next)?;
        log.set_len(0)?;
        let aside = self.dir.join(STATE_NEW);
        let file = private().truncate(true).open(&aside)?;
        write_state(file, next, core)?;
        fs::rename(&aside, self.dir.join(STATE))?;
        File::open(&self.dir)?.sync_all()?;
        (self.log, self.number, self.log_bytes) = (log, next, 0);
        remove_logs(&self.dir, |one| one < next)
    }

    /// What became of the state at the start.
    pub(super) const fn notice(&mut self) -> Option<String> {
        self.notice.take()
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600);
    options
}

fn open_log(dir: &Path, number: u64) -> io::Result<File> {
    private().truncate(false).open(dir.join(log_name(number)))
}

/// Counts a log again; how many of its bytes are whole.
fn replay(path: &Path, core: &mut Core) -> io::Result<u64> {
    let mut log = io::BufReader::with_capacity(1 << 20, File::open(path)?);
    let mut whole = 0_u64;
    let mut body = Vec::new();
    loop {
        let mut head = [0; HEAD_BYTES];
        if !filled(&mut log, &mut head)? {
            return Ok(whole);
        }
        let [a, b, c, d, sum @ ..] = head;
        let length = u32::from_le_bytes([a, b, c, d]);
        if length > PIECE_BYTES_MAX {
            return Ok(whole);
        }
        body.resize(length as usize, 0);
        if !filled(&mut log, &mut body)? || piece_checksum(&body) != u32::from_le_bytes(sum) {
            return Ok(whole);
        }
        let Ok(entry) = postcard::from_bytes::<Entry>(&body) else {
            return Ok(whole);
        };
        core.apply(&entry, |_, _| {});
        whole = whole.saturating_add(HEAD_BYTES as u64 + u64::from(length));
    }
}

/// Whether there was as much to read.
fn filled(log: &mut impl io::Read, into: &mut [u8]) -> io::Result<bool> {
    match log.read_exact(into) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn head(body: &[u8]) -> io::Result<[u8; HEAD_BYTES]> {
    let length = u32::try_from(body.len())
        .ok()
        .filter(|length| *length <= PIECE_BYTES_MAX)
        .ok_or_else(|| io::Error::other("a piece of the log is too long"))?;
    let [a, b, c, d] = length.to_le_bytes();
    let [e, f, g, h] = piece_checksum(body).to_le_bytes();
    Ok([a, b, c, d, e, f, g, h])
}

/// Of a piece of the log and its layout: one of another layout ends the log like a torn one.
fn piece_checksum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(MAGIC);
    crc.update(bytes);
    crc.sum()
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// `MAGIC`, number of the log that follows, the state, and the checksum of all of it.
fn write_state(file: File, next: u64, core: &Core) -> io::Result<()> {
    let mut out = Summed {
        out: BufWriter::with_capacity(1 << 20, file),
        crc: Crc::new(),
    };
    out.write_all(MAGIC)?;
    out.write_all(&next.to_le_bytes())?;
    postcard::to_io(core, &mut out).map_err(io::Error::other)?;
    let sum = out.crc.sum();
    let mut out = out.out;
    out.write_all(&sum.to_le_bytes())?;
    out.into_inner()?.sync_all()
}

/// The number of the log that follows, and the state; `None` if there is none yet.
fn read_state(path: &Path) -> Result<Option<(u64, Core)>, String> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(mut file) => file
            .read_to_end(&mut bytes)
            .map_err(|error| error.to_string())?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let (body, sum) = bytes.split_last_chunk::<4>().ok_or("it is too short")?;
    if checksum(body) != u32::from_le_bytes(*sum) {
        return Err("its checksum is wrong".to_owned());
    }
    let rest = body
        .strip_prefix(MAGIC)
        .ok_or("another version has written it")?;
    let (next, rest) = rest.split_first_chunk::<8>().ok_or("it is too short")?;
    let core = postcard::from_bytes(rest).map_err(|error| error.to_string())?;
    Ok(Some((u64::from_le_bytes(*next), core)))
}

/// Sums what goes through.
struct Summed<W> {
    out: W,
    crc: Crc,
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.crc.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn log_name(number: u64) -> String {
    format!("{LOG}{number}")
}

/// The numbers of the logs that there are.
fn logs(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(LOG));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    Ok(numbers)
}

fn newest_log(dir: &Path) -> io::Result<Option<u64>> {
    Ok(logs(dir)?.into_iter().max())
}

fn remove_logs(dir: &Path, which: impl Fn(u64) -> bool) -> io::Result<()> {
    for number in logs(dir)?.into_iter().filter(|number| which(*number)) {
        fs::remove_file(dir.join(log_name(number)))?;
    }
    Ok(())
}

const STATE: &str = "state";
const STATE_NEW: &str = "state.new";
const LOG: &str = "log.";
/// With the layout's number, of the state and of the log: what has another layout begins anew.
const MAGIC: &[u8] = b"edgeward detection 2\n";
/// Length and checksum.
const HEAD_BYTES: usize = 8;
/// Longest piece, bytes: a batch of the most signals is a tenth of it.
const PIECE_BYTES_MAX: u32 = 4 << 20;
