//! Bodies that no buffer holds, and connections that are no longer HTTP.

use std::fs;

use anyhow::{Context, ensure};
use lab::{Need, PYTHON, Request, Result, TestFn, needs_nothing};

use super::super::world::{ATTACKER, INNOCENT, INNOCENT_V6, Steps, cdn};
use super::{LARGE_BYTES, OPEN, TLS, World};

pub(crate) fn tests() -> Vec<(&'static str, TestFn, Need)> {
    vec![
        ("gateway_streams_in_constant_memory", large, needs_nothing),
        ("gateway_carries_websockets", websockets, needs_nothing),
    ]
}

fn large() -> Result<()> {
    let world = World::start("gateway-large")?;
    let mut steps = Steps::default();
    steps.step("a large download", || {
        bounded(&world, || {
            download(&world, &format!("http://{}", at(&world, OPEN)), "--http1.1")
        })
    });
    steps.step("a large download over HTTP/2 and TLS", || {
        bounded(&world, || {
            download(&world, &format!("https://{}", at(&world, TLS)), "--http2")
        })
    });
    steps.step("a large upload", || {
        bounded(&world, || upload(&world, "--http1.1"))
    });
    steps.step("a large upload over HTTP/2", || {
        bounded(&world, || upload(&world, "--http2-prior-knowledge"))
    });
    steps.step("a client that does not read", || {
        bounded(&world, || slow_reader(&world))
    });
    steps.finish(|| world.logs())
}

fn at(world: &World, port: u16) -> std::net::SocketAddr {
    world.at(world.lab.proxy.v4().into(), port)
}

/// Runs it and looks how much the agent's memory grew at its largest.
fn bounded(world: &World, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let id = world.agent.id().context("the agent is not running")?;
    let bytes = |field: &str| -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find(|line| line.starts_with(field));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        Ok(kib.context("no such line")?.parse::<u64>()? * 1024)
    };
    // Sets the peak back to what is resident now.
    fs::write(format!("/proc/{id}/clear_refs"), "5")?;
    let before = bytes("VmRSS")?;
    work()?;
    let grown = bytes("VmHWM")?.saturating_sub(before);
    ensure!(
        grown <= GROWTH_BYTES_MAX,
        "the agent grew by {} MiB",
        grown >> 20
    );
    Ok(())
}

fn download(world: &World, base: &str, how: &str) -> Result<()> {
    let url = format!("{base}/large");
    let header = format!("X-Forwarded-For: {INNOCENT}");
    let argv = [
        "curl",
        "-ksS",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %{size_download}",
        "-m",
        "55",
        how,
        "-H",
        &header,
        &url,
    ];
    let output = world.lab.proxy.run(&argv)?.success()?;
    ensure!(output == format!("200 {LARGE_BYTES}"), "{output}");
    Ok(())
}

fn upload(world: &World, how: &str) -> Result<()> {
    let file = world.lab.directory().join("application/large");
    let file = file.display().to_string();
    let url = format!("http://{}/upload", at(world, OPEN));
    let header = format!("X-Forwarded-For: {INNOCENT}");
    let argv = [
        "curl", "-sS", "-m", "55", how, "-H", &header, "-H", "Expect:", "-T", &file, &url,
    ];
    let output = world.lab.proxy.run(&argv)?.success()?;
    ensure!(
        output.contains(&format!("\"body_bytes\": {LARGE_BYTES}")),
        "{output}"
    );
    Ok(())
}

/// The application would send a gigabyte at once; the client takes a little of it. Nobody in between may keep the rest.
fn slow_reader(world: &World) -> Result<()> {
    let header = format!("X-Forwarded-For: {INNOCENT}");
    for (base, how) in [
        (format!("http://{}", at(world, OPEN)), "--http1.1"),
        (format!("https://{}", at(world, TLS)), "--http2"),
    ] {
        let url = format!("{base}/large");
        let argv = [
            "curl",
            "-ksS",
            "-o",
            "/dev/null",
            "-w",
            "%{size_download}",
            "-m",
            "2",
            "--limit-rate",
            "1M",
            how,
            "-H",
            &header,
            &url,
        ];
        // It ends by its time limit.
        let output = world.lab.proxy.run(&argv)?;
        let taken: u64 = output.stdout.trim().parse()?;
        ensure!(output.code == 28 && taken > 0, "{output:?}");
        ensure!(taken < LARGE_BYTES / 8, "{taken} bytes are not slow");
    }
    // And the next one is served as ever.
    world.passes(OPEN, INNOCENT, &Request::get("/")).map(drop)
}

fn websockets() -> Result<()> {
    let world = World::start("gateway-ws")?;
    let _cdn = cdn(&world.lab)?;
    let script = world.lab.write(
        "websocket.py",
        include_str!("../../../src/scripts/websocket.py"),
    )?;
    let script = script.display().to_string();
    let mut steps = Steps::default();
    let run =
        |host: &lab::Host, url: &str, client: &str| host.run(&[PYTHON, &script, url, client, "6"]);
    steps.step("by a proxy", || {
        for (url, client) in [
            (format!("ws://{}/chat", at(&world, OPEN)), INNOCENT),
            (
                format!("ws://{}/chat", world.at(world.lab.proxy.v6().into(), OPEN)),
                INNOCENT_V6,
            ),
        ] {
            let output = run(&world.lab.proxy, &url, client)?.success()?;
            ensure!(output.contains("echoed 5"), "{output}");
        }
        Ok(())
    });
    steps.step("a blocked client", || {
        let url = format!("ws://{}/chat", at(&world, OPEN));
        let output = run(&world.lab.proxy, &url, ATTACKER)?;
        ensure!(output.stdout.trim() == "refused 403", "{output:?}");
        Ok(())
    });
    steps.step("through the CDN", || {
        let url = format!("ws://{}/chat", world.lab.proxy.v4());
        let output = run(&world.lab.innocent, &url, "-")?.success()?;
        ensure!(output.contains("echoed 5"), "{output}");
        let output = run(&world.lab.attacker, &url, "-")?;
        ensure!(output.stdout.trim() == "refused 403", "{output:?}");
        Ok(())
    });
    steps.step("across a reload", || {
        let url = format!("ws://{}/chat", at(&world, OPEN));
        let argv = [PYTHON, &script, &url, INNOCENT, "12", "step"];
        let mut process = world.lab.proxy.spawn(&argv)?;
        process.wait_for_line("echoed 1", super::ANSWER_MAX)?;
        world.agent.cli_ok(&["reload"])?;
        let code = process.wait(super::ANSWER_MAX)?;
        ensure!(code == 0, "{}{}", process.stdout(), process.stderr());
        Ok(())
    });
    steps.finish(|| world.logs())
}

/// How much the agent may grow while a gigabyte passes: what its windows and buffers may hold, and no body.
const GROWTH_BYTES_MAX: u64 = 32 << 20;
