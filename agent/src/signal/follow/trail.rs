//! Where a log has gone: its rotated files beside it, by name and by what they hold.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{DirEntryExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{
    reading::{Reading, is_packed, open, unpacked_beginning},
    spot::{Mark, Spot, beginning},
};

/// A file beside the log that rotation may have made of it.
pub(super) struct Rotated {
    pub(super) file: File,
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) modified: SystemTime,
    pub(super) packed: bool,
    name: Vec<u8>,
}

/// The file in which a place is, ready to be read on from there.
///
/// First the one with the same inode, whatever its name; then, by their content, those that are named like rotated
/// files of this log; compressed ones last.
pub(super) fn find(path: &Path, spot: &Spot, except: Option<(u64, u64)>) -> Option<Reading> {
    for directory in directories(path) {
        for entry in entries(&directory).filter(|entry| entry.ino() == spot.inode) {
            let reading = plain(&entry.path(), spot, except);
            if reading.is_some() {
                return reading;
            }
        }
    }
    if spot.head.is_empty() {
        return None;
    }
    // The log itself may have been copied, as by an editor or a restored backup.
    if let Ok(file) = open(path)
        && let Ok(metadata) = file.metadata()
        && except != Some((metadata.dev(), metadata.ino()))
        && spot.is_in(&file).unwrap_or(false)
    {
        return Reading::plain(file, spot.offset).ok();
    }
    let all = rotated(path);
    let (packed, plain): (Vec<Rotated>, Vec<Rotated>) =
        all.into_iter().partition(|rotated| rotated.packed);
    let copy = plain
        .into_iter()
        .filter(|rotated| except != Some((rotated.device, rotated.inode)))
        .find(|rotated| spot.is_in(&rotated.file).unwrap_or(false));
    if let Some(copy) = copy {
        let mut reading = Reading::plain(copy.file, spot.offset).ok()?;
        reading.complete = true;
        return Some(reading);
    }
    packed
        .into_iter()
        .find_map(|rotated| Reading::packed(rotated.file, spot).ok()?)
}

/// The oldest of the rotated files that were written to since `since`, and that nobody has read.
///
/// Compressed ones count only where `packed` says so: while the log is followed none can come between.
pub(super) fn next_after(
    path: &Path,
    since: SystemTime,
    packed: bool,
    is_known: impl Fn(&Rotated) -> bool,
) -> Option<Reading> {
    let now = fs::metadata(path).ok();
    let is_log = |rotated: &Rotated| {
        now.as_ref()
            .is_some_and(|now| now.dev() == rotated.device && now.ino() == rotated.inode)
    };
    let mut all: Vec<Rotated> = rotated(path)
        .into_iter()
        .filter(|rotated| rotated.modified >= since && (packed || !rotated.packed))
        .filter(|rotated| !is_log(rotated) && !is_known(rotated))
        .collect();
    // The older of two has the higher number.
    all.sort_by(|a, b| (a.modified, &b.name).cmp(&(b.modified, &a.name)));
    all.into_iter().find_map(|rotated| {
        if rotated.packed {
            Reading::packed(rotated.file, &Spot::default()).ok()?
        } else {
            Reading::plain(rotated.file, 0).ok()
        }
    })
}

impl Rotated {
    /// Whether its content, decompressed if need be, begins like one of these, or there is none.
    pub(super) fn holds_nothing_new(&self, mut marks: impl Iterator<Item = Mark>) -> bool {
        let head = if self.packed {
            unpacked_beginning(&self.file)
        } else {
            beginning(&self.file)
        };
        head.is_ok_and(|head| {
            head.is_empty() || marks.any(|mark| !mark.is_empty() && mark.begins(&head))
        })
    }
}

fn plain(path: &Path, spot: &Spot, except: Option<(u64, u64)>) -> Option<Reading> {
    let file = open(path).ok()?;
    let metadata = file.metadata().ok()?;
    if metadata.ino() != spot.inode || except == Some((metadata.dev(), metadata.ino())) {
        return None;
    }
    let same = spot.is_in(&file).ok()?;
    same.then(|| Reading::plain(file, spot.offset).ok())?
}

/// Files that are named like rotated ones of this log, and not empty.
fn rotated(path: &Path) -> Vec<Rotated> {
    let names = Names::of(path);
    let mut all = Vec::new();
    for directory in directories(path) {
        for entry in entries(&directory) {
            let name = entry.file_name();
            if !names.are_like(name.as_bytes()) {
                continue;
            }
            let Ok(file) = open(&entry.path()) else {
                continue;
            };
            let (Ok(metadata), Ok(packed)) = (file.metadata(), is_packed(&file)) else {
                continue;
            };
            let Ok(modified) = metadata.modified() else {
                continue;
            };
            if metadata.len() > 0 {
                all.push(Rotated {
                    device: metadata.dev(),
                    inode: metadata.ino(),
                    modified,
                    packed,
                    name: name.as_bytes().to_vec(),
                    file,
                });
            }
            if all.len() >= ROTATED_MAX {
                break;
            }
        }
    }
    all
}

