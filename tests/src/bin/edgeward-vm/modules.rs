//! Kernel modules for the guest: found, unpacked, and put in the order in which insmod takes them.
//!
//! A package that was only unpacked has no modules.dep (depmod writes it at installation), so the order comes
//! from what each module says of itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// What the lab and the tests make interfaces of.
pub(crate) const WANTED: &[&str] = &["veth", "bridge", "vrf", "dummy", "8021q"];

/// A module as insmod takes it.
pub(crate) struct Module {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// The wanted modules with all they depend on, each after what it needs. Those built into the kernel have no file.
///
/// # Errors
/// A module is neither there nor built in, or cannot be unpacked.
pub(crate) fn ordered(folder: &Path, wanted: &[&str]) -> Result<Vec<Module>> {
    let mut files = BTreeMap::new();
    index(&folder.join("kernel"), &mut files, DEPTH_MAX)?;
    let builtin = fs::read_to_string(folder.join("modules.builtin")).unwrap_or_default();
    let builtin = builtin
        .lines()
        .filter_map(|line| name_of(Path::new(line)))
        .collect();
    let mut order = Order {
        files,
        builtin,
        done: Vec::new(),
    };
    for name in wanted {
        order.add(name, DEPTH_MAX)?;
    }
    Ok(order.done)
}

struct Order {
    files: BTreeMap<String, PathBuf>,
    builtin: Vec<String>,
    done: Vec<Module>,
}

impl Order {
    fn add(&mut self, name: &str, depth: usize) -> Result<()> {
        if self.done.iter().any(|done| done.name == name)
            || self.builtin.iter().any(|built| built == name)
        {
            return Ok(());
        }
        let file = self
            .files
            .get(name)
            .with_context(|| format!("this kernel has no module {name}"))?;
        let bytes = unpacked(file)?;
        let Some(depth) = depth.checked_sub(1) else {
            bail!("modules depend on each other in a circle at {name}");
        };
        for needed in depends(&bytes) {
            self.add(&needed, depth)?;
        }
        self.done.push(Module {
            name: name.to_owned(),
            bytes,
        });
        Ok(())
    }
}

/// Every module file below a folder by the module's name.
fn index(folder: &Path, files: &mut BTreeMap<String, PathBuf>, depth: usize) -> Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() && depth > 0 {
            index(&path, files, depth - 1)?;
        } else if let Some(name) = name_of(&path) {
            files.insert(name, path);
        }
    }
    Ok(())
}

/// `nf_tables` of `…/nf-tables.ko.xz`; `None` for other files.
fn name_of(path: &Path) -> Option<String> {
    let (name, _) = path.file_name()?.to_str()?.split_once(".ko")?;
    Some(name.replace('-', "_"))
}

/// The module's bytes, whatever Debian packed it with.
fn unpacked(file: &Path) -> Result<Vec<u8>> {
    let argv: &[&str] = match file.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => &["busybox", "xzcat"],
        Some("zst") => &["zstd", "-dc"],
        _ => return fs::read(file).with_context(|| format!("cannot read {}", file.display())),
    };
    let (program, arguments) = argv.split_first().context("a command")?;
    let output = Command::new(program)
        .args(arguments)
        .arg(file)
        .output()
        .with_context(|| format!("cannot start {program}, which unpacks {}", file.display()))?;
    if !output.status.success() {
        bail!("{program} cannot unpack {}", file.display());
    }
    Ok(output.stdout)
}

/// What the module needs: the `depends=` string of its `.modinfo` section, where strings end with NUL.
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(start) = module.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let value = module
        .iter()
        .skip(start + KEY.len())
        .take_while(|byte| **byte != 0);
    String::from_utf8_lossy(&value.copied().collect::<Vec<u8>>())
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect()
}

/// Folders below each other, and modules that need each other.
const DEPTH_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_says_what_it_needs() {
        assert_eq!(
            depends(b"\x7fELF\0license=GPL\0depends=stp,llc\0name=bridge\0"),
            ["stp", "llc"]
        );
        assert_eq!(depends(b"\0depends=\0name=veth\0"), [""; 0]);
        assert_eq!(depends(b"no modinfo"), [""; 0]);
    }

    #[test]
    fn what_is_needed_comes_first_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let net = folder.path().join("kernel/net");
        fs::create_dir_all(&net).unwrap();
        for (file, depends) in [("a-b.ko", "c,built"), ("c.ko", ""), ("d.ko", "a-b,c")] {
            fs::write(net.join(file), format!("\0depends={depends}\0")).unwrap();
        }
        fs::write(
            folder.path().join("modules.builtin"),
            "kernel/net/built.ko\n",
        )
        .unwrap();
        let names = |wanted| {
            ordered(folder.path(), wanted).map(|list| {
                list.into_iter()
                    .map(|module| module.name)
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(names(&["d", "c"]).unwrap(), ["c", "a_b", "d"]);
        assert!(
            names(&["e"])
                .unwrap_err()
                .to_string()
                .contains("no module e")
        );
    }
}
