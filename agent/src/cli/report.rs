//! `report`: what has gathered over time.

use clap::{Args, Subcommand};

use super::{Context, Outcome, output, read};
use crate::control::{ReportKind, Request, report::Origins};

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
}

impl Report {
    pub(super) fn execute(self, context: &mut Context<'_>) -> Outcome {
        match self.what {
            What::Origins { limit } => origins(context, limit),
        }
    }
}

fn origins(context: &mut Context<'_>, limit: usize) -> Outcome {
    let request = Request::Report {
        what: ReportKind::Origins,
        limit: Some(limit),
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
