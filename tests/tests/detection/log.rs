//! An attack that nginx writes into its access log.

use std::net::IpAddr;

use anyhow::{Context, ensure};
use lab::{Result, TestFn};

use crate::world::{HIGH, World, neighbour};

pub(crate) fn tests() -> Vec<(&'static str, TestFn)> {
    vec![
        ("an_attacker_is_dropped_and_others_are_not", dropped),
        ("a_refusal_ends_by_itself", ends),
        (
            "log_mode_refuses_nobody_and_says_whom_it_would_have",
            impact,
        ),
        ("an_operator_clears_a_detection", cleared),
        ("a_simulated_detection_decides_nothing", simulated),
        ("a_flood_of_garbage_in_the_log_hides_nobody", garbage),
    ]
}

/// An office of people behind one address: mostly they get in.
fn office(world: &World, source: IpAddr) -> Result<u64> {
    for round in 0..30 {
        world.answered(&world.lab.innocent, source, round % 3 != 0)?;
    }
    Ok(30)
}

fn dropped() -> Result<()> {
    let world = World::new("detect-drop", "block", "")?;
    let lab = &world.lab;
    let mut signals = 0;
    for family in 0..2_usize {
        let innocent = lab.innocent.addresses()[family];
        signals += office(&world, innocent)?;
        let attacker = lab.attacker.addresses()[family];
        let reached = world.attack(&lab.attacker, attacker)?;
        ensure!(reached >= HIGH, "refused after {reached} attempts");
        signals += reached;
        let prefix = if family == 0 {
            "203.0.113.66/32"
        } else {
            "2001:db8:bad::/64"
        };
        let decisions = world.detections()?;
        let found = decisions
            .iter()
            .find(|decision| decision["prefix"] == prefix)
            .with_context(|| format!("{prefix} is not listed: {decisions:?}"))?;
        let reason = found["reason"].as_str().unwrap_or_default();
        ensure!(reason.contains("Login Failures"), "{found}");
        let evidence = found["evidence"].as_str().unwrap_or_default();
        ensure!(evidence.contains("failed"), "{found}");
        let explained = world.agent.cli_json(&["explain", &attacker.to_string()])?;
        ensure!(
            explained["origin"] == "detection" && explained["action"] == "drop",
            "{explained}"
        );
        ensure!(explained["evidence"] == found["evidence"], "{explained}");
        // A trusted proxy fails as often as its clients do, an exempt office whenever it likes.
        for host in [&lab.proxy, &lab.exempt] {
            for _ in 0..HIGH * 2 {
                world.answered(host, host.addresses()[family], false)?;
            }
        }
        world.answered(&lab.innocent, innocent, false)?;
        signals += 1;
    }
    // Within its /64 an attacker changes addresses at will.
    let moved = "2001:db8:bad::1:2:3:4".parse()?;
    ensure!(
        !world.sign_in(&lab.attacker, moved, false)?,
        "{moved} gets through"
    );
    let status = world.wait_for_signals(signals)?;
    ensure!(status["detection"]["spared"] == HIGH * 8, "{status}");
    ensure!(
        status["packets"]["refused"].as_u64() > Some(0),
        "the kernel dropped: {status}"
    );
    let events = world.agent.cli_ok(&["events", "--json"])?;
    let told = events
        .lines()
        .filter(|line| line.contains("security.threat.detected") && line.contains("DENY"))
        .count();
    ensure!(told >= 2, "{events}");
    Ok(())
}

fn ends() -> Result<()> {
    let more = "[detection.lifetime]\nfirst = \"3s\"\nbrief = \"3s\"\n";
    let world = World::new("detect-ends", "block", more)?;
    let attacker = world.lab.attacker.addresses()[0];
    world.attack(&world.lab.attacker, attacker)?;
    // Slowed for as long again by what is left of its score, and then forgotten.
    world.wait(|world| Ok(world.detections()?.is_empty().then_some(())))?;
    world.answered(&world.lab.attacker, attacker, true)
}

fn impact() -> Result<()> {
    let world = World::new("detect-log", "log", "")?;
    let lab = &world.lab;
    let attacker = lab.attacker.addresses()[0];
    for _ in 0..HIGH * 2 {
        world.answered(&lab.attacker, attacker, false)?;
    }
    // Somebody behind the attacker's address gets in: block mode would have hit it.
    world.answered(&lab.attacker, attacker, true)?;
    office(&world, lab.innocent.addresses()[0])?;
    world.wait_for_signals(HIGH * 2 + 31)?;
    let report = world.agent.cli_json(&["report", "impact"])?;
    ensure!(report["signals"] == HIGH * 2 + 31, "{report}");
    ensure!(report["attempts_refused"] == HIGH + 1, "{report}");
    ensure!(report["successes_hit"] == 1, "{report}");
    ensure!(report["block_mode"] == "not_safe", "{report}");
    let row = &report["refused"][0];
    ensure!(
        row["prefix"] == "203.0.113.66/32" && row["attempts_refused"] == HIGH + 1,
        "{report}"
    );
    ensure!(row["attempts"] == HIGH * 2 + 1, "{report}");
    let events = world.agent.cli_ok(&["events", "--json"])?;
    ensure!(
        events
            .lines()
            .any(|line| line.contains("security.threat.detected") && line.contains("ALLOW")),
        "{events}"
    );
    Ok(())
}

fn cleared() -> Result<()> {
    let mut world = World::new("detect-clear", "block", "")?;
    let attacker = world.lab.attacker.addresses()[0];
    world.attack(&world.lab.attacker, attacker)?;
    let prefix = format!("{attacker}/32");
    world.agent.cli_ok(&["unblock", &prefix])?;
    world.answered(&world.lab.attacker, attacker, true)?;
    world.agent.restart()?;
    ensure!(world.detections()?.is_empty(), "it comes back");
    // It begins at nothing, and is found again.
    let reached = world.attack(&world.lab.attacker, attacker)?;
    ensure!(reached >= HIGH, "refused again after {reached}");
    Ok(())
}

fn simulated() -> Result<()> {
    let more =
        "[detection]\nsimulated = [\"Login Failures\", \"Brute Force\", \"Password Spray\"]\n";
    let world = World::new("detect-simulated", "block", more)?;
    let attacker = world.lab.attacker.addresses()[0];
    for _ in 0..HIGH * 2 {
        world.answered(&world.lab.attacker, attacker, false)?;
    }
    world.wait_for_signals(HIGH * 2)?;
    ensure!(world.detections()?.is_empty(), "{:?}", world.detections()?);
    Ok(())
}

fn garbage() -> Result<()> {
    let world = World::new("detect-garbage", "block", "")?;
    let mut junk = vec![b'x'; 1 << 20];
    junk.extend(b"\n\x00\xff\xfe binary \x00\nnot a line of nginx\n\n");
    for round in 0..4 {
        let mut log = std::fs::OpenOptions::new()
            .append(true)
            .open(world.site.access_log())?;
        std::io::Write::write_all(&mut log, &junk)?;
        let source = neighbour(&world.lab.attacker, 70 + round);
        let reached = world.attack(&world.lab.attacker, source)?;
        ensure!(reached >= HIGH, "{source} was refused after {reached}");
    }
    Ok(())
}
