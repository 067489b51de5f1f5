//! The System Log of a running agent: what happens is found in it, also after kill -9 and beside a full disk.

use std::{fs::OpenOptions, io::Write as _};

use anyhow::{Context, ensure};
use lab::frames::Frame;
use lab::{Agent, AgentConfig, Lab, Need, Result, SmallDisk, TestFn, needs_nothing, until};
use serde_json::{Value, json};

pub(crate) fn tests() -> Vec<(&'static str, TestFn, Need)> {
    vec![
        (
            "a_drop_is_found_by_filter_words_and_id",
            found,
            needs_nothing,
        ),
        ("changes_say_who_and_what", changes, needs_nothing),
        ("users_stand_in_it_as_configured", users, needs_nothing),
        ("kill_9_keeps_the_log_and_is_said", killed, needs_nothing),
        (
            "a_full_disk_costs_counted_events_and_no_verdict",
            full_disk,
            needs_nothing,
        ),
    ]
}

/// What `edgeward log` prints, one event a line.
fn log(agent: &Agent, arguments: &[&str]) -> Result<Vec<Value>> {
    let text = agent.cli_ok(&[&["log", "--json"], arguments].concat())?;
    text.lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}")))
        .collect()
}

fn log_of(agent: &Agent, filter: &str) -> Result<Vec<Value>> {
    log(agent, &["--filter", filter])
}

/// Whether one packet of a source reaches the login host.
fn knock(lab: &Lab, source: &str) -> Result<bool> {
    let source = source.parse()?;
    let target = lab.login.address_like(source);
    let frame = Frame::between(source, target)
        .udp(50_000, 443, b"probe")
        .build();
    lab.edge_tap()?.passes(&frame)
}

fn found() -> Result<()> {
    let lab = Lab::new("log-found")?;
    let agent = Agent::start(&lab, &AgentConfig::new("block"))?;
    agent.cli_ok(&["block", "203.0.113.66", "--reason", "seen guessing"])?;
    ensure!(!knock(&lab, "203.0.113.66")?, "it is blocked");
    until("the drop is in the log", || {
        Ok(!log_of(&agent, "eventType eq \"security.threat.detected\"")?.is_empty())
    })?;
    let filter = "client.ipAddress eq \"203.0.113.66\" and outcome.result eq \"DENY\" and severity eq \"WARN\"";
    let events = log_of(&agent, filter)?;
    ensure!(events.len() == 1, "{events:#?}");
    let event = &events[0];
    ensure!(
        event["actor"]["id"] == "203.0.113.66" && event["actor"]["type"] == "IP address",
        "{event}"
    );
    ensure!(event["outcome"]["reason"] == "seen guessing", "{event}");
    let id = event["uuid"].as_str().context("an id")?;
    ensure!(
        log_of(&agent, &format!("uuid eq \"{id}\""))? == events,
        "by its id"
    );
    ensure!(
        log(&agent, &["--q", "GUESSING 203.0.113.66"])?.contains(event),
        "by words"
    );
    ensure!(
        log(&agent, &["--until", "1h"])?.is_empty(),
        "nothing is older than an hour"
    );
    ensure!(
        log_of(&agent, "outcome.result eq \"ALLOW\"")?.is_empty(),
        "nothing was allowed"
    );
    let wrong = agent.cli(&["log", "--filter", "outcome.result eq"])?;
    ensure!(
        wrong.code != 0 && wrong.stderr.contains("filter"),
        "{wrong:?}"
    );
    Ok(())
}

fn changes() -> Result<()> {
    let lab = Lab::new("log-changes")?;
    let list = lab.write("office.txt", "198.51.100.128/26\n")?;
    let files = [list.to_str().context("a path")?];
    let config = AgentConfig::new("log").zone_files("office", &["exempt"], &files);
    let agent = Agent::start(&lab, &config)?;
    agent.cli_ok(&["mode", "block"])?;
    agent.cli_ok(&["block", "203.0.113.9", "--for", "1h"])?;
    agent.cli_ok(&["unblock", "203.0.113.9"])?;
    lab.write("office.txt", "198.51.100.128/26\n198.51.100.10\n")?;
    agent.cli_ok(&["reload"])?;
    let types = [
        "system.agent.start",
        "security.threat.configuration.update",
        "decision.create",
        "decision.delete",
        "zone.update",
        "system.agent.reload",
    ];
    until("every change is in the log", || {
        let events = log(&agent, &[])?;
        let there = |name: &&str| events.iter().any(|event| event["eventType"] == **name);
        Ok(types.iter().all(there))
    })?;
    let zone = log_of(&agent, "eventType eq \"zone.update\"")?;
    ensure!(
        zone[0]["target"][0]["displayName"] == "office" && zone[0]["actor"]["type"] == "User",
        "{zone:#?}"
    );
    let change = zone[0]["debugContext"]["debugData"]["change"].as_str();
    ensure!(change.unwrap_or_default().contains("network"), "{zone:#?}");
    Ok(())
}

