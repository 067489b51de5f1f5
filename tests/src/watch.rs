//! The promise under test, watched: some sources never get a packet through, others never lose one.

use std::net::IpAddr;

use anyhow::{Context, bail};

use crate::Result;
use crate::host::Host;
use crate::network::Lab;
use crate::prober::{Probe, Prober};

/// Continuous probes of both sorts. It ends with [`Watch::finish`], which says whether the promise was kept.
#[derive(Debug)]
#[must_use]
pub struct Watch {
    prober: Prober,
    refused: Vec<String>,
    passed: Vec<String>,
}

impl Watch {
    /// Starts probing from sources that must be refused and from sources that must pass, all the time.
    ///
    /// # Errors
    /// When an address is none, or a socket cannot be opened.
    pub fn start(lab: &Lab, refused: &[(&Host, &str)], passed: &[(&Host, &str)]) -> Result<Self> {
        let mut probes = Vec::new();
        for (host, source) in refused.iter().chain(passed) {
            let address: IpAddr = source.parse().with_context(|| format!("source {source}"))?;
            probes.push(Probe::udp(source, host, address, PORT).per_second(RATE));
        }
        let names = |sources: &[(&Host, &str)]| {
            sources.iter().map(|(_, name)| (*name).to_owned()).collect()
        };
        Ok(Self {
            prober: Prober::start(lab, &probes)?,
            refused: names(refused),
            passed: names(passed),
        })
    }

    /// Waits until every source has sent `count` packets more.
    ///
    /// # Errors
    /// When that does not happen in a minute.
    pub fn wait_for(&self, count: u64) -> Result<()> {
        self.prober.wait_for(count)
    }

    /// Stops, and tells every source for which the promise was broken.
    ///
    /// # Errors
    /// When a refused source got a packet through, or another one lost one.
    pub fn finish(self) -> Result<()> {
        let tally = self.prober.stop();
        let mut broken = Vec::new();
        for name in &self.refused {
            let window = tally.whole(name)?;
            if window.arrived > 0 {
                broken.push(format!("{name} must be refused: {window:?}"));
            }
        }
        for name in &self.passed {
            let window = tally.whole(name)?;
            if window.lost > 0 {
                broken.push(format!("{name} must pass: {window:?}"));
            }
        }
        if broken.is_empty() {
            return Ok(());
        }
        bail!("{}", broken.join("; "))
    }
}

/// Where the probes go; UDP, so that nothing else has it.
const PORT: u16 = 443;
/// Packets a second of each source.
const RATE: u32 = 250;
