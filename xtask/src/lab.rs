//! What `demo`, `bench` and `vm` share: each is a program of the package `edgeward-tests`
//! that drives a release build of the agent as root.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::{build, build_ebpf, cargo, packages, shell};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Passed on to the program; `-- --help` shows what it takes
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<String>,
}

/// Sets up the packages, builds everything in release and runs the program as root.
///
/// # Errors
/// Something is missing, does not build, root cannot be had, or the program failed.
pub(crate) fn run(program: &str, packages: &[&str], arguments: &Arguments) -> Result<()> {
    let path = build(program, packages)?;
    shell::run(
        shell::as_root(path)?
            .current_dir(cargo::root())
            .args(&arguments.arguments),
    )
}

/// Sets up the packages, builds everything in release and returns where the program lies.
///
/// # Errors
/// Something is missing or does not build.
pub(crate) fn build(program: &str, packages: &[&str]) -> Result<PathBuf> {
    if !cargo::has_binary("edgeward-tests", program)? {
        bail!("this tree has no {program} (a program of the package edgeward-tests)");
    }
    packages::ensure(packages)?;
    build_ebpf::build(false)?;
    // The program finds the agent beside itself.
    build::agent(true)?;
    shell::step(format!("building {program}"));
    cargo::built(
        program,
        &[
            "build",
            "--release",
            "--package",
            "edgeward-tests",
            "--bin",
            program,
        ],
    )
}
