//! A damaged database: kept for whoever investigates, replaced so that enforcement goes on, and read as
//! far as it can still be read.

use std::{
    ffi::OsString,
    fmt, fs, io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use super::{
    StoreError,
    rows::{self, Order},
    schema,
};

/// A damaged database and what became of it. `Display` is a sentence for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Where the damaged file is now.
    pub moved_to: PathBuf,
    /// What was wrong with it.
    pub cause: String,
    /// How many decisions could still be read and are in the new database.
    pub decisions_kept: usize,
    /// How many settings (the mode among them) could still be read.
    pub settings_kept: usize,
}

impl fmt::Display for Recovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the state database was damaged ({}); it is now {}, a new one was made, and {} decisions and \
             {} settings could still be read from it. Compare with what you expect to be in force",
            self.cause,
            self.moved_to.display(),
            self.decisions_kept,
            self.settings_kept
        )
    }
}

/// Moves the database at `path` aside, makes a new one there and fills it with what can be read.
pub(super) fn replace(path: &Path, cause: String) -> Result<(Connection, Recovered), StoreError> {
    let moved_to = move_aside(path)?;
    let connection = schema::connect(path)?;
    let (decisions_kept, settings_kept) =
        salvage(&moved_to, &connection).map_err(|error| StoreError::sqlite(path, error))?;
    Ok((
        connection,
        Recovered {
            moved_to,
            cause,
            decisions_kept,
            settings_kept,
        },
    ))
}

/// Renames the database and its log together, so that they can still be opened as one.
fn move_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let mut target = suffixed(path, &format!(".corrupt-{seconds}"));
    // A second damage within one second must not overwrite the first one's evidence.
    for attempt in 1..ASIDE_ATTEMPTS_MAX {
        if !target.exists() {
            break;
        }
        target = suffixed(path, &format!(".corrupt-{seconds}-{attempt}"));
    }
    for suffix in ["-wal", "-shm", ""] {
        let from = suffixed(path, suffix);
        match fs::rename(&from, suffixed(&target, suffix)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound && !suffix.is_empty() => {}
            Err(cause) => return Err(StoreError::Directory { path: from, cause }),
        }
    }
    schema::sync_parent(path)?;
    Ok(target)
}

/// Copies what can be read. An unreadable source is no error: it is what brought us here.
fn salvage(from: &Path, to: &Connection) -> rusqlite::Result<(usize, usize)> {
    let Ok(source) = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_WRITE) else {
        return Ok((0, 0));
    };
    // The evidence stays as it was found: nothing is folded into it when it is closed.
    let untouched = source.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    if untouched.is_err() {
        return Ok((0, 0));
    }
    let transaction = to.unchecked_transaction()?;
    let mut failure = None;
    // Damage in the middle ends each direction on its own side of it.
    for order in [Order::Ascending, Order::Descending] {
        let read = rows::each(&source, order, |decision| {
            if failure.is_none() {
                failure = rows::insert(&transaction, [&decision]).err();
            }
        });
        if let Some(error) = failure.take() {
            return Err(error);
        }
        if read.is_ok() {
            break;
        }
    }
    let settings = copy_settings(&source, &transaction);
    transaction.commit()?;
    let kept: i64 = to.query_row("SELECT count(*) FROM decisions", [], |row| row.get(0))?;
    Ok((usize::try_from(kept).unwrap_or(0), settings))
}

fn copy_settings(source: &Connection, to: &Connection) -> usize {
    let copy = || -> rusqlite::Result<usize> {
        let mut statement = source.prepare("SELECT key, value FROM settings")?;
        let mut rows = statement.query([])?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            let (key, value): (String, String) = (row.get(0)?, row.get(1)?);
            to.execute(
                "INSERT OR REPLACE INTO settings (key, value) VALUES (?1, ?2)",
                (key, value),
            )?;
            count += 1;
        }
        Ok(count)
    };
    copy().unwrap_or(0)
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

const ASIDE_ATTEMPTS_MAX: u32 = 100;
