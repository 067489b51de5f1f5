//! What was last good, on disk: one file a feed, written aside and renamed, with a checksum over all of it.
//!
//! `EDGEFEED`, version, length of a JSON head, the head, the entries, CRC-32. Numbers are little-endian. A file that is
//! damaged or of another source is no table: it is told, and the feed is fetched anew.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, BufReader, BufWriter, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use flate2::Crc;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    config::Feed,
    policy::feed::{Draft, Fact, FeedTable, Refused},
};

const MAGIC: &[u8; 8] = b"EDGEFEED";
const VERSION: u32 = 1;
/// Longest head, in bytes: reasons are the most of it.
const HEAD_BYTES_MAX: u32 = 4 << 20;

/// Where the source had got to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// `ETag` of the last answer that was taken over.
    pub(super) etag: Option<String>,
    /// Its `Last-Modified`.
    pub(super) last_modified: Option<String>,
    /// Modification time (ns), inode and size of the file that was taken over.
    pub(super) file: Option<(i128, u64, u64)>,
    /// Where an Okta System Log goes on.
    pub(super) next: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Head {
    /// What was asked; another source's entries are not this one's.
    identity: String,
    /// What entries were made by; under other terms the source is read again, whether it has changed or not.
    terms: String,
    mark: Mark,
    until_s: u32,
    heard_ms: u64,
    reasons: Vec<Box<str>>,
    hosts: u64,
    nets: u64,
}

/// What was read back; the gate has not seen it.
pub(super) struct Kept {
    pub(super) draft: Draft,
    pub(super) mark: Mark,
    pub(super) until_s: u32,
    pub(super) heard_ms: u64,
}

/// Where a feed is kept: its name as far as a file name can hold it, and a checksum that makes it the only one.
pub(super) fn path(dir: &Path, name: &str, extension: &str) -> PathBuf {
    let mut sum = Crc::new();
    sum.update(name.as_bytes());
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(48)
        .collect();
    dir.join(format!("{plain}-{:08x}.{extension}", sum.sum()))
}

/// Makes the directory, for its owner alone.
pub(super) fn prepare(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// What makes two configurations of a feed the same source.
pub(super) fn identity(feed: &Feed) -> String {
    format!("{:?} {:?}", feed.format, feed.source)
}

/// What makes two configurations of a feed give the same entries.
fn terms(feed: &Feed) -> String {
    format!(
        "{} {} {:?} {:?}",
        feed.score, feed.score_min, feed.reason, feed.lifetime
    )
}

/// Writes a table down, with what the gate had set apart.
pub(super) fn write(
    dir: &Path,
    feed: &Feed,
    table: &FeedTable,
    refused: &[(IpNet, Fact, Refused)],
    mark: &Mark,
    heard_ms: u64,
) -> io::Result<()> {
    prepare(dir)?;
    let all = || {
        let refused = refused.iter().map(|(net, fact, _)| (*net, *fact));
        table.iter().chain(refused)
    };
    let hosts = all().filter(|(net, _)| host(net).is_some()).count();
    let nets = all().count().saturating_sub(hosts);
    let head = Head {
        identity: identity(feed),
        terms: terms(feed),
        mark: mark.clone(),
        until_s: table.until_s(),
        heard_ms,
        reasons: table.reasons().to_vec(),
        hosts: u64::try_from(hosts).unwrap_or(0),
        nets: u64::try_from(nets).unwrap_or(0),
    };
    let head = serde_json::to_vec(&head)?;
    let length = u32::try_from(head.len())
        .ok()
        .filter(|length| *length <= HEAD_BYTES_MAX)
        .ok_or_else(|| io::Error::other("its head is too long"))?;
    let aside = path(dir, &feed.name, "new");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&aside)?;
    let mut out = Summed::new(BufWriter::new(file));
    out.write_all(MAGIC)?;
    out.write_all(&VERSION.to_le_bytes())?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(&head)?;
    for (address, fact) in all().filter_map(|(net, fact)| Some((host(&net)?, fact))) {
        out.write_all(&address.to_le_bytes())?;
        fact_out(&mut out, fact)?;
    }
    for (net, fact) in all().filter(|(net, _)| host(net).is_none()) {
        net_out(&mut out, &net)?;
        fact_out(&mut out, fact)?;
    }
    let sum = out.sum.sum();
    let mut file = out.inner;
    file.write_all(&sum.to_le_bytes())?;
    file.into_inner()?.sync_all()?;
    fs::rename(&aside, path(dir, &feed.name, "table"))?;
    File::open(dir)?.sync_all()
}

