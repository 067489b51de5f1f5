//! `replay`: what block mode would have refused in a log of the past. Needs no agent.

use std::{
    fs::{self, File},
    io::Read as _,
    net::IpAddr,
    path::{Path, PathBuf},
};

use clap::Args;

use super::{
    Context, Outcome, Trouble, output,
    past::{LogOptions, name, open, unreadable},
};
use crate::{
    config::{Config, Uses, Zone},
    detection,
    geo::{DatabaseRow, Databases},
    policy::{
        defence::{Decides, Services, Settings},
        model::{Learned, MODEL_BYTES_MAX, Model},
        prefix::host_network,
        zone::deciding,
    },
    replay::{
        Replay as Run, plot,
        report::{Alone, RefusedPrefix, Report, Spread},
    },
};

/// `edgeward replay`. With --config, exempt networks, trusted proxies and thresholds are those of the file.
#[derive(Debug, Args)]
pub(super) struct Replay {
    /// The log, plain or compressed by gzip, zstd, xz or bzip2; - for standard input
    #[arg(value_name = "LOG")]
    log: PathBuf,
    #[command(flatten)]
    log_is: LogOptions,
    /// Draw attempts over time into this file
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Only sources can be refused: clients connect directly, and nothing sees their requests. Always so for
    /// sshd
    #[arg(long)]
    direct: bool,
    /// Compare rules, this learned model, and both; `shipped` for the model that comes with the agent. What is refused
    /// stays what the configuration says
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
}

impl Replay {
    pub(super) fn execute(self, context: &mut Context<'_>) -> Outcome {
        self.log_is.check()?;
        let config = match &context.config {
            Some(path) => Some(
                Config::load(path)
                    .map_err(|mistakes| Trouble::Configuration(mistakes.to_string()))?,
            ),
            None => None,
        };
        let (log, written_ms) = open(&self.log, context.now)?;
        let mut format = self.log_is.reader(written_ms)?;
        let zones = config.as_ref().map_or(&[][..], |config| &config.zones);
        let settings = self.settings(config.as_ref())?;
        let mut run = Run::new(settings, |client| is_protected(zones, client));
        let places = places(config.as_ref())?;
        run.look_up(places);
        if settings.learned.is_some() {
            for (name, decides) in [
                ("rules", Decides::Rules),
                ("model", Decides::Model),
                ("both", Decides::Both),
            ] {
                run.compare(name, settings.decided_by(decides));
            }
        }
        let read = output::waiting("replaying the log", || run.read(log, format.as_mut()));
        read.map_err(|error| unreadable(&self.log, &error))?;
        let (lines, rejected) = run.lines();
        let mut report = Report::new(run.ledger(), lines, rejected, run.displaced());
        let compared = run.compared();
        report.model = compared
            .map(|(name, ledger)| (name, Alone::of(ledger)))
            .collect();
        if let Some(path) = &self.plot {
            let title = format!("Replay of {}", name(&self.log));
            let svg = plot::svg(run.ledger(), &report, &title, output::utc);
            fs::write(path, svg).map_err(|error| {
                Trouble::Failed(format!("{} cannot be written: {error}", path.display()))
            })?;
        }
        if context.json {
            let data = serde_json::to_value(&report)
                .map_err(|error| Trouble::Failed(error.to_string()))?;
            return context.line(format_args!("{data}"));
        }
        context.text(&self.sheet(&report))?;
        context.text(&table(&report))
    }

    fn settings(&self, config: Option<&Config>) -> Result<Settings, Trouble> {
        let mut settings = Settings {
            sees_requests: match self.direct || self.log_is.is_direct() {
                true => Services::NONE,
                false => Services::ALL,
            },
            ..config.map_or_else(Settings::default, detection::settings)
        };
        if let Some(path) = &self.model {
            let decides = settings.learned.is_some_and(|learned| learned.decides);
            let model = model(path)?;
            settings.learned = Some(Learned { model, decides });
        }
        Ok(settings)
    }

    fn sheet(&self, report: &Report) -> String {
        let mut sheet = output::Sheet::default();
        sheet.add(
            "log",
            format!(
                "{}: {}",
                name(&self.log),
                output::count(report.lines, "line")
            ),
        );
        if report.rejected_total > 0 {
            sheet.add("rejected", rejected(report));
        }
        sheet.add("signals", signals(report));
        if report.exempt > 0 {
            let exempt = output::count(report.exempt, "signal");
            sheet.add(
                "exempt",
                format!("{exempt} of exempt networks and trusted proxies"),
            );
        }
        sheet.add("refused", refused(report));
        sheet.add(
            "hit",
            format!(
                "{} of {} would have been refused, of {}",
                output::number(report.successes_hit),
                counted(
                    report.successes,
                    "successful sign-in",
                    "successful sign-ins"
                ),
                output::count(report.users_hit, "user"),
            ),
        );
        if report.attempts_limited > 0 {
            sheet.add(
                "slowed",
                format!(
                    "{}, {} of them successful",
                    output::count(report.attempts_limited, "attempt"),
                    output::number(report.successes_limited)
                ),
            );
        }
        if let (Some(time), Some(attempts)) = (report.time_to_detect, report.attempts_to_detect) {
            sheet.add("detected", detected(time, attempts));
        }
        add_compared(&mut sheet, report);
        if report.displaced > 0 {
            let gave_way = output::count(report.displaced, "entry of detectors");
            sheet.add(
                "room",
                format!("{gave_way} gave way; a source may have been forgotten"),
            );
        }
        sheet.render()
    }
}

