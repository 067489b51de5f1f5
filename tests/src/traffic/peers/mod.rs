//! CrowdSec and fail2ban on the same traffic: each reads the log that the generator wrote, with the rules that it is
//! installed with, and says whom it bans.
//!
//! Neither is installed: `cargo xtask traffic` unpacks Debian's packages, and everything runs from there.

mod crowdsec;
mod fail2ban;

use std::{
    collections::HashMap,
    env, fs,
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// Software that bans by logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// CrowdSec with the parsers and scenarios of its hub that Debian ships.
    Crowdsec,
    /// fail2ban with its filter for sshd, and one for a login page.
    Fail2ban,
}

/// What wrote the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Log {
    /// nginx, combined.
    Nginx,
    /// sshd with ISO times.
    Sshd,
}

/// A ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Whom.
    pub client: IpAddr,
    /// From, milliseconds since the epoch.
    pub from_ms: u64,
    /// Until, milliseconds since the epoch.
    pub until_ms: u64,
}

/// What a run said.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Bans by address, in the order of time.
    bans: HashMap<IpAddr, Vec<Ban>>,
    /// How long reading the log took, without what the software takes to start.
    pub taken: Duration,
}

impl Peer {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Crowdsec, Self::Fail2ban];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crowdsec => "CrowdSec",
            Self::Fail2ban => "fail2ban",
        }
    }

    /// Whom it bans.
    ///
    /// # Errors
    /// The package is not unpacked, or the program failed; with what it said.
    pub fn read(self, path: &Path, log: Log) -> Result<Run> {
        let packages = packages()?;
        let run = match self {
            Self::Crowdsec => crowdsec::run(&packages, path, log, crowdsec::Scenarios::All),
            Self::Fail2ban => fail2ban::run(&packages, path, log),
        };
        run.with_context(|| format!("{} with {}", self.name(), path.display()))
    }

    /// Reads a log as fast as it can, for the time that it takes.
    ///
    /// # Errors
    /// As [`Peer::read`].
    pub fn speed(self, path: &Path) -> Result<Duration> {
        let packages = packages()?;
        match self {
            Self::Crowdsec => {
                let scenarios = crowdsec::Scenarios::Failures;
                Ok(crowdsec::run(&packages, path, Log::Nginx, scenarios)?.taken)
            }
            Self::Fail2ban => fail2ban::speed(&packages, path),
        }
    }
}

impl Run {
    /// Whether an address is banned at a moment, by a ban that began before it.
    #[must_use]
    pub fn refuses(&self, client: IpAddr, time_ms: u64) -> bool {
        self.bans.get(&client).is_some_and(|bans| {
            bans.iter()
                .any(|ban| ban.from_ms < time_ms && time_ms < ban.until_ms)
        })
    }

    /// Bans in the order of their beginning; one that begins within another one of the same address would not have
    /// come, for its attempts would have been refused.
    fn of(mut bans: Vec<Ban>, taken: Duration) -> Self {
        bans.sort_by_key(|ban| ban.from_ms);
        let mut run = Self {
            taken,
            ..Self::default()
        };
        for ban in bans {
            let known = run.bans.entry(ban.client).or_default();
            if known.last().is_none_or(|last| last.until_ms <= ban.from_ms) {
                known.push(ban);
            }
        }
        run
    }
}

/// Where `cargo xtask` has unpacked the packages.
fn packages() -> Result<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/peers");
    path.canonicalize().with_context(|| {
        "CrowdSec and fail2ban are not there: `cargo xtask traffic` and `cargo xtask bench` unpack them".to_owned()
    })
}

/// Runs a command to its end; its output and how long it took.
fn finished(command: &mut Command) -> Result<(Output, Duration)> {
    let begin = Instant::now();
    let output = command
        .env("TZ", "UTC")
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    let taken = begin.elapsed();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last: Vec<&str> = said.lines().rev().take(5).collect();
        bail!("{command:?}: {}: {}", output.status, last.join(" | "));
    }
    Ok((output, taken))
}

/// A folder of this run alone, that goes with it.
fn scratch() -> Result<tempfile::TempDir> {
    let base = env::temp_dir();
    fs::create_dir_all(&base)?;
    Ok(tempfile::Builder::new()
        .prefix("edgeward-peers-")
        .tempdir_in(base)?)
}
