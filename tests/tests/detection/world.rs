//! A lab with nginx, an agent that follows its access log, and people who sign in.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use lab::{Agent, AgentConfig, Host, Lab, Request, Result, Site};
use serde_json::Value;

/// Failures of one source without names from which it is refused (`failures_alone`, HIGH).
pub(crate) const HIGH: u64 = 16;
/// Attempts after which an attacker that still gets through is a failure.
const ATTEMPTS_MAX: u64 = 400;
/// Longest wait for something that happens by itself.
const WITHIN: Duration = Duration::from_secs(30);
/// How long a dropped attempt is waited for.
const DROPPED_AFTER: Duration = Duration::from_millis(400);

/// The lab at work.
pub(crate) struct World {
    pub(crate) lab: Lab,
    pub(crate) site: Site,
    pub(crate) agent: Agent,
    attempts: AtomicU64,
}

impl World {
    /// An agent in this mode that follows nginx's access log; `more` is further configuration.
    pub(crate) fn new(name: &str, mode: &str, more: &str) -> Result<Self> {
        let lab = Lab::new(name)?;
        let site = lab.site()?;
        let config = config(&site, mode, more);
        let agent = Agent::start(&lab, &config)?;
        Ok(Self::of(lab, site, agent))
    }

    /// The same of parts.
    pub(crate) const fn of(lab: Lab, site: Site, agent: Agent) -> Self {
        Self {
            lab,
            site,
            agent,
            attempts: AtomicU64::new(0),
        }
    }

    /// One sign-in; whether it was answered.
    pub(crate) fn sign_in(&self, host: &Host, source: IpAddr, right: bool) -> Result<bool> {
        let target = self.site.address(source);
        let password = if right { "right" } else { "wrong" };
        // No two lines of the log are the same.
        let number = self.attempts.fetch_add(1, Ordering::Relaxed);
        let path = format!("{}?password={password}&n={number}", Site::SIGN_IN);
        let answer = host.http(source, target, &Request::post(&path, ""), DROPPED_AFTER);
        match answer {
            Ok(answer) => {
                let expected = if right { 302 } else { 401 };
                ensure!(answer.status == expected, "{answer:?}");
                Ok(true)
            }
            // Dropped: nobody answers.
            Err(_) => Ok(false),
        }
    }

    /// A sign-in that must be answered.
    pub(crate) fn answered(&self, host: &Host, source: IpAddr, right: bool) -> Result<()> {
        // A slow machine is no refusal.
        for _ in 0..3 {
            if self.sign_in(host, source, right)? {
                return Ok(());
            }
        }
        bail!("{source} is not answered\n{}", self.agent.log())
    }

    /// Fails until it is refused; how many attempts reached nginx.
    pub(crate) fn attack(&self, host: &Host, source: IpAddr) -> Result<u64> {
        for reached in 0..ATTEMPTS_MAX {
            if !self.sign_in(host, source, false)? && !self.sign_in(host, source, false)? {
                return Ok(reached);
            }
        }
        bail!(
            "{source} is not refused after {ATTEMPTS_MAX} attempts: {}\n{}",
            self.status()?,
            self.agent.log()
        )
    }

    pub(crate) fn status(&self) -> Result<Value> {
        self.agent.cli_json(&["status"])
    }

    /// Waits until so many signals were counted; there must never be more.
    pub(crate) fn wait_for_signals(&self, count: u64) -> Result<Value> {
        let status = self.wait(|world| {
            let status = world.status()?;
            let signals = status["detection"]["signals"].as_u64().unwrap_or(0);
            ensure!(signals <= count, "{signals} signals of {count}: {status}");
            Ok((signals == count).then_some(status))
        })?;
        Ok(status)
    }

    /// Waits until something is there.
    pub(crate) fn wait<T>(&self, look: impl Fn(&Self) -> Result<Option<T>>) -> Result<T> {
        let deadline = Instant::now() + WITHIN;
        loop {
            if let Some(found) = look(self)? {
                return Ok(found);
            }
            if Instant::now() >= deadline {
                bail!("waited in vain: {}\n{}", self.status()?, self.agent.log());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether detection refuses anybody: what it slows only is listed too.
    pub(crate) fn refuses(&self) -> Result<bool> {
        let refused = |decision: &Value| decision["score"].as_u64() >= Some(80);
        Ok(self.detections()?.iter().any(refused))
    }

    /// What detection decided, by prefix.
    pub(crate) fn detections(&self) -> Result<Vec<Value>> {
        let listing = self.agent.cli_json(&["list", "--origin", "detection"])?;
        let decisions = listing["decisions"].as_array().context("a list")?;
        Ok(decisions.clone())
    }
}

/// Polls until it is so; the time only bounds a failure.
pub(crate) fn until(what: &str, so: impl Fn() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + WITHIN;
    while !so()? {
        ensure!(Instant::now() < deadline, "never: {what}");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The configuration of [`World::new`], for a reload.
pub(crate) fn config(site: &Site, mode: &str, more: &str) -> AgentConfig {
    let log = site.access_log().display();
    let signal = format!(
        "[[signal]]\nname = \"access log\"\nservice = \"login\"\nfile = \"{log}\"\nformat = \"nginx\"\n\
         routes = [\"POST {} success=302 failure=401\"]\n",
        Site::SIGN_IN
    );
    // Between LOW and HIGH a source would be slowed by its rate, and a test would wait for it.
    AgentConfig::new(mode)
        .set("rate_limit.limited_connections", 0)
        .set("rate_limit.limited_packets", 0)
        .service("login", &[Site::HTTP, Site::HTTPS], false)
        .zone(
            "proxies",
            &["trusted-proxy"],
            &["198.51.100.64/26", "2001:db8:9::/48"],
        )
        .zone(
            "office",
            &["exempt"],
            &["198.51.100.128/26", "2001:db8:e::/48"],
        )
        .toml(&format!("{signal}{more}"))
}

/// The `n`th address of a client's network: other people behind the same network.
pub(crate) fn neighbour(host: &Host, number: u8) -> IpAddr {
    let octets = host.v4().octets();
    IpAddr::from([octets[0], octets[1], octets[2], number])
}
