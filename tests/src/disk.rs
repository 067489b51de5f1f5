//! A disk that is small enough to be filled.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Lab, Result};

/// A small file system of its own at a path; unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of this size (`256k`, `4m`) on a directory, which is made if it is not there.
    ///
    /// # Errors
    /// It cannot be mounted.
    pub fn mount(lab: &Lab, path: &Path, size: &str) -> Result<Self> {
        std::fs::create_dir_all(path)?;
        let (options, text) = (format!("size={size},mode=700"), path.display().to_string());
        let argv = ["mount", "-t", "tmpfs", "-o", &options, "tmpfs", &text];
        lab.login.run(&argv)?.success()?;
        Ok(Self(path.to_owned()))
    }

    /// Writes into a file until nothing fits any more.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn fill(path: &Path) -> Result<()> {
        let mut file = File::create(path)?;
        for size in [1 << 20, 4096, 1] {
            for _ in 0..4096 {
                if file.write_all(&vec![0; size]).is_err() {
                    break;
                }
            }
        }
        Ok(())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let outcome = Command::new("umount").arg("--lazy").arg(&self.0).status();
        if !outcome.is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted", self.0.display());
        }
    }
}
