//! Real clients through the gateway, each speaking its own HTTP.

use std::thread;

use anyhow::{Context, anyhow, ensure};
use lab::{Need, PYTHON, Request, Result, TestFn, needs_nothing};
use serde_json::{Value, json};

use super::super::world::{
    ATTACKER, ATTACKER_V6, EXEMPT, INNOCENT, INNOCENT_V6, NEIGHBOUR, Steps, forging, reaches,
    refused, told, until,
};
use super::{CLOSED, NAME, OPEN, TLS, World, certificate, on, proxy_connection};

pub(crate) fn tests() -> Vec<(&'static str, TestFn, Need)> {
    vec![
        ("gateway_judges_each_request", judged, needs_nothing),
        ("gateway_serves_real_clients", real_clients, needs_nothing),
    ]
}

fn judged() -> Result<()> {
    let world = World::start("gateway")?;
    let mut steps = Steps::default();
    steps.step("clients behind a proxy", || behind_a_proxy(&world));
    steps.step("a block on an open connection", || kept_alive(&world));
    steps.step("a client that comes straight", || straight(&world));
    steps.step("a rate limit", || limited(&world));
    steps.step("requests at a time", || at_a_time(&world));
    steps.step("log mode", || logged(&world));
    steps.finish(|| world.logs())
}

fn behind_a_proxy(world: &World) -> Result<()> {
    for port in [OPEN, CLOSED] {
        for client in [INNOCENT, INNOCENT_V6, NEIGHBOUR] {
            let received = world.passes(port, client, &forging("/a?b=c"))?;
            ensure!(received.path() == "/a?b=c", "{received:?}");
            ensure!(
                received.values("x-forwarded-for") == [client],
                "the header is not as it was received: {received:?}"
            );
            let peer = received.values("x-peer").concat();
            let reserved = if client.contains(':') {
                "fd65:6467:6577:6172::2"
            } else {
                "127.0.0.2"
            };
            ensure!(peer == reserved, "the application's peer is {peer}");
        }
        for client in [ATTACKER, ATTACKER_V6] {
            let answer = world.forwarded(port, client, &forging("/refused"))?;
            refused(&world.agent, &answer).with_context(|| format!("{client} at {port}"))?;
            // A lie ahead of its own address changes nothing.
            let lie = Request::get("/refused").header(&format!("X-Forwarded-For: {EXEMPT}"));
            let answer = world.forwarded(port, client, &lie)?;
            refused(&world.agent, &answer).with_context(|| format!("{client} at {port}, lying"))?;
        }
    }
    ensure!(
        world.origin.requests_for("/refused") == 0,
        "a refused request reached the application"
    );
    world.nothing_dropped()
}

/// Several clients share a connection of their proxy: each request is judged for itself, by what holds then.
fn kept_alive(world: &World) -> Result<()> {
    const LATE: &str = "203.0.113.70";
    let mut connection = proxy_connection(&world.lab, OPEN)?;
    for client in [INNOCENT, LATE, NEIGHBOUR] {
        told(
            &reaches(&on(&mut connection, client, "/")?)?,
            client,
            "pass",
        )?;
    }
    world.agent.cli_ok(&["block", LATE])?;
    refused(&world.agent, &on(&mut connection, LATE, "/")?).context("its next request")?;
    for client in [INNOCENT, NEIGHBOUR] {
        told(
            &reaches(&on(&mut connection, client, "/")?)?,
            client,
            "pass",
        )?;
    }
    refused(&world.agent, &on(&mut connection, LATE, "/")?)?;
    // A refused request with a body: what of it follows must not be taken for the next request.
    let post = Request::post("/", "user=a&password=b").header(&format!("X-Forwarded-For: {LATE}"));
    refused(&world.agent, &connection.send(&post)?)?;
    told(
        &reaches(&on(&mut connection, INNOCENT, "/")?)?,
        INNOCENT,
        "pass",
    )?;
    world.agent.cli_ok(&["unblock", LATE])?;
    told(&reaches(&on(&mut connection, LATE, "/")?)?, LATE, "pass")?;
    world.nothing_dropped()
}

/// Who is no proxy does not meet the gateway, whatever it sends.
fn straight(world: &World) -> Result<()> {
    for client in [INNOCENT, INNOCENT_V6] {
        for port in [OPEN, CLOSED] {
            let request = Request::get("/").header(&format!("X-Forwarded-For: {ATTACKER}"));
            let received = reaches(&world.direct(port, client, &request)?)?;
            ensure!(
                received.values("x-peer") == [client],
                "the application sees another peer: {received:?}"
            );
            ensure!(
                received.values("x-edgeward-client").is_empty(),
                "{received:?}"
            );
        }
    }
    Ok(())
}

