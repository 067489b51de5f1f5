//! Killed, stopped, upgraded, reshaped, detached.

use anyhow::ensure;
use edgeward_ebpf::abi::ABI_VERSION;
use lab::xdp::attached_id;
use lab::{Agent, EDGE, Lab, PinnedMap, Result, TestFn, Watch};

use super::world::{
    enforced, guarded, passed, passes, program, refused, until, verified, watch, zones,
};

pub(crate) fn tests() -> Vec<(&'static str, TestFn)> {
    vec![
        ("kill_9_and_restart_leave_no_gap", kill_and_restart),
        ("an_upgrade_replaces_the_program_without_a_gap", upgrade),
        ("a_stopped_agent_leaves_enforcement", stop_leaves),
        ("detach_ends_enforcement", detach_running),
        ("detach_works_without_an_agent", detach_alone),
        ("maps_of_another_shape_leave_no_gap", reshape),
        ("entries_in_the_stash_survive_another_shape", reshape_stash),
    ]
}

fn kill_and_restart() -> Result<()> {
    let lab = Lab::new("kill")?;
    let mut agent = Agent::start(&lab, &guarded("block"))?;
    let watch = watch(&lab)?;
    watch.wait_for(40)?;
    for round in 0..4 {
        let before = program(&lab)?;
        agent.kill9();
        watch.wait_for(40)?;
        ensure!(
            program(&lab)? == before,
            "round {round}: the program went with the agent"
        );
        agent.launch()?;
        ensure!(
            program(&lab)? != before,
            "round {round}: the new agent did not hand over its program"
        );
        watch.wait_for(40)?;
        verified(&agent)?;
    }
    watch.finish()
}

fn upgrade() -> Result<()> {
    let lab = Lab::new("upgrade")?;
    let mut agent = Agent::start(&lab, &guarded("block"))?;
    let watch = watch(&lab)?;
    for version in ["edgeward-2", "edgeward-3"] {
        let binary = lab.directory().join(version);
        std::fs::copy(lab::binary()?, &binary)?;
        let before = program(&lab)?;
        watch.wait_for(30)?;
        agent.stop()?;
        agent.set_binary(&binary);
        agent.launch()?;
        ensure!(program(&lab)? != before, "{version}: the old program runs");
        watch.wait_for(30)?;
        verified(&agent)?;
    }
    watch.finish()
}

fn stop_leaves() -> Result<()> {
    let lab = Lab::new("stop")?;
    let mut agent = Agent::start(&lab, &guarded("block"))?;
    let watch = watch(&lab)?;
    let before = program(&lab)?;
    watch.wait_for(30)?;
    let code = agent.stop()?;
    ensure!(code == 0, "exit code {code}: {}", agent.log());
    watch.wait_for(60)?;
    watch.finish()?;
    ensure!(program(&lab)? == before, "another program");
    ensure!(!agent.socket().exists(), "the socket was left behind");
    enforced(&lab)
}

fn detach_running() -> Result<()> {
    let lab = Lab::new("detach")?;
    let mut agent = Agent::start(&lab, &guarded("block"))?;
    enforced(&lab)?;
    let said = agent.cli_ok(&["detach"])?;
    ensure!(said.contains("detached"), "{said}");
    nothing_left(&lab, &agent)?;
    until("the agent ends", || Ok(!agent.is_running()))?;
    // What was detached can be attached again.
    agent.launch()?;
    enforced(&lab)
}

fn detach_alone() -> Result<()> {
    let lab = Lab::new("detach-alone")?;
    let mut agent = Agent::start(&lab, &guarded("block"))?;
    agent.kill9();
    enforced(&lab)?;
    let config = agent.config_path().display().to_string();
    let said = agent.cli_ok(&["detach", "--config", &config])?;
    ensure!(said.contains("detached"), "{said}");
    nothing_left(&lab, &agent)?;
    let again = agent.cli(&["detach", "--config", &config])?;
    ensure!(
        again.code == 1 && again.stderr.contains("nothing is attached"),
        "{again:?}"
    );
    agent.launch()?;
    enforced(&lab)
}

