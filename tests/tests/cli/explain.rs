//! `explain`: every row of the verdict, by a file alone and by the agent, with the same answer and the right one.

use anyhow::{Context, ensure};
use lab::{Agent, Lab, Result, TestFn};
use serde_json::{Value, json};

use super::world::{passes, rich, says};

pub(crate) fn tests() -> Vec<(&'static str, TestFn)> {
    vec![
        ("explain_answers_every_row_with_and_without_an_agent", rows),
        ("explain_knows_decisions_and_the_mode_in_force", decisions),
        ("explain_and_the_kernel_agree", agrees),
    ]
}

/// Address and port, and what the answer must say of it.
fn table() -> Vec<(&'static [&'static str], Value)> {
    vec![
        (
            &["198.51.100.130"],
            json!({"verdict": "pass", "action": "pass", "zone": "office", "reason": null}),
        ),
        (
            &["2001:db8:e::130"],
            json!({"verdict": "pass", "action": "pass", "zone": "office"}),
        ),
        (
            &["198.51.100.70", "--port", "8443"],
            json!({"verdict": "defer", "action": "pass", "zone": "cdn", "reason": null}),
        ),
        (
            &["203.0.113.7"],
            json!({"verdict": "deny", "action": "drop", "zone": "hostile", "reason": "blocked_zone",
                "origin": "blocked_zone", "prefix": "203.0.113.0/26", "score": null}),
        ),
        (
            &["2001:db8:bad:b::1"],
            json!({"verdict": "deny", "reason": "blocked_zone", "prefix": "2001:db8:bad:b::/64"}),
        ),
        (
            &["198.51.100.10", "--port", "8443"],
            json!({"verdict": "deny", "action": "drop", "reason": "restricted_origin", "port": 8443}),
        ),
        (
            &["198.51.100.40", "--port", "8443"],
            json!({"verdict": "pass", "action": "pass", "reason": null}),
        ),
        (
            &["203.0.113.66", "--port", "443"],
            json!({"verdict": "deny", "action": "drop", "reason": "reputation", "score": 95,
                "list": "bad", "origin": "list", "detail": "seen attacking", "prefix": "203.0.113.66/32"}),
        ),
        (
            &["::ffff:203.0.113.66"],
            json!({"client": "203.0.113.66", "verdict": "deny", "reason": "reputation", "list": "bad"}),
        ),
        (
            &["2001:db8:bad::66"],
            json!({"verdict": "deny", "reason": "reputation", "score": 95, "list": "bad"}),
        ),
        (
            &["203.0.113.200", "--port", "443"],
            json!({"verdict": "limit", "action": "limit", "reason": "reputation", "score": 50,
                "list": "slow", "prefix": "203.0.113.128/25"}),
        ),
        (
            &["203.0.113.81", "--port", "443"],
            json!({"verdict": "pass", "action": "pass", "reason": null, "score": 10, "list": "faint"}),
        ),
        (
            &["198.51.100.10", "--port", "443"],
            json!({"verdict": "pass", "action": "pass", "reason": null, "score": null, "list": null,
                "zone": null, "client_reason": "peer", "mode": "block"}),
        ),
    ]
}

