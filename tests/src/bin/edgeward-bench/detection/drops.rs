//! From the signal that makes a source an attacker to the first frame that the kernel drops.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use lab::xdp::{Action, attached_program, test_run};
use lab::{AgentConfig, EDGE, Lab, Result};

use crate::contenders::start_agent;
use crate::settings::Settings;
use crate::stats::{median, quantile};
use crate::targets::Target;
use crate::traffic::frame_from;

/// Milliseconds, one value a source.
#[derive(Debug, Clone)]
pub(crate) struct Drops {
    /// Until a frame of the source is dropped.
    dropped: Vec<f64>,
    /// Until the call is answered: the signal is written down.
    answered: Vec<f64>,
}

impl Drops {
    /// Sources of both families in turn fail until one failure is missing, and then once more.
    pub(crate) fn measure(settings: &Settings) -> Result<Self> {
        eprintln!(
            "detection: {} sources until they are dropped",
            settings.blocks
        );
        let lab = Lab::new("bench-detect")?;
        let socket = lab.directory().join("signals.sock");
        let config = AgentConfig::new("block")
            .set("rate_limit.limited_connections", 0)
            .set("rate_limit.limited_packets", 0)
            .service("login", &[443], false)
            .toml(&format!(
                "[[endpoint]]\nname = \"outcomes\"\nprofile = \"signals\"\nlisten = \"unix:{}\"\n",
                socket.display()
            ));
        let _agent = start_agent(&lab, &config)?;
        let program = attached_program(&lab.login, EDGE)?;
        let mut drops = Self {
            dropped: Vec::new(),
            answered: Vec::new(),
        };
        for number in 0..settings.blocks {
            let source = source(number)?;
            let frame = frame_from(source);
            let before = post(&socket, &failures(source, FAILURES_HIGH - 1))?;
            ensure!(before.contains("200 OK"), "{before}");
            let passes = test_run(program.as_fd(), &frame, 1)?.action == Action::Pass;
            ensure!(passes, "{source} is refused too early");
            let last = failures(source, 1);
            let mut call = UnixStream::connect(&socket)?;
            call.set_read_timeout(Some(DROPPED_MAX))?;
            let begin = Instant::now();
            call.write_all(last.as_bytes())?;
            while test_run(program.as_fd(), &frame, 1)?.action != Action::Drop {
                ensure!(begin.elapsed() < DROPPED_MAX, "{source} is not dropped");
                // The agent shall not have to share its CPU with us.
                thread::sleep(PAUSE);
            }
            drops.dropped.push(begin.elapsed().as_secs_f64() * 1e3);
            let answer = read_answer(&mut call)?;
            drops.answered.push(begin.elapsed().as_secs_f64() * 1e3);
            ensure!(answer.contains("200 OK"), "{answer}");
        }
        Ok(drops)
    }

    pub(crate) fn targets(&self) -> Vec<Target> {
        vec![Target::at_most(
            "from the last signal to the first drop, 99th percentile".to_owned(),
            100.0,
            quantile(&self.dropped, 0.99),
            |ms| format!("{ms:.2} ms"),
        )]
    }

    pub(crate) fn markdown(&self, text: &mut String) {
        let _ = writeln!(
            text,
            "\n### From a signal to a drop\n\n\
             Sources fail {} times; an application reports the last failure (`POST /v1/signals`), and frames of the \
             source are judged until the kernel drops one.\n\n\
             | | median | 99th percentile | slowest |\n|---|---|---|---|",
            FAILURES_HIGH
        );
        for (what, values) in [
            ("a frame of the source is dropped", &self.dropped),
            ("the call is answered", &self.answered),
        ] {
            let _ = writeln!(
                text,
                "| {what} ({} sources) | {:.2} ms | {:.2} ms | {:.2} ms |",
                values.len(),
                median(values),
                quantile(values, 0.99),
                quantile(values, 1.0)
            );
        }
    }
}

/// A source of its own for every round, both families in turn.
fn source(number: usize) -> Result<IpAddr> {
    let number = u32::try_from(number)?;
    // A network of its own too: neighbours shall not be found together.
    let net = number / 2 + 1;
    Ok(if number.is_multiple_of(2) {
        IpAddr::V4(Ipv4Addr::from(0x0b00_0001 + (net << 8)))
    } else {
        IpAddr::V6(Ipv6Addr::from(
            (0x2a00_0000_u128 + u128::from(net)) << 96 | 1,
        ))
    })
}

/// The call that reports so many failures of a source without names.
fn failures(source: IpAddr, count: usize) -> String {
    let one = format!("{{\"client\":\"{source}\",\"outcome\":\"failure\"}}");
    let body = format!("[{}]", vec![one; count].join(","));
    format!(
        "POST /v1/signals HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn post(socket: &Path, call: &str) -> Result<String> {
    let mut stream = UnixStream::connect(socket)
        .with_context(|| format!("cannot reach {}", socket.display()))?;
    stream.set_read_timeout(Some(DROPPED_MAX))?;
    stream.write_all(call.as_bytes())?;
    read_answer(&mut stream)
}

/// The answer's head and body, to the end of the connection.
fn read_answer(stream: &mut UnixStream) -> Result<String> {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    if answer.is_empty() {
        bail!("the call is not answered");
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Failures without names from which a source is refused (`failures_alone`, HIGH).
const FAILURES_HIGH: usize = 16;
/// Between two looks whether the source is dropped.
const PAUSE: Duration = Duration::from_micros(50);
/// Longest it may take: only a fault does.
const DROPPED_MAX: Duration = Duration::from_secs(10);
