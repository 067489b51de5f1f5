//! `refusal = "reset"`: what a refused client sees, and that the answer is right to the last bit.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use etherparse::{LaxPacketHeaders, NetHeaders, TcpHeader, TransportHeader};
use lab::frames::{Ends, Extension, Frame, TPID_8021AD, TPID_8021Q, Transport, flags};
use lab::xdp::Action;
use lab::{AgentConfig, Result};

use crate::edge::{Edge, ends};

const WITHIN: Duration = Duration::from_secs(5);
/// What [`lab::frames`] puts into every segment.
const SEQUENCE: u32 = 0x0ed9_e000;
const TAGS: [&[(u16, u16)]; 4] = [
    &[],
    &[(TPID_8021Q, 5)],
    &[(TPID_8021AD, 0xe007)],
    &[(TPID_8021AD, 100), (TPID_8021Q, 200)],
];

fn config() -> AgentConfig {
    AgentConfig::new("block")
        .set("refusal", "reset")
        .zone(
            "bad-nets",
            &["blocked"],
            &["203.0.113.0/24", "2001:db8:bad::/48"],
        )
        .service("login", &[80, 443], false)
        .service("admin", &[8443], true)
}

/// Clients of a real site: refused at once where the mode blocks, served where it does not.
pub(crate) fn clients() -> Result<()> {
    let edge = Edge::start("reset-clients", &config())?;
    let lab = &edge.lab;
    let site = lab.site()?;
    for mode in ["block", "log", "block"] {
        edge.agent.cli_ok(&["mode", mode])?;
        for (client, refused) in [(&lab.attacker, mode == "block"), (&lab.innocent, false)] {
            for source in client.addresses() {
                let outcome = client.connect(site.address(source).ip(), 80, WITHIN);
                let found = outcome.map(drop).map_err(|error| error.kind());
                let expected = if refused {
                    Err(ErrorKind::ConnectionRefused)
                } else {
                    Ok(())
                };
                ensure!(found == expected, "{source} in mode {mode}: {found:?}");
            }
        }
    }
    // A restricted service refuses in the same way.
    for source in lab.innocent.addresses() {
        let found = lab
            .innocent
            .connect(site.address(source).ip(), 8443, WITHIN);
        ensure!(
            found
                .as_ref()
                .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused),
            "{source}: {found:?}"
        );
    }
    let counts = edge.counts()?;
    let resets = counts.get("packets.resets").copied().unwrap_or_default();
    ensure!(resets >= 6, "six refused connections and {resets} resets");
    Ok(())
}

/// Segments of every sort behind every sort of tag, answered on the wire.
pub(crate) fn frames() -> Result<()> {
    let edge = Edge::start("reset-frames", &config())?;
    let mut tap = edge.lab.edge_tap()?;
    for source in edge.lab.attacker.addresses() {
        let ends = ends(source, 443);
        for tags in TAGS {
            for sent_flags in [
                flags::SYN,
                flags::ACK,
                flags::PSH | flags::ACK,
                flags::FIN | flags::ACK,
                flags::FIN,
            ] {
                for payload in [0, 1, 7, 1200] {
                    let sent = segment(ends, tags, sent_flags, payload);
                    let outcome = tap.exchange(&sent, WITHIN)?;
                    let what =
                        format!("{source} tags {tags:x?} flags {sent_flags:#x} payload {payload}");
                    ensure!(!outcome.passed, "{what}: it passed");
                    let [reply] = &outcome.replies[..] else {
                        anyhow::bail!("{what}: answered {:?}", outcome.replies);
                    };
                    check(&sent, reply, ends, sent_flags, payload).context(what)?;
                }
            }
        }
    }
    Ok(())
}

fn segment(ends: Ends, tags: &[(u16, u16)], flags: u8, payload: usize) -> Vec<u8> {
    let tcp = Transport::Tcp {
        source: ends.source_port,
        target: ends.target_port,
        flags,
        payload: vec![b'x'; payload],
    };
    let frame = Frame::between(ends.source, ends.target).transport(tcp);
    tags.iter()
        .fold(frame, |frame, (tpid, vlan)| frame.tag(*tpid, *vlan))
        .build()
}

