//! The compiler for the BPF program. Two are known: a rustup nightly that has the `rust-src`
//! component (it builds `core` itself), and a distribution's compiler that ships a ready `core`
//! for BPF (Debian: `rustc-web`). The first is taken where it is usable, else the second.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{cargo, linker, packages, shell};

/// The target of the program: all hosts that Edgeward supports are little-endian.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// Where a distribution's compiler lies; rustup's never do.
const DISTRIBUTION_RUSTC: &str = "/usr/bin/rustc";

/// Variables of the outer cargo or of the developer's host builds. Each of them would change the
/// BPF build: its compiler, its flags, its profile or where its output goes.
const HOST_VARIABLES: &[&str] = &[
    "CARGO",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_INCREMENTAL",
    "LD_LIBRARY_PATH",
    "RUSTC",
    "RUSTC_BOOTSTRAP",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTDOC",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
];
const HOST_PREFIXES: &[&str] = &[
    "CARGO_BUILD_",
    "CARGO_CFG_",
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
    "CARGO_PROFILE_",
    "CARGO_TARGET_",
    "CARGO_UNSTABLE_",
];

enum Compiler {
    Nightly,
    Distribution,
}

/// A compiler and the linker that reads its bitcode.
pub(crate) struct Toolchain {
    compiler: Compiler,
    /// The compiler's LLVM; the linker's is the same or newer.
    llvm: u32,
    sysroot: PathBuf,
    linker: PathBuf,
}

impl Toolchain {
    /// Finds a toolchain, or installs one where that is possible; quick when it is there.
    ///
    /// # Errors
    /// None is there and none can be installed: the error names what is missing.
    pub(crate) fn ensure() -> Result<Self> {
        let mut toolchain = Self::ensure_compiler()?;
        match linker::ensure(toolchain.llvm) {
            Ok(path) => toolchain.linker = path,
            // A nightly runs ahead of every LLVM that the machine can get; a distribution's
            // compiler does not.
            Err(error) if matches!(toolchain.compiler, Compiler::Nightly) => {
                eprintln!("note: the nightly compiler finds no linker: {error:#}");
                toolchain = Self::ensure_distribution()?;
                toolchain.linker = linker::ensure(toolchain.llvm)?;
            }
            Err(error) => return Err(error),
        }
        Ok(toolchain)
    }

    /// The toolchain's cargo, ready for a subcommand that builds for BPF; nothing of the host's
    /// settings leaks into it.
    pub(crate) fn cargo(&self, subcommand: &str) -> Command {
        let mut command = match self.compiler {
            Compiler::Nightly => {
                let mut command = Command::new("rustup");
                command.args(["run", "nightly", "cargo", subcommand, "-Zbuild-std=core"]);
                command
            }
            Compiler::Distribution => {
                let mut command = Command::new(cargo::program());
                command.arg(subcommand);
                command
            }
        };
        forget_host(&mut command);
        if matches!(self.compiler, Compiler::Distribution) {
            // The bootstrap switch allows the unstable features that aya-ebpf uses.
            command
                .env("RUSTC", DISTRIBUTION_RUSTC)
                .env("RUSTC_BOOTSTRAP", "1");
        }
        command
            .current_dir(cargo::root())
            .arg("--target")
            .arg(TARGET)
            .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &self.linker);
        command
    }

    /// The compiler's sysroot, which must not show in the program's debug information.
    pub(crate) fn sysroot(&self) -> &Path {
        &self.sysroot
    }

    /// One line for a person: which compiler and which linker.
    pub(crate) fn describe(&self) -> String {
        let compiler = match self.compiler {
            Compiler::Nightly => "rustup nightly with rust-src",
            Compiler::Distribution => DISTRIBUTION_RUSTC,
        };
        format!("{compiler} (LLVM {}), {}", self.llvm, self.linker.display())
    }

    fn ensure_compiler() -> Result<Self> {
        if let Some(found) = nightly().or_else(distribution) {
            return Ok(found);
        }
        if packages::COMPILER
            .iter()
            .all(|name| packages::is_known(name))
        {
            return Self::ensure_distribution();
        }
        if packages::has_apt() && shell::which("rustup").is_some() {
            shell::step("installing a nightly compiler with its sources by rustup");
            let arguments = [
                "toolchain",
                "install",
                "nightly",
                "--profile=minimal",
                "--component=rust-src",
            ];
            shell::run(Command::new("rustup").args(arguments)).with_context(compiler_missing)?;
            return nightly().with_context(compiler_missing);
        }
        bail!(compiler_missing())
    }

    fn ensure_distribution() -> Result<Self> {
        if let Some(found) = distribution() {
            return Ok(found);
        }
        if !packages::has_apt() {
            bail!(compiler_missing());
        }
        packages::ensure(packages::COMPILER).with_context(compiler_missing)?;
        distribution().with_context(compiler_missing)
    }
}

fn compiler_missing() -> String {
    format!(
        "missing: a compiler for {TARGET}; either `rustup toolchain install nightly --component \
         rust-src` or Debian's packages {}",
        packages::COMPILER.join(" ")
    )
}

fn nightly() -> Option<Toolchain> {
    let sysroot = rustc_says(rustup_nightly().arg("--print=sysroot"))?;
    let sources = Path::new(&sysroot).join("lib/rustlib/src/rust/library/core/Cargo.toml");
    if !sources.is_file() {
        return None;
    }
    Some(Toolchain {
        compiler: Compiler::Nightly,
        llvm: llvm_of(rustup_nightly().arg("-vV"))?,
        sysroot: sysroot.into(),
        linker: PathBuf::new(),
    })
}

fn distribution() -> Option<Toolchain> {
    let mut ask = Command::new(DISTRIBUTION_RUSTC);
    let library = rustc_says(ask.args(["--print=target-libdir", "--target", TARGET]))?;
    let has_core = std::fs::read_dir(library).ok()?.flatten().any(|file| {
        let name = file.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libcore-") && name.ends_with(".rlib")
    });
    if !has_core {
        return None;
    }
    Some(Toolchain {
        compiler: Compiler::Distribution,
        llvm: llvm_of(Command::new(DISTRIBUTION_RUSTC).arg("-vV"))?,
        sysroot: rustc_says(Command::new(DISTRIBUTION_RUSTC).arg("--print=sysroot"))?.into(),
        linker: PathBuf::new(),
    })
}

fn rustup_nightly() -> Command {
    let mut command = Command::new("rustup");
    // Looking for a toolchain must not download one.
    command
        .env("RUSTUP_AUTO_INSTALL", "0")
        .args(["run", "nightly", "rustc"]);
    command
}

/// What a compiler prints, or nothing where it cannot be run: then it is not usable.
fn rustc_says(command: &mut Command) -> Option<String> {
    forget_host(command);
    shell::capture(command).ok()
}

/// The major version of LLVM in what `rustc -vV` prints.
fn llvm_of(command: &mut Command) -> Option<u32> {
    rustc_says(command)?
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))?
        .split('.')
        .next()?
        .parse()
        .ok()
}

pub(crate) fn forget_host(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let is_ours = HOST_VARIABLES.contains(&text.as_ref())
            || HOST_PREFIXES.iter().any(|prefix| text.starts_with(prefix));
        if is_ours {
            command.env_remove(&name);
        }
    }
}