fn rows() -> Result<()> {
    let lab = Lab::new("explain")?;
    let mut agent = Agent::start(&lab, &rich("block"))?;
    let config = agent.config_path().display().to_string();
    let offline = |agent: &Agent, asked: &[&str]| {
        agent.cli_json(&[&["explain"], asked, &["--config", &config]].concat())
    };
    let mut answers = Vec::new();
    for (asked, expected) in table() {
        let answer = agent.cli_json(&[&["explain"], asked].concat())?;
        for (field, value) in expected.as_object().into_iter().flatten() {
            ensure!(
                answer.get(field) == Some(value),
                "{asked:?}: {field} must be {value}: {answer:#}"
            );
        }
        let steps = answer["steps"].as_array().map_or(0, Vec::len);
        ensure!((1..=6).contains(&steps), "{asked:?}: {steps} steps");
        ensure!(
            offline(&agent, asked)? == answer,
            "{asked:?}: the file alone says {:#}\nthe agent {answer:#}",
            offline(&agent, asked)?
        );
        answers.push((asked, answer));
    }
    agent.kill9();
    for (asked, answer) in answers {
        ensure!(
            offline(&agent, asked)? == answer,
            "{asked:?}: without agent"
        );
    }
    // For people: every step numbered, the verdict in a word.
    let said = agent.cli_ok(&["explain", "203.0.113.66", "--config", &config])?;
    for words in [
        "deny",
        "drop (mode block)",
        "reputation",
        "\"bad\"",
        "1. ",
        "5. ",
    ] {
        ensure!(said.contains(words), "{words:?} is not in {said}");
    }
    // The mode and the refusal are the file's.
    for (config, action) in [
        (rich("log"), "pass"),
        (rich("off"), "pass"),
        (rich("block").set("refusal", "reset"), "reset"),
    ] {
        agent.reconfigure(&config)?;
        let answer = offline(&agent, &["203.0.113.66"])?;
        ensure!(answer["action"] == action, "{action}: {answer:#}");
    }
    agent.reconfigure(&rich("blokc"))?;
    let wrong = agent.cli(&["explain", "203.0.113.66", "--config", &config])?;
    says(&wrong, 78, &["blokc"])
}

fn decisions() -> Result<()> {
    let lab = Lab::new("explain-live")?;
    let agent = Agent::start(&lab, &rich("log"))?;
    let explain = |address: &str| agent.cli_json(&["explain", address]);
    let options = ["--score", "85", "--reason", "too many", "--for", "1h"];
    agent.cli_ok(&[&["block", "198.51.100.0/27"], &options[..]].concat())?;
    let answer = explain("198.51.100.10")?;
    for (field, value) in [
        ("verdict", json!("deny")),
        ("action", json!("pass")),
        ("mode", json!("log")),
        ("score", json!(85)),
        ("origin", json!("operator")),
        ("detail", json!("too many")),
        ("prefix", json!("198.51.100.0/27")),
    ] {
        ensure!(answer.get(field) == Some(&value), "{field}: {answer:#}");
    }
    ensure!(answer["expires"].as_u64().is_some(), "no end: {answer:#}");
    agent.cli_ok(&["mode", "block"])?;
    ensure!(
        explain("198.51.100.10")?["action"] == "drop",
        "not in mode block"
    );
    agent.cli_ok(&["exempt", "198.51.100.10"])?;
    let answer = explain("198.51.100.10")?;
    ensure!(answer["verdict"] == "pass", "{answer:#}");
    let step = answer["steps"][0].to_string();
    ensure!(step.contains("exempt decision"), "{step}");
    agent.cli_ok(&["unblock", "198.51.100.10"])?;
    ensure!(
        explain("198.51.100.10")?["verdict"] == "deny",
        "still exempt"
    );
    agent.cli_ok(&["mode", "off"])?;
    ensure!(explain("198.51.100.10")?["verdict"] == "pass", "off judges");
    Ok(())
}

/// Packets meet what `explain` says, wherever no port matters.
fn agrees() -> Result<()> {
    let lab = Lab::new("agrees")?;
    let agent = Agent::start(&lab, &rich("block"))?;
    agent.cli_ok(&["block", "203.0.113.82", "--score", "90"])?;
    agent.cli_ok(&["exempt", "203.0.113.66/32", "--for", "1h"])?;
    let mut tap = lab.edge_tap()?;
    let mut refused = 0;
    let sources = (0..=255)
        .flat_map(|last| [format!("203.0.113.{last}"), format!("198.51.100.{last}")])
        .chain((0..16).flat_map(|last| {
            [
                format!("2001:db8:bad:{last:x}::1"),
                format!("2001:db8:bad::{:x}", last + 0x5e),
                format!("2001:db8:{last:x}::1"),
            ]
        }));
    for source in sources {
        let answer = agent.request(&json!({"command": "explain", "address": source}))?;
        let action = answer
            .pointer("/data/action")
            .and_then(Value::as_str)
            .with_context(|| answer.to_string())?;
        let passed = passes(&lab, &mut tap, &source)?;
        ensure!(
            passed == (action != "drop"),
            "{source} passes: {passed}; explain says {answer:#}"
        );
        refused += u32::from(!passed);
    }
    ensure!(refused > 64, "only {refused} refused");
    Ok(())
}
