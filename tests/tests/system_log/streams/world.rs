//! A lab whose agent streams: events are made as an application makes them, and looked for where they should have arrived.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use lab::{Agent, AgentConfig, Lab, Result};
use serde_json::{Value, json};

/// Longest wait: only a failure takes it.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(120);
/// Signals of one call.
const CALL: u32 = 100;

/// A configuration with an endpoint for applications; `streams` are its `[[stream]]` tables.
pub(crate) fn config(streams: &str) -> AgentConfig {
    AgentConfig::new("log")
        .service("login", &[443], false)
        .toml(
            "[[endpoint]]\nname = \"outcomes\"\nlisten = \"unix:{lab}/outcomes.sock\"\nprofile = \"signals\"\nservice = \"login\"\n",
        )
        .toml(streams)
}

/// Reports sign-ins that went well, each from an address and by a user of its own: an event each.
pub(crate) fn sign_ins(lab: &Lab, from: u32, count: u32) -> Result<()> {
    let all: Vec<u32> = (from..from + count).collect();
    for call in all.chunks(CALL as usize) {
        let signals: Vec<Value> = call
            .iter()
            .map(|n| {
                let [_, a, b, c] = n.to_be_bytes();
                json!({
                    "id": format!("signal-{n}"),
                    "client": format!("10.{a}.{b}.{c}"),
                    "outcome": "success",
                    "user": format!("user-{n}"),
                })
            })
            .collect();
        report(lab, &Value::Array(signals).to_string())?;
    }
    Ok(())
}

/// Calls until the call is taken: an agent that is busy, or dead, asks for that.
pub(crate) fn report(lab: &Lab, body: &str) -> Result<()> {
    let deadline = Instant::now() + WAIT_MAX;
    let head = format!(
        "POST /v1/signals HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    let call = || -> Result<String> {
        let mut stream = UnixStream::connect(lab.directory().join("outcomes.sock"))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    loop {
        let outcome = call();
        if outcome
            .as_ref()
            .is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
        {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("never taken: {outcome:?}");
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// A stream as `edgeward stream list` has it.
pub(crate) fn stream(agent: &Agent, name: &str) -> Result<Value> {
    let list = agent.cli_json(&["stream", "list"])?;
    let streams = list["streams"].as_array().context("no streams")?;
    let found = streams.iter().find(|stream| stream["name"] == name);
    found
        .cloned()
        .with_context(|| format!("no stream {name}: {list}"))
}

/// Waits until something holds of a stream.
pub(crate) fn until(agent: &Agent, name: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        let state = stream(agent, name)?;
        if holds(&state) {
            return Ok(state);
        }
        if Instant::now() >= deadline {
            bail!("never: {state}\n{}", agent.log());
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until the log has so many sign-ins, and everything in it was delivered for good.
pub(crate) fn settled(agent: &Agent, name: &str, sign_ins: usize) -> Result<Value> {
    let deadline = Instant::now() + WAIT_MAX;
    while logged(agent)?.len() < sign_ins {
        ensure!(
            Instant::now() < deadline,
            "the log lacks sign-ins: {}",
            agent.log()
        );
        thread::sleep(Duration::from_millis(200));
    }
    until(agent, name, |state| {
        state["lag_events"] == 0 && state["settled"] == state["handed"]
    })
}

/// The ids of all events in the log.
pub(crate) fn logged(agent: &Agent) -> Result<BTreeSet<String>> {
    let text = agent.cli_ok(&["log", "--json", "--since", "1d", "--limit", "1000000"])?;
    text.lines().map(uuid).collect()
}

/// The id of an event on a line.
pub(crate) fn uuid(line: &str) -> Result<String> {
    let event: Value = serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
    let id = event["uuid"].as_str();
    id.map(str::to_owned)
        .with_context(|| format!("no uuid: {line}"))
}

/// Who was received, how often.
pub(crate) fn received(file: &Path) -> Result<BTreeMap<String, u32>> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let mut times = BTreeMap::new();
    for line in text.lines() {
        *times.entry(uuid(line)?).or_default() += 1;
    }
    Ok(times)
}

/// Everything in the log has arrived and nothing else, and at most so many came more than once.
pub(crate) fn accounted(agent: &Agent, file: &Path, doubled_max: usize) -> Result<usize> {
    let (log, there) = (logged(agent)?, received(file)?);
    // What streams say of themselves may come meanwhile.
    let later = logged(agent)?;
    let missing: Vec<_> = log.iter().filter(|id| !there.contains_key(*id)).collect();
    let strange: Vec<_> = there.keys().filter(|id| !later.contains(*id)).collect();
    ensure!(
        missing.is_empty() && strange.is_empty(),
        "of {} events {} are missing and {} are not in the log\n{missing:?}\n{}",
        log.len(),
        missing.len(),
        strange.len(),
        agent.log()
    );
    let doubled = there.values().filter(|times| **times > 1).count();
    ensure!(
        doubled <= doubled_max,
        "{doubled} of {} came more than once",
        log.len()
    );
    Ok(log.len())
}

/// The types of the log's events about a stream.
pub(crate) fn told(agent: &Agent) -> Result<Vec<String>> {
    let filter = "eventType sw \"system.log_stream.\"";
    let text = agent.cli_ok(&["log", "--json", "--since", "1d", "--filter", filter])?;
    let types = text.lines().map(|line| -> Result<String> {
        let event: Value = serde_json::from_str(line)?;
        Ok(event["eventType"].as_str().unwrap_or_default().to_owned())
    });
    types.collect()
}
