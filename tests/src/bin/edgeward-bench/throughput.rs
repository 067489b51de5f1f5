//! Packets a second: frames from a generator on the router, counted by the receiver's own interface.
//!
//! Every round visits every case, so that what else the machine does hits all alike; the figure is the median.

use std::os::fd::AsFd;
use std::thread;

use anyhow::{Context, ensure};
use lab::xdp::run_live;
use lab::{EDGE, Lab, Result, WIRE};

use crate::contenders::{AgentLab, Floor, FloorLab, Peer, PeerLab, passed};
use crate::programs::{self, Route};
use crate::settings::Settings;
use crate::stats::median;
use crate::sys::{self, MappedArray};
use crate::traffic::{Family, Population, SOURCES, template};

/// What judges the frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Floor(Floor),
    Edgeward,
    /// Another build of the agent.
    Beside,
    Peer(Peer),
}

/// One line of the table.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) subject: Subject,
    pub(crate) family: Family,
    /// Listed addresses of each family.
    pub(crate) entries: usize,
    /// Whether the sources are listed (and refused), or unlisted (and passed).
    pub(crate) blocked: bool,
    /// Packets a second, a value for each round.
    pub(crate) rates: Vec<f64>,
    /// Share of the frames that was refused, the lowest or highest of all rounds, whichever is worse.
    pub(crate) refused: f64,
}

/// Everything that stands ready.
pub(crate) struct Stage<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) floor: &'a FloorLab,
    pub(crate) agents: &'a [AgentLab],
    pub(crate) beside: &'a [AgentLab],
    pub(crate) peers: &'a [PeerLab],
    sources: Vec<(Family, usize, MappedArray)>,
    cursor: MappedArray,
}

impl Case {
    fn new(subject: Subject, family: Family, entries: usize, blocked: bool) -> Self {
        let refused = if blocked { 1.0 } else { 0.0 };
        Self {
            subject,
            family,
            entries,
            blocked,
            rates: Vec::new(),
            refused,
        }
    }

    /// The median rate in packets a second.
    pub(crate) fn rate(&self) -> f64 {
        median(&self.rates)
    }

    /// Nanoseconds a packet at the median rate.
    pub(crate) fn nanoseconds(&self) -> f64 {
        1e9 / self.rate().max(1.0)
    }
}

impl<'a> Stage<'a> {
    /// Writes the generator's sources.
    pub(crate) fn new(
        settings: &'a Settings,
        population: &Population,
        floor: &'a FloorLab,
        agents: &'a [AgentLab],
        beside: &'a [AgentLab],
        peers: &'a [PeerLab],
    ) -> Result<Self> {
        let mut sources = Vec::new();
        for family in Family::ALL {
            for entries in &settings.sizes {
                sources.push((family, *entries, population.sources(family, *entries)?));
            }
        }
        Ok(Self {
            settings,
            floor,
            agents,
            beside,
            peers,
            sources,
            cursor: MappedArray::new(1, programs::CURSOR_WORDS)?,
        })
    }

