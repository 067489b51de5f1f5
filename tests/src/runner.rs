//! Runs kernel tests under libtest-mimic: those that cannot run say why and count as ignored, in CI as failed.

use std::path::Path;

use anyhow::{Context, bail};
use libtest_mimic::{Arguments, Conclusion, Failed, Trial};

use crate::network::Lab;
use crate::{Result, shell, sys};

/// A kernel test.
pub type TestFn = fn() -> Result<()>;

/// What one test needs beside a lab; the error says what is missing and what provides it.
pub type Need = fn() -> std::result::Result<(), String>;

/// For tests that need nothing beside a lab.
///
/// # Errors
/// Never.
pub fn needs_nothing() -> std::result::Result<(), String> {
    Ok(())
}

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
    let needing = tests.into_iter();
    run_tests_needing(
        needing
            .map(|(name, test)| (name, test, needs_nothing as Need))
            .collect(),
    )
}

/// As [`run_tests`], for tests each of which may need something of its own: without it the test is ignored and the
/// reason printed; with `CI=true` it fails.
pub fn run_tests_needing(tests: Vec<(&'static str, TestFn, Need)>) -> ! {
    let mut arguments = Arguments::from_args();
    // Labs are heavy and tests bound their waits: more at a time only makes both fail on a small machine.
    arguments.test_threads.get_or_insert(TEST_THREADS);
    let missing = if arguments.list {
        None
    } else {
        preconditions().err()
    };
    let conclusion = match missing {
        None if arguments.list => libtest_mimic::run(&arguments, trials(tests, false)),
        None => libtest_mimic::run(&arguments, needing(tests)),
        Some(reason) => run_without(&arguments, tests, reason),
    };
    conclusion.exit()
}

fn run_without(
    arguments: &Arguments,
    tests: Vec<(&'static str, TestFn, Need)>,
    reason: String,
) -> Conclusion {
    eprintln!("kernel tests are skipped: {reason}");
    let mut trials = trials(tests, true);
    if is_ci() {
        trials.push(Trial::test("preconditions", move || {
            Err(Failed::from(reason))
        }));
    }
    libtest_mimic::run(arguments, trials)
}

fn trials(tests: Vec<(&'static str, TestFn, Need)>, ignored: bool) -> Vec<Trial> {
    tests
        .into_iter()
        .map(|(name, test, _)| trial(name, test).with_ignored_flag(ignored))
        .collect()
}

/// Tests of which those that lack what they need do not run.
fn needing(tests: Vec<(&'static str, TestFn, Need)>) -> Vec<Trial> {
    tests
        .into_iter()
        .map(|(name, test, need)| match need() {
            Ok(()) => trial(name, test),
            Err(reason) if is_ci() => Trial::test(name, move || Err(Failed::from(reason))),
            Err(reason) => {
                eprintln!("{name} is skipped: {reason}");
                trial(name, test).with_ignored_flag(true)
            }
        })
        .collect()
}

fn trial(name: &str, test: TestFn) -> Trial {
    Trial::test(name, move || {
        test().map_err(|error| Failed::from(format!("{error:#}")))
    })
}

fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
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
