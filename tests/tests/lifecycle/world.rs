//! The configuration and the sources that most of these tests share, and how they wait.

use anyhow::{bail, ensure};
use lab::frames::Frame;
pub(crate) use lab::until;
use lab::xdp::attached_id;
use lab::{Agent, AgentConfig, EDGE, EdgeTap, Host, Lab, Result, Watch};
use serde_json::Value;

/// Blocks the attacker in every structure that the kernel keeps entries in. Exempt and proxy networks are listed
/// too: only their zones let them through.
pub(crate) fn guarded(mode: &str) -> AgentConfig {
    zones(AgentConfig::new(mode)).list("bad", 100, &LISTED)
}

/// The zones alone.
pub(crate) fn zones(config: AgentConfig) -> AgentConfig {
    config
        .zone("office", &["exempt"], &EXEMPT)
        .zone("cdn", &["trusted-proxy"], &PROXIES)
}

/// Sources that [`guarded`] refuses.
pub(crate) fn refused(lab: &Lab) -> Vec<(&Host, &'static str)> {
    REFUSED
        .iter()
        .map(|source| (&lab.attacker, *source))
        .collect()
}

/// Sources that must never lose a packet.
pub(crate) fn passed(lab: &Lab) -> Vec<(&Host, &'static str)> {
    vec![
        (&lab.exempt, "198.51.100.130"),
        (&lab.exempt, "2001:db8:e::130"),
        (&lab.proxy, "198.51.100.70"),
        (&lab.proxy, "2001:db8:9::70"),
        (&lab.innocent, "198.51.100.10"),
    ]
}

/// Watches all of them.
pub(crate) fn watch(lab: &Lab) -> Result<Watch> {
    Watch::start(lab, &refused(lab), &passed(lab))
}

/// Whether one packet of a source passes now.
pub(crate) fn passes(lab: &Lab, tap: &mut EdgeTap, source: &str) -> Result<bool> {
    let source = source.parse()?;
    let target = lab.login.address_like(source);
    tap.passes(
        &Frame::between(source, target)
            .udp(50_000, 443, b"probe")
            .build(),
    )
}

/// Every source that must be refused is, and every other one passes, right now.
pub(crate) fn enforced(lab: &Lab) -> Result<()> {
    let mut tap = lab.edge_tap()?;
    for (_, source) in refused(lab) {
        ensure!(!passes(lab, &mut tap, source)?, "{source} passes");
    }
    for (_, source) in passed(lab) {
        ensure!(passes(lab, &mut tap, source)?, "{source} does not pass");
    }
    Ok(())
}

/// `verify` finds nothing.
pub(crate) fn verified(agent: &Agent) -> Result<()> {
    let output = agent.cli(&["verify"])?;
    ensure!(output.code == 0, "verify: {output:?}\n{}", agent.log());
    Ok(())
}

/// The id of the program on the edge, which must be there.
pub(crate) fn program(lab: &Lab) -> Result<u32> {
    match attached_id(&lab.login, EDGE)? {
        Some(id) => Ok(id),
        None => bail!("nothing is attached to {EDGE}"),
    }
}

/// The mode in force, as the agent says.
pub(crate) fn mode(agent: &Agent) -> Result<String> {
    let report = agent.cli_json(&["mode"])?;
    Ok(text(&report, "/mode"))
}

/// A text in JSON; empty when it is not there.
pub(crate) fn text(value: &Value, pointer: &str) -> String {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// Numbers that look random and are the same in every run (SplitMix64).
#[derive(Debug)]
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    /// The next one.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end.max(1) as u64)).unwrap_or_default()
    }
}

/// A host, a /24, a trie prefix; a host, a /64, a trie prefix.
pub(crate) const LISTED: [&str; 10] = [
    "203.0.113.66",
    "203.0.113.128/25",
    "198.51.100.128/26",
    "198.51.100.130",
    "198.51.100.64/26",
    "2001:db8:bad::66",
    "2001:db8:bad:64::/64",
    "2001:db8:bad:100::/57",
    "2001:db8:e::/48",
    "2001:db8:9::70",
];
const REFUSED: [&str; 5] = [
    "203.0.113.66",
    "203.0.113.200",
    "2001:db8:bad::66",
    "2001:db8:bad:64::1",
    "2001:db8:bad:101::1",
];
const EXEMPT: [&str; 2] = ["198.51.100.128/26", "2001:db8:e::/48"];
const PROXIES: [&str; 2] = ["198.51.100.64/26", "2001:db8:9::/48"];
