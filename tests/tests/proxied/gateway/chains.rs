//! Real proxies in front of the gateway: nginx and HAProxy with two hops, and PROXY protocol.

use anyhow::{Context, ensure};
use lab::{Lab, Need, RealProxy, Request, Result, TestFn};

use super::super::callers::HAPROXY;
use super::super::world::{
    ATTACKER, ATTACKER_V6, INNOCENT, INNOCENT_V6, Steps, Way, ask, cdn, forging, passes, reaches,
    refused, second_address, told,
};
use super::{PROXIED, World};

pub(crate) fn tests() -> Vec<(&'static str, TestFn, Need)> {
    vec![("gateway_behind_real_proxies", chains, HAPROXY.need)]
}

fn chains() -> Result<()> {
    let world = World::start("gateway-chains")?;
    let mut steps = Steps::default();
    {
        let _cdn = cdn(&world.lab)?;
        steps.step("nginx, one hop and two", || behind(&world));
    }
    let haproxy = haproxy(&world.lab)?;
    steps.step("HAProxy, one hop and two", || behind(&world));
    for (version, port) in [("v1", 83), ("v2", 84)] {
        steps.step(&format!("PROXY protocol {version}"), || {
            proxy_protocol(&world, port)
        });
    }
    steps.step("no PROXY protocol where it is due", || unannounced(&world));
    steps.step("no proxy was dropped", || world.nothing_dropped());
    steps.finish(|| format!("HAProxy:\n{}\n{}", haproxy.output(), world.logs()))
}

fn behind(world: &World) -> Result<()> {
    for way in [Way::Cdn, Way::TwoProxies] {
        for (good, bad) in [(INNOCENT, ATTACKER), (INNOCENT_V6, ATTACKER_V6)] {
            for _ in 0..3 {
                let received = passes(&world.lab, good, way, &forging("/"))
                    .with_context(|| format!("{good} {way:?}"))?;
                ensure!(
                    received.values("x-edgeward-client") == [good],
                    "{received:?}"
                );
                let answer = ask(&world.lab, bad, way, &forging("/"))?;
                refused(&world.agent, &answer).with_context(|| format!("{bad} {way:?}"))?;
            }
        }
    }
    Ok(())
}

fn proxy_protocol(world: &World, port: u16) -> Result<()> {
    for (good, bad) in [(INNOCENT, ATTACKER), (INNOCENT_V6, ATTACKER_V6)] {
        // The header names others; PROXY protocol alone counts here.
        let lie = |who: &str| forging("/pp").header(&format!("X-Forwarded-For: {who}"));
        let answer = send(world, good, port, &lie(bad))?;
        let received = reaches(&answer).with_context(|| good.to_owned())?;
        told(&received, good, "pass")?;
        ensure!(
            received.values("x-told-by-proxy-protocol") == [good],
            "the application's own PROXY header is another: {received:?}"
        );
        let answer = send(world, bad, port, &lie(good))?;
        refused(&world.agent, &answer).with_context(|| bad.to_owned())?;
    }
    Ok(())
}

/// A client's request to a port of the proxy host.
fn send(world: &World, client: &str, port: u16, request: &Request) -> Result<lab::Response> {
    let client = client.parse()?;
    let host = super::host_of(&world.lab, client)?;
    let target = (world.lab.proxy.address_like(client), port).into();
    Ok(host.http(client, target, request, super::ANSWER_MAX)?)
}

/// A request without it is no request: it is never guessed.
fn unannounced(world: &World) -> Result<()> {
    let before = world.origin.requests_for("/unannounced");
    let answer = world.forwarded(PROXIED, INNOCENT, &Request::get("/unannounced"));
    let answered = answer.as_ref().is_ok_and(|answer| answer.status < 400);
    ensure!(!answered, "{answer:?}");
    ensure!(
        world.origin.requests_for("/unannounced") == before,
        "it reached the application"
    );
    Ok(())
}

/// HAProxy on the proxy host, with the ports of the nginx there and two more that speak PROXY protocol.
fn haproxy(lab: &Lab) -> Result<RealProxy> {
    second_address(lab)?;
    let [v4, v6] = lab.login.addresses();
    let [near_v4, near_v6] = lab.proxy.addresses();
    let hop = |name: &str, v4_to: &str, v6_to: &str, port: u16, more: &str| {
        format!(
            "frontend {name}4\n  bind 0.0.0.0:{port}\n  option forwardfor\n  default_backend {name}4\n\
             backend {name}4\n  server s {v4_to} source {near_v4} {more}\n\
             frontend {name}6\n  bind :::{port} v6only\n  option forwardfor\n  default_backend {name}6\n\
             backend {name}6\n  server s {v6_to} source [{near_v6}] {more}\n"
        )
    };
    let proxied = (format!("{v4}:{PROXIED}"), format!("[{v6}]:{PROXIED}"));
    let text = [
        "defaults\n  mode http\n  timeout connect 3s\n  timeout client 20s\n  timeout server 20s\n"
            .to_owned(),
        hop("one", &format!("{v4}:80"), &format!("[{v6}]:80"), 80, ""),
        hop("two", "198.51.100.71:82", "[2001:db8:9::71]:82", 81, ""),
        hop("v1", &proxied.0, &proxied.1, 83, "send-proxy"),
        hop("v2", &proxied.0, &proxied.1, 84, "send-proxy-v2"),
        format!(
            "frontend second4\n  bind 198.51.100.71:82\n  option forwardfor\n  default_backend second4\n\
             backend second4\n  server s {v4}:80 source 198.51.100.71\n\
             frontend second6\n  bind 2001:db8:9::71:82\n  option forwardfor\n  default_backend second6\n\
             backend second6\n  server s [{v6}]:80 source [2001:db8:9::71]\n"
        ),
    ];
    let path = lab.write("outer-haproxy.cfg", &text.concat())?;
    let listens = [80, 81, 83, 84]
        .map(|port| [(near_v4, port).into(), (near_v6, port).into()])
        .concat();
    RealProxy::start(
        &lab.proxy,
        &["haproxy", "-db", "-f", &path.display().to_string()],
        &listens,
    )
}