/// Reads a table back; `None` if there is none of this source.
///
/// # Errors
/// There is one, and it cannot be used.
pub(super) fn read(dir: &Path, feed: &Feed) -> io::Result<Option<Kept>> {
    let file = match File::open(path(dir, &feed.name, "table")) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut source = Summed::new(BufReader::with_capacity(256 * 1024, file));
    let mut magic = [0; 8];
    source.read_exact(&mut magic)?;
    let version = u32_in(&mut source)?;
    if &magic != MAGIC || version != VERSION {
        return Err(damaged("is of another version, or no table of a feed"));
    }
    let length = u32_in(&mut source)?;
    if length > HEAD_BYTES_MAX {
        return Err(damaged("has a head that is too long"));
    }
    let mut head = vec![0; usize::try_from(length).unwrap_or(0)];
    source.read_exact(&mut head)?;
    let head: Head = serde_json::from_slice(&head)?;
    if head.identity != identity(feed) {
        return Ok(None);
    }
    // The count is of the file and not checked yet: room is made as entries come.
    let mut draft = Draft::restored(usize::MAX, head.reasons);
    let full = |_| damaged("has too many entries");
    for _ in 0..head.hosts {
        let address = Ipv4Addr::from(u32_in(&mut source)?);
        let fact = fact_in(&mut source)?;
        draft
            .add(IpNet::from(IpAddr::V4(address)), fact)
            .map_err(full)?;
    }
    for _ in 0..head.nets {
        let net = net_in(&mut source)?;
        let fact = fact_in(&mut source)?;
        draft.add(net, fact).map_err(full)?;
    }
    let wanted = source.sum.sum();
    let mut found = [0; 4];
    source.inner.read_exact(&mut found)?;
    if u32::from_le_bytes(found) != wanted {
        return Err(damaged("is damaged: its checksum is wrong"));
    }
    let mark = if head.terms == terms(feed) {
        head.mark
    } else {
        Mark::default()
    };
    Ok(Some(Kept {
        draft,
        mark,
        until_s: head.until_s,
        heard_ms: head.heard_ms,
    }))
}

/// Takes the files of feeds away that are not among `feeds`.
pub(super) fn sweep(dir: &Path, feeds: &[Feed]) {
    let wanted: Vec<PathBuf> = feeds
        .iter()
        .flat_map(|feed| ["table", "new", "part"].map(|kind| path(dir, &feed.name, kind)))
        .collect();
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        if !wanted.contains(&path) && path.is_file() {
            // Left behind it costs room on the disk and nothing else.
            drop(fs::remove_file(path));
        }
    }
}

fn host(net: &IpNet) -> Option<u32> {
    match net {
        IpNet::V4(v4) if v4.prefix_len() == 32 => Some(v4.addr().into()),
        _ => None,
    }
}

fn net_out(out: &mut impl Write, net: &IpNet) -> io::Result<()> {
    match net {
        IpNet::V4(v4) => {
            out.write_all(&[4, v4.prefix_len()])?;
            out.write_all(&u128::from(u32::from(v4.addr())).to_le_bytes())
        }
        IpNet::V6(v6) => {
            out.write_all(&[6, v6.prefix_len()])?;
            out.write_all(&u128::from(v6.addr()).to_le_bytes())
        }
    }
}

fn net_in(source: &mut impl Read) -> io::Result<IpNet> {
    let mut kind = [0; 2];
    let mut address = [0; 16];
    source.read_exact(&mut kind)?;
    source.read_exact(&mut address)?;
    let address = u128::from_le_bytes(address);
    let [family, length] = kind;
    let address = match family {
        4 => u32::try_from(address).ok().map(|v4| IpAddr::V4(v4.into())),
        6 => Some(IpAddr::V6(Ipv6Addr::from(address))),
        _ => None,
    };
    address
        .and_then(|address| IpNet::new(address, length).ok())
        .ok_or_else(|| damaged("has an entry that is no network"))
}

fn fact_out(out: &mut impl Write, fact: Fact) -> io::Result<()> {
    out.write_all(&fact.expires_s.to_le_bytes())?;
    out.write_all(&fact.reason.to_le_bytes())?;
    out.write_all(&[fact.score])
}

fn fact_in(source: &mut impl Read) -> io::Result<Fact> {
    let expires_s = u32_in(source)?;
    let mut rest = [0; 3];
    source.read_exact(&mut rest)?;
    let [low, high, score] = rest;
    if !(1..=100).contains(&score) {
        return Err(damaged("has an entry with an impossible score"));
    }
    Ok(Fact {
        expires_s,
        reason: u16::from_le_bytes([low, high]),
        score,
    })
}

fn u32_in(source: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    source.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// What passes is summed up.
struct Summed<T> {
    inner: T,
    sum: Crc,
}

impl<T> Summed<T> {
    fn new(inner: T) -> Self {
        Self {
            inner,
            sum: Crc::new(),
        }
    }
}

impl<T: Write> Write for Summed<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.inner.write(bytes)?;
        self.sum.update(bytes.get(..taken).unwrap_or_default());
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Read for Summed<T> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let taken = self.inner.read(bytes)?;
        self.sum.update(bytes.get(..taken).unwrap_or_default());
        Ok(taken)
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
