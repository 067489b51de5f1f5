//! The checks that run inside the guest: does its verifier take the program, and does the agent hold what it promises.

use std::fs;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use aya::EbpfLoader;
use aya::programs::{ProgramError, ProgramInfo, SkLookup, Xdp};
use lab::frames::{Ends, Frame, catalogue, flags};
use lab::xdp::{Action, attached_id, attached_program, test_run};
use lab::{Agent, AgentConfig, EDGE, EdgeTap, Lab};

use crate::report::MARK;

/// Runs the checks and ends the process.
pub(crate) fn run() -> ! {
    lab::run_tests(vec![
        ("the_verifier_takes_every_program", verifier),
        ("the_agent_attaches_adopts_and_detaches", life),
        ("every_frame_gets_its_verdict", verdicts),
        ("log_mode_passes_everything", log_mode),
        ("a_reset_is_sent_back", reset),
        ("a_block_expires_without_the_agent", expiry),
    ])
}

/// Loads each program by itself and says what that cost. Multi-buffer needs Linux 5.18; the guests have it.
fn verifier() -> Result<()> {
    let path = format!("/{PROGRAM}");
    let object = fs::read(&path).with_context(|| format!("cannot read {path}"))?;
    let mut ebpf = EbpfLoader::new()
        .load(&object)
        .context("the kernel refused the maps")?;
    for name in ["edgeward_xdp", "edgeward_linear"] {
        let program: &mut Xdp = ebpf.program_mut(name).context(name)?.try_into()?;
        let started = Instant::now();
        taken(name, program.load())?;
        say(name, &program.info()?, started.elapsed());
    }
    let name = "edgeward_steer";
    let program: &mut SkLookup = ebpf.program_mut(name).context(name)?.try_into()?;
    let started = Instant::now();
    taken(name, program.load())?;
    say(name, &program.info()?, started.elapsed());
    Ok(())
}

/// The verifier's log ends with the reason and can have a million lines in front of it.
fn taken(name: &str, loaded: Result<(), ProgramError>) -> Result<()> {
    let Err(error) = loaded else {
        return Ok(());
    };
    let text = format!("{:#}", anyhow::Error::from(error));
    let lines: Vec<_> = text.lines().collect();
    let tail = lines
        .get(lines.len().saturating_sub(40)..)
        .unwrap_or_default();
    bail!("{name}: {}", tail.join("\n"))
}

fn say(name: &str, info: &ProgramInfo, took: Duration) {
    println!(
        "\n{MARK}fact verifier: {name}: {} instructions looked at, {} bytes of instructions, \
         loaded in {} ms on this processor",
        info.verified_instruction_count().unwrap_or(0),
        info.size_translated().unwrap_or(0),
        took.as_millis()
    );
}

/// Start, kill -9, start again, changes by command, the way out.
fn life() -> Result<()> {
    let lab = Lab::new("vm-life")?;
    let mut agent = Agent::start(&lab, &listing("block"))?;
    let status = agent.cli_json(&["status"])?.to_string();
    ensure!(
        status.contains("\"native\""),
        "not native on veth: {status}"
    );
    let mut tap = lab.edge_tap()?;
    holds(&lab, &mut tap)?;
    let before = attached_id(&lab.login, EDGE)?;
    ensure!(before.is_some(), "nothing attached");
    agent.kill9();
    ensure!(
        attached_id(&lab.login, EDGE)? == before,
        "the program went with the agent"
    );
    holds(&lab, &mut tap).context("without the agent")?;
    agent.launch()?;
    holds(&lab, &mut tap).context("adopted")?;
    agent.cli_ok(&["verify"])?;
    for source in lab.exempt.addresses() {
        let text = source.to_string();
        ensure!(tap.passes(&syn(&lab, source))?, "{source} before");
        agent.cli_ok(&["block", &text])?;
        ensure!(
            !tap.passes(&syn(&lab, source))?,
            "{source} blocked by command"
        );
        agent.cli_ok(&["unblock", &text])?;
        ensure!(tap.passes(&syn(&lab, source))?, "{source} after");
    }
    agent.cli_ok(&["detach"])?;
    ensure!(attached_id(&lab.login, EDGE)?.is_none(), "still attached");
    ensure!(
        tap.passes(&syn(&lab, lab.attacker.v4().into()))?,
        "judged after detach"
    );
    Ok(())
}

