//! The agent's program in a quiet lab: single frames through it, and exactly what each of them counted.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use lab::frames::{Ends, Kind, catalogue};
use lab::xdp::{Action, Foreign, Hook, Run, attached_program, test_run};
use lab::{Agent, AgentConfig, EDGE, Lab, Result, WIRE};
use serde_json::{Value, json};

/// A lab with a running agent, and the program that it attached.
pub(crate) struct Edge {
    pub(crate) agent: Agent,
    pub(crate) program: OwnedFd,
    /// On the router's end: veth rings the other end for what XDP sends back only if that end has a
    /// program too.
    _peer: Foreign,
    // Dropped last: the agent must be gone before its namespace is.
    pub(crate) lab: Lab,
}

/// What was counted, by `group.name` as `status --json` has it. Zeroes are left out.
pub(crate) type Counts = BTreeMap<String, u64>;

impl Edge {
    /// Starts the agent and cuts the wire: from then on only the test's frames are counted.
    pub(crate) fn quiet(name: &str, config: &AgentConfig) -> Result<Self> {
        let edge = Self::start(name, config)?;
        let cut = ["ip", "link", "set", "dev", WIRE, "down"];
        edge.lab.net.run(&cut)?.success()?;
        Ok(edge)
    }

    /// Starts the agent on a wire that works.
    pub(crate) fn start(name: &str, config: &AgentConfig) -> Result<Self> {
        let lab = Lab::new(name)?;
        let agent = Agent::start(&lab, config)?;
        let program = attached_program(&lab.login, EDGE)?;
        let peer = Foreign::attach(&lab, &lab.net, WIRE, "pass", Hook::Link)?;
        Ok(Self {
            agent,
            program,
            _peer: peer,
            lab,
        })
    }

    /// Runs the program on one frame.
    pub(crate) fn run(&self, frame: &[u8]) -> Result<Run> {
        test_run(self.program.as_fd(), frame, 1)
    }

    /// Runs the program on one frame and returns what it did.
    pub(crate) fn action(&self, frame: &[u8]) -> Result<Action> {
        Ok(self.run(frame)?.action)
    }

    /// Runs a frame and checks what the program does with it.
    pub(crate) fn expect(&self, what: &str, frame: &[u8], action: Action) -> Result<()> {
        let found = self.action(frame)?;
        ensure!(found == action, "{what}: {found:?} and not {action:?}");
        Ok(())
    }

    /// Every counter of `status --json`.
    pub(crate) fn counts(&self) -> Result<Counts> {
        let status = self
            .agent
            .cli_json(&["status"])
            .with_context(|| format!("the agent's log:\n{}", self.agent.log()))?;
        let mut counts = Counts::new();
        for group in ["packets", "reasons", "unreadable", "events"] {
            let found = status.get(group).and_then(Value::as_object);
            for (name, value) in found.with_context(|| format!("status has no {group}"))? {
                let count = value.as_u64().context("a counter is a number")?;
                counts.insert(format!("{group}.{name}"), count);
            }
        }
        Ok(counts)
    }

    /// Does something and returns what it counted.
    pub(crate) fn counted(&self, work: impl FnOnce() -> Result<()>) -> Result<Counts> {
        let before = self.counts()?;
        work()?;
        let mut counted = self.counts()?;
        for (name, count) in &mut counted {
            let earlier = before.get(name).copied().unwrap_or_default();
            *count = count
                .checked_sub(earlier)
                .with_context(|| format!("{name} went back"))?;
        }
        counted.retain(|_, count| *count > 0);
        Ok(counted)
    }

    /// A request past the CLI, which must succeed.
    pub(crate) fn request(&self, request: &Value) -> Result<Value> {
        let reply = self.agent.request(request)?;
        if reply.get("ok") != Some(&Value::Bool(true)) {
            bail!("{request} was answered {reply}");
        }
        Ok(reply)
    }

    /// Blocks a prefix, whatever it covers.
    pub(crate) fn block(&self, prefix: &str, score: u8, lifetime: Option<Duration>) -> Result<()> {
        self.request(
            &json!({"command": "block", "prefix": prefix, "score": score, "force": true,
            "reason": "test", "for_ms": lifetime.map(milliseconds)}),
        )
        .map(drop)
    }

    /// Exempts a prefix.
    pub(crate) fn exempt(&self, prefix: &str, lifetime: Option<Duration>) -> Result<()> {
        self.request(&json!({"command": "exempt", "prefix": prefix,
            "for_ms": lifetime.map(milliseconds)}))
            .map(drop)
    }

    /// Takes an operator's decision back.
    pub(crate) fn unblock(&self, prefix: &str) -> Result<()> {
        self.request(&json!({"command": "unblock", "prefix": prefix}))
            .map(drop)
    }
}

/// Both ends for a source of either family and a destination port.
pub(crate) fn ends(source: IpAddr, target_port: u16) -> Ends {
    let target = if source.is_ipv4() {
        IpAddr::from([192, 0, 2, 10])
    } else {
        IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10])
    };
    Ends {
        source,
        target,
        source_port: 50_123,
        target_port,
    }
}

/// The whole catalogue of a source.
pub(crate) fn kinds_from(source: &str, target_port: u16) -> Result<Vec<Kind>> {
    Ok(catalogue(ends(address(source)?, target_port)))
}

/// An address, or an error that names it.
pub(crate) fn address(text: &str) -> Result<IpAddr> {
    text.parse().with_context(|| format!("address {text:?}"))
}

/// Counts as a test writes them down.
pub(crate) fn of(counts: &[(&str, u64)]) -> Counts {
    counts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect()
}

/// Without the events, which are limited and therefore no exact number.
pub(crate) fn without_events(mut counts: Counts) -> Counts {
    counts.retain(|name, _| !name.starts_with("events."));
    counts
}

/// Events of all fates together: one for each refusal.
pub(crate) fn events_of(counts: &Counts) -> u64 {
    let fates = ["events.sent", "events.suppressed", "events.lost"];
    fates.iter().filter_map(|fate| counts.get(*fate)).sum()
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
