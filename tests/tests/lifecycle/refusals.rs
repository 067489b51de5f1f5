//! What the agent does not do, each with one sentence: second agents, programs of others, missing rights and places.

use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, ensure};
use lab::xdp::{Foreign, Hook, attached_id};
use lab::{Agent, AgentConfig, EDGE, Lab, Output, Result, TestFn};

use super::world::{enforced, guarded, program, text, until, verified};

pub(crate) fn tests() -> Vec<(&'static str, TestFn)> {
    vec![
        ("a_second_agent_is_refused", second_agent),
        ("a_program_of_somebody_else_is_left_alone", foreign_program),
        ("missing_privileges_are_named", no_privileges),
        ("places_that_do_not_fit_are_named", places),
        ("an_unknown_interface_is_named", unknown_interface),
        (
            "an_interface_that_comes_back_is_attached_again",
            interface_returns,
        ),
    ]
}

/// It ended with this code, and said one sentence with all of these words.
fn refuses(output: &Output, code: i32, words: &[&str]) -> Result<()> {
    let said: Vec<&str> = output
        .stderr
        .lines()
        .filter(|line| line.starts_with("edgeward: "))
        .collect();
    ensure!(output.code == code, "exit code {}: {output:?}", output.code);
    ensure!(said.len() == 1, "not one sentence: {output:?}");
    ensure!(!output.stderr.contains("panicked"), "{output:?}");
    for word in words {
        ensure!(
            said.iter().any(|line| line.contains(word)),
            "{word:?} is not in {said:?}"
        );
    }
    Ok(())
}

fn second_agent() -> Result<()> {
    let lab = Lab::new("second")?;
    let agent = Agent::start(&lab, &guarded("block"))?;
    let before = program(&lab)?;
    let pins = agent.bpffs_dir().display().to_string();
    let other = |config: AgentConfig| Agent::prepare(&lab, &config.instance("other"));
    // The same pins, another socket and state.
    let same = other(guarded("block").set("bpffs_dir", pins.as_str()))?.run_refused()?;
    refuses(&same, 1, &["another edgeward agent is running", &pins])?;
    // Other pins on the same interface.
    let beside = other(guarded("block"))?;
    let output = beside.run_refused()?;
    refuses(&output, 1, &["held by another edgeward agent", EDGE])?;
    // The same state, other pins.
    let state = agent.state_dir().display().to_string();
    let shared = other(guarded("block").set("state_dir", state.as_str()))?.run_refused()?;
    refuses(&shared, 1, &["in use by another process"])?;
    // The same socket, other pins and state, on an interface of its own.
    spare(&lab, "spare0")?;
    let socket = agent.socket().display().to_string();
    let config = guarded("block")
        .set("interfaces", vec!["spare0"])
        .set("socket", socket.as_str());
    let taken = other(config)?.run_refused()?;
    refuses(&taken, 1, &["another edgeward answers at", &socket])?;
    ensure!(
        program(&lab)? == before,
        "the first agent's program is gone"
    );
    enforced(&lab)?;
    verified(&agent)
}

fn foreign_program() -> Result<()> {
    let lab = Lab::new("foreign")?;
    for hook in [Hook::NetlinkNative, Hook::NetlinkGeneric, Hook::Link] {
        let foreign = Foreign::attach(&lab, &lab.login, EDGE, "somebody_else", hook)?;
        let before = program(&lab)?;
        let mut agent = Agent::prepare(&lab, &guarded("block"))?;
        let output = agent.run_refused()?;
        refuses(&output, 1, &[EDGE, "somebody_else", &before.to_string()])
            .with_context(|| format!("{hook:?}"))?;
        ensure!(program(&lab)? == before, "{hook:?}: it was replaced");
        foreign.detach()?;
        agent.launch().with_context(|| format!("{hook:?}"))?;
        enforced(&lab)?;
        agent.cli_ok(&["detach"])?;
        ensure!(attached_id(&lab.login, EDGE)?.is_none(), "still attached");
    }
    Ok(())
}

