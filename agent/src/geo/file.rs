//! One database file: opened, tried out before it is believed, and known again.

use std::{
    fs::{self, File, Metadata},
    io::Read as _,
    net::IpAddr,
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use maxminddb::{MaxMindDbError, Reader, WithinOptions};

use super::{Kind, record::Record};

/// A database in memory.
pub(super) struct Database {
    reader: Reader<Vec<u8>>,
    name: String,
    bytes: u64,
}

/// Which file, and which state of it: an updater that renames makes another inode, one that writes another time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    bytes: u64,
    modified_s: i64,
    modified_ns: i64,
}

/// Largest file, bytes.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 30;
/// Entries that are looked at before a file is believed.
const TRIED_MAX: usize = 1_000;

impl Database {
    /// Reads a file and tries it out.
    ///
    /// # Errors
    /// Why it is not to be used, in a sentence without its name.
    pub(super) fn open(path: &Path, kind: Kind) -> Result<Self, String> {
        let bytes = read(path)?;
        Self::of(bytes, kind)
    }

    pub(super) fn of(bytes: Vec<u8>, kind: Kind) -> Result<Self, String> {
        if bytes.is_empty() {
            return Err("is empty".to_owned());
        }
        let length = bytes.len() as u64;
        let reader = Reader::from_source(bytes).map_err(|error| damaged(&error))?;
        let name = printable(&reader.metadata().database_type);
        let database = Self {
            reader,
            name,
            bytes: length,
        };
        database.try_out(kind)?;
        Ok(database)
    }

    /// What is known of an address. One of IPv6 in a database of IPv4 is a miss, as ip-location-db has them apart.
    pub(super) fn record(&self, address: IpAddr) -> Result<Option<Record<'_>>, MaxMindDbError> {
        if address.is_ipv6() && self.reader.metadata().ip_version == 4 {
            return Ok(None);
        }
        self.reader.lookup(address)?.decode()
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn built_ms(&self) -> u64 {
        self.reader.metadata().build_epoch.saturating_mul(1_000)
    }

    pub(super) fn addresses(&self) -> &'static str {
        match self.reader.metadata().ip_version {
            4 => "IPv4",
            _ => "IPv4 and IPv6",
        }
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The first entries can be read, and one of them holds what the file is there for.
    fn try_out(&self, kind: Kind) -> Result<(), String> {
        let networks = self
            .reader
            .networks(WithinOptions::default())
            .map_err(|error| damaged(&error))?;
        let mut any = false;
        for network in networks.take(TRIED_MAX) {
            let record: Option<Record<'_>> = network
                .and_then(|network| network.decode())
                .map_err(|error| damaged(&error))?;
            any |= record.is_some_and(|record| record.tells(kind));
        }
        if any {
            return Ok(());
        }
        let what = match kind {
            Kind::City => "countries or places",
            Kind::Asn => "numbers of autonomous systems",
            Kind::Anonymous => "anonymous addresses",
        };
        Err(format!(
            "tells no {what} in its first {TRIED_MAX} entries (it calls itself \"{}\"); is it another database?",
            self.name
        ))
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// Of the file that is there now.
    pub(super) fn of(path: &Path) -> Result<Self, String> {
        let metadata = looked_at(path)?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified_s: metadata.mtime(),
            modified_ns: metadata.mtime_nsec(),
        })
    }
}

/// Looked at before it is opened: opening a FIFO would wait for a writer that may never come.
pub(crate) fn looked_at(path: &Path) -> Result<Metadata, String> {
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "does not exist".to_owned(),
        _ => format!("cannot be read: {error}"),
    })?;
    if metadata.is_file() {
        Ok(metadata)
    } else {
        Err("is not a regular file".to_owned())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let length = looked_at(path)?.len();
    if length > FILE_BYTES_MAX {
        return Err(format!("is longer than {FILE_BYTES_MAX} bytes"));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot be read: {error}"))?;
    Ok(bytes)
}

fn damaged(error: &MaxMindDbError) -> String {
    format!(
        "is damaged or no MaxMind DB file: {}",
        printable(&error.to_string())
    )
}

/// Text of a file, safe to print and not long.
fn printable(text: &str) -> String {
    text.chars()
        .take(200)
        .map(|one| if one.is_control() { '?' } else { one })
        .collect()
}
