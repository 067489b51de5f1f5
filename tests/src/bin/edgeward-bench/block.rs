//! One `block`, from the request on the control socket to the first refused frame.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use lab::Result;
use lab::xdp::{Action, test_run};

use crate::contenders::AgentLab;
use crate::settings::Settings;
use crate::traffic::{Family, Population, frame_from};

/// Milliseconds, one value a command.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    /// Entries listed meanwhile, in each family.
    pub(crate) entries: usize,
    /// Until a frame from the address is refused.
    pub(crate) enforced: Vec<f64>,
    /// Until the answer: in force and on disk.
    pub(crate) answered: Vec<f64>,
    /// Until the answer to a question that changes nothing: what socket and scheduler cost.
    pub(crate) asked: Vec<f64>,
}

/// Blocks unlisted addresses one by one, both families in turn, beside the largest list.
pub(crate) fn measure(
    settings: &Settings,
    population: &Population,
    agents: &[AgentLab],
) -> Result<Block> {
    let agent = agents.last().context("no agent")?;
    eprintln!("block: {} commands", settings.blocks);
    let mut block = Block {
        entries: agent.entries,
        enforced: Vec::new(),
        answered: Vec::new(),
        asked: Vec::new(),
    };
    let v4 = population.others(Family::V4, settings.blocks / 2);
    let v6 = population.others(Family::V6, settings.blocks / 2);
    for address in v4.into_iter().zip(v6).flat_map(|(v4, v6)| [v4, v6]) {
        let frame = frame_from(address);
        let passes = test_run(agent.program.as_fd(), &frame, 1)?.action == Action::Pass;
        ensure!(passes, "{address} is refused before it is blocked");
        let stream = UnixStream::connect(agent.agent.socket())?;
        stream.set_read_timeout(Some(ENFORCED_MAX))?;
        let request = serde_json::json!({
            "command": "block", "prefix": address.to_string(), "reason": "bench",
        });
        let line = format!("{request}\n");
        let begin = Instant::now();
        (&stream).write_all(line.as_bytes())?;
        while test_run(agent.program.as_fd(), &frame, 1)?.action != Action::Drop {
            ensure!(begin.elapsed() < ENFORCED_MAX, "{address} is not enforced");
            // The agent shall not have to share its CPU with us.
            thread::sleep(PAUSE);
        }
        block.enforced.push(begin.elapsed().as_secs_f64() * 1e3);
        let mut reply = String::new();
        BufReader::new(&stream).read_line(&mut reply)?;
        block.answered.push(begin.elapsed().as_secs_f64() * 1e3);
        ensure!(reply.contains("\"ok\":true"), "{address}: {reply}");
        let stream = UnixStream::connect(agent.agent.socket())?;
        stream.set_read_timeout(Some(ENFORCED_MAX))?;
        let begin = Instant::now();
        (&stream).write_all(b"{\"command\":\"mode\"}\n")?;
        BufReader::new(&stream).read_line(&mut reply)?;
        block.asked.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    Ok(block)
}

/// Between two looks whether the source is refused.
const PAUSE: Duration = Duration::from_micros(20);
/// Longest a command may take: only a fault does.
const ENFORCED_MAX: Duration = Duration::from_secs(5);
