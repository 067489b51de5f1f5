//! CrowdSec's own local API as a feed.

use anyhow::{Context, ensure};
use lab::{Agent, Lab, Need, Result, TestFn};
use serde_json::Value;

use crate::world::{
    CrowdSec, KEY, all_pass, needs_crowdsec, refresh, secret, show, until, until_passes, zones,
};

pub(crate) fn tests() -> Vec<(&'static str, TestFn, Need)> {
    vec![
        ("feeds_crowdsec_decisions", decisions, needs_crowdsec),
        ("feeds_crowdsec_outage", outage, needs_crowdsec),
    ]
}

fn start(lab: &Lab) -> Result<Agent> {
    secret(lab, "crowdsec.key", KEY)?;
    let config = zones("block").toml(&format!(
        "[[feed]]\nname = \"crowdsec\"\nurl = \"{}\"\nformat = \"crowdsec\"\ninterval = \"1s\"\n\
         key_file = \"crowdsec.key\"\n",
        CrowdSec::URL
    ));
    Agent::start(lab, &config)
}

/// `cscli decisions add` of an address and a range is enforced by the next poll, and taken back on delete.
fn decisions() -> Result<()> {
    let lab = Lab::new("feeds-decisions")?;
    let crowdsec = CrowdSec::start(&lab)?;
    let agent = start(&lab)?;
    refresh(&agent, "crowdsec")?;
    let add = |what: &str, value: &str, reason: &str, duration: &str| {
        crowdsec.cscli(&[
            "decisions",
            "add",
            what,
            value,
            "--reason",
            reason,
            "--duration",
            duration,
        ])
    };
    add("--ip", "203.0.113.66", "ssh bf", "1h")?;
    add("--range", "203.0.113.128/25", "scan", "1h")?;
    add("--ip", "2001:db8:bad::66", "ssh bf", "1h")?;
    add("--ip", "198.51.100.130", "an exempt one", "1h")?;
    until_passes(&lab, false, "203.0.113.66")?;
    until_passes(&lab, false, "203.0.113.200")?;
    until_passes(&lab, false, "2001:db8:bad::66")?;
    all_pass(
        &lab,
        true,
        &["203.0.113.67", "198.51.100.10", "198.51.100.130"],
    )?;
    let explained = agent.cli_json(&["explain", "203.0.113.66"])?;
    ensure!(
        explained["feed"] == "crowdsec" && explained["detail"] == "ssh bf",
        "{explained}"
    );
    ensure!(explained["expires"].is_u64(), "{explained}");

    // Two decisions name one address; deleting one leaves the other.
    add("--ip", "203.0.113.66", "another", "2h")?;
    refresh(&agent, "crowdsec")?;
    let another = identifier(&crowdsec, "another")?;
    crowdsec.cscli(&["decisions", "delete", "--id", &another])?;
    refresh(&agent, "crowdsec")?;
    all_pass(&lab, false, &["203.0.113.66"])?;
    crowdsec.cscli(&["decisions", "delete", "--ip", "203.0.113.66"])?;
    crowdsec.cscli(&["decisions", "delete", "--range", "203.0.113.128/25"])?;
    until_passes(&lab, true, "203.0.113.66")?;
    until_passes(&lab, true, "203.0.113.200")?;
    all_pass(&lab, false, &["2001:db8:bad::66"])?;

    // It ends by itself, whatever the server says.
    add("--ip", "203.0.113.70", "short", "6s")?;
    until_passes(&lab, false, "203.0.113.70")?;
    until_passes(&lab, true, "203.0.113.70")?;
    Ok(())
}

/// The local API goes away and comes back: what was last known stays, and then everything is asked for again.
fn outage() -> Result<()> {
    let lab = Lab::new("feeds-outage")?;
    let mut crowdsec = CrowdSec::start(&lab)?;
    crowdsec.cscli(&[
        "decisions",
        "add",
        "--ip",
        "203.0.113.66",
        "--duration",
        "1h",
    ])?;
    crowdsec.cscli(&[
        "decisions",
        "add",
        "--ip",
        "203.0.113.67",
        "--duration",
        "1h",
    ])?;
    let mut agent = start(&lab)?;
    until_passes(&lab, false, "203.0.113.66")?;
    crowdsec.kill9();
    until("the outage is told", || {
        Ok(show(&agent, "crowdsec")?["health"] == "failing")
    })?;
    agent.kill9();
    agent.launch()?;
    all_pass(&lab, false, &["203.0.113.66", "203.0.113.67"])?;
    crowdsec.launch()?;
    crowdsec.cscli(&["decisions", "delete", "--ip", "203.0.113.66"])?;
    until_passes(&lab, true, "203.0.113.66")?;
    all_pass(&lab, false, &["203.0.113.67"])?;
    ensure!(show(&agent, "crowdsec")?["health"] == "ok");
    // A key that is not known is told as such, and not in any other way.
    secret(&lab, "crowdsec.key", "not-the-key")?;
    let output = agent.cli(&["feed", "refresh", "crowdsec"])?;
    ensure!(output.stderr.contains("answers 403"), "{output:?}");
    ensure!(!agent.log().contains("not-the-key") && !agent.log().contains(KEY));
    all_pass(&lab, false, &["203.0.113.67"])?;
    Ok(())
}

/// The identifier of the decision with this reason.
fn identifier(crowdsec: &CrowdSec, reason: &str) -> Result<String> {
    let text = crowdsec.cscli(&["decisions", "list", "-o", "json"])?;
    let alerts: Value = serde_json::from_str(&text)?;
    let decisions = alerts
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|alert| alert["decisions"].as_array().cloned().unwrap_or_default());
    let found = decisions
        .into_iter()
        .find(|decision| decision["scenario"] == reason)
        .with_context(|| format!("no decision \"{reason}\" in {text}"))?;
    Ok(found["id"].to_string())
}
