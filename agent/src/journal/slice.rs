//! One slice of the System Log: an SQLite file with a stretch of events. Slices go as whole files, since deleting rows
//! does not make a file smaller.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use rusqlite::{Connection, OpenFlags, params};
use serde::{Deserialize, Serialize};

use super::{error::JournalError, record::Record};

/// What is known of a slice without asking the disk.
#[derive(Debug)]
pub(super) struct Slice {
    /// The sequence number of its first event.
    pub(super) first: u64,
    pub(super) path: PathBuf,
    inner: RwLock<Summary>,
}

/// What a slice holds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Summary {
    /// The sequence number of the last event; one less than the first while there is none.
    pub(super) last: u64,
    /// The earliest and the latest time of its events, milliseconds since the Unix epoch.
    pub(super) min_ms: u64,
    pub(super) max_ms: u64,
    pub(super) classes: Vec<Class>,
    pub(super) bytes: u64,
}

/// Facts that many events have in common.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Class {
    pub(super) id: i64,
    /// An object of facts; empty for events that found no room among the classes.
    pub(super) facts: String,
    pub(super) count: u64,
}

/// A slice that is being written.
#[derive(Debug)]
pub(super) struct Writing {
    pub(super) slice: Arc<Slice>,
    connection: Connection,
    classes: HashMap<String, i64>,
    next: u64,
    /// When it was begun, milliseconds since the Unix epoch.
    pub(super) began_ms: u64,
}

