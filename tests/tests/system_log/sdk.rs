//! Okta's own SDKs, unmodified, against the API over TLS: the log with filter and pages, the threat configuration read
//! and changed, zones made, changed and removed; and what that leads to.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use lab::{Agent, AgentConfig, Lab, Need, PYTHON, Result, TestFn, until};
use serde_json::{Value, json};

pub(crate) fn tests() -> Vec<(&'static str, TestFn, Need)> {
    vec![
        ("system_log_okta_sdk_python", python, needs_python),
        ("system_log_okta_sdk_node", node, needs_node),
        ("system_log_api_zones_last", zones_last, lab::needs_nothing),
    ]
}

const LISTEN: &str = "127.0.0.1:8443";
const SCOPES: [&str; 3] = [
    "okta.logs.read",
    "okta.threatInsights.manage",
    "okta.networkZones.manage",
];

/// An agent with the API, and a token.
struct World {
    lab: Lab,
    agent: Agent,
    token: String,
    certificate: PathBuf,
}

impl World {
    fn start(name: &str) -> Result<Self> {
        let lab = Lab::new(name)?;
        let certificate = lab.certificate("api", "IP:127.0.0.1")?;
        let config = |tables: &str| {
            AgentConfig::new("log")
                .zone("office", &["exempt"], &["198.51.100.128/26"])
                .toml(tables)
        };
        // The command that makes tokens needs no agent, and no configuration of them yet.
        let agent = Agent::prepare(&lab, &config(""))?;
        let scopes = SCOPES.iter().flat_map(|scope| ["--scope", *scope]);
        let config_path = text(agent.config_path())?;
        let words = ["token", "new", "sdk", "--config", config_path];
        let arguments: Vec<&str> = words.into_iter().chain(scopes).collect();
        let made = agent.cli_json(&arguments)?;
        let token = made["token"].as_str().context("a token")?.to_owned();
        let tables = format!(
            "[api]\nlisten = \"{LISTEN}\"\n[api.tls]\ncertificate = \"api.pem\"\nkey = \"api.key\"\n{}",
            made["toml"].as_str().context("a table")?
        );
        drop(agent);
        let agent = Agent::start(&lab, &config(&tables))?;
        let world = Self {
            lab,
            agent,
            token,
            certificate,
        };
        until("the API answers", || {
            Ok(world.ask("GET", "logs?limit=0", "")?.0 == "200")
        })?;
        Ok(world)
    }

    /// Status and body of a request by curl.
    fn ask(&self, method: &str, path: &str, body: &str) -> Result<(String, Value)> {
        let url = format!("https://{LISTEN}/api/v1/{path}");
        let authorization = format!("Authorization: Bearer {}", self.token);
        let output = self.lab.login.run(&[
            "curl",
            "--silent",
            "--max-time",
            "30",
            "--cacert",
            text(&self.certificate)?,
            "-X",
            method,
            "-H",
            &authorization,
            "--data",
            body,
            "--write-out",
            "\n%{http_code}",
            &url,
        ])?;
        let (body, status) = output.stdout.rsplit_once('\n').unwrap_or_default();
        Ok((
            status.to_owned(),
            serde_json::from_str(body).unwrap_or_default(),
        ))
    }

    /// Every event that a change through the API has made, by its type.
    fn changes(&self) -> Result<Vec<Value>> {
        let filter = "filter=actor.id%20eq%20%22token%20sdk%22&limit=1000";
        let (status, events) = self.ask("GET", &format!("logs?{filter}"), "")?;
        ensure!(status == "200", "{status}: {events}");
        Ok(events.as_array().cloned().unwrap_or_default())
    }

    fn report(&self, command: lab::Cmd) -> Result<Value> {
        let said = command.run()?.success().with_context(|| self.agent.log())?;
        serde_json::from_str(said.trim()).with_context(|| said)
    }
}

fn python() -> Result<()> {
    let world = World::start("log-sdk-python")?;
    let script = world.lab.write("sdk.py", include_str!("sdk.py"))?;
    let argv = [
        PYTHON,
        text(&script)?,
        &format!("https://{LISTEN}"),
        &world.token,
    ];
    let report = world.report(
        world
            .lab
            .login
            .command(&argv)
            .env("PYTHONPATH", text(&sdk("okta"))?)
            .env("SSL_CERT_FILE", text(&world.certificate)?),
    )?;
    let said = |key: &str| report[key].as_str().unwrap_or_default().to_owned();
    ensure!(report["action"] == "audit", "{report}");
    ensure!(
        report["zone"] == json!(["python", "ACTIVE", false]),
        "{report}"
    );
    ensure!(report["changed"] == json!(["block", true]), "{report}");
    ensure!(
        report["zones"] == json!([["office", true], ["python", false]]),
        "{report}"
    );
    ensure!(said("deactivated").contains("INACTIVE"), "{report}");
    ensure!(said("fixed").contains("E0000006"), "{report}");
    // Created, exempt, deactivated, activated, not exempt, deleted; the mode there and back.
    let polled = report["polled"].as_array().context("pages")?;
    ensure!(
        polled.len() > 3 && polled.last() == Some(&json!([])),
        "{report}"
    );
    ensure!(
        polled
            .iter()
            .all(|page| page.as_array().is_some_and(|page| page.len() <= 2)),
        "{report}"
    );
    let (bounded, ended) = (&report["bounded"][0], &report["bounded"][1]);
    ensure!(*ended == json!(true), "{report}");
    let bounded: Vec<&Value> = bounded
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(Value::as_array)
        .flatten()
        .collect();
    ensure!(
        json!(bounded)
            == json!([
                "zone.delete",
                "zone.activate",
                "zone.deactivate",
                "zone.create"
            ]),
        "{report}"
    );
    ensure!(
        report["found"] == json!([["token sdk", "SUCCESS", "python"]]),
        "{report}"
    );
    ensure!(said("bad_filter").contains("at position 10"), "{report}");
    ensure!(said("stranger").contains("E0000011"), "{report}");
    ensure!(
        !world.agent.log().contains(&world.token),
        "the token is in the log"
    );
    Ok(())
}

