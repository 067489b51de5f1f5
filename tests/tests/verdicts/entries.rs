//! Entries of every length: where they begin and end, which of several wins, what is carved out, hits.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use edgeward::config::Config;
use edgeward::datapath::{Datapath, Sizes};
use ipnet::IpNet;
use lab::frames::Frame;
use lab::xdp::Action;
use lab::{AgentConfig, Result};

use crate::edge::{Counts, Edge, ends, of, without_events};

fn config() -> AgentConfig {
    AgentConfig::new("block")
        .set("rate_limit.limited_connections", 0)
        .set("rate_limit.limited_packets", 0)
}

/// An echo request: no port and no limit plays a part.
pub(crate) fn echo(source: IpAddr) -> Vec<u8> {
    let ends = ends(source, 0);
    Frame::between(ends.source, ends.target).echo().build()
}

/// Runs one frame from a source and says what it counted.
pub(crate) fn judged(edge: &Edge, source: &str, action: Action) -> Result<Counts> {
    let frame = echo(source.parse()?);
    let counted = edge.counted(|| edge.expect(source, &frame, action))?;
    Ok(without_events(counted))
}

fn refused(reason: &str) -> Counts {
    of(&[("packets.refused", 1), (&format!("reasons.{reason}"), 1)])
}

/// Addresses at both ends of a prefix, and just outside of it.
fn borders(prefix: IpNet) -> (Vec<IpAddr>, Vec<IpAddr>) {
    let number = |address: IpAddr| match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    };
    let (top, address): (u128, fn(u128) -> IpAddr) = match prefix {
        IpNet::V4(_) => (u128::from(u32::MAX), |number| {
            IpAddr::V4(u32::try_from(number).unwrap_or_default().into())
        }),
        IpNet::V6(_) => (u128::MAX, |number| IpAddr::V6(number.into())),
    };
    let (low, high) = (number(prefix.network()), number(prefix.broadcast()));
    let middle = low + (high - low) / 2;
    let outside = [
        low.checked_sub(1),
        high.checked_add(1).filter(|next| *next <= top),
    ];
    (
        [low, middle, high].map(address).to_vec(),
        outside.into_iter().flatten().map(address).collect(),
    )
}

pub(crate) fn lengths() -> Result<()> {
    let edge = Edge::quiet("lengths", &config())?;
    let prefix = |address: &str, length: u8| -> Result<IpNet> {
        Ok(IpNet::new(address.parse()?, length)?.trunc())
    };
    // Each in a block of its own, all in force together.
    let mut together = Vec::new();
    for length in 9..=32_u8 {
        together.push(prefix(&format!("{}.181.182.183", 100 + length), length)?);
    }
    for length in 17..=128_u8 {
        together.push(prefix(
            &format!("24{length:02x}:abcd:abcd:abcd:abcd:abcd:abcd:abcd"),
            length,
        )?);
    }
    for prefix in &together {
        edge.block(&prefix.to_string(), 100, None)?;
    }
    for prefix in &together {
        check_borders(&edge, *prefix)?;
    }
    ensure!(
        edge.agent.cli(&["verify"])?.code == 0,
        "verify finds a difference"
    );
    for prefix in &together {
        edge.unblock(&prefix.to_string())?;
    }
    // The short ones one after the other: they cover each other.
    let mut alone = Vec::new();
    for length in 0..=8 {
        alone.push(prefix("77.0.0.0", length)?);
    }
    for length in 0..=16 {
        alone.push(prefix("2a5a::", length)?);
    }
    for prefix in &alone {
        edge.block(&prefix.to_string(), 100, None)?;
        check_borders(&edge, *prefix)?;
        edge.unblock(&prefix.to_string())?;
        let (inside, _) = borders(*prefix);
        for address in inside {
            edge.expect(
                &format!("{address} after {prefix}"),
                &echo(address),
                Action::Pass,
            )?;
        }
    }
    Ok(())
}

fn check_borders(edge: &Edge, prefix: IpNet) -> Result<()> {
    let (inside, outside) = borders(prefix);
    for address in inside {
        edge.expect(
            &format!("{address} in {prefix}"),
            &echo(address),
            Action::Drop,
        )?;
    }
    for address in outside {
        edge.expect(
            &format!("{address} outside of {prefix}"),
            &echo(address),
            Action::Pass,
        )?;
    }
    Ok(())
}

