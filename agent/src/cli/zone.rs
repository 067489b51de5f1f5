//! `zone`: what the configuration says about networks.

use clap::{Args, Subcommand};

use super::{Context, Outcome, output, read};
use crate::control::{
    Request,
    report::{ZoneDetail, Zones},
};

/// `edgeward zone`.
#[derive(Debug, Args)]
pub(super) struct Zone {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Every zone with its uses
    List,
    /// One zone with its networks
    Show {
        /// The zone's name
        name: String,
    },
}

impl Zone {
    pub(super) fn execute(self, context: &mut Context<'_>) -> Outcome {
        match self.what {
            What::List => list(context),
            What::Show { name } => show(context, name),
        }
    }
}

fn list(context: &mut Context<'_>) -> Outcome {
    let data = context.ask(Request::ZoneList)?;
    if context.printed_json(&data)? {
        return Ok(());
    }
    let report: Zones = read(data)?;
    if report.zones.is_empty() {
        return context.line(format_args!(
            "no zones; add [[zone]] tables to the configuration"
        ));
    }
    let mut table = output::Table::new(&["ZONE", "USES", "NETWORKS", "REJECTED LINES"]);
    for zone in &report.zones {
        table.row([
            zone.name.clone(),
            zone.uses.join(", "),
            output::number(zone.networks),
            output::number(zone.rejected),
        ]);
    }
    context.text(&table.render())
}

fn show(context: &mut Context<'_>, name: String) -> Outcome {
    let data = context.ask_patiently(Request::ZoneShow { name }, super::LONG_PATIENCE)?;
    if context.printed_json(&data)? {
        return Ok(());
    }
    let zone: ZoneDetail = read(data)?;
    let shown = zone.networks.len() as u64;
    context.line(format_args!("{}: {}", zone.name, zone.uses.join(", ")))?;
    for network in &zone.networks {
        context.line(format_args!("  {network}"))?;
    }
    if zone.total > shown {
        context.line(format_args!(
            "{} of {} networks shown",
            output::number(shown),
            output::number(zone.total)
        ))?;
    }
    Ok(())
}
