//! What can go wrong with the System Log, each with the file and what was said.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use rusqlite::ErrorCode;

/// Why the System Log could not be read or written.
#[derive(Debug)]
pub enum JournalError {
    /// The directory or a file of it.
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A file is damaged, or not one of ours.
    Damaged {
        /// Which.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// No space is left.
    Full {
        /// Which file.
        path: PathBuf,
    },
    /// Anything else that SQLite reports.
    Sqlite {
        /// Which file.
        path: PathBuf,
        /// What SQLite said.
        cause: rusqlite::Error,
    },
}

impl JournalError {
    pub(super) fn sqlite(path: &Path, cause: rusqlite::Error) -> Self {
        let path = path.to_path_buf();
        match cause.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged {
                path,
                what: cause.to_string(),
            },
            Some(ErrorCode::DiskFull) => Self::Full { path },
            _ => Self::Sqlite { path, cause },
        }
    }

    pub(super) fn file(path: &Path, cause: io::Error) -> Self {
        Self::File {
            path: path.to_path_buf(),
            cause,
        }
    }
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, cause } => write!(f, "{}: {cause}", path.display()),
            Self::Damaged { path, what } => write!(f, "{} is damaged: {what}", path.display()),
            Self::Full { path } => write!(f, "no space left for {}", path.display()),
            Self::Sqlite { path, cause } => write!(f, "{}: {cause}", path.display()),
        }
    }
}

impl std::error::Error for JournalError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { cause, .. } => Some(cause),
            Self::Sqlite { cause, .. } => Some(cause),
            Self::Damaged { .. } | Self::Full { .. } => None,
        }
    }
}
