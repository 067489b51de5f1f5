//! What ends by itself: decisions, modes for a while, modes that nobody confirms. With an agent and without one.

use std::thread;
use std::time::Duration;

use anyhow::ensure;
use lab::{Agent, AgentConfig, Lab, Result, TestFn};
use serde_json::json;

use super::world::{enforced, guarded, mode, passes, text, until, verified, zones};

pub(crate) fn tests() -> Vec<(&'static str, TestFn)> {
    vec![
        ("decisions_end_without_an_agent", expiry_alone),
        ("decisions_end_with_an_agent_and_verify_never_minds", expiry),
        ("a_mode_for_a_while_goes_back", mode_for),
        (
            "an_unconfirmed_mode_goes_back_and_a_confirmed_one_stays",
            confirm,
        ),
        ("the_mode_survives_a_restart", mode_survives),
        ("an_unconfirmed_mode_goes_back_after_kill_9", pending),
    ]
}

fn expiry_alone() -> Result<()> {
    let lab = Lab::new("expiry")?;
    let config = zones(AgentConfig::new("block")).list("bad", 100, &["203.0.113.200"]);
    let mut agent = Agent::start(&lab, &config)?;
    let mut tap = lab.edge_tap()?;
    // Host, /24 and trie entry of both families.
    let blocked = [
        "203.0.113.66",
        "198.51.100.0/24",
        "2001:db8:bad::66",
        "2001:db8:600d::/49",
    ];
    let sources = [
        "203.0.113.66",
        "198.51.100.10",
        "2001:db8:bad::66",
        "2001:db8:600d::10",
    ];
    for prefix in blocked {
        agent.cli_ok(&["block", prefix, "--for", "5s", "--force"])?;
    }
    agent.cli_ok(&["exempt", "203.0.113.200", "--for", "5s"])?;
    agent.kill9();
    for source in sources {
        ensure!(!passes(&lab, &mut tap, source)?, "{source} passes already");
    }
    ensure!(
        passes(&lab, &mut tap, "203.0.113.200")?,
        "the exemption does not hold"
    );
    for source in sources {
        until("a block ends without agent", || {
            passes(&lab, &mut tap, source)
        })?;
    }
    until("an exemption ends without agent", || {
        Ok(!passes(&lab, &mut tap, "203.0.113.200")?)
    })?;
    agent.launch()?;
    let listing = agent.cli_json(&["list"])?;
    ensure!(listing["total"] == 0, "{listing}");
    ensure!(
        !passes(&lab, &mut tap, "203.0.113.200")?,
        "the exemption is back"
    );
    verified(&agent)
}

fn expiry() -> Result<()> {
    let lab = Lab::new("sweep")?;
    let agent = Agent::start(&lab, &guarded("block"))?;
    for number in 0..8 {
        let life = 300 + number * 97;
        for prefix in [
            format!("203.0.113.{}", number + 1),
            format!("2001:db8:bad:{number:x}000::/52"),
            format!("198.18.{}.0/25", number),
        ] {
            let request = json!({"command": "block", "prefix": prefix, "for_ms": life});
            let reply = agent.request(&request)?;
            ensure!(reply["ok"] == true, "{reply}");
        }
        let exempt = json!({"command": "exempt", "prefix": "203.0.113.66", "for_ms": life});
        let reply = agent.request(&exempt)?;
        ensure!(reply["ok"] == true, "{reply}");
        until("everything has ended", || {
            let verify = agent.request(&json!({"command": "verify"}))?;
            ensure!(
                verify.pointer("/data/matches") == Some(&true.into()),
                "round {number}: {verify}"
            );
            let listing = agent.request(&json!({"command": "list"}))?;
            Ok(listing.pointer("/data/total") == Some(&0.into()))
        })?;
    }
    enforced(&lab)
}

