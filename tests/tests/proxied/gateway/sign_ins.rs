//! Sign-ins through the gateway in front of nginx and a login form: detection is told how they end, and whoever
//! attacks behind a proxy is refused while others on the same connection get in.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context, ensure};
use lab::{
    Agent, KeptAlive, Lab, Need, Origin, PYTHON, Process, RealProxy, Request, Response, Result,
    TestFn, needs_nothing,
};
use serde_json::Value;

use super::super::world::{
    ATTACKER, INNOCENT, INNOCENT_V6, NEIGHBOUR, Steps, refused, tail, until, zones,
};
use super::{OPEN, forwarded, proxy_connection};

pub(crate) fn tests() -> Vec<(&'static str, TestFn, Need)> {
    vec![("gateway_tells_sign_ins", told, needs_nothing)]
}

struct World {
    agent: Agent,
    nginx: RealProxy,
    _application: Process,
    lab: Lab,
}

fn told() -> Result<()> {
    let world = start()?;
    let mut steps = Steps::default();
    steps.step("outcomes", || outcomes(&world));
    steps.step("a spray behind a proxy", || spray(&world));
    steps.step("many sources, one user", || one_user(&world));
    steps.step("no name in the log", || no_names(&world));
    steps.finish(|| {
        format!(
            "nginx:\n{}\nagent:\n{}",
            tail(&world.nginx.output()),
            tail(&world.agent.log())
        )
    })
}

fn start() -> Result<World> {
    let lab = Lab::new("signins")?;
    let script = lab.write("login.py", include_str!("../../../src/scripts/login.py"))?;
    let port = Origin::PORT;
    let application =
        lab.login
            .spawn(&[PYTHON, &script.display().to_string(), &port.to_string()])?;
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    until("the application listens", || {
        Ok(lab
            .login
            .connect_from(local, local, port, Duration::from_secs(1))
            .is_ok())
    })?;
    let text = format!(
        "server {{ listen {OPEN}; listen [::]:{OPEN};\n\
           location / {{ proxy_pass http://127.0.0.1:{port}; proxy_http_version 1.1; proxy_set_header Connection \"\"; }}\n\
         }}\n"
    );
    let [v4, v6] = lab.login.addresses();
    let nginx = RealProxy::nginx(
        &lab.login,
        &lab.directory().join("application"),
        &text,
        &[(v4, OPEN).into(), (v6, OPEN).into()],
    )?;
    let config = zones(lab::AgentConfig::new("block")).toml(&format!(
        r#"
        [[service]]
        name = "login"
        ports = [{OPEN}]
        [service.gateway]
        [[service.sign_in]]
        path = "/login"
        user_field = "user"
        success = [302]
        unknown_user = [404]
        [[service.sign_in]]
        path = "/word"
        user_basic = true
        outcome_header = "X-Login-Result"
        outcomes = ["success=in", "failure=wrong", "unknown-user=unknown"]
        [[service.sign_in]]
        path = "/api/*"
        user_field = "user.mail"
        outcome_field = "error.code"
        outcomes = ["failure=E_WRONG", "unknown-user=E_UNKNOWN"]
        "#
    ));
    let agent = Agent::start(&lab, &config)?;
    let world = World {
        agent,
        nginx,
        _application: application,
        lab,
    };
    let mut last = String::new();
    until("the gateway serves", || {
        // It alone says who the client is.
        last = match forwarded(&world.lab, OPEN, INNOCENT, &Request::get("/")) {
            Ok(answer) => answer.head,
            Err(error) => format!("{error:#}"),
        };
        Ok(world.gauge("steering", "steered")? > 0 && last.starts_with("HTTP/1.1 200"))
    })
    .with_context(|| format!("{last}\nagent:\n{}", world.agent.log()))?;
    Ok(world)
}

impl World {
    fn gauge(&self, part: &str, name: &str) -> Result<u64> {
        let status = self.agent.cli_json(&["status"])?;
        Ok(status["proxied"][part][name].as_u64().unwrap_or_default())
    }

    fn counted(&self) -> Result<[u64; 3]> {
        let status = self.agent.cli_json(&["status"])?;
        let count = |name: &str| status["detection"][name].as_u64().unwrap_or_default();
        Ok([count("signals"), count("successes"), count("failures")])
    }

    /// Waits until detection has counted so many signals, successes and failures.
    fn counts(&self, expected: [u64; 3]) -> Result<()> {
        let mut last = [0; 3];
        until("detection counts them", || {
            last = self.counted()?;
            Ok(last == expected)
        })
        .with_context(|| format!("{last:?} and not {expected:?}"))
    }

    fn sign_in(&self, client: &str, request: &Request) -> Result<Response> {
        forwarded(&self.lab, OPEN, client, request)
    }
}

fn form(user: &str, password: &str) -> Request {
    Request::post("/login", &format!("user={user}&password={password}"))
}

fn json(user: &str, password: &str) -> Request {
    let body = serde_json::json!({ "user": { "password": password, "mail": user } });
    Request::post("/api/login", &body.to_string())
}

