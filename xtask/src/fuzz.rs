//! `cargo xtask fuzz`: the cargo-fuzz targets under `tests/fuzz`, each for a bounded time.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{cargo, linker, packages, shell, toolchain};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Targets to run; all when none is named
    targets: Vec<String>,
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let directory = cargo::root().join("tests/fuzz");
    if !directory.join("Cargo.toml").is_file() {
        bail!("this tree has no fuzz targets ({})", directory.display());
    }
    // libFuzzer is C++ and comes as source.
    packages::ensure(&["g++"])?;
    let program = ensure_cargo_fuzz()?;
    let listed = shell::capture(&mut fuzz(&program, "list"))?;
    for wanted in &arguments.targets {
        if !listed.lines().any(|target| target == wanted) {
            bail!(
                "no fuzz target {wanted}; there are: {}",
                listed.replace('\n', ", ")
            );
        }
    }
    let mut found = Vec::new();
    for target in listed.lines() {
        if !arguments.targets.is_empty() && !arguments.targets.iter().any(|wanted| wanted == target)
        {
            continue;
        }
        shell::step(format!("fuzzing {target} for {} s", arguments.seconds));
        let own = format!("fuzz/corpus/{target}");
        std::fs::create_dir_all(cargo::root().join("tests").join(&own))?;
        let mut command = fuzz(&program, "run");
        command.args([target, &own]);
        if target == "config" {
            // From nothing it would take days to find the name of a table.
            command.arg("../config");
        }
        command.args(["--", &format!("-max_total_time={}", arguments.seconds)]);
        // One finding must not hide those of the other targets.
        if let Err(error) = shell::run(&mut command) {
            eprintln!("{error:#}");
            found.push(target);
        }
    }
    if !found.is_empty() {
        bail!("failed: {}", found.join(", "));
    }
    Ok(())
}

/// cargo-fuzz of PATH, or our own, built when there is none.
fn ensure_cargo_fuzz() -> Result<PathBuf> {
    let nightly = shell::succeeds(
        Command::new("rustup")
            .env("RUSTUP_AUTO_INSTALL", "0")
            .args(["run", "nightly", "rustc", "--version"]),
    );
    if !nightly {
        bail!("fuzzing needs a nightly compiler: `rustup toolchain install nightly`");
    }
    let own = linker::tools().join("bin/cargo-fuzz");
    if let Some(found) = shell::which("cargo-fuzz").or_else(|| own.is_file().then(|| own.clone())) {
        return Ok(found);
    }
    shell::step("building cargo-fuzz");
    let mut command = Command::new(cargo::program());
    toolchain::forget_host(&mut command);
    shell::run(
        command
            .args(["install", "cargo-fuzz", "--locked", "--root"])
            .arg(linker::tools()),
    )
    .context("missing: cargo-fuzz")?;
    Ok(own)
}

fn fuzz(program: &PathBuf, subcommand: &str) -> Command {
    let mut command = Command::new("rustup");
    toolchain::forget_host(&mut command);
    command
        .current_dir(cargo::root().join("tests"))
        .args(["run", "nightly"])
        .arg(program)
        .arg(subcommand);
    command
}
