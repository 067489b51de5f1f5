//! After a listed IPv4 host the program expects another one, and goes to its bucket without asking the table of
//! networks where no listed prefix and no zone is near. That saves time; it must not change a verdict.

use std::time::Duration;

use anyhow::{Context, ensure};
use edgeward_ebpf::abi::ABI_VERSION;
use edgeward_ebpf::lookup::table4;
use lab::xdp::{Action, on_one_cpu};
use lab::{AgentConfig, PinnedMap, Result};

use crate::edge::{Counts, Edge, of, without_events};
use crate::entries::{echo, judged};

/// Sources, and what becomes of each. Listed hosts have a /16 of their own, or share it with a zone.
const SOURCES: [(&str, Action, &str); 18] = [
    ("198.21.3.3", Action::Drop, "reputation"),
    ("198.21.3.5", Action::Drop, "reputation"),
    ("198.21.3.4", Action::Pass, ""),
    ("198.21.77.1", Action::Pass, ""),
    ("198.21.3.9", Action::Pass, ""),
    ("198.18.0.1", Action::Drop, "reputation"),
    ("198.18.0.2", Action::Pass, ""),
    ("198.18.0.7", Action::Pass, "exempt"),
    ("198.18.200.7", Action::Drop, "reputation"),
    ("198.19.0.5", Action::Pass, "trusted_proxy"),
    ("198.19.0.77", Action::Drop, "reputation"),
    ("198.20.9.1", Action::Drop, "blocked_zone"),
    ("198.22.0.77", Action::Drop, "reputation"),
    ("198.22.1.1", Action::Pass, ""),
    ("198.23.130.1", Action::Drop, "reputation"),
    ("198.24.0.1", Action::Pass, ""),
    ("2001:db8:21::3", Action::Drop, "reputation"),
    ("2001:db8:21::4", Action::Pass, ""),
];

fn start(name: &str) -> Result<Edge> {
    let config = AgentConfig::new("block")
        .set("rate_limit.limited_connections", 0)
        .set("rate_limit.limited_packets", 0)
        .zone("office", &["exempt"], &["198.18.0.7"])
        .zone("cdn", &["trusted-proxy"], &["198.19.0.0/28"])
        .zone("hostile", &["blocked"], &["198.20.9.0/25"])
        .list(
            "hosts",
            100,
            &[
                "198.21.3.3",
                "198.21.3.5",
                "198.18.0.1",
                "198.18.0.7",
                "198.18.200.7",
                "198.19.0.5",
                "198.19.0.77",
                "2001:db8:21::3",
            ],
        )
        .list("weak", 10, &["198.21.3.9"])
        .list("networks", 100, &["198.22.0.0/24", "198.23.128.0/20"]);
    Edge::quiet(name, &config)
}

/// Every source after every other one.
pub(crate) fn interleaved() -> Result<()> {
    let edge = start("flood")?;
    let counted = edge.counted(|| {
        on_one_cpu(|| {
            for (before, first, _) in SOURCES {
                for (source, action, _) in SOURCES {
                    edge.expect(before, &echo(before.parse()?), first)?;
                    let what = format!("{source} after {before}");
                    edge.expect(&what, &echo(source.parse()?), action)?;
                }
            }
            Ok(())
        })
    })?;
    let mut expected = Counts::new();
    let mut add = |name: String, count: u64| *expected.entry(name).or_default() += count;
    for (_, action, reason) in SOURCES {
        let count = 2 * SOURCES.len() as u64;
        match (action, reason) {
            (Action::Drop, reason) => {
                add("packets.refused".to_owned(), count);
                add(format!("reasons.{reason}"), count);
            }
            (_, "") => add("packets.pass".to_owned(), count),
            (_, reason) => add(format!("packets.{reason}"), count),
        }
    }
    let counted = without_events(counted);
    ensure!(counted == expected, "{counted:?} and not {expected:?}");
    Ok(())
}

/// What comes into force while the program expects listed hosts holds for the next frame.
pub(crate) fn changes() -> Result<()> {
    let edge = start("flood-changes")?;
    on_one_cpu(|| {
        let flooded = |source: &str, action| -> Result<Counts> {
            for _ in 0..2 {
                edge.expect("198.21.3.5", &echo("198.21.3.5".parse()?), Action::Drop)?;
            }
            judged(&edge, source, action).with_context(|| format!("{source} in a flood"))
        };
        let pass = of(&[("packets.pass", 1)]);
        let refused = of(&[("packets.refused", 1), ("reasons.reputation", 1)]);
        for (prefix, source) in [
            ("198.24.0.1/32", "198.24.0.1"),
            ("198.24.0.0/24", "198.24.0.1"),
            ("198.24.0.0/30", "198.24.0.1"),
            ("198.24.0.0/15", "198.25.255.255"),
            ("198.0.0.0/8", "198.255.255.255"),
        ] {
            ensure!(flooded(source, Action::Pass)? == pass, "before {prefix}");
            edge.block(prefix, 100, None)?;
            ensure!(flooded(source, Action::Drop)? == refused, "{prefix}");
            edge.unblock(prefix)?;
            ensure!(flooded(source, Action::Pass)? == pass, "after {prefix}");
        }
        for prefix in [
            "198.21.3.3/32",
            "198.21.3.0/30",
            "198.21.0.0/17",
            "198.20.0.0/14",
        ] {
            ensure!(
                flooded("198.21.3.3", Action::Drop)? == refused,
                "before {prefix}"
            );
            edge.exempt(prefix, Some(Duration::from_secs(3600)))?;
            // What is exempt ends the flood: another host has to begin it.
            for _ in 0..2 {
                edge.expect("198.18.0.1", &echo("198.18.0.1".parse()?), Action::Drop)?;
            }
            let counted = judged(&edge, "198.21.3.3", Action::Pass)?;
            ensure!(
                counted == of(&[("packets.exempt", 1)]),
                "{prefix}: {counted:?}"
            );
            edge.unblock(prefix)?;
            ensure!(
                flooded("198.21.3.3", Action::Drop)? == refused,
                "after {prefix}"
            );
        }
        ensure!(
            edge.agent.cli(&["verify"])?.code == 0,
            "verify finds a difference"
        );
        Ok(())
    })
}

/// Without this the tests above could pass because nothing is ever skipped: a table that lacks a host's network is
/// not noticed in a flood, unless a zone is near.
pub(crate) fn skips() -> Result<()> {
    let edge = start("flood-skips")?;
    let pins = edge.agent.bpffs_dir().join(format!("v{ABI_VERSION}"));
    let table = PinnedMap::open(&pins.join("table4"))?;
    for address in [[198, 21, 3, 3], [198, 18, 200, 7]] {
        let (word, _) = table4::position(u32::from_be_bytes(address));
        table.set(&word.to_ne_bytes(), &[0; 8])?;
    }
    on_one_cpu(|| {
        let run = |source: &str, action| edge.expect(source, &echo(source.parse()?), action);
        let listed = || run("198.18.0.1", Action::Drop);
        let clean = || run("198.24.0.1", Action::Pass);
        clean()?;
        run("198.21.3.3", Action::Pass).context("asks the table")?;
        listed()?;
        run("198.21.3.3", Action::Drop).context("goes to the bucket")?;
        run("198.21.3.5", Action::Drop).context("still does")?;
        run("198.18.200.7", Action::Pass).context("a zone is near: asks the table")?;
        clean()?;
        run("198.21.3.3", Action::Pass).context("the flood is over")
    })
}
