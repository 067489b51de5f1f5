//! Where things are: interfaces, the socket, the directories.
//!
//! Only the spelling is judged here. Whether a directory exists or an interface is up is known when the
//! agent starts, on the host it starts on; a configuration may be checked on another one.

use std::{
    collections::HashSet,
    path::{Component, Path, PathBuf},
};

use super::{
    Interfaces,
    error::shown,
    raw::{Node, Table},
};

/// Longest interface name, in bytes (IFNAMSIZ without its terminator).
const INTERFACE_BYTES_MAX: usize = 15;
/// Longest socket path, in bytes (`sun_path` without its terminator).
const SOCKET_BYTES_MAX: usize = 107;

pub(super) fn interfaces(top: &Table<'_>) -> Interfaces {
    let Some(node) = top.get("interfaces") else {
        return Interfaces::AllPhysical;
    };
    let names = node.strings();
    if node.is_empty_array() {
        node.error(
            "names no interface",
            Some("write [\"eth0\"], or [\"all\"] for every physical one".to_owned()),
        );
    }
    let mut seen = HashSet::new();
    for (element, name) in &names {
        let printable = name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':');
        if name.is_empty()
            || name.len() > INTERFACE_BYTES_MAX
            || !printable
            || matches!(*name, "." | "..")
        {
            let what = format!("\"{}\" is no interface name", shown(name));
            let suggestion =
                format!("a name has 1 to {INTERFACE_BYTES_MAX} characters, no spaces, `/` or `:`");
            element.error(what, Some(suggestion));
        }
        if !seen.insert(*name) {
            element.error(
                format!("\"{}\" is named twice", shown(name)),
                Some("remove one".to_owned()),
            );
        }
        if *name == "all" && names.len() > 1 {
            element.error(
                "\"all\" stands alone",
                Some("write [\"all\"], or the names without it".to_owned()),
            );
        }
    }
    match names.as_slice() {
        [(_, "all")] => Interfaces::AllPhysical,
        _ => Interfaces::Named(names.iter().map(|(_, name)| (*name).to_owned()).collect()),
    }
}

pub(super) fn directory(top: &Table<'_>, key: &str, default: PathBuf) -> PathBuf {
    top.get(key)
        .and_then(|node| absolute(&node))
        .unwrap_or(default)
}

/// A path from the root, to something below it.
pub(super) fn absolute(node: &Node<'_>) -> Option<PathBuf> {
    absolute_path(node, node.string()?)
}

/// The same for a part of the value.
fn absolute_path(node: &Node<'_>, text: &str) -> Option<PathBuf> {
    let path = Path::new(text);
    let refuse = |what: &str, suggestion: Option<String>| {
        node.error(format!("\"{}\" {what}", shown(text)), suggestion);
        None
    };
    if text.contains('\0') {
        return refuse("holds a NUL byte, which no path can", None);
    }
    if !path.is_absolute() {
        return refuse(
            "is not an absolute path",
            Some("begin it with `/`".to_owned()),
        );
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return refuse(
            "leads upwards with `..`",
            Some("write the path it stands for".to_owned()),
        );
    }
    if path.parent().is_none() {
        return refuse(
            "is the root directory",
            Some("name a directory below it".to_owned()),
        );
    }
    Some(path.to_owned())
}

pub(super) fn socket(top: &Table<'_>, default: PathBuf) -> PathBuf {
    top.get("socket")
        .and_then(|node| socket_path(&node, node.string()?))
        .unwrap_or(default)
}

/// The path of a Unix socket: the value, or what is left of it.
pub(super) fn socket_path(node: &Node<'_>, text: &str) -> Option<PathBuf> {
    let path = absolute_path(node, text)?;
    let bytes = path.as_os_str().len();
    if bytes > SOCKET_BYTES_MAX {
        let what = format!(
            "is {bytes} bytes long; the path of a Unix socket has at most {SOCKET_BYTES_MAX}"
        );
        node.error(what, Some("choose a shorter directory".to_owned()));
    }
    if text.ends_with('/') {
        node.error(
            "names a directory",
            Some("add a file name, as in /run/edgeward/control.sock".to_owned()),
        );
    }
    Some(path)
}

pub(super) fn bpffs_dir(top: &Table<'_>, default: PathBuf) -> PathBuf {
    let Some(node) = top.get("bpffs_dir") else {
        return default;
    };
    let Some(path) = absolute(&node) else {
        return default;
    };
    // The kernel refuses `.` in names on a bpffs (EPERM). Elsewhere the part above the mount may have one.
    let below = path.strip_prefix("/sys/fs/bpf").ok();
    if below.is_some_and(|below| below.to_string_lossy().contains('.')) {
        node.error(
            "has a `.` in a name, which a bpffs does not permit",
            Some("use `-` or `_`".to_owned()),
        );
    }
    path
}
