//! The configuration exactly as it was typed, each value with its place in the file.
//!
//! Values are taken from the TOML tree by hand, not by a derived deserialiser: that one stops at the
//! first mistake, and an operator is to see all of them. A getter that finds something wrong notes a
//! [`Mistake`] and returns `None`; the caller goes on with a default that nobody will use.

use std::{cell::RefCell, ops::RangeInclusive};

use toml::de::{DeTable, DeValue};

use super::error::{Mistake, Mistakes, Severity, nearest, shown};

/// The text of one configuration file and the mistakes found in it so far.
pub(super) struct Source<'t> {
    name: &'t str,
    text: &'t str,
    /// Byte offset at which each line begins.
    lines: Vec<usize>,
    mistakes: RefCell<Mistakes>,
}

/// One value, its place and its path.
#[derive(Clone)]
pub(super) struct Node<'a> {
    source: &'a Source<'a>,
    value: &'a DeValue<'a>,
    at: usize,
    path: String,
}

/// A table whose keys have been checked against the known ones.
#[derive(Clone)]
pub(super) struct Table<'a> {
    source: &'a Source<'a>,
    entries: &'a DeTable<'a>,
    at: usize,
    path: String,
}

impl<'t> Source<'t> {
    pub(super) fn new(name: &'t str, text: &'t str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0)
            .chain(ends.map(|(at, _)| at.saturating_add(1)))
            .collect();
        Self {
            name,
            text,
            lines,
            mistakes: RefCell::default(),
        }
    }

    /// Line and column (in characters) of a byte offset, both from 1.
    fn place(&self, at: usize) -> (u32, u32) {
        let line = self.lines.partition_point(|start| *start <= at);
        let start = line
            .checked_sub(1)
            .and_then(|index| self.lines.get(index))
            .copied()
            .unwrap_or(0);
        let before = self
            .text
            .get(start..at.min(self.text.len()))
            .unwrap_or_default();
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        (
            number(line),
            number(before.chars().count().saturating_add(1)),
        )
    }

    pub(super) fn note(&self, mistake: Mistake) {
        self.mistakes.borrow_mut().push(mistake);
    }

    /// Notes an error at a byte offset.
    pub(super) fn error_at(&self, at: usize, path: &str, what: String, suggestion: Option<String>) {
        let (line, column) = self.place(at);
        let (line, column) = (Some(line), Some(column));
        self.note(Mistake {
            line,
            column,
            suggestion,
            ..Mistake::error(self.name, path, what)
        });
    }

    /// The same for a warning.
    fn warning_at(&self, at: usize, path: &str, what: String, suggestion: Option<String>) {
        let (line, column) = self.place(at);
        let (line, column, severity) = (Some(line), Some(column), Severity::Warning);
        self.note(Mistake {
            severity,
            line,
            column,
            suggestion,
            ..Mistake::error(self.name, path, what)
        });
    }

    /// Reads the text as TOML; `None` if there is no point in looking at what could be read of it.
    pub(super) fn tree(&self) -> Option<DeTable<'t>> {
        let (tree, errors) = DeTable::parse_recoverable(self.text);
        // After other errors the recovered tree lacks values that were typed: a look at it would
        // report mistakes that nobody made. A duplicate key costs only the second value.
        let readable = errors
            .iter()
            .all(|error| error.message() == "duplicate key");
        for error in &errors {
            let at = error.span().map_or(0, |span| span.start);
            let suggestion =
                (error.message() == "duplicate key").then(|| "keep one of the two".to_owned());
            self.error_at(
                at,
                "",
                format!("not valid TOML: {}", error.message()),
                suggestion,
            );
        }
        readable.then(|| tree.into_inner())
    }

    pub(super) fn root<'a>(&'a self, entries: &'a DeTable<'a>, known: &[&str]) -> Table<'a> {
        let table = Table {
            source: self,
            entries,
            at: 0,
            path: String::new(),
        };
        table.refuse_unknown(known);
        table
    }

    pub(super) fn into_mistakes(self) -> Mistakes {
        let mut mistakes = self.mistakes.into_inner();
        mistakes.sort(self.name);
        mistakes
    }
}

impl<'a> Table<'a> {
    pub(super) fn get(&self, key: &str) -> Option<Node<'a>> {
        let value = self.entries.get(key)?;
        Some(Node {
            source: self.source,
            value: value.get_ref(),
            at: value.span().start,
            path: self.path_of(key),
        })
    }

    /// The value of a key that must be there.
    pub(super) fn required(&self, key: &str, example: &str) -> Option<Node<'a>> {
        let node = self.get(key);
        if node.is_none() {
            self.error(
                format!("`{key}` is missing"),
                Some(format!("write {key} = {example}")),
            );
        }
        node
    }

    /// A mistake of the table as a whole; its place is the table's header.
    pub(super) fn error(&self, what: String, suggestion: Option<String>) {
        self.source.error_at(self.at, &self.path, what, suggestion);
    }

    pub(super) fn warning(&self, what: String, suggestion: Option<String>) {
        self.source
            .warning_at(self.at, &self.path, what, suggestion);
    }

    /// Puts the name behind the index: `zone[2] "cdn"`. Without it a person would have to count tables.
    pub(super) fn label(&mut self, name: &str) {
        self.path = format!("{} \"{}\"", self.path, shown(name));
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn source(&self) -> &'a Source<'a> {
        self.source
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            shown(key)
        } else {
            format!("{}.{}", self.path, shown(key))
        }
    }

    fn refuse_unknown(&self, known: &[&str]) {
        for (key, _) in self.entries {
            let name = key.get_ref().as_ref();
            if known.contains(&name) {
                continue;
            }
            let suggestion = match nearest(name, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None if !self.path.is_empty() && super::sections::TOP_KEYS.contains(&name) => {
                    format!("`{name}` belongs at the top of the file, before the first [table]")
                }
                None => format!("known here: {}", known.join(", ")),
            };
            let at = key.span().start;
            self.source.error_at(
                at,
                &self.path_of(name),
                "unknown key".to_owned(),
                Some(suggestion),
            );
        }
    }
}

