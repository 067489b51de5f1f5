//! What the reader sees: numbered steps, commands before their output, a table, and the count of what held.
//!
//! Plain lines only; colours where standard output is a terminal and `NO_COLOR` is not set.

use std::io::{self, IsTerminal, Write};

use lab::{Agent, Output, Result};

/// The printed page, and what was expected on the way.
pub(crate) struct Page {
    colours: bool,
    steps: u32,
    held: u32,
    failures: Vec<String>,
    /// Whether the last line was empty: two of them say no more than one.
    blank: bool,
}

/// How a piece of text looks on a terminal.
#[derive(Clone, Copy)]
pub(crate) enum Style {
    Plain,
    Bold,
    Good,
    Bad,
}

impl Page {
    pub(crate) fn new() -> Self {
        let colours = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self {
            colours,
            steps: 0,
            held: 0,
            failures: Vec::new(),
            blank: true,
        }
    }

    /// Begins the next numbered step.
    pub(crate) fn step(&mut self, title: &str) {
        self.steps += 1;
        let title = self.paint(&format!("{}. {title}", self.steps), Style::Bold);
        self.line("");
        self.line(&title);
        self.line("");
    }

    /// Text for the reader, as it stands.
    pub(crate) fn say(&mut self, text: &str) {
        for line in text.lines() {
            self.line(&format!("   {line}"));
        }
    }

    /// Shows a command of the operator, runs it on the login host and shows what it printed.
    ///
    /// # Errors
    /// When it cannot be started or hangs.
    pub(crate) fn run(&mut self, agent: &Agent, arguments: &[&str], code: i32) -> Result<Output> {
        self.command(&format!("edgeward {}", typed(arguments)));
        let output = agent.cli(arguments)?;
        for line in output.stdout.lines().chain(output.stderr.lines()) {
            self.line(&format!("   | {line}"));
        }
        if output.code != code {
            self.expect(
                false,
                &format!("the command ends with code {code}; it was {}", output.code),
            );
        }
        Ok(output)
    }

    /// Shows a command that is run in another way.
    pub(crate) fn command(&mut self, text: &str) {
        let text = self.paint(&format!("login# {text}"), Style::Bold);
        self.line("");
        self.line(&format!("   {text}"));
    }

    /// Notes an expectation and says whether it held.
    pub(crate) fn expect(&mut self, held: bool, what: &str) {
        let sign = if held {
            self.held += 1;
            self.paint("[as it should be]", Style::Good)
        } else {
            self.failures.push(format!("step {}: {what}", self.steps));
            self.paint("[WRONG]", Style::Bad)
        };
        self.line(&format!("   {sign} {what}"));
    }

    /// Prints rows with their columns aligned; the first row is the header.
    pub(crate) fn table(&mut self, rows: &[Vec<(String, Style)>]) {
        let mut widths: Vec<usize> = Vec::new();
        for row in rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, (text, _)) in widths.iter_mut().zip(row) {
                *width = (*width).max(text.chars().count());
            }
        }
        self.line("");
        for row in rows {
            let mut line = String::new();
            for ((text, style), width) in row.iter().zip(&widths) {
                // Padded before it is painted: colour codes have no width.
                line.push_str(&self.paint(&format!("{text:width$}"), *style));
                line.push_str("  ");
            }
            self.line(&format!("   {}", line.trim_end()));
        }
        self.line("");
    }

    /// The last lines; whether everything held.
    pub(crate) fn close(&mut self, seconds: u64) -> bool {
        self.line("");
        if self.failures.is_empty() {
            let text = format!(
                "Everything held: {} expectations, {seconds} seconds.",
                self.held
            );
            let text = self.paint(&text, Style::Good);
            self.line(&text);
            return true;
        }
        let all = u64::from(self.held) + self.failures.len() as u64;
        let text = format!(
            "NOT everything held: {} of {all} expectations failed.",
            self.failures.len()
        );
        let text = self.paint(&text, Style::Bad);
        self.line(&text);
        for failure in std::mem::take(&mut self.failures) {
            self.line(&format!("  - {failure}"));
        }
        false
    }

    fn paint(&self, text: &str, style: Style) -> String {
        let code = match style {
            Style::Plain => return text.to_owned(),
            Style::Bold => "1",
            Style::Good => "32",
            Style::Bad => "31",
        };
        if self.colours {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn line(&mut self, text: &str) {
        let text = text.trim_end();
        if text.is_empty() && self.blank {
            return;
        }
        self.blank = text.is_empty();
        // A reader who has gone (`| head`) is no reason to leave the lab standing: the steps go on to the end.
        let _ = writeln!(io::stdout(), "{text}");
    }
}

/// Arguments as a person types them.
fn typed(arguments: &[&str]) -> String {
    let quoted = arguments.iter().map(|word| {
        if word.contains(' ') {
            format!("'{word}'")
        } else {
            (*word).to_owned()
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}
