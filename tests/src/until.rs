//! Waiting for something that happens by itself.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;

use crate::Result;

/// Polls until it is so; the time only bounds a failure.
///
/// # Errors
/// What the question answers, or that it never was so.
pub fn until(what: &str, mut so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + WAIT_MAX;
    while !so()? {
        if Instant::now() >= deadline {
            bail!("never: {what}");
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The longest wait.
pub const WAIT_MAX: Duration = Duration::from_secs(30);
