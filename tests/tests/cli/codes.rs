//! Exit codes: 0 done, 1 failed, 2 usage, 69 no agent, 78 mistakes in the configuration.

use anyhow::ensure;
use lab::{Agent, AgentConfig, Lab, Result, TestFn};
use serde_json::Value;

use super::world::{rich, says};

pub(crate) fn tests() -> Vec<(&'static str, TestFn)> {
    vec![
        ("check_exits_78_and_names_every_mistake", check),
        ("without_an_agent_it_exits_69", no_agent),
        ("what_cannot_be_meant_exits_2", usage),
        ("what_does_not_exist_exits_1", not_found),
    ]
}

fn check() -> Result<()> {
    let lab = Lab::new("check")?;
    let agent = Agent::prepare(&lab, &rich("log"))?;
    let config = agent.config_path().display().to_string();
    let check = |more: &[&str]| agent.cli(&[&["check", "--config", &config], more].concat());
    says(
        &check(&[])?,
        0,
        &["no mistakes", "4 zones", "3 lists", "2 services"],
    )?;
    let report: Value = serde_json::from_str(&check(&["--json"])?.success()?)?;
    ensure!(report["valid"] == true, "{report}");
    let wrong = rich("log")
        .set("mode", "blokc")
        .set("refusall", "drop")
        .zone("office", &["exempt"], &["192.0.2.1/24"])
        .list("gone", 101, &["203.0.113.9"]);
    agent.reconfigure(&wrong)?;
    let words = [
        "blokc",
        "refusall",
        "refusal",
        "192.0.2.0/24",
        "office",
        "101",
    ];
    says(&check(&[])?, 78, &words)?;
    let output = check(&["--json"])?;
    ensure!(output.code == 78, "{output:?}");
    let report: Value = serde_json::from_str(&output.stdout)?;
    let mistakes = report["mistakes"].as_array().map_or(0, Vec::len);
    ensure!(report["valid"] == false && mistakes >= 5, "{report}");
    let run = agent.run_refused()?;
    says(&run, 78, &["blokc", "does not start"])?;
    // A warning is a mistake to `check`, and no reason for the agent not to start.
    lab.write("feed.txt", "203.0.113.9\nnonsense\n")?;
    agent.reconfigure(&rich("log").list_files("feed", 90, &["feed.txt"]))?;
    says(&check(&[])?, 78, &["feed.txt:2", "would be used"])?;
    let missing = agent.cli(&["check", "--config", "/no/such/file.toml"])?;
    says(&missing, 78, &["/no/such/file.toml"])
}

fn no_agent() -> Result<()> {
    let lab = Lab::new("no-agent")?;
    let mut agent = Agent::start(&lab, &AgentConfig::new("log"))?;
    let commands: [&[&str]; 8] = [
        &["status"],
        &["list"],
        &["mode", "block"],
        &["block", "203.0.113.9"],
        &["verify"],
        &["reload"],
        &["events"],
        &["explain", "203.0.113.9"],
    ];
    let socket = agent.socket().display().to_string();
    let ask_all = |agent: &Agent| -> Result<()> {
        for command in commands {
            says(&agent.cli(command)?, 69, &["no edgeward answers", &socket])?;
        }
        let output = agent.cli(&["status", "--json"])?;
        let error: Value = serde_json::from_str(&output.stderr)?;
        ensure!(
            output.code == 69 && error["error"]["kind"] == "unavailable",
            "{output:?}"
        );
        Ok(())
    };
    // With the socket of a dead agent, and without any.
    agent.kill9();
    ensure!(agent.socket().exists(), "kill -9 leaves the socket");
    ask_all(&agent)?;
    agent.launch()?;
    agent.stop()?;
    ask_all(&agent)
}

fn usage() -> Result<()> {
    let lab = Lab::new("usage")?;
    let agent = Agent::start(&lab, &AgentConfig::new("log"))?;
    let cases: [(&[&str], &str); 10] = [
        (&["block", "nonsense"], "nonsense"),
        (&["block", "203.0.113.9/24"], "203.0.113.0/24"),
        (&["block", "203.0.113.9", "--score", "0"], "score"),
        (&["block", "203.0.113.9", "--score", "101"], "score"),
        (&["block", "203.0.113.9", "--for", "soon"], "soon"),
        (&["block", "203.0.113.9", "--for", "0s"], "zero"),
        (&["mode", "on"], "on"),
        (&["mode", "--for", "5m"], "--for"),
        (&["explain", "203.0.113.0/24"], "203.0.113.0/24"),
        (&["blokc", "203.0.113.9"], "blokc"),
    ];
    for (command, word) in cases {
        says(&agent.cli(command)?, 2, &[word])?;
    }
    // What only the agent can tell is a usage mistake too.
    let long = "r".repeat(300);
    says(
        &agent.cli(&["block", "203.0.113.9", "--reason", &long])?,
        2,
        &["255"],
    )?;
    ensure!(
        agent.cli_json(&["list"])?["total"] == 0,
        "something was done"
    );
    says(&agent.cli(&["--help"])?, 0, &["Exit codes"])?;
    says(&agent.cli(&["--version"])?, 0, &["edgeward"])
}

fn not_found() -> Result<()> {
    let lab = Lab::new("not-found")?;
    let agent = Agent::start(&lab, &rich("block"))?;
    says(
        &agent.cli(&["unblock", "192.0.2.200"])?,
        1,
        &["no decision"],
    )?;
    says(
        &agent.cli(&["zone", "show", "nowhere"])?,
        1,
        &["nowhere", "zone list"],
    )?;
    says(&agent.cli(&["mode", "confirm"])?, 1, &["no mode waits"])?;
    // What would help is said.
    agent.cli_ok(&["block", "203.0.113.96/28"])?;
    says(
        &agent.cli(&["unblock", "203.0.113.97"])?,
        1,
        &["203.0.113.96/28 has one"],
    )?;
    says(
        &agent.cli(&["unblock", "203.0.113.66"])?,
        1,
        &["edgeward exempt 203.0.113.66"],
    )?;
    agent.cli_ok(&["unblock", "203.0.113.96/28"])?;
    ensure!(
        agent.cli_json(&["list"])?["total"] == 0,
        "it is still there"
    );
    Ok(())
}
