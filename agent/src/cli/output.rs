//! Text for people: tables, numbers, times, and a sign of life where somebody waits.

use std::{
    io::{IsTerminal, stderr},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::config::duration;
pub(super) use crate::moment::utc;

/// Rows under a header, each column as wide as its widest cell. The last column is not padded.
pub(super) struct Table {
    pub(super) rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(header: &[&str]) -> Self {
        Self {
            rows: vec![header.iter().map(|&cell| cell.to_owned()).collect()],
        }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub(super) fn render(&self) -> String {
        let mut widths: Vec<usize> = Vec::new();
        for row in &self.rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                pad(&mut line, cell, *width);
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Facts under labels, the labels in a column of their own; several lines of one label under each other.
#[derive(Default)]
pub(super) struct Sheet {
    text: String,
}

impl Sheet {
    pub(super) fn add(&mut self, label: &str, value: impl AsRef<str>) {
        let mut label = label;
        for line in value.as_ref().lines() {
            let mut row = String::new();
            pad(&mut row, label, LABEL_WIDTH);
            row.push_str(line);
            self.text.push_str(row.trim_end());
            self.text.push('\n');
            label = "";
        }
    }

    pub(super) fn render(self) -> String {
        self.text
    }
}

fn pad(line: &mut String, cell: &str, width: usize) {
    line.push_str(cell);
    let missing = width.saturating_sub(cell.chars().count());
    line.extend(std::iter::repeat_n(' ', missing + 2));
}

/// `1234567` as `1,234,567`.
pub(super) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `3 zones`, `1 zone`.
pub(super) fn count(value: u64, noun: &str) -> String {
    let plural = if value == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", number(value))
}

/// A distance in time with its two largest units: nobody waits by the millisecond.
pub(super) fn span(milliseconds: u64) -> String {
    let unit = match milliseconds {
        0..10_000 => 1,
        10_000..86_400_000 => 1_000,
        _ => 60_000,
    };
    duration::format(Duration::from_millis(milliseconds / unit * unit))
}

/// When something ends, seen from `now`; both milliseconds since the Unix epoch.
pub(super) fn ends(expires: Option<u64>, now: u64) -> String {
    match expires {
        None => "never".to_owned(),
        Some(at) if at <= now => "ended".to_owned(),
        Some(at) => format!("in {}", span(at - now)),
    }
}

/// Milliseconds since the Unix epoch.
pub(super) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| u64::try_from(since.as_millis()).ok())
        .unwrap_or(0)
}

/// A spinner on stderr while `work` runs; nothing where stderr is no terminal.
pub(super) fn waiting<T>(message: &'static str, work: impl FnOnce() -> T) -> T {
    if !stderr().is_terminal() {
        return work();
    }
    let spinner = ProgressBar::new_spinner().with_message(message);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        spinner.set_style(style);
    }
    spinner.enable_steady_tick(Duration::from_millis(100));
    let result = work();
    spinner.finish_and_clear();
    result
}

const LABEL_WIDTH: usize = 12;
