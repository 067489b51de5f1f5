//! `reload` and `detach`: one request, a sentence as the answer.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Context, LONG_PATIENCE, Outcome, Trouble, output};
use crate::{
    control::{Request, client::ClientError},
    datapath,
};

pub(super) fn reload(context: &mut Context<'_>) -> Outcome {
    let data = output::waiting("reading the configuration and its lists", || {
        context.ask_patiently(Request::Reload, LONG_PATIENCE)
    })?;
    show(context, &data, "the new configuration is in force")
}

/// Asks the agent, or does it itself where none is running: the kernel goes on without an agent, so
/// this must work without one.
pub(super) fn detach(context: &mut Context<'_>) -> Outcome {
    let asked = output::waiting("detaching", || {
        context.ask_patiently(Request::Detach, LONG_PATIENCE)
    });
    let data = match asked {
        Err(Trouble::Client(ClientError::Unreachable { .. })) => {
            let directory = bpffs_dir(context)?;
            datapath::detach_pinned(&directory)
                .map_err(|error| Trouble::Failed(format!("{error:#}")))?;
            json!({ "detached": true, "agent": "was not running" })
        }
        other => other?,
    };
    show(
        context,
        &data,
        "detached; nothing is judged until the agent runs again",
    )
}

/// Where the pins are, by the configuration that the agent would use.
fn bpffs_dir(context: &Context<'_>) -> Result<PathBuf, Trouble> {
    let path = context.config_path();
    if context.config.is_none() && !path.exists() {
        return Ok(PathBuf::from(BPFFS_DEFAULT));
    }
    super::path_of(path, "bpffs_dir", BPFFS_DEFAULT)
}

const BPFFS_DEFAULT: &str = "/sys/fs/bpf/edgeward";

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
            // What the sentence says already.
            Value::Null | Value::Bool(true) => {}
            Value::String(text) => context.line(format_args!("  {key}: {text}"))?,
            other => context.line(format_args!("  {key}: {other}"))?,
        }
    }
    Ok(())
}