/// No pin, no program, and everybody passes.
fn nothing_left(lab: &Lab, agent: &Agent) -> Result<()> {
    ensure!(
        !agent.bpffs_dir().exists(),
        "{} is still there",
        agent.bpffs_dir().display()
    );
    let attached = attached_id(&lab.login, EDGE)?;
    ensure!(attached.is_none(), "program {attached:?} is still attached");
    let mut tap = lab.edge_tap()?;
    for (_, source) in refused(lab).into_iter().chain(passed(lab)) {
        ensure!(passes(lab, &mut tap, source)?, "{source} does not pass");
    }
    Ok(())
}

fn reshape() -> Result<()> {
    let lab = Lab::new("reshape")?;
    let mut agent = Agent::start(&lab, &guarded("block"))?;
    let watch = watch(&lab)?;
    let shapes = [
        [("prefixes", 1000), ("zones", 500), ("rate_sources", 1000)],
        [("hosts_v4", 100_000), ("hosts_v6", 50_000), ("zones", 70)],
        [("hosts_v4", 1000), ("prefixes", 50), ("rate_sources", 500)],
    ];
    for shape in shapes {
        watch.wait_for(30)?;
        let config = shape.iter().fold(guarded("block"), |config, (key, size)| {
            config.set(&format!("capacity.{key}"), *size)
        });
        agent.reconfigure(&config)?;
        agent.kill9();
        watch.wait_for(10)?;
        agent.launch()?;
        watch.wait_for(30)?;
        verified(&agent)?;
    }
    watch.finish()
}

/// Entries whose bucket is full live in a map of their own, whose size follows `[capacity]`.
fn reshape_stash() -> Result<()> {
    let lab = Lab::new("stash")?;
    let hosts: String = (0..STASH_HOSTS)
        .map(|number| format!("2001:db8:bad:{:x}::{:x}\n", number >> 8, number & 0xff))
        .collect();
    lab.write("hosts.txt", &hosts)?;
    let config = |capacity: i64| {
        zones(lab::AgentConfig::new("block"))
            .list_files("bad", 100, &["hosts.txt"])
            .set("capacity.hosts_v6", capacity)
    };
    let mut agent = Agent::start(&lab, &config(200_000))?;
    let stash = PinnedMap::open(&agent.bpffs_dir().join(format!("v{ABI_VERSION}/stash")))?;
    let mut sources = Vec::new();
    for key in stash.keys()?.iter().take(STASH_PROBED) {
        sources.push(address_of(key)?);
    }
    drop(stash);
    ensure!(!sources.is_empty(), "no bucket overflowed: raise the load");
    let refused: Vec<_> = sources
        .iter()
        .map(|source| (&lab.attacker, source.as_str()))
        .collect();
    let watch = Watch::start(&lab, &refused, &passed(&lab))?;
    for capacity in [100_000, 400_000] {
        watch.wait_for(20)?;
        agent.reconfigure(&config(capacity))?;
        agent.kill9();
        agent.launch()?;
        watch.wait_for(20)?;
        verified(&agent)?;
    }
    watch.finish()
}

/// The IPv6 address in a stash key: its two halves in host order come first.
fn address_of(key: &[u8]) -> Result<String> {
    let half = |range| -> Result<u64> {
        let bytes: &[u8] = key.get(range).unwrap_or_default();
        Ok(u64::from_ne_bytes(bytes.try_into()?))
    };
    let address = u128::from(half(0..8)?) << 64 | u128::from(half(8..16)?);
    Ok(std::net::Ipv6Addr::from(address).to_string())
}

/// Enough that some buckets are full, at whatever size the agent chooses.
const STASH_HOSTS: u32 = 60_000;
const STASH_PROBED: usize = 6;
