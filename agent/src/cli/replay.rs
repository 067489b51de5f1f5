//! `replay`: what block mode would have refused in a log of the past. Needs no agent.

use std::{
    fs::{self, File},
    io::{self, BufRead},
    net::IpAddr,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use clap::{Args, ValueEnum};

use super::{Context, Outcome, Trouble, output};
use crate::{
    config::{Config, Uses, Zone},
    detection,
    policy::{
        defence::{Services, Settings},
        prefix::host_network,
        signal::PseudonymKey,
        zone::deciding,
    },
    random,
    replay::{
        Replay as Run, plot,
        report::{RefusedPrefix, Report, Spread},
    },
    signal::{
        Expression, JsonFields, LogFormat, Maker, Recipe, Route, Routes, Words, lines::decompressed,
    },
};

/// `edgeward replay`. With --config, exempt networks, trusted proxies and thresholds are those of the file.
#[derive(Debug, Args)]
pub(super) struct Replay {
    /// The log, plain or gzip; - for standard input
    #[arg(value_name = "LOG")]
    log: PathBuf,
    /// What wrote it
    #[arg(long)]
    format: Format,
    /// Draw attempts over time into this file
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Only sources can be refused: clients connect directly, and nothing sees their requests. Always so for
    /// sshd
    #[arg(long)]
    direct: bool,
    /// For nginx and apache, instead of the common sign-in pages: `POST /login success=302 failure=200
    /// [flow=recovery|enrolment]`; several may be given
    #[arg(long = "route", value_name = "ROUTE")]
    routes: Vec<String>,
    /// For json, where facts are found: `time=ts,client=request.ip,user=name,outcome=result,agent=ua,path=url`
    #[arg(long, value_name = "MAP")]
    fields: Option<String>,
    /// For regex: an expression with the groups time and client, and where there are any user, outcome, agent,
    /// path
    #[arg(long, value_name = "REGEX")]
    pattern: Option<String>,
    /// For json and regex, what words of the outcome mean: `success=LOGIN_OK`, `failure=…`, `unknown-user=…`,
    /// `challenge=…`; several may be given
    #[arg(long = "outcome", value_name = "MEANING=WORD")]
    outcomes: Vec<String>,
}

/// What wrote the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// OpenSSH's server in syslog or journald output
    Sshd,
    /// nginx, combined format
    Nginx,
    /// Apache, combined format
    Apache,
    /// Keycloak's events
    Keycloak,
    /// Authelia
    Authelia,
    /// One JSON object a line (--fields)
    Json,
    /// Anything (--pattern)
    Regex,
}

