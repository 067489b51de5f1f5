//! Where the kernel's objects are pinned, who may touch them, and which of them still fit.
//!
//! Everything lives in `<bpffs_dir>/v<ABI_VERSION>`: one file a map, one a link (`link_<ifindex>`; a
//! dot in a pin's name is refused by the kernel, so interface names will not do), `steering_link`.

use std::{
    fs::{self, File, TryLockError},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use edgeward_ebpf::abi::ABI_VERSION;
use tracing::warn;

use super::sys;

/// The pin directory, locked for one agent.
#[derive(Debug)]
pub(super) struct Pins {
    root: PathBuf,
    current: PathBuf,
    _lock: File,
}

impl Pins {
    /// Makes and locks the directory.
    pub(super) fn open(root: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(root).with_context(|| {
            format!(
                "cannot make {}: mount a bpf file system there (mount -t bpf bpf /sys/fs/bpf)",
                root.display()
            )
        })?;
        if !sys::is_bpffs(root).with_context(|| format!("cannot look at {}", root.display()))? {
            bail!(
                "{} is not on a bpf file system, so nothing can outlive the agent: mount one \
                 (mount -t bpf bpf /sys/fs/bpf) or set bpffs_dir",
                root.display()
            );
        }
        let lock = lock(root)?;
        let current = root.join(format!("v{ABI_VERSION}"));
        fs::create_dir_all(&current)
            .with_context(|| format!("cannot make the pin directory {}", current.display()))?;
        Ok(Self {
            root: root.to_path_buf(),
            current,
            _lock: lock,
        })
    }

    /// The pin of a map.
    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.current.join(name.to_ascii_lowercase())
    }

    /// The pin of the link on an interface.
    pub(super) fn link(&self, interface: u32) -> PathBuf {
        self.current.join(format!("{LINK}{interface}"))
    }

    /// Every pinned link. Links of other ABI versions are moved here first: the link is what holds the
    /// interface, the maps behind it belong to its program.
    pub(super) fn links(&self) -> anyhow::Result<Vec<PathBuf>> {
        for directory in self.versions()? {
            if directory == self.current {
                continue;
            }
            for path in links_in(&directory)? {
                let Some(name) = path.file_name() else {
                    continue;
                };
                fs::rename(&path, self.current.join(name))
                    .with_context(|| format!("cannot take over the link {}", path.display()))?;
            }
        }
        links_in(&self.current)
    }

    /// The pin of the link that steers connections. One of another ABI version is moved here first, as for
    /// interfaces.
    pub(super) fn steering(&self) -> anyhow::Result<PathBuf> {
        let own = self.current.join(STEERING);
        for directory in self.versions()? {
            let path = directory.join(STEERING);
            if directory != self.current && path.exists() && !own.exists() {
                fs::rename(&path, &own)
                    .with_context(|| format!("cannot take over the link {}", path.display()))?;
            }
        }
        Ok(own)
    }

    /// Removes what other ABI versions left, once this one's program runs everywhere.
    pub(super) fn remove_other_versions(&self) -> anyhow::Result<()> {
        for directory in self.versions()? {
            if directory != self.current {
                remove_all(&directory)?;
            }
        }
        Ok(())
    }

    /// Removes everything, links first: afterwards nothing is enforced.
    pub(super) fn remove_everything(&self) -> anyhow::Result<()> {
        for directory in self.versions()? {
            for link in links_in(&directory)? {
                release(&link)?;
            }
            super::steer::release(&directory.join(STEERING))?;
        }
        for directory in self.versions()? {
            remove_all(&directory)?;
        }
        // The root may be shared with somebody; it goes only if it is empty.
        let _ = fs::remove_dir(&self.root);
        Ok(())
    }

    fn versions(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let name = entry.file_name();
            let is_version = name
                .to_str()
                .and_then(|name| name.strip_prefix('v'))
                .is_some_and(|number| number.parse::<u32>().is_ok());
            if is_version && entry.file_type()?.is_dir() {
                found.push(entry.path());
            }
        }
        found.sort();
        Ok(found)
    }
}

/// Lets go of a link's interface: what it ran is gone from there when this returns.
pub(super) fn release(link: &Path) -> anyhow::Result<()> {
    // One whose interface is gone has nothing to detach; the pin goes in any case.
    if let Ok(open) = sys::open_pin(link)
        && let Err(error) = sys::detach_link(open.as_fd())
    {
        warn!(link = %link.display(), %error, "the link could not be detached at once");
    }
    fs::remove_file(link).with_context(|| format!("cannot unpin {}", link.display()))
}

fn links_in(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(LINK))
        {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

fn remove_all(directory: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        fs::remove_file(&path).with_context(|| format!("cannot unpin {}", path.display()))?;
    }
    fs::remove_dir(directory).with_context(|| format!("cannot remove {}", directory.display()))
}

/// The kernel drops the lock with the process, whatever ends it.
fn lock(root: &Path) -> anyhow::Result<File> {
    let file = File::open(root)?;
    for attempt in 0..=LOCK_ATTEMPTS {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            // A killed agent holds it until the kernel has cleaned up behind it.
            Err(TryLockError::WouldBlock) if attempt < LOCK_ATTEMPTS => thread::sleep(LOCK_PAUSE),
            Err(TryLockError::WouldBlock) => break,
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", root.display()));
            }
        }
    }
    Err(anyhow!(
        "another edgeward agent is running on {}",
        root.display()
    ))
}

const LINK: &str = "link_";
const STEERING: &str = "steering_link";
const LOCK_ATTEMPTS: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(100);
