//! `report proxies`, `threats` and `zones`: as a table, as CSV, or as a page of HTML.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::de::DeserializeOwned;

use super::{
    Context, Outcome, Trouble, lifetime, output,
    page::{self, Chart, Page},
    read,
};
use crate::{
    control::{ReportKind, Request},
    health::reports::{ProxyRow, Report, ThreatRow, ZoneRow},
};

/// What these reports have in common.
#[derive(Debug, Args)]
pub(super) struct Gathered {
    /// How far back; of proxies at most 31 days
    #[arg(long, default_value = "30d", value_name = "DURATION", value_parser = lifetime)]
    since: u64,
    /// At most this many rows, those with most first
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// Comma-separated values with a header
    #[arg(long, conflicts_with_all = ["json", "html"])]
    csv: bool,
    /// Writes a page of HTML that stands alone, with charts
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    html: Option<PathBuf>,
}

/// A report in cells.
struct Sheet {
    title: &'static str,
    what: &'static str,
    header: &'static [&'static str],
    rows: Vec<Vec<String>>,
    charts: Vec<Chart>,
    notes: Vec<String>,
    /// What finds the events of the first row in the System Log.
    first: Option<String>,
}

impl Gathered {
    pub(super) fn proxies(self, context: &mut Context<'_>) -> Outcome {
        self.report(context, ReportKind::Proxies, proxies)
    }

    pub(super) fn threats(self, context: &mut Context<'_>) -> Outcome {
        self.report(context, ReportKind::Threats, threats)
    }

    pub(super) fn zones(self, context: &mut Context<'_>) -> Outcome {
        self.report(context, ReportKind::Zones, zones)
    }

    fn report<Row: Default + DeserializeOwned>(
        self,
        context: &mut Context<'_>,
        what: ReportKind,
        sheet: fn(&Report<Row>) -> Sheet,
    ) -> Outcome {
        let request = Request::Report {
            what,
            limit: Some(self.limit),
            since_ms: Some(self.since),
        };
        let data = context.ask_patiently(request, super::LONG_PATIENCE)?;
        if context.printed_json(&data)? {
            return Ok(());
        }
        let report: Report<Row> = read(data)?;
        let sheet = sheet(&report);
        if self.csv {
            return context.text(&csv(&sheet));
        }
        let mut notes = sheet.notes.clone();
        notes.extend(
            sheet
                .first
                .as_deref()
                .map(|filter| look(report.since, filter)),
        );
        if !report.complete {
            notes.push(
                "not everything in that time could be counted: ask for less of it".to_owned(),
            );
        }
        let shown = report.rows.len() as u64;
        if report.total > shown {
            let (shown, total) = (output::number(shown), output::number(report.total));
            notes.push(format!("{shown} of {total} rows shown"));
        }
        match &self.html {
            Some(file) => write_page(context, file, &report, &sheet, &notes),
            None => print(context, &sheet, &notes),
        }
    }
}

fn print(context: &mut Context<'_>, sheet: &Sheet, notes: &[String]) -> Outcome {
    if sheet.rows.is_empty() {
        context.line(format_args!("{}: nothing", sheet.what))?;
    } else {
        let mut table = output::Table::new(sheet.header);
        for row in &sheet.rows {
            table.row(row.iter().cloned());
        }
        context.text(&table.render())?;
    }
    for note in notes {
        context.line(format_args!("{note}"))?;
    }
    Ok(())
}

fn write_page<Row: Default>(
    context: &mut Context<'_>,
    file: &Path,
    report: &Report<Row>,
    sheet: &Sheet,
    notes: &[String],
) -> Outcome {
    let page = Page {
        title: sheet.title,
        lead: format!(
            "{} From {} to {}.",
            sheet.what,
            output::utc(report.since),
            output::utc(report.until)
        ),
        charts: &sheet.charts,
        header: sheet.header,
        rows: &sheet.rows,
        notes,
    };
    std::fs::write(file, page::html(&page))
        .map_err(|error| Trouble::Failed(format!("{}: {error}", file.display())))?;
    context.line(format_args!("written to {}", file.display()))
}

