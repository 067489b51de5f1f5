//! The kernel ends decisions by itself: with the agent killed, nothing outlives its expiry.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::ensure;
use lab::xdp::Action;
use lab::{AgentConfig, Result};

use crate::edge::Edge;
use crate::entries::echo;

/// How long decisions last; twice as long after every try in which there was no time to look.
const LIFETIME: Duration = Duration::from_secs(3);
const LIFETIME_MAX: Duration = Duration::from_secs(48);
/// The kernel counts time in ticks and rounds down: ends come this much early.
const END_EARLY_MAX: Duration = Duration::from_millis(136);

/// Decisions that end, decisions that do not, and a source of each.
const ENDING: [(&str, &str); 9] = [
    ("203.0.113.9", "203.0.113.9"),
    ("198.18.1.0/24", "198.18.1.5"),
    ("198.18.2.0/25", "198.18.2.5"),
    ("198.19.0.0/16", "198.19.3.3"),
    ("2001:db8:bad::9", "2001:db8:bad::9"),
    ("2001:db8:1:1::/64", "2001:db8:1:1::1"),
    ("2001:db8:2:200::/56", "2001:db8:2:2ff::1"),
    ("2001:db8:3::/48", "2001:db8:3:9::1"),
    ("2001:db8:4::/46", "2001:db8:7::1"),
];

fn config() -> AgentConfig {
    AgentConfig::new("block")
        .set("rate_limit.limited_connections", 0)
        .set("rate_limit.limited_packets", 0)
        .zone(
            "bad-nets",
            &["blocked"],
            &["203.0.113.128/25", "2001:db8:bad:8000::/49"],
        )
}

fn expect_all(edge: &Edge, when: &str, sources: &[&str], action: Action) -> Result<()> {
    sources.iter().try_for_each(|source| {
        edge.expect(&format!("{source} {when}"), &echo(source.parse()?), action)
    })
}

pub(crate) fn without_agent() -> Result<()> {
    let mut edge = Edge::quiet("expiry", &config())?;
    let lasting = [
        "203.0.113.10",
        "198.18.9.0/24",
        "2001:db8:bad::a",
        "2001:db8:9::/64",
    ];
    for prefix in lasting {
        edge.block(prefix, 100, None)?;
    }
    edge.block("198.18.3.0/26", 100, Some(Duration::from_secs(3600)))?;
    let ending = ENDING.map(|(_, source)| source);
    let exempt = ["203.0.113.200", "2001:db8:bad:8001::1"];
    let mut lifetime = LIFETIME;
    while !seen_while_they_last(&mut edge, lifetime, &ending, &exempt)? {
        lifetime *= 2;
        ensure!(
            lifetime <= LIFETIME_MAX,
            "the decisions end before anybody can look"
        );
        edge.agent.launch()?;
    }
    expect_all(&edge, "after their end", &ending, Action::Pass)?;
    expect_all(&edge, "after their exemption", &exempt, Action::Drop)?;
    let lasting = [
        "203.0.113.10",
        "198.18.9.9",
        "198.18.3.3",
        "2001:db8:bad::a",
        "2001:db8:9::9",
    ];
    expect_all(&edge, "without an end", &lasting, Action::Drop)?;
    // Nor does an agent that comes back bring them back.
    edge.agent.launch()?;
    expect_all(&edge, "after a restart", &ending, Action::Pass)?;
    expect_all(&edge, "after a restart", &exempt, Action::Drop)?;
    expect_all(&edge, "after a restart", &lasting, Action::Drop)?;
    ensure!(
        edge.agent.cli(&["verify"])?.code == 0,
        "verify finds a difference"
    );
    Ok(())
}

/// Makes the decisions that end, kills the agent, looks at what they do and waits for their end. Says whether there was
/// time to look: what was seen later says nothing.
fn seen_while_they_last(
    edge: &mut Edge,
    lifetime: Duration,
    ending: &[&str],
    exempt: &[&str],
) -> Result<bool> {
    let begun = Instant::now();
    for (prefix, _) in ENDING {
        edge.block(prefix, 100, Some(lifetime))?;
    }
    for prefix in ["203.0.113.200", "2001:db8:bad:8001::/64"] {
        edge.exempt(prefix, Some(lifetime))?;
    }
    let made = Instant::now();
    edge.agent.kill9();
    let seen = expect_all(edge, "while they last", ending, Action::Drop)
        .and_then(|()| expect_all(edge, "while they last", exempt, Action::Pass));
    if begun.elapsed() + END_EARLY_MAX >= lifetime {
        return Ok(false);
    }
    seen?;
    thread::sleep(lifetime.saturating_sub(made.elapsed()));
    Ok(true)
}

/// A longer prefix that has expired lies in front of a shorter one that has not.
pub(crate) fn hides_nothing() -> Result<()> {
    let mut edge = Edge::quiet("expiry-hides", &config())?;
    let nested = [
        ("198.18.1.1/32", "198.18.1.0/24", "198.18.1.1"),
        ("198.18.2.2/32", "198.18.2.0/30", "198.18.2.2"),
        ("198.18.3.0/24", "198.18.2.0/23", "198.18.3.1"),
        ("198.18.4.0/27", "198.18.4.0/24", "198.18.4.1"),
        ("198.18.6.0/27", "198.18.6.0/26", "198.18.6.1"),
        ("2001:db8:1::1/128", "2001:db8:1::/64", "2001:db8:1::1"),
        ("2001:db8:2::/56", "2001:db8:2::/48", "2001:db8:2::1"),
        ("2001:db8:3::/64", "2001:db8:3::/63", "2001:db8:3::1"),
        ("2001:db8:4::/80", "2001:db8:4::/48", "2001:db8:4::1"),
        ("2001:db8:6::/80", "2001:db8:6::/79", "2001:db8:6::1"),
    ];
    for (_, shorter, _) in nested {
        edge.block(shorter, 90, None)?;
    }
    for (longer, _, _) in nested {
        edge.block(longer, 100, Some(Duration::from_secs(1)))?;
    }
    let made = Instant::now();
    edge.agent.kill9();
    let sources = nested.map(|(_, _, source)| source);
    expect_all(&edge, "before", &sources, Action::Drop)?;
    thread::sleep(Duration::from_secs(1).saturating_sub(made.elapsed()));
    expect_all(&edge, "behind an expired one", &sources, Action::Drop)
}
