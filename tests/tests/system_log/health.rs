//! What the agent says of its own set-up, and what it reports of those who forward and of those who attack.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use lab::frames::Frame;
use lab::{Agent, AgentConfig, Lab, Need, Request, Result, TestFn, needs_nothing};
use serde_json::Value;

pub(crate) fn tests() -> Vec<(&'static str, TestFn, Need)> {
    vec![
        (
            "health_exits_by_what_is_open_and_remembers_what_was_dismissed",
            health,
            needs_nothing,
        ),
        (
            "report_proxies_finds_who_does_not_pass_the_client_on",
            proxies,
            needs_nothing,
        ),
        (
            "reports_of_threats_and_zones_come_out_of_the_log",
            threats,
            needs_nothing,
        ),
    ]
}

fn config(mode: &str) -> AgentConfig {
    AgentConfig::new(mode)
        .zone("cdn", &["trusted-proxy"], &["198.51.100.64/26"])
        .zone("bad", &["blocked"], &["203.0.113.0/24"])
}

fn health() -> Result<()> {
    let lab = Lab::new("health")?;
    let mut agent = Agent::start(&lab, &config("off"))?;
    let off = agent.cli(&["health"])?;
    ensure!(off.code == 13, "{off:?}");
    ensure!(off.stdout.contains("nothing is judged"), "{off:?}");
    agent.cli_ok(&["mode", "log"])?;
    let log = agent.cli(&["health"])?;
    ensure!(
        log.code < 13 && log.stdout.contains("the mode is log"),
        "{log:?}"
    );
    agent.cli_ok(&["mode", "block", "--confirm-within", "1h"])?;
    let before = posture(&agent)?;
    ensure!(task(&before, "mode")?["state"] == "complete", "{before}");
    ensure!(
        task(&before, "kernel-differs")?["state"] == "complete",
        "{before}"
    );
    ensure!(
        task(&before, "stream-none")?["state"] == "incomplete",
        "{before}"
    );

    // A configuration that everybody may change.
    std::fs::set_permissions(agent.config_path(), PermissionsExt::from_mode(0o666))?;
    let open = agent.cli(&["health"])?;
    ensure!(
        open.code == 12 && open.stdout.contains("chmod 0644"),
        "{open:?}"
    );
    std::fs::set_permissions(agent.config_path(), PermissionsExt::from_mode(0o644))?;
    ensure!(agent.cli(&["health"])?.code < 12, "it was put right");

    // Everything that is left of a lab is dismissed: 0, also after a restart.
    let left = posture(&agent)?;
    for task in left["tasks"].as_array().context("tasks")? {
        if task["state"] == "incomplete" {
            let id = task["id"].as_str().context("a name")?;
            agent.cli_ok(&["health", "dismiss", id, "--reason", "a lab"])?;
        }
    }
    agent.restart()?;
    let dismissed = agent.cli(&["health"])?;
    ensure!(dismissed.code == 0, "{dismissed:?}");
    ensure!(
        dismissed.stdout.contains("score 100 of 100"),
        "{dismissed:?}"
    );
    let shown = posture(&agent)?;
    ensure!(
        task(&shown, "stream-none")?["dismissed"]["reason"] == "a lab",
        "{shown}"
    );
    agent.cli_ok(&["health", "restore", "stream-none"])?;
    ensure!(
        agent.cli(&["health"])?.code == 10,
        "a low task is open again"
    );
    for (arguments, code) in [
        (&["health", "restore", "stream-none"][..], 1),
        (&["health", "dismiss", "no-such", "--reason", "x"], 1),
        (&["health", "dismiss", "mode"], 2),
    ] {
        let told = agent.cli(arguments)?;
        ensure!(told.code == code, "{arguments:?}: {told:?}");
    }

    // A change is an event.
    let events = events(&agent, "eventType eq \"system.posture.update\"")?;
    ensure!(
        events.contains("files-open") && events.contains("stream-none"),
        "{events}"
    );
    Ok(())
}

fn proxies() -> Result<()> {
    let lab = Lab::new("report-proxies")?;
    let endpoint = "[[service]]\nname = \"login\"\nports = [80]\n\
         [[service.sign_in]]\npath = \"/sign-in\"\n\
         [[endpoint]]\nname = \"nginx\"\nprofile = \"auth-request\"\nlisten = \"127.0.0.1:9401\"\n";
    let mut agent = Agent::start(&lab, &config("log").toml(endpoint))?;
    let (good, silent, unknown) = ("198.51.100.70", "198.51.100.71", "198.51.100.10");
    for _ in 0..25 {
        ask(&lab, good, Some("203.0.114.9"))?;
        ask(&lab, silent, None)?;
        ask(&lab, unknown, Some("203.0.114.9"))?;
    }
    check(&agent, good, silent, unknown)?;
    let table = agent.cli_ok(&["report", "proxies"])?;
    ensure!(
        table.contains("PASSES CLIENT") && table.contains("trusted-proxy"),
        "{table}"
    );
    let csv = agent.cli_ok(&["report", "proxies", "--csv"])?;
    ensure!(
        csv.lines().count() == 4 && csv.starts_with("address,"),
        "{csv}"
    );
    // What was counted survives a restart.
    agent.restart()?;
    check(&agent, good, silent, unknown)?;

    let found = posture(&agent)?;
    let evidence = task(&found, "proxy-no-client")?["evidence"].to_string();
    ensure!(evidence.contains(silent), "{found}");
    let evidence = task(&found, "proxy-untrusted")?["evidence"].to_string();
    ensure!(evidence.contains(unknown), "{found}");
    Ok(())
}

