//! Opening the database: directory, pragmas in the order that makes them hold, tables, version, check.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::Path,
    time::Duration,
};

use rusqlite::{Connection, TransactionBehavior};

use super::{FILE_NAME, StoreError};

/// Makes the state directory with mode 0700, or tightens one that is Edgeward's own.
pub(super) fn prepare_directory(dir: &Path) -> Result<(), StoreError> {
    let failed = |cause: io::Error| StoreError::Directory {
        path: dir.to_path_buf(),
        cause,
    };
    let metadata = match fs::metadata(dir) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(parent) = dir.parent() {
                fs::create_dir_all(parent).map_err(failed)?;
            }
            DirBuilder::new().mode(0o700).create(dir).map_err(failed)?;
            // Without this a power cut may lose the directory's own name, and the database with it.
            return sync_parent(dir);
        }
        Err(error) => return Err(failed(error)),
    };
    if metadata.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    // `state_dir = "/tmp"` must not close /tmp to everybody else.
    let mut names = fs::read_dir(dir)
        .map_err(failed)?
        .map(|entry| entry.map(|entry| entry.file_name()));
    let own = names.all(|name| name.is_ok_and(|name| is_own(&name.to_string_lossy())));
    if !own {
        return Err(StoreError::Foreign {
            path: dir.to_path_buf(),
        });
    }
    fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(failed)
}

/// Whether Edgeward makes files or directories of this name in its state directory.
fn is_own(name: &str) -> bool {
    name.starts_with(FILE_NAME) || DIRECTORIES.contains(&name)
}

/// Makes the name of `path` in its directory durable.
pub(super) fn sync_parent(path: &Path) -> Result<(), StoreError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent)
        .and_then(|directory| directory.sync_all())
        .map_err(|cause| StoreError::Directory {
            path: parent.to_path_buf(),
            cause,
        })
}

/// Opens, locks, checks and if need be creates the database.
pub(super) fn connect(path: &Path) -> Result<Connection, StoreError> {
    let failed = |error| StoreError::sqlite(path, error);
    let mut connection = Connection::open(path).map_err(failed)?;
    configure(&connection, path)?;
    check(&connection, path)?;
    create(&mut connection, path)?;
    Ok(connection)
}

/// Sets what durability and sole ownership rest on, and reads back what SQLite made of it.
fn configure(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let failed = |error| StoreError::sqlite(path, error);
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    // First, so that the write-ahead log needs no shared memory and a second agent is refused.
    require(connection, path, "locking_mode", "exclusive")?;
    require(connection, path, "journal_mode", "wal")?;
    // After journal_mode: entering WAL may set its own default, and with `normal` the last
    // acknowledged transactions are lost in a power cut.
    connection
        .pragma_update(None, "synchronous", "FULL")
        .map_err(failed)?;
    let synchronous: i64 = connection
        .pragma_query_value(None, "synchronous", |row| row.get(0))
        .map_err(failed)?;
    if synchronous != SYNCHRONOUS_FULL {
        return Err(StoreError::Invalid {
            what: format!(
                "{}: SQLite keeps synchronous = {synchronous} instead of {SYNCHRONOUS_FULL} (full)",
                path.display()
            ),
        });
    }
    // The log of a million-row batch is not kept on disk for ever.
    connection
        .pragma_update_and_check(None, "journal_size_limit", LOG_BYTES_KEPT, |_| Ok(()))
        .map_err(failed)
}

fn require(
    connection: &Connection,
    path: &Path,
    pragma: &str,
    value: &str,
) -> Result<(), StoreError> {
    let is: String = connection
        .pragma_update_and_check(None, pragma, value, |row| row.get(0))
        .map_err(|error| StoreError::sqlite(path, error))?;
    if is.eq_ignore_ascii_case(value) {
        return Ok(());
    }
    Err(StoreError::Invalid {
        what: format!(
            "{}: SQLite keeps {pragma} = {is} instead of {value}; does the file system support it?",
            path.display()
        ),
    })
}

/// Reads every page once: damage is found now and moved aside, not in the middle of a command.
fn check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let answer: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| StoreError::sqlite(path, error))?;
    if answer == "ok" {
        return Ok(());
    }
    Err(StoreError::Corrupt {
        path: path.to_path_buf(),
        cause: answer,
    })
}

fn create(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let failed = |error| StoreError::sqlite(path, error);
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)?;
    transaction.execute_batch(TABLES).map_err(failed)?;
    let found: i64 = transaction
        .query_row("SELECT value FROM meta WHERE key = 'schema'", [], |row| {
            row.get(0)
        })
        .map_err(failed)?;
    if found > SCHEMA_VERSION {
        return Err(StoreError::Newer {
            path: path.to_path_buf(),
            found,
            known: SCHEMA_VERSION,
        });
    }
    if found < 2 {
        transaction.execute_batch(EVIDENCE).map_err(failed)?;
    }
    transaction.commit().map_err(failed)
}

/// The newest layout this program writes.
pub(super) const SCHEMA_VERSION: i64 = 2;

/// What other parts of the agent keep beside the database: files and directories.
const DIRECTORIES: [&str; 5] = ["agent", "detection", "feeds", "log", "streams"];
const SYNCHRONOUS_FULL: i64 = 2;
const LOG_BYTES_KEPT: i64 = 16 << 20;
/// A predecessor that is just ending may hold the lock for a moment.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// The first layout; later ones change it step by step.
pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT OR IGNORE INTO meta (key, value) VALUES ('schema', 1);
CREATE TABLE IF NOT EXISTS settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS decisions (
  address BLOB NOT NULL CHECK (length(address) IN (4, 16)),
  length INTEGER NOT NULL CHECK (length BETWEEN 0 AND 128),
  kind INTEGER NOT NULL,
  origin INTEGER NOT NULL,
  score INTEGER NOT NULL CHECK (score BETWEEN 0 AND 100),
  reason TEXT NOT NULL,
  actor TEXT NOT NULL,
  created INTEGER NOT NULL,
  expires INTEGER,
  PRIMARY KEY (address, length, kind, origin)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS decisions_by_end ON decisions (expires) WHERE expires IS NOT NULL;
";

/// From layout 1 to 2.
const EVIDENCE: &str = "
ALTER TABLE decisions ADD COLUMN evidence TEXT NOT NULL DEFAULT '';
UPDATE meta SET value = 2 WHERE key = 'schema';
";
