//! Replay: detection over a log of the past. What block mode would have refused, from when on, and whom it
//! would have hit by mistake.
//!
//! An attempt that would have been refused is not counted by the detectors: in block mode it would not have
//! reached the password check either.

mod ledger;
pub mod plot;
pub mod report;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    io::{self, BufRead},
    net::IpAddr,
};

pub use ledger::{Account, Ledger, Refusals};
use serde::Serialize;

use crate::{
    geo::Databases,
    policy::{
        defence::{Defence, Settings},
        signal::Signal,
    },
    signal::{
        LogFormat,
        lines::{LINE_BYTES_MAX, Line, Lines},
        read_line,
    },
};

/// Runs detection over a log.
pub struct Replay<P> {
    defence: Defence,
    ledger: Ledger,
    /// Exempt networks and trusted proxies: they never get a reputation.
    is_protected: P,
    rejected: Rejected,
    lines: u64,
    /// Whose addresses are.
    places: Databases,
    /// Other settings on the same signals.
    beside: Vec<Beside>,
}

/// Other settings on the same signals, for comparison.
struct Beside {
    name: &'static str,
    defence: Defence,
    ledger: Ledger,
}

/// Lines that were not read.
#[derive(Clone, Debug, Default)]
pub struct Rejected {
    /// How many.
    pub total: u64,
    /// The first of them, at most [`REJECTED_MAX`].
    pub first: Vec<RejectedLine>,
    /// How many for each reason.
    pub reasons: BTreeMap<String, u64>,
}

/// A line that was not read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RejectedLine {
    /// Its number, from 1.
    pub line: u64,
    /// Why.
    pub reason: String,
}

/// Rejected lines that are told one by one; the others are counted by reason.
pub const REJECTED_MAX: usize = 1_000;

impl<P: Fn(IpAddr) -> bool> Replay<P> {
    /// A replay with these settings.
    pub fn new(settings: Settings, is_protected: P) -> Self {
        Self {
            defence: Defence::new(settings),
            ledger: Ledger::default(),
            is_protected,
            rejected: Rejected::default(),
            lines: 0,
            places: Databases::none(),
            beside: Vec::new(),
        }
    }

    /// Looks addresses of a log up there.
    pub fn look_up(&mut self, places: Databases) {
        self.places = places;
    }

    /// Runs other settings on the same signals, under a name.
    pub fn compare(&mut self, name: &'static str, settings: Settings) {
        self.beside.push(Beside {
            name,
            defence: Defence::new(settings),
            ledger: Ledger::default(),
        });
    }

    /// What the other settings would have refused, by their names.
    pub fn compared(&self) -> impl Iterator<Item = (&'static str, &Ledger)> {
        self.beside
            .iter()
            .map(|beside| (beside.name, &beside.ledger))
    }

    /// Reads a log to its end.
    ///
    /// # Errors
    /// The log failed while it was read; what came before counts.
    pub fn read(&mut self, log: impl BufRead, format: &mut dyn LogFormat) -> io::Result<()> {
        let mut lines = Lines::new(log);
        let mut found = Vec::new();
        while let Some((number, line)) = lines.next_line()? {
            self.lines = number;
            match line {
                Line::TooLong => self.reject(
                    number,
                    format!("is longer than {LINE_BYTES_MAX} bytes").into(),
                ),
                Line::Text(bytes) => {
                    if let Err(reason) = read_line(bytes, format, &mut found) {
                        self.reject(number, reason);
                    }
                }
            }
            self.take_all(&mut found);
        }
        format.finish(&mut found);
        self.take_all(&mut found);
        Ok(())
    }

    fn take_all(&mut self, found: &mut Vec<Signal>) {
        for mut signal in found.drain(..) {
            signal.asn = self.places.asn(signal.client);
            self.take(&signal);
        }
    }

    /// Takes one signal in; whether it would have been refused.
    pub fn take(&mut self, signal: &Signal) -> bool {
        let protected = &self.is_protected;
        let known = self.ledger.count(signal, || protected(signal.client));
        if known.protected {
            return false;
        }
        for beside in &mut self.beside {
            beside.ledger.count(signal, || false);
            take(&mut beside.defence, &mut beside.ledger, signal);
        }
        take(&mut self.defence, &mut self.ledger, signal)
    }

    /// The books.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Lines read, and those that were not.
    pub const fn lines(&self) -> (u64, &Rejected) {
        (self.lines, &self.rejected)
    }

    /// Entries that had to give way for want of room.
    pub fn displaced(&self) -> u64 {
        self.defence.displaced()
    }

    fn reject(&mut self, line: u64, reason: Cow<'static, str>) {
        let rejected = &mut self.rejected;
        rejected.total = rejected.total.saturating_add(1);
        if rejected.first.len() < REJECTED_MAX {
            rejected.first.push(RejectedLine {
                line,
                reason: reason.clone().into_owned(),
            });
        }
        // Reasons are a closed set of sentences, but for byte positions, which are left off here.
        let kind = reason.split(" (").next().unwrap_or_default();
        if let Some(count) = rejected.reasons.get_mut(kind) {
            *count = count.saturating_add(1);
        } else {
            rejected.reasons.insert(kind.to_owned(), 1);
        }
    }
}

/// Judges a signal, books it, and learns from it unless it would have been refused; whether it would.
fn take(defence: &mut Defence, ledger: &mut Ledger, signal: &Signal) -> bool {
    let judged = defence.judge(signal);
    let refused = ledger.judged(signal, judged);
    if !refused {
        let decided = defence.learn(signal);
        let block_score = defence.settings().block_score;
        for decided in decided.into_iter().flatten() {
            ledger.decided(signal, &decided, block_score);
        }
    }
    refused
}