fn no_privileges() -> Result<()> {
    let lab = Lab::new("privileges")?;
    // Where anybody may reach it: the build's own folder may be closed to others.
    let binary = lab.directory().join("edgeward-for-all");
    std::fs::copy(lab::binary()?, &binary)?;
    std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755))?;
    let mut agent = Agent::prepare(&lab, &guarded("block"))?;
    agent.set_binary(&binary);
    let output = agent.run_command()?.user(NOBODY, NOBODY).run()?;
    refuses(&output, 1, &["missing privileges", "CAP_BPF", "as root"])?;
    // Root in name alone, as in a container.
    let path = binary.display().to_string();
    let config = agent.config_path().display().to_string();
    let argv = [
        "setpriv",
        "--bounding-set",
        "-all",
        &path,
        "run",
        "--config",
        &config,
    ];
    let output = lab.login.run(&argv)?;
    refuses(&output, 1, &["missing privileges", "CAP_NET_ADMIN"])?;
    ensure!(
        attached_id(&lab.login, EDGE)?.is_none() && !agent.bpffs_dir().exists(),
        "something was left behind"
    );
    Ok(())
}

fn places() -> Result<()> {
    let lab = Lab::new("places")?;
    let try_with = |key: &str, value: &str| -> Result<Output> {
        Agent::prepare(&lab, &guarded("block").set(key, value))?.run_refused()
    };
    let plain = lab.directory().join("no-bpffs").display().to_string();
    refuses(
        &try_with("bpffs_dir", &plain)?,
        1,
        &[&plain, "bpf file system", "mount -t bpf"],
    )?;
    let missing = "/proc/no-such-place/edgeward";
    refuses(
        &try_with("bpffs_dir", missing)?,
        1,
        &[missing, "bpf file system"],
    )?;
    let file = lab.write("a-file", "")?.display().to_string();
    refuses(&try_with("state_dir", &file)?, 1, &[&file])?;
    refuses(&try_with("socket", &file)?, 1, &[&file, "no socket"])?;
    // The last two were refused late. What is needed to try again must not have been spoiled.
    let agent = Agent::start(&lab, &guarded("block"))?;
    enforced(&lab)?;
    verified(&agent)
}

fn unknown_interface() -> Result<()> {
    let lab = Lab::new("interface")?;
    let config = guarded("block").set("interfaces", vec![EDGE, "wan7"]);
    let output = Agent::prepare(&lab, &config)?.run_refused()?;
    refuses(&output, 1, &["no interface wan7", EDGE, "lo"])?;
    // The lab has virtual interfaces only.
    let config = guarded("block").set("interfaces", vec!["all"]);
    let output = Agent::prepare(&lab, &config)?.run_refused()?;
    refuses(&output, 1, &["no physical interface"])
}

fn interface_returns() -> Result<()> {
    let lab = Lab::new("returns")?;
    spare(&lab, "spare0")?;
    let config = guarded("block").set("interfaces", vec![EDGE, "spare0"]);
    let agent = Agent::start(&lab, &config)?;
    let ours = attached_id(&lab.login, "spare0")?;
    ensure!(ours.is_some(), "spare0 runs no program");
    for round in 0..2 {
        lab.login.run(&["ip", "link", "del", "spare0"])?.success()?;
        until("verify says what is missing", || {
            let output = agent.cli(&["verify"])?;
            Ok(output.code == 1 && output.stdout.contains("spare0"))
        })?;
        until("status says what is missing", || {
            let status = agent.cli_json(&["status"])?;
            Ok(attached(&status, "spare0") == "detached")
        })?;
        enforced(&lab)?;
        spare(&lab, "spare0")?;
        until("it is attached again", || {
            Ok(attached_id(&lab.login, "spare0")? == ours)
        })?;
        until("status says so", || {
            let status = agent.cli_json(&["status"])?;
            Ok(attached(&status, "spare0") == "native")
        })
        .with_context(|| format!("round {round}"))?;
        verified(&agent)?;
    }
    // What was attached late outlives the agent too, and goes with detach.
    agent.cli_ok(&["detach"])?;
    ensure!(
        attached_id(&lab.login, "spare0")?.is_none(),
        "still attached"
    );
    Ok(())
}

/// How `status` says an interface is attached.
fn attached(status: &serde_json::Value, interface: &str) -> String {
    let rows = status["interfaces"].as_array();
    rows.into_iter()
        .flatten()
        .find(|row| row["name"] == interface)
        .map(|row| text(row, "/attached"))
        .unwrap_or_default()
}

/// One more interface on the login host.
fn spare(lab: &Lab, name: &str) -> Result<()> {
    let peer = format!("{name}p");
    let argv = [
        "ip", "link", "add", name, "type", "veth", "peer", "name", &peer,
    ];
    lab.login.run(&argv)?.success()?;
    lab.login
        .run(&["ip", "link", "set", name, "up"])?
        .success()
        .map(drop)
}

const NOBODY: u32 = 65_534;
