//! Servers that send anything but the feed: what was last good stays, the agent's memory is bounded, and it is told.

use std::fs;

use anyhow::{Context, ensure};
use lab::{Agent, Lab, Need, Result, TestFn, needs_nothing};

use crate::world::{Web, all_pass, events, refresh, refresh_fails, show, zones};

pub(crate) fn tests() -> Vec<(&'static str, TestFn, Need)> {
    vec![("feeds_of_hostile_servers", hostile, needs_nothing)]
}

/// What the server does, how the feed is then, and what is said.
const BEHAVIOURS: [(&str, &str, &str); 10] = [
    ("html", "refused", "is HTML or XML"),
    ("words", "refused", "more than half of it cannot be read"),
    ("empty", "refused", "is empty"),
    ("missing", "failing", "answers 404"),
    ("truncated", "failing", "breaks off"),
    ("broken_gzip", "refused", "incomplete deflate stream"),
    ("bomb", "refused", "brings more than 1000000"),
    ("endless", "failing", "size_bytes_max"),
    ("slow", "failing", "took longer than 3s"),
    ("often", "failing", "answers 429"),
];
/// How much more memory the agent may have needed for all of that, in KiB.
const GROWTH_KIB_MAX: u64 = 48 * 1024;

fn hostile() -> Result<()> {
    let lab = Lab::new("feeds-hostile")?;
    let web = Web::start(&lab)?;
    let config = zones("block").toml(&format!(
        "[[feed]]\nname = \"web\"\nurl = \"{}\"\nformat = \"netset\"\ninterval = \"1h\"\ntimeout = \"3s\"\n\
         size_bytes_max = 16777216\n",
        Web::URL
    ));
    let agent = Agent::start(&lab, &config)?;
    refresh(&agent, "web")?;
    let before = peak_kib(&agent)?;
    for (behaviour, health, words) in BEHAVIOURS {
        web.serves(behaviour, "203.0.113.66\n")?;
        let said = refresh_fails(&agent, "web")?;
        ensure!(said.contains(words), "{behaviour}: {said}");
        ensure!(!said.contains("hidden"), "a query is told: {said}");
        let shown = show(&agent, "web")?;
        ensure!(
            shown["health"] == health && shown["entries"] == 1,
            "{shown}"
        );
        all_pass(&lab, false, &["203.0.113.66"])?;
        all_pass(&lab, true, &["198.51.100.10"])?;
    }
    let shown = show(&agent, "web")?;
    let (tried, next) = (shown["tried"].as_u64(), shown["next"].as_u64());
    let wait = next.zip(tried).map(|(next, tried)| next - tried);
    ensure!(wait >= Some(3_600_000), "Retry-After is not kept: {shown}");
    let after = peak_kib(&agent)?;
    ensure!(
        after - before < GROWTH_KIB_MAX,
        "{before} KiB grew to {after} KiB"
    );
    web.serves("list", "203.0.113.66\n203.0.113.67\n")?;
    refresh(&agent, "web")?;
    all_pass(&lab, false, &["203.0.113.67"])?;
    let seen = events(&agent, "web")?;
    for event in [
        "feed.fetched",
        "feed.refused",
        "feed.failed",
        "feed.recovered",
    ] {
        ensure!(
            seen.iter().any(|one| one == event),
            "no {event} in {seen:?}"
        );
    }
    Ok(())
}

/// The most memory that the agent ever had, in KiB.
fn peak_kib(agent: &Agent) -> Result<u64> {
    let id = agent.id().context("the agent runs")?;
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