fn proxies(report: &Report<ProxyRow>) -> Sheet {
    let answer = |flag| if flag { "yes" } else { "no" }.to_owned();
    let rows = report.rows.iter().map(|row| {
        vec![
            row.address.clone(),
            row.location.clone().unwrap_or_default(),
            row.network.clone().unwrap_or_default(),
            answer(row.trusted),
            output::number(row.sign_ins),
            output::number(row.failed),
            output::number(row.requests),
            row.passes_client.map_or_else(|| "?".to_owned(), answer),
            output::utc(row.last),
        ]
    });
    let mends = report.rows.iter().filter_map(|row| {
        let fix = row.fix.as_deref()?;
        Some(format!("{}: {}\n{fix}", row.address, row.check))
    });
    Sheet {
        title: "Proxies",
        what: "Addresses that forwarded requests.",
        header: &[
            "ADDRESS",
            "LOCATION",
            "NETWORK",
            "TRUSTED",
            "SIGN-INS",
            "FAILED",
            "REQUESTS",
            "PASSES CLIENT",
            "LAST",
        ],
        rows: rows.collect(),
        charts: vec![bars(
            "Sign-ins by proxy",
            report
                .rows
                .iter()
                .map(|row| (row.address.clone(), row.sign_ins)),
        )],
        notes: mends.collect(),
        first: None,
    }
}

fn threats(report: &Report<ThreatRow>) -> Sheet {
    let joined = |words: &std::collections::BTreeSet<String>| {
        words.iter().cloned().collect::<Vec<_>>().join(", ")
    };
    let rows = report.rows.iter().map(|row| {
        vec![
            row.source.clone(),
            row.location.clone().unwrap_or_default(),
            row.network.clone().unwrap_or_default(),
            output::number(row.events),
            output::number(row.enforced),
            joined(&row.reasons),
            joined(&row.services),
            output::utc(row.first),
            output::utc(row.last),
            row.filter.clone(),
        ]
    });
    Sheet {
        title: "Threats",
        what: "Sources that were refused or slowed, or would have been.",
        header: &[
            "SOURCE", "LOCATION", "NETWORK", "EVENTS", "ENFORCED", "REASONS", "SERVICES", "FIRST",
            "LAST", "FILTER",
        ],
        rows: rows.collect(),
        charts: vec![
            days(report),
            bars("Events by reason", report.sums.clone().into_iter()),
            bars(
                "Sources with most events",
                report
                    .rows
                    .iter()
                    .map(|row| (row.source.clone(), row.events)),
            ),
        ],
        notes: Vec::new(),
        first: report.rows.first().map(|row| row.filter.clone()),
    }
}

fn zones(report: &Report<ZoneRow>) -> Sheet {
    let rows = report.rows.iter().map(|row| {
        vec![
            row.zone.clone(),
            output::number(row.events),
            output::number(row.enforced),
            output::number(row.sources),
            output::utc(row.first),
            output::utc(row.last),
            row.filter.clone(),
        ]
    });
    Sheet {
        title: "Zones",
        what: "Blocked zones that refused somebody, or would have.",
        header: &[
            "ZONE", "EVENTS", "ENFORCED", "SOURCES", "FIRST", "LAST", "FILTER",
        ],
        rows: rows.collect(),
        charts: vec![
            days(report),
            bars(
                "Events by zone",
                report.rows.iter().map(|row| (row.zone.clone(), row.events)),
            ),
        ],
        notes: Vec::new(),
        first: report.rows.first().map(|row| row.filter.clone()),
    }
}

/// The command that shows the events of the first row; a shell takes it as it is.
fn look(since: u64, filter: &str) -> String {
    format!(
        "the events of a row are found by its filter, those of the first:\n\
         edgeward log --since {} --filter '{}'",
        output::utc(since),
        filter.replace('\'', "'\\''")
    )
}

