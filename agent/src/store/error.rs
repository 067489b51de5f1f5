//! What can go wrong with the state directory, each with the path and what the operator can do.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use rusqlite::ErrorCode;

/// Why state could not be opened, read or written.
#[derive(Debug)]
pub enum StoreError {
    /// The state directory cannot be made or prepared.
    Directory {
        /// Which directory or file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The state directory is open to other accounts and holds files that are not Edgeward's.
    Foreign {
        /// Which directory.
        path: PathBuf,
    },
    /// Another process holds the database.
    Busy {
        /// Which database.
        path: PathBuf,
    },
    /// No space is left; nothing was written.
    Full {
        /// Which database.
        path: PathBuf,
    },
    /// The database is damaged.
    Corrupt {
        /// Which database.
        path: PathBuf,
        /// What was found.
        cause: String,
    },
    /// A newer Edgeward wrote the database.
    Newer {
        /// Which database.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The newest this program knows.
        known: i64,
    },
    /// A value that the database cannot hold.
    Invalid {
        /// Which, and why.
        what: String,
    },
    /// Anything else that SQLite reports.
    Sqlite {
        /// Which database.
        path: PathBuf,
        /// What SQLite said.
        cause: rusqlite::Error,
    },
}

impl StoreError {
    /// Sorts SQLite's error into the cases that callers and operators treat differently.
    pub(super) fn sqlite(path: &Path, cause: rusqlite::Error) -> Self {
        let path = path.to_path_buf();
        match &cause {
            rusqlite::Error::SqliteFailure(failure, _) => match failure.code {
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::Corrupt {
                    path,
                    cause: cause.to_string(),
                },
                ErrorCode::DiskFull => Self::Full { path },
                ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Busy { path },
                _ => Self::Sqlite { path, cause },
            },
            // A row that does not decode, or a table without an expected column, was not written by us.
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..) => Self::Corrupt {
                path,
                cause: cause.to_string(),
            },
            rusqlite::Error::ToSqlConversionFailure(_) => Self::Invalid {
                what: cause.to_string(),
            },
            _ => Self::Sqlite { path, cause },
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory { path, cause } => {
                write!(f, "state directory {}: {cause}", path.display())
            }
            Self::Foreign { path } => write!(
                f,
                "state directory {} is open to other accounts and holds files that are not Edgeward's; \
                 name a directory of its own as `state_dir`",
                path.display()
            ),
            Self::Busy { path } => write!(
                f,
                "{} is in use by another process; is a second edgeward running?",
                path.display()
            ),
            Self::Full { path } => write!(
                f,
                "no space left for {}; nothing was written, free some space and repeat the command",
                path.display()
            ),
            Self::Corrupt { path, cause } => {
                write!(f, "{} is damaged: {cause}", path.display())
            }
            Self::Newer { path, found, known } => write!(
                f,
                "{} was written by a newer edgeward (schema {found}, this one knows {known}); \
                 install that version again or move the file away",
                path.display()
            ),
            Self::Invalid { what } => f.write_str(what),
            Self::Sqlite { path, cause } => write!(f, "{}: {cause}", path.display()),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Directory { cause, .. } => Some(cause),
            Self::Sqlite { cause, .. } => Some(cause),
            _ => None,
        }
    }
}
