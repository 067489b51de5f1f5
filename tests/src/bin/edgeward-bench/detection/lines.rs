//! Lines of an access log a second: `edgeward replay` beside CrowdSec and fail2ban on the same file.

use std::{
    fmt::Write as _,
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::ensure;
use lab::{
    Result,
    traffic::{Format, Parameters, generate, peers::Peer, write},
};

use crate::{
    settings::Settings,
    stats::{median, quantile},
    targets::Target,
};

/// What was measured.
#[derive(Debug, Clone)]
pub(crate) struct Lines {
    lines: usize,
    bytes: u64,
    /// Lines a second of each round.
    edgeward: Vec<f64>,
    peers: Vec<(Peer, f64)>,
    missing: Vec<String>,
}

impl Lines {
    pub(crate) fn measure(settings: &Settings) -> Result<Self> {
        eprintln!("detection: lines of an access log");
        let traffic = Parameters {
            people: if settings.quick { 300 } else { 5_000 },
            days: if settings.quick { 2 } else { 7 },
            ..Parameters::default()
        };
        let attempts = generate(&traffic);
        let folder = tempfile::tempdir()?;
        let log = folder.path().join("access.log");
        let mut file = BufWriter::new(File::create(&log)?);
        write(&attempts, Format::Nginx, &mut file)?;
        file.flush()?;
        let per_second = |taken: Duration| per_second(attempts.len(), taken);
        let mut edgeward = Vec::new();
        for _ in 0..settings.rounds {
            edgeward.push(per_second(replay(&log)?));
        }
        let mut peers = Vec::new();
        let mut missing = Vec::new();
        for peer in Peer::ALL {
            match peer.speed(&log) {
                Ok(taken) => peers.push((peer, per_second(taken))),
                Err(error) => missing.push(format!("{}: {error:#}", peer.name())),
            }
        }
        Ok(Self {
            lines: attempts.len(),
            bytes: log.metadata()?.len(),
            edgeward,
            peers,
            missing,
        })
    }

    /// Against CrowdSec alone; fail2ban is shown beside it.
    pub(crate) fn targets(&self) -> Vec<Target> {
        let ours = median(&self.edgeward);
        let crowdsec = self
            .peers
            .iter()
            .filter(|(peer, _)| *peer == Peer::Crowdsec);
        let target = |(peer, theirs): &(Peer, f64)| {
            let what = format!("lines replayed a second, against {}", peer.name());
            Target::at_least(what, 20.0, ours / theirs, |times| format!("{times:.0} ×"))
        };
        crowdsec.map(target).collect()
    }

    pub(crate) fn markdown(&self, text: &mut String) {
        let ours = median(&self.edgeward);
        let _infallible = writeln!(
            text,
            "\n## Lines of a log\n\n\
             An access log of {} lines and {:.1} MB (`cargo xtask traffic write --format nginx`), each tool on the whole file. \
             Edgeward: `edgeward replay`, start to end, on one core. CrowdSec: `crowdsec -dsn` with the parsers for nginx and \
             the scenarios that count failed sign-ins; fail2ban: `fail2ban-regex` with one filter; both without what they take \
             for an empty file, and CrowdSec on all cores.\n\n\
             | Tool | lines a second | lowest–highest | Edgeward's times |\n|---|---|---|---|\n\
             | **Edgeward** | {ours:.0} | {:.0}–{:.0} | |",
            self.lines,
            megabytes(self.bytes),
            quantile(&self.edgeward, 0.0),
            quantile(&self.edgeward, 1.0),
        );
        for (peer, theirs) in &self.peers {
            let times = ours / theirs;
            let _infallible = writeln!(text, "| {} | {theirs:.0} | | {times:.0} |", peer.name());
        }
        for missing in &self.missing {
            let _infallible = writeln!(text, "\nNot measured: {missing}");
        }
    }
}

/// One run of the command over the file.
fn replay(log: &Path) -> Result<Duration> {
    let mut command = Command::new(lab::binary()?);
    command
        .args(["replay", "--format", "nginx", "--json"])
        .arg(log);
    let begin = Instant::now();
    let output = command.output()?;
    let taken = begin.elapsed();
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {said}");
    Ok(taken)
}

#[expect(clippy::cast_precision_loss, reason = "some hundred thousand lines")]
fn per_second(lines: usize, taken: Duration) -> f64 {
    lines as f64 / taken.as_secs_f64().max(1e-9)
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
