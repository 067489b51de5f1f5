//! Reports: what the System Log and the gate's counts say over a stretch of time. Reading is bounded: a report over more
//! events than that says that it is not complete.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Wiring, evidence};
use crate::{
    control::{Failure, FailureKind, ReportKind},
    forwarders::Forwarder,
    geo::Databases,
    journal::{Entry, Reader},
};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) since_ms: u64,
    pub(crate) now_ms: u64,
    pub(crate) rows: usize,
}

/// A report with its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Report<Row: Default> {
    /// From when on, milliseconds since the Unix epoch.
    pub(crate) since: u64,
    /// Until when.
    pub(crate) until: u64,
    /// Whether everything in that time was read.
    pub(crate) complete: bool,
    /// The rows, those with most first.
    pub(crate) rows: Vec<Row>,
    /// How many there are, shown or not.
    pub(crate) total: u64,
    /// Events a day: the day's beginning, and how many.
    pub(crate) days: Vec<(u64, u64)>,
    /// Sums by name: reasons, outcomes.
    pub(crate) sums: BTreeMap<String, u64>,
}

/// `report proxies`: an address that forwards sign-ins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ProxyRow {
    pub(crate) address: String,
    /// Where it is, if a database knows.
    pub(crate) location: Option<String>,
    /// Whose it is, if a database knows.
    pub(crate) network: Option<String>,
    pub(crate) trusted: bool,
    pub(crate) service: String,
    pub(crate) requests: u64,
    pub(crate) sign_ins: u64,
    pub(crate) failed: u64,
    /// Whether it passes the client on; none while that cannot be said.
    pub(crate) passes_client: Option<bool>,
    /// Requests in which the client was the last of the chain, and the second to last.
    pub(crate) client_last: u64,
    pub(crate) client_second: u64,
    pub(crate) no_header: u64,
    pub(crate) unknown: u64,
    /// What the check found, in a sentence.
    pub(crate) check: String,
    /// What would mend it.
    pub(crate) fix: Option<String>,
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// `report threats`: a source that was refused, or would have been.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ThreatRow {
    pub(crate) source: String,
    pub(crate) location: Option<String>,
    pub(crate) network: Option<String>,
    pub(crate) events: u64,
    /// Those of them that were refused or slowed; the others were only told.
    pub(crate) enforced: u64,
    pub(crate) reasons: BTreeSet<String>,
    pub(crate) services: BTreeSet<String>,
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// What finds its events in the System Log.
    pub(crate) filter: String,
    /// The types of its events.
    #[serde(skip)]
    types: BTreeSet<String>,
}

/// `report zones`: a blocked zone that refused somebody, or would have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ZoneRow {
    pub(crate) zone: String,
    pub(crate) events: u64,
    pub(crate) enforced: u64,
    /// Distinct sources, at most 1,000 of which are told apart.
    pub(crate) sources: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// What finds its events in the System Log.
    pub(crate) filter: String,
    #[serde(skip)]
    seen: BTreeSet<String>,
}

/// Makes a report.
pub(super) fn make(what: ReportKind, asked: &Asked, wiring: &Wiring) -> Result<Value, Failure> {
    let failed = |what: String| Failure::new(FailureKind::Internal, what);
    let log = wiring.feed.log().map(crate::journal::Log::reader);
    let report = match (what, log) {
        (ReportKind::Proxies, _) => {
            let (found, displaced) = wiring.forwarders.since(asked.since_ms);
            let report = proxies(asked, found, displaced, &wiring.geo);
            serde_json::to_value(report)
        }
        (ReportKind::Threats, Some(log)) => {
            let report = threats(asked, &log, wiring).map_err(failed)?;
            serde_json::to_value(report)
        }
        (ReportKind::Zones, Some(log)) => {
            let report = zones(asked, &log, wiring).map_err(failed)?;
            serde_json::to_value(report)
        }
        (ReportKind::Threats | ReportKind::Zones, None) => {
            let what = "the System Log is not open yet; try again";
            return Err(Failure::new(FailureKind::Unavailable, what));
        }
        (ReportKind::Origins | ReportKind::Impact, _) => {
            return Err(failed("it is answered elsewhere".to_owned()));
        }
    };
    report.map_err(|error| failed(error.to_string()))
}

fn proxies(
    asked: &Asked,
    found: Vec<Forwarder>,
    displaced: u64,
    geo: &Databases,
) -> Report<ProxyRow> {
    let total = found.len() as u64;
    let sum = |of: fn(&Forwarder) -> u64| found.iter().map(of).sum();
    let sums = BTreeMap::from([
        ("requests".to_owned(), sum(|one| one.counts.requests)),
        ("sign_ins".to_owned(), sum(|one| one.counts.sign_ins)),
        ("failed".to_owned(), sum(|one| one.counts.failed)),
    ]);
    let rows = found.into_iter().take(asked.rows);
    Report {
        since: asked.since_ms,
        until: asked.now_ms,
        complete: displaced == 0,
        rows: rows.map(|one| proxy_row(one, geo)).collect(),
        total,
        days: Vec::new(),
        sums,
    }
}

