//! A service under attack, by an operator's word: thresholds drop and refusals last longer while it lasts.

use anyhow::ensure;
use lab::{Result, TestFn};
use serde_json::Value;

use crate::world::{HIGH, World, neighbour};

pub(crate) fn tests() -> Vec<(&'static str, TestFn)> {
    vec![
        ("under_attack_less_is_enough", less_is_enough),
        ("an_attack_survives_kill_9_and_ends", survives),
    ]
}

/// Whether the agent says that the service is under attack.
fn attacked(world: &World) -> Result<bool> {
    let report = world.agent.cli_json(&["attack", "status"])?;
    let rows = report["services"].as_array().cloned().unwrap_or_default();
    ensure!(rows.len() == 1 && rows[0]["service"] == "login", "{report}");
    Ok(rows[0]["attacked"] == Value::Bool(true))
}

/// Events of a type that were announced.
fn events(world: &World, event: &str) -> Result<usize> {
    let events = world.agent.cli_ok(&["events", "--json"])?;
    Ok(events.lines().filter(|line| line.contains(event)).count())
}

fn less_is_enough() -> Result<()> {
    let world = World::new("detect-attack", "block", "")?;
    let host = &world.lab.attacker;
    // MEDIUM: slowed, as it were, and not refused.
    let source = neighbour(host, 80);
    for _ in 0..HIGH - 2 {
        world.answered(host, source, false)?;
    }
    world.wait_for_signals(HIGH - 2)?;
    world.answered(host, source, true)?;
    ensure!(!attacked(&world)?, "nobody has said so yet");
    world.agent.cli_ok(&["attack", "start", "--for", "1h"])?;
    ensure!(attacked(&world)?, "an operator has said so");
    // What was not enough before is now, in the kernel and for what comes.
    world.wait(|world| Ok((!world.sign_in(host, source, false)?).then_some(())))?;
    let explained = world.agent.cli_json(&["explain", &source.to_string()])?;
    ensure!(explained["action"] == "drop", "{explained}");
    let other = neighbour(host, 81);
    let reached = world.attack(host, other)?;
    ensure!(reached > 0, "{other} begins clean");
    let verified = world.agent.cli(&["verify"])?;
    ensure!(verified.code == 0, "{verified:?}");
    world.agent.cli_ok(&["attack", "end"])?;
    ensure!(!attacked(&world)?, "an operator has ended it");
    world.answered(host, source, true)?;
    for event in ["security.attack.start", "security.attack.end"] {
        let count = events(&world, event)?;
        ensure!(count == 1, "{count} of {event}");
    }
    Ok(())
}

fn survives() -> Result<()> {
    let mut world = World::new("detect-attack-kill", "block", "")?;
    world.agent.cli_ok(&["attack", "start", "--for", "8s"])?;
    world.agent.kill9();
    world.agent.launch()?;
    ensure!(attacked(&world)?, "it was forgotten");
    world.wait(|world| Ok((!attacked(world)?).then_some(())))?;
    let verified = world.agent.cli(&["verify"])?;
    ensure!(verified.code == 0, "{verified:?}");
    Ok(())
}
