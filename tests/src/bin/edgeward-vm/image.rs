//! The guest's root file system, which is nothing but an initramfs: busybox, the agent, the tests, and the tools of the lab.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::packages::Obtained;
use crate::{guest, modules};

/// Puts the guest together below `folder` and returns the initramfs.
///
/// # Errors
/// Something that belongs into it is missing on this machine or cannot be copied.
pub(crate) fn make(
    folder: &Path,
    kernel: &Obtained,
    agent: &Path,
    program: &Path,
    tests: &[(&str, &Path)],
) -> Result<PathBuf> {
    let root = Root(folder.join("root"));
    let _ = fs::remove_dir_all(&root.0);
    for name in [
        "bin", "dev", "etc", "modules", "proc", "run", "sys", "tests", "tmp",
    ] {
        root.folder(name)?;
    }
    root.copy(&find("busybox")?, Path::new("bin/busybox"))?;
    symlink("busybox", root.0.join("bin/sh")).context("cannot link bin/sh")?;
    for tool in ["ip", "ethtool", "nginx"] {
        let path = find(tool)?;
        root.program(&path, &Path::new("usr/sbin").join(tool))?;
    }
    root.program(agent, Path::new("bin/edgeward"))?;
    root.copy(program, Path::new(guest::PROGRAM))?;
    let own = std::env::current_exe().context("cannot find this program's own file")?;
    root.program(&own, Path::new("tests/vm"))?;
    for (name, path) in tests {
        root.program(path, &Path::new("tests").join(name))?;
    }
    for (number, module) in modules::ordered(&kernel.modules, modules::WANTED)?
        .iter()
        .enumerate()
    {
        // The shell's `*` sorts: two digits keep the order.
        root.write(
            &format!("modules/{number:02}-{}.ko", module.name),
            &module.bytes,
        )?;
    }
    root.write("etc/passwd", PASSWD.as_bytes())?;
    root.write("etc/group", b"root:x:0:\nnogroup:x:65534:\n")?;
    root.write("init", INIT.as_bytes())?;
    fs::set_permissions(root.0.join("init"), fs::Permissions::from_mode(0o755))?;
    pack(&root.0, &folder.join("initramfs"))
}

/// The directory that becomes `/` of the guest.
struct Root(PathBuf);

impl Root {
    fn folder(&self, name: impl AsRef<Path>) -> Result<()> {
        let path = self.0.join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        fs::write(self.0.join(name), bytes)
            .with_context(|| format!("cannot write {name} for the guest"))
    }

    fn copy(&self, from: &Path, to: &Path) -> Result<()> {
        self.folder(to.parent().unwrap_or(Path::new("")))?;
        fs::copy(from, self.0.join(to))
            .map(drop)
            .with_context(|| format!("cannot copy {} for the guest", from.display()))
    }

    /// Copies a program with its libraries; the libraries keep their places.
    fn program(&self, from: &Path, to: &Path) -> Result<()> {
        self.copy(from, to)?;
        for library in libraries(from)? {
            let inside = library.strip_prefix("/").unwrap_or(&library).to_owned();
            if !self.0.join(&inside).exists() {
                self.copy(&library, &inside)?;
            }
        }
        Ok(())
    }
}

/// The files that the dynamic linker would load, the linker itself included.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd")
        .arg(program)
        .output()
        .context("cannot start ldd")?;
    // A static program is no error: ldd says so and ends with 1.
    let text = String::from_utf8_lossy(&output.stdout);
    if let Some(line) = text.lines().find(|line| line.contains("not found")) {
        bail!("{}: {}", program.display(), line.trim());
    }
    Ok(text
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect())
}

/// A tool of this machine. Administration tools are often outside of an ordinary user's PATH.
fn find(tool: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(tool))
        .find(|file| file.is_file())
        .with_context(|| format!("there is no {tool} on this machine, and the guest needs it"))
}

/// Packs a directory in the one format the kernel unpacks, everything owned by root, uncompressed: an emulated
/// processor would take longer to unpack than this one to copy.
fn pack(root: &Path, to: &Path) -> Result<PathBuf> {
    let file = File::create(to).with_context(|| format!("cannot write {}", to.display()))?;
    let mut find = Command::new("find")
        .args([".", "-print0"])
        .current_dir(root)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start find")?;
    let names = find.stdout.take().context("the output of find")?;
    let status = Command::new("cpio")
        .args([
            "--null",
            "--create",
            "--format=newc",
            "--owner=0:0",
            "--quiet",
        ])
        .current_dir(root)
        .stdin(names)
        .stdout(file)
        .status()
        .context("cannot start cpio")?;
    let found = find.wait().context("cannot wait for find")?;
    if !status.success() || !found.success() {
        bail!(
            "cannot pack {}: find ended with {found}, cpio with {status}",
            root.display()
        );
    }
    Ok(to.to_owned())
}

/// Accounts that tests use: root, and one without any right.
const PASSWD: &str = "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n";
/// The first process of the guest.
const INIT: &str = include_str!("init.sh");
