//! Rate limits: new connections and packets of one source to protected ports, in fixed windows.

use anyhow::{bail, ensure};
use lab::frames::{Frame, flags};
use lab::xdp::Action;
use lab::{AgentConfig, Result};

use crate::edge::{Counts, Edge, ends, kinds_from, of, without_events};

const CONNECTIONS: u64 = 3;
const PACKETS: u64 = 10;
const LIMITED_CONNECTIONS: u64 = 2;
const LIMITED_PACKETS: u64 = 6;
/// The longest that can be set: a test nearly never sees its end, and notices if it does.
const WINDOW_NS: u64 = 3_600_000_000_000;

fn config(mode: &str) -> AgentConfig {
    AgentConfig::new(mode)
        .set("rate_limit.window", "1h")
        .set("rate_limit.connections", 3)
        .set("rate_limit.packets", 10)
        .set("rate_limit.limited_connections", 2)
        .set("rate_limit.limited_packets", 6)
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
        .list(
            "suspicious",
            50,
            &["203.0.113.96/27", "2001:db8:bad:3::/64"],
        )
        .service("login", &[443, 8443], false)
}

/// Sources that no other test of this process uses: `round` makes them new.
fn fresh(round: u8) -> [String; 2] {
    [
        format!("100.64.{round}.1"),
        format!("2001:db8:aaaa:{round}::1"),
    ]
}

/// Runs a test inside one window; begins again with other sources if the window ended meanwhile.
fn in_one_window(edge: &Edge, test: impl Fn(&Edge, u8) -> Result<()>) -> Result<()> {
    for round in 0..3 {
        let window = || edgeward::datapath::boot_ns() / WINDOW_NS;
        let begun = window();
        let outcome = test(edge, round * 50);
        if window() == begun {
            return outcome;
        }
    }
    bail!("three windows of an hour ended during three tests of seconds")
}

fn syn(source: &str, port: u16) -> Result<Vec<u8>> {
    tcp(source, port, flags::SYN)
}

fn tcp(source: &str, port: u16, flags: u8) -> Result<Vec<u8>> {
    let ends = ends(source.parse()?, port);
    Ok(Frame::between(ends.source, ends.target)
        .tcp(50_000, port, flags)
        .build())
}

fn udp(source: &str, port: u16) -> Result<Vec<u8>> {
    let ends = ends(source.parse()?, port);
    Ok(Frame::between(ends.source, ends.target)
        .udp(50_000, port, b"hello")
        .build())
}

fn quic(source: &str, port: u16) -> Result<Vec<u8>> {
    let ends = ends(source.parse()?, port);
    Ok(Frame::between(ends.source, ends.target)
        .quic(50_000, port)
        .build())
}

/// `times` frames alike with the same outcome.
fn repeat(edge: &Edge, what: &str, frame: &[u8], times: u64, action: Action) -> Result<()> {
    (0..times).try_for_each(|number| edge.expect(&format!("{what} number {number}"), frame, action))
}

fn expect_counts(what: &str, counted: Counts, expected: &[(&str, u64)]) -> Result<()> {
    let (counted, expected) = (without_events(counted), of(expected));
    ensure!(
        counted == expected,
        "{what}: {counted:?} and not {expected:?}"
    );
    Ok(())
}

pub(crate) fn connections() -> Result<()> {
    let edge = Edge::quiet("limit-connections", &config("block"))?;
    in_one_window(&edge, |edge, round| {
        for source in fresh(round) {
            let counted = edge.counted(|| {
                repeat(edge, "SYN", &syn(&source, 443)?, CONNECTIONS, Action::Pass)?;
                // Of another protected port too: the source is limited, not the port.
                repeat(edge, "SYN too many", &syn(&source, 8443)?, 2, Action::Drop)?;
                edge.expect(
                    "an open connection",
                    &tcp(&source, 443, flags::ACK)?,
                    Action::Pass,
                )?;
                edge.expect(
                    "its answer",
                    &tcp(&source, 443, flags::SYN | flags::ACK)?,
                    Action::Pass,
                )?;
                edge.expect("QUIC too many", &quic(&source, 443)?, Action::Drop)?;
                edge.expect("an unprotected port", &syn(&source, 9)?, Action::Pass)
            })?;
            let passed = CONNECTIONS + 3;
            let expected = [
                ("packets.pass", passed),
                ("packets.refused", 3),
                ("reasons.rate_limit", 3),
            ];
            expect_counts(&source, counted, &expected)?;
        }
        for source in fresh(round + 1) {
            repeat(
                edge,
                "QUIC",
                &quic(&source, 443)?,
                CONNECTIONS,
                Action::Pass,
            )?;
            edge.expect("QUIC too many", &quic(&source, 443)?, Action::Drop)?;
            edge.expect("UDP of a connection", &udp(&source, 443)?, Action::Pass)?;
            edge.expect("TCP too", &syn(&source, 443)?, Action::Drop)?;
        }
        Ok(())
    })
}