/// Each way of the application, each outcome, over both families.
fn outcomes(world: &World) -> Result<()> {
    let word = |credentials: &str| {
        Request::post("/word", "x").header(&format!("Authorization: Basic {credentials}"))
    };
    for client in [INNOCENT, INNOCENT_V6] {
        for (request, status) in [
            (form("alice", "right"), 302),
            (form("alice", "wrong"), 401),
            (form("nobody", "wrong"), 404),
            // alice:right, alice:wrong, nobody:right
            (word("YWxpY2U6cmlnaHQ="), 200),
            (word("YWxpY2U6d3Jvbmc="), 200),
            (word("bm9ib2R5OnJpZ2h0"), 200),
            (json("alice", "right"), 200),
            (json("alice", "wrong"), 200),
            (json("nobody", "wrong"), 200),
            (Request::get("/login"), 200),
        ] {
            let answer = world.sign_in(client, &request)?;
            ensure!(answer.status == status, "{request:?}: {}", answer.head);
        }
    }
    world.counts([18, 6, 12])?;
    for (name, expected) in [
        ("signals", 18),
        ("signals_dropped", 0),
        ("outcome_unclear", 0),
        ("answer_unreadable", 0),
    ] {
        let count = world.gauge("sign_ins", name)?;
        ensure!(count == expected, "{name}: {count}");
    }
    Ok(())
}

fn on(connection: &mut KeptAlive, client: &str, request: Request) -> Result<Response> {
    Ok(connection.send(&request.header(&format!("X-Forwarded-For: {client}")))?)
}

/// One connection of the proxy carries a spray and an honest client.
fn spray(world: &World) -> Result<()> {
    const TRIES_MAX: u32 = 20;
    let mut connection = proxy_connection(&world.lab, OPEN)?;
    let [before, ..] = world.counted()?;
    let mut tries = 0;
    let last = loop {
        let answer = on(
            &mut connection,
            ATTACKER,
            form(&format!("user{tries}"), "wrong"),
        )?;
        if answer.status == 403 {
            break answer;
        }
        ensure!(answer.status == 401, "{}", answer.head);
        tries += 1;
        ensure!(
            tries < TRIES_MAX,
            "{tries} users were tried, and nobody was refused"
        );
        // Detection counts each before the next, however slow this host is.
        until("it is counted", || {
            Ok(world.counted()?[0] >= before + u64::from(tries))
        })?;
        if tries == 8 {
            until("it is decided", || Ok(!listed(world)?.is_empty()))?;
        }
    };
    refused(&world.agent, &last)?;
    for client in [INNOCENT, NEIGHBOUR] {
        let answer = on(&mut connection, client, form("alice", "right"))?;
        ensure!(answer.status == 302, "{client}: {}", answer.head);
    }
    let answer = on(&mut connection, ATTACKER, form("alice", "right"))?;
    refused(&world.agent, &answer).context("its next sign-in")?;
    let decisions = listed(world)?;
    ensure!(
        decisions
            .iter()
            .any(|decision| decision["prefix"] == format!("{ATTACKER}/32")),
        "{decisions:?}"
    );
    // What was refused is no signal.
    world.counts_after(before + u64::from(tries) + 2)
}

impl World {
    fn counts_after(&self, signals: u64) -> Result<()> {
        until("detection counts what was let on", || {
            Ok(self.counted()?[0] == signals)
        })?;
        let sent = self.gauge("sign_ins", "signals")?;
        ensure!(
            sent == signals,
            "{sent} signals, {signals} sign-ins that were let on"
        );
        Ok(())
    }
}

fn listed(world: &World) -> Result<Vec<Value>> {
    let list = world.agent.cli_json(&["list"])?;
    Ok(list["decisions"].as_array().cloned().unwrap_or_default())
}

/// One user is tried from many addresses: then from no other, and other users are not meant.
fn one_user(world: &World) -> Result<()> {
    const FRESH: &str = "198.51.100.40";
    for source in 1..=40 {
        let client = format!("192.0.2.{}", source * 5);
        world.sign_in(&client, &form("victim", "wrong"))?;
    }
    until("the user is refused", || {
        Ok(world.sign_in(FRESH, &form("victim", "wrong"))?.status == 403)
    })?;
    let answer = world.sign_in(FRESH, &json("Victim", "wrong"))?;
    refused(&world.agent, &answer).context("by another way, in another case")?;
    let answer = world.sign_in(FRESH, &form("carol", "right"))?;
    ensure!(answer.status == 302, "another user: {}", answer.head);
    Ok(())
}

fn no_names(world: &World) -> Result<()> {
    let (log, status) = (
        world.agent.log(),
        world.agent.cli_ok(&["status", "--json"])?,
    );
    let events = world.agent.cli_ok(&["events", "--json"])?;
    for name in ["alice", "nobody", "victim", "user1"] {
        for text in [&log, &status, &events] {
            ensure!(!text.contains(name), "{name} stands in:\n{text}");
        }
    }
    Ok(())
}
