//! `cargo xtask traffic`: labelled sign-in traffic, and how well detection does on it. Needs no root.

use std::process::Command;

use anyhow::Result;

use crate::{build_ebpf, cargo, lab, peers, shell};

pub(crate) fn run(arguments: &lab::Arguments) -> Result<()> {
    if arguments.arguments.iter().any(|word| word == "peers") {
        peers::ensure()?;
    }
    // The agent's library embeds the program, also where only its detectors are wanted.
    build_ebpf::build(false)?;
    let program = cargo::built(
        "edgeward-traffic",
        &[
            "build",
            "--release",
            "--package",
            "edgeward-tests",
            "--bin",
            "edgeward-traffic",
        ],
    )?;
    shell::run(
        Command::new(program)
            .current_dir(cargo::root())
            .args(&arguments.arguments),
    )
}