fn mode_for() -> Result<()> {
    let lab = Lab::new("mode-for")?;
    let agent = Agent::start(&lab, &guarded("log"))?;
    let mut tap = lab.edge_tap()?;
    let said = agent.cli_json(&["mode", "block", "--for", "3s"])?;
    ensure!(
        text(&said, "/mode") == "block" && text(&said, "/next") == "log",
        "{said}"
    );
    ensure!(!passes(&lab, &mut tap, "203.0.113.66")?, "not enforced");
    until("the mode goes back", || Ok(mode(&agent)? == "log"))?;
    ensure!(passes(&lab, &mut tap, "203.0.113.66")?, "still enforced");
    let report = agent.cli_json(&["mode"])?;
    ensure!(text(&report, "/origin") == "revert", "{report}");
    verified(&agent)
}

fn confirm() -> Result<()> {
    let lab = Lab::new("confirm")?;
    let agent = Agent::start(&lab, &guarded("log"))?;
    let refused = agent.cli(&["mode", "confirm"])?;
    ensure!(refused.code == 1, "nothing to confirm: {refused:?}");
    agent.cli_ok(&["mode", "block", "--confirm-within", "2s"])?;
    ensure!(mode(&agent)? == "block");
    until("nobody confirms", || Ok(mode(&agent)? == "log"))?;
    let said = agent.cli_ok(&["mode", "block", "--confirm-within", "4s"])?;
    ensure!(said.contains("mode confirm"), "{said}");
    let said = agent.cli_json(&["mode", "confirm"])?;
    ensure!(
        said["unconfirmed"] == false && said["next"].is_null(),
        "{said}"
    );
    // Past the moment at which it would have gone back.
    thread::sleep(Duration::from_millis(4500));
    ensure!(mode(&agent)? == "block", "a confirmed mode went back");
    enforced(&lab)?;
    verified(&agent)
}

fn mode_survives() -> Result<()> {
    let lab = Lab::new("mode-stays")?;
    let mut agent = Agent::start(&lab, &guarded("log"))?;
    agent.cli_ok(&["mode", "block"])?;
    agent.kill9();
    agent.launch()?;
    ensure!(mode(&agent)? == "block", "after kill -9: {}", mode(&agent)?);
    enforced(&lab)?;
    agent.cli_ok(&["mode", "off"])?;
    agent.restart()?;
    ensure!(mode(&agent)? == "off", "after a stop: {}", mode(&agent)?);
    let mut tap = lab.edge_tap()?;
    ensure!(passes(&lab, &mut tap, "203.0.113.66")?, "off judges");
    // The operator's word outlives a change of the configuration's, and says so.
    agent.reconfigure(&guarded("block"))?;
    agent.cli_ok(&["reload"])?;
    ensure!(mode(&agent)? == "off", "after a reload: {}", mode(&agent)?);
    verified(&agent)
}

fn pending() -> Result<()> {
    let lab = Lab::new("pending")?;
    let mut agent = Agent::start(&lab, &guarded("log"))?;
    // Not yet due at the restart: still pending, and then it goes back.
    agent.cli_ok(&["mode", "block", "--confirm-within", "8s"])?;
    agent.kill9();
    agent.launch()?;
    let report = agent.cli_json(&["mode"])?;
    ensure!(
        text(&report, "/mode") == "block" && report["unconfirmed"] == true,
        "{report}"
    );
    until("it goes back after the restart", || {
        Ok(mode(&agent)? == "log")
    })?;
    // Due while no agent runs: the next one makes up for it.
    agent.cli_ok(&["mode", "block", "--confirm-within", "1s"])?;
    agent.kill9();
    thread::sleep(Duration::from_millis(1500));
    agent.launch()?;
    ensure!(mode(&agent)? == "log", "{}", mode(&agent)?);
    let mut tap = lab.edge_tap()?;
    ensure!(passes(&lab, &mut tap, "203.0.113.66")?, "still enforced");
    verified(&agent)
}