/// Chains of prefixes around one address, longest first, that mix exact lengths and tries.
const CHAINS: [(&str, &[&str]); 6] = [
    (
        "198.18.1.1",
        &["198.18.1.1/32", "198.18.1.0/24", "198.18.0.0/16"],
    ),
    (
        "198.18.2.2",
        &["198.18.2.0/30", "198.18.2.0/24", "198.18.2.0/23"],
    ),
    (
        "198.18.4.4",
        &["198.18.4.4/31", "198.18.4.0/25", "198.18.4.0/22"],
    ),
    (
        "2001:db8:a:b:c:d:e:f",
        &[
            "2001:db8:a:b:c:d:e:f/128",
            "2001:db8:a:b::/64",
            "2001:db8:a::/48",
        ],
    ),
    (
        "2001:db8:b:1122::1",
        &[
            "2001:db8:b:1122::/100",
            "2001:db8:b:1100::/56",
            "2001:db8:b:1000::/52",
        ],
    ),
    (
        "2001:db8:c:1::1",
        &["2001:db8:c:1::/65", "2001:db8:c::/47", "2001:db8::/32"],
    ),
];

pub(crate) fn strongest() -> Result<()> {
    let edge = Edge::quiet("strongest", &config())?;
    for (source, chain) in CHAINS {
        for (scores, expected) in [
            ([90, 10, 10], refused("reputation")),
            ([10, 90, 10], refused("reputation")),
            ([10, 10, 90], refused("reputation")),
            ([50, 90, 50], refused("reputation")),
            ([10, 50, 10], of(&[("packets.limited", 1)])),
            ([50, 10, 10], of(&[("packets.limited", 1)])),
            ([10, 10, 50], of(&[("packets.limited", 1)])),
            ([39, 38, 37], of(&[("packets.pass", 1)])),
        ] {
            for (prefix, score) in chain.iter().zip(scores) {
                edge.block(prefix, score, None)?;
            }
            let dropped = expected.contains_key("packets.refused");
            let action = if dropped { Action::Drop } else { Action::Pass };
            let counted = judged(&edge, source, action)?;
            ensure!(counted == expected, "{source} with {scores:?}: {counted:?}");
        }
        for prefix in chain {
            edge.unblock(prefix)?;
        }
    }
    Ok(())
}

/// A blocked zone comes before reputation, also where its prefix hides inside a listed network.
pub(crate) fn nested_zones() -> Result<()> {
    let cases = [
        (
            "203.0.113.0/24",
            "203.0.113.16/28",
            "203.0.113.17",
            "203.0.113.66",
        ),
        ("198.18.0.0/15", "198.18.7.0/24", "198.18.7.9", "198.18.8.9"),
        ("198.51.0.0/24", "198.51.0.9/32", "198.51.0.9", "198.51.0.8"),
        (
            "2001:db8:1::/48",
            "2001:db8:1:5::/64",
            "2001:db8:1:5::1",
            "2001:db8:1:6::1",
        ),
        (
            "2001:db8:2:2::/64",
            "2001:db8:2:2:8000::/65",
            "2001:db8:2:2:8000::1",
            "2001:db8:2:2::1",
        ),
        (
            "2001:db8:4::/47",
            "2001:db8:5:4::4/128",
            "2001:db8:5:4::4",
            "2001:db8:5:4::5",
        ),
    ];
    let list: Vec<&str> = cases.iter().map(|case| case.0).collect();
    let zone: Vec<&str> = cases.iter().map(|case| case.1).collect();
    // And the other way round: what is listed inside a blocked zone is the zone's all the same.
    let inner = [
        "203.0.113.18",
        "198.18.7.128/25",
        "2001:db8:1:5::7",
        "2001:db8:2:2:c000::/66",
    ];
    let config = config()
        .zone("bad-nets", &["blocked"], &zone)
        .list("known-bad", 90, &list)
        .list("inside", 100, &inner);
    let edge = Edge::quiet("nested-zones", &config)?;
    for (_, _, in_zone, in_list) in cases {
        for (source, reason) in [(in_zone, "blocked_zone"), (in_list, "reputation")] {
            let counted = judged(&edge, source, Action::Drop)?;
            ensure!(
                counted == refused(reason),
                "{source}: {counted:?} and not {reason}"
            );
            let told = edge.agent.cli_json(&["explain", source])?;
            ensure!(
                told.get("reason") == Some(&reason.into()),
                "explain {source}: {told}"
            );
        }
    }
    for source in [
        "203.0.113.18",
        "198.18.7.200",
        "2001:db8:1:5::7",
        "2001:db8:2:2:c000::1",
    ] {
        let counted = judged(&edge, source, Action::Drop)?;
        ensure!(counted == refused("blocked_zone"), "{source}: {counted:?}");
    }
    Ok(())
}

