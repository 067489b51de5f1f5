//! What every sort of proxy does with the agent's decisions.

use anyhow::{Context, ensure};
use lab::{Need, Request, Result, TestFn};
use serde_json::Value;

use super::callers::{
    CADDY, Caller, ENVOY_GRPC, ENVOY_HTTP, HAPROXY, LIMIT, NGINX, TRAEFIK, World,
};
use super::world::{
    ATTACKER, ATTACKER_V6, EXEMPT, INNOCENT, INNOCENT_V6, NEIGHBOUR, Steps, Way, ask, connection,
    forging, nothing_forged, passes, passes_as, reaches, refused, tail, told,
};

pub(crate) fn tests() -> Vec<(&'static str, TestFn, Need)> {
    vec![
        (
            "nginx_judges_by_client",
            || judged(NGINX, "nginx"),
            NGINX.need,
        ),
        (
            "haproxy_judges_by_client",
            || judged(HAPROXY, "haproxy"),
            HAPROXY.need,
        ),
        (
            "envoy_http_judges_by_client",
            || judged(ENVOY_HTTP, "envoy-http"),
            ENVOY_HTTP.need,
        ),
        (
            "envoy_grpc_judges_by_client",
            || judged(ENVOY_GRPC, "envoy-grpc"),
            ENVOY_GRPC.need,
        ),
        (
            "traefik_judges_by_client",
            || judged(TRAEFIK, "traefik"),
            TRAEFIK.need,
        ),
        (
            "caddy_judges_by_client",
            || judged(CADDY, "caddy"),
            CADDY.need,
        ),
    ]
}

/// One world for all of it: starting it takes longer than a request to it.
fn judged(caller: Caller, name: &str) -> Result<()> {
    let world = caller.start(name)?;
    let mut steps = Steps::default();
    steps.step("an allowed client", || allowed(&world));
    steps.step("a blocked client", || blocked(&world));
    steps.step("a forged header", || forged(&world));
    steps.step("a chain of two proxies", || chain(&world));
    steps.step("IPv6", || ipv6(&world));
    steps.step("an exempt client", || exempt(&world));
    steps.step("a proxy is never dropped", || undropped(&world));
    steps.step("nothing a client sends goes around the verdict", || {
        unavoidable(&world)
    });
    steps.step("a rate limit", || limited(&world));
    steps.step("log mode", || logged(&world));
    steps.finish(|| {
        format!(
            "proxy:\n{}\nagent:\n{}",
            tail(&world.proxy.output()),
            tail(&world.agent.log())
        )
    })
}

fn allowed(world: &World) -> Result<()> {
    for way in [Way::Cdn, Way::Direct] {
        let received =
            passes(&world.lab, INNOCENT, way, &forging("/a?b=c")).context(format!("{way:?}"))?;
        ensure!(received.path() == "/a?b=c", "{}", received.path());
    }
    let post = Request::post("/sign-in", "user=a&password=b");
    let received = passes(&world.lab, INNOCENT, Way::Cdn, &post)?;
    ensure!(
        received.body_bytes() == 17,
        "the body is lost: {received:?}"
    );
    Ok(())
}

/// On its own requests alone: the others behind the same proxy go on.
fn blocked(world: &World) -> Result<()> {
    let before = world.origin.requests_for("/blocked");
    for _ in 0..3 {
        let answer = ask(&world.lab, ATTACKER, Way::Cdn, &Request::get("/blocked"))?;
        refused(&world.agent, &answer)?;
        passes(&world.lab, INNOCENT, Way::Cdn, &Request::get("/"))?;
    }
    let request = Request::get("/blocked").header("Accept: application/json");
    let answer = ask(&world.lab, ATTACKER, Way::Cdn, &request)?;
    refused(&world.agent, &answer)?;
    serde_json::from_str::<Value>(&answer.body).with_context(|| {
        format!(
            "no JSON where it is accepted: {}\n{}",
            answer.head, answer.body
        )
    })?;
    let after = world.origin.requests_for("/blocked");
    ensure!(before == after, "a refused request reached the application");
    Ok(())
}

