//! `cargo xtask bench`: measures Edgeward and its peers side by side, prints figures beside their targets, and
//! regenerates `docs/performance.md` on demand.

mod asm;
mod block;
mod contenders;
mod load;
mod programs;
mod settings;
mod stats;
mod sys;
mod throughput;
mod traffic;
mod verdict;
mod xdp_filter;

use std::time::Instant;

use lab::Result;

use crate::contenders::{AgentLab, FloorLab, Peer, PeerLab};
use crate::settings::{Part, Settings};
use crate::throughput::Stage;
use crate::traffic::Population;

fn main() -> Result<()> {
    let Some(settings) = Settings::from_arguments(std::env::args().skip(1))? else {
        return Ok(());
    };
    run(&settings)
}

fn run(settings: &Settings) -> Result<()> {
    let begin = Instant::now();
    let population = Population::draw(settings.largest());
    let floor = FloorLab::new()?;
    eprintln!("{:?} drawn", begin.elapsed());
    let mut agents = Vec::new();
    for entries in &settings.sizes {
        agents.push(AgentLab::new(&population, *entries)?);
        eprintln!("{:?} agent {entries}", begin.elapsed());
    }
    let mut peers = Vec::new();
    for (peer, entries) in [(Peer::Nft, settings.largest()), (Peer::Ipset, settings.largest()), (Peer::XdpFilter, 10_000)] {
        match PeerLab::new(&population, peer, entries) {
            Ok(lab) => peers.push(lab),
            Err(error) => eprintln!("skipped: {peer:?}: {error:#}"),
        }
        eprintln!("{:?} peer {peer:?}", begin.elapsed());
    }
    if settings.runs(Part::Throughput) {
        let stage = Stage::new(settings, &population, &floor, &agents, &peers)?;
        for case in stage.measure()? {
            println!(
                "{:?} {} {} {} {:.3} Mpps {:.0} ns",
                case.subject,
                case.family.name(),
                case.entries,
                if case.blocked { "blocked" } else { "random" },
                case.rate() / 1e6,
                case.nanoseconds()
            );
        }
    }
    if settings.runs(Part::Verdict) {
        for cost in verdict::measure(settings, &population, &floor, &agents)? {
            println!("{} {} {} hot {:.1} - {:.1} = {:.1}; once {:.0} - {:.0} = {:.0}", cost.family.name(), cost.entries, if cost.hit {"hit"} else {"miss"}, cost.hot, cost.hot_floor, cost.above(), cost.once, cost.once_floor, cost.above_once());
        }
    }
    if settings.runs(Part::Block) {
        let block = block::measure(settings, &population, &agents)?;
        println!("{} p50 {:.3} p99 {:.3}; answered {:.3} {:.3}", block.entries, stats::median(&block.enforced), stats::quantile(&block.enforced, 0.99), stats::median(&block.answered), stats::quantile(&block.answered, 0.99));
    }
    if settings.runs(Part::Load) {
        let load = load::measure(settings, &population, &peers)?;
        println!("{load:?}\n{}", load.kernel());
    }
    Ok(())
}
