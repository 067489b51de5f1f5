//! `cargo xtask vm`: the program and the agent on other kernels than this machine's.
//!
//! Debian's kernels are fetched by apt, unpacked and booted under qemu with a root file system in memory that
//! holds the agent, the test binaries and what they need. The guest runs the tests and powers off; its serial
//! line is all that comes back. docs/kernels.md says which kernels and why.

mod boot;
mod guest;
mod image;
mod modules;
mod packages;
mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;

use self::packages::{Obtained, SERIES, Series};
use self::report::Report;

/// Runs the kernel tests on Debian's kernels under qemu
#[derive(Parser)]
#[command(name = "cargo xtask vm")]
struct Arguments {
    /// The series to boot
    #[arg(default_value = "all", value_parser = ["6.1", "6.12", "all"])]
    kernel: String,
    /// Test binaries to run beside the guest's own checks, by name
    #[arg(long, value_delimiter = ',', default_value = "lab,verdicts,steering")]
    tests: Vec<String>,
    /// A test binary that cargo built; xtask gives one for each
    #[arg(long = "test-binary", value_name = "FILE")]
    binaries: Vec<PathBuf>,
    /// Longest that one kernel may take from power-on to power-off
    #[arg(long, default_value_t = 900)]
    seconds: u64,
    /// Show everything that comes over the serial line
    #[arg(long)]
    verbose: bool,
}

fn main() -> ExitCode {
    // The same binary inside the guest, where arguments belong to the test harness.
    if std::env::var_os(guest::VARIABLE).is_some() {
        guest::run();
    }
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("vm: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Boots every wanted kernel; true when nothing failed.
fn run(arguments: &Arguments) -> Result<bool> {
    let places = Places::find()?;
    let chosen = chosen(arguments);
    for name in arguments
        .tests
        .iter()
        .filter(|name| !is_among(&chosen, name))
    {
        println!("note: there is no test binary {name:?}; it is left out");
    }
    let mut good = true;
    let mut lines = Vec::new();
    for series in SERIES {
        if arguments.kernel != "all" && arguments.kernel != series.name {
            continue;
        }
        let line = match packages::obtain(series, &places.vm)? {
            Ok(kernel) => {
                let report = test(series, &kernel, &chosen, &places, arguments)
                    .with_context(|| format!("Linux {}", series.name))?;
                good &= report.is_good();
                format!(
                    "Linux {} ({} {})\n{report}",
                    kernel.release, kernel.package, kernel.version
                )
            }
            Err(missing) => {
                // What could not run is a failure where nobody reads the reason.
                good &= std::env::var_os("CI").is_none();
                format!("Linux {}: SKIPPED: {missing}", series.name)
            }
        };
        println!("{line}");
        lines.push(line);
    }
    if lines.len() > 1 {
        println!("\nall kernels:\n{}", lines.join("\n"));
    }
    Ok(good)
}

fn test(
    series: &Series,
    kernel: &Obtained,
    chosen: &[(&str, &Path)],
    places: &Places,
    arguments: &Arguments,
) -> Result<Report> {
    let folder = places.vm.join(series.name);
    println!("==> Linux {}: making the guest's files", kernel.release);
    let initramfs = image::make(&folder, kernel, &places.agent, &places.program, chosen)?;
    println!("==> Linux {}: booting", kernel.release);
    boot::run(&boot::Machine {
        kernel: &kernel.image,
        initramfs: &initramfs,
        log: &folder.join("console.log"),
        limit: Duration::from_secs(arguments.seconds),
        verbose: arguments.verbose,
    })
}

/// The wanted binaries that exist: name and path.
fn chosen(arguments: &Arguments) -> Vec<(&str, &Path)> {
    let named = arguments
        .binaries
        .iter()
        .filter_map(|path| Some((test_name(path)?, path.as_path())));
    named
        .filter(|(name, _)| arguments.tests.iter().any(|wanted| wanted == name))
        .collect()
}

fn is_among(chosen: &[(&str, &Path)], name: &str) -> bool {
    chosen.iter().any(|(found, _)| *found == name)
}

/// A test's name in the file name that cargo gave it: `verdicts` of `verdicts-0f1e2d3c4b5a6978`.
fn test_name(path: &Path) -> Option<&str> {
    let file = path.file_name()?.to_str()?;
    Some(file.rsplit_once('-').map_or(file, |(name, _)| name))
}

/// Where what goes into the guest lies, and where it is put together.
struct Places {
    agent: PathBuf,
    program: PathBuf,
    vm: PathBuf,
}

impl Places {
    /// Everything is found from this binary's own place, `target/release`.
    fn find() -> Result<Self> {
        let own = std::env::current_exe().context("cannot find this program's own file")?;
        let target = own
            .ancestors()
            .nth(2)
            .context("this program is not in a target directory")?;
        let places = Self {
            agent: own.with_file_name("edgeward"),
            program: target.join("ebpf/edgeward-xdp"),
            vm: target.join("vm"),
        };
        for (path, build) in [
            (&places.agent, "build --release"),
            (&places.program, "build-ebpf"),
        ] {
            if !path.is_file() {
                bail!("there is no {}: run `cargo xtask {build}`", path.display());
            }
        }
        places.agree()?;
        Ok(places)
    }
}

impl Places {
    /// The guest loads the program by itself and through the agent: both have to be the same.
    fn agree(&self) -> Result<()> {
        let read = |path: &Path| {
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
        };
        let (agent, program) = (read(&self.agent)?, read(&self.program)?);
        if !agent.windows(program.len()).any(|window| window == program) {
            bail!(
                "{} embeds another program than {}: build again",
                self.agent.display(),
                self.program.display()
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_known_by_the_name_in_its_file_name() {
        assert_eq!(
            test_name(Path::new("/t/deps/verdicts-0f1e2d3c4b5a6978")),
            Some("verdicts")
        );
        assert_eq!(
            test_name(Path::new("/t/two-words-0f1e2d3c4b5a6978")),
            Some("two-words")
        );
        assert_eq!(test_name(Path::new("/t/plain")), Some("plain"));
    }
}