/// Every frame of the catalogue from sources of every fate, by test runs of the attached program.
fn verdicts() -> Result<()> {
    let lab = Lab::new("vm-verdicts")?;
    let config = listing("block")
        .zone(
            "friends",
            &["exempt"],
            &["203.0.113.128/25", "2001:db8:bad:8000::/49"],
        )
        .zone(
            "cdn",
            &["trusted-proxy"],
            &["203.0.113.65", "2001:db8:bad::65"],
        )
        .zone(
            "never",
            &["blocked"],
            &["198.51.100.64/26", "2001:db8:9::/48"],
        );
    let _agent = Agent::start(&lab, &config)?;
    let rows = [
        ("listed", "203.0.113.66", "2001:db8:bad::66", Action::Drop),
        (
            "listed and exempt",
            "203.0.113.200",
            "2001:db8:bad:8000::1",
            Action::Pass,
        ),
        (
            "listed and a proxy",
            "203.0.113.65",
            "2001:db8:bad::65",
            Action::Pass,
        ),
        (
            "blocked zone",
            "198.51.100.70",
            "2001:db8:9::70",
            Action::Drop,
        ),
        (
            "single address",
            "198.51.100.20",
            "2001:db8:600d::20",
            Action::Drop,
        ),
        (
            "beside it",
            "198.51.100.21",
            "2001:db8:600d::21",
            Action::Pass,
        ),
        (
            "unknown",
            "198.51.100.10",
            "2001:db8:600d::10",
            Action::Pass,
        ),
    ];
    let mut judged = 0;
    for (row, v4, v6, wanted) in rows {
        judged += judge_all(&lab, row, v4, wanted)? + judge_all(&lab, row, v6, wanted)?;
    }
    println!("\n{MARK}fact verdicts: {judged} frames judged by test runs of the attached program");
    ensure!(judged > 3000, "only {judged} frames");
    Ok(())
}

fn log_mode() -> Result<()> {
    let lab = Lab::new("vm-log")?;
    let _agent = Agent::start(&lab, &listing("log"))?;
    let judged = judge_all(&lab, "log", "203.0.113.66", Action::Pass)?
        + judge_all(&lab, "log", "2001:db8:bad::66", Action::Pass)?;
    ensure!(judged > 500, "only {judged} frames");
    Ok(())
}

fn reset() -> Result<()> {
    let lab = Lab::new("vm-reset")?;
    let _agent = Agent::start(&lab, &listing("block").set("refusal", "reset"))?;
    let program = attached_program(&lab.login, EDGE)?;
    for source in lab.attacker.addresses() {
        let run = test_run(program.as_fd(), &syn(&lab, source), 1)?;
        ensure!(run.action == Action::Tx, "{source}: {run:?}");
    }
    Ok(())
}

/// The kernel's own clock ends a block: nobody else is there to do it.
fn expiry() -> Result<()> {
    let lab = Lab::new("vm-expiry")?;
    let mut agent = Agent::start(&lab, &AgentConfig::new("block"))?;
    let mut tap = lab.edge_tap()?;
    for source in lab.attacker.addresses() {
        // Long enough to be seen in force on an emulated processor.
        agent.cli_ok(&["block", &source.to_string(), "--for", "20s"])?;
        ensure!(!tap.passes(&syn(&lab, source))?, "{source} is not blocked");
    }
    agent.kill9();
    let deadline = Instant::now() + EXPIRY_MAX;
    for source in lab.attacker.addresses() {
        while !tap.passes(&syn(&lab, source))? {
            ensure!(Instant::now() < deadline, "{source} is still blocked");
            thread::sleep(Duration::from_millis(100));
        }
    }
    Ok(())
}

/// Every frame kind from one source to the login host.
fn judge_all(lab: &Lab, row: &str, source: &str, wanted: Action) -> Result<usize> {
    let program = attached_program(&lab.login, EDGE)?;
    let source: IpAddr = source.parse()?;
    let target = lab.login.address_like(source);
    let kinds = catalogue(Ends {
        source,
        target,
        source_port: 50_000,
        target_port: 443,
    });
    for kind in &kinds {
        let run = test_run(program.as_fd(), &kind.bytes, 1)?;
        ensure!(
            run.action == wanted,
            "{row}, {source}, {}: {:?}",
            kind.name,
            run.action
        );
    }
    Ok(kinds.len())
}

/// The attacker is cut off and the innocent is not, over the wire.
fn holds(lab: &Lab, tap: &mut EdgeTap) -> Result<()> {
    for (host, wanted) in [(&lab.attacker, false), (&lab.innocent, true)] {
        for source in host.addresses() {
            ensure!(
                tap.passes(&syn(lab, source))? == wanted,
                "{source} passes: {}",
                !wanted
            );
        }
    }
    Ok(())
}

fn syn(lab: &Lab, source: IpAddr) -> Vec<u8> {
    Frame::between(source, lab.login.address_like(source))
        .tcp(50_000, 443, flags::SYN)
        .build()
}

/// The attacker's networks and one single neighbour of the innocent client in each family.
fn listing(mode: &str) -> AgentConfig {
    AgentConfig::new(mode)
        .list("known-bad", 100, &["203.0.113.0/24", "2001:db8:bad::/48"])
        .list("single", 90, &["198.51.100.20", "2001:db8:600d::20"])
}

/// Set by the guest's init.
pub(crate) const VARIABLE: &str = "EDGEWARD_VM_GUEST";
/// Where the BPF object lies in the guest, below its root.
pub(crate) const PROGRAM: &str = "edgeward/edgeward-xdp";
/// Longest an expiry may take on an emulated processor: only a failure does.
const EXPIRY_MAX: Duration = Duration::from_secs(120);
