//! Reload, restart and upgrade while proxies go on: no connection is refused and no request lost.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use lab::{Lab, Need, Request, Result, TestFn, needs_nothing};

use super::super::world::{INNOCENT, INNOCENT_V6, until};
use super::{OPEN, World, config, forwarded, proxy_connection};

pub(crate) fn tests() -> Vec<(&'static str, TestFn, Need)> {
    vec![
        ("gateway_reload_loses_nothing", reload, needs_nothing),
        ("gateway_restart_loses_nothing", restart, needs_nothing),
    ]
}

fn reload() -> Result<()> {
    let world = World::start("gateway-reload")?;
    let outcome = under_load(&world.lab, IdleConnections::Stay, |progress| {
        for round in 0_u32..6 {
            // The last one closes and opens what the gateway may reuse: its limits have changed.
            let changed = config().toml(&format!(
                "[[service]]\nname = \"other {round}\"\nports = [{}]\n[service.gateway]\nidle_timeout = \"{}s\"",
                9000 + round,
                60 + round
            ));
            world.agent.reconfigure(&changed)?;
            world.agent.cli_ok(&["reload"])?;
            progress(50)?;
        }
        Ok(())
    });
    outcome.with_context(|| world.logs())?;
    world.judges(OPEN)
}

fn restart() -> Result<()> {
    let mut world = World::start("gateway-restart")?;
    let (agent, lab) = (&mut world.agent, &world.lab);
    let outcome = under_load(lab, IdleConnections::MayEnd, |progress| {
        for _ in 0..3 {
            agent.restart()?;
            progress(50)?;
        }
        Ok(())
    });
    outcome.with_context(|| world.logs())?;
    world.judges(OPEN)
}

/// Runs `work` while the proxy host sends: requests on connections of their own, some that take a while, and one
/// connection that is kept alive as long as the other end keeps it. `work` may wait for that many more answers.
fn under_load(
    lab: &Lab,
    idle: IdleConnections,
    work: impl FnOnce(&dyn Fn(u64) -> Result<()>) -> Result<()>,
) -> Result<()> {
    let stop = AtomicBool::new(false);
    let answered = AtomicU64::new(0);
    let failures = Mutex::new(Vec::new());
    let note = |what: String| {
        if let Ok(mut failures) = failures.lock() {
            failures.push(what);
        }
    };
    let go_on = || !stop.load(Ordering::SeqCst);
    let outcome = thread::scope(|scope| {
        for (client, path) in [
            (INNOCENT, "/load"),
            (INNOCENT_V6, "/load"),
            (INNOCENT, "/slow?ms=300"),
            (INNOCENT_V6, "/slow?ms=200"),
        ] {
            let (answered, note, go_on) = (&answered, &note, &go_on);
            scope.spawn(move || {
                while go_on() {
                    match forwarded(lab, OPEN, client, &Request::get(path)) {
                        Ok(answer) if answer.status == 200 => {
                            answered.fetch_add(1, Ordering::SeqCst);
                        }
                        Ok(answer) => note(format!("{path}: {}", answer.head)),
                        Err(error) => note(format!("{path}: {error:#}")),
                    }
                    thread::sleep(Duration::from_millis(2));
                }
            });
        }
        scope.spawn(|| {
            while go_on() {
                if let Err(error) = keep_alive(lab, idle, &go_on) {
                    note(format!("kept alive: {error:#}"));
                }
            }
        });
        let progress = |count: u64| {
            let goal = answered.load(Ordering::SeqCst) + count;
            until("requests go on", || {
                Ok(answered.load(Ordering::SeqCst) >= goal)
            })
        };
        let outcome = progress(50)
            .and_then(|()| work(&progress))
            .and_then(|()| progress(50));
        stop.store(true, Ordering::SeqCst);
        outcome
    });
    let failures = failures.into_inner().unwrap_or_default();
    outcome.with_context(|| failures.join("\n"))?;
    ensure!(
        failures.is_empty(),
        "{} of {} requests failed: {}",
        failures.len(),
        answered.load(Ordering::SeqCst),
        failures
            .iter()
            .take(10)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n"),
    );
    Ok(())
}

/// What may become of connections on which no request is under way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum IdleConnections {
    Stay,
    /// A process that ends closes them; whoever uses one at that moment asks again on another, as proxies do.
    MayEnd,
}

/// Requests on one connection until the other end says that it will close it.
fn keep_alive(lab: &Lab, idle: IdleConnections, go_on: &dyn Fn() -> bool) -> Result<()> {
    let mut connection = proxy_connection(lab, OPEN)?;
    let mut reused = false;
    while go_on() {
        let request = Request::get("/kept").header(&format!("X-Forwarded-For: {INNOCENT}"));
        let answer = match connection.send(&request) {
            Err(_) if reused && idle == IdleConnections::MayEnd => return Ok(()),
            answer => answer.context("a request on an open connection")?,
        };
        ensure!(answer.status == 200, "{}", answer.head);
        let closes = answer
            .header("Connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"));
        ensure!(
            !closes || idle == IdleConnections::MayEnd,
            "a reload ends a connection"
        );
        if closes {
            return Ok(());
        }
        reused = true;
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
