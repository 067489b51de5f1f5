//! `[geo]`: databases that say where an address is, and whose.

use std::path::{Path, PathBuf};

use super::{
    error::shown,
    raw::{Node, Table},
};
use crate::geo::{Files, Kind};

/// Files of one kind: IPv4 and IPv6 apart, and a few more.
const FILES_MAX: usize = 8;

/// `[geo]` of a file. A database that is not there yet is a warning: its updater may come later.
pub(super) fn geo(top: &Table<'_>, base: &Path) -> Files {
    let keys = Kind::ALL.map(Kind::name);
    let mut files = Files::default();
    let Some(table) = top.get("geo").and_then(|node| node.table(&keys)) else {
        return files;
    };
    for kind in Kind::ALL {
        if let Some(node) = table.get(kind.name()) {
            *files.of_mut(kind) = paths(&node, base);
        }
    }
    files
}

fn paths(node: &Node<'_>, base: &Path) -> Vec<PathBuf> {
    let nodes = if node.is_text() {
        vec![node.clone()]
    } else {
        node.elements()
    };
    if nodes.len() > FILES_MAX {
        node.error(format!("{} files; at most {FILES_MAX}", nodes.len()), None);
        return Vec::new();
    }
    let mut paths = Vec::new();
    for node in nodes {
        let Some(path) = node.file(base) else {
            continue;
        };
        if paths.contains(&path) {
            let what = format!("{} is named twice", shown(&path.display().to_string()));
            node.error(what, None);
            continue;
        }
        if let Err(what) = crate::geo::looked_at(&path) {
            node.file_warning(
                &path,
                &format!("{what}; nothing is known from it until it can be read"),
            );
        }
        paths.push(path);
    }
    paths
}

/// What differs, one sentence each.
pub(super) fn changes(out: &mut Vec<String>, old: &Files, new: &Files) {
    for kind in Kind::ALL {
        let (before, after) = (named(old.of(kind)), named(new.of(kind)));
        if before != after {
            out.push(format!("geo.{}: {before} → {after}", kind.name()));
        }
    }
}

fn named(files: &[PathBuf]) -> String {
    if files.is_empty() {
        return "none".to_owned();
    }
    let names: Vec<String> = files
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, diff};

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("/base"), "test.toml")
            .map_err(|mistakes| mistakes.to_string())
    }

    #[test]
    fn one_file_or_several() {
        assert_eq!(parse("").unwrap().geo, Files::default());
        let config =
            parse("[geo]\ncity = \"c.mmdb\"\nasn = [\"a4.mmdb\", \"/x/a6.mmdb\"]\n").unwrap();
        let path = |text: &str| PathBuf::from(text);
        assert_eq!(config.geo.city, [path("/base/c.mmdb")]);
        assert_eq!(config.geo.asn, [path("/base/a4.mmdb"), path("/x/a6.mmdb")]);
        let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        assert!(
            warnings[0].contains("does not exist; nothing is known"),
            "{warnings:?}"
        );
        let told = diff::changes(&Config::default(), &config);
        assert_eq!(told[0], "geo.city: none → /base/c.mmdb", "{told:?}");
        assert_eq!(told.len(), 2);
    }

    #[test]
    fn mistakes_are_named() {
        let nine = format!("asn = [{}]", "\"x\", ".repeat(9));
        for (text, what) in [
            ("city = 5", "geo.city: expected"),
            ("city = \"\"", "is no file name"),
            ("asn = [\"x\", \"x\"]", "geo.asn[1]: /base/x is named twice"),
            ("citty = \"x\"", "did you mean `city`?"),
            (nine.as_str(), "9 files; at most 8"),
        ] {
            let told = parse(&format!("[geo]\n{text}\n")).unwrap_err();
            assert!(told.contains(what), "{text}: {told}");
        }
    }
}
