//! Names that carry their owner: everything a lab leaves on the machine says which process made it.
//!
//! That is what makes the sweep safe: a name whose process is gone can be cleaned by anybody, any other is left alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Result, shell, sys};

/// A new tag, unique on this machine: process id, its start time in clock ticks, a counter.
pub(crate) fn new_tag() -> String {
    static OWNER: OnceLock<(u32, u64)> = OnceLock::new();
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let (pid, start) = OWNER.get_or_init(|| {
        let pid = std::process::id();
        (pid, start_of(pid).unwrap_or_default())
    });
    format!("ew{pid}x{start}n{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The lab's directory for a tag.
pub(crate) fn directory(tag: &str) -> PathBuf {
    std::env::temp_dir().join(format!("{DIRECTORY_PREFIX}{tag}"))
}

/// Removes what labs of dead processes left: their processes, namespaces, mounts and directories.
///
/// Best effort by purpose: another run may sweep the same things at the same moment.
pub(crate) fn sweep() {
    for name in entries(Path::new(NAMESPACES)) {
        if owner_is_gone(&name) {
            remove_namespace(&name);
        }
    }
    for name in entries(&std::env::temp_dir()) {
        if name
            .strip_prefix(DIRECTORY_PREFIX)
            .is_some_and(owner_is_gone)
        {
            remove_directory(&std::env::temp_dir().join(name));
        }
    }
}

/// Kills what runs in a lab's namespace and deletes it.
pub(crate) fn remove_namespace(name: &str) {
    if let Ok(pids) = shell::run(&["ip", "netns", "pids", name]) {
        for pid in pids.split_whitespace().filter_map(|word| word.parse().ok()) {
            // It may have ended since it was listed.
            let _ = sys::signal(pid, libc::SIGKILL);
        }
    }
    let _ = shell::run(&["ip", "netns", "del", name]);
}

/// Unmounts a lab's bpffs (which frees what is pinned there) and removes its directory.
pub(crate) fn remove_directory(path: &Path) {
    // More than one mount can lie on top of each other; a few at most.
    for _ in 0..4 {
        if sys::unmount(&path.join(BPFFS)).is_err() {
            break;
        }
    }
    let _ = fs::remove_dir_all(path);
}

/// Namespaces whose name starts with the tag: what a lab still has on the machine.
pub(crate) fn namespaces_of(tag: &str) -> Vec<String> {
    let start = format!("{tag}-");
    entries(Path::new(NAMESPACES))
        .into_iter()
        .filter(|name| name.starts_with(&start))
        .collect()
}

/// Adds a network namespace.
pub(crate) fn add_namespace(name: &str) -> Result<()> {
    shell::run(&["ip", "netns", "add", name]).map(drop)
}

/// True when the name is a lab's and the process that made it no longer runs.
fn owner_is_gone(name: &str) -> bool {
    let Some((pid, start)) = owner_of(name) else {
        return false;
    };
    // The start time tells the owner from a stranger that got its id later.
    start_of(pid) != Some(start)
}

/// Process id and start time in a lab's name, `None` for any other name.
fn owner_of(name: &str) -> Option<(u32, u64)> {
    let (pid, rest) = name.strip_prefix("ew")?.split_once('x')?;
    let (start, _) = rest.split_once('n')?;
    Some((pid.parse().ok()?, start.parse().ok()?))
}

/// When a process started, in clock ticks since boot; `None` when there is none.
fn start_of(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the command's name in brackets and may hold anything; count behind the last bracket.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

/// File names in a directory that are UTF-8; none when it cannot be read.
fn entries(directory: &Path) -> Vec<String> {
    let Ok(list) = fs::read_dir(directory) else {
        return Vec::new();
    };
    list.flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// Where iproute2 keeps the names of namespaces.
pub(crate) const NAMESPACES: &str = "/run/netns";
/// The lab's own bpffs, below its directory.
pub(crate) const BPFFS: &str = "bpf";
const DIRECTORY_PREFIX: &str = "edgeward-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_labs_have_an_owner() {
        assert_eq!(owner_of("ew12x34n5-login"), Some((12, 34)));
        for stranger in [
            "",
            "ew",
            "edgeward",
            "ew12",
            "ew12x",
            "ewax34n5",
            "myew12x34n5",
        ] {
            assert_eq!(owner_of(stranger), None, "{stranger}");
        }
    }

    #[test]
    fn this_process_is_alive_and_a_stranger_with_its_id_is_not_it() {
        let tag = new_tag();
        assert!(!owner_is_gone(&tag), "{tag}");
        assert!(owner_is_gone(&format!("ew{}x1n0", std::process::id())));
    }
}
