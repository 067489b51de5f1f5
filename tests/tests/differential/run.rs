//! Runs frames through the loaded program and holds every action and every counter against userspace.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use aya::maps::{Map, MapData, PerCpuArray};
use edgeward::config::Config;
use edgeward::policy::{clock::Now, explain};
use edgeward_ebpf::abi::{ABI_VERSION, Count, counter};
use edgeward_ebpf::verdict::Outcome;
use lab::Result;
use lab::frames::catalogue;
use lab::xdp::Action;

use crate::edge::{Edge, ends};
use crate::frames::{FRAME_BYTES_MIN, kinds, mutate};
use crate::judge::{Counters, Expected, expect, name, outcome};
use crate::random::Random;
use crate::style::Style;
use crate::world::{SERVICES, World};

/// Frames of each generated run.
const FRAMES: usize = 130_000;
/// Runs in `main`.
const RUNS: usize = 9;
const _: () = assert!(
    FRAMES * RUNS >= 1_000_000,
    "the contract asks for a million"
);
/// Frames between two looks at the counters.
const BATCH: usize = 4_096;
/// How long decisions last: long enough to make them and kill the agent, short enough to wait for. Twice as long after
/// every try in which it was not.
const LIFETIME: Duration = Duration::from_secs(4);
const LIFETIME_MAX: Duration = Duration::from_secs(64);
/// The kernel counts time in ticks and rounds down: ends come this much early.
const END_EARLY_MAX: Duration = Duration::from_millis(136);

/// `EDGEWARD_SEED`, or the same for everybody.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("EDGEWARD_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    given.unwrap_or(0x0edb_e2a4)
}

/// A policy in force, and what has been run against it.
struct Bench {
    edge: Edge,
    world: World,
    counters: PerCpuArray<MapData, Count>,
    batch: Vec<Vec<u8>>,
    expected: Counters,
    before: Counters,
    frames: usize,
    outcomes: BTreeMap<String, usize>,
}

/// Catalogue frames of the policy's sources, half of them mutated.
pub(crate) fn generated(run: u64, style: Style) -> Result<()> {
    let mut random = Random::new(seed() ^ run << 32);
    let mut bench = Bench::start(run, style, &mut random)?;
    while bench.frames < FRAMES {
        let kinds = kinds(&bench.world, &mut random);
        for kind in &kinds {
            let mut frame = kind.bytes.clone();
            if random.once_in(2) {
                let source = bench.world.source(&mut random);
                let other = random.below(kinds.len());
                let other = kinds.get(other).map_or(&[][..], |kind| &kind.bytes);
                mutate(&mut random, &mut frame, other, source);
            }
            bench.run(frame)?;
        }
    }
    bench.finish()
}

/// Every form from a refused, a limited, an exempt and an unknown source, cut at every byte.
pub(crate) fn truncated(run: u64, style: Style) -> Result<()> {
    let mut random = Random::new(seed() ^ run << 32);
    let mut bench = Bench::start(run, style, &mut random)?;
    for v4 in [true, false] {
        let source = bench.refused_source(v4, &mut random)?;
        for kind in catalogue(ends(source, 443)) {
            for length in FRAME_BYTES_MIN..=kind.bytes.len() {
                bench.run(kind.bytes.iter().copied().take(length).collect())?;
            }
            // The rest of the sources meet the lengths at which something changes.
            for _ in 0..4 {
                let source = bench.world.source(&mut random);
                let other = catalogue_frame(source, &kind.name);
                let cut = FRAME_BYTES_MIN + random.below(120);
                bench.run(other.into_iter().take(cut).collect())?;
            }
        }
    }
    bench.finish()
}

/// The frame of the same transport from another source; plain where the families differ.
fn catalogue_frame(source: IpAddr, name: &str) -> Vec<u8> {
    let ends = ends(source, 22);
    let plain = lab::frames::Frame::between(ends.source, ends.target);
    match name.rsplit('/').next() {
        Some("udp") => plain.udp(1, 22, b"edgeward"),
        Some("quic") => plain.quic(1, 22),
        Some("echo") => plain.echo(),
        _ => plain.tcp(1, 22, lab::frames::flags::SYN),
    }
    .build()
}

