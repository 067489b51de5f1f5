//! An attack through a CDN on a site whose nginx asks Edgeward (`auth_request`): nobody but the attacking client is
//! refused, and never the CDN.
//!
//! ```text
//!  client ─▶ CDN (nginx) ─▶ login:80 nginx ─▶ application
//!                              │ auth_request       │ outcomes, in the one world
//!                              ▼                    ▼
//!                            agent ◀── access.log, in the other
//! ```

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use lab::{
    Agent, AgentConfig, Host, Lab, Origin, PYTHON, Process, RealProxy, Request, Response, Result,
    TestFn, shipped,
};
use serde_json::Value;

use crate::world::{HIGH, neighbour, until};

pub(crate) fn tests() -> Vec<(&'static str, TestFn)> {
    vec![
        ("auth_request_refuses_who_attacks_by_the_log", || {
            refused_and_forgotten("asked-log", Told::ByLog)
        }),
        ("auth_request_refuses_who_attacks_by_reports", || {
            refused_and_forgotten("asked-call", Told::ByApplication)
        }),
    ]
}

/// Who tells how sign-ins end.
#[derive(Clone, Copy, PartialEq)]
enum Told {
    /// nginx's access log, which knows no names of users.
    ByLog,
    /// The application, which does.
    ByApplication,
}

struct World {
    agent: Agent,
    cdn: RealProxy,
    nginx: RealProxy,
    _application: Process,
    // Dropped last: processes go before their namespaces.
    lab: Lab,
}

fn refused_and_forgotten(name: &str, told: Told) -> Result<()> {
    let world = World::start(name, told)?;
    let lab = &world.lab;
    let mut signals = 0;
    for family in 0..2_usize {
        let [attacker, innocent, office] = [&lab.attacker, &lab.innocent, &lab.exempt]
            .map(|host| (host, host.addresses()[family]));
        // An office without end of mistakes, which is exempt: its sign-ins are no signals.
        for _ in 0..HIGH * 2 {
            world.gets(office, "wrong", 401)?;
        }
        signals += world.attack(attacker, signals)?;
        // The refusal stands in nginx's log too, as 403: it is booked as what it was and teaches nothing.
        signals += u64::from(told == Told::ByLog);
        world.gets(innocent, "right", 302)?;
        world.gets(innocent, "wrong", 401)?;
        signals += 2;
        if attacker.1.is_ipv4() {
            // Another client of the attacker's network, behind the same CDN.
            world.gets((&lab.attacker, neighbour(&lab.attacker, 90)), "right", 302)?;
            signals += 1;
        }
        world.gets(office, "right", 302)?;
        world.proxy_stays(family)?;
        // What ends by itself: the right password counts again.
        until("the refusal ends", || Ok(world.detections()?.is_empty()))
            .with_context(|| world.log())?;
        world.gets(attacker, "right", 302)?;
        signals += 1;
        until("every sign-in that was let on is counted once", || {
            Ok(world.signals()? == signals)
        })
        .with_context(|| {
            format!(
                "{} of {signals}\n{}",
                world.signals().unwrap_or_default(),
                world.log()
            )
        })?;
    }
    Ok(())
}

impl World {
    fn start(name: &str, told: Told) -> Result<Self> {
        let lab = Lab::new(name)?;
        let folder = lab.directory().display().to_string();
        let application = application(&lab, told)?;
        let agent = Agent::start(&lab, &config(told))?;
        let log = format!("    access_log {folder}/access.log combined;\n    listen 80;");
        let site = shipped(
            &lab,
            "nginx",
            &[("/run/edgeward", &folder), ("    listen 80;", &log)],
        )?;
        // So that the log names the client and not the CDN; the endpoint is told the CDN all the same.
        let real_ip: String = PROXIES
            .map(|it| format!("set_real_ip_from {it};\n"))
            .concat();
        let http = format!(
            "{real_ip}real_ip_header X-Forwarded-For;\nreal_ip_recursive on;\ninclude login.conf;\n"
        );
        let listens = lab.login.addresses().map(|address| (address, 80).into());
        let nginx = RealProxy::nginx(&lab.login, &site, &http, &listens)?;
        let cdn = cdn(&lab)?;
        Ok(Self {
            agent,
            cdn,
            nginx,
            _application: application,
            lab,
        })
    }