fn limited(world: &World) -> Result<()> {
    for _ in 0..3 {
        world.passes(OPEN, NEIGHBOUR, &Request::get("/limited"))?;
    }
    let answer = world.forwarded(OPEN, NEIGHBOUR, &Request::get("/limited"))?;
    ensure!(
        answer.status == 429 && answer.header("Retry-After").is_some(),
        "{}",
        answer.head
    );
    world.passes(OPEN, INNOCENT, &Request::get("/limited"))?;
    world.passes(OPEN, NEIGHBOUR, &Request::get("/")).map(drop)
}

/// Two of a client may be under way; when they have ended, the next may.
fn at_a_time(world: &World) -> Result<()> {
    let slow = Request::get("/slow/few?ms=1500");
    let quick = Request::get("/slow/few?ms=0");
    thread::scope(|scope| {
        let under_way = [(); 2].map(|()| scope.spawn(|| world.forwarded(OPEN, INNOCENT, &slow)));
        until("both have reached the application", || {
            Ok(world.origin.requests_for("/slow/few?ms=1500") == 2)
        })?;
        let third = world.forwarded(OPEN, INNOCENT, &quick)?;
        ensure!(third.status == 429, "a third: {}", third.head);
        world.passes(OPEN, NEIGHBOUR, &quick)?;
        for request in under_way {
            let answer = request.join().map_err(|_| anyhow!("a client panicked"))??;
            ensure!(answer.status == 200, "{}", answer.head);
        }
        world.passes(OPEN, INNOCENT, &quick).map(drop)
    })
}

fn logged(world: &World) -> Result<()> {
    world.agent.cli_ok(&["mode", "log"])?;
    let answer = world.forwarded(OPEN, ATTACKER, &forging("/"))?;
    told(&reaches(&answer)?, ATTACKER, "deny")?;
    world.agent.cli_ok(&["mode", "off"])?;
    // The gateway is not in the path at all.
    let answer = world.forwarded(OPEN, ATTACKER, &Request::get("/"))?;
    let received = reaches(&answer)?;
    ensure!(
        received.values("x-peer") == ["198.51.100.70"],
        "the application's peer is not the proxy: {received:?}"
    );
    world.agent.cli_ok(&["mode", "block"])?;
    refused(
        &world.agent,
        &world.forwarded(OPEN, ATTACKER, &forging("/"))?,
    )
}

fn real_clients() -> Result<()> {
    let world = World::start("gateway-clients")?;
    let mut steps = Steps::default();
    world.judges(OPEN)?;
    steps.step("curl", || curl(&world));
    steps.step("refused uploads over HTTP/2", || refused_uploads(&world));
    steps.step("Python", || python(&world));
    steps.step("h2load", || h2load(&world));
    steps.step("wrk", || wrk(&world));
    steps.step("a renewed certificate", || renewed(&world));
    steps.step("no proxy was dropped", || world.nothing_dropped());
    steps.finish(|| world.logs())
}

/// A reload takes the new certificate over, for new connections.
fn renewed(world: &World) -> Result<()> {
    let address = world.at(world.lab.proxy.v4().into(), TLS).to_string();
    let serial = || -> Result<String> {
        let script = format!(
            "openssl s_client -connect {address} -servername {NAME} </dev/null 2>/dev/null | openssl x509 -noout -serial"
        );
        world.lab.proxy.run(&["sh", "-c", &script])?.success()
    };
    let before = serial()?;
    ensure!(before.starts_with("serial="), "{before}");
    certificate(&world.lab)?;
    ensure!(serial()? == before, "another certificate without a reload");
    world.agent.cli_ok(&["reload"])?;
    until("the new certificate is served", || Ok(serial()? != before))
}

