//! Lines of any form, by a regular expression with named groups.

use regex::{Captures, Regex, RegexBuilder};

use super::{
    LogFormat, Maker, NO_ADDRESS, NO_TIME, Rejection, Told, address,
    json::Words,
    time::{self, Years},
};
use crate::policy::signal::{Flow, Outcome, Signal};

/// Reads lines by an expression. Lines that do not match are about something else.
///
/// The engine takes time linear in the line, whatever the expression.
#[derive(Debug)]
pub struct RegexLines {
    maker: Maker,
    expression: Expression,
    words: Words,
    years: Years,
}

/// An expression with named groups that a signal can be made of.
#[derive(Clone, Debug)]
pub struct Expression(Regex);

/// The groups that are known; `time` and `client` must be there.
const GROUPS: [&str; 7] = ["time", "client", "user", "outcome", "agent", "path", "flow"];
/// Memory of the compiled expression, bytes.
const COMPILED_BYTES_MAX: usize = 4 << 20;

impl Expression {
    /// Compiles it. Without a group `outcome` every line that matches is a failure.
    ///
    /// # Errors
    /// What is wrong with the expression, in a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expression = RegexBuilder::new(text)
            .size_limit(COMPILED_BYTES_MAX)
            .build()
            .map_err(|error| format!("the expression is not understood: {error}"))?;
        for group in expression.capture_names().flatten() {
            if !GROUPS.contains(&group) {
                return Err(format!(
                    "the group `{group}` is not known; there are {}",
                    GROUPS.join(", ")
                ));
            }
        }
        for group in ["time", "client"] {
            if !expression.capture_names().any(|name| name == Some(group)) {
                return Err(format!(
                    "the group `{group}` is missing: write (?<{group}>…)"
                ));
            }
        }
        Ok(Self(expression))
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Expression {}

impl RegexLines {
    /// A reader.
    #[must_use]
    pub const fn new(maker: Maker, expression: Expression, words: Words, latest_ms: u64) -> Self {
        Self {
            maker,
            expression,
            words,
            years: Years::new(latest_ms),
        }
    }
}

impl LogFormat for RegexLines {
    fn written(&mut self, latest_ms: u64) {
        self.years.written(latest_ms);
    }

    fn read(&mut self, line: &str, found: &mut Vec<Signal>) -> Result<(), Rejection> {
        let Some(captures) = self.expression.0.captures(line) else {
            return Ok(());
        };
        let outcome = match group(&captures, "outcome") {
            None => Outcome::Failure,
            Some(word) => self.words.meaning(word).ok_or(Rejection::new(
                "the outcome is a word that nobody explained (outcomes)",
            ))?,
        };
        let time = group(&captures, "time").unwrap_or_default();
        let flow = match group(&captures, "flow") {
            Some("recovery") => Flow::Recovery,
            Some("enrolment") => Flow::Enrolment,
            _ => Flow::SignIn,
        };
        found.push(
            self.maker.signal(Told {
                time_ms: time::any(time, &mut self.years).ok_or(NO_TIME)?,
                client: group(&captures, "client")
                    .and_then(address)
                    .ok_or(NO_ADDRESS)?,
                flow,
                outcome,
                user: group(&captures, "user"),
                agent: group(&captures, "agent"),
                path: group(&captures, "path"),
            }),
        );
        Ok(())
    }
}

fn group<'a>(captures: &Captures<'a>, name: &str) -> Option<&'a str> {
    captures.name(name).map(|found| found.as_str())
}
