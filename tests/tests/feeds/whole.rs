//! Files and URLs: taken over, merged, refused where they must not be believed, kept over a restart.

use std::fs;

use anyhow::ensure;
use lab::{Agent, AgentConfig, Lab, Need, Result, TestFn, needs_nothing};
use serde_json::json;

use crate::world::{
    Web, all_pass, events, refresh, refresh_fails, show, until, until_passes, zones,
};

pub(crate) fn tests() -> Vec<(&'static str, TestFn, Need)> {
    vec![
        ("feeds_of_files_are_merged", merged, needs_nothing),
        ("feeds_may_not_say_everything", gated, needs_nothing),
        (
            "feeds_that_change_too_much_are_refused",
            doubted,
            needs_nothing,
        ),
        ("feeds_are_kept_over_a_restart", kept, needs_nothing),
        ("feeds_end_with_their_entries", ended, needs_nothing),
        ("feeds_of_a_million", million, needs_nothing),
    ]
}

fn file(config: AgentConfig, name: &str, more: &str) -> AgentConfig {
    config.toml(&format!(
        "[[feed]]\nname = \"{name}\"\nfile = \"{{lab}}/{name}.txt\"\nformat = \"netset\"\ninterval = \"1s\"\n{more}"
    ))
}

/// Two feeds, a list and an operator name the same addresses: each goes by itself.
fn merged() -> Result<()> {
    let lab = Lab::new("feeds-merged")?;
    lab.write(
        "a.txt",
        "# a\n203.0.113.66\n203.0.113.128/25 ; range\n2001:db8:bad::/64\nnonsense\n",
    )?;
    lab.write("b.txt", "203.0.113.66\n203.0.113.200\n")?;
    let both = file(file(zones("block"), "a", ""), "b", "score = 90\n");
    let mut agent = Agent::start(&lab, &both)?;
    refresh(&agent, "a")?;
    refresh(&agent, "b")?;
    let first = show(&agent, "a")?;
    ensure!(first["entries"] == 3 && first["bad"] == 1, "{first}");
    all_pass(
        &lab,
        false,
        &[
            "203.0.113.66",
            "203.0.113.200",
            "203.0.113.129",
            "2001:db8:bad::66",
        ],
    )?;
    all_pass(&lab, true, &["203.0.113.67", "198.51.100.10"])?;
    let shown = show(&agent, "a")?;
    ensure!(shown["bad_parts"][0]["place"] == "line 5", "{shown}");
    let explained = agent.cli_json(&["explain", "203.0.113.66"])?;
    ensure!(
        explained["feed"] == "b" && explained["origin"] == "feed" && explained["score"] == 90,
        "the higher score is named: {explained}"
    );
    let listed = agent.cli_json(&["list", "--origin", "feed"])?;
    ensure!(listed["total"] == 5, "{listed}");
    let by: Vec<&str> = listed["decisions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|row| row["prefix"] == "203.0.113.66/32")
        .filter_map(|row| row["actor"].as_str())
        .collect();
    ensure!(by == ["a", "b"], "{listed}");

    agent.cli_ok(&["block", "203.0.113.66", "--reason", "mine"])?;
    agent.cli_ok(&["unblock", "203.0.113.66"])?;
    all_pass(&lab, false, &["203.0.113.66"])?;
    lab.write("b.txt", "203.0.113.200\n")?;
    refresh(&agent, "b")?;
    all_pass(&lab, false, &["203.0.113.66"])?;
    agent.reconfigure(&file(zones("block"), "b", "score = 90\n"))?;
    agent.cli_ok(&["reload"])?;
    all_pass(
        &lab,
        true,
        &["203.0.113.66", "203.0.113.129", "2001:db8:bad::66"],
    )?;
    all_pass(&lab, false, &["203.0.113.200"])?;
    ensure!(agent.cli(&["feed", "show", "a"])?.code == 1);
    // Other terms hold for a file that has not changed.
    agent.reconfigure(&file(zones("block"), "b", "score = 95\n"))?;
    agent.cli_ok(&["reload"])?;
    until("the score is the new one", || {
        let explained = agent.cli_json(&["explain", "203.0.113.200"])?;
        Ok(explained["score"] == 95)
    })?;
    let verified = agent.cli(&["verify"])?;
    ensure!(verified.code == 0, "{verified:?}");
    // The file is looked at by itself, too.
    lab.write("b.txt", "203.0.113.201\n")?;
    until_passes(&lab, false, "203.0.113.201")?;
    all_pass(&lab, true, &["203.0.113.200"])?;
    ensure!(agent.stop()? == 0);
    Ok(())
}

/// What is exempt, a proxy, our own, private or far too wide is set apart, counted by reason, and never in the kernel.
fn gated() -> Result<()> {
    let lab = Lab::new("feeds-gated")?;
    let list = "203.0.113.66\n198.51.100.130\n198.51.100.0/24\n198.51.100.70\n192.0.2.10\n10.1.2.3\n127.0.0.1\n\
                169.254.1.1\n224.0.0.9\n0.0.0.0/0\n::/0\nfe80::1\n203.0.0.0/7\n2001:db8:bad::66\n";
    // 203.0.0.0/7 has host bits and is a bad line; the others are networks.
    lab.write("a.txt", list)?;
    let agent = Agent::start(&lab, &file(zones("block"), "a", ""))?;
    refresh(&agent, "a")?;
    let done = show(&agent, "a")?;
    // 127.0.0.1 is an address of every host.
    let wanted = json!({
        "exempt": 1, "trusted_proxy": 1, "own": 2, "private": 1, "link_local": 2, "multicast": 1, "too_wide": 2,
    });
    let mut refused = done["refused"].clone();
    // The /24 touches both zones; which of them is named is not the point.
    for zone in ["exempt", "trusted_proxy"] {
        if refused[zone] == 2 {
            refused[zone] = json!(1);
        }
    }
    ensure!(refused == wanted, "{done}");
    ensure!(done["entries"] == 2 && done["bad"] == 1, "{done}");
    all_pass(&lab, false, &["203.0.113.66", "2001:db8:bad::66"])?;
    all_pass(
        &lab,
        true,
        &[
            "198.51.100.130",
            "198.51.100.70",
            "198.51.100.10",
            "203.0.113.67",
        ],
    )?;
    // Without the zone the entry is taken over, without a look at the file.
    let other = AgentConfig::new("block").zone("cdn", &["trusted-proxy"], &["198.51.100.64/26"]);
    agent.reconfigure(&file(other, "a", ""))?;
    agent.cli_ok(&["reload"])?;
    until_passes(&lab, false, "198.51.100.130")?;
    agent.reconfigure(&file(zones("block"), "a", ""))?;
    agent.cli_ok(&["reload"])?;
    all_pass(&lab, true, &["198.51.100.130"])?;
    Ok(())
}

/// Empty, shrunk and grown lists wait for an operator's word.
fn doubted() -> Result<()> {
    let lab = Lab::new("feeds-doubted")?;
    let hosts = |count: u32| -> String { (0..count).map(|n| format!("203.0.113.{n}\n")).collect() };
    lab.write("a.txt", &hosts(100))?;
    let agent = Agent::start(&lab, &file(zones("block"), "a", ""))?;
    refresh(&agent, "a")?;
    all_pass(&lab, false, &["203.0.113.66"])?;
    for (list, words) in [
        (hosts(10), "shrinks from 100 to 10"),
        (hosts(200), "grows from 100 to 200"),
        (String::new(), "is empty"),
    ] {
        lab.write("a.txt", &list)?;
        let said = refresh_fails(&agent, "a")?;
        ensure!(said.contains(words), "{said}");
        let shown = show(&agent, "a")?;
        ensure!(
            shown["health"] == "refused" && shown["entries"] == 100,
            "{shown}"
        );
        all_pass(&lab, false, &["203.0.113.66"])?;
        all_pass(&lab, true, &["203.0.113.150"])?;
    }
    let status = agent.cli_json(&["status"])?;
    ensure!(
        status["warnings"].to_string().contains("is empty"),
        "{status}"
    );
    lab.write("a.txt", &hosts(10))?;
    agent.cli_ok(&["feed", "refresh", "a", "--force"])?;
    all_pass(&lab, true, &["203.0.113.66"])?;
    all_pass(&lab, false, &["203.0.113.5"])?;
    let seen = events(&agent, "a")?;
    for event in ["feed.fetched", "feed.refused", "feed.recovered"] {
        ensure!(
            seen.iter().any(|one| one == event),
            "no {event} in {seen:?}"
        );
    }
    Ok(())
}

/// Conditional fetches, and what was last good is in force before the agent is ready, whether the server is there or not.
fn kept() -> Result<()> {
    let lab = Lab::new("feeds-kept")?;
    let web = Web::start(&lab)?;
    let config = zones("block").toml(&format!(
        "[[feed]]\nname = \"web\"\nurl = \"{}\"\nformat = \"netset\"\ninterval = \"1h\"\n",
        Web::URL
    ));
    let mut agent = Agent::start(&lab, &config)?;
    refresh(&agent, "web")?;
    all_pass(&lab, false, &["203.0.113.66"])?;
    refresh(&agent, "web")?;
    let conditional = |line: &String| line.starts_with("list \"");
    ensure!(
        web.requests().iter().any(conditional),
        "{:?}",
        web.requests()
    );
    ensure!(
        show(&agent, "web")?["unchanged"] != 0,
        "{}",
        show(&agent, "web")?
    );
    web.serves("packed", "203.0.113.66\n203.0.113.67\n")?;
    refresh(&agent, "web")?;
    all_pass(&lab, false, &["203.0.113.67"])?;
    ensure!(
        !agent.log().contains("hidden"),
        "a query is in the log: {}",
        agent.log()
    );

    web.stop();
    agent.kill9();
    agent.launch()?;
    all_pass(&lab, false, &["203.0.113.66", "203.0.113.67"])?;
    let listed = agent.cli_json(&["list", "--origin", "feed"])?;
    ensure!(listed["total"] == 2, "{listed}");
    let said = refresh_fails(&agent, "web")?;
    ensure!(said.contains("cannot be reached"), "{said}");

    // A damaged file is told, and fetched anew.
    agent.stop()?;
    let folder = lab.directory().join("edgeward-state/feeds");
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        let mut bytes = fs::read(&path)?;
        if let Some(byte) = bytes.last_mut() {
            *byte ^= 0xff;
        }
        fs::write(&path, bytes)?;
    }
    agent.launch()?;
    ensure!(agent.log().contains("checksum"), "{}", agent.log());
    let web = Web::start(&lab)?;
    web.serves("list", "203.0.113.66\n")?;
    refresh(&agent, "web")?;
    all_pass(&lab, false, &["203.0.113.66"])?;
    Ok(())
}

