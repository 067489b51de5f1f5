//! `explain`: how an address is judged, step by step, by the agent or by a configuration alone.

use std::net::IpAddr;

use clap::Args;
use serde_json::Value;

use super::{Context, Outcome, Trouble, output, read};
use crate::{
    config::Config,
    control::Request,
    policy::{
        explain::{self, Explanation, Step},
        explain_request,
        request::{Described, HeaderLine},
    },
};

/// `edgeward explain`. With --config it needs no agent and judges by that file alone.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Explain {
    /// The address that connects: how the kernel judges its packets
    #[arg(required_unless_present = "peer", conflicts_with = "peer")]
    address: Option<IpAddr>,
    /// The local port it connects to
    #[arg(long)]
    port: Option<u16>,
    /// The other end of a connection: how a request on it is judged, by the client behind it
    #[arg(long, value_name = "ADDRESS")]
    peer: Option<IpAddr>,
    /// A header line of the request; repeated, in order
    #[arg(
        long = "header",
        value_name = "'NAME: VALUE'",
        requires = "peer",
        conflicts_with = "address"
    )]
    headers: Vec<HeaderLine>,
    /// The service it is for [default: that of --port, or the first]
    #[arg(
        long,
        value_name = "NAME",
        requires = "peer",
        conflicts_with = "address"
    )]
    service: Option<String>,
    /// Its path [default: /]
    #[arg(long, requires = "peer", conflicts_with = "address")]
    path: Option<String>,
}

const EXAMPLES: &str = "Examples:
  edgeward explain 203.0.113.9 --port 443
  edgeward explain --peer 192.0.2.10 --header 'X-Forwarded-For: 203.0.113.9, 192.0.2.77'";

impl Explain {
    pub(super) fn execute(self, context: &mut Context<'_>) -> Outcome {
        let data = match context.config.clone() {
            Some(path) => self.offline(&path)?,
            None => context.ask(Request::Explain {
                address: self.address,
                port: self.port,
                peer: self.peer,
                headers: self.headers,
                service: self.service,
                path: self.path,
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
        match (self.address, self.peer) {
            (Some(address), _) => Ok(explain::offline(&config, address, self.port)),
            (None, Some(peer)) => {
                let path = self.path.as_deref().unwrap_or("/");
                let asked = Described::new(peer, &self.headers, path, self.port);
                explain_request::offline(&config, asked, self.service.as_deref())
                    .map_err(Trouble::Failed)
            }
            (None, None) => Err(Trouble::Usage("an address or --peer is needed".to_owned())),
        }
    }
}

fn sheet(explanation: &Explanation) -> Result<String, Trouble> {
    let mut sheet = output::Sheet::default();
    let reason = word(&explanation.client_reason)?;
    sheet.add("client", format!("{} ({reason})", explanation.client));
    if let Some(chain) = &explanation.chain {
        let hops: Vec<String> = chain.iter().map(IpAddr::to_string).collect();
        sheet.add("chain", hops.join(", "));
        let service = explanation.service.as_deref();
        sheet.add("service", service.unwrap_or("none"));
    }
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