    /// A sign-in of a client through the CDN, as a user of its own each time.
    fn sign_in(&self, client: (&Host, IpAddr), user: u64, password: &str) -> Result<Response> {
        let (host, source) = client;
        let target = SocketAddr::new(self.lab.proxy.address_like(source), 80);
        let form = format!("user=user{user}&password={password}");
        host.http(source, target, &Request::post("/login", &form), ANSWER_MAX)
            .with_context(|| format!("{source} gets no answer\n{}", self.log()))
    }

    fn gets(&self, client: (&Host, IpAddr), password: &str, status: u16) -> Result<()> {
        let answer = self.sign_in(client, 0, password)?;
        ensure!(
            answer.status == status,
            "{}: {} and not {status}\n{}",
            client.1,
            answer.head,
            self.log()
        );
        Ok(())
    }

    /// Fails until it is refused, each attempt after its predecessor was counted; how many were let on.
    fn attack(&self, client: (&Host, IpAddr), before: u64) -> Result<u64> {
        let decided = || Ok(self.detections()?.iter().any(is_refusal));
        for reached in 0..ATTEMPTS_MAX {
            let answer = self.sign_in(client, reached, "wrong")?;
            if answer.status == 403 {
                ensure!(reached >= ENOUGH, "refused after {reached}");
                ensure!(answer.body.contains("Event "), "{}", answer.body);
                self.explained(client.1)?;
                return Ok(reached);
            }
            ensure!(answer.status == 401, "{}\n{}", answer.head, self.log());
            until("it is counted", || {
                Ok(self.signals()? == before + reached + 1 || decided()?)
            })
            .with_context(|| format!("it is not {before} + {reached} + 1\n{}", self.log()))?;
            if reached + 1 == HIGH {
                until("it is decided", decided).with_context(|| self.log())?;
            }
        }
        bail!("{} is not refused\n{}", client.1, self.log())
    }

    /// Who asks why is told of the detection; the event names the client and the CDN.
    fn explained(&self, client: IpAddr) -> Result<()> {
        let events = self.agent.cli_ok(&["events", "--json"])?;
        let refusal = events
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .find(|event| {
                let text = event.to_string();
                text.contains(&format!("\"{client}\"")) && text.contains("/login")
            });
        ensure!(refusal.is_some(), "no event of {client}: {events}");
        Ok(())
    }

    /// The CDN's own packets pass in the kernel, and none of it was ever dropped.
    fn proxy_stays(&self, family: usize) -> Result<()> {
        let address = self.lab.proxy.addresses()[family];
        let explained = self.agent.cli_json(&["explain", &address.to_string()])?;
        ensure!(explained["action"] == "pass", "{explained}");
        let listing = self.detections()?;
        ensure!(
            !listing.iter().any(|decision| decision["prefix"]
                .to_string()
                .contains(&address.to_string())),
            "{listing:?}"
        );
        let status = self.agent.cli_json(&["status"])?;
        // Nobody here comes but through the CDN.
        ensure!(status["packets"]["refused"] == 0, "{status}");
        let target = SocketAddr::new(self.lab.login.address_like(address), 80);
        let answer = self
            .lab
            .proxy
            .http(address, target, &Request::get("/"), ANSWER_MAX)?;
        ensure!(answer.status == 200, "{}", answer.head);
        Ok(())
    }

    fn signals(&self) -> Result<u64> {
        let status = self.agent.cli_json(&["status"])?;
        Ok(status["detection"]["signals"].as_u64().unwrap_or_default())
    }

    fn detections(&self) -> Result<Vec<Value>> {
        let listing = self.agent.cli_json(&["list", "--origin", "detection"])?;
        Ok(listing["decisions"].as_array().cloned().unwrap_or_default())
    }

