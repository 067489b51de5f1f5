//! An Okta System Log as a feed. Okta runs nowhere but at Okta: the server here answers as its documentation says.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::ensure;
use lab::{Agent, Lab, Need, PYTHON, Result, TestFn, needs_nothing};
use serde_json::{Value, json};

use crate::world::{
    all_pass, listens, refresh, refresh_fails, secret, show, text, until_passes, zones,
};

pub(crate) fn tests() -> Vec<(&'static str, TestFn, Need)> {
    vec![("feeds_okta_system_log", system_log, needs_nothing)]
}

/// The log is read page by page and goes on where it was, also in the next agent.
fn system_log() -> Result<()> {
    let lab = Lab::new("feeds-okta")?;
    let script = lab.write("okta/okta.py", include_str!("okta.py"))?;
    let folder = lab.directory().join("okta");
    let mut events = vec![event("203.0.113.66", "HIGH"), event("203.0.113.70", "LOW")];
    write(&lab, &events)?;
    let server = lab
        .login
        .spawn(&[PYTHON, text(&script)?, "8050", text(&folder)?])?;
    listens(&lab.login, "127.0.0.1:8050".parse()?, &server)?;
    secret(&lab, "okta.key", "okta-token")?;
    let config = zones("block").toml(
        "[[feed]]\nname = \"okta\"\nurl = \"http://127.0.0.1:8050\"\nformat = \"okta\"\nkey_file = \"okta.key\"\n\
         interval = \"1s\"\n",
    );
    let mut agent = Agent::start(&lab, &config)?;
    until_passes(&lab, false, "203.0.113.66")?;
    all_pass(&lab, true, &["203.0.113.67"])?;
    let explained = agent.cli_json(&["explain", "203.0.113.66"])?;
    ensure!(
        explained["detail"] == "Password Spray"
            && explained["feed"] == "okta"
            && explained["expires"].is_u64(),
        "{explained}"
    );
    events.push(event("203.0.113.67", "HIGH"));
    write(&lab, &events)?;
    until_passes(&lab, false, "203.0.113.67")?;

    agent.kill9();
    let before = server.stdout().lines().count();
    agent.launch()?;
    all_pass(&lab, false, &["203.0.113.66", "203.0.113.67"])?;
    refresh(&agent, "okta")?;
    let later: Vec<String> = server
        .stdout()
        .lines()
        .skip(before)
        .map(str::to_owned)
        .collect();
    ensure!(
        !later.is_empty() && later.iter().all(|line| line.contains("after=1_")),
        "it began anew: {later:?}"
    );
    secret(&lab, "okta.key", "another-token")?;
    let said = refresh_fails(&agent, "okta")?;
    ensure!(said.contains("answers 401"), "{said}");
    ensure!(
        show(&agent, "okta")?["entries"] == 3,
        "{}",
        show(&agent, "okta")?
    );
    ensure!(!agent.log().contains("okta-token"), "{}", agent.log());
    Ok(())
}

fn write(lab: &Lab, events: &[Value]) -> Result<()> {
    lab.write("okta/events", &json!(events).to_string())?;
    Ok(())
}

fn event(address: &str, level: &str) -> Value {
    let detections = json!({ "Password Spray": level }).to_string();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    json!({
        "uuid": address, "eventType": "security.threat.detected", "severity": "WARN", "version": "0",
        // Seconds since the epoch are read as well as Okta's own form.
        "published": now.to_string(),
        "client": { "ipAddress": address },
        "outcome": { "result": "DENY", "reason": "Password Spray" },
        "debugContext": { "debugData": { "threatSuspected": "true", "threatDetections": detections } },
    })
}
