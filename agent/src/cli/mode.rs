//! `mode`: one word for what is done with verdicts, with ways back for the careful.

use clap::{Args, ValueEnum};

use super::{Context, Outcome, Trouble, lifetime, output, read};
use crate::{
    control::{Envelope, Request, report::ModeReport, ssh},
    policy,
};

/// `edgeward mode`.
#[derive(Debug, Args)]
pub(super) struct Mode {
    /// The mode to set, or `confirm` to keep the one that was set with --confirm-within
    word: Option<Word>,
    /// Go back to the present mode after this long, such as 90s, 5m or 4h
    #[arg(long = "for", value_name = "DURATION", value_parser = lifetime)]
    for_ms: Option<u64>,
    /// Go back after this long unless `edgeward mode confirm` comes first
    #[arg(long = "confirm-within", value_name = "DURATION", value_parser = lifetime)]
    confirm_within_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Word {
    /// Nothing is judged
    Off,
    /// Verdicts are counted and reported, everything passes
    Log,
    /// Verdicts are enforced
    Block,
    /// Keep the mode that is waiting for confirmation
    Confirm,
}

impl Mode {
    pub(super) fn execute(self, context: &mut Context<'_>) -> Outcome {
        let set = match self.word {
            Some(Word::Off) => Some(policy::mode::Mode::Off),
            Some(Word::Log) => Some(policy::mode::Mode::Log),
            Some(Word::Block) => Some(policy::mode::Mode::Block),
            Some(Word::Confirm) | None => None,
        };
        let ends = self.for_ms.is_some() || self.confirm_within_ms.is_some();
        if ends && set.is_none() {
            return Err(Trouble::Usage(
                "--for and --confirm-within go with a mode to set: off, log or block".to_owned(),
            ));
        }
        let request = if self.word == Some(Word::Confirm) {
            Request::ModeConfirm
        } else {
            Request::Mode {
                set,
                for_ms: self.for_ms,
                confirm_within_ms: self.confirm_within_ms,
            }
        };
        let data = context.ask(Envelope {
            request,
            ssh_peers: ssh::own_peers(),
        })?;
        if context.printed_json(&data)? {
            return Ok(());
        }
        let report: ModeReport = read(data)?;
        let text = sentences(&report, context.now);
        context.line(format_args!("{text}"))
    }
}

/// The mode, what it means, who set it and what ends it; one line each.
pub(super) fn sentences(report: &ModeReport, now: u64) -> String {
    let meaning = match report.mode.as_str() {
        "off" => "nothing is judged, every packet passes",
        "log" => "verdicts are counted and reported, nothing is dropped",
        "block" => "verdicts are enforced",
        _ => "not known to this version",
    };
    let mut text = format!("{}: {meaning}", report.mode);
    let ago = output::span(now.saturating_sub(report.since));
    match report.origin.as_str() {
        "operator" => text.push_str(&format!("\nset by {} {ago} ago", report.actor)),
        "configuration" => text.push_str("\nas the configuration says for a first start"),
        "revert" => text.push_str(&format!("\nwent back by itself {ago} ago")),
        _ => {}
    }
    if let (Some(next), Some(left)) = (&report.next, report.next_in_ms) {
        text.push_str(&format!("\ngoes back to {next} in {}", output::span(left)));
        if report.unconfirmed {
            text.push_str(" unless you run: edgeward mode confirm");
        }
    }
    text
}
