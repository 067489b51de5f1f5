//! What is measured: each in a lab of its own, so that all of them stand ready at the same time and every round can
//! visit each.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use lab::xdp::{Foreign, Hook, attached_program};
use lab::{Agent, AgentConfig, EDGE, Lab, Result};

use crate::programs::{self, After};
use crate::sys;
use crate::traffic::{Family, Population, zones};

/// A program that reads nothing, or reads and decides nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Floor {
    /// `return XDP_DROP`.
    Bare,
    /// Reads the headers, then `XDP_DROP`.
    ParseDrop,
    /// Reads the headers, then `XDP_PASS`.
    ParsePass,
    /// Reads the headers and one line of an array as large as Edgeward's, picked by a hash of the source; `XDP_DROP`.
    Touch,
    /// The same, and adds one to a counter in that line.
    Count,
}

/// A filter of somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// nftables, hash set, chain at netdev ingress.
    Nft,
    /// ipset `hash:ip`, matched in iptables' raw table.
    Ipset,
    /// xdp-filter, which holds 10,000 addresses of a family.
    XdpFilter,
}

/// A lab whose login host has floor programs attached and taken off again.
pub(crate) struct FloorLab {
    pub(crate) lab: Lab,
    bare: OwnedFd,
    parse_drop: OwnedFd,
    parse_pass: OwnedFd,
    touch: [OwnedFd; 2],
    count: [OwnedFd; 2],
}

/// A lab with the agent and `entries` listed addresses of each family.
pub(crate) struct AgentLab {
    // The agent first: it is killed before its lab goes.
    pub(crate) agent: Agent,
    pub(crate) lab: Lab,
    pub(crate) entries: usize,
    pub(crate) program: OwnedFd,
}

/// A lab with a peer and `entries` listed addresses of each family.
pub(crate) struct PeerLab {
    pub(crate) lab: Lab,
    pub(crate) peer: Peer,
    pub(crate) entries: usize,
    /// How long it took to load the IPv4 set, in seconds.
    pub(crate) load: f64,
}

impl Peer {
    /// Its name in tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nft => "nftables hash set, netdev ingress",
            Self::Ipset => "ipset hash:ip, iptables raw",
            Self::XdpFilter => "xdp-filter",
        }
    }
}

impl FloorLab {
    /// The arrays of [`Floor::Touch`] are as large as those of `agent`.
    pub(crate) fn new(agent: &AgentLab) -> Result<Self> {
        let [v4, v6] = agent.lines()?;
        let parse = |action| programs::parse(action, After::Nothing);
        let lab = Lab::new("bench-floor")?;
        drop_behind(&lab)?;
        Ok(Self {
            lab,
            bare: programs::bare(programs::DROP)?,
            parse_drop: parse(programs::DROP)?,
            parse_pass: parse(programs::PASS)?,
            touch: [
                programs::parse(programs::DROP, After::Touch(v4))?,
                programs::parse(programs::DROP, After::Touch(v6))?,
            ],
            count: [
                programs::parse(programs::DROP, After::Count(v4))?,
                programs::parse(programs::DROP, After::Count(v6))?,
            ],
        })
    }

    /// Attaches a floor; it goes when the result is dropped.
    pub(crate) fn attach(&self, floor: Floor, family: Family) -> Result<Foreign> {
        let program = self.program(floor, family);
        Foreign::attach_program(&self.lab, &self.lab.login, EDGE, program, Hook::Link)
    }

    pub(crate) const fn program(&self, floor: Floor, family: Family) -> &OwnedFd {
        let [touch4, touch6] = &self.touch;
        let [count4, count6] = &self.count;
        match (floor, family) {
            (Floor::Bare, _) => &self.bare,
            (Floor::ParseDrop, _) => &self.parse_drop,
            (Floor::ParsePass, _) => &self.parse_pass,
            (Floor::Touch, Family::V4) => touch4,
            (Floor::Touch, Family::V6) => touch6,
            (Floor::Count, Family::V4) => count4,
            (Floor::Count, Family::V6) => count6,
        }
    }
}

