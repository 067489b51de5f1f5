//! Restricted services whose exceptions are paths, so that the kernel leaves the restriction to whoever sees paths.

use anyhow::{Context, ensure};
use lab::{
    Agent, AgentConfig, Lab, Need, Origin, RealProxy, Request, Result, TestFn, needs_nothing,
    shipped,
};

use super::super::world::{
    ATTACKER, EXEMPT, INNOCENT, INNOCENT_V6, NEIGHBOUR, Steps, Way, ask, cdn, connection, reaches,
    refused, until, zones,
};
use super::{OPEN, World, application, certificate};

pub(crate) fn tests() -> Vec<(&'static str, TestFn, Need)> {
    vec![
        ("gateway_restricts_origins", by_gateway, needs_nothing),
        ("nginx_restricts_origins", by_endpoint, needs_nothing),
    ]
}

/// `NEIGHBOUR` may come straight, others only where everybody may.
fn config(more: &str) -> AgentConfig {
    zones(AgentConfig::new("block"))
        .zone("partner", &["allowed-origin"], &[NEIGHBOUR])
        .toml(&format!(
            "[[service]]\nname = \"login\"\nports = [{OPEN}]\nrestricted = true\n\
             restricted_except = [\"/.well-known/*\", \"/health\"]\n{more}"
        ))
}

fn by_gateway() -> Result<()> {
    let lab = Lab::new("gateway-origins")?;
    certificate(&lab)?;
    let origin = Origin::start(&lab, &lab.login)?;
    let application = application(&lab)?;
    let agent = Agent::start(&lab, &config("[service.gateway]\n"))?;
    agent.cli_ok(&["block", ATTACKER])?;
    let world = World {
        agent,
        application,
        origin,
        lab,
    };
    world.judges(OPEN)?;
    let outcome = restricted(&world.lab, &world.agent, &world.origin);
    outcome.with_context(|| world.logs())
}

fn by_endpoint() -> Result<()> {
    let lab = Lab::new("nginx-origins")?;
    let origin = Origin::start(&lab, &lab.login)?;
    let endpoint = "[[endpoint]]\nname = \"nginx\"\nprofile = \"auth-request\"\n\
                    listen = \"unix:{lab}/auth-request.sock\"\n";
    let agent = Agent::start(&lab, &config(endpoint))?;
    agent.cli_ok(&["block", ATTACKER])?;
    let run = lab.directory().display().to_string();
    let folder = shipped(&lab, "nginx", &[("/run/edgeward", &run)])?;
    let listens = lab.login.addresses().map(|address| (address, OPEN).into());
    let proxy = RealProxy::nginx(&lab.login, &folder, "include login.conf;", &listens)?;
    let outcome = restricted(&lab, &agent, &origin);
    outcome.with_context(|| format!("nginx:\n{}\nagent:\n{}", proxy.output(), agent.log()))
}

fn restricted(lab: &Lab, agent: &Agent, origin: &Origin) -> Result<()> {
    let _cdn = cdn(lab)?;
    until("requests through the CDN pass", || {
        Ok(ask(lab, INNOCENT, Way::Cdn, &Request::get("/"))?.status == 200)
    })?;
    let mut steps = Steps::default();
    steps.step("through a trusted proxy", || {
        for client in [INNOCENT, INNOCENT_V6, NEIGHBOUR] {
            reaches(&ask(lab, client, Way::Cdn, &Request::get("/"))?)?;
        }
        refused(
            agent,
            &ask(lab, ATTACKER, Way::Cdn, &Request::get("/health"))?,
        )
    });
    steps.step("around the proxies", || {
        for client in [INNOCENT, INNOCENT_V6] {
            let lie = Request::get("/").header("X-Forwarded-For: 198.51.100.70");
            refused(agent, &ask(lab, client, Way::Direct, &lie)?).context(client)?;
        }
        Ok(())
    });
    steps.step("an allowed origin and an exempt one", || {
        for client in [NEIGHBOUR, EXEMPT] {
            reaches(&ask(lab, client, Way::Direct, &Request::get("/"))?).context(client)?;
        }
        Ok(())
    });
    steps.step("a path for everybody", || {
        for path in ["/health", "/.well-known/acme-challenge/x?y=z"] {
            reaches(&ask(lab, INNOCENT, Way::Direct, &Request::get(path))?).context(path)?;
        }
        Ok(())
    });
    steps.step("paths that only look like one", || disguised(lab, origin));
    steps.finish(String::new)
}

/// What an application may take for another path is no exception.
fn disguised(lab: &Lab, origin: &Origin) -> Result<()> {
    let before = origin.requests().len();
    for path in [
        "/.well-known",
        "/.well-known/../sign-in",
        "/.well-known/%2e%2e/sign-in",
        "/.well-known/%2E%2e%2Fsign-in",
        "/.well-known/..%5csign-in",
        "/.well-known/..;/sign-in",
        "/.well-known%2f..%2fsign-in",
        "/healthy",
        "/health/../sign-in",
        "/Health",
    ] {
        let mut connection = connection(lab, INNOCENT, Way::Direct)?;
        let answer = connection
            .send_raw(format!("GET {path} HTTP/1.1\r\nHost: login\r\n\r\n").as_bytes())
            .with_context(|| path.to_owned())?;
        ensure!(answer.status >= 400, "{path}: {}", answer.head);
    }
    let after = origin.requests().len();
    ensure!(
        before == after,
        "{} reached the application",
        after - before
    );
    Ok(())
}