fn check(agent: &Agent, good: &str, silent: &str, unknown: &str) -> Result<()> {
    let report = agent.cli_json(&["report", "proxies", "--since", "1d"])?;
    let rows = report["rows"].as_array().context("rows")?;
    ensure!(rows.len() == 3 && report["complete"] == true, "{report}");
    let row = |address: &str| {
        let found = rows.iter().find(|row| row["address"] == address);
        found.with_context(|| format!("{address} is not in {report}"))
    };
    for (address, trusted, passes) in [
        (good, true, true),
        (silent, true, false),
        (unknown, false, false),
    ] {
        let row = row(address)?;
        ensure!(
            row["trusted"] == trusted && row["passes_client"] == passes,
            "{row}"
        );
        ensure!(row["requests"] == 25 && row["sign_ins"] == 25, "{row}");
        ensure!(row["fix"].is_null() == passes, "{row}");
    }
    ensure!(
        row(good)?["client_second"] == 25 && row(silent)?["client_last"] == 25,
        "{report}"
    );
    Ok(())
}

fn threats() -> Result<()> {
    let lab = Lab::new("report-threats")?;
    let agent = Agent::start(&lab, &config("block"))?;
    let mut tap = lab.edge_tap()?;
    for last in [66, 67] {
        let source = IpAddr::from([203, 0, 113, last]);
        let frame = Frame::between(source, lab.login.v4().into())
            .udp(50_000, 80, b"probe")
            .build();
        ensure!(!tap.passes(&frame)?, "{source} passes");
    }
    let report = wait(&agent, &["report", "threats"], |report| {
        report["total"] == 2
    })?;
    let row = &report["rows"][0];
    ensure!(
        row["reasons"][0] == "blocked_zone" && row["enforced"] == row["events"],
        "{report}"
    );
    let zones = agent.cli_json(&["report", "zones"])?;
    ensure!(zones["rows"][0]["zone"] == "bad", "{zones}");
    ensure!(zones["rows"][0]["sources"] == 2, "{zones}");
    let filter = zones["rows"][0]["filter"].as_str().context("a filter")?;
    let found = events(&agent, filter)?;
    ensure!(
        found.contains("203.0.113.66") && found.contains("203.0.113.67"),
        "{filter}: {found}"
    );

    let file = lab.directory().join("threats.html");
    let name = file.to_str().context("a path")?;
    agent.cli_ok(&["report", "threats", "--html", name])?;
    let page = std::fs::read_to_string(&file)?;
    ensure!(
        page.contains("203.0.113.66") && page.contains("<svg"),
        "{page}"
    );
    for outside in ["<script", "http:", "https:", "src=", "href="] {
        ensure!(!page.contains(outside), "{outside} in {page}");
    }
    Ok(())
}

/// One question of nginx about a sign-in.
fn ask(lab: &Lab, peer: &str, forwarded: Option<&str>) -> Result<()> {
    let here = IpAddr::from(Ipv4Addr::LOCALHOST);
    let mut request = Request::get("/check")
        .header(&format!("X-Edgeward-Peer: {peer}"))
        .header("X-Original-Method: POST")
        .header("X-Original-URI: /sign-in");
    if let Some(client) = forwarded {
        request = request.header(&format!("X-Forwarded-For: {client}"));
    }
    let answer = lab
        .login
        .http(here, SocketAddr::new(here, 9401), &request, WITHIN)?;
    ensure!(answer.status < 300, "{answer:?}");
    Ok(())
}

fn posture(agent: &Agent) -> Result<Value> {
    // Its exit code says how bad it is.
    let output = agent.cli(&["health", "--json"])?;
    serde_json::from_str(&output.stdout).with_context(|| format!("{output:?}"))
}

fn task<'a>(posture: &'a Value, id: &str) -> Result<&'a Value> {
    let tasks = posture["tasks"].as_array().context("tasks")?;
    let found = tasks.iter().find(|task| task["id"] == id);
    found.with_context(|| format!("no task {id}"))
}

/// Waits until the log has such events; their text.
fn events(agent: &Agent, filter: &str) -> Result<String> {
    let deadline = Instant::now() + WITHIN;
    loop {
        let text = agent.cli_ok(&["log", "--json", "--filter", filter])?;
        if !text.is_empty() {
            return Ok(text);
        }
        ensure!(Instant::now() < deadline, "no event: {filter}");
        thread::sleep(Duration::from_millis(100));
    }
}

fn wait(agent: &Agent, arguments: &[&str], so: impl Fn(&Value) -> bool) -> Result<Value> {
    let deadline = Instant::now() + WITHIN;
    loop {
        let value = agent.cli_json(arguments)?;
        if so(&value) {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            bail!("in vain: {value}");
        }
        thread::sleep(Duration::from_millis(100));
    }
}

const WITHIN: Duration = Duration::from_secs(60);