impl AgentLab {
    /// Starts an agent in mode block with a list file of each family.
    pub(crate) fn new(
        population: &Population,
        entries: usize,
        binary: Option<&Path>,
    ) -> Result<Self> {
        let lab = Lab::new("bench-agent")?;
        drop_behind(&lab)?;
        let mut config = zones(AgentConfig::new("block"))
            .set("capacity.hosts_v4", 1_100_000)
            .set("capacity.hosts_v6", 1_100_000);
        if entries > 0 {
            lab.write("v4.txt", &population.file(Family::V4, entries))?;
            lab.write("v6.txt", &population.file(Family::V6, entries))?;
            config = config.list_files("bench", 100, &["v4.txt", "v6.txt"]);
        }
        let agent = start_build(&lab, &config, binary)?;
        let program = attached_program(&lab.login, EDGE)?;
        Ok(Self {
            agent,
            lab,
            entries,
            program,
        })
    }

    /// Cache lines of its arrays of exact entries, IPv4 and IPv6, a power of two.
    fn lines(&self) -> Result<[u32; 2]> {
        let maps = sys::maps_of(self.program.as_fd())?;
        let of = |name: &str| -> Result<u32> {
            let map = maps.iter().find(|(_, facts)| facts.name == name);
            let (_, facts) = map.with_context(|| format!("the agent has no {name}"))?;
            Ok(1 << u32::try_from(facts.memory / LINE_BYTES)?.ilog2())
        };
        // Two places a family, of which one is taken.
        Ok([
            of("inner map 0").or_else(|_| of("inner map 1"))?,
            of("inner map 2").or_else(|_| of("inner map 3"))?,
        ])
    }
}

/// Starts the release build that lies beside this program (or `EDGEWARD_BIN`): a newer debug build, which tests would
/// take, says nothing about speed.
pub(crate) fn start_agent(lab: &Lab, config: &AgentConfig) -> Result<Agent> {
    start_build(lab, config, None)
}

/// The same, or another build.
fn start_build(lab: &Lab, config: &AgentConfig, binary: Option<&Path>) -> Result<Agent> {
    let mut agent = Agent::prepare(lab, config)?;
    if let Some(binary) = binary {
        agent.set_binary(binary);
    } else if std::env::var_os("EDGEWARD_BIN").is_none() {
        let beside = std::env::current_exe()?.with_file_name("edgeward");
        ensure!(
            beside.exists(),
            "{} is missing: run `cargo xtask bench`",
            beside.display()
        );
        agent.set_binary(&beside);
    }
    agent.launch()?;
    Ok(agent)
}

impl PeerLab {
    /// Loads the sets. An error says what this machine lacks.
    pub(crate) fn new(population: &Population, peer: Peer, entries: usize) -> Result<Self> {
        let lab = Lab::new("bench-peer")?;
        // The router's end takes redirected frames only after GRO was switched on here while both were up.
        for switch in ["off", "on"] {
            lab.login
                .run(&["ethtool", "-K", EDGE, "gro", switch])?
                .success()?;
        }
        let load = match peer {
            Peer::Nft => nft(&lab, population, entries)?,
            Peer::Ipset => ipset(&lab, population, entries)?,
            Peer::XdpFilter => crate::xdp_filter::start(&lab, population, entries)?,
        };
        drop_behind(&lab)?;
        Ok(Self {
            lab,
            peer,
            entries,
            load,
        })
    }
}

/// Drops what a contender let through, right behind all of them: in the raw table, after ipset's rule. Whatever the
/// stack would do with it then is not part of the figures.
fn drop_behind(lab: &Lab) -> Result<()> {
    for family in Family::ALL {
        let rule = ["-t", "raw", "-A", "PREROUTING", "-i", EDGE, "-j", "DROP"];
        timed(lab, &[&[iptables(family)][..], &rule].concat())?;
    }
    Ok(())
}

