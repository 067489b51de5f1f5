//! A pinned map in the hands of somebody who is not the agent: to read what is there and to spoil it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, ensure};

use crate::Result;
use crate::sys::bpf;

/// An open map.
#[derive(Debug)]
pub struct PinnedMap {
    map: OwnedFd,
    key_bytes: usize,
    value_bytes: usize,
}

impl PinnedMap {
    /// Opens the map at a path in a bpffs.
    ///
    /// # Errors
    /// When nothing, or no map, is pinned there.
    pub fn open(path: &Path) -> Result<Self> {
        let map =
            bpf::open_pinned(path).with_context(|| format!("cannot open {}", path.display()))?;
        let (key_bytes, value_bytes) =
            bpf::map_sizes(map.as_fd()).with_context(|| format!("{} is no map", path.display()))?;
        Ok(Self {
            map,
            key_bytes,
            value_bytes,
        })
    }

    /// The keys in it, in the kernel's order, a million at most.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn keys(&self) -> Result<Vec<Vec<u8>>> {
        let mut keys: Vec<Vec<u8>> = Vec::new();
        let mut next = vec![0; self.key_bytes];
        while keys.len() < KEYS_MAX
            && bpf::map_next(self.map.as_fd(), keys.last().map(Vec::as_slice), &mut next)?
        {
            keys.push(next.clone());
        }
        Ok(keys)
    }

    /// The value under a key.
    ///
    /// # Errors
    /// When there is none, or the key has the wrong size.
    pub fn get(&self, key: &[u8]) -> Result<Vec<u8>> {
        self.fits(key, None)?;
        let mut value = vec![0; self.value_bytes];
        bpf::map_get(self.map.as_fd(), key, &mut value)?;
        Ok(value)
    }

    /// Writes a value under a key.
    ///
    /// # Errors
    /// When a size is wrong or the map is full.
    pub fn set(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.fits(key, Some(value))?;
        Ok(bpf::map_set(self.map.as_fd(), key, value)?)
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// When it is not there, or has the wrong size.
    pub fn delete(&self, key: &[u8]) -> Result<()> {
        self.fits(key, None)?;
        Ok(bpf::map_delete(self.map.as_fd(), key)?)
    }

    /// The kernel reads and writes as many bytes as the map says, whatever we hand it.
    fn fits(&self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        let right = key.len() == self.key_bytes
            && value.is_none_or(|value| value.len() == self.value_bytes);
        ensure!(
            right,
            "this map has keys of {} and values of {} bytes",
            self.key_bytes,
            self.value_bytes
        );
        Ok(())
    }
}

/// Most keys that are read.
const KEYS_MAX: usize = 1_000_000;