impl Replay {
    pub(super) fn execute(self, context: &mut Context<'_>) -> Outcome {
        self.check_options()?;
        let config = match &context.config {
            Some(path) => Some(
                Config::load(path)
                    .map_err(|mistakes| Trouble::Configuration(mistakes.to_string()))?,
            ),
            None => None,
        };
        let (log, written_ms) = self.open(context.now)?;
        let mut format = self.reader(written_ms)?;
        let zones = config.as_ref().map_or(&[][..], |config| &config.zones);
        let mut run = Run::new(self.settings(config.as_ref()), |client| {
            is_protected(zones, client)
        });
        let read = output::waiting("replaying the log", || run.read(log, format.as_mut()));
        read.map_err(|error| self.unreadable(&error))?;
        let (lines, rejected) = run.lines();
        let report = Report::new(run.ledger(), lines, rejected, run.displaced());
        if let Some(path) = &self.plot {
            let title = format!("Replay of {}", self.name());
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

    /// An option of another format is a mistake, not a wish to be passed over.
    fn check_options(&self) -> Outcome {
        let is_access = matches!(self.format, Format::Nginx | Format::Apache);
        let has_words = matches!(self.format, Format::Json | Format::Regex);
        for (given, fits, name) in [
            (!self.routes.is_empty(), is_access, "--route"),
            (
                self.fields.is_some(),
                self.format == Format::Json,
                "--fields",
            ),
            (
                self.pattern.is_some(),
                self.format == Format::Regex,
                "--pattern",
            ),
            (!self.outcomes.is_empty(), has_words, "--outcome"),
        ] {
            if given && !fits {
                return Err(Trouble::Usage(format!(
                    "{name} does not go with this --format"
                )));
            }
        }
        Ok(())
    }

    /// The log, and when it was last written (for times without a year).
    fn open(&self, now: u64) -> Result<(Box<dyn BufRead>, u64), Trouble> {
        if self.log == Path::new("-") {
            let input = decompressed(io::stdin()).map_err(|error| self.unreadable(&error))?;
            return Ok((input, now));
        }
        let file = File::open(&self.log).map_err(|error| self.unreadable(&error))?;
        let metadata = file.metadata().map_err(|error| self.unreadable(&error))?;
        let written = metadata.modified().ok();
        let written = written
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
            .and_then(|since| u64::try_from(since.as_millis()).ok());
        let input = decompressed(file).map_err(|error| self.unreadable(&error))?;
        Ok((input, written.unwrap_or(now)))
    }

    fn reader(&self, written_ms: u64) -> Result<Box<dyn LogFormat + Send>, Trouble> {
        let secret = || random::secret().map_err(|error| Trouble::Failed(format!("{error:#}")));
        let maker = Maker {
            key: PseudonymKey::new(secret()?, secret()?),
            service: 0,
        };
        let mut words = Words::default();
        for outcome in &self.outcomes {
            words.add(outcome).map_err(usage("--outcome"))?;
        }
        Ok(self.recipe(words)?.reader(maker, written_ms))
    }

    fn recipe(&self, words: Words) -> Result<Recipe, Trouble> {
        Ok(match self.format {
            Format::Sshd => Recipe::Sshd,
            Format::Nginx | Format::Apache => Recipe::Access(self.routes()?),
            Format::Keycloak => Recipe::Keycloak,
            Format::Authelia => Recipe::Authelia,
            Format::Json => {
                let fields = self.fields.as_deref().unwrap_or_default();
                Recipe::Json(JsonFields::parse(fields, words).map_err(usage("--fields"))?)
            }
            Format::Regex => {
                let missing = "--format regex needs --pattern with the groups time and client";
                let pattern = self
                    .pattern
                    .as_deref()
                    .ok_or_else(|| Trouble::Usage(missing.to_owned()))?;
                let expression = Expression::parse(pattern).map_err(usage("--pattern"))?;
                Recipe::Regex(expression, words)
            }
        })
    }

    fn routes(&self) -> Result<Routes, Trouble> {
        if self.routes.is_empty() {
            return Ok(Routes::default());
        }
        let routes: Result<Vec<Route>, String> = self
            .routes
            .iter()
            .map(|route| Route::parse(route))
            .collect();
        routes.and_then(Routes::new).map_err(usage("--route"))
    }

    fn settings(&self, config: Option<&Config>) -> Settings {
        Settings {
            sees_requests: match self.direct || self.format == Format::Sshd {
                true => Services::NONE,
                false => Services::ALL,
            },
            ..config.map_or_else(Settings::default, detection::settings)
        }
    }

    fn name(&self) -> String {
        if self.log == Path::new("-") {
            "standard input".to_owned()
        } else {
            self.log.display().to_string()
        }
    }

    fn unreadable(&self, error: &io::Error) -> Trouble {
        Trouble::Failed(match error.kind() {
            io::ErrorKind::Unsupported => format!("{} {error}", self.name()),
            _ => format!("{} cannot be read: {error}", self.name()),
        })
    }

    fn sheet(&self, report: &Report) -> String {
        let mut sheet = output::Sheet::default();
        sheet.add(
            "log",
            format!("{}: {}", self.name(), output::count(report.lines, "line")),
        );
        if report.rejected_total > 0 {
            sheet.add("rejected", rejected(report));
        }
        let span = match (report.first, report.last) {
            (Some(first), Some(last)) => {
                format!(", {} to {}", output::utc(first), output::utc(last))
            }
            _ => ". Is this the right --format?".to_owned(),
        };
        sheet.add(
            "signals",
            format!(
                "{}: {} and {} from {}{span}",
                output::number(report.signals),
                output::count(report.failures, "failure"),
                counted(report.successes, "success", "successes"),
                output::count(report.sources, "source"),
            ),
        );
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

/// Exempt networks and trusted proxies never get a reputation.
fn is_protected(zones: &[Zone], client: IpAddr) -> bool {
    let prefix = host_network(client);
    [Uses::EXEMPT, Uses::TRUSTED_PROXY]
        .into_iter()
        .any(|uses| deciding(zones, uses, &prefix).is_some())
}

fn usage(option: &'static str) -> impl Fn(String) -> Trouble {
    move |what| Trouble::Usage(format!("{option}: {what}"))
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
