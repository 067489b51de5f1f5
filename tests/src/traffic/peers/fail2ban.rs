//! fail2ban: its filter and its failure counter, at the time of the log.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result};

use super::{Ban, Log, Run, finished};
use crate::PYTHON;

pub(super) fn run(packages: &Path, log: &Path, kind: Log) -> Result<Run> {
    let filter = match kind {
        Log::Nginx => LOGIN_PAGE,
        Log::Sshd => "sshd",
    };
    let mut command = Command::new(PYTHON);
    command.arg(here().join("fail2ban.py")).arg(packages);
    let (output, taken) = finished(command.arg(filter).arg(log))?;
    let text = String::from_utf8(output.stdout).context("its output is no text")?;
    let bans: Option<Vec<Ban>> = text.lines().map(ban).collect();
    Ok(Run::of(
        bans.context("a line of its output is no ban")?,
        taken,
    ))
}

/// `fail2ban-regex`, its own tool to run a filter over a file, without what it takes for an empty one.
pub(super) fn speed(packages: &Path, log: &Path) -> Result<Duration> {
    let folder = super::scratch()?;
    let empty = folder.path().join("empty.log");
    fs::write(&empty, "")?;
    let run = |log: &Path| {
        let mut command = Command::new(PYTHON);
        command
            .env("PYTHONPATH", packages.join("usr/lib/python3/dist-packages"))
            .arg(packages.join("usr/bin/fail2ban-regex"))
            .args(["--print-no-missed", "--print-no-ignored", "--usedns=no"])
            .arg(log)
            .arg(here().join("filter.d").join(format!("{LOGIN_PAGE}.conf")));
        finished(&mut command).map(|(_, taken)| taken)
    };
    let start = run(&empty)?;
    Ok(run(log)?.saturating_sub(start))
}

fn ban(line: &str) -> Option<Ban> {
    let mut words = line.split(' ');
    let client = words.next()?.parse().ok()?;
    let mut seconds = || words.next()?.parse::<u64>().ok();
    Some(Ban {
        client,
        from_ms: seconds()? * 1_000,
        until_ms: seconds()? * 1_000,
    })
}

fn here() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/traffic/peers")
}

const LOGIN_PAGE: &str = "login-page";
