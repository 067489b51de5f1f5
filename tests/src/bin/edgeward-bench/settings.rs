//! The command line: what is measured, how long, and whether the documentation is written.

use std::path::PathBuf;

use anyhow::{Context, bail};
use lab::Result;

use crate::sys;

/// Settings of one run.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// A smoke run: small lists, few rounds.
    pub(crate) quick: bool,
    /// Regenerate `docs/performance.md` and its plot.
    pub(crate) write: bool,
    /// Another build of the agent, measured beside this one.
    pub(crate) beside: Option<PathBuf>,
    /// Parts to run.
    pub(crate) parts: Vec<Part>,
    /// Entries of each family, ascending, 0 first.
    pub(crate) sizes: Vec<usize>,
    /// Times every case is visited.
    pub(crate) rounds: usize,
    /// Length of a visit in seconds.
    pub(crate) seconds: f64,
    /// `block` commands that are timed.
    pub(crate) blocks: usize,
    /// Sources of a verdict figure that are run over and over.
    pub(crate) keys: usize,
    /// The CPU of generator and test runs.
    pub(crate) cpu: usize,
}

/// A part of the bench.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Throughput,
    Verdict,
    Load,
    Block,
    Gateway,
    Endpoint,
    Chain,
    Detection,
    Log,
}

impl Part {
    /// The parts that measure the program in the kernel.
    pub(crate) const KERNEL: [Self; 4] = [Self::Throughput, Self::Verdict, Self::Load, Self::Block];

    const ALL: [(&'static str, Self); 9] = [
        ("throughput", Self::Throughput),
        ("verdict", Self::Verdict),
        ("load", Self::Load),
        ("block", Self::Block),
        ("gateway", Self::Gateway),
        ("endpoint", Self::Endpoint),
        ("chain", Self::Chain),
        ("detection", Self::Detection),
        ("log", Self::Log),
    ];
}

impl Settings {
    /// Reads the command line; `None` when only help was asked for.
    pub(crate) fn from_arguments(
        mut arguments: impl Iterator<Item = String>,
    ) -> Result<Option<Self>> {
        let mut settings = Self {
            quick: false,
            write: false,
            beside: None,
            parts: Vec::new(),
            sizes: vec![0, 10_000, 100_000, 1_000_000],
            rounds: 7,
            seconds: 0.2,
            blocks: 400,
            keys: 8,
            cpu: sys::last_cpu()?,
        };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--help" | "-h" => {
                    print!("{HELP}");
                    return Ok(None);
                }
                "--quick" => {
                    settings.quick = true;
                    settings.sizes = vec![0, 10_000];
                    (settings.rounds, settings.seconds) = (3, 0.03);
                    (settings.blocks, settings.keys) = (50, 2);
                }
                "--write" => settings.write = true,
                "--beside" => {
                    let path = arguments.next().context("--beside needs a path")?;
                    settings.beside = Some(PathBuf::from(path));
                }
                word => match Part::ALL.iter().find(|(name, _)| *name == word) {
                    Some((_, part)) => settings.parts.push(*part),
                    None => bail!("unknown argument {word:?}\n{HELP}"),
                },
            }
        }
        if settings.parts.is_empty() {
            settings.parts = Part::ALL.map(|(_, part)| part).to_vec();
        } else if settings.write {
            bail!("--write needs all parts: the documents hold the figures of one whole run");
        }
        if settings.write && settings.beside.is_some() {
            bail!("--write shows one build: leave --beside out");
        }
        if settings.write && settings.quick {
            bail!("--write needs a whole run: --quick measures small lists only");
        }
        Ok(Some(settings))
    }

    /// The largest list.
    pub(crate) fn largest(&self) -> usize {
        self.sizes.last().copied().unwrap_or(0)
    }

    /// Whether a part is to be run.
    pub(crate) fn runs(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }
}

const HELP: &str = "\
Measures Edgeward and its peers side by side in one run. Needs root.

Usage: cargo xtask bench -- [--quick] [--write] [--beside PATH] [throughput] [verdict] [load] [block] [gateway]
                            [endpoint] [chain] [detection] [log]

  --quick   smoke run with small lists, under a minute; its figures say little
  --write   regenerate docs/performance.md and docs/performance.svg from this run
  --beside PATH
            measure the throughput of another build of the agent in the same rounds: what a change is worth
";
