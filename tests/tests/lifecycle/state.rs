//! What was acknowledged is in force and on disk: after kill -9 at any moment, with a damaged database, on a full disk.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use lab::{Agent, AgentConfig, EdgeTap, Lab, Result, SmallDisk, TestFn, ask};
use serde_json::{Value, json};

use super::world::{Numbers, enforced, guarded, passes, text, verified};

pub(crate) fn tests() -> Vec<(&'static str, TestFn)> {
    vec![
        ("what_was_acknowledged_survives_kill_9", random_kills),
        ("a_damaged_database_does_not_stop_the_agent", damaged),
        ("a_full_disk_refuses_and_changes_nothing", full_disk),
    ]
}

/// What the agent has acknowledged. A key is `KIND PREFIX`, its value the score.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Said {
    decisions: BTreeMap<String, u64>,
    mode: String,
}

/// What one round came to: the last acknowledged state, and the one that the unanswered request asked for.
#[derive(Debug)]
struct Round {
    sure: Said,
    perhaps: Said,
}

fn random_kills() -> Result<()> {
    let lab = Lab::new("kills")?;
    let mut agent = Agent::start(&lab, &AgentConfig::new("block"))?;
    let mut tap = lab.edge_tap()?;
    let mut known = Said {
        mode: "block".to_owned(),
        ..Said::default()
    };
    let mut numbers = Numbers(2);
    for round in 0..ROUNDS {
        let (socket, start) = (agent.socket().to_owned(), known.clone());
        let seed = numbers.next();
        let (told, acknowledgements) = sync_channel(REQUESTS_MAX);
        let asking = thread::spawn(move || ask_until_dead(&socket, start, seed, &told));
        let wanted = numbers.below(ACKNOWLEDGED_MAX);
        let heard = acknowledgements.iter().take(wanted).count();
        // Where in a request the kill falls is up to the machine; the delay only spreads it.
        thread::sleep(Duration::from_micros(numbers.next() % 3_000));
        agent.kill9();
        let done = asking
            .join()
            .map_err(|_| anyhow::anyhow!("the asking thread panicked"))?
            .with_context(|| format!("round {round}"))?;
        ensure!(
            heard == wanted,
            "round {round}: nobody answers after {heard} requests"
        );
        agent.launch()?;
        known = held(&agent)?;
        ensure!(
            known == done.sure || known == done.perhaps,
            "round {round}: the agent holds {known:#?}\nand should hold {:#?}\nor {:#?}",
            done.sure,
            done.perhaps
        );
        let verify = agent.request(&json!({"command": "verify"}))?;
        ensure!(
            verify.pointer("/data/matches") == Some(&true.into()),
            "round {round}: {verify}"
        );
        judged(&lab, &mut tap, &known).with_context(|| format!("round {round}"))?;
    }
    Ok(())
}

/// Changes one thing after the other until the agent does not answer any more; tells of each acknowledgement.
fn ask_until_dead(socket: &Path, start: Said, seed: u64, told: &SyncSender<()>) -> Result<Round> {
    let mut numbers = Numbers(seed);
    let mut sure = start;
    for _ in 0..REQUESTS_MAX {
        let (request, perhaps) = change(&sure, &mut numbers);
        match ask(socket, &request) {
            Ok(reply) if reply["ok"] == true => sure = perhaps,
            Ok(reply) => bail!("{request} is refused: {reply}"),
            Err(_) => return Ok(Round { sure, perhaps }),
        }
        // An error says that nobody listens any more: the kill is on its way.
        let _ = told.try_send(());
    }
    Ok(Round {
        perhaps: sure.clone(),
        sure,
    })
}

