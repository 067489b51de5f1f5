//! `verify` finds what somebody changed behind the agent's back and names it; `reload` puts it right.

use anyhow::{Context, ensure};
use edgeward_ebpf::abi::ABI_VERSION;
use lab::{Agent, Lab, PinnedMap, Result, TestFn};

use super::world::{passes, rich, says};

pub(crate) fn tests() -> Vec<(&'static str, TestFn)> {
    vec![
        ("verify_names_what_was_deleted", deleted),
        ("verify_names_what_was_changed", changed),
        ("verify_names_what_was_added", added),
    ]
}

/// A pinned map of the agent.
fn map(agent: &Agent, name: &str) -> Result<PinnedMap> {
    PinnedMap::open(&agent.bpffs_dir().join(format!("v{ABI_VERSION}")).join(name))
}

/// `verify` exits 1 and names it; after a `reload` it exits 0.
fn found_and_mended(agent: &Agent, words: &[&str]) -> Result<()> {
    let output = agent.cli(&["verify"])?;
    says(&output, 1, words)?;
    let report = agent.cli(&["verify", "--json"])?;
    let report: serde_json::Value = serde_json::from_str(&report.stdout)?;
    ensure!(report["matches"] == false, "{report}");
    agent.cli_ok(&["reload"])?;
    says(&agent.cli(&["verify"])?, 0, &["exactly what it should"])
        .with_context(|| format!("{words:?}"))
}

fn deleted() -> Result<()> {
    let lab = Lab::new("deleted")?;
    let agent = Agent::start(&lab, &rich("block"))?;
    let mut tap = lab.edge_tap()?;
    // LPM keys: the length in host order, then the address.
    for (name, length, address, source, passed) in [
        (
            "zones4",
            26_u32,
            &[198, 51, 100, 128][..],
            "198.51.100.130",
            true,
        ),
        ("list4", 26, &[203, 0, 113, 0][..], "203.0.113.7", false),
        (
            "zones6",
            48,
            &[0x20, 1, 0xd, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..],
            "2001:db8:9::1",
            true,
        ),
    ] {
        let key = [&length.to_ne_bytes(), address].concat();
        map(&agent, name)?.delete(&key).context(name)?;
        let shown: std::net::IpAddr = source.parse()?;
        let network = ipnet::IpNet::new(shown, u8::try_from(length)?)?.trunc();
        found_and_mended(&agent, &[&network.to_string(), "missing"])?;
        ensure!(
            passes(&lab, &mut tap, source)? == passed,
            "{source} after the reload"
        );
    }
    Ok(())
}

fn changed() -> Result<()> {
    let lab = Lab::new("changed")?;
    let agent = Agent::start(&lab, &rich("block"))?;
    let mut tap = lab.edge_tap()?;
    let first = 0_u32.to_ne_bytes();
    // The lowest byte of the control map is the mode.
    let control = map(&agent, "control")?;
    let mut word = control.get(&first)?;
    word[0] = 0;
    control.set(&first, &word)?;
    ensure!(passes(&lab, &mut tap, "203.0.113.66")?, "mode off judges");
    found_and_mended(&agent, &["policy word"])?;
    ensure!(!passes(&lab, &mut tap, "203.0.113.66")?, "mode is not back");
    // The filter in front of the tables: 32 networks a word.
    let table = map(&agent, "table4")?;
    let place = (u32::from_be_bytes([203, 0, 113, 0]) >> 13).to_ne_bytes();
    table.set(&place, &[0; 8])?;
    ensure!(
        passes(&lab, &mut tap, "203.0.113.66")?,
        "the filter does nothing"
    );
    found_and_mended(&agent, &["IPv4 table"])?;
    ensure!(
        !passes(&lab, &mut tap, "203.0.113.66")?,
        "the filter is not back"
    );
    // A restricted port that is open to all.
    map(&agent, "ports")?.set(&8443_u32.to_ne_bytes(), &[0; 8])?;
    found_and_mended(&agent, &["port rules"])?;
    // Limits that never bite.
    let limits = map(&agent, "limits")?;
    let profile = 1_u32.to_ne_bytes();
    ensure!(limits.get(&profile)? != [0; 8], "no limits for bad repute");
    limits.set(&profile, &[0; 8])?;
    found_and_mended(&agent, &["limits"])?;
    // A list entry with another score.
    let list = map(&agent, "list4")?;
    let key = [&25_u32.to_ne_bytes()[..], &[203, 0, 113, 128]].concat();
    let value = list.get(&key)?;
    list.set(&key, &vec![0; value.len()])?;
    found_and_mended(&agent, &["203.0.113.128/25"])?;
    ensure!(list.get(&key)? == value, "the entry is not as it was");
    Ok(())
}

fn added() -> Result<()> {
    let lab = Lab::new("added")?;
    let agent = Agent::start(&lab, &rich("block"))?;
    let mut tap = lab.edge_tap()?;
    let zones = map(&agent, "zones4")?;
    let exempt = zones.get(&[&26_u32.to_ne_bytes()[..], &[198, 51, 100, 128]].concat())?;
    let key = [&32_u32.to_ne_bytes()[..], &[203, 0, 113, 66]].concat();
    zones.set(&key, &exempt)?;
    ensure!(
        passes(&lab, &mut tap, "203.0.113.66")?,
        "a zone that does not exempt"
    );
    found_and_mended(&agent, &["203.0.113.66/32", "should not be there"])?;
    ensure!(!passes(&lab, &mut tap, "203.0.113.66")?, "still exempt");
    let list = map(&agent, "list4")?;
    let entry = list.get(&[&26_u32.to_ne_bytes()[..], &[203, 0, 113, 0]].concat())?;
    list.set(
        &[&28_u32.to_ne_bytes()[..], &[198, 51, 100, 0]].concat(),
        &entry,
    )?;
    found_and_mended(&agent, &["198.51.100.0/28", "should not be there"])?;
    ensure!(passes(&lab, &mut tap, "198.51.100.10")?, "still listed");
    Ok(())
}
