//! Restricted services: who may reach them, and the report of who tried.

use anyhow::{Context, ensure};
use lab::{Agent, AgentConfig, Host, Lab, Result, Site, TestFn};
use serde_json::Value;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::world::until;

pub(crate) fn tests() -> Vec<(&'static str, TestFn)> {
    vec![
        (
            "a_restricted_service_is_reached_through_its_proxies_only",
            restricted,
        ),
        ("log_mode_reports_who_would_be_refused", logged),
    ]
}

fn restricted() -> Result<()> {
    let lab = Lab::new("origins")?;
    let agent = Agent::start(&lab, &config("block"))?;
    let site = lab.site()?;
    ensure!(report(&agent)?.is_empty(), "somebody is there already");
    for _ in 0..2 {
        for host in [&lab.proxy, &lab.innocent] {
            for source in host.addresses() {
                ensure!(
                    reaches(host, source, site.address(source))?,
                    "{source} is refused"
                );
            }
        }
        for source in lab.attacker.addresses() {
            ensure!(
                !reaches(&lab.attacker, source, site.address(source))?,
                "{source} passes"
            );
        }
    }
    // The other service is nobody's to restrict.
    let open = SocketAddr::new(lab.login.v4().into(), Site::HTTPS);
    ensure!(
        reaches(&lab.attacker, lab.attacker.v4().into(), open)?,
        "the open service is refused"
    );
    until("both addresses are reported", || {
        Ok(report(&agent)?.len() == 2)
    })?;
    for row in report(&agent)? {
        let source: IpAddr = text(&row, "source").parse()?;
        ensure!(lab.attacker.addresses().contains(&source), "{row}");
        ensure!(text(&row, "service") == "login", "{row}");
        let number = |name: &str| row.get(name).and_then(Value::as_u64).unwrap_or_default();
        ensure!(
            number("events") > 0 && number("enforced") == number("events"),
            "{row}"
        );
        ensure!(
            number("first") > 0 && number("first") <= number("last"),
            "{row}"
        );
    }
    let shown = agent.cli_ok(&["report", "origins"])?;
    for source in lab.attacker.addresses() {
        ensure!(shown.contains(&source.to_string()), "{shown}");
    }
    let one = agent.cli_ok(&["report", "origins", "--limit", "1"])?;
    ensure!(one.contains("1 of 2 sources"), "{one}");
    Ok(())
}

fn logged() -> Result<()> {
    let lab = Lab::new("origins-log")?;
    let agent = Agent::start(&lab, &config("log"))?;
    let site = lab.site()?;
    let source = lab.attacker.v4().into();
    ensure!(
        reaches(&lab.attacker, source, site.address(source))?,
        "log mode refuses"
    );
    until("it is reported", || Ok(report(&agent)?.len() == 1))?;
    let rows = report(&agent)?;
    let row = rows.first().context("no row")?;
    ensure!(text(row, "source").parse() == Ok(source), "{row}");
    ensure!(row.get("enforced") == Some(&Value::from(0)), "{row}");
    Ok(())
}

/// The proxy's network and the innocent one's may connect.
fn config(mode: &str) -> AgentConfig {
    AgentConfig::new(mode)
        .zone(
            "cdn",
            &["trusted-proxy"],
            &["198.51.100.64/26", "2001:db8:9::/48"],
        )
        .zone(
            "office",
            &["allowed-origin"],
            &["198.51.100.0/26", "2001:db8:600d::/48"],
        )
        .service("login", &[Site::HTTP], true)
        .service("open", &[Site::HTTPS], false)
}

fn reaches(host: &Host, source: IpAddr, target: SocketAddr) -> Result<bool> {
    match host.connect_from(source, target.ip(), target.port(), REFUSED_AFTER) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::TimedOut => Ok(false),
        Err(error) => Err(error).with_context(|| format!("{source} to {target}")),
    }
}

fn report(agent: &Agent) -> Result<Vec<Value>> {
    let found = agent.cli_json(&["report", "origins"])?;
    let rows = found.get("origins").and_then(Value::as_array);
    rows.cloned().with_context(|| format!("no rows: {found}"))
}

fn text(row: &Value, name: &str) -> String {
    row.get(name)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// The kernel drops: nothing answers. Long enough for an answer on a busy machine.
const REFUSED_AFTER: Duration = Duration::from_millis(1_500);