    /// Every case, floors first.
    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        let largest = self.settings.largest();
        for family in Family::ALL {
            let mut floor = |floor, blocked| {
                cases.push(Case::new(Subject::Floor(floor), family, largest, blocked));
            };
            floor(Floor::Bare, true);
            floor(Floor::ParseDrop, true);
            floor(Floor::Touch, true);
            floor(Floor::Count, true);
            floor(Floor::ParsePass, false);
            let beside = self.beside.iter().map(|agent| (Subject::Beside, agent));
            let agents = self.agents.iter().map(|agent| (Subject::Edgeward, agent));
            let agents = agents.chain(beside).map(|(who, lab)| (who, lab.entries));
            let peers = self.peers.iter();
            let peers = peers.map(|peer| (Subject::Peer(peer.peer), peer.entries));
            for (subject, entries) in agents.chain(peers) {
                if entries > 0 {
                    cases.push(Case::new(subject, family, entries, true));
                }
                cases.push(Case::new(subject, family, entries, false));
            }
        }
        cases
    }

    /// Measures all cases, round by round.
    pub(crate) fn measure(&self) -> Result<Vec<Case>> {
        let mut cases = self.cases();
        // On a thread of its own: what it does to its scheduling ends with it.
        thread::scope(|scope| {
            scope
                .spawn(|| {
                    sys::settle_on(self.settings.cpu)?;
                    for round in 0..self.settings.rounds {
                        eprintln!(
                            "throughput: round {} of {}",
                            round + 1,
                            self.settings.rounds
                        );
                        for case in &mut cases {
                            self.visit(case).with_context(|| format!("{case:?}"))?;
                        }
                    }
                    Ok(cases)
                })
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn visit(&self, case: &mut Case) -> Result<()> {
        // Held until the run is over: dropping it takes the floor off.
        let _attached = match case.subject {
            Subject::Floor(floor) => Some(self.floor.attach(floor, case.family)?),
            _ => None,
        };
        let peer = match case.subject {
            Subject::Peer(peer) => Some(self.peer(peer, case.entries)?),
            _ => None,
        };
        let lab = match (case.subject, peer) {
            (_, Some(peer)) => &peer.lab,
            (Subject::Edgeward, _) => &agent(self.agents, case.entries)?.lab,
            (Subject::Beside, _) => &agent(self.beside, case.entries)?.lab,
            _ => &self.floor.lab,
        };
        let passed = || peer.map(|peer| passed(&peer.lab, case.family)).transpose();
        let passed_before = passed()?;
        // Caches and branch predictors of the case before go first, and the rate so far sets the number of frames.
        let warm = self.send(lab, case, WARM_FRAMES)?;
        let frames = (warm.rate * self.settings.seconds).clamp(f64::from(WARM_FRAMES), FRAMES_MAX);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped"
        )]
        let run = self.send(lab, case, frames as u32)?;
        let refused = match (passed()?, passed_before) {
            (Some(after), Some(before)) => {
                1.0 - ratio(after.saturating_sub(before), warm.received + run.received)
            }
            _ => ratio(run.refused, run.received),
        };
        ensure!(
            (refused > 0.99) == case.blocked && (refused < 0.01) != case.blocked,
            "{:.2} % of the frames were refused",
            refused * 100.0
        );
        case.refused = if case.blocked {
            case.refused.min(refused)
        } else {
            case.refused.max(refused)
        };
        case.rates.push(run.rate);
        Ok(())
    }

    fn peer(&self, peer: Peer, entries: usize) -> Result<&PeerLab> {
        let mut peers = self.peers.iter();
        peers
            .find(|lab| lab.peer == peer && lab.entries == entries)
            .context("no such peer")
    }

    /// Sends frames from the case's sources; what the receiver counted.
    fn send(&self, lab: &Lab, case: &Case, frames: u32) -> Result<Run> {
        let listed = if case.blocked { case.entries } else { 0 };
        let sources = self
            .sources
            .iter()
            .find(|(family, entries, _)| (*family, *entries) == (case.family, listed))
            .context("no such sources")?;
        let route = Route {
            cursor: self.cursor.as_fd(),
            sources: sources.2.as_fd(),
            mask: i32::try_from(SOURCES - 1)?,
            interface: interface_index(lab)?,
        };
        let frame = template(case.family);
        let generator = match case.family {
            Family::V4 => programs::generator4(&route, &frame)?,
            Family::V6 => programs::generator6(&route, &frame)?,
        };
        let before = Received::read(lab)?;
        // Setting up and taking down a live run takes 20 ms and more, so the generator keeps time itself.
        for word in 1..programs::CURSOR_WORDS {
            self.cursor.set(word, 0);
        }
        run_live(programs::borrow(&generator), &frame, frames, &lab.net, WIRE)?;
        let [_, began, ended, first, last] = [0, 1, 2, 3, 4].map(|word| self.cursor.get(word));
        let after = Received::read(lab)?;
        let received = after.frames.saturating_sub(before.frames);
        ensure!(
            ratio(received, u64::from(frames)) > 0.9,
            "only {received} of {frames} frames arrived"
        );
        #[expect(clippy::cast_precision_loss, reason = "fewer than 2^52 frames")]
        let rate = {
            let sent = last.saturating_sub(first) as f64;
            let seconds = ended.saturating_sub(began).max(1) as f64 / 1e9;
            sent / seconds * (received as f64 / f64::from(frames)).min(1.0)
        };
        Ok(Run {
            received,
            refused: after.drops.saturating_sub(before.drops),
            rate,
        })
    }
}

fn agent(agents: &[AgentLab], entries: usize) -> Result<&AgentLab> {
    let mut agents = agents.iter();
    agents
        .find(|agent| agent.entries == entries)
        .context("no such agent")
}

/// What one run came to.
struct Run {
    received: u64,
    refused: u64,
    rate: f64,
}

/// The receiving interface's own counters.
struct Received {
    frames: u64,
    drops: u64,
}

impl Received {
    fn read(lab: &Lab) -> Result<Self> {
        let text = lab.login.run(&["ethtool", "-S", EDGE])?.success()?;
        let sum = |end: &str| -> u64 {
            text.lines()
                .filter_map(|line| line.trim().split_once(": "))
                .filter(|(name, _)| name.starts_with("rx_queue_") && name.ends_with(end))
                .filter_map(|(_, value)| value.parse::<u64>().ok())
                .sum()
        };
        Ok(Self {
            frames: sum("_xdp_packets"),
            drops: sum("_xdp_drops"),
        })
    }
}

/// The index of the router's end of the wire.
fn interface_index(lab: &Lab) -> Result<u32> {
    let text = lab
        .net
        .run(&["ip", "-o", "link", "show", "dev", WIRE])?
        .success()?;
    let (index, _) = text
        .split_once(':')
        .context("no index in the output of ip")?;
    Ok(index.trim().parse()?)
}

fn ratio(part: u64, whole: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "fewer than 2^52 frames")]
    let ratio = part as f64 / whole.max(1) as f64;
    ratio
}

const WARM_FRAMES: u32 = 32_768;
const FRAMES_MAX: f64 = 4e6;