/// One possible request, and what holds once it is acknowledged.
fn change(said: &Said, numbers: &mut Numbers) -> (Value, Said) {
    let mut next = said.clone();
    let prefix = SOURCES
        .get(numbers.below(SOURCES.len()))
        .copied()
        .unwrap_or_default();
    let standing: Vec<String> = said.decisions.keys().cloned().collect();
    let request = match numbers.below(10) {
        0..=3 => {
            let score = 80 + numbers.next() % 20;
            next.decisions.insert(format!("block {prefix}"), score);
            json!({"command": "block", "prefix": prefix, "score": score, "reason": "a test"})
        }
        4 | 5 => {
            next.decisions.insert(format!("exempt {prefix}"), 0);
            json!({"command": "exempt", "prefix": prefix})
        }
        6 => {
            let modes = ["log", "block", "block", "off"];
            let mode = modes
                .get(numbers.below(modes.len()))
                .copied()
                .unwrap_or("block");
            mode.clone_into(&mut next.mode);
            json!({"command": "mode", "set": mode})
        }
        _ => match standing.get(numbers.below(standing.len())) {
            None => json!({"command": "status"}),
            Some(key) => {
                let (_, prefix) = key.split_once(' ').unwrap_or_default();
                next.decisions
                    .retain(|key, _| !key.ends_with(&format!(" {prefix}")));
                json!({"command": "unblock", "prefix": prefix})
            }
        },
    };
    (request, next)
}

/// What the agent says it holds.
fn held(agent: &Agent) -> Result<Said> {
    let reply = agent.request(&json!({"command": "list"}))?;
    let rows = reply
        .pointer("/data/decisions")
        .and_then(Value::as_array)
        .with_context(|| format!("no decisions in {reply}"))?;
    let mut decisions = BTreeMap::new();
    for row in rows {
        let key = format!(
            "{} {}",
            row["kind"].as_str().unwrap_or_default(),
            written(row["prefix"].as_str().unwrap_or_default())
        );
        decisions.insert(key, row["score"].as_u64().unwrap_or_default());
    }
    let mode = agent.request(&json!({"command": "mode"}))?;
    Ok(Said {
        decisions,
        mode: text(&mode, "/data/mode"),
    })
}

/// As it was asked for: a host without its length.
fn written(prefix: &str) -> &str {
    prefix
        .strip_suffix("/32")
        .or_else(|| prefix.strip_suffix("/128"))
        .unwrap_or(prefix)
}

/// Packets meet what the agent says it holds.
fn judged(lab: &Lab, tap: &mut EdgeTap, said: &Said) -> Result<()> {
    for source in SOURCES.iter().filter(|source| !source.contains('/')) {
        let address: std::net::IpAddr = source.parse()?;
        let covered = |kind: &str| {
            said.decisions.keys().any(|key| {
                key.split_once(' ').is_some_and(|(is, prefix)| {
                    is == kind
                        && prefix
                            .parse::<ipnet::IpNet>()
                            .map_or(prefix == *source, |net| net.contains(&address))
                })
            })
        };
        let expected = said.mode != "block" || covered("exempt") || !covered("block");
        let passed = passes(lab, tap, source)?;
        ensure!(
            passed == expected,
            "{source} passes: {passed}, and holds {said:#?}"
        );
    }
    Ok(())
}

fn damaged() -> Result<()> {
    for damage in ["garbage", "middle", "cut", "empty"] {
        let lab = Lab::new("damaged")?;
        let mut agent = Agent::start(&lab, &guarded("block"))?;
        for number in 0..60 {
            let prefix = format!("203.0.113.{}", number + 1);
            let reply = agent.request(&json!({"command": "block", "prefix": prefix}))?;
            ensure!(reply["ok"] == true, "{reply}");
        }
        // A clean stop folds the log into the database.
        agent.stop()?;
        spoil(&agent.state_dir().join("edgeward.db"), damage)?;
        agent.launch().with_context(|| damage.to_owned())?;
        enforced(&lab).with_context(|| damage.to_owned())?;
        verified(&agent).with_context(|| damage.to_owned())?;
        let status = agent.cli_json(&["status"])?;
        let told = status["warnings"].to_string().contains("was damaged");
        // An empty file is a new database to SQLite, and nothing in it says otherwise.
        ensure!(
            told || damage == "empty",
            "{damage}: nobody was told: {status}"
        );
        let reply = agent.request(&json!({"command": "block", "prefix": "203.0.113.99"}))?;
        ensure!(reply["ok"] == true, "{damage}: {reply}");
    }
    Ok(())
}