pub(crate) fn packets() -> Result<()> {
    let edge = Edge::quiet("limit-packets", &config("block"))?;
    in_one_window(&edge, |edge, round| {
        for source in fresh(round) {
            let counted = edge.counted(|| {
                repeat(edge, "UDP", &udp(&source, 443)?, PACKETS / 2, Action::Pass)?;
                repeat(
                    edge,
                    "ACK",
                    &tcp(&source, 8443, flags::ACK)?,
                    PACKETS / 2,
                    Action::Pass,
                )?;
                repeat(edge, "too many", &udp(&source, 443)?, 3, Action::Drop)?;
                edge.expect(
                    "open connections too",
                    &tcp(&source, 443, flags::ACK)?,
                    Action::Drop,
                )?;
                edge.expect("an unprotected port", &udp(&source, 9)?, Action::Pass)
            })?;
            let expected = [
                ("packets.pass", PACKETS + 1),
                ("packets.refused", 4),
                ("reasons.rate_limit", 4),
            ];
            expect_counts(&source, counted, &expected)?;
        }
        // Over the catalogue: whatever has a protected port counts, and nothing else.
        for source in fresh(round + 1) {
            let mut counted = 0;
            let mut connections = 0;
            for kind in kinds_from(&source, 443)? {
                let to_service = kind.facts.ports.is_some();
                let opens = to_service
                    && (kind.facts.tcp_flags == Some(flags::SYN) || kind.name.ends_with("/quic"));
                counted += u64::from(to_service);
                connections += u64::from(opens);
                let over = to_service && counted > PACKETS || opens && connections > CONNECTIONS;
                let action = if over { Action::Drop } else { Action::Pass };
                edge.expect(&format!("{source} {}", kind.name), &kind.bytes, action)?;
            }
            ensure!(counted > PACKETS, "only {counted} frames with ports");
        }
        Ok(())
    })
}

pub(crate) fn sources() -> Result<()> {
    let edge = Edge::quiet("limit-sources", &config("block"))?;
    in_one_window(&edge, |edge, round| {
        let [v4, v6] = fresh(round);
        for source in [&v4, &v6] {
            repeat(edge, "UDP", &udp(source, 443)?, PACKETS, Action::Pass)?;
            edge.expect("UDP too many", &udp(source, 443)?, Action::Drop)?;
        }
        let neighbours = [
            (format!("100.64.{round}.2"), Action::Pass),
            (
                format!("2001:db8:aaaa:{round}:ffff:ffff:ffff:ffff"),
                Action::Drop,
            ),
            (format!("2001:db8:aaab:{round}::1"), Action::Pass),
        ];
        for (neighbour, action) in neighbours {
            edge.expect(&neighbour, &udp(&neighbour, 443)?, action)?;
        }
        Ok(())
    })
}

pub(crate) fn reputation() -> Result<()> {
    let edge = Edge::quiet("limit-reputation", &config("block"))?;
    in_one_window(&edge, |edge, round| {
        // The whole /64 has one state, so one address of it is enough.
        let round = round / 50;
        let sources = [
            format!("203.0.113.{}", 96 + round),
            format!("2001:db8:bad:3::{round}"),
        ];
        for (index, source) in sources.into_iter().enumerate() {
            if index == 1 && round > 0 {
                // The only listed /64 was used up in the window before, which has ended since.
                continue;
            }
            let counted = edge.counted(|| {
                // Any port: what is suspicious is limited wherever it goes.
                repeat(
                    edge,
                    "SYN",
                    &syn(&source, 9)?,
                    LIMITED_CONNECTIONS,
                    Action::Pass,
                )?;
                edge.expect("SYN too many", &syn(&source, 443)?, Action::Drop)?;
                let left = LIMITED_PACKETS - LIMITED_CONNECTIONS - 1;
                repeat(
                    edge,
                    "ACK",
                    &tcp(&source, 443, flags::ACK)?,
                    left,
                    Action::Pass,
                )?;
                let ends = ends(source.parse()?, 443);
                let echo = Frame::between(ends.source, ends.target).echo().build();
                repeat(edge, "echo too many", &echo, 2, Action::Drop)
            })?;
            let expected = [
                ("packets.limited", LIMITED_PACKETS - 1),
                ("packets.refused", 3),
                ("reasons.rate_limit", 3),
            ];
            expect_counts(&source, counted, &expected)?;
        }
        Ok(())
    })
}

pub(crate) fn never() -> Result<()> {
    let edge = Edge::quiet("limit-never", &config("block"))?;
    for (source, counter) in [
        ("198.51.100.130", "packets.exempt"),
        ("2001:db8:e::130", "packets.exempt"),
        ("198.51.100.70", "packets.trusted_proxy"),
        ("2001:db8:9::70", "packets.trusted_proxy"),
    ] {
        let counted = edge.counted(|| {
            repeat(
                &edge,
                source,
                &syn(source, 443)?,
                10 * PACKETS,
                Action::Pass,
            )?;
            repeat(
                &edge,
                source,
                &quic(source, 443)?,
                10 * PACKETS,
                Action::Pass,
            )
        })?;
        expect_counts(source, counted, &[(counter, 20 * PACKETS)])?;
    }
    Ok(())
}

pub(crate) fn logged() -> Result<()> {
    let edge = Edge::quiet("limit-logged", &config("log"))?;
    in_one_window(&edge, |edge, round| {
        for source in fresh(round) {
            let counted = edge
                .counted(|| repeat(edge, "UDP", &udp(&source, 443)?, PACKETS + 5, Action::Pass))?;
            let expected = [
                ("packets.pass", PACKETS),
                ("packets.would_refuse", 5),
                ("reasons.rate_limit", 5),
            ];
            expect_counts(&source, counted, &expected)?;
        }
        Ok(())
    })
}