pub(crate) fn carve_out() -> Result<()> {
    let config = config()
        .zone(
            "bad-nets",
            &["blocked"],
            &["203.0.113.0/24", "2001:db8:bad::/48"],
        )
        .zone(
            "partner",
            &["exempt"],
            &["203.0.113.64/28", "2001:db8:bad:e::/64"],
        );
    let edge = Edge::quiet("carve-out", &config)?;
    let exempt = of(&[("packets.exempt", 1)]);
    for (inside, outside) in [
        ("203.0.113.64", "203.0.113.63"),
        ("203.0.113.79", "203.0.113.80"),
        ("2001:db8:bad:e::", "2001:db8:bad:d:ffff:ffff:ffff:ffff"),
    ] {
        ensure!(judged(&edge, inside, Action::Pass)? == exempt, "{inside}");
        ensure!(
            judged(&edge, outside, Action::Drop)? == refused("blocked_zone"),
            "{outside}"
        );
    }
    for (prefix, inside) in [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.128/25", "203.0.113.200"),
        ("2001:db8:bad:1::/64", "2001:db8:bad:1::5"),
        ("2001:db8:bad::1", "2001:db8:bad::1"),
    ] {
        edge.exempt(prefix, Some(Duration::from_secs(3600)))?;
        // A block does not take an exemption back.
        edge.block(inside, 100, None)?;
        ensure!(judged(&edge, inside, Action::Pass)? == exempt, "{prefix}");
        edge.unblock(prefix)?;
        ensure!(
            judged(&edge, inside, Action::Drop)? == refused("blocked_zone"),
            "{prefix} taken back"
        );
    }
    Ok(())
}

/// Hits live in the kernel beside each entry, and outlive the agent.
pub(crate) fn hits() -> Result<()> {
    let mut edge = Edge::quiet("hits", &config())?;
    // Where each source's search ends; the listed one behind it is not looked at any more.
    let wanted = [
        ("203.0.113.9/32", "203.0.113.9", 7),
        ("203.0.113.0/24", "203.0.113.10", 5),
        ("203.0.0.0/16", "203.0.5.1", 3),
        ("2001:db8:bad::9/128", "2001:db8:bad::9", 6),
        ("2001:db8:bad::/64", "2001:db8:bad::a", 4),
        ("2001:db8:bac::/47", "2001:db8:bad:7::1", 2),
        ("192.0.2.200/32", "192.0.2.201", 0),
    ];
    for (prefix, _, _) in wanted {
        edge.block(prefix, 90, None)?;
    }
    for (_, source, times) in wanted {
        let frame = echo(source.parse()?);
        for _ in 0..times {
            edge.expect(source, &frame, Action::Drop)?;
        }
    }
    let config =
        Config::load(edge.agent.config_path()).map_err(|error| anyhow::anyhow!("{error}"))?;
    edge.agent.stop()?;
    let datapath = Datapath::open(edge.agent.bpffs_dir(), &Sizes::of(&config), 1)?;
    let installed = datapath.installed()?;
    for (prefix, _, times) in wanted {
        let prefix: IpNet = prefix.parse()?;
        let entry = installed.iter().find(|entry| entry.prefix == prefix);
        let hits = entry
            .with_context(|| format!("{prefix} is not installed"))?
            .hits;
        ensure!(hits == times, "{prefix}: {hits} hits and not {times}");
    }
    Ok(())
}
