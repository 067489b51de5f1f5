//! `report`: what has gathered over time.

use clap::{Args, Subcommand};

use super::{Context, Outcome, gathered::Gathered, lifetime, output, read};
use crate::{
    control::{ReportKind, Request, report::Origins},
    policy::impact::ImpactReport,
};

/// `edgeward report`.
#[derive(Debug, Args)]
pub(super) struct Report {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Who tried to reach restricted services around their proxies
    Origins {
        /// At most this many, those seen most first
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Who forwards sign-ins, and whether it passes the client on
    Proxies(Gathered),
    /// Who was refused or slowed, or would have been
    Threats(Gathered),
    /// Which blocked zones refused somebody, or would have
    Zones(Gathered),
    /// What block mode would have refused, and whether it is safe to switch on
    Impact {
        /// How far back, at most 30 days
        #[arg(long, default_value = "7d", value_name = "DURATION", value_parser = lifetime)]
        since: u64,
        /// At most this many prefixes, those that would have hit most people first
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
}

impl Report {
    pub(super) fn execute(self, context: &mut Context<'_>) -> Outcome {
        match self.what {
            What::Origins { limit } => origins(context, limit),
            What::Proxies(gathered) => gathered.proxies(context),
            What::Threats(gathered) => gathered.threats(context),
            What::Zones(gathered) => gathered.zones(context),
            What::Impact { since, limit } => impact(context, since, limit),
        }
    }
}

fn origins(context: &mut Context<'_>, limit: usize) -> Outcome {
    let request = Request::Report {
        what: ReportKind::Origins,
        limit: Some(limit),
        since_ms: None,
    };
    let data = context.ask_patiently(request, super::LONG_PATIENCE)?;
    if context.printed_json(&data)? {
        return Ok(());
    }
    let report: Origins = read(data)?;
    if report.origins.is_empty() {
        return context.line(format_args!(
            "nobody tried to reach a restricted service around its proxies since the agent started"
        ));
    }
    let mut table =
        output::Table::new(&["SERVICE", "SOURCE", "EVENTS", "REFUSED", "FIRST", "LAST"]);
    for row in &report.origins {
        table.row([
            row.service.clone(),
            row.source.clone(),
            output::number(row.events),
            output::number(row.enforced),
            output::utc(row.first),
            output::utc(row.last),
        ]);
    }
    context.text(&table.render())?;
    let shown = report.origins.len() as u64;
    if report.total > shown {
        context.line(format_args!(
            "{} of {} sources shown",
            output::number(shown),
            output::number(report.total)
        ))?;
    }
    if report.displaced > 0 {
        context.line(format_args!(
            "{} sources seen less often or long ago gave way",
            output::number(report.displaced)
        ))?;
    }
    for (service, held) in &report.suppressed {
        context.line(format_args!(
            "{service}: {} more events were held back, of these sources or of others",
            output::number(*held)
        ))?;
    }
    Ok(())
}

fn impact(context: &mut Context<'_>, since: u64, limit: usize) -> Outcome {
    let request = Request::Report {
        what: ReportKind::Impact,
        limit: Some(limit),
        since_ms: Some(since),
    };
    let data = context.ask_patiently(request, super::LONG_PATIENCE)?;
    if context.printed_json(&data)? {
        return Ok(());
    }
    let report: ImpactReport = read(data)?;
    context.text(&impact_sheet(&report))?;
    if report.refused.is_empty() {
        return Ok(());
    }
    let mut table = output::Table::new(&[
        "PREFIX",
        "FIRST REFUSED",
        "ATTEMPTS",
        "REFUSED",
        "HIT",
        "WHY",
    ]);
    for row in &report.refused {
        table.row([
            row.prefix.to_string(),
            output::utc(row.refused.first_refused),
            output::number(row.refused.attempts),
            output::number(row.refused.attempts_refused),
            output::number(row.refused.successes_hit),
            row.refused.detections.clone(),
        ]);
    }
    context.text(&table.render())?;
    let shown = report.refused.len() as u64;
    if report.refused_total > shown {
        context.line(format_args!(
            "{} of {} prefixes shown",
            output::number(shown),
            output::number(report.refused_total)
        ))?;
    }
    Ok(())
}

fn impact_sheet(report: &ImpactReport) -> String {
    let totals = &report.totals;
    let mut sheet = output::Sheet::default();
    sheet.add(
        "seen",
        format!(
            "{} to {}: {} ({} failed, {} signed in)",
            output::utc(report.since),
            output::utc(report.until),
            output::count(totals.signals, "signal"),
            output::number(totals.failures),
            output::number(totals.successes)
        ),
    );
    sheet.add(
        "refused",
        format!(
            "{} by block mode, of {}",
            output::count(totals.attempts_refused, "attempt"),
            output::count(report.refused_total, "prefix")
        ),
    );
    sheet.add(
        "hit",
        format!(
            "{} of {} ({:.2} of 10,000)",
            output::count(totals.successes_hit, "successful sign-in"),
            output::count(report.users_hit, "user"),
            report.hit_of_10000
        ),
    );
    let advice = match report.block_mode.as_str() {
        "safe" => "can be switched on: edgeward mode block --confirm-within 5m",
        "not_safe" => "would refuse people",
        _ => "cannot be judged yet",
    };
    sheet.add(
        "block mode",
        std::iter::once(advice)
            .chain(report.why.iter().map(String::as_str))
            .collect::<Vec<_>>()
            .join("\n"),
    );
    sheet.render()
}
