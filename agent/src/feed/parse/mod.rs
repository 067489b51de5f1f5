//! Readers of what feeds send: bytes in, entries out. No sockets, no clock; the time is passed in.
//!
//! Whatever a line or an object is, it costs at most itself: it is counted, the first bad ones are named by
//! place, and the reading goes on. What makes the whole unfit (HTML, cut off, too many entries) is an error.

mod abuseipdb;
mod crowdsec;
mod csv;
mod json;
mod lines;
mod moment;
mod netset;
mod okta;
mod pattern;
mod spamhaus;
mod stix;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io::{self, BufRead},
};

use ipnet::IpNet;
use serde::Serialize;

pub(crate) use self::{
    crowdsec::{CrowdSecDecision, CrowdSecDelta, read_stream},
    okta::read_events,
    stix::{Envelope, Indicator, read_objects},
};
use crate::{
    config::feed::Columns,
    policy::{
        decision::SCORE_MAX,
        feed::{Draft, TooMany},
    },
};

/// Longest line that is read, in bytes.
pub(crate) const LINE_BYTES_MAX: usize = 4_096;
/// Longest object of a JSON list that is read, in bytes.
pub(crate) const OBJECT_BYTES_MAX: usize = 256 * 1024;
/// Bad lines and objects that are described; the others are counted.
pub(crate) const BAD_KEPT_MAX: usize = 20;

/// What can be read as a whole: every fetch brings all of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Whole {
    /// One network a line: CIDR, address, a-b; `#` and `;` comments.
    Netset,
    /// Spamhaus DROP, text or JSON lines.
    Spamhaus,
    /// AbuseIPDB's blacklist, plain text or JSON.
    AbuseIpDb,
    /// CSV with named columns.
    Csv(Columns),
    /// A STIX 2.1 bundle or TAXII envelope in a file.
    Stix,
}

/// A line or an object that could not be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Bad {
    /// `line 12`, `data[3]`, `objects[7] indicator--…`.
    pub(crate) place: String,
    /// What is wrong with it.
    pub(crate) what: String,
}

/// What a reading came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    /// Lines or objects, comments and blank ones included.
    pub(crate) seen: u64,
    /// Those that gave an entry.
    pub(crate) read: u64,
    /// Those that could not be read.
    pub(crate) bad: u64,
    /// The first of them.
    pub(crate) bad_kept: Vec<Bad>,
    /// Those that are about something else, by what that is.
    pub(crate) skipped: BTreeMap<&'static str, u64>,
}

/// Why nothing of what was read can be used, for a person.
#[derive(Debug)]
pub(crate) enum Unfit {
    /// It is something else, is cut off, or brings too much.
    Content(String),
    /// It could not be read to the end.
    Io(io::Error),
}

/// How entries are made of what is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// The score of an entry that brings none, and the most that one may have.
    pub(crate) score: u8,
    /// Entries whose own score is below are passed over.
    pub(crate) score_min: u8,
    /// The present, milliseconds since the Unix epoch.
    pub(crate) now_ms: u64,
}

/// Where entries and mistakes go while a feed is read.
pub(crate) struct Harvest<'a> {
    pub(crate) draft: &'a mut Draft,
    pub(crate) terms: Terms,
    pub(crate) report: Report,
}

/// Reads a feed that comes as a whole.
///
/// # Errors
/// When nothing of it may be used.
pub(crate) fn read_whole(
    format: &Whole,
    mut source: impl BufRead,
    draft: &mut Draft,
    terms: Terms,
) -> Result<Report, Unfit> {
    refuse_markup(&mut source)?;
    let mut harvest = Harvest {
        draft,
        terms,
        report: Report::default(),
    };
    match format {
        Whole::Netset => netset::read(source, &mut harvest)?,
        Whole::Spamhaus => spamhaus::read(source, &mut harvest)?,
        Whole::AbuseIpDb => abuseipdb::read(source, &mut harvest)?,
        Whole::Csv(columns) => csv::read(source, columns, &mut harvest)?,
        Whole::Stix => stix::read_bundle(source, &mut harvest)?,
    }
    let report = harvest.report;
    if report.bad > report.read && report.bad > BAD_MAX_WITHOUT_DOUBT {
        let first = report.bad_kept.first();
        let first = first.map_or_else(String::new, |bad| format!("; {}: {}", bad.place, bad.what));
        return Err(Unfit::Content(format!(
            "more than half of it cannot be read ({} of {}){first}",
            report.bad,
            report.bad.saturating_add(report.read)
        )));
    }
    Ok(report)
}

