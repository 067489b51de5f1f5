//! `check`: the configuration and every file it names, without an agent.

use serde_json::json;

use super::{Context, Outcome, Trouble, output};
use crate::config::{Config, Mistakes};

pub(super) fn execute(context: &mut Context<'_>) -> Outcome {
    let path = context.config_path().to_path_buf();
    let loaded = output::waiting("reading the configuration and its lists", || {
        Config::load(&path)
    });
    match loaded {
        Ok(config) if config.warnings.is_empty() => {
            if context.json {
                let data = json!({"valid": true, "mistakes": [], "left_off": 0});
                return context.line(format_args!("{data}"));
            }
            context.line(format_args!(
                "{}: no mistakes; {}",
                path.display(),
                contents(&config)
            ))
        }
        Ok(config) => {
            let mistakes = Mistakes {
                kept: config.warnings,
                left_off: 0,
            };
            refuse(context, &mistakes)
        }
        Err(mistakes) => refuse(context, &mistakes),
    }
}

/// What there is, in numbers; what few configurations have is told only where it is there.
fn contents(config: &Config) -> String {
    let gateways = config
        .services
        .iter()
        .filter(|service| service.gateway.is_some());
    let limits = config.services.iter().map(|service| service.limits.len());
    let counts = [
        (config.zones.len(), "zone", true),
        (config.lists.len(), "list", true),
        (config.services.len(), "service", true),
        (gateways.count(), "gateway", false),
        (limits.sum(), "request limit", false),
        (config.endpoints.len(), "endpoint", false),
    ];
    counts
        .into_iter()
        .filter(|(count, _, always)| *always || *count > 0)
        .map(|(count, what, _)| output::count(count as u64, what))
        .collect::<Vec<_>>()
        .join(", ")
}

fn refuse(context: &mut Context<'_>, mistakes: &Mistakes) -> Outcome {
    if context.json {
        let data = json!({
            "valid": !mistakes.any_error(),
            "mistakes": mistakes.kept,
            "left_off": mistakes.left_off,
        });
        context.line(format_args!("{data}"))?;
    } else {
        context.line(format_args!("{mistakes}"))?;
    }
    let all = mistakes.left_off.saturating_add(mistakes.kept.len() as u64);
    let verdict = if mistakes.any_error() {
        "it would be refused"
    } else {
        "it would be used, with warnings"
    };
    Err(Trouble::Configuration(format!(
        "{} in the configuration; {verdict}",
        output::count(all, "mistake")
    )))
}
