//! `stream`: the System Log on its way to where a team looks.

use clap::{Args, Subcommand};
use serde::Deserialize;

use super::{Context, LONG_PATIENCE, Outcome, log, output, read};
use crate::control::{
    Request,
    report::{StreamHealth, StreamRows, StreamState},
};

/// `edgeward stream`.
#[derive(Debug, Args)]
pub(super) struct Stream {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Every stream with how it is and how far it is behind
    List,
    /// Send a test event and say what came of it; the log does not get it
    Test {
        /// The stream's name
        name: String,
    },
    /// Send everything since a moment once more
    Replay {
        /// The stream's name
        name: String,
        /// From here on: a moment (2026-11-22T08:00:00Z, a date) or how long ago (24h, 7d)
        #[arg(long, value_name = "TIME")]
        since: String,
    },
}

/// The answer of `test`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Tested {
    target: String,
    id: String,
    outcome: String,
    took_ms: u64,
}

/// The answer of `replay`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Replayed {
    events: u64,
}

impl Stream {
    pub(super) fn execute(self, context: &mut Context<'_>) -> Outcome {
        match self.what {
            What::List => list(context),
            What::Test { name } => test(context, name),
            What::Replay { name, since } => replay(context, name, &since),
        }
    }
}

fn list(context: &mut Context<'_>) -> Outcome {
    let data = context.ask(Request::StreamList)?;
    if context.printed_json(&data)? {
        return Ok(());
    }
    let report: StreamRows = read(data)?;
    if report.streams.is_empty() {
        return context.line(format_args!(
            "no streams; add [[stream]] tables to the configuration"
        ));
    }
    let mut table = output::Table::new(&[
        "STREAM",
        "KIND",
        "FORMAT",
        "STATE",
        "LAG",
        "DELIVERED",
        "DEAD",
        "GAP",
        "LAST",
        "TARGET",
    ]);
    for stream in &report.streams {
        table.row([
            stream.name.clone(),
            stream.kind.clone(),
            stream.format.clone(),
            word(stream.health).to_owned(),
            lag(stream),
            output::number(stream.delivered),
            output::number(stream.dead),
            output::number(stream.gap),
            ago(stream.last_delivered, context.now),
            stream.target.clone(),
        ]);
    }
    context.text(&table.render())?;
    for stream in &report.streams {
        if let Some(error) = &stream.error {
            let next = match stream.next {
                Some(next) => format!(
                    "; tried again in {}",
                    output::span(next.saturating_sub(context.now))
                ),
                None => String::new(),
            };
            context.line(format_args!("{} {error}{next}", stream.name))?;
        }
    }
    Ok(())
}

fn test(context: &mut Context<'_>, name: String) -> Outcome {
    let data = context.ask_patiently(Request::StreamTest { name }, LONG_PATIENCE)?;
    if context.printed_json(&data)? {
        return Ok(());
    }
    let done: Tested = read(data)?;
    context.line(format_args!(
        "event {} {} by {} in {} ms",
        done.id, done.outcome, done.target, done.took_ms
    ))
}

fn replay(context: &mut Context<'_>, name: String, since: &str) -> Outcome {
    let since_ms = log::at(since, context.now)?;
    let data = context.ask_patiently(Request::StreamReplay { name, since_ms }, LONG_PATIENCE)?;
    if context.printed_json(&data)? {
        return Ok(());
    }
    let done: Replayed = read(data)?;
    context.line(format_args!(
        "{} of the log, as far as the filter lets them through, will be sent again",
        output::count(done.events, "event")
    ))
}

pub(super) const fn word(health: StreamHealth) -> &'static str {
    match health {
        StreamHealth::New => "new",
        StreamHealth::Ok => "ok",
        StreamHealth::Failing => "failing",
        StreamHealth::Paused => "paused",
        StreamHealth::Off => "off",
    }
}

/// How far behind a stream is, in events and in time.
pub(super) fn lag(stream: &StreamState) -> String {
    match (stream.lag_events, stream.lag_ms) {
        (0, _) => "none".to_owned(),
        (events, 0) => output::count(events, "event"),
        (events, ms) => format!("{}, {}", output::count(events, "event"), output::span(ms)),
    }
}

fn ago(at: Option<u64>, now: u64) -> String {
    at.map_or_else(
        || "never".to_owned(),
        |at| format!("{} ago", output::span(now.saturating_sub(at))),
    )
}