impl<'a> Node<'a> {
    pub(super) fn error(&self, what: impl Into<String>, suggestion: Option<String>) {
        self.source
            .error_at(self.at, &self.path, what.into(), suggestion);
    }

    pub(super) fn warning(&self, what: impl Into<String>, suggestion: Option<String>) {
        self.source
            .warning_at(self.at, &self.path, what.into(), suggestion);
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// A value of a table whose keys have been looked at before.
    pub(super) fn inner(&self, key: &str) -> Option<Self> {
        let value = self.value.as_table()?.get(key)?;
        Some(Self {
            source: self.source,
            value: value.get_ref(),
            at: value.span().start,
            path: format!("{}.{}", self.path, shown(key)),
        })
    }

    pub(super) fn string(&self) -> Option<&'a str> {
        let text = self.value.as_str();
        if text.is_none() {
            self.wrong_type("a string", "put it between double quotes");
        }
        text
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        let value = self.value.as_bool();
        if value.is_none() {
            self.wrong_type("true or false", "write it without quotes");
        }
        value
    }

    /// A whole number within `range`.
    pub(super) fn number<T>(&self, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i128> + PartialOrd + std::fmt::Display,
    {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let Some(typed) = self.value.as_integer() else {
            self.wrong_type(&expected, "write it without quotes");
            return None;
        };
        let value = i128::from_str_radix(typed.as_str(), typed.radix()).ok();
        let value = value
            .and_then(|value| T::try_from(value).ok())
            .filter(|value| range.contains(value));
        if value.is_none() {
            self.error(
                format!("{} is out of range", shown(&typed.to_string())),
                Some(format!("write {expected}")),
            );
        }
        value
    }

    /// One word out of a closed set.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let typed = self.string()?;
        let found = words
            .iter()
            .find(|(word, _)| *word == typed)
            .map(|(_, value)| *value);
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let suggestion = match nearest(typed, &known) {
                Some(near) => format!("did you mean \"{near}\"? Known: {}", known.join(", ")),
                None => format!("use one of {}", known.join(", ")),
            };
            self.error(
                format!("\"{}\" is not known here", shown(typed)),
                Some(suggestion),
            );
        }
        found
    }

    pub(super) fn is_text(&self) -> bool {
        self.value.is_str()
    }

    pub(super) fn is_integer(&self) -> bool {
        self.value.is_integer()
    }

    pub(super) fn is_empty_array(&self) -> bool {
        self.value.as_array().is_some_and(|array| array.is_empty())
    }

    /// The elements of an array.
    pub(super) fn elements(&self) -> Vec<Self> {
        let Some(array) = self.value.as_array() else {
            self.wrong_type("an array", "put it between square brackets");
            return Vec::new();
        };
        let node = |(index, value): (usize, &'a toml::Spanned<DeValue<'a>>)| Node {
            source: self.source,
            value: value.get_ref(),
            at: value.span().start,
            path: format!("{}[{index}]", self.path),
        };
        array.iter().enumerate().map(node).collect()
    }

    /// The elements of an array of strings; one that is no string is noted and left out.
    pub(super) fn strings(&self) -> Vec<(Self, &'a str)> {
        self.elements()
            .into_iter()
            .filter_map(|node| node.string().map(|text| (node, text)))
            .collect()
    }

    pub(super) fn table(&self, known: &[&str]) -> Option<Table<'a>> {
        let Some(entries) = self.value.as_table() else {
            self.wrong_type(
                "a table",
                &format!("write it under [{}]", header(&self.path)),
            );
            return None;
        };
        let table = Table {
            source: self.source,
            entries,
            at: self.at,
            path: self.path.clone(),
        };
        table.refuse_unknown(known);
        Some(table)
    }

    /// The tables of `[[name]]`.
    pub(super) fn tables(&self, known: &[&str]) -> Vec<Table<'a>> {
        if !self.value.is_array() {
            self.wrong_type(
                "an array of tables",
                &format!("write [[{}]] with two brackets", header(&self.path)),
            );
            return Vec::new();
        }
        self.elements()
            .iter()
            .filter_map(|node| node.table(known))
            .collect()
    }

    fn wrong_type(&self, expected: &str, suggestion: &str) {
        let found = match self.value {
            DeValue::String(text) => format!("the string \"{}\"", shown(text)),
            DeValue::Integer(number) => format!("the number {}", shown(&number.to_string())),
            DeValue::Boolean(value) => format!("{value}"),
            other => format!("a value of type {}", other.type_str()),
        };
        self.error(
            format!("expected {expected}, found {found}"),
            Some(suggestion.to_owned()),
        );
    }
}

/// A path as a table's header has it: `service[0] "login".limit` without index and name.
fn header(path: &str) -> String {
    let mut out = String::new();
    let (mut quoted, mut escaped, mut bracketed) = (false, false, false);
    for c in path.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '[' => bracketed = true,
            ']' => bracketed = false,
            ' ' => {}
            _ if bracketed => {}
            _ => out.push(c),
        }
    }
    out
}
