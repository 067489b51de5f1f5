//! The log on its way to a syslog receiver on this host: how fast what waits is sent, how late what happens arrives,
//! and what the agent takes meanwhile.

use std::{
    fmt::Write as _,
    fs,
    io::{BufReader, Read as _},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    sync::{
        Arc,
        mpsc::{Receiver, sync_channel},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, bail, ensure};
use edgeward::journal::{Journal, JournalSettings};
use lab::{Agent, AgentConfig, Lab, Result};
use serde_json::Value;

use super::{START_MS, event, thousands};
use crate::{
    settings::Settings,
    stats::{entries, median, quantile},
    targets::Target,
};

/// What was measured.
#[derive(Debug, Clone)]
pub(crate) struct Streamed {
    events: usize,
    /// Events a second that arrived, from the first to the last.
    rate: f64,
    /// Milliseconds from the event to its arrival.
    late: Vec<f64>,
    /// The most that was resident (VmHWM), bytes.
    resident: u64,
}

impl Streamed {
    pub(crate) fn measure(settings: &Settings) -> Result<Self> {
        let events = if settings.quick { 20_000 } else { 400_000 };
        eprintln!("log: {} events streamed to syslog", entries(events));
        let lab = Lab::new("bench-stream")?;
        let socket = lab.directory().join("syslog.sock");
        let received = receive(&socket)?;
        let config = AgentConfig::new("log").set("capacity.hosts_v4", 65_536).toml(&format!(
            "[[stream]]\nname = \"siem\"\nkind = \"syslog\"\ntransport = \"unix\"\naddress = \"{}\"\nfrom = \"oldest\"\n",
            socket.display()
        ));
        let mut agent = Agent::prepare(&lab, &config)?;
        fill(&agent.state_dir().join("log"), events)?;
        agent.launch()?;
        let (first, mut count) = (wait(&received)?, 1_usize);
        let begin = first.1;
        let mut last = begin;
        while count < events {
            let (_, at) = wait(&received)?;
            (count, last) = (count + 1, at);
        }
        let rate = events as f64 / last.duration_since(begin).as_secs_f64().max(1e-6);
        let late = arrivals(&agent, &received, settings.blocks.min(200))?;
        let resident = peak(&agent)?;
        agent.stop()?;
        Ok(Self {
            events,
            rate,
            late,
            resident,
        })
    }

    pub(crate) fn targets(&self) -> Vec<Target> {
        vec![
            Target::at_least(
                "events streamed a second to a syslog receiver on this host".to_owned(),
                20_000.0,
                self.rate,
                thousands,
            ),
            Target::at_most(
                "from an event to its receiver, 99th percentile".to_owned(),
                1_500.0,
                quantile(&self.late, 0.99),
                |ms| format!("{ms:.0} ms"),
            ),
            Target::at_most(
                "resident memory of the agent while it streams".to_owned(),
                64.0,
                self.resident as f64 / 1e6,
                |bytes| format!("{bytes:.1} MB"),
            ),
        ]
    }

    pub(crate) fn markdown(&self, text: &mut String) {
        let _infallible = writeln!(
            text,
            "\n### Streamed\n\n{} events wait in the log; the agent sends them to a receiver on a Unix socket (RFC 5424, LogEvent). Then {} decisions \
             are made one after the other, each timed from its event's own time to its arrival. The most that was resident is VmHWM of the agent, the start included.\n\n\
             | | |\n|---|---|\n| sent | {} a second |\n| event to receiver, median | {:.0} ms |\n| 99th percentile | {:.0} ms |\n| agent, most resident | {:.1} MB |",
            entries(self.events),
            self.late.len(),
            thousands(self.rate),
            median(&self.late),
            quantile(&self.late, 0.99),
            self.resident as f64 / 1e6,
        );
    }
}

type Arrived = (String, Instant);

/// Makes decisions and waits for each to arrive.
fn arrivals(agent: &Agent, received: &Receiver<Arrived>, count: usize) -> Result<Vec<f64>> {
    let mut late = Vec::new();
    for number in 0..count {
        let address = format!("203.0.113.{}", number % 250 + 1);
        agent.cli_ok(&["block", &address, "--for", "1h"])?;
        loop {
            let (message, _) = wait(received)?;
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64() * 1e3;
            if !message.contains("decision.create") || !message.contains(&address) {
                continue;
            }
            let (_, body) = message.split_once('{').context("no JSON")?;
            let event: Value = serde_json::from_str(&format!("{{{body}"))?;
            let id = event.get("uuid").and_then(Value::as_str).context("no id")?;
            let made = u64::from_str_radix(&format!("{}{}", &id[..8], &id[9..13]), 16)?;
            late.push((now - made as f64).max(0.0));
            break;
        }
    }
    Ok(late)
}

fn wait(received: &Receiver<Arrived>) -> Result<Arrived> {
    received
        .recv_timeout(SILENCE_MAX)
        .context("the receiver hears nothing more")
}

/// A receiver that reads octet counting.
fn receive(socket: &Path) -> Result<Receiver<Arrived>> {
    let listener = UnixListener::bind(socket)?;
    let (sender, received) = sync_channel(MESSAGES_QUEUED_MAX);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(std::result::Result::ok) {
            let mut reader = BufReader::with_capacity(1 << 16, stream);
            while let Ok(message) = message(&mut reader) {
                if sender.send((message, Instant::now())).is_err() {
                    return;
                }
            }
        }
    });
    Ok(received)
}

fn message(reader: &mut BufReader<UnixStream>) -> Result<String> {
    let mut length = 0_usize;
    loop {
        let mut byte = [0];
        reader.read_exact(&mut byte)?;
        match byte[0] {
            b' ' => break,
            digit @ b'0'..=b'9' => length = length * 10 + usize::from(digit - b'0'),
            other => bail!("{other} is no digit"),
        }
        ensure!(length < 1 << 20, "a message of {length} bytes");
    }
    let mut text = vec![0; length];
    reader.read_exact(&mut text)?;
    Ok(String::from_utf8(text)?)
}

fn fill(dir: &Path, events: usize) -> Result<()> {
    let settings = JournalSettings {
        sync: false,
        ..JournalSettings::default()
    };
    let journal = Journal::at(dir, settings)?;
    let (log, committed) = (journal.log(), journal.log().reader().committed());
    for number in 0..events as u64 {
        let event = event(number, START_MS + number / 30);
        let line = Arc::from(event.to_string());
        while number.saturating_sub(*committed.borrow()) > 10_000 {
            thread::sleep(Duration::from_micros(200));
        }
        if let Value::Object(facts) = event {
            log.put(&facts, &line);
        }
    }
    journal.stop();
    Ok(())
}

fn peak(agent: &Agent) -> Result<u64> {
    let id = agent.id().context("the agent runs")?;
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .context("no VmHWM")?;
    Ok(kilobytes.parse::<u64>()? * 1_024)
}

const SILENCE_MAX: Duration = Duration::from_secs(30);
const MESSAGES_QUEUED_MAX: usize = 4_096;
