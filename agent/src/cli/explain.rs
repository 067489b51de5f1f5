//! `explain`: how an address is judged, step by step, by the agent or by a configuration alone.

use std::net::IpAddr;

use clap::Args;
use serde_json::Value;

use super::{Context, Outcome, Trouble, output, read};
use crate::{
    config::Config,
    control::{Request, report::Explanation},
    policy::explain::offline,
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
        let text = sheet(&explanation);
        context.text(&text)
    }

    fn offline(&self, path: &std::path::Path) -> Result<Value, Trouble> {
        let config =
            Config::load(path).map_err(|mistakes| Trouble::Configuration(mistakes.to_string()))?;
        Ok(offline(&config, self.address, self.port))
    }
}

fn sheet(explanation: &Explanation) -> String {
    let mut sheet = output::Sheet::default();
    let client = explanation
        .client
        .map_or_else(|| "unknown".to_owned(), |client| client.to_string());
    sheet.add(
        "client",
        format!("{client} ({})", explanation.client_reason),
    );
    sheet.add("verdict", &explanation.verdict);
    sheet.add(
        "action",
        format!("{} (in the present mode)", explanation.action),
    );
    sheet.add("reason", explanation.reason.as_deref().unwrap_or("none"));
    let steps: Vec<String> = explanation
        .steps
        .iter()
        .enumerate()
        .map(|(index, step)| format!("{}. {}", index + 1, sentence(step)))
        .collect();
    sheet.add("steps", steps.join("\n"));
    sheet.render()
}

/// A step as a line: its text, or its fields in their order.
fn sentence(step: &Value) -> String {
    let plain = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    match step {
        Value::Object(fields) => {
            let head = fields.get("step").map(plain);
            let rest = fields
                .iter()
                .filter(|(key, value)| *key != "step" && !value.is_null())
                .map(|(key, value)| match key.as_str() {
                    "result" | "detail" => plain(value),
                    _ => format!("{key} {}", plain(value)),
                })
                .collect::<Vec<_>>()
                .join(", ");
            head.map_or(rest.clone(), |head| format!("{head}: {rest}"))
        }
        other => plain(other),
    }
}
