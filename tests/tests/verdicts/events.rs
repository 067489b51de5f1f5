//! Events: bounded whatever arrives, nothing uncounted, and right in every field.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use lab::frames::{Frame, flags};
use lab::xdp::Action;
use lab::{AgentConfig, Result};
use serde_json::{Value, json};

use crate::edge::{Edge, ends, events_of};

const BUDGET: u64 = 20;
const SOURCES: u32 = 30_000;

fn config() -> AgentConfig {
    AgentConfig::new("block")
        .set("events.per_second_max", 20)
        .zone(
            "bad-nets",
            &["blocked"],
            &["10.0.0.0/8", "2001:db8:bad::/48"],
        )
        .list("known-bad", 90, &["203.0.113.64/27"])
        .service("login", &[443], false)
}

pub(crate) fn bounded() -> Result<()> {
    let edge = Edge::quiet("events-bounded", &config())?;
    let cpus = u64::try_from(std::thread::available_parallelism()?.get())?;
    let frame = |index: u32| {
        let source = Ipv4Addr::from(0x0a00_0000 + index * 257);
        let ends = ends(source.into(), 443);
        Frame::between(ends.source, ends.target)
            .tcp(50_000, 443, flags::SYN)
            .build()
    };
    let begun = Instant::now();
    let counted = edge.counted(|| {
        for index in 0..SOURCES {
            edge.expect("a flood", &frame(index), Action::Drop)?;
        }
        Ok(())
    })?;
    let refused = u64::from(SOURCES);
    ensure!(
        counted.get("packets.refused") == Some(&refused),
        "{counted:?}"
    );
    ensure!(
        events_of(&counted) == refused,
        "an event is neither sent nor counted: {counted:?}"
    );
    // Budgets are refilled about once a second; the first and the last second count in full.
    let seconds = begun.elapsed().as_secs() + 2;
    let sent = counted.get("events.sent").copied().unwrap_or_default();
    ensure!(sent > 0, "no event at all: {counted:?}");
    ensure!(
        sent <= BUDGET * seconds * cpus,
        "{sent} events in {seconds} s on {cpus} CPUs"
    );
    // What was sent has arrived, and says how many it stands for.
    let told = lines(&edge, "blocked_zone", sent)?;
    ensure!(
        u64::try_from(told.len())? == sent,
        "{} of {sent} events arrived",
        told.len()
    );
    let suppressed: u64 = told
        .iter()
        .filter_map(|event| event.get("suppressed")?.as_u64())
        .sum();
    let held_back = counted
        .get("events.suppressed")
        .copied()
        .unwrap_or_default();
    ensure!(
        suppressed <= held_back,
        "{suppressed} told of {held_back} suppressed"
    );
    Ok(())
}

/// The events with a reason, once there are `count` of them: the agent reads them off the verdict's path.
fn lines(edge: &Edge, reason: &str, count: u64) -> Result<Vec<Value>> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let reply = edge.request(&json!({"command": "events", "limit": 10_000}))?;
        let events = reply
            .pointer("/data/events")
            .and_then(Value::as_array)
            .context("no events in the reply")?;
        let found: Vec<Value> = events
            .iter()
            .filter(|event| event.get("reason") == Some(&reason.into()))
            .cloned()
            .collect();
        if u64::try_from(found.len())? >= count || Instant::now() > deadline {
            return Ok(found);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn told() -> Result<()> {
    let edge = Edge::quiet("events-told", &config())?;
    for (mode, enforced) in [("log", false), ("block", true)] {
        edge.agent.cli_ok(&["mode", mode])?;
        for (source, reason, score) in [
            ("203.0.113.66", "reputation", Value::from(90)),
            ("10.1.2.3", "blocked_zone", Value::Null),
            ("2001:db8:bad::66", "blocked_zone", Value::Null),
        ] {
            let ends = ends(source.parse()?, 443);
            let frame = Frame::between(ends.source, ends.target)
                .tcp(50_123, 443, flags::SYN)
                .build();
            // The same source again and again is one event.
            for _ in 0..5 {
                edge.action(&frame)?;
            }
            let before = if reason == "blocked_zone" { 2 } else { 1 };
            let all = lines(&edge, reason, if enforced { 2 * before } else { 1 })?;
            let event = all
                .iter()
                .rfind(|event| {
                    event.get("source") == Some(&source.into())
                        && event.get("enforced") == Some(&enforced.into())
                })
                .with_context(|| format!("no event of {source} in mode {mode}: {all:?}"))?;
            let expected = json!({"source": source, "destination": ends.target, "source_port": 50_123,
                "destination_port": 443, "protocol": 6, "length": frame.len(), "score": score,
                "enforced": enforced, "verdict": "deny", "reason": reason,
                "outcome": if enforced { "DENY" } else { "ALLOW" }});
            for (field, value) in expected.as_object().context("an object")? {
                ensure!(
                    event.get(field) == Some(value),
                    "{field} of {event} is not {value}"
                );
            }
        }
    }
    Ok(())
}
