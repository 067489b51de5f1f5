//! Frames that cannot be read, or not to the end: passed or dropped by configuration, counted by cause.

use anyhow::ensure;
use lab::frames::{
    ETHERNET_BYTES, Extension, Frame, Kind, TPID_8021AD, TPID_8021Q, ethernet, flags, strange,
};
use lab::xdp::Action;
use lab::{AgentConfig, Result};

use crate::edge::{Edge, ends, kinds_from, of, without_events};

fn config(unreadable: &str) -> AgentConfig {
    AgentConfig::new("block")
        .set("unreadable", unreadable)
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
            "bad-nets",
            &["blocked"],
            &["203.0.113.0/26", "2001:db8:bad:1::/64"],
        )
        .list(
            "suspicious",
            50,
            &["203.0.113.96/27", "2001:db8:bad:3::/64"],
        )
        .service("login", &[443], false)
        .service("admin", &[8443], true)
}

type Sourceless = (String, Vec<u8>, Option<&'static str>);

/// Frames without a readable source: name, bytes, cause (`None`: they are no IP).
fn sourceless(source: &str) -> Result<Vec<Sourceless>> {
    let ends = ends(source.parse()?, 443);
    let mut frames: Vec<Sourceless> = Vec::new();
    for (name, bytes) in strange(ends) {
        let cause = match name {
            "arp" | "lldp" | "experimental" | "ieee-802.3-length" => None,
            "three-tags" => Some("too_many_tags"),
            "empty-payload" => Some("truncated_ip"),
            _ => Some("malformed_ip"),
        };
        frames.push((name.to_owned(), bytes, cause));
    }
    let whole = Frame::between(ends.source, ends.target).tcp(50_000, 443, flags::SYN);
    let tagged = whole.clone().tag(TPID_8021AD, 1).tag(TPID_8021Q, 2).build();
    for length in [ETHERNET_BYTES, ETHERNET_BYTES + 3, ETHERNET_BYTES + 7] {
        frames.push((
            format!("tags cut to {length}"),
            first(&tagged, length),
            Some("truncated_link"),
        ));
    }
    let plain = whole.build();
    for length in [ETHERNET_BYTES + 1, ETHERNET_BYTES + 19] {
        frames.push((
            format!("IP cut to {length}"),
            first(&plain, length),
            Some("truncated_ip"),
        ));
    }
    frames.push(("untyped".to_owned(), ethernet(0x88b6, &[0; 40]), None));
    Ok(frames)
}

/// Frames whose source can be read and the rest not: name, bytes, cause.
fn headless(source: &str) -> Result<Vec<(String, Vec<u8>, &'static str)>> {
    let ends = ends(source.parse()?, 443);
    let mut frames = Vec::new();
    for Kind { name, bytes, facts } in kinds_from(source, 443)? {
        if facts.ports.is_some() {
            let length = facts.transport_start + 3;
            frames.push((
                format!("{name} cut to {length}"),
                first(&bytes, length),
                "truncated_transport",
            ));
        }
        if facts.transport_start > facts.addresses_end && ends.source.is_ipv6() {
            let length = facts.addresses_end + 5;
            frames.push((
                format!("{name} cut to {length}"),
                first(&bytes, length),
                "truncated_extension",
            ));
        }
    }
    if ends.source.is_ipv6() {
        let endless = (0..9).fold(Frame::between(ends.source, ends.target), |frame, _| {
            frame.extension(Extension::DestinationOptions)
        });
        let bytes = endless.tcp(50_000, 443, flags::SYN).build();
        frames.push((
            "nine extension headers".to_owned(),
            bytes,
            "too_many_extensions",
        ));
    }
    Ok(frames)
}

fn first(bytes: &[u8], length: usize) -> Vec<u8> {
    bytes.iter().copied().take(length).collect()
}

pub(crate) fn passed() -> Result<()> {
    let edge = Edge::quiet("unreadable-pass", &config("pass"))?;
    judged(&edge, false)
}

pub(crate) fn dropped() -> Result<()> {
    let edge = Edge::quiet("unreadable-drop", &config("drop"))?;
    judged(&edge, true)?;
    // Mode log drops nothing, whatever the configuration says.
    edge.agent.cli_ok(&["mode", "log"])?;
    judged(&edge, false)
}

fn judged(edge: &Edge, drops: bool) -> Result<()> {
    let action = if drops { Action::Drop } else { Action::Pass };
    for source in ["198.51.100.10", "2001:db8:600d::10"] {
        for (name, bytes, cause) in sourceless(source)? {
            let counter = cause.map_or("packets.not_ip".to_owned(), |cause| {
                format!("unreadable.{cause}")
            });
            let action = if cause.is_none() {
                Action::Pass
            } else {
                action
            };
            let counted = edge.counted(|| edge.expect(&name, &bytes, action))?;
            ensure!(counted == of(&[(&counter, 1)]), "{name}: {counted:?}");
        }
        let frames = headless(source)?;
        for cause in [
            "truncated_transport",
            "truncated_extension",
            "too_many_extensions",
        ] {
            let of_cause: Vec<_> = frames.iter().filter(|frame| frame.2 == cause).collect();
            let count = u64::try_from(of_cause.len())?;
            let counted = edge.counted(|| {
                of_cause
                    .iter()
                    .try_for_each(|(name, bytes, _)| edge.expect(name, bytes, action))
            })?;
            let expected = of(&[
                ("packets.pass", count),
                (&format!("unreadable.{cause}"), count),
            ]);
            ensure!(
                counted == expected,
                "{cause}: {counted:?} and not {expected:?}"
            );
        }
    }
    known_sources(edge, action)
}

/// What is known of the source comes first: it is enough to refuse, and enough never to drop.
fn known_sources(edge: &Edge, action: Action) -> Result<()> {
    let logs = edge.agent.cli_ok(&["mode"])?.contains("log");
    let refused = if logs { Action::Pass } else { Action::Drop };
    for (source, action, counter) in [
        ("198.51.100.130", Action::Pass, "packets.exempt"),
        ("2001:db8:e::130", Action::Pass, "packets.exempt"),
        ("198.51.100.70", Action::Pass, "packets.trusted_proxy"),
        ("2001:db8:9::70", Action::Pass, "packets.trusted_proxy"),
        ("203.0.113.6", refused, "reasons.blocked_zone"),
        ("2001:db8:bad:1::6", refused, "reasons.blocked_zone"),
        (
            "203.0.113.96",
            action,
            if logs {
                "packets.would_limit"
            } else {
                "packets.limited"
            },
        ),
        (
            "2001:db8:bad:3::6",
            action,
            if logs {
                "packets.would_limit"
            } else {
                "packets.limited"
            },
        ),
    ] {
        let frames = headless(source)?;
        let count = u64::try_from(frames.len())?;
        let counted = edge.counted(|| {
            frames.iter().try_for_each(|(name, bytes, _)| {
                edge.expect(&format!("{source} {name}"), bytes, action)
            })
        })?;
        ensure!(
            counted.get(counter) == Some(&count),
            "{source}: {counted:?}"
        );
        let unread: u64 = without_events(counted)
            .iter()
            .filter(|(name, _)| name.starts_with("unreadable."))
            .map(|(_, count)| count)
            .sum();
        ensure!(
            unread == count,
            "{source}: {unread} of {count} frames counted by cause"
        );
    }
    Ok(())
}

/// The smallest first fragment there is (eight bytes) has its ports, and no way around their rules.
pub(crate) fn tiny_fragments() -> Result<()> {
    let edge = Edge::quiet("tiny-fragments", &config("pass"))?;
    let ends = ends("198.51.100.10".parse()?, 8443);
    let plain = Frame::between(ends.source, ends.target);
    for transport in [
        plain.clone().tcp(50_000, 8443, flags::SYN),
        plain.udp(50_000, 8443, b"x"),
    ] {
        let mut bytes = first(&transport.first_fragment().build(), ETHERNET_BYTES + 28);
        // The total length: 20 bytes of header, 8 of payload.
        for (to, from) in bytes.iter_mut().skip(ETHERNET_BYTES + 2).zip([0, 28]) {
            *to = from;
        }
        let counted = edge.counted(|| edge.expect("a tiny fragment", &bytes, Action::Drop))?;
        ensure!(
            counted.get("reasons.restricted_origin") == Some(&1),
            "{counted:?}"
        );
    }
    Ok(())
}

/// Frames longer than a page, which the kernel hands over in several buffers.
pub(crate) fn jumbo() -> Result<()> {
    let edge = Edge::quiet("jumbo", &config("drop"))?;
    for (source, action) in [
        ("198.51.100.10", Action::Pass),
        ("203.0.113.6", Action::Drop),
        ("2001:db8:600d::10", Action::Pass),
        ("2001:db8:bad:1::6", Action::Drop),
    ] {
        for payload in [1_400, 3_000, 4_096, 8_900, 16_000] {
            let ends = ends(source.parse()?, 443);
            let frame =
                Frame::between(ends.source, ends.target).udp(50_000, 443, &vec![7; payload]);
            edge.expect(
                &format!("{source} with {payload} bytes"),
                &frame.build(),
                action,
            )?;
        }
    }
    Ok(())
}
