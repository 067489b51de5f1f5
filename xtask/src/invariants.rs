//! Architecture invariants about what is deliberately absent, which neither the compiler nor clippy
//! can hold for a single folder: the words that would break them are searched for in the source.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::cargo;

/// Words that may appear in the agent's source only there, or (for `policy`) not there.
struct Invariant {
    text: &'static str,
    words: &'static [&'static str],
    applies: fn(&str) -> bool,
}

const INVARIANTS: &[Invariant] = &[
    Invariant {
        text: "policy/ decides and does nothing else: no files, sockets, processes, threads, clocks",
        words: &[
            "std::fs",
            "std::env",
            "std::process",
            "std::thread",
            "tokio",
            "TcpStream",
            "UdpSocket",
            "UnixStream",
            "Instant",
            "SystemTime",
        ],
        applies: |path| path.starts_with("policy/"),
    },
    Invariant {
        text: "only datapath/ uses aya, so that every kernel map has one writer",
        words: &["aya::", "aya_log::", "aya_obj::"],
        applies: |path| !path.starts_with("datapath/"),
    },
    Invariant {
        text: "the agent's unsafe code is in datapath/sys.rs and allocator.rs",
        words: &["unsafe {", "unsafe impl", "unsafe fn", "unsafe extern"],
        applies: |path| !["datapath/sys.rs", "allocator.rs"].contains(&path),
    },
];

/// Searches the agent's source.
///
/// # Errors
/// An invariant is broken (every place is named), or the source cannot be read.
pub(crate) fn check() -> Result<()> {
    let source = cargo::root().join("agent/src");
    let mut broken = Vec::new();
    for file in rust_files(&source)? {
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let path = file
            .strip_prefix(&source)
            .unwrap_or(&file)
            .to_string_lossy()
            .into_owned();
        broken.extend(broken_in(&path, &text));
    }
    if !broken.is_empty() {
        bail!("{}", broken.join("\n"));
    }
    Ok(())
}

/// What a file breaks: a line for each, with its place.
fn broken_in(path: &str, text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    for (number, line) in (1_usize..).zip(text.lines()) {
        if line.trim_start().starts_with("//") {
            continue;
        }
        for invariant in INVARIANTS
            .iter()
            .filter(|invariant| (invariant.applies)(path))
        {
            if let Some(word) = invariant.words.iter().find(|word| line.contains(**word)) {
                broken.push(format!(
                    "agent/src/{path}:{number}: `{word}`: {}",
                    invariant.text
                ));
            }
        }
    }
    broken
}

fn rust_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        let entries = fs::read_dir(&directory)
            .with_context(|| format!("cannot read {}", directory.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::broken_in;

    #[test]
    fn each_invariant_is_held_where_it_applies_and_only_there() {
        for (path, line, expected) in [
            ("policy/zone.rs", "let now = Instant::now();", 1),
            ("policy/zone.rs", "// Instant is not read here", 0),
            ("keeper.rs", "let now = Instant::now();", 0),
            ("keeper.rs", "use aya::Ebpf;", 1),
            ("datapath/load.rs", "use aya::Ebpf;", 0),
            ("datapath/load.rs", "unsafe { libc::close(fd) };", 1),
            ("datapath/sys.rs", "unsafe { libc::close(fd) };", 0),
            ("allocator.rs", "unsafe { mi_collect(true) };", 0),
        ] {
            assert_eq!(broken_in(path, line).len(), expected, "{path}: {line}");
        }
    }
}