fn proxy_row(one: Forwarder, geo: &Databases) -> ProxyRow {
    let (location, network) = place(one.address, geo);
    let counts = one.counts;
    let (passes_client, check, fix) = check(&one);
    ProxyRow {
        address: one.address.to_string(),
        location,
        network,
        trusted: one.trusted,
        service: one.service,
        requests: counts.requests,
        sign_ins: counts.sign_ins,
        failed: counts.failed,
        passes_client,
        client_last: counts.client_last,
        client_second: counts.client_second,
        no_header: counts.no_header,
        unknown: counts.unknown,
        check,
        fix,
        first: one.first_ms,
        last: one.last_ms,
    }
}

/// Whether it passes the client on, what was seen, and what would mend it.
fn check(one: &Forwarder) -> (Option<bool>, String, Option<String>) {
    let counts = one.counts;
    if !one.trusted {
        let zone = format!(
            "[[zone]]\nname = \"proxy-{}\"\nuses = [\"trusted-proxy\"]\nnetworks = [\"{}\"]",
            one.address.to_string().replace([':', '.'], "-"),
            one.address
        );
        let what = "client equals the last of the chain: it names clients, and is not trusted. Only if it is yours:";
        return (Some(false), what.to_owned(), Some(zone));
    }
    let named = counts
        .requests
        .saturating_sub(counts.client_last)
        .saturating_sub(counts.unknown);
    if counts.unknown > counts.requests / 2 {
        let what = "its forwarding header cannot be read";
        let fix = "let it write addresses alone, as docs/proxies.md shows for each proxy";
        return (Some(false), what.to_owned(), Some(fix.to_owned()));
    }
    if named >= counts.client_last {
        let what = if counts.client_second >= named / 2 {
            "client equals the second to last of the chain: it passes the client on"
        } else {
            "the client stands further left: it passes on what other proxies of yours name"
        };
        return (Some(true), what.to_owned(), None);
    }
    let what = "client equals the last of the chain: it does not pass the client on";
    let fix = format!(
        "let it set the header that `header` of [[service]] \"{}\" names, for nginx: proxy_set_header \
         X-Forwarded-For $proxy_add_x_forwarded_for;",
        one.service
    );
    (Some(false), what.to_owned(), Some(fix))
}

fn threats(asked: &Asked, log: &Reader, wiring: &Wiring) -> Result<Report<ThreatRow>, String> {
    let mut sources: HashMap<String, ThreatRow> = HashMap::new();
    let mut report = Report::<ThreatRow>::begin(asked);
    report.complete = each(asked, log, wiring, |entry| {
        let event = entry.event_type();
        let is_threat = event.starts_with("security.threat.detected")
            || event.starts_with("security.request.blocked")
            || event.starts_with("system.client.rate_limit.");
        if !is_threat {
            return;
        }
        let Some(source) = word(entry, "client").or_else(|| word(entry, "source")) else {
            return;
        };
        let (count, reason) = (times(entry), word(entry, "reason").unwrap_or("?"));
        report.add(entry, count, reason);
        if sources.len() >= SOURCES_MAX && !sources.contains_key(source) {
            *report
                .sums
                .entry("(of further sources)".to_owned())
                .or_default() += count;
            return;
        }
        let row = sources
            .entry(source.to_owned())
            .or_insert_with(|| ThreatRow {
                source: source.to_owned(),
                first: entry.published_ms,
                ..ThreatRow::default()
            });
        row.events += count;
        if word(entry, "outcome") != Some("ALLOW") {
            row.enforced += count;
        }
        note(&mut row.reasons, Some(reason));
        note(&mut row.services, word(entry, "service"));
        note(&mut row.types, Some(event));
        row.first = row.first.min(entry.published_ms);
        row.last = row.last.max(entry.published_ms);
    })?;
    let rows: Vec<ThreatRow> = sources.into_values().collect();
    let mut report = report.with(rows, asked.rows, |row| (row.events, row.last));
    for row in &mut report.rows {
        row.filter = evidence::of_source(&row.source, &row.types);
        let address = row
            .source
            .split('/')
            .next()
            .and_then(|text| text.parse().ok());
        if let Some(address) = address {
            (row.location, row.network) = place(address, &wiring.geo);
        }
    }
    Ok(report)
}

