//! `list`: the decisions in force.

use clap::Args;

use super::{Context, Outcome, output, read};
use crate::{
    control::{Request, report::Listing},
    policy::decision::{Kind, Origin},
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
            return context.line(format_args!("no decisions"));
        }
        let mut table =
            output::Table::new(&["PREFIX", "KIND", "SCORE", "ORIGIN", "ENDS", "BY", "REASON"]);
        for decision in &listing.decisions {
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
                decision.actor.clone(),
                decision.reason.clone(),
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
        Ok(())
    }
}
