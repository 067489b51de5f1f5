//! `status`, `list`, `zone`, `events`: what scripts read.

use anyhow::{Context, ensure};
use lab::{Agent, EDGE, Lab, Result, TestFn};
use serde_json::{Value, json};

use super::world::{WAIT_MAX, passes, rich, says, until};

pub(crate) fn tests() -> Vec<(&'static str, TestFn)> {
    vec![
        ("status_says_how_the_agent_is", status),
        ("list_filters_by_origin_and_reason", list),
        ("zones_are_listed_and_shown", zones),
        ("events_are_followed", events),
    ]
}

fn status() -> Result<()> {
    let lab = Lab::new("status")?;
    let agent = Agent::start(&lab, &rich("block"))?;
    let mut tap = lab.edge_tap()?;
    let before = agent.cli_json(&["status"])?;
    for (pointer, value) in [
        ("/mode/mode", json!("block")),
        ("/mode/origin", json!("configuration")),
        ("/interfaces/0/name", json!(EDGE)),
        ("/interfaces/0/attached", json!("native")),
        ("/zones", json!(4)),
        ("/lists/0/name", json!("bad")),
        ("/lists/0/score", json!(95)),
        ("/lists/0/networks", json!(3)),
        ("/version", json!(env!("CARGO_PKG_VERSION"))),
        ("/pid", json!(agent.id())),
    ] {
        ensure!(
            before.pointer(pointer) == Some(&value),
            "{pointer} must be {value}: {before:#}"
        );
    }
    for source in [
        "203.0.113.66",
        "203.0.113.66",
        "203.0.113.7",
        "198.51.100.130",
    ] {
        passes(&lab, &mut tap, source)?;
    }
    let after = agent.cli_json(&["status"])?;
    let counted = |pointer: &str| {
        let count = |status: &Value| status.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        count(&after).saturating_sub(count(&before))
    };
    for (pointer, count) in [
        ("/packets/refused", 3),
        ("/packets/exempt", 1),
        ("/reasons/reputation", 2),
        ("/reasons/blocked_zone", 1),
    ] {
        ensure!(
            counted(pointer) == count,
            "{pointer} grew by {}: {after:#}",
            counted(pointer)
        );
    }
    agent.cli_ok(&["exempt", "203.0.113.66"])?;
    let said = agent.cli_ok(&["status"])?;
    for word in [
        "block: verdicts are enforced",
        EDGE,
        "native",
        "1 exemption",
        "have no end",
    ] {
        ensure!(said.contains(word), "{word:?} is not in {said}");
    }
    Ok(())
}

fn list() -> Result<()> {
    let lab = Lab::new("list")?;
    let agent = Agent::start(&lab, &rich("block"))?;
    agent.cli_ok(&["block", "203.0.113.90", "--reason", "one"])?;
    agent.cli_ok(&[
        "block",
        "2001:db8:bad:7::/64",
        "--reason",
        "two",
        "--for",
        "1h",
    ])?;
    agent.cli_ok(&["exempt", "203.0.113.91"])?;
    let prefixes = |filter: &[&str]| -> Result<Vec<String>> {
        let listing = agent.cli_json(&[&["list"], filter].concat())?;
        let rows = listing["decisions"].as_array().context("no decisions")?;
        ensure!(listing["total"] == rows.len(), "{listing}");
        Ok(rows
            .iter()
            .filter_map(|row| row["prefix"].as_str().map(str::to_owned))
            .collect())
    };
    let cases: [(&[&str], &[&str]); 6] = [
        (
            &[],
            &["203.0.113.90/32", "203.0.113.91/32", "2001:db8:bad:7::/64"],
        ),
        (&["--reason", "two"], &["2001:db8:bad:7::/64"]),
        (
            &["--origin", "operator", "--reason", "one"],
            &["203.0.113.90/32"],
        ),
        (&["--origin", "detection"], &[]),
        (&["--reason", "nobody's"], &[]),
        (
            &["--origin", "list", "--reason", "seen attacking"],
            &[
                "198.51.100.130/32",
                "203.0.113.66/32",
                "2001:db8:bad::66/128",
            ],
        ),
    ];
    for (filter, expected) in cases {
        let found = prefixes(filter)?;
        ensure!(found == expected, "{filter:?}: {found:?}");
    }
    says(&agent.cli(&["list", "--origin", "nobody"])?, 2, &["nobody"])?;
    let said = agent.cli_ok(&["list"])?;
    for word in [
        "PREFIX",
        "203.0.113.90/32",
        "operator",
        "uid 0",
        "never",
        "exempt",
    ] {
        ensure!(said.contains(word), "{word:?} is not in {said}");
    }
    Ok(())
}

