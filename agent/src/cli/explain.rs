//! `explain`: how an address is judged, step by step, by the agent or by a configuration alone.

use std::net::IpAddr;

use clap::Args;
use serde_json::Value;

use super::{Context, Outcome, Trouble, output, read};
use crate::{
    config::Config,
    control::Request,
    policy::explain::{Explanation, Step, offline},
};

/// `edgeward explain`. With --config it needs no agent and judges by that file alone.
// The IP chain brings `--peer ADDRESS` and `--header 'Name: value'`.
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The address that connects
    address: IpAddr,
    /// The local port it connects to
    #[arg(long)]
    port: Option<u16>,
}

impl Explain {
    pub(super) fn execute(self, context: &mut Context<'_>) -> Outcome {
        let data = match context.config.clone() {
            Some(path) => self.offline(&path)?,
            None => context.ask(Request::Explain {
                address: self.address,
                port: self.port,
            })?,
        };
        if context.printed_json(&data)? {
            return Ok(());
        }
        let explanation: Explanation = read(data)?;
        let text = sheet(&explanation)?;
        context.text(&text)
    }

    fn offline(&self, path: &std::path::Path) -> Result<Value, Trouble> {
        let config =
            Config::load(path).map_err(|mistakes| Trouble::Configuration(mistakes.to_string()))?;
        Ok(offline(&config, self.address, self.port))
    }
}

fn sheet(explanation: &Explanation) -> Result<String, Trouble> {
    let mut sheet = output::Sheet::default();
    let reason = word(&explanation.client_reason)?;
    sheet.add("client", format!("{} ({reason})", explanation.client));
    sheet.add("verdict", word(&explanation.verdict)?);
    sheet.add(
        "action",
        format!(
            "{} (mode {})",
            word(&explanation.action)?,
            explanation.mode.name()
        ),
    );
    sheet.add("reason", explanation.reason.as_deref().unwrap_or("none"));
    let steps: Vec<String> = explanation
        .steps
        .iter()
        .enumerate()
        .map(|(index, step)| format!("{}. {}", index + 1, sentence(step)))
        .collect();
    sheet.add("steps", steps.join("\n"));
    Ok(sheet.render())
}

/// An enum's word, as JSON has it.
fn word(value: &impl serde::Serialize) -> Result<String, Trouble> {
    let value = serde_json::to_value(value).map_err(|error| Trouble::Failed(error.to_string()))?;
    Ok(value.as_str().unwrap_or_default().to_owned())
}

fn sentence(step: &Step) -> String {
    if step.detail.is_empty() {
        format!("{}: {}", step.check, step.result)
    } else {
        format!("{}: {}, {}", step.check, step.result, step.detail)
    }
}
