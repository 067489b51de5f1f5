//! Runs kernel tests under libtest-mimic: those that cannot run say why and count as ignored, in CI as failed.

use std::path::Path;

use anyhow::{Context, bail};
use libtest_mimic::{Arguments, Conclusion, Failed, Trial};

use crate::network::Lab;
use crate::{Result, shell, sys};

/// A kernel test.
pub type TestFn = fn() -> Result<()>;

/// Tells whether this machine can run a lab; the error says what is missing and what would provide it.
///
/// # Errors
/// One sentence for the first thing missing.
pub fn preconditions() -> std::result::Result<(), String> {
    check().map_err(|error| format!("{error:#}"))
}

/// Runs the tests with the command line of `cargo test`, two at a time unless told otherwise, and ends the process.
///
/// When a precondition fails every test is ignored and the reason printed; with `CI=true` that is a failure.
pub fn run_tests(tests: Vec<(&'static str, TestFn)>) -> ! {
    let mut arguments = Arguments::from_args();
    // Labs are heavy and tests bound their waits: more at a time only makes both fail on a small machine.
    arguments.test_threads.get_or_insert(TEST_THREADS);
    let missing = if arguments.list {
        None
    } else {
        preconditions().err()
    };
    let conclusion = match missing {
        None => libtest_mimic::run(&arguments, trials(tests, false)),
        Some(reason) => run_without(&arguments, tests, reason),
    };
    conclusion.exit()
}

fn run_without(
    arguments: &Arguments,
    tests: Vec<(&'static str, TestFn)>,
    reason: String,
) -> Conclusion {
    eprintln!("kernel tests are skipped: {reason}");
    let mut trials = trials(tests, true);
    if std::env::var("CI").is_ok_and(|value| value == "true") {
        trials.push(Trial::test("preconditions", move || {
            Err(Failed::from(reason))
        }));
    }
    libtest_mimic::run(arguments, trials)
}

fn trials(tests: Vec<(&'static str, TestFn)>, ignored: bool) -> Vec<Trial> {
    tests
        .into_iter()
        .map(|(name, test)| {
            let run = move || test().map_err(|error| Failed::from(format!("{error:#}")));
            Trial::test(name, run).with_ignored_flag(ignored)
        })
        .collect()
}

fn check() -> Result<()> {
    if sys::effective_uid() != 0 {
        bail!(
            "the lab makes network namespaces and loads BPF programs, which needs root: run as root"
        );
    }
    for (argv, package) in [
        (&["ip", "-V"][..], "iproute2"),
        (&["ethtool", "--version"], "ethtool"),
        (&["nginx", "-v"], "nginx"),
    ] {
        shell::run(argv).with_context(|| format!("install the package {package}"))?;
    }
    if !Path::new("/proc/sys/net/ipv6").exists() {
        bail!("this kernel has no IPv6");
    }
    let lab = Lab::new("preconditions")?;
    crate::xdp::load("precondition", crate::xdp::XDP_PASS)?;
    drop(lab);
    Ok(())
}

/// Tests that run at the same time.
const TEST_THREADS: usize = 2;
