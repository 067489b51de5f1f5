//! `reload` and `detach`: one request, a sentence as the answer.

use clap::Args;
use serde_json::Value;

use super::{Context, LONG_PATIENCE, Outcome, output};
use crate::control::Request;

/// `edgeward detach`.
#[derive(Debug, Args)]
pub(super) struct Detach {
    /// Also in block mode, where it opens the host to what is blocked now
    #[arg(long)]
    force: bool,
}

pub(super) fn reload(context: &mut Context<'_>) -> Outcome {
    let data = output::waiting("reading the configuration and its lists", || {
        context.ask_patiently(Request::Reload, LONG_PATIENCE)
    })?;
    show(context, &data, "the new configuration is in force")
}

impl Detach {
    pub(super) fn execute(self, context: &mut Context<'_>) -> Outcome {
        let request = Request::Detach { force: self.force };
        let data = output::waiting("detaching", || {
            context.ask_patiently(request, LONG_PATIENCE)
        })?;
        show(
            context,
            &data,
            "detached; nothing is judged until the agent runs again",
        )
    }
}

/// The sentence, then whatever the agent adds: each of `notes`, every other plain field by its name.
fn show(context: &mut Context<'_>, data: &Value, sentence: &str) -> Outcome {
    if context.printed_json(data)? {
        return Ok(());
    }
    context.line(format_args!("{sentence}"))?;
    for (key, value) in data.as_object().into_iter().flatten() {
        match value {
            Value::Array(notes) => {
                for note in notes {
                    let plain = note
                        .as_str()
                        .map_or_else(|| note.to_string(), str::to_owned);
                    context.line(format_args!("  {key}: {plain}"))?;
                }
            }
            Value::Null => {}
            Value::String(text) => context.line(format_args!("  {key}: {text}"))?,
            other => context.line(format_args!("  {key}: {other}"))?,
        }
    }
    Ok(())
}