/// Bad lines that raise no doubt by themselves, however few good ones there are.
const BAD_MAX_WITHOUT_DOUBT: u64 = 4;

impl Harvest<'_> {
    /// Takes an entry over. `score` is the feed's own, `expires_ms` its own end.
    pub(crate) fn entry(
        &mut self,
        prefix: IpNet,
        score: Option<u8>,
        expires_ms: Option<u64>,
        reason: Option<&str>,
    ) -> Result<(), Unfit> {
        let Some(score) = self.terms.score_of(score) else {
            self.skip("low score");
            return Ok(());
        };
        let expires_s = match expires_ms {
            None => 0,
            Some(at) if at <= self.terms.now_ms => {
                self.skip("ended");
                return Ok(());
            }
            Some(at) => seconds(at),
        };
        self.draft.push(prefix, score, expires_s, reason)?;
        self.report.read = self.report.read.saturating_add(1);
        Ok(())
    }

    /// Counts one more line or object.
    pub(crate) fn see(&mut self) {
        self.report.seen = self.report.seen.saturating_add(1);
    }

    pub(crate) fn bad(&mut self, place: impl FnOnce() -> String, what: impl Into<String>) {
        self.report.note_bad(place, what);
    }

    pub(crate) fn skip(&mut self, what: &'static str) {
        self.report.note_skipped(what);
    }
}

impl Report {
    pub(crate) fn note_bad(&mut self, place: impl FnOnce() -> String, what: impl Into<String>) {
        self.bad = self.bad.saturating_add(1);
        if self.bad_kept.len() < BAD_KEPT_MAX {
            self.bad_kept.push(Bad {
                place: shown(&place()),
                what: shown(&what.into()),
            });
        }
    }

    pub(crate) fn note_skipped(&mut self, what: &'static str) {
        let count = self.skipped.entry(what).or_default();
        *count = count.saturating_add(1);
    }

    /// Adds another part of the same feed.
    pub(crate) fn add(&mut self, other: Self) {
        self.seen = self.seen.saturating_add(other.seen);
        self.read = self.read.saturating_add(other.read);
        self.bad = self.bad.saturating_add(other.bad);
        let room = BAD_KEPT_MAX.saturating_sub(self.bad_kept.len());
        self.bad_kept.extend(other.bad_kept.into_iter().take(room));
        for (what, count) in other.skipped {
            let sum = self.skipped.entry(what).or_default();
            *sum = sum.saturating_add(count);
        }
    }
}

impl Terms {
    /// What an entry counts; `None` if it counts too little to be taken over.
    pub(crate) fn score_of(&self, own: Option<u8>) -> Option<u8> {
        let score = own.map_or(self.score, |own| own.min(self.score).min(SCORE_MAX));
        let enough = own.is_none_or(|own| own >= self.score_min.max(1));
        (enough && score > 0).then_some(score)
    }
}

impl From<TooMany> for Unfit {
    fn from(error: TooMany) -> Self {
        Self::Content(error.to_string())
    }
}

impl From<io::Error> for Unfit {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Content(what) => f.write_str(what),
            Self::Io(error) => write!(f, "cannot be read to its end: {error}"),
        }
    }
}

/// Seconds of a moment in milliseconds, rounded down: nothing outlives its end. Never 0, which is no end.
pub(crate) fn seconds(at_ms: u64) -> u32 {
    u32::try_from(at_ms / 1_000).unwrap_or(u32::MAX).max(1)
}

/// A login page or an error page instead of the feed.
fn refuse_markup(source: &mut impl BufRead) -> Result<(), Unfit> {
    let start = source.fill_buf()?;
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    if start.trim_ascii_start().first() == Some(&b'<') {
        return Err(Unfit::Content("is HTML or XML, no list".to_owned()));
    }
    Ok(())
}

/// What came from outside, safe to print and bounded.
fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 160;
    let mut out: String = text
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .take(CHARS_MAX)
        .collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        out.push('…');
    }
    out
}
