//! How far a stream has got, on disk: one small file a stream, written aside, synced and renamed.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use flate2::Crc;
use serde::{Deserialize, Serialize};

use super::fetch::Mark;

/// Longest file, in bytes.
const CURSOR_BYTES_MAX: u64 = 4_096;
/// Files that are looked at for streams of the past.
const FILES_MAX: usize = 1_024;

/// What is kept of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// Whose it is.
    pub(super) name: String,
    /// Up to here everything is done.
    pub(super) settled: u64,
    /// An event at or before it, by which the journal is known again; empty if there was none yet.
    #[serde(default)]
    pub(super) mark_seq: u64,
    #[serde(default)]
    pub(super) mark_id: String,
    #[serde(default)]
    pub(super) mark_published_ms: u64,
    /// Dead letters of this stream since it was made.
    #[serde(default)]
    pub(super) dead: u64,
    /// Events that retention took before they were sent, since it was made.
    #[serde(default)]
    pub(super) gap: u64,
    /// The stream was taken out of the configuration, and that was told.
    #[serde(default)]
    pub(super) removed: bool,
}

impl Cursor {
    /// The event by which the journal is known again.
    pub(super) fn mark(&self) -> Option<Mark> {
        (!self.mark_id.is_empty()).then(|| Mark {
            seq: self.mark_seq,
            id: self.mark_id.clone(),
            published_ms: self.mark_published_ms,
        })
    }
}

/// A file of a stream: its name as far as a file name can hold it, and a checksum that makes it the only one.
pub(super) fn path(dir: &Path, name: &str, extension: &str) -> PathBuf {
    let mut sum = Crc::new();
    sum.update(name.as_bytes());
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.len() <= 48 && name.chars().all(is_plain) {
        return dir.join(format!("{name}.{extension}"));
    }
    let plain = name.chars().map(|c| if is_plain(c) { c } else { '-' });
    let plain: String = plain.take(40).collect();
    // A dot, which no plain name has.
    dir.join(format!("{plain}.{:08x}.{extension}", sum.sum()))
}

/// Makes the directory, for its owner alone.
pub(super) fn prepare(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// What was kept; `None` if there is nothing.
///
/// # Errors
/// It cannot be read, or is damaged.
pub(super) fn read(dir: &Path, name: &str) -> io::Result<Option<Cursor>> {
    let path = path(dir, name, "cursor");
    match fs::metadata(&path) {
        Ok(metadata) if metadata.len() > CURSOR_BYTES_MAX => {
            return Err(io::Error::other("is longer than any place can be"));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    Ok(Some(serde_json::from_slice(&fs::read(&path)?)?))
}

/// The streams that something is kept of.
pub(super) fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let is_cursor = |path: &PathBuf| path.extension().is_some_and(|it| it == "cursor");
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(is_cursor)
        .take(FILES_MAX)
        .filter_map(|path| {
            let cursor: Cursor = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
            Some(cursor.name)
        })
        .collect()
}

/// Keeps it.
///
/// # Errors
/// The disk refuses; what was kept before stays.
pub(super) fn write(dir: &Path, cursor: &Cursor) -> io::Result<()> {
    prepare(dir)?;
    let aside = path(dir, &cursor.name, "cursor-new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&aside)?;
    file.write_all(&serde_json::to_vec(cursor)?)?;
    file.sync_all()?;
    fs::rename(&aside, path(dir, &cursor.name, "cursor"))?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back_and_damage_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("streams");
        assert_eq!(read(&dir, "siem").unwrap(), None);
        let long = "x".repeat(100);
        let all = ["../../etc/passwd", "a b", "a-b", "siem", &long, "\u{e9}"];
        for name in all {
            let cursor = Cursor {
                name: name.to_owned(),
                settled: u64::MAX,
                ..Cursor::default()
            };
            write(&dir, &cursor).unwrap();
            assert_eq!(read(&dir, name).unwrap(), Some(cursor));
        }
        let mut found = names(&dir);
        found.sort();
        assert_eq!(found, all);
        assert_eq!(
            fs::read_dir(&dir).unwrap().count(),
            6,
            "a file for each and nothing aside"
        );
        fs::write(path(&dir, "siem", "cursor"), "{\"settled\":").unwrap();
        assert!(read(&dir, "siem").is_err());
        fs::write(path(&dir, "siem", "cursor"), vec![b' '; 10_000]).unwrap();
        assert!(read(&dir, "siem").is_err());
    }
}
