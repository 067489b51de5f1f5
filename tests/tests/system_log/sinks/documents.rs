//! Events of every kind as documents of ECS and OCSF, each of which a strict collector holds against the schema.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use lab::frames::Frame;
use lab::{Agent, AgentConfig, Lab, Request, Result, until};
use serde_json::{Value, json};

use super::{
    super::streams::world::{logged, report, settled},
    Folder,
    receivers::{SECRET, Server},
    secret,
};

pub(crate) fn ecs() -> Result<()> {
    let seen = |event: &Value| words(&event["event"]["category"]);
    run(
        "ecs",
        seen,
        &[
            "authentication",
            "configuration",
            "host",
            "iam",
            "intrusion_detection",
            "network",
            "process",
            "threat",
        ],
    )
}

pub(crate) fn ocsf() -> Result<()> {
    let seen = |event: &Value| vec![event["class_uid"].to_string()];
    run(
        "ocsf",
        seen,
        &[
            "2003", "2004", "3001", "3002", "3004", "4001", "6002", "6008",
        ],
    )
}

/// Refused, lost and broken off in the middle: everything arrives, all of it as the schema has it, and of these kinds
/// something came.
fn run(format: &'static str, seen: fn(&Value) -> Vec<String>, kinds: &[&str]) -> Result<()> {
    let lab = Lab::new(&format!("sinks-{format}"))?;
    let folder = Folder::new(&lab)?;
    secret(&lab, "siem.secret", &format!("{SECRET}\n"))?;
    let arguments: &'static [&'static str] = match format {
        "ecs" => &["splunk", "ecs"],
        _ => &["splunk", "ocsf"],
    };
    let _server = Server::start(&lab, &folder, arguments)?;
    folder.does(&["take", "503", "take", "lost", "garbage", "take"])?;
    let mut agent = Agent::start(&lab, &config(format, ""))?;
    happen(&lab, &mut agent, format)?;
    settled(&agent, "siem", 1)?;
    // What the agent tells of itself goes on: an event may be on its way while one looks.
    let mut fault = None;
    until("everything is accounted for", || {
        let known = logged(&agent)?.len();
        fault = folder.accounted(&agent, 0, known).err();
        Ok(fault.is_none())
    })
    .with_context(|| format!("{fault:?}"))?;

    let received = std::fs::read_to_string(folder.0.join("received"))?;
    let mut there = BTreeSet::new();
    for line in received.lines() {
        let event: Value = serde_json::from_str(line)?;
        there.extend(seen(&event));
    }
    for kind in kinds {
        ensure!(there.contains(*kind), "nothing of {kind} among {there:?}");
    }
    Ok(())
}

fn config(format: &str, more: &str) -> AgentConfig {
    AgentConfig::new("block")
        .set("rate_limit.window", "1h")
        .set("rate_limit.packets", 20)
        .service("login", &[443], false)
        .zone("cdn", &["trusted-proxy"], &["198.51.100.64/26"])
        .zone("bad", &["blocked"], &["203.0.113.0/26"])
        .list("known", 95, &["203.0.113.128/26"])
        .toml(&format!(
            "[[endpoint]]\nname = \"outcomes\"\nlisten = \"unix:{{lab}}/outcomes.sock\"\nprofile = \"signals\"\nservice = \"login\"\n\
             [[endpoint]]\nname = \"nginx\"\nprofile = \"auth-request\"\nlisten = \"127.0.0.1:9401\"\n\
             [[stream]]\nname = \"siem\"\nformat = \"{format}\"\nfrom = \"oldest\"\nflush = \"50ms\"\ntimeout = \"5s\"\n\
             kind = \"splunk-hec\"\nurl = \"http://127.0.0.1:8090\"\ntoken_file = \"siem.secret\"\nacknowledge = true\n\
             [[stream]]\nname = \"away\"\nkind = \"syslog\"\ntransport = \"tcp\"\naddress = \"127.0.0.1:9\"\nfrom = \"oldest\"\n\
             {more}"
        ))
}