/// What the log told, and from when to when.
fn signals(report: &Report) -> String {
    let span = match (report.first, report.last) {
        (Some(first), Some(last)) => {
            format!(", {} to {}", output::utc(first), output::utc(last))
        }
        _ => ". Is this the right --format?".to_owned(),
    };
    format!(
        "{}: {} and {} from {}{span}",
        output::number(report.signals),
        output::count(report.failures, "failure"),
        counted(report.successes, "success", "successes"),
        output::count(report.sources, "source"),
    )
}

/// What rules, model and both would have refused.
fn add_compared(sheet: &mut output::Sheet, report: &Report) {
    for (way, alone) in &report.model {
        let hit = counted(
            alone.successes_hit,
            "successful sign-in",
            "successful sign-ins",
        );
        sheet.add(
            if *way == "model" { "model alone" } else { way },
            format!(
                "{} of {} refused, {hit} among them",
                output::count(alone.attempts_refused, "attempt"),
                counted(alone.prefixes, "prefix", "prefixes"),
            ),
        );
    }
}

/// The databases of [geo]; one that cannot be used would change what is found, so it is an error here.
fn places(config: Option<&Config>) -> Result<Databases, Trouble> {
    let files = config.map(|config| config.geo.clone()).unwrap_or_default();
    let places = Databases::open(&files);
    match places.rows().iter().find_map(DatabaseRow::warning) {
        Some(what) => Err(Trouble::Failed(what)),
        None => Ok(places),
    }
}

/// The model of a file, or the one that is shipped.
fn model(path: &Path) -> Result<Model, Trouble> {
    if path == Path::new("shipped") {
        return Model::shipped().map_err(|error| Trouble::Failed(error.to_string()));
    }
    let failed = |what: String| Trouble::Failed(format!("{} {what}", path.display()));
    let mut text = String::new();
    let file = File::open(path).map_err(|error| failed(format!("cannot be read: {error}")))?;
    file.take(MODEL_BYTES_MAX as u64)
        .read_to_string(&mut text)
        .map_err(|error| failed(format!("cannot be read: {error}")))?;
    Model::parse(&text).map_err(|what| failed(format!("is no model: {what}")))
}

/// Exempt networks and trusted proxies never get a reputation.
fn is_protected(zones: &[Zone], client: IpAddr) -> bool {
    let prefix = host_network(client);
    [Uses::EXEMPT, Uses::TRUSTED_PROXY]
        .into_iter()
        .any(|uses| deciding(zones, uses, &prefix).is_some())
}

fn counted(value: u64, one: &str, many: &str) -> String {
    let noun = if value == 1 { one } else { many };
    format!("{} {noun}", output::number(value))
}

fn rejected(report: &Report) -> String {
    let mut text = output::count(report.rejected_total, "line");
    for (reason, count) in &report.rejected_reasons {
        let line = report
            .rejected
            .iter()
            .find(|line| line.reason.starts_with(reason));
        let first = line.map_or_else(String::new, |line| format!(", first in line {}", line.line));
        text.push_str(&format!("\n{} {reason}{first}", output::number(*count)));
    }
    text
}

fn refused(report: &Report) -> String {
    let refusals = report.refused.len() as u64;
    let mut text = format!(
        "{} of {}",
        output::count(report.attempts_refused, "attempt"),
        counted(refusals, "prefix", "prefixes"),
    );
    if !report.patterns.is_empty() {
        let attempts = report
            .patterns
            .iter()
            .map(|pattern| pattern.attempts_refused)
            .sum();
        let patterns = report.patterns.len() as u64;
        text.push_str(&format!(
            "; {} of them by {} under attack from many sources (needs the gateway or a decision endpoint)",
            output::number(attempts),
            counted(patterns, "user or user agent", "users or user agents"),
        ));
    }
    text
}

fn detected(time: Spread, attempts: Spread) -> String {
    format!(
        "half of the refused sources after {} and {}, nine of ten after {} and {}",
        output::count(attempts.median, "attempt"),
        output::span(time.median),
        output::count(attempts.p90, "attempt"),
        output::span(time.p90),
    )
}

fn table(report: &Report) -> String {
    if report.refused.is_empty() {
        return String::new();
    }
    let mut table = output::Table::new(&[
        "PREFIX",
        "REFUSED FROM",
        "AFTER",
        "ATTEMPTS",
        "REFUSED",
        "HIT",
        "DETECTIONS",
    ]);
    for row in report.refused.iter().take(ROWS_MAX) {
        table.row([
            row.prefix.to_string(),
            output::utc(row.first_refused),
            output::span(row.first_refused.saturating_sub(row.first_seen)),
            output::number(row.attempts),
            output::number(row.attempts_refused),
            output::number(row.successes_hit),
            detections(row),
        ]);
    }
    let mut text = format!("\n{}", table.render());
    if report.refused.len() > ROWS_MAX {
        let more = output::number((report.refused.len() - ROWS_MAX) as u64);
        text.push_str(&format!("and {more} more; --json has all of them\n"));
    }
    text
}

fn detections(row: &RefusedPrefix) -> String {
    let named: Vec<&str> = row.detections.keys().copied().collect();
    named.join(", ")
}

/// Rows of the table; a person reads no more.
const ROWS_MAX: usize = 50;

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
