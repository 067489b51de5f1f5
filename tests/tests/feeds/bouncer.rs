//! Edgeward's own local API: asked by hand, and by CrowdSec's firewall bouncer.

use anyhow::ensure;
use lab::{Agent, Lab, Need, Result, TestFn, needs_nothing};
use serde_json::{Value, json};

use crate::world::{KEY, listens, needs_bouncer, peer, secret, text, until, zones};

pub(crate) fn tests() -> Vec<(&'static str, TestFn, Need)> {
    vec![
        ("feeds_lapi_answers", answers, needs_nothing),
        (
            "feeds_lapi_serves_the_bouncer_of_crowdsec",
            bouncer,
            needs_bouncer,
        ),
    ]
}

const URL: &str = "http://127.0.0.1:8090";

fn start(lab: &Lab, mode: &str) -> Result<Agent> {
    secret(lab, "bouncer.key", KEY)?;
    secret(lab, "other.key", "another-key")?;
    let config = zones(mode).list("bad", 100, &["203.0.113.5"]).toml(
        "[lapi]\nlisten = \"127.0.0.1:8090\"\n\
         [[lapi.bouncer]]\nname = \"firewall\"\nkey_file = \"bouncer.key\"\n\
         [[lapi.bouncer]]\nname = \"other\"\nkey_file = \"other.key\"\n",
    );
    Agent::start(lab, &config)
}

/// Asks with curl; the status and the JSON.
fn ask(lab: &Lab, key: &str, path: &str) -> Result<(String, Value)> {
    let (header, url) = (format!("X-Api-Key: {key}"), format!("{URL}{path}"));
    let answer = lab.login.run(&[
        "curl",
        "--silent",
        "--show-error",
        "--max-time",
        "20",
        "--retry",
        "5",
        "--retry-connrefused",
        "-w",
        "\n%{http_code}",
        "-H",
        &header,
        &url,
    ])?;
    let answer = answer.success()?;
    let (body, status) = answer.rsplit_once('\n').unwrap_or(("", &answer));
    let json = serde_json::from_str(body).unwrap_or(Value::Null);
    Ok((status.to_owned(), json))
}

fn values(list: &Value) -> Vec<String> {
    let mut values: Vec<String> = list
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| one["value"].as_str().unwrap_or_default().to_owned())
        .collect();
    values.sort();
    values
}

fn answers() -> Result<()> {
    let lab = Lab::new("feeds-answers")?;
    let mut agent = start(&lab, "block")?;
    let stream = |query: &str| ask(&lab, KEY, &format!("/v1/decisions/stream{query}"));
    let (status, all) = stream("?startup=true")?;
    ensure!(
        status == "200" && values(&all["new"]) == ["203.0.113.5"],
        "{all}"
    );
    ensure!(all["deleted"].is_null(), "{all}");
    ensure!(stream("")?.1 == json!({ "deleted": null, "new": null }));
    agent.cli_ok(&["block", "203.0.113.66", "--for", "1h", "--reason", "spray"])?;
    agent.cli_ok(&["block", "198.51.100.0/24", "--force"])?;
    let (_, new) = stream("?startup=false")?;
    let carved = ["198.51.100.0/26", "198.51.100.192/26", "203.0.113.66"];
    ensure!(
        values(&new["new"]) == carved,
        "proxies and the exempt are carved out: {new}"
    );
    let row = new["new"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|one| one["value"] == "203.0.113.66");
    let row = row.cloned().unwrap_or_default();
    ensure!(
        row["type"] == "ban"
            && row["scope"] == "Ip"
            && row["scenario"] == "spray"
            && row["origin"] == "operator",
        "{row}"
    );
    ensure!(
        row["duration"]
            .as_str()
            .unwrap_or_default()
            .starts_with("59m"),
        "{row}"
    );
    // Another bouncer has its own place in the stream.
    let (_, other) = ask(&lab, "another-key", "/v1/decisions/stream")?;
    ensure!(values(&other["new"]).len() == 4, "{other}");
    agent.cli_ok(&["unblock", "203.0.113.66"])?;
    let (_, gone) = stream("")?;
    ensure!(
        values(&gone["deleted"]) == ["203.0.113.66"] && gone["new"].is_null(),
        "{gone}"
    );
    ensure!(gone["deleted"][0]["id"] == row["id"], "{gone}");

    filtered(&lab)?;
    ensure!(ask(&lab, "wrong", "/v1/decisions")?.0 == "403");
    ensure!(ask(&lab, KEY, "/v1/alerts")?.0 == "404");
    ensure!(ask(&lab, KEY, "/v1/decisions?ip=nobody")?.0 == "400");
    agent.cli_ok(&["mode", "log"])?;
    let (_, all) = stream("?startup=true")?;
    ensure!(
        all["new"].is_null(),
        "in log mode nothing is enforced: {all}"
    );
    ensure!(!agent.log().contains(KEY), "a key is in the log");
    ensure!(agent.stop()? == 0);
    Ok(())
}

