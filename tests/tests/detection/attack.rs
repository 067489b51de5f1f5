//! A service under attack, by an operator's word or the model's: thresholds drop and refusals last longer while it
//! lasts.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use lab::traffic::{Format, Parameters, generate, write};
use lab::{Agent, Lab, Result, Site, TestFn};
use serde_json::Value;

use crate::world::{HIGH, World, config, neighbour};

pub(crate) fn tests() -> Vec<(&'static str, TestFn)> {
    vec![
        ("under_attack_less_is_enough", less_is_enough),
        ("an_attack_survives_kill_9_and_ends", survives),
        ("the_model_declares_an_attack_and_its_end", declared),
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

/// The model alone: nine days in the log teach it what is usual, then strangers fail from everywhere.
///
/// An attack is over when nothing of it was seen for half an hour. No test waits so long: the agent's clock, which it
/// reads when it starts, is 50 minutes slow at first, and right after a restart.
fn declared() -> Result<()> {
    let lab = Lab::new("detect-model")?;
    let site = lab.site()?;
    let signals = past(&site)?;
    let settings = config(&site, "block", "start = \"beginning\"\n");
    let mut agent = Agent::prepare(&lab, &settings)?;
    let library = faketime()?;
    agent.set_environment(&[
        ("LD_PRELOAD", &library),
        ("FAKETIME", &format!("-{}s", SLOW.as_secs())),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("NO_FAKE_STAT", "1"),
    ]);
    agent.launch()?;
    let mut world = World::of(lab, site, agent);
    world.wait_for_signals(signals)?;
    let known = world.wait(|world| {
        let row = service(world)?;
        Ok(row["hours_known"].as_u64().filter(|hours| *hours > 0))
    })?;
    ensure!(known > 8 * 24, "{known} hours of nine days");
    // MEDIUM by itself: passes while nothing is wrong.
    let host = &world.lab.attacker;
    let source = neighbour(host, 80);
    for _ in 0..HIGH - 2 {
        world.answered(host, source, false)?;
    }
    world.answered(host, source, true)?;
    ensure!(!attacked(&world)?, "too little for an attack");
    // None of these says anything by itself; from some time on their network is refused.
    for network in 1..=STRANGERS {
        let stranger = IpAddr::from([0x2001, 0xdb8, 0xbad, network, 0, 0, 0, 1]);
        if !world.sign_in(host, stranger, false)? {
            break;
        }
    }
    world.wait(|world| Ok(attacked(world)?.then_some(())))?;
    let row = service(&world)?;
    ensure!(
        row["cause"] == "model" && row["operator"].is_null(),
        "{row}"
    );
    told(&world, "security.attack.start")?;
    tightened(&world, source)?;

    world.agent.stop()?;
    world.agent.set_environment(&[]);
    world.agent.launch()?;
    world.wait(|world| Ok((!attacked(world)?).then_some(())))?;
    told(&world, "security.attack.end")?;
    world.answered(&world.lab.attacker, source, true)?;
    let verified = world.agent.cli(&["verify"])?;
    ensure!(verified.code == 0, "{verified:?}");
    Ok(())
}

/// What was enough to be slowed is now enough to be refused, in the kernel and in what is said; others get in.
fn tightened(world: &World, source: IpAddr) -> Result<()> {
    let host = &world.lab.attacker;
    world.wait(|world| Ok((!world.sign_in(host, source, false)?).then_some(())))?;
    let explained = world.agent.cli_json(&["explain", &source.to_string()])?;
    ensure!(
        explained["action"] == "drop" && explained["origin"] == "detection",
        "{explained}"
    );
    let verified = world.agent.cli(&["verify"])?;
    ensure!(verified.code == 0, "{verified:?}");
    let status = world.status()?;
    ensure!(status["packets"]["refused"].as_u64() > Some(0), "{status}");
    let innocent = world.lab.innocent.addresses()[0];
    world.answered(&world.lab.innocent, innocent, false)?;
    world.answered(&world.lab.innocent, innocent, true)
}

/// One event of this type, by the model and with what it counted.
fn told(world: &World, event: &str) -> Result<()> {
    let events = world.agent.cli_ok(&["events", "--json"])?;
    let lines: Vec<&str> = events.lines().filter(|line| line.contains(event)).collect();
    ensure!(lines.len() == 1, "{event}: {lines:?}");
    let text = lines.concat();
    ensure!(
        text.contains("\"model\"") && text.contains("\"sources\""),
        "{text}"
    );
    Ok(())
}

fn service(world: &World) -> Result<Value> {
    let report = world.agent.cli_json(&["attack", "status"])?;
    Ok(report["services"][0].clone())
}

/// Nine days of people before the agent's present, in nginx's log; how many outcomes it tells.
fn past(site: &Site) -> Result<u64> {
    let mut attempts = generate(&Parameters {
        people: 1_000,
        days: 9,
        attacks: false,
        ..Parameters::default()
    });
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let end = u64::try_from((now - SLOW - Duration::from_secs(60)).as_millis())?;
    let last = attempts.last().context("people sign in")?.time_ms;
    for attempt in &mut attempts {
        attempt.time_ms = attempt.time_ms + end - last;
    }
    let mut text = Vec::new();
    write(&attempts, Format::Nginx, &mut text)?;
    let text = String::from_utf8(text)?.replace("POST /login ", "POST /sign-in ");
    OpenOptions::new()
        .append(true)
        .open(site.access_log())?
        .write_all(text.as_bytes())?;
    let told = text.lines().filter(|line| line.contains("POST /sign-in "));
    Ok(told.count().try_into()?)
}

/// The library that sets a program's clock.
fn faketime() -> Result<String> {
    let folders = std::fs::read_dir("/usr/lib")?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut paths = folders.map(|folder| folder.join("faketime/libfaketime.so.1"));
    let path = paths
        .find(|path| path.exists())
        .context("install the package faketime")?;
    Ok(path.display().to_string())
}

/// How slow the agent's clock is at first. The model takes up to an hour without a line for quiet.
const SLOW: Duration = Duration::from_secs(50 * 60);
/// Sources of the attack, one failure each.
const STRANGERS: u16 = 150;
