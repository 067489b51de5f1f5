//! A random policy: zones, lists and decisions of all lengths, as the agent gets it and as a plain list
//! that is searched from end to end.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use anyhow::Context;
use edgeward::policy::prefix::host_network;
use edgeward_ebpf::abi::{SCORE_BLOCKED_ZONE, zone};
use ipnet::IpNet;
use lab::{AgentConfig, Result};

use crate::random::Random;
use crate::style::Style;

/// A decision to be made over the control socket.
pub(crate) struct Wanted {
    pub(crate) prefix: IpNet,
    /// `None` exempts.
    pub(crate) score: Option<u8>,
    pub(crate) ends: bool,
}

/// What is known of one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// Bits of [`zone`], without blocked.
    pub(crate) uses: u32,
    /// Highest score of any entry that covers it; [`SCORE_BLOCKED_ZONE`] in a blocked zone.
    pub(crate) score: u8,
}

/// The policy.
pub(crate) struct World {
    pub(crate) style: Style,
    pub(crate) config: AgentConfig,
    pub(crate) decisions: Vec<Wanted>,
    zones: Vec<(IpNet, u32)>,
    scores: Vec<(IpNet, u8)>,
    /// How many of the zones and scores come from the configuration.
    configured: (usize, usize),
    everything: Vec<IpNet>,
    known: HashMap<IpAddr, Known>,
}

/// Ports with a service, and whether it is restricted.
pub(crate) const SERVICES: [(u16, bool); 3] = [(443, false), (8443, false), (22, true)];
pub(crate) const BLOCK: u8 = 80;
pub(crate) const LIMIT: u8 = 40;
const SCORES: [u8; 8] = [1, 39, 40, 55, 79, 80, 93, 100];
const USES: [(&str, u32); 5] = [
    ("exempt", zone::EXEMPT),
    ("trusted-proxy", zone::TRUSTED_PROXY),
    ("gateway", zone::GATEWAY),
    ("allowed-origin", zone::ALLOWED_ORIGIN),
    ("blocked", zone::BLOCKED),
];
/// Entries of a trie that may cover one address without ending the search (`NESTED_MAX` in the program).
const NESTED_MAX: usize = 8;

impl World {
    pub(crate) fn new(style: Style, random: &mut Random) -> Result<Self> {
        let mut world = Self {
            style,
            config: base_config(style),
            decisions: Vec::new(),
            zones: Vec::new(),
            scores: Vec::new(),
            configured: (0, 0),
            everything: Vec::new(),
            known: HashMap::new(),
        };
        for (name, bit) in USES {
            let count = if bit == zone::BLOCKED {
                style.prefixes / 2
            } else {
                style.prefixes / 4
            };
            let mut networks = world.draw(random, count.max(1), style.shortest_zone);
            if bit == zone::BLOCKED {
                // The same network exempt and blocked is a mistake that the agent refuses.
                networks.retain(|network| !world.zones.iter().any(|(other, _)| other == network));
                networks = world.keep_searchable(networks);
            }
            world
                .zones
                .extend(networks.iter().map(|network| (*network, bit)));
            world.config = add_zone(world.config, name, &networks);
        }
        for score in SCORES {
            let drawn = world.draw(random, style.prefixes / 2 + 1, style.shortest);
            let networks = world.keep_searchable(drawn);
            world
                .scores
                .extend(networks.iter().map(|network| (*network, score)));
            let texts: Vec<String> = networks.iter().map(IpNet::to_string).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            world.config = world.config.list(&format!("score-{score}"), score, &texts);
        }
        world.configured = (world.zones.len(), world.scores.len());
        world.decide(random)?;
        Ok(world)
    }