/// Whom an untrusted peer names in its header makes no difference, to itself or to others.
fn forged(world: &World) -> Result<()> {
    let claims = |who: &str| Request::get("/").header(&format!("X-Forwarded-For: {who}"));
    for who in [ATTACKER, EXEMPT, "198.51.100.70", "unknown", ""] {
        for way in [Way::Direct, Way::Cdn] {
            passes(&world.lab, NEIGHBOUR, way, &claims(who))
                .with_context(|| format!("{way:?} as {who:?}"))?;
        }
    }
    for who in [INNOCENT, EXEMPT, "198.51.100.70", "unknown"] {
        let answer = ask(&world.lab, ATTACKER, Way::Cdn, &claims(who))?;
        refused(&world.agent, &answer).with_context(|| format!("as {who:?}"))?;
    }
    let two = claims(EXEMPT).header(&format!("X-Forwarded-For: {INNOCENT}"));
    refused(&world.agent, &ask(&world.lab, ATTACKER, Way::Cdn, &two)?).context("two lines")
}

fn chain(world: &World) -> Result<()> {
    let received = passes(&world.lab, INNOCENT, Way::TwoProxies, &forging("/"))?;
    let forwarded = received
        .values("x-forwarded-for")
        .join(", ")
        .replace(' ', "");
    ensure!(
        forwarded.starts_with(&format!("{INNOCENT},198.51.100.70")),
        "the application sees another chain: {forwarded}"
    );
    let answer = ask(&world.lab, ATTACKER, Way::TwoProxies, &Request::get("/"))?;
    refused(&world.agent, &answer)
}

fn ipv6(world: &World) -> Result<()> {
    for way in [Way::Cdn, Way::TwoProxies] {
        passes(&world.lab, INNOCENT_V6, way, &forging("/"))?;
        let answer = ask(&world.lab, ATTACKER_V6, way, &Request::get("/"))?;
        refused(&world.agent, &answer).with_context(|| format!("{way:?}"))?;
    }
    let forged = Request::get("/").header(&format!("X-Forwarded-For: {ATTACKER_V6}"));
    passes(&world.lab, INNOCENT_V6, Way::Direct, &forged).map(drop)
}

fn exempt(world: &World) -> Result<()> {
    world.agent.cli_ok(&["block", EXEMPT])?;
    let answer = ask(&world.lab, EXEMPT, Way::Cdn, &Request::get("/"))?;
    let received = reaches(&answer)?;
    ensure!(
        received.values("x-edgeward-client") == [EXEMPT],
        "{:?}",
        received.headers()
    );
    Ok(())
}

/// Even while it forwards nothing but refused requests, and has a reputation: by the kernel's own counters.
fn undropped(world: &World) -> Result<()> {
    world.agent.cli_ok(&["block", "198.51.100.70", "--force"])?;
    let refused_frames = || -> Result<u64> {
        let status = world.agent.cli_json(&["status"])?;
        status["packets"]["refused"]
            .as_u64()
            .context("status counts no refused packets")
    };
    let before = refused_frames()?;
    for _ in 0..5 {
        let answer = ask(&world.lab, ATTACKER, Way::Cdn, &Request::get("/"))?;
        refused(&world.agent, &answer)?;
    }
    passes(&world.lab, INNOCENT, Way::Cdn, &Request::get("/"))?;
    let after = refused_frames()?;
    ensure!(
        before == after,
        "the kernel refused {} frames",
        after - before
    );
    let explained = world.agent.cli_json(&["explain", "198.51.100.70"])?;
    ensure!(explained["verdict"] == "defer", "{explained}");
    world.agent.cli_ok(&["unblock", "198.51.100.70"]).map(drop)
}