impl Bench {
    fn start(run: u64, style: Style, random: &mut Random) -> Result<Self> {
        let world = World::new(style, random)?;
        let mut edge = Edge::quiet(&format!("differential-{run}"), &world.config)?;
        let pins = edge.agent.bpffs_dir().join(format!("v{ABI_VERSION}"));
        let counters = MapData::from_pin(pins.join("counters"))?;
        let counters = PerCpuArray::try_from(Map::PerCpuArray(counters))?;
        explained(&edge, &world, random)?;
        let mut lifetime = LIFETIME;
        while !decided(&mut edge, &world, lifetime)? {
            lifetime *= 2;
            ensure!(
                lifetime <= LIFETIME_MAX,
                "the decisions end before they are made"
            );
            edge.agent.launch()?;
        }
        let before = read(&counters)?;
        Ok(Self {
            edge,
            world,
            counters,
            batch: Vec::new(),
            expected: [0; counter::COUNT as usize],
            before,
            frames: 0,
            outcomes: BTreeMap::new(),
        })
    }

    fn run(&mut self, frame: Vec<u8>) -> Result<()> {
        let expected = expect(&mut self.world, &frame, &mut self.expected)
            .with_context(|| self.about(&frame))?;
        let run = self.edge.run(&frame)?;
        ensure!(
            run.action == expected.action,
            "{:?} and not {:?}: {}",
            run.action,
            expected.action,
            self.about(&frame)
        );
        if let Some(answer) = &expected.answer {
            ensure!(
                run.frame == *answer,
                "another answer: {}",
                self.about(&frame)
            );
        } else if run.action != Action::Drop {
            ensure!(
                run.frame == frame,
                "the frame was changed: {}",
                self.about(&frame)
            );
        }
        self.note(&expected);
        self.frames += 1;
        self.batch.push(frame);
        if self.batch.len() >= BATCH {
            self.compare()
        } else {
            Ok(())
        }
    }

    fn note(&mut self, expected: &Expected) {
        let name = expected
            .outcome
            .map_or("no source", |outcome| outcome.name());
        *self
            .outcomes
            .entry(format!("{name} {:?}", expected.action))
            .or_default() += 1;
    }

    /// Holds the counters against what the batch should have counted; names the frame if they differ.
    fn compare(&mut self) -> Result<()> {
        let now = read(&self.counters)?;
        let counted = minus(&now, &self.before);
        if counted != self.expected {
            return self.blame(&counted);
        }
        self.before = now;
        self.expected = [0; counter::COUNT as usize];
        self.batch.clear();
        Ok(())
    }

    /// Runs the batch again, one frame at a time.
    fn blame(&mut self, counted: &Counters) -> Result<()> {
        let whole = differences(counted, &self.expected);
        for frame in std::mem::take(&mut self.batch) {
            let before = read(&self.counters)?;
            let mut expected = [0; counter::COUNT as usize];
            expect(&mut self.world, &frame, &mut expected)?;
            self.edge.run(&frame)?;
            let counted = minus(&read(&self.counters)?, &before);
            if counted != expected {
                bail!(
                    "{}: {}",
                    differences(&counted, &expected),
                    self.about(&frame)
                );
            }
        }
        bail!("a batch counted {whole}, and no frame of it by itself");
    }

    fn finish(mut self) -> Result<()> {
        self.compare()?;
        println!("{} frames: {:?}", self.frames, self.outcomes);
        for outcome in Outcome::ALL
            .into_iter()
            .filter(|outcome| *outcome != Outcome::RateLimit)
        {
            let seen = self
                .outcomes
                .keys()
                .any(|name| name.starts_with(outcome.name()));
            ensure!(seen, "no frame was judged {outcome:?}: {:?}", self.outcomes);
        }
        Ok(())
    }

    fn refused_source(&mut self, v4: bool, random: &mut Random) -> Result<IpAddr> {
        for _ in 0..100_000 {
            let source = self.world.source(random);
            let refused = outcome(&mut self.world, source, 443) == Outcome::Reputation;
            if source.is_ipv4() == v4 && refused {
                return Ok(source);
            }
        }
        bail!("no source is refused in this policy");
    }

