//! `cargo xtask test`: everything that CI runs, in the same order, closed by one line of counts.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::tally::Tally;
use crate::{
    build, build_ebpf, cargo, lint, okta, packages, peers, proxies, reproducible, shell, wheels,
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Run only the tests whose name contains this, and neither lints nor the reproducible build
    filter: Option<String>,
    /// Leave out the tests that need root and a kernel
    #[arg(long)]
    no_kernel: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut tally = Tally::default();
    let mut kernel = Tally::default();
    if tally.check("the BPF program", || build_ebpf::build(false)) {
        let filter = arguments.filter.as_deref();
        if filter.is_none() {
            tally.check("the BPF program is reproducible", || {
                reproducible::check(false)
            });
        }
        let mut agent = None;
        tally.check("the agent", || {
            agent = Some(build::agent(false)?);
            Ok(())
        });
        if filter.is_none() {
            tally.add(&lint::checks());
        }
        unit_tests(&mut tally, filter);
        if let Some(agent) = agent {
            if arguments.no_kernel {
                kernel.skip("kernel tests", "--no-kernel");
            } else {
                kernel_tests(&mut kernel, filter);
            }
            if filter.is_none() {
                samples(&mut tally, &agent);
            }
        }
    }
    let kernel_skipped = kernel.skipped;
    tally.add(&kernel);
    println!("{tally}");
    if tally.failed > 0 {
        bail!("{} failed", tally.failed);
    }
    if kernel_skipped > 0 && shell::is_ci() {
        bail!("{kernel_skipped} kernel tests did not run; under CI that is a failure");
    }
    Ok(())
}

fn unit_tests(tally: &mut Tally, filter: Option<&str>) {
    let mut command = cargo::cargo();
    command.args([
        "test",
        "--quiet",
        "--workspace",
        "--lib",
        "--bins",
        "--no-fail-fast",
    ]);
    command.args(filter);
    tally.run("unit tests", &mut command);
}

/// Builds the test binaries as the developer and runs them as root, so that root owns nothing in
/// the target directory.
fn kernel_tests(tally: &mut Tally, filter: Option<&str>) {
    if let Err(error) = shell::as_root("true").and_then(|_| packages::ensure(packages::TEST)) {
        tally.skip("kernel tests", format!("{error:#}"));
        return;
    }
    // The tests that need them look for them and count as skipped without (under CI: as failed).
    let sets = wheels::SETS.iter().map(wheels::ensure);
    let others = [proxies::ensure(), okta::ensure(), peers::ensure()];
    for there in others.into_iter().chain(sets) {
        if let Err(error) = there {
            eprintln!("note: {error:#}");
        }
    }
    let build = ["test", "--package", "edgeward-tests", "--tests", "--no-run"];
    let tests = match cargo::executables(&build) {
        Ok(made) => made
            .into_iter()
            .filter(|made| made.is_test)
            .collect::<Vec<_>>(),
        Err(error) => return tally.fail("kernel tests", &error),
    };
    if tests.is_empty() {
        tally.skip("kernel tests", "the package edgeward-tests has none");
    }
    for test in tests {
        // A test that hangs must not hang CI until somebody looks.
        match shell::as_root("timeout") {
            Ok(mut command) => {
                command
                    .args(["--kill-after=30", TEST_SECONDS_MAX])
                    .arg(&test.path)
                    .args(filter)
                    .current_dir(cargo::root().join("tests"));
                tally.run(&format!("kernel test {}", test.name), &mut command);
            }
            Err(error) => tally.skip(&test.name, format!("{error:#}")),
        }
    }
}

/// Every configuration that is shipped must be one that the agent takes.
fn samples(tally: &mut Tally, agent: &Path) {
    match sample_files() {
        Ok(files) if files.is_empty() => {
            tally.skip("sample configurations", "there is no config/*.toml")
        }
        Ok(files) => {
            for file in files {
                tally.check(&format!("edgeward check {}", file.display()), || {
                    let mut command = std::process::Command::new(agent);
                    shell::run(command.args(["check", "--config"]).arg(&file))
                });
            }
        }
        Err(error) => tally.fail("sample configurations", &error),
    }
}

fn sample_files() -> Result<Vec<PathBuf>> {
    let directory = cargo::root().join("config");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&directory)
        .with_context(|| format!("cannot read {}", directory.display()))?
    {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// How long one test binary may run, in seconds.
const TEST_SECONDS_MAX: &str = "1800";
