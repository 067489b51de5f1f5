//! A list file from `edgeward reload` to enforced, and what it costs in memory.

use std::os::fd::AsFd;
use std::time::Instant;

use anyhow::{Context, ensure};
use lab::xdp::{Action, attached_program, test_run};
use lab::{Agent, AgentConfig, EDGE, Lab, Result};

use crate::contenders::{Peer, PeerLab, start_agent};
use crate::settings::Settings;
use crate::sys::{self, MapFacts};
use crate::traffic::{Family, Population, frame_from};

/// What loading came to.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    /// Lines of the file.
    pub(crate) lines: usize,
    /// Seconds from the start of `edgeward reload` to its end, nothing listed before; one value a round.
    pub(crate) fresh: Vec<f64>,
    /// The same where a list of the same length was listed before, half of it the same.
    pub(crate) replaced: Vec<f64>,
    /// The program's maps with the list in force.
    pub(crate) maps: Vec<MapFacts>,
    /// The agent's `VmRSS`, `RssAnon` and `VmHWM` then, in bytes.
    pub(crate) resident: u64,
    pub(crate) anonymous: u64,
    pub(crate) peak: u64,
    /// Seconds that a peer took to load the same set.
    pub(crate) peers: Vec<(Peer, f64)>,
}

impl Load {
    /// Bytes of all maps.
    pub(crate) fn kernel(&self) -> u64 {
        self.maps.iter().map(|map| map.memory).sum()
    }
}

/// Loads the largest IPv4 list a few times into an agent with default capacity.
pub(crate) fn measure(
    settings: &Settings,
    population: &Population,
    peers: &[PeerLab],
) -> Result<Load> {
    let lines = settings.largest();
    let lab = Lab::new("bench-load")?;
    let file = population.file(Family::V4, lines);
    lab.write("first.txt", &file)?;
    lab.write("second.txt", &half_other(population, lines))?;
    let empty = AgentConfig::new("block");
    let first = empty.clone().list_files("bench", 100, &["first.txt"]);
    let second = empty.clone().list_files("bench", 100, &["second.txt"]);
    let agent = start_agent(&lab, &empty)?;
    let mut load = Load {
        lines,
        fresh: Vec::new(),
        replaced: Vec::new(),
        maps: Vec::new(),
        resident: 0,
        anonymous: 0,
        peak: 0,
        peers: peers
            .iter()
            .filter(|peer| peer.entries == lines)
            .map(|peer| (peer.peer, peer.load))
            .collect(),
    };
    for round in 0..settings.rounds.min(ROUNDS_MAX) {
        eprintln!("load: round {}", round + 1);
        load.fresh.push(reload(&agent, &first)?);
        check(&lab, population, lines)?;
        if round == 0 {
            let program = attached_program(&lab.login, EDGE)?;
            load.maps = sys::maps_of(program.as_fd())?
                .into_iter()
                .map(|(_, facts)| facts)
                .collect();
            let status = Status::of(&agent)?;
            load.resident = status.bytes("VmRSS")?;
            load.anonymous = status.bytes("RssAnon")?;
            agent.cli_ok(&["verify"])?;
        }
        load.replaced.push(reload(&agent, &second)?);
        agent.reconfigure(&empty)?;
        agent.cli_ok(&["reload"])?;
    }
    load.peak = Status::of(&agent)?.bytes("VmHWM")?;
    Ok(load)
}

fn reload(agent: &Agent, config: &AgentConfig) -> Result<f64> {
    agent.reconfigure(config)?;
    let begin = Instant::now();
    agent.cli_ok(&["reload"])?;
    Ok(begin.elapsed().as_secs_f64())
}

/// The command has returned: listed sources are refused by now, others are not.
fn check(lab: &Lab, population: &Population, lines: usize) -> Result<()> {
    let program = attached_program(&lab.login, EDGE)?;
    let listed = population.listed(Family::V4, lines);
    let step = (lines / CHECKED).max(1);
    let listed = listed
        .into_iter()
        .step_by(step)
        .map(|address| (address, Action::Drop));
    let others = population.others(Family::V4, CHECKED);
    let others = others.into_iter().map(|address| (address, Action::Pass));
    for (address, expected) in listed.chain(others) {
        let run = test_run(program.as_fd(), &frame_from(address), 1)?;
        ensure!(
            run.action == expected,
            "{address}: {:?}, not {expected:?}",
            run.action
        );
    }
    Ok(())
}

/// A list as long of which half is the first one's.
fn half_other(population: &Population, lines: usize) -> String {
    let kept = population.listed(Family::V4, lines / 2);
    let new = population.others(Family::V4, lines - lines / 2);
    kept.into_iter()
        .chain(new)
        .map(|address| format!("{address}\n"))
        .collect()
}

/// `/proc/PID/status`.
struct Status(String);

impl Status {
    fn of(agent: &Agent) -> Result<Self> {
        let id = agent.id().context("the agent does not run")?;
        Ok(Self(std::fs::read_to_string(format!("/proc/{id}/status"))?))
    }

    fn bytes(&self, name: &str) -> Result<u64> {
        let line = self
            .0
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kilobytes = line.and_then(|rest| rest.split_whitespace().next());
        Ok(kilobytes
            .with_context(|| format!("no {name}"))?
            .parse::<u64>()?
            * 1024)
    }
}

/// Sources of each kind that are looked at after a load.
const CHECKED: usize = 2000;
/// Loads of each kind; they take long and differ little.
const ROUNDS_MAX: usize = 5;
