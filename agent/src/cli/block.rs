//! `block`, `unblock`, `exempt`: decisions by the operator.

use clap::Args;
use serde_json::Value;

use super::{Context, Outcome, lifetime, output, read};
use crate::{
    control::{Envelope, Request, Target, report::Change, ssh},
    policy::decision::Kind,
};

/// `edgeward block`.
#[derive(Debug, Args)]
pub(super) struct Block {
    /// CIDR prefix, single address, or range as in 192.0.2.1-192.0.2.9
    prefix: Target,
    /// How long, such as 90s, 5m, 4h or 7d; for ever, if not given
    #[arg(long = "for", value_name = "DURATION", value_parser = lifetime)]
    for_ms: Option<u64>,
    /// Why; events and `explain` repeat it
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Reputation, 1 to 100; 100, if not given
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=100))]
    score: Option<u8>,
    /// Also where it hits your own SSH session, an address of this host or a trusted proxy
    #[arg(long)]
    force: bool,
}

/// `edgeward unblock`.
#[derive(Debug, Args)]
pub(super) struct Unblock {
    /// The prefix exactly as it was blocked or exempted
    prefix: Target,
}

/// `edgeward exempt`.
#[derive(Debug, Args)]
pub(super) struct Exempt {
    /// CIDR prefix, single address, or range as in 192.0.2.1-192.0.2.9
    prefix: Target,
    /// How long, such as 90s, 5m, 4h or 7d; for ever, if not given
    #[arg(long = "for", value_name = "DURATION", value_parser = lifetime)]
    for_ms: Option<u64>,
}

impl Block {
    pub(super) fn execute(self, context: &mut Context<'_>) -> Outcome {
        let envelope = Envelope {
            request: Request::Block {
                prefix: self.prefix,
                for_ms: self.for_ms,
                reason: self.reason,
                score: self.score,
                force: self.force,
            },
            // The agent asks the kernel too, but may not be able to see behind sudo.
            ssh_peers: ssh::own_peers(),
        };
        let data = context.ask(envelope)?;
        show(context, data, Some(Kind::Block))
    }
}

impl Unblock {
    pub(super) fn execute(self, context: &mut Context<'_>) -> Outcome {
        let data = context.ask(Request::Unblock {
            prefix: self.prefix,
        })?;
        show(context, data, None)
    }
}

impl Exempt {
    pub(super) fn execute(self, context: &mut Context<'_>) -> Outcome {
        let data = context.ask(Request::Exempt {
            prefix: self.prefix,
            for_ms: self.for_ms,
        })?;
        show(context, data, Some(Kind::Exempt))
    }
}

/// Prints what was made, or, without a kind, what was taken back.
fn show(context: &mut Context<'_>, data: Value, made: Option<Kind>) -> Outcome {
    if context.printed_json(&data)? {
        return Ok(());
    }
    let change: Change = read(data)?;
    for decision in &change.decisions {
        let end = output::ends(decision.expires, context.now);
        let prefix = decision.prefix;
        match made {
            Some(Kind::Block) => context.line(format_args!(
                "blocked {prefix} with score {}; ends {end}",
                decision.score
            ))?,
            Some(Kind::Exempt) => context.line(format_args!("exempt {prefix}; ends {end}"))?,
            None => {
                context.line(format_args!("taken back: {} of {prefix}", decision.kind))?;
            }
        }
    }
    for note in &change.notes {
        context.line(format_args!("note: {note}"))?;
    }
    Ok(())
}
