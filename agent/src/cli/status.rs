//! `status`: how the agent is, for somebody who has never seen it.

use std::collections::BTreeMap;

use super::{Context, Outcome, mode, output, read, stream};
use crate::control::{
    Request,
    report::{Health, ProxiedReport, Status},
};

pub(super) fn execute(context: &mut Context<'_>) -> Outcome {
    let data = context.ask(Request::Status)?;
    if context.printed_json(&data)? {
        return Ok(());
    }
    let status: Status = read(data)?;
    let text = render(&status, context.now);
    context.text(&text)
}

/// Each feed with its entries, and what is wrong with it.
fn feeds(status: &Status) -> String {
    let rows = status.feeds.iter().map(|feed| {
        let health = match feed.health {
            Health::New => " (not asked yet)",
            Health::Ok => "",
            Health::Failing => " (failing)",
            Health::Refused => " (refused)",
        };
        format!("{} {}{health}", feed.name, output::number(feed.entries))
    });
    rows.collect::<Vec<_>>().join(", ")
}

/// Each database with its age; what is wrong is among the warnings.
fn databases(status: &Status) -> String {
    let rows = status.geo.iter().map(|row| {
        let what = match (&row.database, row.built) {
            (Some(name), Some(built)) => format!("{name}, built {}", output::utc(built)),
            _ => "not in use".to_owned(),
        };
        format!("{} {}: {what}", row.kind, row.file)
    });
    rows.collect::<Vec<_>>().join("\n")
}

/// Each stream with how far it is behind.
fn streams(status: &Status) -> String {
    let mut table = output::Table { rows: Vec::new() };
    for stream in &status.streams {
        table.row([
            stream.name.clone(),
            stream::word(stream.health).to_owned(),
            stream::lag(stream),
            stream.target.clone(),
        ]);
    }
    table.render()
}

pub(super) fn render(status: &Status, now: u64) -> String {
    let mut sheet = output::Sheet::default();
    sheet.add(
        "edgeward",
        format!(
            "{}, running for {} (process {})",
            status.version,
            output::span(status.uptime_ms),
            status.pid
        ),
    );
    if let Some(config) = &status.config {
        sheet.add("config", config);
    }
    sheet.add("mode", mode::sentences(&status.mode, now));
    sheet.add("interfaces", interfaces(status));
    let zero = |kind: &str| status.decisions.get(kind).copied().unwrap_or(0);
    sheet.add(
        "in force",
        format!(
            "{}, {} (edgeward list); {} (edgeward zone list)",
            output::count(zero("block"), "block"),
            output::count(zero("exempt"), "exemption"),
            output::count(status.zones, "zone")
        ),
    );
    sheet.add("lists", lists(status));
    if !status.feeds.is_empty() {
        sheet.add("feeds", feeds(status));
    }
    if !status.geo.is_empty() {
        sheet.add("geo", databases(status));
    }
    if !status.streams.is_empty() {
        sheet.add("streams", streams(status));
    }
    sheet.add("tables", tables(status));
    sheet.add("packets", counters(&status.packets));
    let refused = match status.mode.mode.as_str() {
        "block" => "refused",
        _ => "would refuse",
    };
    sheet.add(refused, counters(&status.reasons));
    sheet.add("unreadable", counters(&status.unreadable));
    sheet.add("events", counters(&status.events));
    proxied(&mut sheet, &status.proxied);
    sheet.add("signals", signals(status));
    if status.detection.values().any(|count| *count > 0) {
        sheet.add("detection", counters(&status.detection));
    }
    sheet.add("warnings", status.warnings.join("\n"));
    sheet.render()
}

