//! A setting or its default, and what several tables read alike: durations, files, words out of sets.

use std::{
    fs::{self, File},
    io::Read,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    duration,
    error::shown,
    list_file::unreadable,
    raw::{Node, Table},
};

impl Table<'_> {
    pub(super) fn flag(&self, key: &str, default: bool) -> bool {
        self.get(key)
            .and_then(|node| node.boolean())
            .unwrap_or(default)
    }

    pub(super) fn count<T>(&self, key: &str, range: RangeInclusive<T>, default: T) -> T
    where
        T: TryFrom<i128> + PartialOrd + std::fmt::Display,
    {
        self.get(key)
            .and_then(|node| node.number(range))
            .unwrap_or(default)
    }

    pub(super) fn choice<T: Copy + Default>(&self, key: &str, words: &[(&str, T)]) -> T {
        self.get(key)
            .and_then(|node| node.word(words))
            .unwrap_or_default()
    }

    pub(super) fn time(
        &self,
        key: &str,
        range: RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        self.get(key)
            .and_then(|node| node.duration(&range))
            .unwrap_or(default)
    }
}

impl Node<'_> {
    pub(super) fn duration(&self, range: &RangeInclusive<Duration>) -> Option<Duration> {
        match duration::parse(self.string()?) {
            Ok(typed) if range.contains(&typed) => Some(typed),
            Ok(typed) => {
                let [least, most] = [range.start(), range.end()].map(|end| duration::format(*end));
                self.error(
                    format!("{} is out of range", duration::format(typed)),
                    Some(format!("write {least} to {most}")),
                );
                None
            }
            Err(error) => {
                self.error(error, None);
                None
            }
        }
    }

    /// A file, relative to the configuration's; nobody has looked whether it is there.
    pub(super) fn file(&self, base: &Path) -> Option<PathBuf> {
        let text = self.string()?;
        if text.is_empty() || text.contains('\0') {
            self.error(format!("\"{}\" is no file name", shown(text)), None);
            return None;
        }
        Some(base.join(text))
    }

    /// A mistake of a file that the setting names; `what` follows its name.
    pub(super) fn file_error(&self, file: &Path, what: &str) {
        let suggestion = what
            .starts_with("does not exist")
            .then(|| "a path is relative to the configuration file".to_owned());
        self.error(format!("{} {what}", printed(file)), suggestion);
    }

    pub(super) fn file_warning(&self, file: &Path, what: &str) {
        self.warning(format!("{} {what}", printed(file)), None);
    }
}

/// A file's name, safe to print.
fn printed(file: &Path) -> String {
    file.display().to_string().escape_debug().collect()
}

/// A regular file of at most `bytes_max` bytes.
///
/// # Errors
/// A sentence without the file's name.
pub(crate) fn read_small(file: &Path, bytes_max: usize) -> Result<Vec<u8>, String> {
    // Looked at before it is opened: opening a FIFO would wait for a writer that may never come.
    let metadata = fs::metadata(file).map_err(|error| unreadable(&error))?;
    if metadata.is_dir() {
        return Err("is a directory; name a file".to_owned());
    }
    if !metadata.is_file() {
        return Err("is not a regular file".to_owned());
    }
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|file| file.take(limit.saturating_add(1)).read_to_end(&mut bytes))
        .map_err(|error| unreadable(&error))?;
    if bytes.len() > bytes_max {
        return Err(format!("is longer than {bytes_max} bytes"));
    }
    Ok(bytes)
}