    fn decide(&mut self, random: &mut Random) -> Result<()> {
        let listed: HashSet<IpNet> = self.scores.iter().map(|(prefix, _)| *prefix).collect();
        let mut taken = HashSet::new();
        let drawn = self.draw(random, self.style.prefixes, self.style.shortest);
        for prefix in self.keep_searchable(drawn) {
            if !taken.insert(prefix) {
                continue;
            }
            // The kernel holds one entry for a prefix. What ends must not stand for what stays: only the
            // agent could put that back.
            let ends = self.style.expired && !listed.contains(&prefix) && random.once_in(2);
            let score = random.pick(&SCORES).context("scores")?;
            if !ends {
                self.scores.push((prefix, score));
            }
            self.decisions.push(Wanted {
                prefix,
                score: Some(score),
                ends,
            });
        }
        for prefix in self.draw(random, self.style.prefixes / 4, self.style.shortest_zone) {
            if !taken.insert(prefix) {
                continue;
            }
            let ends = self.style.expired && random.once_in(2);
            if !ends {
                self.zones.push((prefix, zone::EXEMPT));
            }
            self.decisions.push(Wanted {
                prefix,
                score: None,
                ends,
            });
        }
        Ok(())
    }

    fn draw(&mut self, random: &mut Random, count: usize, shortest: (u8, u8)) -> Vec<IpNet> {
        let mut drawn: Vec<IpNet> = (0..count)
            .map(|_| prefix(random, self.style, shortest))
            .collect();
        drawn.sort();
        drawn.dedup();
        self.everything.extend(&drawn);
        drawn
    }

    /// Leaves out what would lie deeper in the tries than the program searches.
    fn keep_searchable(&self, prefixes: Vec<IpNet>) -> Vec<IpNet> {
        let in_trie: HashSet<IpNet> = self
            .scores
            .iter()
            .map(|(prefix, _)| prefix)
            .chain(
                self.zones
                    .iter()
                    .filter(|(_, bit)| *bit == zone::BLOCKED)
                    .map(|(prefix, _)| prefix),
            )
            .chain(
                self.decisions
                    .iter()
                    .filter(|wanted| wanted.score.is_some())
                    .map(|wanted| &wanted.prefix),
            )
            .chain(&prefixes)
            .copied()
            .filter(|prefix| !is_exact(prefix))
            .collect();
        let too_deep = |prefix: &IpNet| {
            let below = in_trie.iter().filter(|other| prefix.contains(*other));
            let deepest =
                below.map(|other| in_trie.iter().filter(|cover| cover.contains(other)).count());
            deepest.max().unwrap_or(0) > NESTED_MAX
        };
        prefixes
            .into_iter()
            .filter(|prefix| is_exact(prefix) || !too_deep(prefix))
            .collect()
    }

    /// What is known of a source, by looking at every prefix.
    pub(crate) fn known(&mut self, source: IpAddr) -> Known {
        if let Some(known) = self.known.get(&source) {
            return *known;
        }
        let host = IpNet::from(source);
        let mut known = Known::default();
        for (prefix, bit) in &self.zones {
            if prefix.contains(&host) {
                known.uses |= bit;
            }
        }
        if known.uses & zone::BLOCKED != 0 {
            known.uses &= !zone::BLOCKED;
            known.score = SCORE_BLOCKED_ZONE;
        } else {
            let covering = self
                .scores
                .iter()
                .filter(|(prefix, _)| prefix.contains(&host));
            known.score = covering.map(|(_, score)| *score).max().unwrap_or(0);
        }
        if self.known.len() < KNOWN_MAX {
            self.known.insert(source, known);
        }
        known
    }

    /// A source at, in or beside one of the prefixes.
    pub(crate) fn source(&self, random: &mut Random) -> IpAddr {
        let Some(prefix) = random.pick(&self.everything) else {
            return IpAddr::from([198, 51, 100, 1]);
        };
        let noise = u128::from(random.next()) << 64 | u128::from(random.next());
        let choice = random.below(8);
        match prefix {
            IpNet::V4(v4) => {
                let (low, high) = (u32::from(v4.network()), u32::from(v4.broadcast()));
                let [.., a, b, c, d] = noise.to_be_bytes();
                let inside = low | u32::from_be_bytes([a, b, c, d]) & u32::from(v4.hostmask());
                let number = match choice {
                    0 => low,
                    1 => high,
                    2 => low.wrapping_sub(1),
                    3 => high.wrapping_add(1),
                    _ => inside,
                };
                IpAddr::V4(number.into())
            }
            IpNet::V6(v6) => {
                let (low, high) = (u128::from(v6.network()), u128::from(v6.broadcast()));
                let inside = low | noise & u128::from(v6.hostmask());
                let number = match choice {
                    0 => low,
                    1 => high,
                    2 => low.wrapping_sub(1),
                    3 => high.wrapping_add(1),
                    _ => inside,
                };
                IpAddr::V6(number.into())
            }
        }
    }

