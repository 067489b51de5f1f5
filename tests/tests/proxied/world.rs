//! The world of these tests: clients, a CDN of nginx on the proxy host, and on the login host the proxy under test,
//! the agent and the application.
//!
//! ```text
//!  client ─▶ 198.51.100.70:80 ───────────────────────────────▶ login:80 ─▶ 127.0.0.1:8081
//!  client ─▶ 198.51.100.70:81 ─▶ 198.51.100.71:82 ───────────▶ login:80      (origin)
//!  client ───────────────────────────────────────────────────▶ login:80
//! ```

use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use lab::{
    Agent, AgentConfig, Host, KeptAlive, Lab, PLANS, RealProxy, Received, Request, Response, Result,
};
use serde_json::Value;

/// How a request goes from a client to the login host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Straight.
    Direct,
    /// Through the CDN.
    Cdn,
    /// Through two proxies, both trusted.
    TwoProxies,
}

/// The CDN on the proxy host: each port appends its peer to `X-Forwarded-For`.
pub(crate) fn cdn(lab: &Lab) -> Result<RealProxy> {
    second_address(lab)?;
    let [v4, v6] = lab.login.addresses();
    let [near_v4, near_v6] = lab.proxy.addresses();
    let server = |listen: &str, source: &str, upstream: &str| {
        format!(
            "server {{ listen {listen}; location / {{\n\
               proxy_pass http://{upstream}; proxy_bind {source};\n\
               proxy_http_version 1.1; proxy_set_header Connection $connection_upgrade;\n\
               proxy_set_header Upgrade $http_upgrade; proxy_set_header Host $http_host;\n\
               proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
               proxy_request_buffering off; proxy_buffering off; client_max_body_size 0;\n\
               proxy_connect_timeout 3s; proxy_next_upstream off;\n\
             }} }}\n"
        )
    };
    let text = [
        "map $http_upgrade $connection_upgrade { default upgrade; '' ''; }\n".to_owned(),
        "large_client_header_buffers 8 64k;\n".to_owned(),
        format!("upstream login4 {{ server {v4}:80; keepalive 4; }}\n"),
        format!("upstream login6 {{ server [{v6}]:80; keepalive 4; }}\n"),
        server("80", &near_v4.to_string(), "login4"),
        server("[::]:80 ipv6only=on", &near_v6.to_string(), "login6"),
        server("81", &near_v4.to_string(), &format!("{SECOND_V4}:82")),
        server(
            "[::]:81 ipv6only=on",
            &near_v6.to_string(),
            &format!("[{SECOND_V6}]:82"),
        ),
        server(&format!("{SECOND_V4}:82"), SECOND_V4, "login4"),
        server(&format!("[{SECOND_V6}]:82"), SECOND_V6, "login6"),
    ];
    let listens = [80, 81]
        .map(|port| [(near_v4, port).into(), (near_v6, port).into()])
        .concat();
    RealProxy::nginx(
        &lab.proxy,
        &lab.directory().join("cdn"),
        &text.concat(),
        &listens,
    )
}

/// Gives the proxy host the address of its second proxy: a server may bind IPv4 addresses that are only routed to its
/// host, but IPv6 addresses must be there.
pub(crate) fn second_address(lab: &Lab) -> Result<()> {
    let address = format!("{SECOND_V6}/128");
    let argv = ["ip", "addr", "replace", &address, "dev", "lo", "nodad"];
    lab.proxy.run(&argv)?.success().map(drop)
}

/// Zones of these tests on top of a configuration.
pub(crate) fn zones(config: AgentConfig) -> AgentConfig {
    config
        .zone(
            "office",
            &["exempt"],
            &["198.51.100.128/26", "2001:db8:e::/48"],
        )
        .zone("cdn", &["trusted-proxy"], &PROXIES)
}

/// The client's host: every address of a client's networks is routed to it.
pub(crate) fn host_of(lab: &Lab, client: IpAddr) -> Result<&Host> {
    let clients = lab.clients().into_iter().zip(PLANS);
    for (host, plan) in clients {
        for network in [plan.network_v4, plan.network_v6] {
            if network.parse::<ipnet::IpNet>()?.contains(&client) {
                return Ok(host);
            }
        }
    }
    bail!("{client} is nobody's")
}

/// Where a client turns to.
pub(crate) fn target(lab: &Lab, client: IpAddr, way: Way) -> SocketAddr {
    match way {
        Way::Direct => (lab.login.address_like(client), 80).into(),
        Way::Cdn => (lab.proxy.address_like(client), 80).into(),
        Way::TwoProxies => (lab.proxy.address_like(client), 81).into(),
    }
}

/// One request of a client on a connection of its own.
pub(crate) fn ask(lab: &Lab, client: &str, way: Way, request: &Request) -> Result<Response> {
    let address: IpAddr = client.parse()?;
    let host = host_of(lab, address)?;
    let target = target(lab, address, way);
    host.http(address, target, request, ANSWER_MAX)
        .with_context(|| format!("{client} {way:?}"))
}

/// A client's connection for several requests.
pub(crate) fn connection(lab: &Lab, client: &str, way: Way) -> Result<KeptAlive> {
    let address: IpAddr = client.parse()?;
    let host = host_of(lab, address)?;
    host.keep_alive(address, target(lab, address, way), ANSWER_MAX)
        .with_context(|| format!("{client} {way:?}"))
}

/// The request reaches the application, which is told exactly who the client is and that it may pass.
pub(crate) fn passes(lab: &Lab, client: &str, way: Way, request: &Request) -> Result<Received> {
    passes_as(lab, client, way, request, client)
}

