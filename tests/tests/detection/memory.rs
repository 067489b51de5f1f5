//! What was learned survives: restarts, kill -9, a log that is rotated meanwhile, a state that is damaged.

use anyhow::ensure;
use lab::{Agent, Lab, Result, SmallDisk, TestFn};

use crate::world::{HIGH, World, config, neighbour};

pub(crate) fn tests() -> Vec<(&'static str, TestFn)> {
    vec![
        ("no_line_is_lost_or_doubled_over_kill_9", killed),
        ("a_rotated_log_is_read_to_its_end", rotated),
        ("a_damaged_state_is_told_and_stops_nothing", damaged),
        ("a_reload_keeps_what_was_learned", reloaded),
        ("a_full_disk_stops_nothing_and_is_made_good", full_disk),
    ]
}

/// So many failures, each of which must be answered.
fn fail(world: &World, count: u64) -> Result<()> {
    let attacker = world.lab.attacker.addresses()[0];
    for _ in 0..count {
        world.answered(&world.lab.attacker, attacker, false)?;
    }
    Ok(())
}

/// The attacker is one failure away from being refused, and that one refuses it.
fn one_more(world: &World) -> Result<()> {
    fail(world, 1)?;
    world.wait(|world| Ok(world.refuses()?.then_some(())))?;
    let attacker = world.lab.attacker.addresses()[0];
    ensure!(
        !world.sign_in(&world.lab.attacker, attacker, false)?,
        "it is dropped"
    );
    Ok(())
}

fn killed() -> Result<()> {
    let mut world = World::new("detect-kill", "block", "")?;
    fail(&world, 4)?;
    let mut expected = 4;
    for _ in 0..3 {
        world.wait_for_signals(expected)?;
        world.agent.kill9();
        // Nobody reads these yet.
        fail(&world, 3)?;
        world.agent.launch()?;
        expected += 3;
    }
    world.wait_for_signals(expected)?;
    fail(&world, 2)?;
    expected += 2;
    world.wait_for_signals(expected)?;
    ensure!(expected == HIGH - 1, "{expected}");
    ensure!(!world.refuses()?, "{:?}", world.detections()?);
    one_more(&world)?;
    // What was decided survives as well.
    world.agent.kill9();
    world.agent.launch()?;
    let attacker = world.lab.attacker.addresses()[0];
    ensure!(
        !world.sign_in(&world.lab.attacker, attacker, false)?,
        "it is still dropped"
    );
    Ok(())
}

fn rotated() -> Result<()> {
    let mut world = World::new("detect-rotate", "block", "")?;
    fail(&world, 4)?;
    world.wait_for_signals(4)?;
    // While it runs, while it is dead, and twice while it is dead.
    world.site.rotate("access.log.1")?;
    fail(&world, 4)?;
    world.wait_for_signals(8)?;
    world.agent.kill9();
    fail(&world, 2)?;
    world.site.rotate("access.log.2")?;
    fail(&world, 5)?;
    world.agent.launch()?;
    world.wait_for_signals(15)?;
    one_more(&world)
}

fn damaged() -> Result<()> {
    let mut world = World::new("detect-damage", "block", "")?;
    let attacker = world.lab.attacker.addresses()[0];
    world.attack(&world.lab.attacker, attacker)?;
    world.agent.stop()?;
    let state = world.agent.state_dir().join("detection/state");
    let mut bytes = std::fs::read(&state)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&state, &bytes)?;
    world.agent.launch()?;
    let status = world.status()?;
    ensure!(
        status["warnings"].to_string().contains("damaged"),
        "{status}"
    );
    ensure!(
        !world.sign_in(&world.lab.attacker, attacker, false)?,
        "decisions are kept elsewhere, and hold"
    );
    let other = neighbour(&world.lab.attacker, 99);
    world.attack(&world.lab.attacker, other)?;
    Ok(())
}

fn reloaded() -> Result<()> {
    let world = World::new("detect-reload", "block", "")?;
    fail(&world, 10)?;
    world.wait_for_signals(10)?;
    // A lower threshold holds from now on, for what was counted before too.
    let lower = "[detection]\nfailures_alone = [11, 11, 11]\n";
    world
        .agent
        .reconfigure(&config(&world.site, "block", lower))?;
    let told = world.agent.cli_ok(&["reload"])?;
    ensure!(told.contains("failures_alone"), "{told}");
    one_more(&world)
}

/// The disk of detection's log is full for a while: nothing else suffers, and later nothing is missing.
fn full_disk() -> Result<()> {
    let lab = Lab::new("detect-disk")?;
    let site = lab.site()?;
    let agent = Agent::prepare(&lab, &config(&site, "block", ""))?;
    let place = agent.state_dir().join("detection");
    let disk = SmallDisk::mount(&lab, &place, "8m")?;
    let mut world = World::of(lab, site, agent);
    world.agent.launch()?;
    fail(&world, 4)?;
    world.wait_for_signals(4)?;
    let ballast = place.join("ballast");
    SmallDisk::fill(&ballast)?;
    // The last page of the log takes some more.
    let customer = world.lab.innocent.addresses()[0];
    let mut signals = 4;
    for _ in 0..PAGE_SIGNALS_MAX {
        world.answered(&world.lab.innocent, customer, true)?;
        signals += 1;
        let status = world.wait_for_signals(signals)?;
        if status["detection"]["unsaved"].as_u64() > Some(0) {
            break;
        }
    }
    fail(&world, HIGH - 5)?;
    signals += HIGH - 5;
    let status = world.wait_for_signals(signals)?;
    ensure!(
        status["detection"]["unsaved"].as_u64() > Some(0),
        "a full disk takes everything: {status}"
    );
    ensure!(
        status["warnings"].to_string().contains("No space left"),
        "{status}"
    );
    one_more(&world)?;
    signals += 1;
    world.answered(&world.lab.innocent, customer, true)?;
    signals += 1;
    world.wait_for_signals(signals)?;

    std::fs::remove_file(&ballast)?;
    world.wait(|world| {
        let warnings = world.status()?["warnings"].to_string();
        Ok((!warnings.contains("No space left")).then_some(()))
    })?;
    // What could not be written then is not lost now, by whatever end.
    for _ in 0..2 {
        world.agent.kill9();
        world.agent.launch()?;
        world.wait_for_signals(signals)?;
        let attacker = world.lab.attacker.addresses()[0];
        ensure!(
            !world.sign_in(&world.lab.attacker, attacker, false)?,
            "it is still dropped"
        );
        world.answered(&world.lab.innocent, customer, true)?;
        signals += 1;
        world.wait_for_signals(signals)?;
    }
    world.agent.stop()?;
    drop(disk);
    Ok(())
}

/// Signals that fit a page of a file at the most.
const PAGE_SIGNALS_MAX: u64 = 200;
