//! A real TAXII 2.1 server, medallion, as a feed.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use lab::{Agent, Lab, Need, PYTHON, Process, Result, TestFn};
use serde_json::{Value, json};

use crate::world::{all_pass, listens, refresh, refresh_fails, secret, show, text, zones};

pub(crate) fn tests() -> Vec<(&'static str, TestFn, Need)> {
    vec![("feeds_taxii_indicators", indicators, needs_medallion)]
}

const ROOT: &str = "http://127.0.0.1:8060/lab";
const COLLECTION: &str = "91a7b528-80eb-42ed-a74d-c6fbd5a26116";

/// Indicators come page by page, later versions replace earlier ones, and what is revoked goes.
fn indicators() -> Result<()> {
    let lab = Lab::new("feeds-indicators")?;
    let server = serve(&lab)?;
    let many: Vec<Value> = (1..=5)
        .map(|n| {
            indicator(
                n,
                "2026-01-01T00:00:00.000Z",
                &format!("[ipv4-addr:value = '203.0.113.{n}']"),
                false,
            )
        })
        .collect();
    add(&lab, &many)?;

    secret(&lab, "taxii.key", "edgeward:s3cret\n")?;
    let feed = format!(
        "[[feed]]\nname = \"taxii\"\nurl = \"{ROOT}/\"\nformat = \"taxii\"\ninterval = \"1h\"\nkey_file = \"taxii.key\"\n"
    );
    let agent = Agent::start(&lab, &zones("block").toml(&feed))?;
    refresh(&agent, "taxii")?;
    let first = show(&agent, "taxii")?;
    ensure!(first["entries"] == 5, "{first}\n{}", agent.log());
    all_pass(&lab, false, &["203.0.113.1", "203.0.113.5"])?;
    let explained = agent.cli_json(&["explain", "203.0.113.1"])?;
    ensure!(
        explained["detail"] == "indicator 1" && explained["feed"] == "taxii",
        "{explained}"
    );

    // A new one, a later version with another address, one that is taken back, one that names no address.
    add(
        &lab,
        &[
            indicator(
                6,
                "2026-01-01T00:00:00.000Z",
                "[ipv4-addr:value ISSUBSET '203.0.113.128/25']",
                false,
            ),
            indicator(
                1,
                "2026-02-01T00:00:00.000Z",
                "[ipv4-addr:value = '203.0.113.66']",
                false,
            ),
            indicator(
                2,
                "2026-02-01T00:00:00.000Z",
                "[ipv4-addr:value = '203.0.113.2']",
                true,
            ),
            indicator(7, "2026-01-01T00:00:00.000Z", "[file:name = 'x']", false),
        ],
    )?;
    let second = refresh(&agent, "taxii")?;
    ensure!(second["added"] == 2 && second["removed"] == 2, "{second}");
    all_pass(
        &lab,
        false,
        &["203.0.113.66", "203.0.113.200", "203.0.113.3"],
    )?;
    all_pass(&lab, true, &["203.0.113.1", "203.0.113.2"])?;
    let third = refresh(&agent, "taxii")?;
    ensure!(third["changed"] == false, "{third}");
    secret(&lab, "taxii.key", "edgeward:wrong\n")?;
    let said = refresh_fails(&agent, "taxii")?;
    ensure!(said.contains("answers 401"), "{said}");
    all_pass(&lab, false, &["203.0.113.66"])?;
    ensure!(!agent.log().contains("s3cret"), "{}", agent.log());
    drop(server);
    Ok(())
}

/// medallion with an empty collection, on the login host's loopback.
fn serve(lab: &Lab) -> Result<Process> {
    let data = json!({
        "/discovery": { "title": "lab", "default": format!("{ROOT}/"), "api_roots": [format!("{ROOT}/")] },
        "lab": {
            "information": { "title": "lab", "versions": [TYPE], "max_content_length": 1_000_000 },
            "status": [],
            "collections": [{
                "id": COLLECTION, "title": "attackers", "description": "", "can_read": true, "can_write": true,
                "media_types": ["application/stix+json;version=2.1"], "objects": [], "manifest": [],
            }],
        },
    });
    let data = lab.write("medallion-data.json", &data.to_string())?;
    let config = json!({
        "backend": {
            "module": "medallion.backends.memory_backend", "module_class": "MemoryBackend", "filename": text(&data)?,
        },
        "users": { "edgeward": "s3cret" },
        "taxii": { "max_page_size": 2 },
    });
    let config = lab.write("medallion.json", &config.to_string())?;
    let medallion = medallion();
    let server = lab
        .login
        .command(&[
            PYTHON,
            "-c",
            "from medallion.scripts.run import main; main()",
            "--host",
            "127.0.0.1",
            "--port",
            "8060",
            text(&config)?,
        ])
        .env("PYTHONPATH", text(&medallion)?)
        .spawn()?;
    listens(&lab.login, "127.0.0.1:8060".parse()?, &server)?;
    Ok(server)
}

const TYPE: &str = "application/taxii+json;version=2.1";

fn indicator(number: u32, modified: &str, pattern: &str, revoked: bool) -> Value {
    json!({
        "type": "indicator", "spec_version": "2.1", "id": format!("indicator--00000000-0000-4000-8000-{number:012}"),
        "created": "2026-01-01T00:00:00.000Z", "modified": modified, "name": format!("indicator {number}"),
        "pattern": pattern, "pattern_type": "stix", "valid_from": "2026-01-01T00:00:00.000Z", "revoked": revoked,
        "indicator_types": ["malicious-activity"],
    })
}

/// Puts objects on the server, as another client of it would.
fn add(lab: &Lab, objects: &[Value]) -> Result<()> {
    let body = lab.write("envelope.json", &json!({ "objects": objects }).to_string())?;
    let body = format!("@{}", text(&body)?);
    let url = format!("{ROOT}/collections/{COLLECTION}/objects/");
    let answer = lab.login.run(&[
        "curl",
        "--silent",
        "--show-error",
        "--fail",
        "--max-time",
        "20",
        "-u",
        "edgeward:s3cret",
        "-H",
        &format!("Accept: {TYPE}"),
        "-H",
        &format!("Content-Type: {TYPE}"),
        "--data-binary",
        &body,
        &url,
    ])?;
    let answer = answer.success()?;
    ensure!(answer.contains("\"failure_count\": 0"), "{answer}");
    Ok(())
}

/// Where `cargo xtask setup` unpacks it.
fn medallion() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/medallion")
}

fn needs_medallion() -> std::result::Result<(), String> {
    if medallion().join("medallion").is_dir() {
        Ok(())
    } else {
        Err("medallion is not there: run `cargo xtask setup test`".to_owned())
    }
}
