//! Mistakes in a configuration: where, what, and what to write instead.
//!
//! An operator sees all of them at once, so a mistake is a value that is collected, not an early return.

use std::{error, fmt};

use serde::Serialize;

/// Whether the configuration can be used in spite of a mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration is used; `check` still exits with 78.
    Warning,
}

/// One mistake, with its place as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// Refused or only warned of.
    pub severity: Severity,
    /// The file as it was named: the configuration, or one of its list files.
    pub file: String,
    /// Line, from 1.
    pub line: Option<u32>,
    /// Column in characters, from 1.
    pub column: Option<u32>,
    /// The setting, such as `zone[2] "cdn".networks[0]` (indices from 0); empty where there is none.
    pub path: String,
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub suggestion: Option<String>,
}

/// Every mistake of one configuration, warnings included, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Mistakes {
    /// The first of them in full.
    pub kept: Vec<Mistake>,
    /// How many more there were.
    pub left_off: u64,
}

impl Mistake {
    /// An error without a place in the file; the place is added by whoever knows it.
    #[must_use]
    pub fn error(file: &str, path: &str, what: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            file: file.to_owned(),
            line: None,
            column: None,
            path: path.to_owned(),
            what: what.into(),
            suggestion: None,
        }
    }

    /// True unless it is only a warning.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl Mistakes {
    /// How many mistakes are kept in full; a generated file with an error on each line fills no memory.
    pub const KEPT_MAX: usize = 1_000;

    /// Adds one, or counts it once the limit is reached. An error takes the place of a warning.
    pub fn push(&mut self, mistake: Mistake) {
        if self.kept.len() < Self::KEPT_MAX {
            self.kept.push(mistake);
            return;
        }
        self.left_off = self.left_off.saturating_add(1);
        if mistake.is_error() && !self.any_error() {
            self.kept.pop();
            self.kept.push(mistake);
        }
    }

    /// Whether the configuration must be refused.
    #[must_use]
    pub fn any_error(&self) -> bool {
        self.kept.iter().any(Mistake::is_error)
    }

    /// Puts them in the order a person reads the files: the configuration first, then its lists, by line.
    pub fn sort(&mut self, configuration: &str) {
        self.kept.sort_by(|a, b| {
            let key = |m: &Mistake| (m.file != configuration, m.line, m.column);
            let (a_key, b_key) = (key(a), key(b));
            (a_key.0, &a.file, a_key.1, a_key.2).cmp(&(b_key.0, &b.file, b_key.1, b_key.2))
        });
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
            if let Some(column) = self.column {
                write!(f, ":{column}")?;
            }
        }
        f.write_str(": ")?;
        if !self.is_error() {
            f.write_str("warning: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.what)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "; {suggestion}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.kept.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{mistake}")?;
        }
        if self.left_off > 0 {
            write!(f, "\nand {} more", self.left_off)?;
        }
        Ok(())
    }
}

impl error::Error for Mistakes {}

/// What was typed, safe to print on a terminal: control characters escaped, at most 60 characters.
pub(crate) fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    let mut out: String = text
        .chars()
        .flat_map(char::escape_debug)
        .take(CHARS_MAX)
        .collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        out.push('…');
    }
    out
}

/// The known word that `typed` was most likely meant to be.
///
/// Spelling apart from case, `-` and `_` always counts; otherwise up to one slip in three letters.
pub(crate) fn nearest<'k>(typed: &str, known: &[&'k str]) -> Option<&'k str> {
    const COMPARED_CHARS_MAX: usize = 48;
    if typed.chars().nth(COMPARED_CHARS_MAX).is_some() {
        return None;
    }
    let plain = |word: &str| word.to_ascii_lowercase().replace(['-', '_', ' '], "");
    let typed = plain(typed);
    known
        .iter()
        .map(|word| (slips(&typed, &plain(word)), *word))
        .filter(|(distance, word)| *distance <= word.len().min(typed.len()).div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Levenshtein distance, and a swap of neighbours counts once.
fn slips(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    let mut last_a = None;
    for (i, x) in a.chars().enumerate() {
        let mut next = vec![i.saturating_add(1)];
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize], k: usize| row.get(k).copied().unwrap_or(usize::MAX - 1);
            let mut cost = (at(&row, j) + usize::from(x != *y))
                .min(at(&row, j + 1) + 1)
                .min(at(&next, j) + 1);
            let swapped = j > 0 && last_a == Some(*y) && b.get(j.wrapping_sub(1)) == Some(&x);
            if swapped {
                cost = cost.min(at(&before, j - 1).saturating_add(1));
            }
            next.push(cost);
        }
        before = std::mem::replace(&mut row, next);
        last_a = Some(x);
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let known = [
            "interfaces",
            "mode",
            "trusted-proxy",
            "exempt",
            "limit_threshold",
        ];
        let table = [
            ("interface", Some("interfaces")),
            ("mdoe", Some("mode")),
            ("Trusted_Proxy", Some("trusted-proxy")),
            ("exampt", Some("exempt")),
            ("limit-treshold", Some("limit_threshold")),
            ("colour", None),
            ("", None),
        ];
        for (typed, expected) in table {
            assert_eq!(nearest(typed, &known), expected, "{typed}");
        }
        assert_eq!(nearest(&"m".repeat(1_000_000), &known), None);
    }

    #[test]
    fn a_mistake_reads_as_one_line() {
        let mut mistake = Mistake::error(
            "edgeward.toml",
            "zone[2] \"cdn\".networks[0]",
            "192.0.2.1/24 has host bits set",
        );
        (mistake.line, mistake.column) = (Some(12), Some(3));
        mistake.suggestion = Some("write 192.0.2.0/24".to_owned());
        let expected = "edgeward.toml:12:3: zone[2] \"cdn\".networks[0]: 192.0.2.1/24 has host bits set; write 192.0.2.0/24";
        assert_eq!(mistake.to_string(), expected);
        mistake.severity = Severity::Warning;
        assert!(
            mistake
                .to_string()
                .starts_with("edgeward.toml:12:3: warning: zone[2]"),
            "{mistake}"
        );
    }

    #[test]
    fn too_many_are_counted_and_an_error_is_never_the_one_left_off() {
        let mut mistakes = Mistakes::default();
        let mut warning = Mistake::error("f", "", "w");
        warning.severity = Severity::Warning;
        for _ in 0..Mistakes::KEPT_MAX {
            mistakes.push(warning.clone());
        }
        assert!(!mistakes.any_error());
        mistakes.push(Mistake::error("f", "", "e"));
        assert!(mistakes.any_error());
        assert_eq!(
            (mistakes.kept.len(), mistakes.left_off),
            (Mistakes::KEPT_MAX, 1)
        );
        assert!(mistakes.to_string().ends_with("and 1 more"));
    }
}
