//! `cargo xtask build-ebpf`: builds the BPF program and puts it where the agent embeds it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::toolchain::{TARGET, Toolchain};
use crate::{cargo, reproducible, shell};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// With aya-log lines from inside the kernel
    #[arg(long)]
    debug_log: bool,
    /// Build twice in two directories and compare the bytes; the embedded program stays as it is
    #[arg(long)]
    check_reproducible: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.check_reproducible {
        return reproducible::check(arguments.debug_log);
    }
    build(arguments.debug_log)
}

/// Builds the program and replaces the embedded one when its bytes differ.
///
/// # Errors
/// No toolchain, a failed build, or the file cannot be written.
pub(crate) fn build(debug_log: bool) -> Result<()> {
    let toolchain = Toolchain::ensure()?;
    let made = build_in(
        &toolchain,
        &cargo::root().join("target/bpf-build"),
        debug_log,
    )?;
    replace(&made, &cargo::ebpf_program())
}

/// Builds the program in a target directory of its own and returns where it lies.
///
/// # Errors
/// The build failed; cargo has shown why.
pub(crate) fn build_in(
    toolchain: &Toolchain,
    directory: &Path,
    debug_log: bool,
) -> Result<PathBuf> {
    shell::step("building the BPF program");
    shell::run(&mut command(toolchain, "build", directory, debug_log, &[]))?;
    Ok(directory.join(TARGET).join("release/edgeward-xdp"))
}

/// Compiles the program without linking, every warning an error.
///
/// # Errors
/// There is a warning or an error; cargo has shown it.
pub(crate) fn check_warnings() -> Result<()> {
    let toolchain = Toolchain::ensure()?;
    let directory = cargo::root().join("target/bpf-build");
    shell::run(&mut command(
        &toolchain,
        "check",
        &directory,
        false,
        &["-Dwarnings"],
    ))
}

fn command(
    toolchain: &Toolchain,
    subcommand: &str,
    directory: &Path,
    debug_log: bool,
    more_flags: &[&str],
) -> std::process::Command {
    let mut command = toolchain.cargo(subcommand);
    command
        .args(["--quiet", "--release", "--package", "edgeward-ebpf"])
        .args(["--bin", "edgeward-xdp", "--features"])
        .arg(if debug_log { "program,log" } else { "program" })
        .arg("--target-dir")
        .arg(directory)
        // Set to the end by us: the workspace's own release profile strips debug information, of
        // which the linker makes BTF, and without BTF the kernel takes no program with a spin lock
        // and nobody sees map fields in bpftool.
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3")
        .env("CARGO_PROFILE_RELEASE_LTO", "fat")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_STRIP", "none")
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            flags(toolchain, directory, more_flags),
        );
    command
}

/// The compiler's flags in cargo's encoding, which allows spaces in paths.
fn flags(toolchain: &Toolchain, directory: &Path, more: &[&str]) -> OsString {
    let mut flags: Vec<OsString> = vec![
        "-Cdebuginfo=2".into(),
        "-Clink-arg=--btf".into(),
        // Linux 6.1 (6.12 no more) refuses a loop whose last block lies in front of its first ("back-edge from
        // insn …": what falls through into a block may not close a loop, only a jump may), and LLVM's
        // block placement likes to lay loops that way. Test runs show no difference in time without it.
        "-Clink-arg=--llvm-args=-disable-block-placement".into(),
    ];
    flags.extend(more.iter().map(OsString::from));
    // The paths of this machine would make every checkout's bytes different. The last prefix that
    // matches wins, so the build directory comes after the workspace that holds it.
    for (from, to) in [
        (toolchain.sysroot().to_owned(), "/rust"),
        (cargo_home(), "/cargo"),
        (cargo::root(), "/edgeward"),
        (directory.to_owned(), "/build"),
    ] {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(from);
        flag.push("=");
        flag.push(to);
        flags.push(flag);
    }
    flags.join("\x1f".as_ref())
}

fn cargo_home() -> PathBuf {
    std::env::var_os("CARGO_HOME").map_or_else(
        || std::env::home_dir().unwrap_or_default().join(".cargo"),
        PathBuf::from,
    )
}

/// Puts the program in place, whole or not at all: a cargo build may be reading it now. Equal
/// bytes are left alone, so that the agent is not built again for nothing.
fn replace(from: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if fs::read(to).is_ok_and(|present| present == bytes) {
        return Ok(());
    }
    let aside = to.with_extension("new");
    if let Some(directory) = to.parent() {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
    }
    fs::write(&aside, &bytes).with_context(|| format!("cannot write {}", aside.display()))?;
    fs::rename(&aside, to).with_context(|| format!("cannot write {}", to.display()))?;
    shell::step(format!("{} is new ({} bytes)", to.display(), bytes.len()));
    Ok(())
}
