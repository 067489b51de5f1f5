//! The running agent's metrics, held against `promtool` and against what `status` says.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use lab::frames::Frame;
use lab::{Agent, AgentConfig, Lab, Need, Request, Response, Result, TestFn};

pub(crate) fn tests() -> Vec<(&'static str, TestFn, Need)> {
    vec![
        (
            "metrics_pass_promtool_and_count_what_happens",
            counted,
            promtool,
        ),
        ("alert_rules_pass_promtool", rules, promtool),
        (
            "metrics_come_and_go_with_a_reload",
            reloaded,
            lab::needs_nothing,
        ),
    ]
}

fn promtool() -> std::result::Result<(), String> {
    let found = Command::new("promtool").arg("--version").output();
    found
        .map(drop)
        .map_err(|error| format!("promtool (Debian: prometheus) cannot be run: {error}"))
}

/// Something of most things, and metrics on loopback.
fn config() -> AgentConfig {
    AgentConfig::new("block")
        .zone("cdn", &["trusted-proxy"], &["198.51.100.64/26"])
        .zone("bad", &["blocked"], &["203.0.113.0/24"])
        .service("login", &[80], false)
        .toml(
            "[[feed]]\nname = \"own\"\nfile = \"{lab}/feed.netset\"\nformat = \"netset\"\n\
             [[signal]]\nname = \"access log\"\nfile = \"{lab}/access.log\"\nformat = \"nginx\"\n\
             routes = [\"POST /sign-in success=302 failure=401\"]\n\
             [metrics]\nlisten = \"127.0.0.1:9464\"\n",
        )
}

fn counted() -> Result<()> {
    let lab = Lab::new("metrics")?;
    lab.write("feed.netset", "192.0.2.64/28\n")?;
    lab.write("access.log", "")?;
    let agent = Agent::start(&lab, &config())?;
    let before = number(&scrape(&lab)?, BLOCKED).context("the counter is there from the start")?;
    ensure!(before == 0, "{before} before anybody came");
    let mut tap = lab.edge_tap()?;
    let frame = Frame::between("203.0.113.66".parse()?, lab.login.v4().into())
        .udp(50_000, 80, b"probe")
        .build();
    for _ in 0..3 {
        ensure!(!tap.passes(&frame)?, "a blocked source passes");
    }
    let text = wait(&lab, |text| number(text, BLOCKED) == Some(3))?;
    let checked = check(&["check", "metrics"], &text)?;
    ensure!(checked.is_empty(), "promtool: {checked}");

    let status = agent.cli_json(&["status"])?;
    ensure!(
        number(&text, "edgeward_mode{mode=\"block\"}") == Some(1),
        "{text}"
    );
    ensure!(
        number(&text, "edgeward_zones") == status["zones"].as_u64(),
        "{text}"
    );
    ensure!(
        number(&text, "edgeward_feed_entries{feed=\"own\"}") == Some(1),
        "{text}"
    );
    ensure!(
        number(&text, "edgeward_service_attacked{service=\"login\"}") == Some(0),
        "{text}"
    );
    let written = "edgeward_journal_written_events_total";
    wait(&lab, |text| number(text, written) > Some(0))?;
    Ok(())
}

fn rules() -> Result<()> {
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/prometheus/edgeward.rules.yml");
    let output = Command::new("promtool")
        .args(["check", "rules", "--lint-fatal"])
        .arg(file)
        .output()?;
    let told = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{told}{output:?}");
    ensure!(told.contains("rules found"), "{told}");
    Ok(())
}

fn reloaded() -> Result<()> {
    let lab = Lab::new("metrics-reload")?;
    let silent = AgentConfig::new("log");
    let agent = Agent::start(&lab, &silent)?;
    ensure!(get(&lab, "/metrics").is_err(), "metrics without [metrics]");
    agent.reconfigure(
        &silent
            .clone()
            .toml("[metrics]\nlisten = \"127.0.0.1:9464\"\n"),
    )?;
    agent.cli_ok(&["reload"])?;
    wait(&lab, |text| text.contains("edgeward_build_info"))?;
    let other = get(&lab, "/")?;
    ensure!(other.status == 404, "{other:?}");
    let told = ask(&lab, &Request::post("/metrics", "a=b"))?;
    ensure!(told.status == 405, "{told:?}");

    // Where somebody else listens `status` says so, and nothing else suffers.
    let socket = lab.directory().join("taken.sock");
    let taken = std::os::unix::net::UnixListener::bind(&socket)?;
    agent.reconfigure(
        &silent
            .clone()
            .toml("[metrics]\nlisten = \"unix:{lab}/taken.sock\"\n"),
    )?;
    agent.cli_ok(&["reload"])?;
    let deadline = Instant::now() + WITHIN;
    loop {
        let warnings = agent.cli_json(&["status"])?["warnings"].to_string();
        if warnings.contains("metrics: ") && warnings.contains("taken.sock") {
            break;
        }
        ensure!(Instant::now() < deadline, "no warning: {warnings}");
        thread::sleep(Duration::from_millis(50));
    }
    drop(taken);
    agent.reconfigure(&silent)?;
    agent.cli_ok(&["reload"])?;
    ensure!(
        get(&lab, "/metrics").is_err(),
        "metrics after they were switched off"
    );
    Ok(())
}

fn get(lab: &Lab, path: &str) -> Result<Response> {
    ask(lab, &Request::get(path))
}

fn ask(lab: &Lab, request: &Request) -> Result<Response> {
    let here = IpAddr::from(Ipv4Addr::LOCALHOST);
    Ok(lab
        .login
        .http(here, SocketAddr::new(here, PORT), request, PATIENCE)?)
}

fn scrape(lab: &Lab) -> Result<String> {
    let answer = get(lab, "/metrics")?;
    ensure!(answer.status == 200, "{answer:?}");
    let kind = answer.header("Content-Type").unwrap_or_default();
    ensure!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    Ok(answer.body)
}

/// Asks until the answer is as it should be; the answer. An answer is given again for a second.
fn wait(lab: &Lab, so: impl Fn(&str) -> bool) -> Result<String> {
    let deadline = Instant::now() + WITHIN;
    loop {
        let got = scrape(lab);
        match &got {
            Ok(text) if so(text) => return got,
            _ if Instant::now() < deadline => thread::sleep(Duration::from_millis(100)),
            _ => return got.and_then(|text| bail!("in vain:\n{text}")),
        }
    }
}

/// The value of a series.
fn number(text: &str, series: &str) -> Option<u64> {
    let value = |line: &str| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok();
    text.lines().find_map(value)
}

/// What `promtool` has to say about a text; nothing if all is well.
fn check(arguments: &[&str], text: &str) -> Result<String> {
    let mut process = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = process.stdin.take().context("its input")?;
    stdin.write_all(text.as_bytes())?;
    drop(stdin);
    let output = process.wait_with_output()?;
    let told = [output.stdout, output.stderr].concat();
    let mut told = String::from_utf8_lossy(&told).into_owned();
    if !output.status.success() && told.is_empty() {
        told = output.status.to_string();
    }
    Ok(told)
}

const BLOCKED: &str = "edgeward_packets_total{outcome=\"blocked_zone\",enforced=\"true\"}";
const PORT: u16 = 9464;
const PATIENCE: Duration = Duration::from_secs(10);
const WITHIN: Duration = Duration::from_secs(60);
