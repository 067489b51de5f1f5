//! What every sort of proxy does while the agent is dead, and while it hangs.

use std::time::Duration;

use anyhow::{Context, ensure};
use lab::{Need, Request, Result, TestFn};

use super::callers::{CADDY, Caller, ENVOY_GRPC, ENVOY_HTTP, HAPROXY, NGINX, TRAEFIK, World};
use super::world::{
    ATTACKER, INNOCENT, Steps, Way, ask, forging, host_of, nothing_forged, passes, reaches,
    refused, tail, target, until,
};

pub(crate) fn tests() -> Vec<(&'static str, TestFn, Need)> {
    vec![
        (
            "nginx_without_agent",
            || outage(NGINX, "nginx-out"),
            NGINX.need,
        ),
        (
            "haproxy_without_agent",
            || outage(HAPROXY, "haproxy-out"),
            HAPROXY.need,
        ),
        (
            "envoy_http_without_agent",
            || outage(ENVOY_HTTP, "envoy-http-out"),
            ENVOY_HTTP.need,
        ),
        (
            "envoy_grpc_without_agent",
            || outage(ENVOY_GRPC, "envoy-grpc-out"),
            ENVOY_GRPC.need,
        ),
        (
            "traefik_without_agent",
            || outage(TRAEFIK, "traefik-out"),
            TRAEFIK.need,
        ),
        (
            "caddy_without_agent",
            || outage(CADDY, "caddy-out"),
            CADDY.need,
        ),
    ]
}

fn outage(caller: Caller, name: &str) -> Result<()> {
    let mut world = caller.start(name)?;
    let mut steps = Steps::default();
    let [down, hanging] = caller.closed;
    steps.step("before", || judges(&world));
    // First the hang: the proxy has connections open to the agent, and no refusal warns it.
    world.agent.hang()?;
    steps.step("hanging", || absent(&world, hanging));
    world.agent.signal(libc::SIGCONT)?;
    steps.step("after hanging", || recovers(&world));
    world.agent.kill9();
    steps.step("down", || absent(&world, down));
    world.agent.launch()?;
    steps.step("after it is back", || recovers(&world));
    steps.finish(|| {
        format!(
            "proxy:\n{}\nagent:\n{}",
            tail(&world.proxy.output()),
            tail(&world.agent.log())
        )
    })
}

/// As documented: requests go on unjudged, or are refused, and where they must be judged they are refused.
fn absent(world: &World, closed: u16) -> Result<()> {
    for client in [INNOCENT, ATTACKER] {
        if world.caller.opens {
            let answer = ask(&world.lab, client, Way::Cdn, &forging("/open"))?;
            let received = reaches(&answer).context("fail open")?;
            nothing_forged(&received)?;
            ensure!(
                received.values("x-edgeward-verdict").is_empty(),
                "a verdict without an agent: {:?}",
                received.headers()
            );
        } else {
            nothing_passes(world, client, "/open", closed)?;
        }
        nothing_passes(world, client, "/admin/", closed)?;
    }
    Ok(())
}

/// The request is answered with this status, or, if that is 0, not at all.
fn nothing_passes(world: &World, client: &str, path: &str, status: u16) -> Result<()> {
    let before = world.origin.requests_for(path);
    if status == 0 {
        let address = client.parse()?;
        let host = host_of(&world.lab, address)?;
        let target = target(&world.lab, address, Way::Cdn);
        let answer = host.http(address, target, &forging(path), PATIENCE);
        ensure!(answer.is_err(), "an answer without a verdict: {answer:?}");
    } else {
        let answer = ask(&world.lab, client, Way::Cdn, &forging(path))?;
        ensure!(
            answer.status == status,
            "{path} is answered {} and not {status}: {}\n{}",
            answer.status,
            answer.head,
            answer.body
        );
    }
    ensure!(
        world.origin.requests_for(path) == before,
        "{path} reached the application"
    );
    Ok(())
}

fn judges(world: &World) -> Result<()> {
    for path in ["/", "/admin/"] {
        passes(&world.lab, INNOCENT, Way::Cdn, &Request::get(path))?;
        let answer = ask(&world.lab, ATTACKER, Way::Cdn, &Request::get(path))?;
        refused(&world.agent, &answer).context(path)?;
    }
    Ok(())
}

/// The proxy finds the agent again by itself.
fn recovers(world: &World) -> Result<()> {
    let mut last = String::new();
    until("the proxy asks again", || {
        last = judges(world).map_or_else(|error| format!("{error:#}"), |()| String::new());
        Ok(last.is_empty())
    })
    .with_context(|| last)
}

/// How long a client waits for an answer that must not come.
const PATIENCE: Duration = Duration::from_secs(2);
