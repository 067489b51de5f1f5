//! Streams to receivers of particular makers, which are killed, slowed and made to answer 400, 429, 503 and garbage in the
//! middle: afterwards every event of the log is accounted for.

mod documents;
mod eventbridge;
mod receivers;

use std::{
    collections::BTreeSet,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use lab::{Agent, Lab, Need, Result, TestFn, needs_nothing};
use serde_json::Value;

use super::streams::world::{logged, received};

pub(crate) fn tests() -> Vec<(&'static str, TestFn, Need)> {
    vec![
        (
            "sinks_splunk_with_acknowledgement",
            receivers::splunk,
            needs_nothing,
        ),
        ("sinks_datadog", receivers::datadog, needs_nothing),
        ("sinks_sentinel", receivers::sentinel, needs_nothing),
        ("sinks_otlp_protobuf", receivers::otlp_protobuf, needed),
        ("sinks_otlp_json", receivers::otlp_json, needed),
        ("sinks_documents_of_ecs", documents::ecs, needs_nothing),
        ("sinks_documents_of_ocsf", documents::ocsf, needed),
        ("sinks_eventbridge", eventbridge::signed, needed),
    ]
}

/// Where `cargo xtask setup` unpacks moto and the messages of OpenTelemetry.
fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/sinks")
}

fn needed() -> std::result::Result<(), String> {
    let there = |name: &str| tools().join(name).is_dir();
    if there("moto") && there("ocsf_json_schema") {
        Ok(())
    } else {
        Err("moto or OCSF's schema is not there: run `cargo xtask setup test`".to_owned())
    }
}

/// The folder in which a receiver keeps what it has taken, and is told what to do.
struct Folder(PathBuf);

impl Folder {
    fn new(lab: &Lab) -> Result<Self> {
        lab.write("receiver/script", "")?;
        Ok(Self(lab.directory().join("receiver")))
    }

    /// What the next requests get, a word each; then everything is taken.
    fn does(&self, words: &[&str]) -> Result<()> {
        let aside = self.0.join("script.new");
        std::fs::write(&aside, words.join("\n"))?;
        Ok(std::fs::rename(aside, self.0.join("script"))?)
    }

    fn is_done(&self) -> bool {
        let script = std::fs::read_to_string(self.0.join("script"));
        script.is_ok_and(|text| text.trim().is_empty())
    }

    fn poison(&self, text: &str) -> Result<()> {
        Ok(std::fs::write(self.0.join("poison"), text)?)
    }

    fn lines(&self, name: &str) -> BTreeSet<String> {
        let text = std::fs::read_to_string(self.0.join(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Everything in the log has arrived but for what is known to be missing, and nothing else; at most so many came more
    /// than once, and nothing was written as the receiver's maker does not want it.
    fn accounted(&self, agent: &Agent, missing: usize, doubled_max: usize) -> Result<()> {
        let faults = self.lines("faults");
        ensure!(faults.is_empty(), "wrong requests: {faults:?}");
        let (log, there) = (logged(agent)?, received(&self.0.join("received"))?);
        let known: BTreeSet<String> = &self.lines("rejected") | &dead_letters(agent)?;
        let lost: BTreeSet<String> = log
            .iter()
            .filter(|id| !there.contains_key(*id))
            .cloned()
            .collect();
        ensure!(
            lost == known && known.len() == missing,
            "missing: {lost:?}, and not {known:?} ({missing})\n{}",
            agent.log()
        );
        let strange: Vec<_> = there.keys().filter(|id| !log.contains(*id)).collect();
        ensure!(strange.is_empty(), "not in the log: {strange:?}");
        let doubled = there.values().filter(|times| **times > 1).count();
        ensure!(
            doubled <= doubled_max,
            "{doubled} of {} came more than once",
            log.len()
        );
        Ok(())
    }
}

/// The ids of the stream's dead letters.
fn dead_letters(agent: &Agent) -> Result<BTreeSet<String>> {
    let path = agent.state_dir().join("streams/siem.dead");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let id = |line: &str| -> Result<String> {
        let letter: Value = serde_json::from_str(line)?;
        Ok(letter["id"].as_str().context("no id")?.to_owned())
    };
    text.lines().map(id).collect()
}

/// A file of mode 0600.
fn secret(lab: &Lab, name: &str, text: &str) -> Result<()> {
    let path = lab.write(name, text)?;
    Ok(std::fs::set_permissions(
        path,
        std::fs::Permissions::from_mode(0o600),
    )?)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no UTF-8")
}