fn users() -> Result<()> {
    let lab = Lab::new("log-users")?;
    let followed = lab.write("sign-ins.json", "")?;
    let configured = |users: &str| {
        AgentConfig::new("log").toml(&format!(
            "[journal]\nusers = \"{users}\"\n[[signal]]\nname = \"application\"\nfile = \"{}\"\nformat = \"json\"\n",
            followed.display()
        ))
    };
    let agent = Agent::start(&lab, &configured("hash"))?;
    let signs_in = |user: &str, client: &str| -> Result<Value> {
        let mut file = OpenOptions::new().append(true).open(&followed)?;
        writeln!(
            file,
            "{}",
            json!({ "time": "2026-11-22T08:00:00Z", "client": client, "outcome": "failure", "user": user })
        )?;
        let filter =
            format!("eventType eq \"user.session.start\" and client.ipAddress eq \"{client}\"");
        until("the sign-in is in the log", || {
            Ok(!log_of(&agent, &filter)?.is_empty())
        })?;
        Ok(log_of(&agent, &filter)?[0]["actor"].take())
    };
    let hashed = signs_in("Alice@login.example", "192.0.2.1")?;
    let hash = hashed["alternateId"].as_str().context("a hash")?;
    ensure!(
        hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{hashed}"
    );
    agent.reconfigure(&configured("clear"))?;
    agent.cli_ok(&["reload"])?;
    let named = signs_in("Alice@login.example", "192.0.2.2")?;
    ensure!(named["alternateId"] == "Alice@login.example", "{named}");
    let tricky = "bob\"\n\u{1b}[2J<script>";
    let odd = signs_in(tricky, "192.0.2.3")?;
    ensure!(odd["displayName"] == tricky, "{odd}");
    let found = log_of(&agent, "actor.alternateId eq \"Alice@login.example\"")?;
    ensure!(
        found.len() == 1 && found[0]["client"]["ipAddress"] == "192.0.2.2",
        "{found:#?}"
    );
    let change = log_of(&agent, "eventType eq \"system.agent.reload\"")?;
    ensure!(
        change
            .iter()
            .any(|event| event.to_string().contains("journal.users: hash → clear")),
        "{change:#?}"
    );
    agent.reconfigure(&configured("hash"))?;
    agent.cli_ok(&["reload"])?;
    let again = signs_in("Alice@login.example", "192.0.2.4")?;
    ensure!(again == hashed, "{again} after {hashed}");
    Ok(())
}

fn killed() -> Result<()> {
    let lab = Lab::new("log-killed")?;
    let mut agent = Agent::start(&lab, &AgentConfig::new("block"))?;
    for number in 1..=20 {
        agent.cli_ok(&["block", &format!("203.0.113.{number}"), "--for", "1h"])?;
    }
    let made = "eventType eq \"decision.create\"";
    until("all are shown", || Ok(log_of(&agent, made)?.len() == 20))?;
    let before = log_of(&agent, made)?;
    agent.kill9();
    agent.launch()?;
    ensure!(
        log_of(&agent, made)? == before,
        "what was shown is there after kill -9"
    );
    let crashes = "eventType eq \"system.agent.crash\"";
    until("the crash is said", || {
        Ok(log_of(&agent, crashes)?.len() == 1)
    })?;
    agent.stop()?;
    agent.launch()?;
    ensure!(log_of(&agent, made)? == before, "and after a restart");
    until("the stop is said", || {
        Ok(log_of(&agent, "eventType eq \"system.agent.stop\"")?.len() == 1)
    })?;
    ensure!(log_of(&agent, crashes)?.len() == 1, "a stop is no crash");
    Ok(())
}

/// Whether `status` says that the log cannot be written.
fn complains(agent: &Agent) -> Result<bool> {
    let status = agent.cli_json(&["status"])?;
    let warnings = status["warnings"].as_array().cloned().unwrap_or_default();
    let said = |warning: &Value| {
        warning
            .as_str()
            .is_some_and(|text| text.contains("System Log"))
    };
    Ok(warnings.iter().any(said))
}

fn full_disk() -> Result<()> {
    let lab = Lab::new("log-full")?;
    let config = AgentConfig::new("block").list("bad", 95, &["203.0.113.0/24"]);
    let mut agent = Agent::prepare(&lab, &config)?;
    let path = agent.state_dir().join("log");
    let disk = SmallDisk::mount(&lab, &path, "4m")?;
    agent.launch()?;
    until("the log works", || Ok(!log(&agent, &[])?.is_empty()))?;
    let ballast = path.join("ballast");
    SmallDisk::fill(&ballast)?;
    for number in 1..=250 {
        let source = format!("203.0.113.{number}");
        ensure!(
            !knock(&lab, &source)?,
            "it is refused whatever the disk does"
        );
    }
    until("status says so", || complains(&agent))?;
    std::fs::remove_file(&ballast)?;
    until("what had waited is written", || {
        let drops = log_of(&agent, "outcome.result eq \"DENY\"")?;
        Ok(!complains(&agent)? && !drops.is_empty())
    })?;
    let status = agent.cli_json(&["status"])?;
    let lost = status["journal"]["lost"]
        .as_u64()
        .context("losses are counted")?;
    let written = log(
        &agent,
        &["--limit", "1000", "--filter", "outcome.result eq \"DENY\""],
    )?;
    ensure!(
        written.len() as u64 + lost >= 250,
        "{} written, {lost} lost",
        written.len()
    );
    agent.kill9();
    drop(disk);
    Ok(())
}