fn node() -> Result<()> {
    let world = World::start("log-sdk-node")?;
    let script = world.lab.write("sdk.js", include_str!("sdk.js"))?;
    let folder = sdk("okta-node");
    let argv = [
        "node",
        text(&script)?,
        text(&folder)?,
        &format!("https://{LISTEN}"),
        &world.token,
    ];
    let command = world.lab.login.command(&argv);
    let report = world.report(command.env("NODE_EXTRA_CA_CERTS", text(&world.certificate)?))?;
    let said = |key: &str| report[key].as_str().unwrap_or_default().to_owned();
    ensure!(report["action"] == "audit", "{report}");
    ensure!(
        report["zone"] == json!(["node", "ACTIVE", false]),
        "{report}"
    );
    ensure!(report["changed"] == json!(["block", true]), "{report}");
    ensure!(
        report["zones"] == json!([["office", true], ["node", false]]),
        "{report}"
    );
    ensure!(
        report["replaced"] == json!(["BLOCKLIST", ["203.0.113.16/28"]]),
        "{report}"
    );
    ensure!(said("gone").starts_with("404 E0000007"), "{report}");
    ensure!(
        report["bounded"]
            == json!([
                "zone.create",
                "zone.update",
                "zone.make_blacklist",
                "zone.delete"
            ]),
        "{report}"
    );
    ensure!(report["actors"] == json!(["token sdk"]), "{report}");
    ensure!(
        said("bad_filter").contains("E0000053") && said("bad_filter").contains("at position 10"),
        "{report}"
    );
    ensure!(said("stranger").starts_with("401 E0000011"), "{report}");
    Ok(())
}

/// A zone that was made is in force, survives the agent and its reload, and is gone when it is deleted.
fn zones_last() -> Result<()> {
    let mut world = World::start("log-zones-last")?;
    let zone = json!({
        "type": "IP", "name": "away", "usage": "BLOCKLIST", "gateways": [{"type": "CIDR", "value": "203.0.113.0/28"}],
    });
    let (status, made) = world.ask("POST", "zones", &zone.to_string())?;
    ensure!(status == "200", "{status}: {made}");
    let id = made["id"].as_str().context("an id")?.to_owned();
    let refused = |world: &World| -> Result<bool> {
        let explained = world.agent.cli_json(&["explain", "203.0.113.3"])?;
        Ok(explained["reason"] == "blocked_zone" && explained["zone"] == "away")
    };
    ensure!(refused(&world)?, "it is not in force");
    world.agent.cli_ok(&["reload"])?;
    ensure!(refused(&world)?, "a reload took it away");
    world.agent.kill9();
    world.agent.launch()?;
    ensure!(refused(&world)?, "it did not come back");
    ensure!(
        world.agent.cli_json(&["verify"])?["differences"]
            .as_array()
            .is_none_or(Vec::is_empty)
    );
    until("the API answers", || {
        Ok(world.ask("GET", "logs?limit=0", "")?.0 == "200")
    })?;
    // What guards the host stays as it is.
    let own = json!({ "name": "own", "usage": "BLOCKLIST", "gateways": [{"type": "CIDR", "value": format!("{}/32", world.lab.login.v4())}] });
    let (status, said) = world.ask("POST", "zones", &own.to_string())?;
    ensure!(
        status == "400" && said["errorCode"] == "E0000001",
        "{status}: {said}"
    );
    let (status, said) = world.ask("POST", &format!("zones/{id}/lifecycle/deactivate"), "")?;
    ensure!(
        status == "200" && said["status"] == "INACTIVE",
        "{status}: {said}"
    );
    ensure!(!refused(&world)?, "it is still in force");
    let (status, said) = world.ask("DELETE", &format!("zones/{id}"), "")?;
    ensure!(status == "204", "{status}: {said}");
    // On disk a moment after the last change was answered.
    until("the deletion is in the log", || {
        let events = world.changes()?;
        Ok(events
            .iter()
            .any(|event| event["eventType"] == "zone.delete"))
    })?;
    let events = world.changes()?;
    let types: Vec<&Value> = events.iter().map(|event| &event["eventType"]).collect();
    ensure!(
        json!(types)
            == json!([
                "zone.create",
                "zone.make_blacklist",
                "zone.deactivate",
                "zone.delete"
            ]),
        "{events:?}"
    );
    Ok(())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no UTF-8")
}

/// A folder of `cargo xtask setup`.
fn sdk(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/tools")
        .join(name)
}

fn needs_python() -> std::result::Result<(), String> {
    needs(&sdk("okta").join("okta"))
}

fn needs_node() -> std::result::Result<(), String> {
    needs(&sdk("okta-node").join("node_modules/@okta/okta-sdk-nodejs"))
}

fn needs(folder: &Path) -> std::result::Result<(), String> {
    if folder.is_dir() {
        Ok(())
    } else {
        Err("Okta's SDK is not there: run `cargo xtask setup test`".to_owned())
    }
}