/// As [`passes`], where the client is found to be another than the sender.
pub(crate) fn passes_as(
    lab: &Lab,
    sender: &str,
    way: Way,
    request: &Request,
    client: &str,
) -> Result<Received> {
    let received = reaches(&ask(lab, sender, way, request)?)?;
    told(&received, client, "pass")?;
    Ok(received)
}

/// The answer is the application's.
pub(crate) fn reaches(answer: &Response) -> Result<Received> {
    ensure!(
        answer.status == 200,
        "status {}: {}\n{}",
        answer.status,
        answer.head,
        answer.body
    );
    Received::from_answer(answer)
}

/// What the application was told by Edgeward is this, once, and nothing that a client made up came with it.
pub(crate) fn told(received: &Received, client: &str, verdict: &str) -> Result<()> {
    let headers = received.headers();
    let values = |name: &str| received.values(name);
    ensure!(
        values("x-edgeward-client") == [client] && values("x-edgeward-verdict") == [verdict],
        "the application is not told that {client} is {verdict}: {headers:?}"
    );
    nothing_forged(received)
}

/// Nothing that [`forging`] sends arrived.
pub(crate) fn nothing_forged(received: &Received) -> Result<()> {
    let forged: Vec<_> = received
        .headers()
        .into_iter()
        .filter(|(name, value)| name.starts_with("x-edgeward") && *value == FORGED)
        .collect();
    ensure!(forged.is_empty(), "forged by the client: {forged:?}");
    Ok(())
}

/// A request with every header that only Edgeward may set.
pub(crate) fn forging(path: &str) -> Request {
    ["Client", "Verdict", "Reason", "Score", "Peer"]
        .iter()
        .fold(Request::get(path), |request, name| {
            request.header(&format!("X-Edgeward-{name}: {FORGED}"))
        })
}

/// The client is refused with the plain sentence and the id of an event that the agent knows.
pub(crate) fn refused(agent: &Agent, answer: &Response) -> Result<()> {
    ensure!(
        answer.status == 403,
        "status {} and not 403: {}\n{}",
        answer.status,
        answer.head,
        answer.body
    );
    ensure!(
        answer.body.contains(SENTENCE),
        "the page lacks the sentence: {}\n{}",
        answer.head,
        answer.body
    );
    for hint in ["reputation", "zone", "list", "score", "block"] {
        ensure!(
            !answer.body.to_lowercase().contains(hint),
            "the page says {hint:?}: {}",
            answer.body
        );
    }
    let events = agent.cli_ok(&["events", "--json"])?;
    let known = events.lines().filter_map(|line| {
        let event: Value = serde_json::from_str(line).ok()?;
        Some(event["id"].as_str()?.to_owned())
    });
    ensure!(
        known.into_iter().any(|id| answer.body.contains(&id)),
        "the page names no event: {}\n{events}",
        answer.body
    );
    Ok(())
}

/// Waits until the whole chain answers: some proxies listen before they have read everything.
pub(crate) fn ready(lab: &Lab, agent: &Agent, proxies: &[&RealProxy]) -> Result<()> {
    let deadline = Instant::now() + READY_MAX;
    for client in [INNOCENT, INNOCENT_V6] {
        for way in [Way::Direct, Way::Cdn, Way::TwoProxies] {
            loop {
                let error = match ask(lab, client, way, &Request::get("/ready")) {
                    Ok(answer) if answer.status == 200 => break,
                    Ok(answer) => format!("{}\n{}", answer.head, answer.body),
                    Err(error) => format!("{error:#}"),
                };
                if Instant::now() >= deadline {
                    let output: String = proxies.iter().map(|proxy| proxy.output()).collect();
                    bail!(
                        "{client} {way:?}: {error}\n{output}\nagent:\n{}",
                        agent.log()
                    );
                }
                thread::sleep(Duration::from_millis(50));
            }
        }
    }
    Ok(())
}

/// Several things that are tried one after the other in one world; all of them are told of, not the first alone.
#[derive(Debug, Default)]
pub(crate) struct Steps(Vec<String>);

impl Steps {
    /// Tries one.
    pub(crate) fn step(&mut self, name: &str, work: impl FnOnce() -> Result<()>) {
        if let Err(error) = work() {
            self.0.push(format!("{name}: {error:#}"));
        }
    }

    /// Tells of those that failed.
    pub(crate) fn finish(self, log: impl FnOnce() -> String) -> Result<()> {
        ensure!(self.0.is_empty(), "{}\n{}", self.0.join("\n\n"), log());
        Ok(())
    }
}

/// Polls until it is so; the time only bounds a failure.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + READY_MAX;
    while !so()? {
        if Instant::now() >= deadline {
            bail!("never: {what}");
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The last lines of a text.
pub(crate) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(40);
    lines.get(from..).unwrap_or_default().join("\n")
}

pub(crate) const ATTACKER: &str = "203.0.113.66";
pub(crate) const ATTACKER_V6: &str = "2001:db8:bad::66";
/// Of the attacker's networks, but not blocked.
pub(crate) const NEIGHBOUR: &str = "203.0.113.99";
pub(crate) const INNOCENT: &str = "198.51.100.10";
pub(crate) const INNOCENT_V6: &str = "2001:db8:600d::10";
pub(crate) const EXEMPT: &str = "198.51.100.130";
pub(crate) const PROXIES: [&str; 2] = ["198.51.100.64/26", "2001:db8:9::/48"];
/// The second proxy of the chain.
const SECOND_V4: &str = "198.51.100.71";
const SECOND_V6: &str = "2001:db8:9::71";
/// What the shipped page says.
pub(crate) const SENTENCE: &str = "You do not have permission to perform the requested action.";
/// The value of headers that a client makes up.
const FORGED: &str = "9.9.9.9";
/// Longest an answer may take: only a failure does.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(10);
const READY_MAX: Duration = Duration::from_secs(30);