/// Where rotated files are looked for: beside the log, and beside what it is a link to.
fn directories(path: &Path) -> Vec<PathBuf> {
    let beside = path.parent().map(Path::to_owned);
    let target = fs::canonicalize(path).ok();
    let behind = target.and_then(|target| target.parent().map(Path::to_owned));
    let mut all: Vec<PathBuf> = beside.into_iter().collect();
    let same = |one: &Path, other: &Path| fs::canonicalize(one).is_ok_and(|one| one == other);
    if let Some(behind) = behind
        && !all.iter().any(|one| same(one, &behind))
    {
        all.push(behind);
    }
    all
}

fn entries(directory: &Path) -> impl Iterator<Item = fs::DirEntry> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .take(ENTRIES_MAX)
}

/// The names that rotated files of a log may have.
struct Names {
    /// What the name begins with, and what it may end with.
    stems: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Names {
    /// `access.log` becomes `access.log.1`, `access.log-20261122` or `access-20261122.log`, each also with the ending of a compression.
    fn of(path: &Path) -> Self {
        let name = path.file_name().map(OsStr::as_bytes).unwrap_or_default();
        let mut stems = vec![(name.to_vec(), Vec::new())];
        let (stem, end) = split(name);
        if !end.is_empty() {
            stems.push((stem.to_vec(), end.to_vec()));
        }
        // Of a link to `access-20261122.log` the others are `access-20261121.log`.
        if let Some(target) = fs::read_link(path).ok()
            && let Some(name) = target.file_name().map(OsStr::as_bytes)
        {
            let (stem, end) = split(name);
            let all_but_number = |bytes: &[u8]| {
                let kept = bytes
                    .iter()
                    .rposition(|byte| !is_number(*byte))
                    .map_or(0, |at| at.saturating_add(1));
                bytes.get(..kept).unwrap_or_default().to_vec()
            };
            stems.push((all_but_number(stem), end.to_vec()));
            stems.push((all_but_number(name), Vec::new()));
        }
        Self { stems }
    }

    fn are_like(&self, name: &[u8]) -> bool {
        let mut endings = PACKED.iter();
        let name = endings
            .find_map(|ending| name.strip_suffix(*ending))
            .unwrap_or(name);
        self.stems.iter().any(|(stem, end)| {
            let middle = name
                .strip_prefix(stem.as_slice())
                .and_then(|rest| rest.strip_suffix(end.as_slice()));
            middle.is_some_and(|middle| {
                !stem.is_empty()
                    && middle.first().is_some_and(|first| b"-._".contains(first))
                    && middle.iter().any(u8::is_ascii_digit)
                    && middle.iter().all(|byte| is_number(*byte))
            })
        })
    }
}

/// A name and its ending, with the point.
fn split(name: &[u8]) -> (&[u8], &[u8]) {
    match name.iter().rposition(|byte| *byte == b'.') {
        Some(at) if at > 0 => name.split_at(at),
        _ => (name, &[]),
    }
}

/// Digits, and what stands between them in dates.
const fn is_number(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'_' | b'T' | b':' | b'Z')
}

/// Entries of a directory that are looked at.
const ENTRIES_MAX: usize = 65_536;
/// Rotated files of one log that are looked at; they are open meanwhile.
const ROTATED_MAX: usize = 512;

/// Endings of compressed files.
const PACKED: [&[u8]; 4] = [b".gz", b".zst", b".xz", b".bz2"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotated_files_are_known_by_their_names() {
        let names = Names::of(Path::new("/nonexistent/access.log"));
        for (name, like) in [
            ("access.log", false),
            ("access.log.1", true),
            ("access.log.1.gz", true),
            ("access.log.1.zst", true),
            ("access-20261122.log.xz", true),
            ("access.log-20261122.bz2", true),
            ("access.log.1.gz.xz", false),
            ("access.log-20261122", true),
            ("access.log-20261122-1795334400.gz", true),
            ("access-20261122.log", true),
            ("access-2026-11-22T10:00:00Z.log.gz", true),
            ("access.log.bak", false),
            ("access.log.gz", false),
            ("access.log~", false),
            ("access1.log", false),
            ("access.error.log", false),
            ("error.log.1", false),
            ("other_access.log.1", false),
        ] {
            assert_eq!(names.are_like(name.as_bytes()), like, "{name}");
        }
    }

    #[test]
    fn files_behind_a_link_are_known_by_its_target() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("current");
        std::os::unix::fs::symlink("app-20261122.log", &path).unwrap();
        let names = Names::of(&path);
        for (name, like) in [
            ("app-20261121.log", true),
            ("app-20261120.log.gz", true),
            ("apple-20261121.log", false),
            ("app.log", false),
        ] {
            assert_eq!(names.are_like(name.as_bytes()), like, "{name}");
        }
    }
}