/// Every day of the report, also those without events.
fn days<Row: Default>(report: &Report<Row>) -> Chart {
    let first = report.since / DAY_MS;
    let bars = (first..=report.until / DAY_MS).map(|day| {
        let at = day * DAY_MS;
        let count = report.days.iter().find(|(known, _)| *known == at);
        let date: String = output::utc(at).chars().take(10).collect();
        (date, count.map_or(0, |(_, count)| *count))
    });
    Chart {
        title: "Events a day",
        upright: true,
        bars: bars.take(DAYS_SHOWN_MAX).collect(),
    }
}

fn bars(title: &'static str, counts: impl Iterator<Item = (String, u64)>) -> Chart {
    let mut bars: Vec<(String, u64)> = counts.filter(|(_, count)| *count > 0).collect();
    bars.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    bars.truncate(BARS_MAX);
    Chart {
        title,
        upright: false,
        bars,
    }
}

/// RFC 4180. A cell that a spreadsheet would take for a formula gets an apostrophe ahead.
fn csv(sheet: &Sheet) -> String {
    let cell = |text: &str| {
        let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
            "'"
        } else {
            ""
        };
        // Numbers without separators, for whatever reads this.
        let is_number = text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b',');
        let text = if is_number {
            text.replace(',', "")
        } else {
            text.to_owned()
        };
        if text.contains([',', '"', '\n', '\r']) {
            format!("\"{guard}{}\"", text.replace('"', "\"\""))
        } else {
            format!("{guard}{text}")
        }
    };
    let line = |cells: Vec<String>| format!("{}\r\n", cells.join(","));
    let header = sheet
        .header
        .iter()
        .map(|name| cell(&name.to_lowercase().replace(' ', "_")));
    let mut text = line(header.collect());
    for row in &sheet.rows {
        text.push_str(&line(row.iter().map(|text| cell(text)).collect()));
    }
    text
}

const DAY_MS: u64 = 86_400_000;
const DAYS_SHOWN_MAX: usize = 400;
const BARS_MAX: usize = 15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_quotes_what_it_must_and_no_cell_becomes_a_formula() {
        let sheet = Sheet {
            title: "",
            what: "",
            header: &["ADDRESS", "PASSES CLIENT"],
            rows: vec![
                vec!["=1+1".to_owned(), "1,234".to_owned()],
                vec!["Berlin, \"Mitte\"".to_owned(), String::new()],
            ],
            charts: Vec::new(),
            notes: Vec::new(),
            first: None,
        };
        assert_eq!(
            csv(&sheet),
            "address,passes_client\r\n'=1+1,1234\r\n\"Berlin, \"\"Mitte\"\"\",\r\n"
        );
    }

    #[test]
    fn a_shell_takes_the_command_as_it_is() {
        let command = look(0, "debugContext.debugData.detail eq \"it's\"");
        assert!(
            command.ends_with(
                "\nedgeward log --since 1970-01-01T00:00:00Z \
                 --filter 'debugContext.debugData.detail eq \"it'\\''s\"'"
            ),
            "{command}"
        );
    }

    #[test]
    fn every_day_has_its_bar_and_the_longest_bars_come_first() {
        let report = Report::<ZoneRow> {
            since: 86_400_000,
            until: 86_400_000 * 3 + 5,
            days: vec![(86_400_000 * 2, 7)],
            ..Report::default()
        };
        let chart = days(&report);
        let expected = [("1970-01-02", 0), ("1970-01-03", 7), ("1970-01-04", 0)];
        assert_eq!(
            chart.bars,
            expected.map(|(day, count)| (day.to_owned(), count))
        );
        let many = (0..50).map(|number| (number.to_string(), number));
        let chart = bars("", many);
        assert_eq!((chart.bars.len(), chart.bars[0].1), (BARS_MAX, 49));
    }
}
