//! The agent dead, and the agent hanging: open, connections reach the application; closed, they are refused.

use std::time::Duration;

use anyhow::{Context, ensure};
use lab::{Need, Request, Result, TestFn, needs_nothing};

use super::super::world::{ATTACKER, INNOCENT, INNOCENT_V6, Steps, reaches, refused, until};
use super::{CLOSED, OPEN, World};

pub(crate) fn tests() -> Vec<(&'static str, TestFn, Need)> {
    vec![
        ("gateway_killed_and_hanging", outages, needs_nothing),
        ("gateway_without_ipv6", without_v6, needs_nothing),
    ]
}

fn outages() -> Result<()> {
    let mut world = World::start("gateway-out")?;
    let mut steps = Steps::default();
    steps.step("before", || judges(&world));
    world.agent.kill9();
    steps.step("killed", || absent(&world));
    world.agent.launch()?;
    steps.step("back", || judges(&world));
    world.agent.hang()?;
    steps.step("hanging", || absent(&world));
    world.agent.signal(libc::SIGCONT)?;
    steps.step("going on", || judges(&world));
    steps.step("stopped", || {
        let code = world.agent.stop()?;
        ensure!(code == 0, "it ended with {code}");
        absent(&world)
    });
    world.agent.launch()?;
    steps.step("started again", || judges(&world));
    steps.step("detached", || {
        world.agent.cli_ok(&["detach"])?;
        for (port, client) in [(OPEN, ATTACKER), (CLOSED, ATTACKER), (CLOSED, INNOCENT_V6)] {
            let answer = world.forwarded(port, client, &Request::get("/"))?;
            unjudged(&answer).with_context(|| format!("{client} at {port}"))?;
        }
        Ok(())
    });
    steps.finish(|| world.logs())
}

/// A host without IPv6 has a gateway for IPv4, and a warning.
fn without_v6() -> Result<()> {
    let mut world = World::start("gateway-no-v6")?;
    world.agent.kill9();
    let disable = ["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"];
    world.lab.login.run(&disable)?.success()?;
    world.agent.launch()?;
    world.judges(OPEN)?;
    world.passes(OPEN, INNOCENT, &Request::get("/"))?;
    let log = world.agent.log();
    ensure!(log.contains("takes no connections over IPv6"), "{log}");
    Ok(())
}

/// Every request of a proxy is judged, on every port.
fn judges(world: &World) -> Result<()> {
    for port in [OPEN, CLOSED] {
        world.judges(port)?;
        for client in [INNOCENT, INNOCENT_V6] {
            world.passes(port, client, &Request::get("/"))?;
        }
        let answer = world.forwarded(port, ATTACKER, &Request::get("/"))?;
        refused(&world.agent, &answer)?;
    }
    Ok(())
}

/// Nobody judges: each service as it was configured. Clients that come straight notice nothing.
fn absent(world: &World) -> Result<()> {
    // The gateway counts as gone once its sign of life is two seconds old; until then connections wait for it.
    until("connections reach the application", || {
        Ok(quick(world, OPEN, INNOCENT).is_ok_and(|answer| answer.status == 200))
    })?;
    for client in [INNOCENT, ATTACKER, INNOCENT_V6] {
        let answer = world.forwarded(OPEN, client, &Request::get("/"))?;
        unjudged(&answer).with_context(|| format!("{client} while open"))?;
        let refused = quick(world, CLOSED, client);
        ensure!(
            refused.is_err(),
            "{client} was answered while closed: {refused:?}"
        );
    }
    for port in [OPEN, CLOSED] {
        reaches(&world.direct(port, INNOCENT, &Request::get("/"))?)
            .with_context(|| format!("straight to {port}"))?;
    }
    Ok(())
}

/// The application's answer, to a request that nobody judged.
fn unjudged(answer: &lab::Response) -> Result<()> {
    let received = reaches(answer)?;
    let peer = received.values("x-peer").concat();
    ensure!(
        ["198.51.100.70", "2001:db8:9::70"].contains(&peer.as_str()),
        "the application's peer is not the proxy: {received:?}"
    );
    Ok(())
}

/// A request with little patience.
fn quick(world: &World, port: u16, client: &str) -> Result<lab::Response> {
    let client: std::net::IpAddr = client.parse()?;
    let request = Request::get("/").header(&format!("X-Forwarded-For: {client}"));
    let source = world.lab.proxy.address_like(client);
    Ok(world
        .lab
        .proxy
        .http(source, world.at(client, port), &request, PATIENCE)?)
}

/// Longer than an answer takes, shorter than a SYN's retransmission.
const PATIENCE: Duration = Duration::from_millis(900);
