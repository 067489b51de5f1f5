//! Large lists that replace each other, and zones that hand an address to one another.

use std::fmt::Write;

use anyhow::ensure;
use lab::{Agent, AgentConfig, Lab, Result, TestFn, Watch};

use super::world::{
    LISTED, Numbers, guarded, passed, passes, refused, until, verified, watch, zones,
};

pub(crate) fn tests() -> Vec<(&'static str, TestFn)> {
    vec![
        ("a_large_list_replaces_another_without_a_gap", large_lists),
        ("zones_hand_an_address_over_without_a_loss", zones_swap),
        ("a_block_moves_between_prefixes_without_a_gap", nested),
        ("bad_lines_are_named_and_counted", garbage),
    ]
}

fn large_lists() -> Result<()> {
    let lab = Lab::new("lists")?;
    let lists = [list_of(0, "203.0.113.7"), list_of(1, "203.0.113.8")];
    lab.write("bad.txt", &lists[0])?;
    let config = zones(AgentConfig::new("block")).list_files("bad", 100, &["bad.txt"]);
    let agent = Agent::start(&lab, &config)?;
    // A few of them are drawn twice.
    let held = entries(&agent)?;
    ensure!(held > ENTRIES as u64 * 95 / 100, "only {held} entries");
    let watch = watch(&lab)?;
    let mut tap = lab.edge_tap()?;
    for (round, list) in [1, 0, 1].into_iter().enumerate() {
        let text = lists.get(list).map(String::as_str).unwrap_or_default();
        lab.write("bad.txt", text)?;
        watch.wait_for(20)?;
        agent.cli_ok(&["reload"])?;
        watch.wait_for(20)?;
        for (only_in, source) in [(0, "203.0.113.7"), (1, "203.0.113.8")] {
            let expected = only_in != list;
            ensure!(
                passes(&lab, &mut tap, source)? == expected,
                "round {round}: {source}, listed in list {only_in}, while list {list} is in force"
            );
        }
    }
    verified(&agent)?;
    watch.finish()
}

/// 200,000 entries, the second half of which both lists have; what [`guarded`] lists is in both.
fn list_of(number: usize, own: &str) -> String {
    let mut text = format!("# list {number}\n{own}\n");
    for entry in LISTED {
        let _ = writeln!(text, "{entry}");
    }
    let mut both = Numbers(7);
    let mut alone = Numbers(100 + number as u64);
    for index in 0..ENTRIES {
        let source = if index % 2 == 0 {
            &mut both
        } else {
            &mut alone
        };
        let bits = source.next();
        // One in ten is IPv6, one in fifty a prefix for the tries.
        let [a, b, c, d, e, f, ..] = bits.to_be_bytes();
        let _ = match bits % 50 {
            0 => writeln!(text, "10.{a}.{b}.{}/30", c & 0xfc),
            1..=4 => writeln!(text, "2001:db8:{a:02x}{b:02x}:{c:02x}{d:02x}::{e:x}{f:02x}"),
            _ => writeln!(text, "10.{a}.{b}.{c}"),
        };
    }
    text
}

/// Entries in the kernel's tables, as the agent says.
fn entries(agent: &Agent) -> Result<u64> {
    let status = agent.cli_json(&["status"])?;
    let tables = status.pointer("/tables").and_then(|rows| rows.as_array());
    Ok(tables
        .into_iter()
        .flatten()
        .filter_map(|row| row.pointer("/used")?.as_u64())
        .sum())
}

fn zones_swap() -> Result<()> {
    let lab = Lab::new("zones")?;
    let wide = ["198.51.100.128/26", "2001:db8:e::/48"];
    let narrow = ["198.51.100.130", "2001:db8:e::/64"];
    let away = ["192.0.2.128/25"];
    let listed = || AgentConfig::new("block").list("bad", 100, &LISTED);
    let proxy = |config: AgentConfig| {
        config.zone(
            "cdn",
            &["trusted-proxy"],
            &["198.51.100.64/26", "2001:db8:9::/48"],
        )
    };
    // The same address, exempt by another zone, by another prefix, by another use, each time.
    let configs = [
        proxy(listed().zone("office", &["exempt"], &wide)),
        proxy(
            listed()
                .zone("office", &["exempt"], &away)
                .zone("branch", &["exempt"], &narrow),
        ),
        proxy(
            listed()
                .zone("branch", &["exempt"], &wide)
                .zone("near", &["gateway"], &narrow),
        ),
        listed().zone(
            "partners",
            &["trusted-proxy"],
            &[
                "198.51.100.128/26",
                "2001:db8:e::/48",
                "198.51.100.64/26",
                "2001:db8:9::/48",
            ],
        ),
        listed().zone("office", &["trusted-proxy"], &narrow).zone(
            "proxies",
            &["exempt"],
            &["198.51.100.64/26", "2001:db8:9::/64"],
        ),
    ];
    let [first, ..] = &configs;
    let agent = Agent::start(&lab, first)?;
    let watch = watch(&lab)?;
    for _ in 0..4 {
        for config in &configs {
            agent.reconfigure(config)?;
            agent.cli_ok(&["reload"])?;
            watch.wait_for(5)?;
        }
    }
    verified(&agent)?;
    watch.finish()
}