/// What happened behind proxies; nothing is said where nothing is asked of them.
fn proxied(sheet: &mut output::Sheet, proxied: &ProxiedReport) {
    for service in &proxied.services {
        let mut counts = BTreeMap::new();
        let mut add = |kind: &str, by: &BTreeMap<String, u64>| {
            for (name, count) in by {
                counts.insert(format!("{kind}{name}"), *count);
            }
        };
        add("passed, ", &service.passed);
        add("refused, ", &service.refused);
        add("would refuse, ", &service.would_refuse);
        let single = [
            ("exempt", service.exempt),
            ("client unknown", service.unknown_clients),
        ];
        for (name, count) in single.into_iter().filter(|(_, count)| *count > 0) {
            counts.insert(name.to_owned(), count);
        }
        sheet.add(&format!("service {}", service.name), counters(&counts));
        if !service.refused_paths.is_empty() {
            sheet.add("  by path", counters(&top(&service.refused_paths)));
        }
    }
    for (via, causes) in &proxied.rejected {
        sheet.add(&format!("{via}, not judged"), counters(causes));
    }
    for (via, latency) in &proxied.latency {
        let text = format!(
            "{}: half within {} µs, 99 in 100 within {} µs",
            output::count(latency.count, "request"),
            output::number(latency.p50_us),
            output::number(latency.p99_us)
        );
        sheet.add(&format!("{via}, time"), text);
    }
    sheet.add("gateway", counters(&proxied.gateway));
    sheet.add("sign-ins", counters(&proxied.sign_ins));
    sheet.add("steering", counters(&proxied.steering));
}

/// The paths that were refused most; the rest together.
fn top(paths: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let mut sorted: Vec<(&String, &u64)> = paths.iter().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let (shown, rest) = sorted.split_at(sorted.len().min(PATHS_SHOWN));
    let mut out: BTreeMap<String, u64> = shown
        .iter()
        .map(|(path, count)| ((*path).clone(), **count))
        .collect();
    let rest: u64 = rest.iter().map(|(_, count)| **count).sum();
    if rest > 0 {
        out.insert("(others)".to_owned(), rest);
    }
    out
}

/// Paths of one service in `status`; `--json` has all of them.
const PATHS_SHOWN: usize = 5;

fn interfaces(status: &Status) -> String {
    if status.interfaces.is_empty() {
        return "none: no packet is judged".to_owned();
    }
    let mut table = output::Table { rows: Vec::new() };
    for interface in &status.interfaces {
        table.row([
            interface.name.clone(),
            interface.attached.clone(),
            interface.note.clone().unwrap_or_default(),
        ]);
    }
    table.render()
}

/// Where signals come from: each with its counts, and under it what is wrong.
fn signals(status: &Status) -> String {
    let mut table = output::Table { rows: Vec::new() };
    for row in &status.signals {
        let rejected: u64 = row.rejected.values().sum();
        let mut counts = vec![
            output::count(row.lines, "line"),
            output::count(row.signals, "signal"),
        ];
        for (count, what) in [
            (rejected, "rejected"),
            (row.duplicates, "there before"),
            (row.turned_away, "turned away"),
        ] {
            if count > 0 {
                counts.push(format!("{} {what}", output::number(count)));
            }
        }
        if row.lag_bytes > 0 {
            counts.push(format!("{} behind", output::count(row.lag_bytes, "byte")));
        }
        table.row([
            row.name.clone(),
            row.state.clone(),
            counts.join(", "),
            row.place.clone(),
        ]);
        let error = row.last_error.as_ref();
        if let Some(error) = error.filter(|_| row.state == "failing") {
            table.row([String::new(), String::new(), error.clone(), String::new()]);
        }
        if let Some(rejected) = &row.last_rejected {
            let latest = format!("rejected last: {rejected}");
            table.row([String::new(), String::new(), latest, String::new()]);
        }
    }
    table.render()
}

fn lists(status: &Status) -> String {
    let mut table = output::Table { rows: Vec::new() };
    for list in &status.lists {
        let rejected = match list.rejected {
            0 => String::new(),
            count => format!("{} not understood", output::count(count, "line")),
        };
        table.row([
            list.name.clone(),
            output::count(list.networks, "network"),
            format!("score {}", list.score),
            rejected,
        ]);
    }
    table.render()
}

fn tables(status: &Status) -> String {
    let mut table = output::Table { rows: Vec::new() };
    for row in &status.tables {
        let displaced = match row.displaced {
            0 => String::new(),
            count => format!(
                "FULL: {} gave way",
                output::count(count, "entry").replace("entrys", "entries")
            ),
        };
        table.row([
            row.name.clone(),
            format!(
                "{} of {}",
                output::number(row.used),
                output::number(row.max)
            ),
            displaced,
        ]);
    }
    table.render()
}

fn counters(counts: &BTreeMap<String, u64>) -> String {
    let mut table = output::Table { rows: Vec::new() };
    for (name, count) in counts {
        table.row([name.replace('_', " "), output::number(*count)]);
    }
    table.render()
}
