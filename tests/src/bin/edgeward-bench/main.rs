//! `cargo xtask bench`: measures Edgeward and its peers side by side, prints figures beside their targets, and
//! regenerates `docs/performance.md` and its plot on demand.
//!
//! Ratios within one run are what counts: the machine may be busy, so every round visits every contender.

mod asm;
mod block;
mod chain;
mod contenders;
mod detection;
mod load;
mod log;
mod plot;
mod programs;
mod proxied;
mod report;
mod settings;
mod stats;
mod sys;
mod targets;
mod throughput;
mod traffic;
mod verdict;
mod xdp_filter;

use std::fs;
use std::path::Path;

use anyhow::Context;
use lab::Result;

use crate::contenders::{AgentLab, FloorLab, Peer, PeerLab};
use crate::detection::Detection;
use crate::log::Log;
use crate::proxied::Proxied;
use crate::report::Figures;
use crate::settings::{Part, Settings};
use crate::throughput::Stage;
use crate::traffic::Population;

fn main() -> Result<()> {
    let Some(settings) = Settings::from_arguments(std::env::args().skip(1))? else {
        return Ok(());
    };
    lab::preconditions().map_err(anyhow::Error::msg)?;
    let figures = run(&settings)?;
    let text = figures.markdown();
    println!("{}\n{text}", figures.machine);
    if settings.write {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        write(&docs, &figures, &text)?;
    }
    Ok(())
}

/// Sets everything up once and runs the parts that were asked for.
fn run(settings: &Settings) -> Result<Figures> {
    let mut figures = Figures {
        machine: machine()?,
        rounds: settings.rounds,
        largest: settings.largest(),
        ..Figures::default()
    };
    let (gateway, endpoint) = (settings.runs(Part::Gateway), settings.runs(Part::Endpoint));
    figures.proxied = Proxied::measure(settings, gateway, endpoint)?;
    if settings.runs(Part::Chain) {
        figures.chains = chain::measure(settings)?;
    }
    if settings.runs(Part::Detection) {
        figures.detection = Detection::measure(settings)?;
    }
    if settings.runs(Part::Log) {
        figures.log = Log::measure(settings)?;
    }
    if !Part::KERNEL.iter().any(|part| settings.runs(*part)) {
        return Ok(figures);
    }
    eprintln!("setting up: lists, agents, peers");
    let population = Population::draw(settings.largest());
    let agents = ready_agents(settings, &population, None)?;
    let beside = match &settings.beside {
        Some(binary) => ready_agents(settings, &population, Some(binary))?,
        None => Vec::new(),
    };
    let floor = FloorLab::new(agents.last().context("no agent")?)?;
    let mut peers = Vec::new();
    if settings.runs(Part::Throughput) || settings.runs(Part::Load) {
        peers = ready_peers(settings, &population, &mut figures.missing);
    }
    if settings.runs(Part::Throughput) {
        figures.cases =
            Stage::new(settings, &population, &floor, &agents, &beside, &peers)?.measure()?;
    }
    if settings.runs(Part::Verdict) {
        figures.costs = verdict::measure(settings, &population, &floor, &agents)?;
    }
    if settings.runs(Part::Block) {
        figures.block = Some(block::measure(settings, &population, &agents)?);
    }
    if settings.runs(Part::Load) {
        figures.load = Some(load::measure(settings, &population, &peers)?);
    }
    Ok(figures)
}

/// Agents with lists of each size.
fn ready_agents(
    settings: &Settings,
    population: &Population,
    binary: Option<&Path>,
) -> Result<Vec<AgentLab>> {
    let sizes = settings.sizes.iter();
    sizes
        .map(|entries| AgentLab::new(population, *entries, binary))
        .collect()
}

/// The peers that this machine can run, each with the largest list it holds.
fn ready_peers(
    settings: &Settings,
    population: &Population,
    missing: &mut Vec<String>,
) -> Vec<PeerLab> {
    let largest = settings.largest();
    let mut ready = Vec::new();
    for (peer, entries) in [
        (Peer::Nft, largest),
        (Peer::Ipset, largest),
        (Peer::XdpFilter, largest.min(xdp_filter::CAPACITY)),
    ] {
        match PeerLab::new(population, peer, entries) {
            Ok(lab) => ready.push(lab),
            Err(error) => {
                eprintln!("{} cannot be measured: {error:#}", peer.name());
                // Only the first line: the rest is the peer's own output.
                let reason = format!("{error:#}")
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                missing.push(format!("{}: {reason}", peer.name()));
            }
        }
    }
    ready
}

/// One paragraph: processor, kernel, how busy the machine was at the start.
fn machine() -> Result<String> {
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let field = |name: &str| {
        let line = cpu.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(": "))
            .map_or("unknown", |(_, value)| value)
    };
    let cores = cpu
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let version = kernel
        .split('-')
        .next()
        .unwrap_or_default()
        .trim()
        .to_owned();
    let load = fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default().to_owned();
    let guest = if cpu.contains(" hypervisor") {
        "virtual machine, "
    } else {
        ""
    };
    Ok(format!(
        "Machine: {}, family {} model {}, {guest}{cores} cores; Linux {version}; load average at the start {load}.",
        field("model name"),
        field("cpu family"),
        field("model\t"),
    ))
}

fn write(docs: &Path, figures: &Figures, text: &str) -> Result<()> {
    fs::create_dir_all(docs)?;
    let page = format!(
        "# Performance\n\n\
         Generated by `cargo xtask bench -- --write`; every figure here is from one run, nothing is typed in. Run it on\n\
         your machine: ratios travel, absolute numbers do not.\n\n\
         {}\n{} rounds.\n\n![Packets a second](performance.svg)\n\n{text}",
        figures.machine, figures.rounds
    );
    for (name, content) in [
        ("performance.md", page),
        ("performance.svg", plot::svg(figures)),
    ] {
        let path = docs.join(name);
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("wrote {}", path.display());
    }
    Ok(())
}
