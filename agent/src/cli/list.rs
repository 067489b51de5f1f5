//! `list`: the decisions in force.

use clap::Args;

use super::{Context, Outcome, output, read};
use crate::{
    control::{Request, report::Listing},
    policy::decision::{Decision, Kind, Origin},
};

/// `edgeward list`.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Only of this origin: operator, list, detection or feed
    #[arg(long)]
    origin: Option<Origin>,
    /// Only with this reason
    #[arg(long)]
    reason: Option<String>,
}

impl List {
    pub(super) fn execute(self, context: &mut Context<'_>) -> Outcome {
        let data = context.ask_patiently(
            Request::List {
                origin: self.origin,
                reason: self.reason,
            },
            super::LONG_PATIENCE,
        )?;
        if context.printed_json(&data)? {
            return Ok(());
        }
        let listing: Listing = read(data)?;
        if listing.decisions.is_empty() {
            context.line(format_args!("no decisions"))?;
            return left_out(context, &listing);
        }
        let mut table = output::Table::new(&[
            "PREFIX", "KIND", "SCORE", "ORIGIN", "ENDS", "HITS", "BY", "REASON",
        ]);
        for row in &listing.decisions {
            let decision = &row.decision;
            let score = match decision.kind {
                Kind::Block => decision.score.to_string(),
                Kind::Exempt => "-".to_owned(),
            };
            table.row([
                decision.prefix.to_string(),
                decision.kind.to_string(),
                score,
                decision.origin.to_string(),
                output::ends(decision.expires, context.now),
                row.hits.map_or_else(|| "-".to_owned(), output::number),
                decision.actor.clone(),
                because(decision),
            ]);
        }
        context.text(&table.render())?;
        let shown = listing.decisions.len() as u64;
        if listing.total > shown {
            context.line(format_args!(
                "{} of {} shown; narrow it with --origin or --reason",
                output::number(shown),
                output::number(listing.total)
            ))?;
        }
        left_out(context, &listing)
    }
}

/// The reason, and what speaks for it.
fn because(decision: &Decision) -> String {
    if decision.evidence.is_empty() {
        return decision.reason.clone();
    }
    format!("{} ({})", decision.reason, decision.evidence)
}

/// What nobody asked for, as numbers.
fn left_out(context: &mut Context<'_>, listing: &Listing) -> Outcome {
    for (entries, what, origin) in [
        (listing.of_lists, "lists of the configuration", "list"),
        (listing.of_feeds, "feeds", "feed"),
    ] {
        if entries > 0 {
            context.line(format_args!(
                "and {} from {what} (--origin {origin} shows them)",
                output::count(entries, "network")
            ))?;
        }
    }
    Ok(())
}