/// What a proxy cannot ask about it must not let through: heads as long as it takes, bytes that are no text.
fn unavoidable(world: &World) -> Result<()> {
    let before = world.origin.requests_for("/around");
    let filler = "1.1.1.1, ".repeat(300);
    for (what, header, lines) in [
        ("a long chain", "X-Forwarded-For", 4),
        ("long chains", "X-Forwarded-For", 12),
        ("long headers", "X-Filler", 4),
        ("longer headers", "X-Filler", 11),
        ("too long headers", "X-Filler", 40),
        ("a long user agent", "User-Agent", 3),
    ] {
        for way in [Way::Cdn, Way::TwoProxies] {
            let request = (0..lines).fold(Request::get("/around"), |request, _| {
                request.header(&format!("{header}: {filler}"))
            });
            let answer = ask(&world.lab, ATTACKER, way, &request)?;
            ensure!(
                answer.status >= 400 && answer.status != 404,
                "{what}, {way:?}: {}",
                answer.head
            );
        }
    }
    for target in [
        &b"/around\xff\xfe"[..],
        b"/around?\xff",
        b"//around",
        b"/around%00%ff",
        b"*",
    ] {
        let mut stream = connection(&world.lab, ATTACKER, Way::Cdn)?;
        let bytes = [b"GET ", target, b" HTTP/1.1\r\nHost: login\r\n\r\n"].concat();
        let answer = stream.send_raw(&bytes)?;
        let shown = String::from_utf8_lossy(target);
        ensure!(answer.status >= 400, "{shown}: {}", answer.head);
    }
    let arrived = world
        .origin
        .requests()
        .iter()
        .filter(|received| received.path().contains("around"))
        .count();
    ensure!(
        before == 0 && arrived == 0,
        "{arrived} reached the application"
    );
    Ok(())
}

fn limited(world: &World) -> Result<()> {
    // Whatever a client says its path is.
    let request = ["X-Forwarded-Uri", "X-Original-URI", "X-Rewrite-URL"]
        .iter()
        .fold(forging("/limited"), |request, name| {
            request.header(&format!("{name}: /elsewhere"))
        });
    for _ in 0..LIMIT {
        passes(&world.lab, NEIGHBOUR, Way::Cdn, &request)?;
    }
    let answer = ask(&world.lab, NEIGHBOUR, Way::Cdn, &request)?;
    ensure!(answer.status == 429, "{}\n{}", answer.head, answer.body);
    let wait = answer.header("Retry-After").unwrap_or_default();
    ensure!(
        wait.parse()
            .is_ok_and(|seconds: u64| (1..=3600).contains(&seconds)),
        "Retry-After {wait:?}: {}",
        answer.head
    );
    // Of this client alone, and there alone.
    passes(&world.lab, INNOCENT, Way::Cdn, &Request::get("/limited"))?;
    passes(&world.lab, NEIGHBOUR, Way::Cdn, &Request::get("/elsewhere")).map(drop)
}

/// Everybody passes, and the application is told what would have happened.
fn logged(world: &World) -> Result<()> {
    world.agent.cli_ok(&["mode", "log"])?;
    let answer = ask(&world.lab, ATTACKER, Way::Cdn, &forging("/"))?;
    told(&reaches(&answer)?, ATTACKER, "deny")?;
    let answer = ask(&world.lab, ATTACKER, Way::Direct, &forging("/"))?;
    told(&reaches(&answer)?, ATTACKER, "deny")?;
    passes_as(&world.lab, INNOCENT, Way::Cdn, &forging("/"), INNOCENT)?;
    world.agent.cli_ok(&["mode", "off"])?;
    let answer = ask(&world.lab, ATTACKER, Way::Cdn, &forging("/"))?;
    nothing_forged(&reaches(&answer)?)?;
    world.agent.cli_ok(&["mode", "block"]).map(drop)
}