/// Filters of the stream, and questions about single networks.
fn filtered(lab: &Lab) -> Result<()> {
    let stream = |query: &str| ask(lab, KEY, &format!("/v1/decisions/stream{query}"));
    for (query, wanted) in [
        (
            "&scopes=range",
            vec!["198.51.100.0/26", "198.51.100.192/26"],
        ),
        ("&origins=list", vec!["203.0.113.5"]),
        ("&scenarios_containing=BAD", vec!["203.0.113.5"]),
        (
            "&scenarios_not_containing=bad,x",
            vec!["198.51.100.0/26", "198.51.100.192/26"],
        ),
    ] {
        let (_, found) = stream(&format!("?startup=true{query}"))?;
        ensure!(values(&found["new"]) == wanted, "{query}: {found}");
    }
    for (query, wanted) in [
        ("ip=203.0.113.5", vec!["203.0.113.5"]),
        ("ip=198.51.100.10", vec!["198.51.100.0/26"]),
        ("ip=198.51.100.130", vec![]),
        ("range=203.0.113.0/24", vec!["203.0.113.5"]),
        ("scope=Ip&value=203.0.113.5", vec!["203.0.113.5"]),
    ] {
        let (status, found) = ask(lab, KEY, &format!("/v1/decisions?{query}"))?;
        ensure!(
            status == "200" && values(&found) == wanted,
            "{query}: {found}"
        );
    }
    Ok(())
}

/// What CrowdSec's bouncer puts into nftables is what Edgeward enforces.
fn bouncer() -> Result<()> {
    let lab = Lab::new("feeds-bouncer")?;
    let agent = start(&lab, "block")?;
    agent.cli_ok(&["block", "203.0.113.66"])?;
    agent.cli_ok(&["block", "2001:db8:bad::66"])?;
    listens(
        &lab.login,
        "127.0.0.1:8090".parse()?,
        &lab.login.spawn(&["true"])?,
    )?;
    let folder = lab.directory().display().to_string();
    let yaml = format!(
        "mode: nftables\npid_dir: {folder}\nupdate_frequency: 1s\ndaemonize: false\nlog_mode: stdout\n\
         log_dir: {folder}\nlog_level: info\napi_url: {URL}/\napi_key: {KEY}\ndisable_ipv6: false\n\
         deny_action: DROP\ndeny_log: false\nsupported_decisions_types:\n  - ban\n\
         blacklists_ipv4: crowdsec-blacklists\nblacklists_ipv6: crowdsec6-blacklists\n\
         nftables:\n  ipv4:\n    enabled: true\n    set-only: false\n    table: crowdsec\n    chain: crowdsec-chain\n  \
         ipv6:\n    enabled: true\n    set-only: false\n    table: crowdsec6\n    chain: crowdsec6-chain\n\
         prometheus:\n  enabled: false\n"
    );
    let path = secret(&lab, "bouncer.yaml", &yaml)?;
    let mut bouncer = lab
        .login
        .spawn(&[&peer("crowdsec-firewall-bouncer"), "-c", text(&path)?])?;
    let mut listed = |address: &str, wanted: bool| -> Result<()> {
        let what = format!(
            "{address} {} in nftables",
            if wanted { "is" } else { "is not" }
        );
        let so = until(&what, || {
            let rules = lab.login.run(&["nft", "list", "ruleset"])?.success()?;
            ensure!(
                bouncer.running(),
                "{}{}",
                bouncer.stdout(),
                bouncer.stderr()
            );
            Ok(rules.contains(address) == wanted)
        });
        so.map_err(|error| error.context(format!("{}{}", bouncer.stdout(), bouncer.stderr())))
    };
    listed("203.0.113.5", true)?;
    listed("203.0.113.66", true)?;
    listed("2001:db8:bad::66", true)?;
    agent.cli_ok(&["block", "203.0.113.70"])?;
    listed("203.0.113.70", true)?;
    agent.cli_ok(&["unblock", "203.0.113.66"])?;
    listed("203.0.113.66", false)?;
    listed("203.0.113.5", true)?;
    Ok(())
}
