//! An agent that is restarted by a service manager which keeps its listeners: connections wait for the next one.
//! Nothing reaches the application unjudged meanwhile, and nothing is refused, even where the gateway fails closed.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use lab::{Agent, Lab, Need, Origin, Process, Request, Result, TestFn, binary, needs_nothing};

use super::super::world::{ATTACKER, INNOCENT, INNOCENT_V6, until};
use super::{CLOSED, OPEN, application, certificate, config, forwarded};

pub(crate) fn tests() -> Vec<(&'static str, TestFn, Need)> {
    vec![("gateway_handed_over", handed_over, needs_nothing)]
}

fn handed_over() -> Result<()> {
    let lab = Lab::new("gateway-handover")?;
    certificate(&lab)?;
    let _origin = Origin::start(&lab, &lab.login)?;
    let _application = application(&lab)?;
    let agent = Agent::prepare(&lab, &config())?;
    let mut manager = manager(&lab, &agent)?;
    ready(&agent).with_context(|| manager.stderr())?;
    agent.cli_ok(&["block", ATTACKER])?;

    let stop = AtomicBool::new(false);
    let answered = AtomicU64::new(0);
    let failures = Mutex::new(Vec::new());
    let outcome = thread::scope(|scope| {
        for (port, client, expected) in [
            (CLOSED, INNOCENT, 200),
            (CLOSED, INNOCENT_V6, 200),
            (CLOSED, ATTACKER, 403),
            (OPEN, ATTACKER, 403),
        ] {
            let (lab, stop, answered, failures) = (&lab, &stop, &answered, &failures);
            scope.spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    let failure = match forwarded(lab, port, client, &Request::get("/")) {
                        Ok(answer) if answer.status == expected => {
                            answered.fetch_add(1, Ordering::SeqCst);
                            None
                        }
                        Ok(answer) => Some(format!("{client} at {port}: {}", answer.head)),
                        Err(error) => Some(format!("{client} at {port}: {error:#}")),
                    };
                    if let (Some(failure), Ok(mut failures)) = (failure, failures.lock()) {
                        failures.push(failure);
                    }
                    thread::sleep(Duration::from_millis(2));
                }
            });
        }
        let outcome = restarts(&mut manager, &agent, &answered);
        stop.store(true, Ordering::SeqCst);
        outcome
    });
    outcome.with_context(|| format!("manager and agent:\n{}", manager.stderr()))?;
    let failures = failures.into_inner().unwrap_or_default();
    ensure!(
        failures.is_empty(),
        "{} of {} requests failed, the first ones: {:#?}",
        failures.len(),
        answered.load(Ordering::SeqCst),
        failures.iter().take(5).collect::<Vec<_>>()
    );
    let steering = &agent.cli_json(&["status"])?["proxied"]["steering"];
    for count in [
        "refused_empty",
        "refused_stalled",
        "bypassed_empty",
        "bypassed_stalled",
    ] {
        ensure!(steering[count] == 0, "{count}: {steering}");
    }
    Ok(())
}

fn restarts(manager: &mut Process, agent: &Agent, answered: &AtomicU64) -> Result<()> {
    let progress = || {
        let goal = answered.load(Ordering::SeqCst) + 40;
        until("requests go on", || {
            Ok(answered.load(Ordering::SeqCst) >= goal)
        })
    };
    progress()?;
    for start in 2..=4 {
        manager.signal(libc::SIGUSR1)?;
        manager.wait_for_line(&format!("started {start}"), RESTART_MAX)?;
        ready(agent)?;
        progress()?;
    }
    Ok(())
}

/// Starts the agent by the manager, and both end when the process is dropped.
fn manager(lab: &Lab, agent: &Agent) -> Result<Process> {
    let script = lab.write(
        "manager.py",
        include_str!("../../../src/scripts/manager.py"),
    )?;
    let [script, socket, binary, config] = [
        script,
        lab.directory().join("notify"),
        binary()?,
        agent.config_path().to_owned(),
    ]
    .map(|path| path.display().to_string());
    lab.login.spawn(&[
        "python3", &script, &socket, &binary, "run", "--config", &config,
    ])
}

fn ready(agent: &Agent) -> Result<()> {
    until(
        "the agent answers",
        || Ok(agent.cli(&["status"])?.code == 0),
    )
}

/// Longest a restart may take: only a failure does.
const RESTART_MAX: Duration = Duration::from_secs(30);
