//! `events`: the latest, and with --follow each new one.

use clap::Args;
use serde_json::{Map, Value};

use super::{Context, Outcome, PATIENCE, Trouble, output};
use crate::control::Request;

/// `edgeward events`. With --json one event a line, also without --follow.
#[derive(Debug, Args)]
pub(super) struct Events {
    /// Stay and print each new event
    #[arg(long, short)]
    follow: bool,
    /// At most this many past events
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

impl Events {
    pub(super) fn execute(self, context: &mut Context<'_>) -> Outcome {
        let request = Request::Events {
            follow: self.follow,
            limit: Some(self.limit),
        };
        let mut client = context.connect()?;
        let data = client
            .request(&request.into(), PATIENCE)
            .map_err(Trouble::Client)?;
        let past = data.get("events").and_then(Value::as_array);
        for event in past.into_iter().flatten() {
            print(context, event)?;
        }
        if !self.follow {
            return Ok(());
        }
        // Whoever follows wants to see each event when it comes, a pipe included.
        context.out.flush().map_err(Trouble::Output)?;
        while let Some(line) = client.next_event().map_err(Trouble::Client)? {
            match serde_json::from_str(&line) {
                Ok(event) => print(context, &event)?,
                Err(_) => context.line(format_args!("{line}"))?,
            }
            context.out.flush().map_err(Trouble::Output)?;
        }
        Err(Trouble::Failed(
            "the agent ended the stream; it may be stopping".to_owned(),
        ))
    }
}

fn print(context: &mut Context<'_>, event: &Value) -> Outcome {
    match event {
        Value::Object(fields) if !context.json => context.line(format_args!("{}", line(fields))),
        other => context.line(format_args!("{other}")),
    }
}

/// The time first, then what happened, then every other field by its name.
fn line(fields: &Map<String, Value>) -> String {
    let plain = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    if let Some(lost) = fields.get("lost") {
        return format!("({lost} events were too fast for this output)");
    }
    let mut parts = Vec::new();
    for (key, value) in fields {
        if LEADING.contains(&key.as_str()) || value.is_null() {
            continue;
        }
        parts.push(format!("{key}={}", plain(value)));
    }
    let leading = LEADING.iter().filter_map(|key| {
        let value = fields.get(*key)?;
        Some(match value.as_u64() {
            Some(milliseconds) => output::utc(milliseconds),
            None => plain(value),
        })
    });
    leading.chain(parts).collect::<Vec<_>>().join("  ")
}

const LEADING: [&str; 4] = ["time", "at", "event", "type"];
