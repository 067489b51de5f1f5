//! Counts of what passed, failed and could not run, summed over everything that `cargo xtask test`
//! starts.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::shell;

/// Displays as the closing line of a run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Tally {
    /// Runs one check and counts it; a failure is shown, and the run goes on.
    /// Returns whether it passed.
    pub(crate) fn check(&mut self, name: &str, check: impl FnOnce() -> Result<()>) -> bool {
        shell::step(name);
        match check() {
            Ok(()) => {
                self.passed += 1;
                true
            }
            Err(error) => {
                self.fail(name, &error);
                false
            }
        }
    }

    /// Counts one failure and shows why.
    pub(crate) fn fail(&mut self, name: &str, error: &anyhow::Error) {
        eprintln!("FAILED {name}: {error:#}");
        self.failed += 1;
    }

    /// Counts one check that could not run and shows why.
    pub(crate) fn skip(&mut self, name: &str, why: impl fmt::Display) {
        eprintln!("SKIPPED {name}: {why}");
        self.skipped += 1;
    }

    /// Runs test binaries (or a `cargo test` of many), shows their output and adds up what their
    /// `test result:` lines say. An unhappy end that no such line told of counts as one failure.
    pub(crate) fn run(&mut self, name: &str, command: &mut Command) {
        shell::step(name);
        match count(command) {
            Ok((counted, ended)) => {
                self.add(&counted);
                if let Err(error) = ended
                    && counted.failed == 0
                {
                    self.fail(name, &error);
                }
            }
            Err(error) => self.fail(name, &error),
        }
    }

    /// Adds another tally to this one.
    pub(crate) fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            skipped,
        } = self;
        write!(
            formatter,
            "{passed} passed, {failed} failed, {skipped} skipped"
        )
    }
}

/// Runs to the end; the outer error says that it did not run, the inner how it ended.
fn count(command: &mut Command) -> Result<(Tally, Result<()>)> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", shell::words(command)))?;
    let mut tally = Tally::default();
    let mut results = 0_u32;
    if let Some(output) = child.stdout.take() {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line)? > 0 {
            let text = String::from_utf8_lossy(&line);
            print!("{text}");
            if let Some(counted) = parse(&text) {
                tally.add(&counted);
                results += 1;
            }
            line.clear();
        }
    }
    let status = child.wait()?;
    let ended = if !status.success() {
        Err(anyhow::anyhow!(
            "`{}` ended with {status}",
            shell::words(command)
        ))
    } else if results == 0 {
        Err(anyhow::anyhow!(
            "`{}` reported no result",
            shell::words(command)
        ))
    } else {
        Ok(())
    };
    Ok((tally, ended))
}

/// Reads `test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; …`.
fn parse(line: &str) -> Option<Tally> {
    let (_, counts) = line
        .trim()
        .strip_prefix("test result: ")?
        .split_once(". ")?;
    let mut tally = Tally::default();
    for part in counts.split("; ") {
        let Some((number, what)) = part.split_once(' ') else {
            continue;
        };
        match what {
            "passed" => tally.passed = number.parse().ok()?,
            "failed" => tally.failed = number.parse().ok()?,
            "ignored" => tally.skipped = number.parse().ok()?,
            _ => {}
        }
    }
    Some(tally)
}

#[cfg(test)]
mod tests {
    use super::{Tally, parse};

    #[test]
    fn reads_result_lines_and_no_others() {
        let line = "test result: FAILED. 5 passed; 2 failed; 1 ignored; 0 measured; 7 filtered out";
        let expected = Tally {
            passed: 5,
            failed: 2,
            skipped: 1,
        };
        assert_eq!(parse(line), Some(expected));
        assert_eq!(parse("test result_is_read ... ok"), None);
        assert_eq!(parse("5 passed; 2 failed"), None);
    }

    #[test]
    fn an_end_without_a_result_is_a_failure() {
        for script in [
            "exit 3",
            "true",
            "echo 'test result: ok. 1 passed; 0 failed'; exit 3",
        ] {
            let mut tally = Tally::default();
            tally.run(
                script,
                std::process::Command::new("sh").args(["-c", script]),
            );
            assert_eq!(tally.failed, 1, "{script}");
        }
    }

    #[test]
    fn a_told_failure_counts_once() {
        let mut tally = Tally::default();
        let script = "echo 'test result: FAILED. 4 passed; 2 failed; 1 ignored'; exit 101";
        tally.run(
            script,
            std::process::Command::new("sh").args(["-c", script]),
        );
        assert_eq!(
            tally,
            Tally {
                passed: 4,
                failed: 2,
                skipped: 1
            }
        );
    }
}