    /// The same policy as the configuration alone says it.
    pub(crate) fn without_decisions(&self) -> Self {
        Self {
            style: self.style,
            config: self.config.clone(),
            decisions: Vec::new(),
            zones: self
                .zones
                .get(..self.configured.0)
                .unwrap_or_default()
                .to_vec(),
            scores: self
                .scores
                .get(..self.configured.1)
                .unwrap_or_default()
                .to_vec(),
            configured: self.configured,
            everything: self.everything.clone(),
            known: HashMap::new(),
        }
    }

    /// Canonical networks of everything, for messages.
    pub(crate) fn covering(&self, source: IpAddr) -> Vec<IpNet> {
        let host = host_network(source);
        self.everything
            .iter()
            .filter(|prefix| prefix.contains(&host))
            .copied()
            .collect()
    }
}

fn base_config(style: Style) -> AgentConfig {
    let config = AgentConfig::new(style.mode)
        .set(
            "unreadable",
            if style.drop_unreadable {
                "drop"
            } else {
                "pass"
            },
        )
        .set("refusal", if style.reset { "reset" } else { "drop" })
        .set("reputation.block_threshold", i64::from(BLOCK))
        .set("reputation.limit_threshold", i64::from(LIMIT))
        .set("rate_limit.limited_connections", 0)
        .set("rate_limit.limited_packets", 0);
    SERVICES.iter().fold(config, |config, (port, restricted)| {
        config.service(&format!("port-{port}"), &[*port], *restricted)
    })
}

fn add_zone(config: AgentConfig, role: &str, networks: &[IpNet]) -> AgentConfig {
    let texts: Vec<String> = networks.iter().map(IpNet::to_string).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    config.zone(&format!("zone-{role}"), &[role], &texts)
}

/// Lengths that the kernel looks up by exact match.
fn is_exact(prefix: &IpNet) -> bool {
    match prefix {
        IpNet::V4(_) => matches!(prefix.prefix_len(), 24 | 32),
        IpNet::V6(_) => matches!(prefix.prefix_len(), 48 | 56 | 64 | 128),
    }
}

/// A prefix of any length from the shortest on, the exact lengths more often than others.
fn prefix(random: &mut Random, style: Style, shortest: (u8, u8)) -> IpNet {
    let is_v4 = random.once_in(2);
    let (shortest, longest) = if is_v4 {
        (shortest.0, 32)
    } else {
        (shortest.1, 128)
    };
    let exact: &[u8] = if is_v4 {
        &[32, 32, 24]
    } else {
        &[128, 128, 64, 56, 48]
    };
    let drawn = shortest.saturating_add(random.byte() % (longest - shortest + 1));
    let length = if random.once_in(3) {
        random
            .pick(exact)
            .filter(|exact| *exact >= shortest)
            .unwrap_or(longest)
    } else {
        drawn
    };
    let bits = |random: &mut Random, width: u32| random.next() & ((1 << width.min(16)) - 1);
    // Few bits in each group: most of what is drawn shares its beginning.
    let address = if is_v4 {
        let (net, host) = (bits(random, style.spread), bits(random, style.spread));
        let number = 0x0a00_0000_u64 | net << 13 | host;
        IpAddr::V4(
            u32::try_from(number & 0xffff_ffff)
                .unwrap_or_default()
                .into(),
        )
    } else {
        let groups = [
            bits(random, style.spread / 2),
            bits(random, style.spread),
            bits(random, 2),
            bits(random, style.spread),
        ];
        let [site, subnet, middle, host] = groups.map(u128::from);
        let number = 0x2001_0db8 << 96 | site << 80 | subnet << 62 | middle << 30 | host;
        IpAddr::V6(number.into())
    };
    IpNet::new(address, length)
        .unwrap_or_else(|_| IpNet::from(address))
        .trunc()
}

/// Sources remembered; frames with random source bytes would fill the memory otherwise.
const KNOWN_MAX: usize = 200_000;
