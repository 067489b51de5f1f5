//! What comes over the guest's serial line, read as results.

use std::fmt;

/// Results of one kernel. Displays as the counts that `cargo test` prints, after what went wrong.
#[derive(Debug, Default)]
pub(crate) struct Report {
    passed: u64,
    failed: u64,
    ignored: u64,
    /// Set once the guest runs its init.
    booted: bool,
    /// The guest came to its end.
    done: bool,
    /// The binary that runs now, with the failures counted before it.
    running: Option<(String, u64)>,
    /// What the kernel complained about, and what else was wrong.
    troubles: Vec<String>,
    /// Measurements for people.
    facts: Vec<String>,
}

impl Report {
    /// Reads one line; true when a person wants to see it.
    pub(crate) fn read(&mut self, line: &str) -> bool {
        if let Some((_, message)) = line.split_once(MARK) {
            self.message(message.trim());
            return false;
        }
        if let Some(counts) = line.trim().strip_prefix("test result: ") {
            self.count(counts);
        }
        if line.contains("Kernel panic") {
            self.troubles.push(line.trim().to_owned());
        }
        self.running.is_some() && !line.trim().is_empty()
    }

    /// Whether the guest's init has come as far as saying so.
    pub(crate) const fn has_booted(&self) -> bool {
        self.booted
    }

    /// Whether the guest has nothing more to say.
    pub(crate) const fn is_done(&self) -> bool {
        self.done
    }

    /// Notes how the machine ended, which is a failure unless it was the guest's own doing.
    pub(crate) fn close(&mut self, end: &str) {
        if !self.done {
            let during = self
                .running
                .take()
                .map_or_else(|| "its start".to_owned(), |(name, _)| name);
            self.troubles.push(format!(
                "the guest did not come to its end: {end} during {during}"
            ));
        }
        self.failed += u64::from(!self.troubles.is_empty());
        if self.passed + self.failed == 0 {
            self.troubles.push("no test ran".to_owned());
            self.failed = 1;
        }
    }

    /// True when every test passed and the kernel complained about nothing.
    pub(crate) const fn is_good(&self) -> bool {
        self.failed == 0 && self.passed > 0
    }

    fn message(&mut self, message: &str) {
        let (word, rest) = message.split_once(' ').unwrap_or((message, ""));
        match word {
            "booted" => self.booted = true,
            "done" => self.done = true,
            "begin" => self.running = Some((rest.to_owned(), self.failed)),
            "end" => self.end(rest),
            "fact" => {
                println!("    {rest}");
                self.facts.push(rest.to_owned());
            }
            "complaint" => self.troubles.push(rest.to_owned()),
            _ => self.troubles.push(format!("the guest said {message:?}")),
        }
    }

    /// A binary that died without counting a failure is one.
    fn end(&mut self, rest: &str) {
        let before = self.running.take().map_or(0, |(_, failed)| failed);
        if !rest.ends_with(" 0") && self.failed == before {
            self.failed += 1;
            self.troubles
                .push(format!("test binary and exit code: {rest}"));
        }
    }

    /// Adds up `ok. 3 passed; 0 failed; 1 ignored; …`.
    fn count(&mut self, counts: &str) {
        let counts = counts.split_once(". ").map_or("", |(_, counts)| counts);
        for part in counts.split(';') {
            let Some((number, word)) = part.trim().split_once(' ') else {
                continue;
            };
            let Ok(number) = number.parse::<u64>() else {
                continue;
            };
            match word {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fact in &self.facts {
            writeln!(formatter, "    {fact}")?;
        }
        for trouble in &self.troubles {
            writeln!(formatter, "    trouble: {trouble}")?;
        }
        let word = if self.is_good() { "ok" } else { "FAILED" };
        let Self {
            passed,
            failed,
            ignored,
            ..
        } = self;
        write!(
            formatter,
            "test result: {word}. {passed} passed; {failed} failed; {ignored} ignored"
        )
    }
}

/// In front of what is meant for us.
pub(crate) const MARK: &str = "@@edgeward ";

#[cfg(test)]
mod tests {
    use super::*;

    fn report(lines: &[&str]) -> Report {
        let mut report = Report::default();
        for line in lines {
            report.read(line);
        }
        report.close("power-off");
        report
    }

    const GOOD: [&str; 6] = [
        "@@edgeward booted 6.1.0",
        "@@edgeward begin vm",
        "[    9.1] noise @@edgeward fact verifier: 7 instructions",
        "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s",
        "@@edgeward end vm 0",
        "@@edgeward done",
    ];

    #[test]
    fn counts_and_facts_are_summed() {
        let report = report(&GOOD);
        assert!(report.is_good());
        assert!(
            report.to_string().contains("verifier: 7 instructions"),
            "{report}"
        );
        assert!(
            report
                .to_string()
                .ends_with("test result: ok. 3 passed; 0 failed; 1 ignored"),
            "{report}"
        );
    }

    #[test]
    fn every_bad_end_is_a_failure() {
        for (missing, _) in GOOD
            .iter()
            .enumerate()
            .filter(|(_, line)| line.contains("done"))
        {
            let lines: Vec<_> = GOOD
                .iter()
                .enumerate()
                .filter(|(at, _)| *at != missing)
                .map(|(_, line)| *line)
                .collect();
            assert!(!report(&lines).is_good(), "{lines:?}");
        }
        let with = |at: usize, line: &'static str| {
            let mut lines = GOOD.to_vec();
            lines[at] = line;
            report(&lines)
        };
        assert!(!with(4, "@@edgeward end vm 139").is_good());
        assert!(!with(2, "@@edgeward complaint WARNING: CPU: 0 at net/core").is_good());
        assert!(!with(2, "Kernel panic - not syncing").is_good());
        assert!(!with(3, "test result: FAILED. 3 passed; 2 failed; 0 ignored").is_good());
        assert!(!report(&["@@edgeward done"]).is_good(), "no test ran");
        assert!(!report(&[]).is_good());
    }

    #[test]
    fn a_failure_is_counted_once() {
        let report = report(&[
            "@@edgeward begin a",
            "test result: FAILED. 3 passed; 2 failed; 0 ignored",
            "@@edgeward end a 101",
            "@@edgeward done",
        ]);
        assert_eq!((report.passed, report.failed), (3, 2));
    }
}
