//! The application behind the proxies: a small server that tells what reached it, header by header.

use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::host::Host;
use crate::http::Response;
use crate::process::Process;
use crate::{Lab, Result};

/// A running origin on a host's 127.0.0.1. Dropping it stops it.
#[derive(Debug)]
pub struct Origin {
    process: Process,
}

/// A request as the origin received it.
#[derive(Debug, Clone)]
pub struct Received(Value);

impl Origin {
    /// Where the snippets of `config/proxies` have the application.
    pub const PORT: u16 = 8081;

    /// Starts it on [`Origin::PORT`].
    ///
    /// # Errors
    /// When it does not answer.
    pub fn start(lab: &Lab, host: &Host) -> Result<Self> {
        let script = lab.write("origin.py", include_str!("scripts/origin.py"))?;
        let script = script.display().to_string();
        let port = Self::PORT.to_string();
        let process = host.spawn(&[PYTHON, &script, &port])?;
        let mut origin = Self { process };
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let deadline = Instant::now() + READY_MAX;
        while let Err(error) =
            host.connect_from(address, address, Self::PORT, Duration::from_secs(1))
        {
            if Instant::now() >= deadline || !origin.process.running() {
                bail!(
                    "the origin does not answer: {error}\n{}",
                    origin.process.stderr()
                );
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(origin)
    }

    /// What reached it so far, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Received> {
        self.process
            .stdout()
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok().map(Received))
            .collect()
    }

    /// Requests for a path (with its query) that reached it so far.
    #[must_use]
    pub fn requests_for(&self, path: &str) -> usize {
        self.requests()
            .iter()
            .filter(|received| received.path() == path)
            .count()
    }
}

impl Received {
    /// Reads the origin's answer.
    ///
    /// # Errors
    /// When the answer is somebody else's.
    pub fn from_answer(answer: &Response) -> Result<Self> {
        let value = serde_json::from_str(&answer.body).with_context(|| {
            format!(
                "not the origin's answer: {}\n\n{}",
                answer.head, answer.body
            )
        })?;
        Ok(Self(value))
    }

    /// Path and query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.0
            .get("path")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// The other end of its connection.
    #[must_use]
    pub fn peer(&self) -> &str {
        self.0
            .get("peer")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// Every header line: name in lower case, and value.
    #[must_use]
    pub fn headers(&self) -> Vec<(&str, &str)> {
        let lines = self.0.get("headers").and_then(Value::as_array);
        lines
            .into_iter()
            .flatten()
            .filter_map(|line| Some((line.get(0)?.as_str()?, line.get(1)?.as_str()?)))
            .collect()
    }

    /// The values of all lines of a header, whose name is in lower case.
    #[must_use]
    pub fn values(&self, name: &str) -> Vec<&str> {
        self.headers()
            .into_iter()
            .filter(|(line, _)| *line == name)
            .map(|(_, value)| value)
            .collect()
    }

    /// Bytes of the body.
    #[must_use]
    pub fn body_bytes(&self) -> u64 {
        self.0
            .get("body_bytes")
            .and_then(Value::as_u64)
            .unwrap_or_default()
    }
}

/// Debian's interpreter: another one may come first on PATH and lack Debian's modules.
pub const PYTHON: &str = "/usr/bin/python3";
/// Longest a start may take: only a failure does.
const READY_MAX: Duration = Duration::from_secs(20);