    fn log(&self) -> String {
        let lines = std::fs::read_to_string(self.lab.directory().join("access.log"));
        let lines = lines.unwrap_or_default();
        let first = lines.len().saturating_sub(LOG_BYTES_SHOWN);
        format!(
            "status: {:?}\naccess log:\n{}\ncdn:\n{}\nnginx:\n{}\nagent:\n{}",
            self.agent.cli_json(&["status"]),
            lines.get(first..).unwrap_or_default(),
            self.cdn.output(),
            self.nginx.output(),
            self.agent.log()
        )
    }
}

fn is_refusal(decision: &Value) -> bool {
    decision["score"].as_u64() >= Some(80)
}

fn config(told: Told) -> AgentConfig {
    let signal = match told {
        Told::ByLog => {
            "[[signal]]\nname = \"access log\"\nfile = \"{lab}/access.log\"\nformat = \"nginx\"\n\
             routes = [\"POST /login success=302 failure=401\"]\n"
        }
        Told::ByApplication => "",
    };
    AgentConfig::new("block")
        .set("rate_limit.limited_connections", 0)
        .set("rate_limit.limited_packets", 0)
        .service("login", &[80], false)
        .zone("cdn", &["trusted-proxy"], &PROXIES)
        .zone(
            "office",
            &["exempt"],
            &["198.51.100.128/26", "2001:db8:e::/48"],
        )
        .toml(&format!(
            "[[endpoint]]\nname = \"nginx\"\nprofile = \"auth-request\"\n\
             listen = \"unix:{{lab}}/auth-request.sock\"\n\
             [detection.lifetime]\nfirst = \"5s\"\nbrief = \"5s\"\n{signal}"
        ))
}

/// The application behind nginx; it begins to report when the first one signs in.
fn application(lab: &Lab, told: Told) -> Result<Process> {
    let script = lab.write("login.py", include_str!("../../src/scripts/login.py"))?;
    let (script, port) = (script.display().to_string(), Origin::PORT.to_string());
    let socket = lab
        .directory()
        .join("auth-request.sock")
        .display()
        .to_string();
    let mut command = vec![PYTHON, &script, &port];
    if told == Told::ByApplication {
        command.push(&socket);
    }
    let application = lab.login.spawn(&command)?;
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    until("the application listens", || {
        let connected = lab
            .login
            .connect_from(local, local, Origin::PORT, Duration::from_secs(1));
        Ok(connected.is_ok())
    })?;
    Ok(application)
}

/// The CDN on the proxy host: it keeps connections open, which carry requests of all clients.
fn cdn(lab: &Lab) -> Result<RealProxy> {
    let ends = lab.proxy.addresses().into_iter().zip(lab.login.addresses());
    let servers: String = ends
        .enumerate()
        .map(|(number, (near, far))| {
            let (near_http, far) = (SocketAddr::new(near, 80), SocketAddr::new(far, 80));
            format!(
                "upstream login{number} {{ server {far}; keepalive 2; }}\n\
                 server {{ listen {near_http}; location / {{ proxy_pass http://login{number};\n\
                 proxy_bind {near}; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
                 proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }}\n"
            )
        })
        .collect();
    let listens = lab.proxy.addresses().map(|address| (address, 80).into());
    RealProxy::nginx(&lab.proxy, &lab.directory().join("cdn"), &servers, &listens)
}

/// The end of a log that tells why something failed.
const LOG_BYTES_SHOWN: usize = 2_000;
const PROXIES: [&str; 2] = ["198.51.100.64/26", "2001:db8:9::/48"];
/// The fewest attempts that are an attack: so many users from one source.
const ENOUGH: u64 = 8;
/// Attempts after which an attacker that still gets through is a failure.
const ATTEMPTS_MAX: u64 = 100;
/// Longest an answer may take: only a failure does.
const ANSWER_MAX: Duration = Duration::from_secs(10);