    /// All that is needed to see a finding again.
    fn about(&self, frame: &[u8]) -> String {
        let parsed = edgeward_ebpf::frame::parse(&frame);
        let covering = match parsed {
            edgeward_ebpf::frame::Parsed::Ip(frame) => self
                .world
                .covering(crate::independent::address(frame.source.address())),
            _ => Vec::new(),
        };
        let mut hex = String::new();
        for byte in frame {
            // A String takes every write.
            let _ = write!(hex, "{byte:02x}");
        }
        format!(
            "EDGEWARD_SEED={} frame {}, read as {parsed:?}, covered by {covering:?}: {hex}",
            seed(),
            self.frames
        )
    }
}

/// Makes the decisions; where the policy wants them to have ended, kills the agent before they do and waits for that.
/// Says whether there was time for it.
fn decided(edge: &mut Edge, world: &World, lifetime: Duration) -> Result<bool> {
    let begun = Instant::now();
    for wanted in &world.decisions {
        let lifetime = wanted.ends.then_some(lifetime);
        let prefix = wanted.prefix.to_string();
        match wanted.score {
            Some(score) => edge.block(&prefix, score, lifetime)?,
            None => edge.exempt(&prefix, lifetime)?,
        }
    }
    let made = Instant::now();
    if !world.style.expired {
        let verified = edge.agent.cli(&["verify"])?;
        ensure!(verified.code == 0, "verify: {}", verified.stdout);
        return Ok(true);
    }
    // The agent must be gone before the first of them ends, and nothing begins before the last has.
    edge.agent.kill9();
    if begun.elapsed() + END_EARLY_MAX >= lifetime {
        return Ok(false);
    }
    std::thread::sleep(lifetime.saturating_sub(made.elapsed()));
    Ok(true)
}

/// `explain` over the configuration says the same as the plain search, while there are no decisions.
fn explained(edge: &Edge, world: &World, random: &mut Random) -> Result<()> {
    let config =
        Config::load(edge.agent.config_path()).map_err(|mistakes| anyhow::anyhow!("{mistakes}"))?;
    let facts = explain::Facts::new(&config, config.mode, &[], Now::default());
    let mut world = world.without_decisions();
    for _ in 0..EXPLAINED {
        let source = world.source(random);
        let port = SERVICES.get(random.below(4)).map_or(9, |(port, _)| *port);
        let told = explain::explain(&facts, source, Some(port));
        let expected = outcome(&mut world, source, port);
        ensure!(
            told.reason.as_deref() == expected.reason(),
            "explain {source} port {port}: {:?} and not {expected:?}",
            told.reason
        );
    }
    Ok(())
}

/// Addresses explained in each run.
const EXPLAINED: usize = 2_000;

fn read(counters: &PerCpuArray<MapData, Count>) -> Result<Counters> {
    let mut found = [0; counter::COUNT as usize];
    for (index, slot) in (0..).zip(&mut found) {
        *slot = counters
            .get(&index, 0)?
            .iter()
            .map(|count| count.packets)
            .sum();
    }
    // What became of an event is the budget's business; that there was one is ours.
    let fates = [
        counter::EVENTS_SENT,
        counter::EVENTS_SUPPRESSED,
        counter::EVENTS_LOST,
    ];
    let total = fates
        .iter()
        .filter_map(|fate| found.get(*fate as usize))
        .sum();
    for fate in fates {
        if let Some(slot) = found.get_mut(fate as usize) {
            *slot = if fate == counter::EVENTS_SENT {
                total
            } else {
                0
            };
        }
    }
    Ok(found)
}

fn minus(now: &Counters, before: &Counters) -> Counters {
    let mut out = *now;
    for (count, before) in out.iter_mut().zip(before) {
        *count = count.wrapping_sub(*before);
    }
    out
}

fn differences(counted: &Counters, expected: &Counters) -> String {
    let mut text = String::from("counters differ:");
    for (index, (counted, expected)) in counted.iter().zip(expected).enumerate() {
        if counted != expected {
            let _ = write!(text, " {} {counted} and not {expected};", name(index));
        }
    }
    text
}
