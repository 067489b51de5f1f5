//! `cargo xtask lint`: formatting, clippy, warnings of the BPF program, architecture invariants,
//! dependencies.

use std::process::Command;

use anyhow::{Result, bail};

use crate::tally::Tally;
use crate::{build_ebpf, cargo, invariants, shell};

#[derive(clap::Args)]
pub(crate) struct Arguments {}

pub(crate) fn run(_: &Arguments) -> Result<()> {
    // The agent's build script wants the program, also when clippy runs it.
    build_ebpf::build(false)?;
    let tally = checks();
    println!("{tally}");
    if tally.failed > 0 {
        bail!("lint failed");
    }
    Ok(())
}

/// Runs every check and counts it; the program must have been built before.
pub(crate) fn checks() -> Tally {
    let mut tally = Tally::default();
    if has_component("fmt") {
        tally.check("cargo fmt", || {
            shell::run(cargo::cargo().args(["fmt", "--all", "--check"]))
        });
    } else {
        tally.skip(
            "cargo fmt",
            "not installed (`rustup component add rustfmt`)",
        );
    }
    if has_component("clippy") {
        tally.check("cargo clippy", || {
            let arguments = [
                "clippy",
                "--quiet",
                "--workspace",
                "--all-targets",
                "--",
                "--deny=warnings",
            ];
            shell::run(cargo::cargo().args(arguments))
        });
    } else {
        tally.skip(
            "cargo clippy",
            "not installed (`rustup component add clippy`)",
        );
    }
    tally.check("warnings of the BPF program", build_ebpf::check_warnings);
    tally.check("architecture invariants", invariants::check);
    if shell::which("cargo-deny").is_some() {
        tally.check("cargo deny", || {
            shell::run(cargo::cargo().args(["deny", "check"]))
        });
    } else {
        tally.skip("cargo deny", "not installed (`cargo install cargo-deny`)");
    }
    tally
}

fn has_component(subcommand: &str) -> bool {
    shell::succeeds(Command::new(cargo::program()).args([subcommand, "--version"]))
}