/// Entries of a CSV file bring their own end, which the kernel honours and after which a weaker entry is back.
fn ended() -> Result<()> {
    let lab = Lab::new("feeds-ended")?;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)?
        .as_secs();
    lab.write("b.txt", "203.0.113.70\n")?;
    lab.write(
        "a.csv",
        &format!(
            "ip,until,confidence\n203.0.113.66,{},100\n203.0.113.70,{},100\n203.0.113.71,{},60\n",
            now + 8,
            now + 8,
            now + 3_600
        ),
    )?;
    let config = file(zones("block"), "b", "").toml(
        "[[feed]]\nname = \"a\"\nfile = \"{lab}/a.csv\"\nformat = \"csv\"\n\
         columns = { prefix = \"ip\", expires = \"until\", score = \"confidence\" }\n",
    );
    let agent = Agent::start(&lab, &config)?;
    refresh(&agent, "a")?;
    refresh(&agent, "b")?;
    let explained = agent.cli_json(&["explain", "203.0.113.71"])?;
    ensure!(
        explained["verdict"] == "limit" && explained["score"] == 60,
        "{explained}"
    );
    until_passes(&lab, true, "203.0.113.66")?;
    all_pass(&lab, false, &["203.0.113.70"])?;
    let explained = agent.cli_json(&["explain", "203.0.113.70"])?;
    ensure!(explained["feed"] == "b", "{explained}");
    Ok(())
}