impl Slice {
    pub(super) fn summary(&self) -> Summary {
        self.inner
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Looks at the summary without copying it.
    pub(super) fn with<T>(&self, look: impl FnOnce(&Summary) -> T) -> T {
        look(&self.inner.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads what a slice holds.
    pub(super) fn open(path: &Path, first: u64) -> Result<Self, JournalError> {
        let connection = reading(path)?;
        let told = connection
            .query_row("SELECT text FROM summary WHERE id = 1", [], |row| {
                row.get::<_, String>(0)
            })
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok());
        let summary = match told {
            Some(told) => told,
            None => summary(&connection, path, first)?,
        };
        let inner = RwLock::new(summary);
        Ok(Self {
            first,
            path: path.to_path_buf(),
            inner,
        })
    }

    /// A slice that could not be read yet.
    pub(super) fn unread(path: &Path, first: u64) -> Self {
        let inner = Summary {
            last: first.saturating_sub(1),
            min_ms: u64::MAX,
            ..Summary::default()
        };
        Self {
            first,
            path: path.to_path_buf(),
            inner: RwLock::new(inner),
        }
    }

    /// The slices of a directory by their first sequence number.
    pub(super) fn list(dir: &Path) -> Result<Vec<(u64, PathBuf)>, JournalError> {
        let failed = |cause| JournalError::file(dir, cause);
        let mut found = Vec::new();
        for entry in fs::read_dir(dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
            if let Some(first) = number.and_then(|number| number.parse().ok()) {
                found.push((first, entry.path()));
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Removes the files; who still reads them goes on until done.
    pub(super) fn remove(&self) -> Result<(), JournalError> {
        fs::remove_file(&self.path).map_err(|cause| JournalError::file(&self.path, cause))?;
        for suffix in BESIDE {
            // There need be none.
            let _ = fs::remove_file(beside(&self.path, suffix));
        }
        Ok(())
    }
}

impl Writing {
    /// Opens a slice to go on with it, or makes it.
    pub(super) fn open(
        dir: &Path,
        first: u64,
        sync: bool,
        now_ms: u64,
    ) -> Result<Self, JournalError> {
        let path = dir.join(format!("{first:016}{SUFFIX}"));
        let failed = |cause| JournalError::sqlite(&path, cause);
        let connection = Connection::open(&path).map_err(failed)?;
        // In this order: entering WAL may set its own default of `synchronous`.
        let mode: String = connection
            .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))
            .map_err(failed)?;
        let level = if sync { "FULL" } else { "OFF" };
        for (pragma, value) in [
            ("synchronous", level),
            ("cache_size", CACHE),
            ("temp_store", "MEMORY"),
        ] {
            connection
                .pragma_update(None, pragma, value)
                .map_err(failed)?;
        }
        let synchronous: i64 = connection
            .pragma_query_value(None, "synchronous", |row| row.get(0))
            .map_err(failed)?;
        if !mode.eq_ignore_ascii_case("wal") || (synchronous != SYNCHRONOUS_FULL && sync) {
            return Err(JournalError::Damaged {
                path,
                what: format!("SQLite keeps journal_mode {mode}, synchronous {synchronous}"),
            });
        }
        connection
            .pragma_update_and_check(None, "wal_autocheckpoint", CHECKPOINT_PAGES, |_| Ok(()))
            .and_then(|()| {
                connection.pragma_update_and_check(
                    None,
                    "journal_size_limit",
                    WAL_BYTES,
                    |_| Ok(()),
                )
            })
            .map_err(failed)?;
        connection.execute_batch(TABLES).map_err(failed)?;
        let began_ms = began(&connection, now_ms).map_err(failed)?;
        let summary = summary(&connection, &path, first)?;
        let classes = summary
            .classes
            .iter()
            .map(|class| (class.facts.clone(), class.id))
            .collect();
        let next = summary.last + 1;
        let slice = Slice {
            first,
            path,
            inner: RwLock::new(summary),
        };
        Ok(Self {
            slice: Arc::new(slice),
            connection,
            classes,
            next,
            began_ms,
        })
    }

    /// Writes events, all or none; on disk when this returns. The last sequence number.
    pub(super) fn append(&mut self, records: &[Record]) -> Result<u64, JournalError> {
        let known = self.classes.len();
        match self.insert(records) {
            Ok(counts) => {
                self.next += records.len() as u64;
                self.note(records, &counts);
                Ok(self.next - 1)
            }
            Err(cause) => {
                // Classes that were new went with the transaction.
                if self.classes.len() != known {
                    self.classes
                        .retain(|_, id| usize::try_from(*id).is_ok_and(|id| id <= known));
                }
                Err(JournalError::sqlite(&self.slice.path, cause))
            }
        }
    }

    fn insert(&mut self, records: &[Record]) -> rusqlite::Result<HashMap<i64, u64>> {
        let transaction = self.connection.transaction()?;
        let mut counts = HashMap::new();
        {
            let mut event = transaction.prepare_cached(INSERT)?;
            for (seq, record) in (self.next..).zip(records) {
                let class = match self.classes.get(&record.class) {
                    Some(id) => *id,
                    None if self.classes.len() >= CLASSES_MAX => OTHER,
                    None => {
                        let id = i64::try_from(self.classes.len())
                            .unwrap_or(i64::MAX)
                            .saturating_add(1);
                        transaction
                            .prepare_cached("INSERT INTO class (id, facts) VALUES (?1, ?2)")?
                            .execute(params![id, record.class])?;
                        self.classes.insert(record.class.clone(), id);
                        id
                    }
                };
                *counts.entry(class).or_insert(0) += 1;
                event.execute(params![
                    whole(seq),
                    whole(record.published_ms),
                    class,
                    record.address.map(|address| address.to_string()),
                    record.user,
                    record.line,
                ])?;
            }
        }
        transaction.commit()?;
        Ok(counts)
    }

    /// Readers see what was written.
    fn note(&self, records: &[Record], counts: &HashMap<i64, u64>) {
        let bytes = size(&self.connection);
        let mut inner = self
            .slice
            .inner
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        inner.last = self.next - 1;
        // What cannot be asked for is as it was.
        inner.bytes = bytes.unwrap_or(inner.bytes);
        for record in records {
            inner.min_ms = inner.min_ms.min(record.published_ms);
            inner.max_ms = inner.max_ms.max(record.published_ms);
        }
        for (id, count) in counts {
            match inner.classes.iter_mut().find(|class| class.id == *id) {
                Some(class) => class.count += count,
                None => {
                    let facts = self.classes.iter().find(|(_, known)| *known == id);
                    inner.classes.push(Class {
                        id: *id,
                        facts: facts.map(|(facts, _)| facts.clone()).unwrap_or_default(),
                        count: *count,
                    });
                }
            }
        }
    }

    /// Whoever has nothing else to do writes the log beside the slice into it, so that it stays small.
    pub(super) fn tidy(&self) {
        if fs::metadata(beside(&self.slice.path, "-wal")).is_ok_and(|log| log.len() > TIDY_BYTES) {
            // Readers that are at it, or a full disk: the next time is as good.
            let _ = self
                .connection
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        }
    }

    /// The log beside the slice goes into it: what is opened next has nothing to read back.
    pub(super) fn pause(self) {
        // What stays in the log is read from there.
        let _ = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }

    /// The slice is complete: what it holds is written down with it, and the log beside it into it.
    pub(super) fn finish(self) {
        let summary = serde_json::to_string(&self.slice.summary()).unwrap_or_default();
        // Neither is needed: what is not written down is counted, and what stays in the log is read from there.
        let _ = self.connection.execute(
            "INSERT OR REPLACE INTO summary (id, text) VALUES (1, ?1)",
            [summary],
        );
        let _ = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }
}

/// A connection that only reads.
pub(super) fn reading(path: &Path) -> Result<Connection, JournalError> {
    let failed = |cause| JournalError::sqlite(path, cause);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    // Not read-only to SQLite: a log that a killed agent left is read back by whoever comes first.
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection
        .pragma_update(None, "query_only", true)
        .map_err(failed)?;
    connection
        .pragma_update(None, "cache_size", READ_CACHE)
        .map_err(failed)?;
    Ok(connection)
}

/// When a slice was begun: what it says, or now.
fn began(connection: &Connection, now_ms: u64) -> rusqlite::Result<u64> {
    connection.execute(
        "INSERT OR IGNORE INTO summary (id, text) VALUES (2, ?1)",
        [now_ms.to_string()],
    )?;
    let text: String =
        connection.query_row("SELECT text FROM summary WHERE id = 2", [], |row| {
            row.get(0)
        })?;
    Ok(text.parse().unwrap_or(now_ms))
}

fn summary(connection: &Connection, path: &Path, first: u64) -> Result<Summary, JournalError> {
    let failed = |cause| JournalError::sqlite(path, cause);
    let (last, min_ms, max_ms): (Option<i64>, Option<i64>, Option<i64>) = connection
        .query_row(
            "SELECT (SELECT max(seq) FROM event), (SELECT min(published) FROM event), \
             (SELECT max(published) FROM event)",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .map_err(failed)?;
    let mut statement = connection
        .prepare(
            "SELECT event.class, coalesce(class.facts, ''), count(*) FROM event \
             LEFT JOIN class ON class.id = event.class GROUP BY event.class",
        )
        .map_err(failed)?;
    let classes: Result<Vec<Class>, _> = statement
        .query_map([], |row| {
            let (id, facts, count): (i64, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(Class {
                id,
                facts,
                count: count.unsigned_abs(),
            })
        })
        .and_then(Iterator::collect);
    Ok(Summary {
        last: last.map_or(first.saturating_sub(1), i64::unsigned_abs),
        min_ms: min_ms.map_or(u64::MAX, i64::unsigned_abs),
        max_ms: max_ms.map_or(0, i64::unsigned_abs),
        classes: classes.map_err(failed)?,
        bytes: size(connection).map_err(failed)?,
    })
}

/// What a slice takes on disk once its log is written into it, bytes. The log beside it has up to 16 MiB for a while:
/// counted, it would make slices roll, and old ones go, that are nearly empty.
fn size(connection: &Connection) -> rusqlite::Result<u64> {
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    Ok(number("page_count")?
        .unsigned_abs()
        .saturating_mul(number("page_size")?.unsigned_abs()))
}

pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// SQLite's integers are signed.
pub(super) fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// What SQLite keeps beside a file.
pub(super) const BESIDE: [&str; 2] = ["-wal", "-shm"];
const SUFFIX: &str = ".log.db";
/// The class of events that found no room among the classes.
const OTHER: i64 = 0;
/// Sets of common facts that a slice tells apart.
const CLASSES_MAX: usize = 4_096;
const SYNCHRONOUS_FULL: i64 = 2;
/// Negative: KiB.
const CACHE: &str = "-4096";
const READ_CACHE: &str = "-1024";
const CHECKPOINT_PAGES: i64 = 4_000;
const WAL_BYTES: i64 = 16 << 20;
const TIDY_BYTES: u64 = 256 << 10;

const INSERT: &str = "INSERT INTO event (seq, published, class, address, user, facts) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

/// `seq` is the order of persistence. The indexes hold it too, as SQLite's row id.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS class (id INTEGER PRIMARY KEY, facts TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS summary (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS event (
  seq INTEGER PRIMARY KEY,
  published INTEGER NOT NULL,
  class INTEGER NOT NULL,
  address TEXT,
  user TEXT,
  facts TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS event_by_time ON event (published);
CREATE INDEX IF NOT EXISTS event_by_class ON event (class, published);
CREATE INDEX IF NOT EXISTS event_by_address ON event (address) WHERE address IS NOT NULL;
CREATE INDEX IF NOT EXISTS event_by_user ON event (user) WHERE user IS NOT NULL;
";