/// An independent parser's opinion of the answer.
fn check(sent: &[u8], reply: &[u8], ends: Ends, sent_flags: u8, payload: usize) -> Result<()> {
    ensure!(
        reply.len() <= sent.len(),
        "{} bytes for {}",
        reply.len(),
        sent.len()
    );
    let read = LaxPacketHeaders::from_ethernet(reply)?;
    ensure!(read.stop_err.is_none(), "{:?}", read.stop_err);
    let link = reply.len() - if ends.source.is_ipv4() { 40 } else { 60 };
    ensure!(
        reply.get(12..link) == sent.get(12..link),
        "tags and type stay"
    );
    ensure!(
        reply.get(..6) == sent.get(6..12) && reply.get(6..12) == sent.get(..6),
        "hardware addresses are swapped"
    );
    let Some(TransportHeader::Tcp(tcp)) = &read.transport else {
        anyhow::bail!("no TCP: {read:?}");
    };
    let (from, to, checksum): (IpAddr, IpAddr, u16) = match read.net.as_ref().context("no IP")? {
        NetHeaders::Ipv4(ip, _) => {
            ensure!(
                ip.header_checksum == ip.calc_header_checksum(),
                "IPv4 checksum"
            );
            (
                ip.source.into(),
                ip.destination.into(),
                tcp.calc_checksum_ipv4(ip, &[])?,
            )
        }
        NetHeaders::Ipv6(ip, _) => (
            ip.source.into(),
            ip.destination.into(),
            tcp.calc_checksum_ipv6(ip, &[])?,
        ),
        NetHeaders::Arp(_) => anyhow::bail!("ARP"),
    };
    ensure!((from, to) == (ends.target, ends.source), "{from} to {to}");
    ensure!(tcp.checksum == checksum, "TCP checksum");
    ensure!(
        (tcp.source_port, tcp.destination_port) == (ends.target_port, ends.source_port),
        "ports"
    );
    let expected = expected_numbers(sent_flags, payload)?;
    ensure!(
        numbers(tcp) == expected,
        "{:?} and not {expected:?}",
        numbers(tcp)
    );
    ensure!(tcp.rst && !tcp.syn && !tcp.fin && !tcp.psh, "flags");
    Ok(())
}

/// Sequence number, acknowledgement if there is one (RFC 9293, section 3.10.7.1).
fn expected_numbers(sent_flags: u8, payload: usize) -> Result<(u32, Option<u32>)> {
    if sent_flags & flags::ACK != 0 {
        return Ok((1, None));
    }
    let taken = u32::try_from(payload)?
        + u32::from(sent_flags & flags::SYN != 0)
        + u32::from(sent_flags & flags::FIN != 0);
    Ok((0, Some(SEQUENCE.wrapping_add(taken))))
}

fn numbers(tcp: &TcpHeader) -> (u32, Option<u32>) {
    (
        tcp.sequence_number,
        tcp.ack.then_some(tcp.acknowledgment_number),
    )
}

/// Everything else from a refused source is dropped without an answer.
pub(crate) fn dropped() -> Result<()> {
    let edge = Edge::quiet("reset-dropped", &config())?;
    for source in ["203.0.113.66", "2001:db8:bad::66"] {
        let ends = ends(source.parse()?, 443);
        let plain = || Frame::between(ends.source, ends.target);
        let mut silent = vec![
            ("a reset", plain().tcp(50_000, 443, flags::RST)),
            ("UDP", plain().udp(50_000, 443, b"x")),
            ("QUIC", plain().quic(50_000, 443)),
            ("an echo", plain().echo()),
            (
                "a first fragment",
                plain().tcp(50_000, 443, flags::SYN).first_fragment(),
            ),
            (
                "a later fragment",
                plain().tcp(50_000, 443, flags::SYN).later_fragment(),
            ),
        ];
        if ends.source.is_ipv6() {
            let extended = plain()
                .tcp(50_000, 443, flags::SYN)
                .extension(Extension::Routing);
            silent.push(("an extension header", extended));
        }
        let total = u64::try_from(silent.len())?;
        let counted = edge.counted(|| {
            for (what, frame) in silent {
                edge.expect(
                    &format!("{what} from {source}"),
                    &frame.build(),
                    Action::Drop,
                )?;
            }
            let syn = plain().tcp(50_000, 443, flags::SYN).build();
            edge.expect("a SYN", &syn, Action::Tx)
        })?;
        ensure!(counted.get("packets.resets") == Some(&1), "{counted:?}");
        ensure!(
            counted.get("reasons.blocked_zone") == Some(&(total + 1)),
            "{counted:?}"
        );
    }
    Ok(())
}