/// Something of everything that the agent tells of.
fn happen(lab: &Lab, agent: &mut Agent, format: &str) -> Result<()> {
    sign_ins(lab)?;
    until("detection has found the spray", || {
        let listing = agent.cli_json(&["list", "--origin", "detection"])?;
        Ok(listing["total"].as_u64() > Some(0))
    })?;
    // A blocked zone, a list, detection and a rate, in both modes.
    for mode in ["block", "log"] {
        agent.cli_ok(&["mode", mode])?;
        for source in ["203.0.113.5", "203.0.113.130", SPRAYER, "2001:db8:bad::5"] {
            for _ in 0..30 {
                knock(lab, source)?;
            }
        }
        for client in ["203.0.113.7", "203.0.113.131", "198.51.100.10", "unknown"] {
            ask(lab, client)?;
        }
    }
    agent.cli_ok(&[
        "block",
        "192.0.2.128/25",
        "--reason",
        "scans",
        "--for",
        "1h",
    ])?;
    agent.cli_ok(&["unblock", "192.0.2.128/25"])?;
    agent.cli_ok(&["exempt", "192.0.2.99", "--for", "1h"])?;
    agent.cli_ok(&["attack", "start", "--for", "1h"])?;
    agent.cli_ok(&["attack", "end"])?;
    // Its exit code says how bad it is.
    let found = agent.cli(&["health", "--json"])?;
    let posture: Value = serde_json::from_str(&found.stdout)?;
    let tasks = posture["tasks"].as_array().context("tasks")?;
    let open = tasks.iter().find(|task| task["state"] == "incomplete");
    let task = open
        .and_then(|task| task["id"].as_str())
        .context("a task")?;
    agent.cli_ok(&["health", "dismiss", task, "--reason", "a lab"])?;
    agent.reconfigure(&config(
        format,
        "[[zone]]\nname = \"worse\"\nuses = [\"blocked\"]\nnetworks = [\"203.0.113.64/26\"]\n",
    ))?;
    agent.cli_ok(&["reload"])?;
    agent.cli_ok(&["stream", "replay", "away", "--since", "1h"])?;
    until("somebody is told of the stream that fails", || {
        let filter = "eventType eq \"system.log_stream.fail\"";
        Ok(!agent.cli_ok(&["log", "--filter", filter])?.is_empty())
    })?;
    agent.stop()?;
    agent.launch()?;
    agent.kill9();
    agent.launch()?;
    agent.reconfigure(&config(format, ""))?;
    agent.cli_ok(&["reload"])?;
    Ok(())
}

/// Of every outcome and flow, and a spray.
fn sign_ins(lab: &Lab) -> Result<()> {
    let mut signals = Vec::new();
    for (index, outcome) in ["success", "failure", "unknown-user", "challenge"]
        .iter()
        .enumerate()
    {
        for flow in ["sign-in", "recovery", "enrolment"] {
            signals.push(json!({
                "client": format!("192.0.2.{}", 20 + index), "outcome": outcome, "flow": flow, "user": "ann",
                "user_agent": "Mozilla/5.0 (X11; \"Linux\")", "path": "/login",
            }));
        }
    }
    for user in 0..40 {
        signals.push(
            json!({ "client": SPRAYER, "outcome": "failure", "user": format!("user-{user}") }),
        );
    }
    report(lab, &Value::Array(signals).to_string())
}

/// One packet to the service.
fn knock(lab: &Lab, source: &str) -> Result<()> {
    let source = source.parse()?;
    let frame = Frame::between(source, lab.login.address_like(source))
        .udp(50_000, 443, b"probe")
        .build();
    lab.edge_tap()?.passes(&frame).map(drop)
}

/// One question of a proxy.
fn ask(lab: &Lab, client: &str) -> Result<()> {
    let here = IpAddr::from(Ipv4Addr::LOCALHOST);
    let request = Request::get("/check")
        .header("X-Edgeward-Peer: 198.51.100.70")
        .header("X-Original-Method: POST")
        .header("X-Original-URI: /login?next=home")
        .header("User-Agent: curl/8")
        .header(&format!("X-Forwarded-For: {client}"));
    let answer = lab.login.http(
        here,
        SocketAddr::new(here, 9401),
        &request,
        Duration::from_secs(30),
    )?;
    ensure!(answer.status < 500, "{answer:?}");
    Ok(())
}

fn words(value: &Value) -> Vec<String> {
    let words = value.as_array().into_iter().flatten();
    words.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Who tries one password on many users.
const SPRAYER: &str = "203.0.113.100";
