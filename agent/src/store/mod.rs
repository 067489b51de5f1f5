//! What survives a reboot: decisions with their expiry, and the mode.
//!
//! One SQLite database in the state directory, owned by one process. Nothing is acknowledged to an operator
//! before it is here and synced, so that a power cut at any point loses nothing that was acknowledged.
//! A database that cannot be read is moved aside and never stops enforcement.

#[cfg(test)]
mod crash;
mod error;
mod mode;
mod recover;
mod rows;
mod schema;
#[cfg(test)]
mod tests;
mod zones;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::policy::decision::{Decision, Key};

pub use error::StoreError;
pub use mode::{ModeOrigin, ModeState, Revert};
pub use recover::Recovered;
pub use zones::MadeZone;

/// The state directory's database, open and locked for this process.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
    recovered: Option<Recovered>,
}

impl Store {
    /// Opens or creates `edgeward.db` in `dir`, which becomes readable by its owner alone.
    ///
    /// A damaged database is moved aside, a new one takes its place with whatever could still be read, and
    /// [`Store::recovered`] says so.
    ///
    /// # Errors
    /// When the directory cannot be made or is not Edgeward's own, another process holds the database, it
    /// was written by a newer version, or the disk refuses.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        schema::prepare_directory(dir)?;
        let path = dir.join(FILE_NAME);
        let (connection, recovered) = match schema::connect(&path) {
            Ok(connection) => (connection, None),
            Err(StoreError::Corrupt { cause, .. }) => {
                let (connection, recovered) = recover::replace(&path, cause)?;
                (connection, Some(recovered))
            }
            Err(error) => return Err(error),
        };
        Ok(Self {
            connection,
            path,
            recovered,
        })
    }

    /// What happened to a damaged database at [`Store::open`], for the operator to read.
    #[must_use]
    pub const fn recovered(&self) -> Option<&Recovered> {
        self.recovered.as_ref()
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes one decision; one under the same key is replaced. On disk when this returns.
    ///
    /// # Errors
    /// When the disk is full or refuses; nothing has changed then.
    pub fn put(&mut self, decision: &Decision) -> Result<(), StoreError> {
        self.put_all(std::slice::from_ref(decision))
    }

    /// Writes many decisions, all or none. On disk when this returns.
    ///
    /// # Errors
    /// When the disk is full or refuses; nothing has changed then.
    pub fn put_all<'a>(
        &mut self,
        decisions: impl IntoIterator<Item = &'a Decision>,
    ) -> Result<(), StoreError> {
        let path = &self.path;
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|error| StoreError::sqlite(path, error))?;
        rows::insert(&transaction, decisions).map_err(|error| StoreError::sqlite(path, error))?;
        transaction
            .commit()
            .map_err(|error| StoreError::sqlite(path, error))
    }

    /// Removes one decision; whether there was one.
    ///
    /// # Errors
    /// When the disk is full or refuses; nothing has changed then.
    pub fn delete(&mut self, key: &Key) -> Result<bool, StoreError> {
        Ok(self.delete_all(std::slice::from_ref(key))? > 0)
    }

    /// Removes many decisions, all or none; how many there were.
    ///
    /// # Errors
    /// When the disk is full or refuses; nothing has changed then.
    pub fn delete_all<'a>(
        &mut self,
        keys: impl IntoIterator<Item = &'a Key>,
    ) -> Result<usize, StoreError> {
        let path = &self.path;
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|error| StoreError::sqlite(path, error))?;
        let count =
            rows::delete(&transaction, keys).map_err(|error| StoreError::sqlite(path, error))?;
        transaction
            .commit()
            .map_err(|error| StoreError::sqlite(path, error))?;
        Ok(count)
    }

    /// Every decision, expired ones too, ordered by prefix.
    ///
    /// # Errors
    /// When the database cannot be read to its end.
    pub fn decisions(&self) -> Result<Vec<Decision>, StoreError> {
        let count: i64 = self
            .connection
            .query_row("SELECT count(*) FROM decisions", [], |row| row.get(0))
            .map_err(|error| StoreError::sqlite(&self.path, error))?;
        let mut all = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
        self.each(|decision| all.push(decision))?;
        Ok(all)
    }

    /// Hands every decision to `visit`, ordered by prefix, holding one at a time in memory.
    ///
    /// # Errors
    /// When the database cannot be read to its end; `visit` has seen what came before.
    pub fn each(&self, visit: impl FnMut(Decision)) -> Result<(), StoreError> {
        rows::each(&self.connection, rows::Order::Ascending, visit)
            .map_err(|error| StoreError::sqlite(&self.path, error))
    }

    /// Removes every decision that has ended at `now` (milliseconds since the Unix epoch) and returns them.
    ///
    /// # Errors
    /// When the disk is full or refuses; nothing has changed then.
    pub fn purge_expired(&mut self, now: u64) -> Result<Vec<Decision>, StoreError> {
        rows::purge(&self.connection, now).map_err(|error| StoreError::sqlite(&self.path, error))
    }

    /// The mode as it was last set, or none on a first start.
    ///
    /// # Errors
    /// When the database cannot be read, or holds a mode that this version does not know.
    pub fn mode(&self) -> Result<Option<ModeState>, StoreError> {
        let Some(text) = self.setting(mode::SETTING)? else {
            return Ok(None);
        };
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| StoreError::Corrupt {
                path: self.path.clone(),
                cause: format!("the stored mode cannot be read: {error}"),
            })
    }

    /// Writes the mode with its pending ends, in one step. On disk when this returns.
    ///
    /// # Errors
    /// When the disk is full or refuses; nothing has changed then.
    pub fn set_mode(&mut self, state: &ModeState) -> Result<(), StoreError> {
        let text = serde_json::to_string(state).map_err(|error| StoreError::Invalid {
            what: format!("the mode cannot be written: {error}"),
        })?;
        self.set_setting(mode::SETTING, &text)
    }

    /// The zones that were made while the agent ran.
    ///
    /// # Errors
    /// When the database cannot be read, or holds what this version does not know.
    pub fn zones(&self) -> Result<Vec<MadeZone>, StoreError> {
        let Some(text) = self.setting(zones::SETTING)? else {
            return Ok(Vec::new());
        };
        serde_json::from_str(&text).map_err(|error| StoreError::Corrupt {
            path: self.path.clone(),
            cause: format!("the stored zones cannot be read: {error}"),
        })
    }

    /// Writes all of them, in one step. On disk when this returns.
    ///
    /// # Errors
    /// When the disk is full or refuses; nothing has changed then.
    pub fn set_zones(&mut self, zones: &[MadeZone]) -> Result<(), StoreError> {
        let text = serde_json::to_string(zones).map_err(|error| StoreError::Invalid {
            what: format!("the zones cannot be written: {error}"),
        })?;
        self.set_setting(zones::SETTING, &text)
    }

    /// A setting's text, or none if it was never set.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn setting(&self, key: &str) -> Result<Option<String>, StoreError> {
        self.connection
            .query_row("SELECT value FROM settings WHERE key = ?1", [key], |row| {
                row.get(0)
            })
            .optional()
            .map_err(|error| StoreError::sqlite(&self.path, error))
    }

    /// Writes a setting. On disk when this returns.
    ///
    /// # Errors
    /// When the disk is full or refuses; nothing has changed then.
    pub fn set_setting(&mut self, key: &str, value: &str) -> Result<(), StoreError> {
        self.connection
            .execute(
                "INSERT OR REPLACE INTO settings (key, value) VALUES (?1, ?2)",
                params![key, value],
            )
            .map(drop)
            .map_err(|error| StoreError::sqlite(&self.path, error))
    }
}

/// The database's name in the state directory.
const FILE_NAME: &str = "edgeward.db";
