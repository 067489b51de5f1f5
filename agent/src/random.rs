//! Secrets for hashes: who chooses addresses must not choose where they fall.

use std::io::Read as _;

use anyhow::Context as _;

/// Eight bytes that nobody can guess.
///
/// # Errors
/// If the kernel's random numbers cannot be read.
pub(crate) fn secret() -> anyhow::Result<u64> {
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(u64::from_ne_bytes(bytes))
}