/// Frames of a family that came through, as the rule behind counts them. The peers' own counters would do, but `nft`
/// reads the whole set before it shows one.
pub(crate) fn passed(lab: &Lab, family: Family) -> Result<u64> {
    let list = ["-t", "raw", "-L", "PREROUTING", "-n", "-v", "-x"];
    let argv = [&[iptables(family)][..], &list].concat();
    let text = lab.login.run(&argv)?.success()?;
    let rule = text
        .lines()
        .find(|line| line.split_whitespace().any(|word| word == EDGE));
    let count = rule.and_then(|line| line.split_whitespace().next());
    Ok(count.context("no rule behind the contender")?.parse()?)
}

const fn iptables(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    }
}

/// Runs a command that may take long; how long it took, in seconds.
fn timed(lab: &Lab, argv: &[&str]) -> Result<f64> {
    let begin = Instant::now();
    lab.login
        .command(argv)
        .run_for(LOAD_MAX)?
        .success()
        .with_context(|| argv.join(" "))?;
    Ok(begin.elapsed().as_secs_f64())
}

fn text_of(path: &std::path::Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is no UTF-8", path.display()))
}

/// One `nft -f` with chain, rules and each set; the IPv4 set's is timed.
fn nft(lab: &Lab, population: &Population, entries: usize) -> Result<f64> {
    let base = format!(
        "table netdev bench {{\n set v4 {{ type ipv4_addr; size {entries}; }}\n \
         set v6 {{ type ipv6_addr; size {entries}; }}\n counter refused {{}}\n \
         chain in {{ type filter hook ingress device \"{EDGE}\" priority 0; policy accept;\n  \
         ip saddr @v4 counter name refused drop\n  ip6 saddr @v6 counter name refused drop\n }}\n}}\n"
    );
    timed(
        lab,
        &["nft", "-f", text_of(&lab.write("base.nft", &base)?)?],
    )?;
    let mut seconds = Vec::new();
    for (family, set) in [(Family::V4, "v4"), (Family::V6, "v6")] {
        let list = population
            .file(family, entries)
            .trim_end()
            .replace('\n', ",\n");
        let text = format!("add element netdev bench {set} {{\n{list}\n}}\n");
        let path = lab.write(&format!("{set}.nft"), &text)?;
        seconds.push(timed(lab, &["nft", "-f", text_of(&path)?])?);
    }
    seconds.first().copied().context("no set")
}

/// `ipset restore` and a rule in the raw table of each family; the IPv4 restore is timed.
fn ipset(lab: &Lab, population: &Population, entries: usize) -> Result<f64> {
    let mut seconds = Vec::new();
    for (family, set, inet) in [(Family::V4, "v4", "inet"), (Family::V6, "v6", "inet6")] {
        let mut text = format!(
            "create {set} hash:ip family {inet} hashsize {} maxelem {}\n",
            entries.next_power_of_two() / 2,
            entries.max(65_536)
        );
        for address in population.listed(family, entries) {
            text.push_str(&format!("add {set} {address}\n"));
        }
        let path = lab.write(&format!("{set}.ipset"), &text)?;
        seconds.push(timed(lab, &["ipset", "restore", "-file", text_of(&path)?])?);
        let rule = [
            iptables(family),
            "-t",
            "raw",
            "-A",
            "PREROUTING",
            "-m",
            "set",
            "--match-set",
            set,
            "src",
            "-j",
            "DROP",
        ];
        timed(lab, &rule)?;
    }
    ensure!(seconds.len() == 2, "two families");
    seconds.first().copied().context("no set")
}

/// Bytes of a cache line.
const LINE_BYTES: u64 = 64;
/// Longest a peer may take to load.
const LOAD_MAX: Duration = Duration::from_secs(120);
