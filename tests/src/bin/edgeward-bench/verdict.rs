//! Nanoseconds a verdict, by `BPF_PROG_TEST_RUN`: with everything in the first cache, and with one run a source.
//!
//! The kernel reports whole nanoseconds and adds a floor of its own, so the program that only parses is measured beside
//! and taken off.

use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::thread;

use anyhow::ensure;
use lab::Result;
use lab::xdp::{Action, test_run};

use crate::contenders::{AgentLab, Floor, FloorLab};
use crate::settings::Settings;
use crate::stats::median;
use crate::sys;
use crate::traffic::{Family, Population, frame_from};

/// One line of the table. Times in ns.
#[derive(Debug, Clone)]
pub(crate) struct Cost {
    pub(crate) family: Family,
    pub(crate) entries: usize,
    /// Whether the sources are listed.
    pub(crate) hit: bool,
    /// The same source over and over: mean over the sources of each one's minimum.
    pub(crate) hot: f64,
    /// A single run for each source, far apart in memory: median.
    pub(crate) once: f64,
    /// The parsing program's, for the same frames.
    pub(crate) hot_floor: f64,
    pub(crate) once_floor: f64,
}

impl Cost {
    /// Above the program that parses, everything cached.
    pub(crate) fn above(&self) -> f64 {
        (self.hot - self.hot_floor).max(0.0)
    }

    /// The same for single runs.
    pub(crate) fn above_once(&self) -> f64 {
        (self.once - self.once_floor).max(0.0)
    }
}

/// Measures hits and misses at each size in both families.
pub(crate) fn measure(
    settings: &Settings,
    population: &Population,
    floor: &FloorLab,
    agents: &[AgentLab],
) -> Result<Vec<Cost>> {
    thread::scope(|scope| {
        scope
            .spawn(|| {
                sys::settle_on(settings.cpu)?;
                let mut costs = Vec::new();
                for family in Family::ALL {
                    for agent in agents {
                        for hit in [true, false] {
                            if agent.entries > 0 || !hit {
                                eprintln!("verdict: {} {} {hit}", family.name(), agent.entries);
                                costs.push(cost(settings, population, floor, agent, family, hit)?);
                            }
                        }
                    }
                }
                Ok(costs)
            })
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn cost(
    settings: &Settings,
    population: &Population,
    floor: &FloorLab,
    agent: &AgentLab,
    family: Family,
    hit: bool,
) -> Result<Cost> {
    let wanted = settings.keys * SINGLE_FACTOR;
    let addresses: Vec<IpAddr> = match hit {
        true => population.listed(family, wanted.min(agent.entries)),
        false => population.others(family, wanted),
    };
    let frames: Vec<Vec<u8>> = addresses.into_iter().map(frame_from).collect();
    let parse = floor.program(Floor::ParseDrop, family);
    let expected = if hit { Action::Drop } else { Action::Pass };
    for frame in frames.iter().take(settings.keys) {
        let run = test_run(agent.program.as_fd(), frame, 1)?;
        ensure!(
            run.action == expected,
            "a verdict of {:?} instead of {expected:?}",
            run.action
        );
    }
    let (mut hot, mut hot_floor) = (Vec::new(), Vec::new());
    for frame in frames.iter().take(settings.keys) {
        let (mut best, mut best_floor) = (f64::MAX, f64::MAX);
        for _ in 0..REPEATS {
            best = best.min(nanoseconds(&agent.program, frame, RUNS)?);
            best_floor = best_floor.min(nanoseconds(parse, frame, RUNS)?);
        }
        hot.push(best);
        hot_floor.push(best_floor);
    }
    let (mut once, mut once_floor) = (Vec::new(), Vec::new());
    for frame in &frames {
        once_floor.push(nanoseconds(parse, frame, 1)?);
        once.push(nanoseconds(&agent.program, frame, 1)?);
    }
    Ok(Cost {
        family,
        entries: agent.entries,
        hit,
        hot: mean(&hot),
        once: median(&once),
        hot_floor: mean(&hot_floor),
        once_floor: median(&once_floor),
    })
}

fn nanoseconds(program: &OwnedFd, frame: &[u8], runs: u32) -> Result<f64> {
    Ok(f64::from(
        test_run(program.as_fd(), frame, runs)?.nanoseconds,
    ))
}

fn mean(values: &[f64]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
    let count = values.len().max(1) as f64;
    values.iter().sum::<f64>() / count
}

/// Runs of one test run, short enough to be free of interruptions now and then.
const RUNS: u32 = 2000;
/// Test runs of which the fastest counts. Each waits for the kernel to patch its XDP dispatcher, 20 ms and more.
const REPEATS: usize = 4;
/// Sources of single runs for each source of repeated ones.
const SINGLE_FACTOR: usize = 1024;