fn zones() -> Result<()> {
    let lab = Lab::new("zone")?;
    let agent = Agent::start(&lab, &rich("log"))?;
    let listing = agent.cli_json(&["zone", "list"])?;
    let rows = listing["zones"].as_array().context("no zones")?;
    let names: Vec<_> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
    ensure!(
        names == ["office", "cdn", "hostile", "partners"],
        "{names:?}"
    );
    ensure!(
        rows[1]["uses"] == json!(["trusted-proxy"]) && rows[1]["networks"] == 2,
        "{listing}"
    );
    let zone = agent.cli_json(&["zone", "show", "hostile"])?;
    ensure!(
        zone["uses"] == json!(["blocked"])
            && zone["networks"] == json!(["203.0.113.0/26", "2001:db8:bad:b::/64"])
            && zone["total"] == 2,
        "{zone}"
    );
    let said = agent.cli_ok(&["zone", "list"])?;
    ensure!(said.contains("allowed-origin"), "{said}");
    let said = agent.cli_ok(&["zone", "show", "partners"])?;
    ensure!(said.contains("198.51.100.32/28"), "{said}");
    Ok(())
}

fn events() -> Result<()> {
    let lab = Lab::new("events")?;
    let agent = Agent::start(&lab, &rich("block"))?;
    let mut tap = lab.edge_tap()?;
    let mut stream = agent.command(&["events", "--follow", "--json"])?.spawn()?;
    let mut people = agent.command(&["events", "--follow"])?.spawn()?;
    stream.wait_for_line("system.agent.start", WAIT_MAX)?;
    people.wait_for_line("system.agent.start", WAIT_MAX)?;
    agent.cli_ok(&["block", "198.51.100.10", "--reason", "for the stream"])?;
    passes(&lab, &mut tap, "198.51.100.10")?;
    passes(&lab, &mut tap, "203.0.113.7")?;
    agent.cli_ok(&["unblock", "198.51.100.10"])?;
    agent.cli_ok(&["mode", "log"])?;
    passes(&lab, &mut tap, "2001:db8:bad::66")?;
    for (words, fields) in expected_events() {
        let line = stream.wait_for_line(words, WAIT_MAX)?;
        let event: Value = serde_json::from_str(&line).context(line.clone())?;
        ensure!(event["time"].as_u64().is_some(), "no time: {line}");
        for (field, value) in fields {
            ensure!(event.get(field) == Some(&value), "{words}: {field}: {line}");
        }
        people.wait_for_line(words.trim_end_matches('"'), WAIT_MAX)?;
    }
    for line in stream.stdout().lines() {
        let event: Value = serde_json::from_str(line).context(line.to_owned())?;
        ensure!(event["event"].as_str().is_some(), "{line}");
    }
    // The past is there for whoever comes late, and can be cut.
    let past = agent.cli_ok(&["events", "--json", "--limit", "2"])?;
    ensure!(past.lines().count() == 2, "{past}");
    // An agent that goes ends the stream with a word.
    let mut agent = agent;
    agent.stop()?;
    until("the streams end", || {
        Ok(!stream.running() && !people.running())
    })?;
    ensure!(
        stream.stderr().contains("ended the stream"),
        "{}",
        stream.stderr()
    );
    Ok(())
}

/// Words that find an event, and fields it must have, in the order in which they happen.
fn expected_events() -> Vec<(&'static str, Vec<(&'static str, Value)>)> {
    vec![
        (
            "decision.create",
            vec![
                ("prefix", json!("198.51.100.10/32")),
                ("actor", json!("uid 0")),
            ],
        ),
        (
            "198.51.100.10\"",
            vec![
                ("event", json!("security.threat.detected")),
                ("outcome", json!("DENY")),
                ("verdict", json!("deny")),
                ("reason", json!("reputation")),
                ("enforced", json!(true)),
                ("detail", json!("for the stream")),
                ("origin", json!("operator")),
                ("destination", json!("192.0.2.10")),
                ("destination_port", json!(443)),
                ("protocol", json!(17)),
            ],
        ),
        (
            "security.request.blocked",
            vec![
                ("source", json!("203.0.113.7")),
                ("reason", json!("blocked_zone")),
            ],
        ),
        (
            "decision.delete",
            vec![("prefix", json!("198.51.100.10/32"))],
        ),
        (
            "configuration.update",
            vec![("from", json!("block")), ("to", json!("log"))],
        ),
        (
            "2001:db8:bad::66",
            vec![("outcome", json!("ALLOW")), ("enforced", json!(false))],
        ),
    ]
}
