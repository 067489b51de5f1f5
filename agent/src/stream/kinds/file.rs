//! A file with an event on each line, synced with every batch. It is put aside when it is large, or opened anew when
//! somebody else (logrotate) has moved it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use tokio::task::spawn_blocking;

use super::super::sink::{Answer, Encode, Event, Item, Pause, Pending, Piece, Sink, joined};
use crate::config::stream::StreamFile;

/// The longest last line that is looked for, in bytes.
const TAIL_BYTES_MAX: u64 = 8 << 20;

/// An event on its line.
pub(super) struct Line;

impl Encode for Line {
    fn encode(&self, event: &Event<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        out.extend_from_slice(event.json.as_bytes());
        out.push(b'\n');
        Ok(())
    }
}

/// The file.
pub(super) struct Lines {
    settings: StreamFile,
    open: Option<File>,
}

impl Lines {
    pub(super) fn new(settings: &StreamFile) -> Self {
        Self {
            settings: settings.clone(),
            open: None,
        }
    }

    async fn append(&mut self, flight: &[Item<Piece>]) -> Answer {
        let bytes = joined(b"", flight, b"", b"");
        let (settings, open) = (self.settings.clone(), self.open.take());
        // A disk may hang: the thread is then left to itself.
        let work = spawn_blocking(move || append(&settings, open, &bytes));
        match work
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
        {
            Ok(file) => {
                self.open = Some(file);
                Answer::Accepted
            }
            Err(error) => {
                let what = format!("cannot be written: {error}");
                match error.kind() {
                    io::ErrorKind::PermissionDenied
                    | io::ErrorKind::NotFound
                    | io::ErrorKind::InvalidInput => Answer::Paused {
                        why: Pause::Unusable,
                        what,
                        after: None,
                    },
                    _ => Answer::Broken { what },
                }
            }
        }
    }
}

impl Sink for Lines {
    fn send<'a>(&'a mut self, flight: &'a [Item<Piece>]) -> Pending<'a, Answer> {
        Box::pin(self.append(flight))
    }
}

/// All of the bytes are on disk, or none of them in the file.
fn append(settings: &StreamFile, open: Option<File>, bytes: &[u8]) -> io::Result<File> {
    let mut file = match open {
        Some(file) if is_in_place(&file, &settings.path) => file,
        _ => open_whole(&settings.path)?,
    };
    let mut length = file.metadata()?.len();
    let added = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if settings.rotate && length > 0 && length.saturating_add(added) > settings.size_bytes_max {
        rotate(settings)?;
        file = open_whole(&settings.path)?;
        length = 0;
    }
    let written = file.write_all(bytes).and_then(|()| file.sync_data());
    if let Err(error) = written {
        // Half a batch would be there twice after the next try, and half a line for good.
        file.set_len(length)?;
        return Err(error);
    }
    Ok(file)
}

/// Whether the path still leads to the file.
fn is_in_place(file: &File, path: &Path) -> bool {
    let (Ok(held), Ok(there)) = (file.metadata(), fs::symlink_metadata(path)) else {
        return false;
    };
    (held.dev(), held.ino()) == (there.dev(), there.ino())
}

/// Opens the file behind its last whole line: what a killed agent left of a line is sent again.
fn open_whole(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        // Neither what a link leads to, nor a wait for whoever reads a FIFO.
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no regular file",
        ));
    }
    let whole = whole_bytes(&mut file, metadata.len())?;
    if whole < metadata.len() {
        file.set_len(whole)?;
    }
    if let Some(parent) = path.parent().filter(|_| metadata.len() == 0) {
        // A file that has just been made is only there for sure once its folder says so.
        File::open(parent)?.sync_all()?;
    }
    Ok(file)
}

/// Where the last line ends.
fn whole_bytes(file: &mut File, length: u64) -> io::Result<u64> {
    let start = length.saturating_sub(TAIL_BYTES_MAX);
    let mut at = length;
    let mut block = [0; 8_192];
    while at > start {
        let from = at.saturating_sub(block.len() as u64).max(start);
        let size = usize::try_from(at.saturating_sub(from)).unwrap_or(0);
        let Some(part) = block.get_mut(..size) else {
            return Ok(length);
        };
        file.seek(SeekFrom::Start(from))?;
        file.read_exact(part)?;
        if let Some(end) = part.iter().rposition(|byte| *byte == b'\n') {
            let end = u64::try_from(end).unwrap_or(0).saturating_add(1);
            return Ok(from.saturating_add(end));
        }
        at = from;
    }
    // A single line without an end, or one too long to be ours.
    Ok(if start == 0 { 0 } else { length })
}

/// `events.log` becomes `events.log.1`, that becomes `.2`, and so on; the last one goes.
fn rotate(settings: &StreamFile) -> io::Result<()> {
    let aside = |number: u32| -> PathBuf {
        let mut name = settings.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    };
    let is_missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    if settings.kept_max == 0 {
        return fs::remove_file(&settings.path);
    }
    for number in (1..settings.kept_max).rev() {
        match fs::rename(aside(number), aside(number.saturating_add(1))) {
            Err(error) if !is_missing(&error) => return Err(error),
            _ => {}
        }
    }
    fs::rename(&settings.path, aside(1))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn settings(folder: &Path) -> StreamFile {
        StreamFile {
            path: folder.join("events.log"),
            size_bytes_max: 100,
            kept_max: 2,
            rotate: true,
        }
    }

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_file_is_rotated_and_no_line_is_lost_within_what_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path());
        let mut open = None;
        for number in 0..14 {
            let line = format!("{number:02} {}\n", "x".repeat(26));
            open = Some(append(&settings, open, line.as_bytes()).unwrap());
        }
        let aside = |n: u32| folder.path().join(format!("events.log.{n}"));
        let all = read(&aside(2)) + &read(&aside(1)) + &read(&settings.path);
        let numbers: Vec<&str> = all.lines().map(|line| &line[..2]).collect();
        assert_eq!(numbers, ["06", "07", "08", "09", "10", "11", "12", "13"]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
        let mode = fs::metadata(&settings.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_was_moved_or_torn_is_taken_up_again() {
        let folder = tempfile::tempdir().unwrap();
        let settings = StreamFile {
            rotate: false,
            ..settings(folder.path())
        };
        let open = append(&settings, None, b"one\n").unwrap();
        let moved = folder.path().join("moved");
        fs::rename(&settings.path, &moved).unwrap();
        let open = append(&settings, Some(open), b"two\n").unwrap();
        assert_eq!(
            (read(&moved), read(&settings.path)),
            ("one\n".into(), "two\n".into())
        );
        drop(open);
        for torn in ["two\nthr", "thr", "two\n"] {
            fs::write(&settings.path, torn).unwrap();
            append(&settings, None, b"three\n").unwrap();
            let expected = if torn == "thr" {
                "three\n"
            } else {
                "two\nthree\n"
            };
            assert_eq!(read(&settings.path), expected);
        }
        let long = format!("two\n{}", "x".repeat(20_000));
        fs::write(&settings.path, long).unwrap();
        append(&settings, None, b"three\n").unwrap();
        assert_eq!(read(&settings.path), "two\nthree\n");
    }

    #[test]
    fn links_folders_and_pipes_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path());
        let other = folder.path().join("other");
        std::os::unix::fs::symlink(&other, &settings.path).unwrap();
        assert!(append(&settings, None, b"one\n").is_err());
        assert!(!other.exists());
        fs::remove_file(&settings.path).unwrap();
        fs::create_dir(&settings.path).unwrap();
        assert!(append(&settings, None, b"one\n").is_err());
    }
}
