//! Roles by user and group id: who may ask, who may change, who may do neither.

use std::os::unix::fs::PermissionsExt;

use anyhow::ensure;
use lab::{Agent, AgentConfig, Lab, Output, Result, TestFn};

use super::world::{says, until};

pub(crate) fn tests() -> Vec<(&'static str, TestFn)> {
    vec![
        ("roles_decide_who_may_do_what", roles),
        ("a_reload_changes_roles", reload),
    ]
}

/// An agent whose binary any account can start: the build's own folder may be closed to others.
fn start(lab: &Lab, config: &AgentConfig) -> Result<Agent> {
    let binary = lab.directory().join("edgeward-for-all");
    std::fs::copy(lab::binary()?, &binary)?;
    std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755))?;
    let mut agent = Agent::prepare(lab, config)?;
    agent.set_binary(&binary);
    agent.launch()?;
    Ok(agent)
}

fn as_user(agent: &Agent, uid: u32, gid: u32, arguments: &[&str]) -> Result<Output> {
    agent.command(arguments)?.user(uid, gid).run()
}

fn roles() -> Result<()> {
    let lab = Lab::new("roles")?;
    let config = AgentConfig::new("log")
        .set("control.readers.users", vec![READER.to_string()])
        .set("control.readers.groups", vec![READERS.to_string()])
        .set("control.operators.users", vec![OPERATOR.to_string()])
        .set("control.operators.groups", vec![OPERATORS.to_string()]);
    let agent = start(&lab, &config)?;
    let facts: [&[&str]; 7] = [
        &["status"],
        &["mode"],
        &["list"],
        &["zone", "list"],
        &["explain", "203.0.113.9"],
        &["verify"],
        &["events"],
    ];
    let changes: [&[&str]; 7] = [
        &["block", "203.0.113.9"],
        &["unblock", "203.0.113.9"],
        &["exempt", "203.0.113.9"],
        &["mode", "block"],
        &["mode", "confirm"],
        &["reload"],
        &["detach"],
    ];
    for (uid, gid) in [(READER, STRANGER), (STRANGER, READERS)] {
        for fact in facts {
            says(&as_user(&agent, uid, gid, fact)?, 0, &[])?;
        }
        for change in changes {
            let output = as_user(&agent, uid, gid, change)?;
            says(&output, 77, &["not an operator", "control.operators"])?;
        }
    }
    for (uid, gid) in [(OPERATOR, STRANGER), (STRANGER, OPERATORS)] {
        says(&as_user(&agent, uid, gid, &["status"])?, 0, &[])?;
        says(
            &as_user(&agent, uid, gid, &["block", "203.0.113.9"])?,
            0,
            &[],
        )?;
        let row = agent.cli_json(&["list"])?;
        let actor = format!("uid {uid}");
        ensure!(row["decisions"][0]["actor"] == actor.as_str(), "{row}");
        says(
            &as_user(&agent, uid, gid, &["unblock", "203.0.113.9"])?,
            0,
            &[],
        )?;
    }
    for command in facts.into_iter().chain(changes) {
        let output = as_user(&agent, STRANGER, STRANGER, command)?;
        says(&output, 77, &["no role"])?;
    }
    ensure!(
        agent.cli_json(&["list"])?["total"] == 0,
        "somebody did something"
    );
    ensure!(
        agent.cli_json(&["mode"])?["mode"] == "log",
        "the mode changed"
    );
    Ok(())
}

fn reload() -> Result<()> {
    let lab = Lab::new("roles-reload")?;
    let agent = start(&lab, &AgentConfig::new("log"))?;
    says(
        &as_user(&agent, READER, STRANGER, &["status"])?,
        77,
        &["no role"],
    )?;
    let config = AgentConfig::new("log").set("control.readers.users", vec![READER.to_string()]);
    agent.reconfigure(&config)?;
    agent.cli_ok(&["reload"])?;
    says(&as_user(&agent, READER, STRANGER, &["status"])?, 0, &[])?;
    // A role that is taken away ends the stream of whoever follows.
    let mut stream = agent
        .command(&["events", "--follow", "--json"])?
        .user(READER, STRANGER)
        .spawn()?;
    stream.wait_for_line("system.agent.reload", super::world::WAIT_MAX)?;
    agent.reconfigure(&AgentConfig::new("log"))?;
    agent.cli_ok(&["reload"])?;
    until("the stream ends", || Ok(!stream.running()))?;
    says(
        &as_user(&agent, READER, STRANGER, &["status"])?,
        77,
        &["no role"],
    )
}

// Ids that no account of this machine needs to have.
const READER: u32 = 64_501;
const READERS: u32 = 64_502;
const OPERATOR: u32 = 64_503;
const OPERATORS: u32 = 64_504;
const STRANGER: u32 = 65_534;