/// HTTP/1.0, HTTP/1.1, HTTP/2 with and without TLS, both families.
fn curl(world: &World) -> Result<()> {
    let authority = world
        .lab
        .directory()
        .join("login.pem")
        .display()
        .to_string();
    let [v4, v6] = world.lab.login.addresses();
    for (address, resolve) in [(v4, v4.to_string()), (v6, format!("[{v6}]"))] {
        let resolve = format!("{NAME}:{TLS}:{resolve}");
        let at = world.at(address, OPEN);
        for (how, url) in [
            ("--http1.0", format!("http://{at}/curl")),
            ("--http1.1", format!("http://{at}/curl")),
            ("--http2-prior-knowledge", format!("http://{at}/curl")),
            ("--http1.1", format!("https://{NAME}/curl")),
            ("--http2", format!("https://{NAME}/curl")),
        ] {
            for (client, expected) in [(INNOCENT, "200"), (ATTACKER_V6, "403")] {
                let forwarded = format!("X-Forwarded-For: {client}");
                let argv = [
                    "curl",
                    "-sS",
                    "-o",
                    "/dev/null",
                    "-w",
                    "%{http_code}",
                    "-m",
                    "10",
                    how,
                    "--cacert",
                    &authority,
                    "--resolve",
                    &resolve,
                    "-H",
                    &forwarded,
                    "-d",
                    "user=a&password=b",
                    &url,
                ];
                let answer = world.lab.proxy.run(&argv)?;
                ensure!(
                    answer.code == 0 && answer.stdout == expected,
                    "{how} {url} for {client}: {answer:?}"
                );
            }
        }
    }
    let secure = world
        .origin
        .requests()
        .iter()
        .any(|received| received.path() == "/curl" && received.values("x-scheme") == ["https"]);
    ensure!(secure, "the application was not spoken to over TLS");
    Ok(())
}

/// The refusal must not be overtaken by the end of a stream whose body nobody wants.
fn refused_uploads(world: &World) -> Result<()> {
    let forwarded = format!("X-Forwarded-For: {ATTACKER}");
    let url = format!(
        "https://{}/curl",
        world.at(world.lab.proxy.v4().into(), TLS)
    );
    for _ in 0..20 {
        let argv = [
            "curl",
            "-ksS",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "-m",
            "10",
            "--http2",
            "-H",
            &forwarded,
            "-d",
            "user=a&password=b",
            &url,
        ];
        let status = world.lab.proxy.run(&argv)?.success()?;
        ensure!(status == "403", "a refused POST over HTTP/2: {status}");
    }
    Ok(())
}

fn python(world: &World) -> Result<()> {
    let script = world.lab.write(
        "clients.py",
        include_str!("../../../src/scripts/clients.py"),
    )?;
    let script = script.display().to_string();
    let port = OPEN.to_string();
    for address in world.lab.login.addresses() {
        let address = address.to_string();
        let argv = [
            PYTHON,
            &script,
            &address,
            &port,
            INNOCENT,
            ATTACKER,
            INNOCENT_V6,
        ];
        let output = world.lab.proxy.run(&argv)?.success()?;
        let found: Value = serde_json::from_str(&output)?;
        let expected = json!({
            "urllib": [200, 403, 200],
            "http.client": [200, 403, 200, 200, 403, 200],
        });
        ensure!(found == expected, "{found}");
    }
    Ok(())
}

/// HTTP/2 over TLS, many streams a connection; then HTTP/1.1.
fn h2load(world: &World) -> Result<()> {
    let url = format!(
        "https://{}/h2load",
        world.at(world.lab.proxy.v4().into(), TLS)
    );
    let forwarded = |client: &str| format!("X-Forwarded-For: {client}");
    for (protocol, client, expected) in [
        ("--npn-list=h2", INNOCENT, "1000 2xx, 0 3xx, 0 4xx, 0 5xx"),
        ("--npn-list=h2", ATTACKER, "0 2xx, 0 3xx, 1000 4xx, 0 5xx"),
        (
            "--npn-list=http/1.1",
            INNOCENT,
            "1000 2xx, 0 3xx, 0 4xx, 0 5xx",
        ),
    ] {
        let header = forwarded(client);
        let argv = [
            "h2load", "-n", "1000", "-c", "10", "-m", "10", protocol, "-H", &header, &url,
        ];
        let output = world.lab.proxy.run(&argv)?.success()?;
        ensure!(
            output.contains(expected),
            "{protocol} for {client}: {output}"
        );
        ensure!(
            output.contains("0 failed, 0 errored, 0 timeout"),
            "{output}"
        );
    }
    Ok(())
}

/// Many connections that are kept alive, without TLS.
fn wrk(world: &World) -> Result<()> {
    let url = format!("http://{}/wrk", world.at(world.lab.proxy.v4().into(), OPEN));
    let header = format!("X-Forwarded-For: {INNOCENT}");
    let argv = [
        "wrk", "-t", "1", "-c", "50", "-d", "2s", "-H", &header, &url,
    ];
    let output = world.lab.proxy.run(&argv)?.success()?;
    let trouble = ["Socket errors", "Non-2xx"];
    ensure!(
        output.contains("requests in") && !trouble.iter().any(|text| output.contains(text)),
        "{output}"
    );
    Ok(())
}