fn spoil(path: &Path, how: &str) -> Result<()> {
    let mut bytes = std::fs::read(path)?;
    match how {
        "garbage" => bytes = vec![0xa5; bytes.len()],
        "middle" => {
            let start = bytes.len() / 2;
            for byte in bytes.iter_mut().skip(start).take(4096) {
                *byte = 0xa5;
            }
        }
        "cut" => bytes.truncate(bytes.len() / 2),
        _ => bytes.clear(),
    }
    Ok(std::fs::write(path, bytes)?)
}

fn full_disk() -> Result<()> {
    let lab = Lab::new("full-disk")?;
    let mut agent = Agent::prepare(&lab, &AgentConfig::new("block"))?;
    let disk = SmallDisk::mount(&lab, agent.state_dir(), "2m")?;
    agent.launch()?;
    let mut known = Said {
        mode: "block".to_owned(),
        ..Said::default()
    };
    let mut tap = lab.edge_tap()?;
    let ballast = agent.state_dir().join("ballast");
    let mut refused = 0;
    for number in 0..6_u32 {
        let source = format!("203.0.113.{}", number + 10);
        let full = number % 2 == 1;
        if full {
            SmallDisk::fill(&ballast)?;
        }
        // A long reason, so that a page that happens to be free does not take it.
        let mut reply = Value::Null;
        for part in 0..FULL_TRIES {
            let prefix = format!("2001:db8:bad:{number:x}::{part:x}");
            let prefix = if part == 0 { source.clone() } else { prefix };
            let block = json!({"command": "block", "prefix": prefix, "reason": "r".repeat(250)});
            reply = agent.request(&block)?;
            if reply["ok"] != true {
                break;
            }
            known.decisions.insert(format!("block {prefix}"), 100);
            if !full {
                break;
            }
        }
        if full {
            refused += 1;
            ensure!(
                reply["error"]["kind"] == "unavailable"
                    && reply["error"]["message"]
                        .as_str()
                        .is_some_and(|text| text.contains("no space left")),
                "{reply}"
            );
            let mode = agent.request(&json!({"command": "mode", "set": "off"}))?;
            ensure!(mode["ok"] == false, "a mode on a full disk: {mode}");
            let exempt = agent.request(&json!({"command": "exempt", "prefix": source}))?;
            ensure!(
                exempt["ok"] == false,
                "an exemption on a full disk: {exempt}"
            );
        }
        ensure!(held(&agent)? == known, "{number}: {:#?}", held(&agent)?);
        verified(&agent)?;
        let blocked = known.decisions.contains_key(&format!("block {source}"));
        ensure!(
            passes(&lab, &mut tap, &source)? != blocked,
            "{number}: {source} was acknowledged: {blocked}"
        );
        if full {
            std::fs::remove_file(&ballast)?;
        }
    }
    ensure!(refused == 3, "{refused}");
    // What was refused is not there after a kill either.
    SmallDisk::fill(&ballast)?;
    agent.kill9();
    std::fs::remove_file(&ballast)?;
    agent.launch()?;
    ensure!(held(&agent)? == known, "{:#?}", held(&agent)?);
    verified(&agent)?;
    agent.kill9();
    drop(disk);
    Ok(())
}

const ROUNDS: usize = 20;
/// Fewer acknowledgements than that come before the agent of a round is killed.
const ACKNOWLEDGED_MAX: usize = 24;
/// Most requests of one round.
const REQUESTS_MAX: usize = 10_000;
/// Requests on a full disk until one must have failed: the log's file has some room of its own.
const FULL_TRIES: u32 = 2000;
/// Hosts, and networks that hold some of them, in each of the kernel's tables.
const SOURCES: [&str; 12] = [
    "203.0.113.66",
    "203.0.113.67",
    "203.0.113.200",
    "198.51.100.10",
    "2001:db8:bad::66",
    "2001:db8:bad:1::67",
    "2001:db8:600d::10",
    "203.0.113.0/24",
    "203.0.113.64/26",
    "2001:db8:bad::/64",
    "2001:db8:bac::/47",
    "2001:db8:bad::/48",
];
