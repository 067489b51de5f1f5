//! `attack`: which services are under attack, and an operator's word about it.

use std::fmt::Write as _;

use clap::{Args, Subcommand};

use super::{Context, Outcome, lifetime, output, read};
use crate::control::{
    Request,
    report::{AttackReport, AttackRow},
};

/// `edgeward attack`.
#[derive(Debug, Args)]
pub(super) struct Attack {
    #[command(subcommand)]
    task: Option<Task>,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Which services are under attack, and what is counted there [default]
    Status,
    /// Declare an attack: thresholds drop, rate limits tighten, refusals last longer
    Start(Word),
    /// There is no attack: it ends, none is declared for a while, and what happens is what is usual
    End(Word),
}

#[derive(Debug, Args)]
struct Word {
    /// On this service only
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// For how long, such as 30m or 4h, a week at most [default: 1h]
    #[arg(long = "for", value_name = "DURATION", value_parser = lifetime)]
    for_ms: Option<u64>,
}

impl Attack {
    pub(super) fn execute(self, context: &mut Context<'_>) -> Outcome {
        let request = match self.task {
            None | Some(Task::Status) => Request::AttackStatus,
            Some(Task::Start(Word { service, for_ms })) => Request::AttackStart { service, for_ms },
            Some(Task::End(Word { service, for_ms })) => Request::AttackEnd { service, for_ms },
        };
        let data = context.ask(request)?;
        if context.printed_json(&data)? {
            return Ok(());
        }
        let report: AttackReport = read(data)?;
        let text = sentences(&report, context.now);
        context.line(format_args!("{text}"))
    }
}

fn sentences(report: &AttackReport, now: u64) -> String {
    let rows = report.services.iter().map(|row| service(row, now));
    let mut text = rows.collect::<Vec<_>>().join("\n");
    if !report.detects {
        text.push_str("\nattacks are not declared without an operator: [attack] detect = false");
    }
    text
}

fn service(row: &AttackRow, now: u64) -> String {
    let mut text = if row.service.is_empty() {
        String::new()
    } else {
        format!("{}: ", row.service)
    };
    match row.since {
        Some(since) => {
            let span = output::span(now.saturating_sub(since));
            let by = match row.cause.as_deref() {
                Some("operator") => ", declared by an operator",
                _ => "",
            };
            text += &format!("under attack for {span}{by}");
        }
        None => text.push_str("not under attack"),
    }
    if let (Some(word), Some(until)) = (&row.operator, row.operator_until) {
        let left = output::span(until.saturating_sub(now));
        // Writing into a String cannot fail.
        let _infallible = write!(text, "\n  an operator says {word} for {left} more");
    }
    for one in row.evidence.iter().filter(|one| one.score > 0.0) {
        let what = match one.statistic.as_str() {
            "sources" => "sources that failed and nobody signed in from",
            "failures" => "failures of these",
            "users" => "users that failed from there",
            "unknown_users" => "users that do not exist",
            other => other,
        };
        let _infallible = write!(
            text,
            "\n  {what}: {:.0}, usual {:.0}",
            one.observed, one.expected
        );
    }
    let days = row.hours_known / 24;
    if days < 7 {
        let _infallible = write!(
            text,
            "\n  {} hours are known; it gets surer until a week or more is",
            row.hours_known
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::report::AttackEvidence;

    #[test]
    fn it_says_what_is_declared_by_whom_and_why() {
        let row = |service: &str| AttackRow {
            service: service.to_owned(),
            hours_known: 500,
            ..AttackRow::default()
        };
        let report = AttackReport {
            detects: true,
            services: vec![
                AttackRow {
                    attacked: true,
                    since: Some(1_000_000),
                    cause: Some("model".to_owned()),
                    evidence: vec![
                        AttackEvidence {
                            statistic: "sources".to_owned(),
                            observed: 412.0,
                            expected: 9.4,
                            score: 11.6,
                        },
                        AttackEvidence {
                            statistic: "users".to_owned(),
                            ..AttackEvidence::default()
                        },
                    ],
                    ..row("login")
                },
                AttackRow {
                    operator: Some("no attack".to_owned()),
                    operator_until: Some(4_600_000),
                    hours_known: 30,
                    ..row("shop")
                },
            ],
        };
        assert_eq!(
            sentences(&report, 1_600_000),
            "login: under attack for 10m\n  sources that failed and nobody signed in from: 412, usual 9\n\
             shop: not under attack\n  an operator says no attack for 50m more\n  \
             30 hours are known; it gets surer until a week or more is"
        );
        let by_hand = AttackReport {
            detects: false,
            services: vec![AttackRow {
                since: Some(0),
                cause: Some("operator".to_owned()),
                ..row("")
            }],
        };
        assert_eq!(
            sentences(&by_hand, 60_000),
            "under attack for 1m, declared by an operator\n\
             attacks are not declared without an operator: [attack] detect = false"
        );
    }
}