fn zones(asked: &Asked, log: &Reader, wiring: &Wiring) -> Result<Report<ZoneRow>, String> {
    let mut zones: BTreeMap<String, ZoneRow> = BTreeMap::new();
    let mut report = Report::<ZoneRow>::begin(asked);
    report.complete = each(asked, log, wiring, |entry| {
        if word(entry, "reason") != Some("blocked_zone") {
            return;
        }
        let name = word(entry, "detail");
        let zone = name.unwrap_or("(without a name)");
        let count = times(entry);
        report.add(entry, count, zone);
        if zones.len() >= ZONES_MAX && !zones.contains_key(zone) {
            return;
        }
        let row = zones.entry(zone.to_owned()).or_insert_with(|| ZoneRow {
            zone: zone.to_owned(),
            first: entry.published_ms,
            filter: evidence::of_zone(name),
            ..ZoneRow::default()
        });
        row.events += count;
        if word(entry, "outcome") != Some("ALLOW") {
            row.enforced += count;
        }
        let source = word(entry, "client").or_else(|| word(entry, "source"));
        if row.seen.len() < SOURCES_OF_ZONE_MAX {
            row.seen.extend(source.map(str::to_owned));
        }
        row.sources = row.seen.len() as u64;
        row.first = row.first.min(entry.published_ms);
        row.last = row.last.max(entry.published_ms);
    })?;
    let rows = zones.into_values().collect();
    Ok(report.with(rows, asked.rows, |row| (row.events, row.last)))
}

impl<Row: Default + DeserializeOwned> Report<Row> {
    fn begin(asked: &Asked) -> Self {
        Self {
            since: asked.since_ms,
            until: asked.now_ms,
            ..Self::default()
        }
    }

    /// Counts events of a day and of a name.
    fn add(&mut self, entry: &Entry, count: u64, name: &str) {
        let day = entry.published_ms / DAY_MS * DAY_MS;
        match self.days.iter_mut().rev().find(|(at, _)| *at == day) {
            Some((_, sum)) => *sum += count,
            None => self.days.push((day, count)),
        }
        if self.sums.len() < NAMES_MAX || self.sums.contains_key(name) {
            *self.sums.entry(name.to_owned()).or_default() += count;
        }
    }

    fn with(mut self, mut rows: Vec<Row>, most: usize, rank: fn(&Row) -> (u64, u64)) -> Self {
        rows.sort_by_key(|row| std::cmp::Reverse(rank(row)));
        self.total = rows.len() as u64;
        rows.truncate(most);
        self.rows = rows;
        self.days.sort_unstable();
        self
    }
}

/// Shows every event of the time asked for, up to a limit; whether that was all.
fn each(
    asked: &Asked,
    log: &Reader,
    wiring: &Wiring,
    mut see: impl FnMut(&Entry),
) -> Result<bool, String> {
    let mut seq = log
        .seq_at(asked.since_ms)
        .map_err(unread)?
        .saturating_sub(1);
    let mut left = EVENTS_MAX;
    loop {
        if wiring.is_stopping() {
            return Err("the agent is stopping".to_owned());
        }
        let entries = log.after(seq, PAGE_EVENTS, PAGE_BYTES).map_err(unread)?;
        let Some(last) = entries.last() else {
            return Ok(true);
        };
        seq = last.seq;
        let inside = entries
            .iter()
            .filter(|entry| (asked.since_ms..=asked.now_ms).contains(&entry.published_ms));
        inside.for_each(&mut see);
        left = left.saturating_sub(entries.len());
        if left == 0 {
            return Ok(false);
        }
    }
}

fn unread(error: impl std::fmt::Display) -> String {
    format!("the System Log: {error}")
}

/// What an event stands for.
fn times(entry: &Entry) -> u64 {
    let count = entry.facts.get("count").and_then(Value::as_u64);
    count.unwrap_or(1).max(1)
}

fn word<'a>(entry: &'a Entry, key: &str) -> Option<&'a str> {
    entry.facts.get(key).and_then(Value::as_str)
}

fn note(words: &mut BTreeSet<String>, word: Option<&str>) {
    if let Some(word) = word.filter(|word| !word.is_empty())
        && words.len() < WORDS_MAX
    {
        words.insert(word.to_owned());
    }
}

/// Where an address is and whose, in words.
fn place(address: IpAddr, geo: &Databases) -> (Option<String>, Option<String>) {
    let place = geo.place(address);
    let parts: Vec<String> = [
        place.city,
        place.state,
        place.country_name.or(place.country),
    ]
    .into_iter()
    .flatten()
    .collect();
    let network = match (place.asn, place.as_org) {
        (Some(number), Some(name)) => Some(format!("AS{number} {name}")),
        (Some(number), None) => Some(format!("AS{number}")),
        (None, name) => name,
    };
    let location = (!parts.is_empty()).then(|| parts.join(", "));
    (location, network)
}

const DAY_MS: u64 = 86_400_000;
/// Events that one report reads.
const EVENTS_MAX: usize = 2_000_000;
const PAGE_EVENTS: usize = 2_000;
const PAGE_BYTES: usize = 4 << 20;
/// Sources that one report tells apart.
const SOURCES_MAX: usize = 50_000;
const SOURCES_OF_ZONE_MAX: usize = 1_000;
const ZONES_MAX: usize = 4_096;
/// Names that are summed up.
const NAMES_MAX: usize = 64;
/// Reasons and services of one source.
const WORDS_MAX: usize = 8;