/// An attacker is always covered by something, but by another prefix length and another table each time.
fn nested() -> Result<()> {
    let lab = Lab::new("nested")?;
    let covers = [
        ["203.0.113.66", "2001:db8:bad::66"],
        ["203.0.113.0/24", "2001:db8:bad::/64"],
        ["203.0.113.64/27", "2001:db8:bad::/57"],
        ["203.0.0.0/16", "2001:db8:bad::/48"],
        ["203.0.113.66", "2001:db8::/29"],
        ["200.0.0.0/6", "2001:db8:bad::/56"],
    ];
    let config = |networks: &[&str]| zones(AgentConfig::new("block")).list("bad", 100, networks);
    let [first, ..] = &covers;
    let agent = Agent::start(&lab, &config(first))?;
    let attackers = [
        (&lab.attacker, "203.0.113.66"),
        (&lab.attacker, "2001:db8:bad::66"),
    ];
    let innocent = [(&lab.innocent, "198.51.100.10")];
    let watch = Watch::start(&lab, &attackers, &innocent)?;
    for _ in 0..4 {
        for cover in &covers {
            agent.reconfigure(&config(cover))?;
            agent.cli_ok(&["reload"])?;
            watch.wait_for(5)?;
        }
        // The same by a zone, whose entries outrank reputation.
        for cover in &covers {
            let blocked = zones(AgentConfig::new("block")).zone("hostile", &["blocked"], cover);
            agent.reconfigure(&blocked)?;
            agent.cli_ok(&["reload"])?;
            watch.wait_for(5)?;
        }
    }
    verified(&agent)?;
    watch.finish()
}

fn garbage() -> Result<()> {
    let lab = Lab::new("garbage")?;
    lab.write("bad.txt", "203.0.113.66\n2001:db8:bad::66\n")?;
    let config = || guarded("block").list_files("feed", 90, &["bad.txt"]);
    let mut agent = Agent::start(&lab, &config())?;
    let watch = Watch::start(&lab, &refused(&lab), &passed(&lab))?;
    lab.write(
        "bad.txt",
        "<html>\n203.0.113.9\n203.0.113.300\n\n# fine\n203.0.113.10/24\nnot a network\n",
    )?;
    let said = agent.cli_ok(&["reload"])?;
    for named in ["bad.txt:1", "bad.txt:3", "bad.txt:6", "bad.txt:7"] {
        ensure!(said.contains(named), "{named} is not named: {said}");
    }
    let status = agent.cli_json(&["status"])?;
    let feed = status
        .pointer("/lists/1")
        .ok_or_else(|| anyhow::anyhow!("{status}"))?;
    ensure!(
        feed["networks"] == 1 && feed["rejected"] == 4,
        "the good line counts, the four bad ones are counted: {feed}"
    );
    let mut tap = lab.edge_tap()?;
    ensure!(!passes(&lab, &mut tap, "203.0.113.9")?, "the good line");
    // Bytes that are no text at all, by SIGHUP this time.
    std::fs::write(lab.directory().join("bad.txt"), [0xff_u8, 0, 10, 0xfe, 10])?;
    agent.signal(libc::SIGHUP)?;
    until("the list is empty", || {
        let status = agent.cli_json(&["status"])?;
        Ok(status.pointer("/lists/1/networks") == Some(&0.into()))
    })?;
    ensure!(
        passes(&lab, &mut tap, "203.0.113.9")?,
        "the good line is gone"
    );
    verified(&agent)?;
    watch.finish()
}

/// Entries of each list.
const ENTRIES: usize = 200_000;
