//! The rows of the contract: who is judged how, over the whole catalogue, in mode block, log and off.

use std::time::Duration;

use anyhow::ensure;
use lab::frames::{Facts, Frame, flags};
use lab::xdp::Action;
use lab::{AgentConfig, Result};

use crate::edge::{Edge, events_of, kinds_from, of, without_events};

/// One row: sources of both families, a port, and what becomes of their frames.
struct Row {
    name: &'static str,
    sources: [&'static str; 2],
    port: u16,
    /// Whether the frame is refused, and the counter's name if it is or is not.
    judged: fn(&Facts) -> Judged,
}

/// What the verdict says of one frame, by the counter that it goes to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Judged {
    Passed(&'static str),
    Limited,
    Refused(&'static str),
}

/// A configuration in which every row has its own sources.
pub(crate) fn config(mode: &str) -> AgentConfig {
    AgentConfig::new(mode)
        .set("rate_limit.limited_connections", 0)
        .set("rate_limit.limited_packets", 0)
        .zone(
            "office",
            &["exempt"],
            &["198.51.100.128/26", "2001:db8:e::/48"],
        )
        .zone(
            "cdn",
            &["trusted-proxy"],
            &["198.51.100.64/26", "2001:db8:9::/48"],
        )
        .zone(
            "nat",
            &["gateway"],
            &["198.51.100.48/28", "2001:db8:600d:f::/64"],
        )
        .zone(
            "monitor",
            &["allowed-origin"],
            &["198.51.100.32/28", "2001:db8:600d:a::/64"],
        )
        .zone(
            "bad-nets",
            &["blocked"],
            &[
                "203.0.113.16/28",
                "2001:db8:bad:1::/64",
                // Inside an exempt and a proxy zone: those rows come first.
                "198.51.100.129",
                "2001:db8:e::129",
                "198.51.100.65",
                "2001:db8:9::65",
            ],
        )
        .list(
            "known-bad",
            90,
            &[
                "203.0.113.64/27",
                "2001:db8:bad:2::/64",
                "198.51.100.130",
                "2001:db8:e::130",
                "198.51.100.40",
                "2001:db8:600d:a::40",
            ],
        )
        .list(
            "suspicious",
            50,
            &["203.0.113.96/27", "2001:db8:bad:3::/64"],
        )
        .service("login", &[443], false)
        .service("admin", &[8443], true)
}

const ROWS: [Row; 13] = [
    Row {
        name: "exempt",
        sources: ["198.51.100.140", "2001:db8:e::140"],
        port: 8443,
        judged: |_| Judged::Passed("exempt"),
    },
    Row {
        name: "exempt before a blocked zone",
        sources: ["198.51.100.129", "2001:db8:e::129"],
        port: 443,
        judged: |_| Judged::Passed("exempt"),
    },
    Row {
        name: "exempt before reputation",
        sources: ["198.51.100.130", "2001:db8:e::130"],
        port: 443,
        judged: |_| Judged::Passed("exempt"),
    },
    Row {
        name: "trusted proxy",
        sources: ["198.51.100.70", "2001:db8:9::70"],
        port: 8443,
        judged: |_| Judged::Passed("trusted_proxy"),
    },
    Row {
        name: "trusted proxy before a blocked zone",
        sources: ["198.51.100.65", "2001:db8:9::65"],
        port: 443,
        judged: |_| Judged::Passed("trusted_proxy"),
    },
    Row {
        name: "blocked zone",
        sources: ["203.0.113.17", "2001:db8:bad:1::17"],
        port: 443,
        judged: |_| Judged::Refused("blocked_zone"),
    },
    Row {
        name: "blocked zone before a restricted origin",
        sources: ["203.0.113.31", "2001:db8:bad:1:ffff:ffff:ffff:ffff"],
        port: 8443,
        judged: |_| Judged::Refused("blocked_zone"),
    },
    Row {
        name: "restricted origin",
        sources: ["198.51.100.10", "2001:db8:600d::10"],
        port: 8443,
        judged: |facts| {
            with_ports(
                facts,
                Judged::Refused("restricted_origin"),
                Judged::Passed("pass"),
            )
        },
    },
    Row {
        name: "restricted origin before reputation",
        sources: ["203.0.113.66", "2001:db8:bad:2::66"],
        port: 8443,
        judged: |facts| {
            with_ports(
                facts,
                Judged::Refused("restricted_origin"),
                Judged::Refused("reputation"),
            )
        },
    },
    Row {
        name: "allowed origin",
        sources: ["198.51.100.33", "2001:db8:600d:a::33"],
        port: 8443,
        judged: |_| Judged::Passed("pass"),
    },
    Row {
        name: "reputation of an allowed origin",
        sources: ["198.51.100.40", "2001:db8:600d:a::40"],
        port: 8443,
        judged: |_| Judged::Refused("reputation"),
    },
    Row {
        name: "reputation to be limited",
        sources: ["203.0.113.96", "2001:db8:bad:3::96"],
        port: 443,
        judged: |_| Judged::Limited,
    },
    Row {
        name: "pass, as a gateway",
        sources: ["198.51.100.50", "2001:db8:600d:f::50"],
        port: 443,
        judged: |_| Judged::Passed("pass"),
    },
];

/// A port can only be restricted where it can be read: not without one, not in a later fragment.
fn with_ports(facts: &Facts, readable: Judged, otherwise: Judged) -> Judged {
    if facts.ports.is_some() {
        readable
    } else {
        otherwise
    }
}

pub(crate) fn every_row() -> Result<()> {
    let edge = Edge::quiet("rows", &config("block"))?;
    let mut frames = 0;
    for row in &ROWS {
        for source in row.sources {
            for mode in ["block", "log", "off"] {
                edge.agent.cli_ok(&["mode", mode])?;
                frames += check(&edge, row, source, mode)?;
            }
        }
    }
    ensure!(frames > 13 * 3 * 500, "only {frames} frames");
    Ok(())
}

/// Runs the catalogue from one source and compares every counter.
fn check(edge: &Edge, row: &Row, source: &str, mode: &str) -> Result<usize> {
    let kinds = kinds_from(source, row.port)?;
    let (mut passed, mut limited, mut refused, mut unjudged) = (0, 0, 0, 0);
    let (mut passed_as, mut reasons) =
        ("packets.pass".to_owned(), std::collections::BTreeMap::new());
    let counted = edge.counted(|| {
        for kind in &kinds {
            let judged = (row.judged)(&kind.facts);
            let enforced = mode == "block" && matches!(judged, Judged::Refused(_));
            let action = if enforced { Action::Drop } else { Action::Pass };
            edge.expect(
                &format!("{} {source} {} in mode {mode}", row.name, kind.name),
                &kind.bytes,
                action,
            )?;
            match judged {
                _ if mode == "off" => unjudged += 1,
                Judged::Passed(name) => {
                    passed_as = format!("packets.{name}");
                    passed += 1;
                }
                Judged::Limited => limited += 1,
                Judged::Refused(reason) => {
                    refused += 1;
                    *reasons.entry(reason).or_insert(0) += 1;
                }
            }
        }
        Ok(())
    })?;
    let logged = mode == "log";
    let mut expected = of(&[
        (&passed_as, passed),
        ("packets.unjudged", unjudged),
        (
            if logged {
                "packets.would_limit"
            } else {
                "packets.limited"
            },
            limited,
        ),
        (
            if logged {
                "packets.would_refuse"
            } else {
                "packets.refused"
            },
            refused,
        ),
    ]);
    expected.extend(
        reasons
            .iter()
            .map(|(reason, count)| (format!("reasons.{reason}"), *count)),
    );
    ensure!(
        events_of(&counted) == limited + refused,
        "{} {source} in mode {mode}: one event for each refusal and not {counted:?}",
        row.name
    );
    let counted = without_events(counted);
    ensure!(
        counted == expected,
        "{} {source} in mode {mode}: {counted:?} and not {expected:?}",
        row.name
    );
    Ok(kinds.len())
}

/// The same rows on a wire, with few frames: what the program returns is what the host gets.
pub(crate) fn on_the_wire() -> Result<()> {
    let edge = Edge::start("rows-wire", &config("block"))?;
    let mut tap = edge.lab.edge_tap()?;
    for mode in ["block", "log", "block", "off"] {
        edge.agent.cli_ok(&["mode", mode])?;
        for row in &ROWS {
            for source in row.sources {
                for kind in kinds_from(source, row.port)?.into_iter().step_by(29) {
                    let refused = matches!((row.judged)(&kind.facts), Judged::Refused(_));
                    let passed = tap.passes(&kind.bytes)?;
                    let what = format!("{} {source} {} in mode {mode}", row.name, kind.name);
                    ensure!(
                        passed != (refused && mode == "block"),
                        "{what}: passed is {passed}"
                    );
                }
            }
        }
    }
    // And as a client sees it: nothing answers.
    edge.agent.cli_ok(&["mode", "block"])?;
    let attacker = &edge.lab.attacker;
    let [login, _] = edge.lab.login.addresses();
    let blocked = attacker.connect_from(
        "203.0.113.17".parse()?,
        login,
        443,
        Duration::from_millis(300),
    );
    ensure!(
        blocked
            .as_ref()
            .is_err_and(|error| error.kind() == std::io::ErrorKind::TimedOut),
        "{blocked:?}"
    );
    let frame = Frame::between("203.0.113.17".parse()?, login).tcp(50_000, 443, flags::SYN);
    ensure!(!tap.passes(&frame.build())?, "a blocked frame passed");
    Ok(())
}