/// A million entries are taken over, changed, and in force again before a new agent is ready.
fn million() -> Result<()> {
    let lab = Lab::new("feeds-million")?;
    // Spread over 11.0.0.0 to 94.255.255.255, which nothing here is in; and the attacker.
    let mut list: String = (0..999_999_u32)
        .map(|n| {
            let host = 0x0b00_0000_u32 + n * 1_400;
            format!("{}\n", std::net::Ipv4Addr::from(host))
        })
        .collect();
    list.push_str("203.0.113.66\n");
    lab.write("a.txt", &list)?;
    let mut agent = Agent::start(&lab, &file(zones("block"), "a", ""))?;
    refresh(&agent, "a")?;
    all_pass(&lab, false, &["203.0.113.66", "11.0.5.120"])?;
    ensure!(
        show(&agent, "a")?["entries"] == 1_000_000,
        "{}",
        show(&agent, "a")?
    );
    agent.kill9();
    agent.launch()?;
    all_pass(&lab, false, &["203.0.113.66", "11.0.5.120"])?;
    let status = agent.cli_json(&["status"])?;
    let table = status["tables"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|table| table["used"] == 1_000_000);
    ensure!(table.is_some(), "{}", status["tables"]);
    // A few changes are a few changes.
    list.push_str("203.0.113.67\n");
    lab.write("a.txt", &list.replace("203.0.113.66\n", ""))?;
    refresh(&agent, "a")?;
    all_pass(&lab, false, &["203.0.113.67", "11.0.5.120"])?;
    all_pass(&lab, true, &["203.0.113.66"])?;
    Ok(())
}
