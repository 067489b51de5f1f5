//! bpf-linker: turns the compiler's bitcode into the BPF object. It must be of the tried version,
//! and its LLVM at least as new as the compiler's, or it cannot read the bitcode.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{cargo, packages, shell, toolchain};

/// The version that was tried; another one may lay out BTF differently.
const VERSION: &str = "0.13.0";

/// The LLVM versions that bpf-linker of that version can be built against.
const LLVM_VERSIONS: &[u32] = &[21, 22, 23];

/// Finds a linker that reads bitcode of the given LLVM, or builds one into `target/tools`.
///
/// # Errors
/// None is there and none can be built here: the error names what is missing.
pub(crate) fn ensure(llvm: u32) -> Result<PathBuf> {
    let own = tools().join("bin/bpf-linker");
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(std::env::home_dir()?.join(".cargo")))
        .map(|home| home.join("bin/bpf-linker"));
    let found = [Some(own.clone()), shell::which("bpf-linker"), home]
        .into_iter()
        .flatten()
        .find(|path| is_usable(path, llvm));
    if let Some(path) = found {
        return Ok(path);
    }
    let against = install_llvm(llvm)?;
    shell::step(format!(
        "building bpf-linker {VERSION} with LLVM {against} (a minute or two)"
    ));
    let prefix = llvm_prefix(against);
    let mut command = Command::new(cargo::program());
    toolchain::forget_host(&mut command);
    shell::run(
        command
            .current_dir(cargo::root())
            .args([
                "install",
                "bpf-linker",
                "--version",
                VERSION,
                "--locked",
                "--force",
            ])
            .args([
                "--no-default-features",
                "--features",
                &format!("llvm-{against}"),
            ])
            .arg("--root")
            .arg(tools())
            .env("LLVM_PREFIX", &prefix)
            .env("RUSTFLAGS", format!("-L {prefix}/lib")),
    )?;
    if !is_usable(&own, llvm) {
        bail!("{} was built, but does not run", own.display());
    }
    Ok(own)
}

/// Where tools that only this workspace uses are installed.
pub(crate) fn tools() -> PathBuf {
    cargo::root().join("target/tools")
}

/// Makes sure of the development files of an LLVM not older than the compiler's; returns which.
fn install_llvm(llvm: u32) -> Result<u32> {
    let missing = || {
        format!(
            "missing: bpf-linker {VERSION} built with LLVM {llvm} or newer (`cargo install \
             bpf-linker --version {VERSION} --no-default-features --features llvm-{llvm}`)"
        )
    };
    if !packages::has_apt() {
        bail!(missing());
    }
    let fitting = || {
        LLVM_VERSIONS
            .iter()
            .copied()
            .filter(|version| *version >= llvm)
    };
    let version = fitting()
        .find(|version| {
            Path::new(&llvm_prefix(*version))
                .join("include/llvm-c")
                .is_dir()
        })
        .or_else(|| fitting().find(|version| packages::is_known(&format!("llvm-{version}-dev"))))
        .with_context(missing)?;
    let llvm_dev = format!("llvm-{version}-dev");
    let polly = format!("libpolly-{version}-dev");
    packages::ensure(&[&llvm_dev, &polly, "zlib1g-dev", "libzstd-dev"]).with_context(missing)?;
    Ok(version)
}

fn llvm_prefix(version: u32) -> String {
    format!("/usr/lib/llvm-{version}")
}

fn is_usable(path: &Path, llvm: u32) -> bool {
    shell::is_executable(path)
        && shell::capture(Command::new(path).arg("--version"))
            .is_ok_and(|text| text.split_whitespace().nth(1) == Some(VERSION))
        && linked_llvm(path).is_none_or(|linked| linked >= llvm)
}

/// The LLVM that a linker loads; none when it was linked statically, then its maker chose.
fn linked_llvm(path: &Path) -> Option<u32> {
    let libraries = shell::capture(Command::new("ldd").arg(path)).ok()?;
    major_of(&libraries)
}

/// Reads `libLLVM.so.22.1` or `libLLVM-21.so.1` out of ldd's lines.
fn major_of(libraries: &str) -> Option<u32> {
    let (_, after) = libraries.split_once("libLLVM")?;
    let number = after
        .strip_prefix(".so.")
        .or_else(|| after.strip_prefix('-'))?;
    let digits = number
        .split(|letter: char| !letter.is_ascii_digit())
        .next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::major_of;

    #[test]
    fn reads_the_llvm_that_a_linker_loads() {
        for (libraries, expected) in [
            (
                "\tlibLLVM.so.22.1 => /usr/lib/llvm-22/lib/libLLVM.so.22.1 (0x0)",
                Some(22),
            ),
            (
                "\tlibc.so.6 => /lib/libc.so.6\n\tlibLLVM-21.so.1 => x",
                Some(21),
            ),
            ("\tlibc.so.6 => /lib/libc.so.6", None),
        ] {
            assert_eq!(major_of(libraries), expected, "{libraries}");
        }
    }
}
