//! The configuration read again: a mistake anywhere leaves everything as it was.

use anyhow::ensure;
use lab::{Agent, Lab, Result, TestFn};

use super::world::{enforced, guarded, passes, until, verified, watch, zones};

pub(crate) fn tests() -> Vec<(&'static str, TestFn)> {
    vec![
        ("a_mistake_leaves_everything_as_it_is", mistakes),
        ("sighup_and_the_command_reload", signal),
    ]
}

fn mistakes() -> Result<()> {
    let lab = Lab::new("mistakes")?;
    let mut agent = Agent::start(&lab, &guarded("block"))?;
    agent.cli_ok(&["block", "203.0.113.9"])?;
    let watch = watch(&lab)?;
    let before = agent.cli_json(&["zone", "list"])?;
    let wrong = [
        (guarded("block").set("mode", "blocked"), "mode"),
        (guarded("block").set("refusall", "drop"), "refusall"),
        (
            guarded("block").zone("bad net", &["exempt"], &["203.0.113.66/24"]),
            "203.0.113.0/24",
        ),
        (
            guarded("block").list_files("gone", 90, &["no-such-file.txt"]),
            "no-such-file.txt",
        ),
        (
            guarded("block").set("reputation.block_threshold", 200),
            "block_threshold",
        ),
        (
            guarded("block").set("control.readers.users", vec!["no-such-account"]),
            "no-such-account",
        ),
        (lab::AgentConfig::raw("mode = \"block\"\n[["), "TOML"),
    ];
    for (config, named) in wrong {
        agent.reconfigure(&config)?;
        let output = agent.cli(&["reload"])?;
        ensure!(
            output.code == 78 && output.stderr.contains(named),
            "{named}: {output:?}"
        );
        verified(&agent)?;
        ensure!(
            agent.cli_json(&["zone", "list"])? == before,
            "{named}: the zones changed"
        );
    }
    // By signal nobody is answered; the log says it.
    agent.signal(libc::SIGHUP)?;
    agent.wait_for_line("has mistakes", WAIT_MAX)?;
    watch.wait_for(20)?;
    watch.finish()?;
    enforced(&lab)?;
    verified(&agent)?;
    // An interface that is not there is found only while attaching.
    agent.reconfigure(&zones(lab::AgentConfig::new("block")).set("interfaces", vec!["wan7"]))?;
    let output = agent.cli(&["reload"])?;
    ensure!(
        output.code != 0 && output.stderr.contains("wan7"),
        "{output:?}"
    );
    enforced(&lab)?;
    verified(&agent)
}

fn signal() -> Result<()> {
    let lab = Lab::new("sighup")?;
    let mut agent = Agent::start(&lab, &zones(lab::AgentConfig::new("block")))?;
    let mut tap = lab.edge_tap()?;
    ensure!(passes(&lab, &mut tap, "203.0.113.66")?, "not listed yet");
    agent.reconfigure(&guarded("block"))?;
    agent.signal(libc::SIGHUP)?;
    until("the list is in force", || {
        Ok(!passes(&lab, &mut tap, "203.0.113.66")?)
    })?;
    until("and all of it", || Ok(agent.cli(&["verify"])?.code == 0))?;
    enforced(&lab)?;
    agent.reconfigure(&zones(lab::AgentConfig::new("block")))?;
    let said = agent.cli_json(&["reload"])?;
    ensure!(
        said.to_string().contains("bad") && said.pointer("/entries/removed").is_some(),
        "{said}"
    );
    ensure!(passes(&lab, &mut tap, "203.0.113.66")?, "still listed");
    // What needs a restart is said, and does not happen by half.
    agent.reconfigure(&guarded("block").set("capacity.prefixes", 1000))?;
    let said = agent.cli_ok(&["reload"])?;
    ensure!(said.contains("started again"), "{said}");
    enforced(&lab)?;
    verified(&agent)
}

/// Longest wait for a line in the log: only a failure takes it.
const WAIT_MAX: std::time::Duration = std::time::Duration::from_secs(10);
