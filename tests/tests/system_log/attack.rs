//! From the first dropped packet of an attack to the analyst: what happened arrives at a real syslog receiver, and the
//! query that the report gives finds it again, in the command line, in a shell and over the API.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use lab::{Agent, AgentConfig, Lab, Need, Request, Result, Site, TestFn, until};
use serde_json::Value;

use crate::streams::rsyslog::{self, Rsyslog};

pub(crate) fn tests() -> Vec<(&'static str, TestFn, Need)> {
    vec![(
        "an_attack_reaches_syslog_and_the_analysts_query_finds_it",
        reaches_syslog,
        rsyslog::needed,
    )]
}

const DETECTED: &str = "security.threat.detected";
const API: u16 = 8443;
const TOKEN: &str = "analyst-0123456789abcdef";
/// What every user's name begins with; no event has it.
const NAME: &str = "victim-";
/// How long a dropped attempt is waited for.
const DROPPED_AFTER: Duration = Duration::from_millis(400);

struct World {
    agent: Agent,
    server: Rsyslog,
    site: Site,
    // Dropped last: processes go before their namespaces.
    lab: Lab,
}

fn reaches_syslog() -> Result<()> {
    let world = World::start()?;
    for source in world.lab.attacker.addresses() {
        world.spray(source)?;
        // Before that it was slowed, which is told as well.
        let is_denied =
            |event: &Value| event["eventType"] == DETECTED && event["outcome"]["result"] == "DENY";
        let dropped = world.arrival("the drop", |event| {
            is_denied(event)
                && event["client"]["ipAddress"] == source.to_string()
                && event["debugContext"]["debugData"]["enforced"] == "true"
        })?;
        let detected = world.arrival("what detection found", |event| {
            let prefix = event["debugContext"]["debugData"]["prefix"].as_str();
            is_denied(event) && prefix.is_some_and(|prefix| holds(prefix, source))
        })?;
        for event in [&dropped, &detected] {
            ensure!(
                event["published"]
                    .as_str()
                    .is_some_and(|at| at.ends_with('Z')),
                "{event}"
            );
            let found = event["debugContext"]["debugData"]["threatDetections"].as_str();
            ensure!(
                found.is_some_and(|found| found.contains("Password Spray")),
                "{event}"
            );
            world.found_by_report(event)?;
        }
    }
    // What is done about it arrives too.
    world.agent.cli_ok(&["attack", "start", "--for", "1h"])?;
    world.agent.cli_ok(&["attack", "end"])?;
    for name in ["security.attack.start", "security.attack.end"] {
        let event = world.arrival(name, |event| event["eventType"] == name)?;
        let data = &event["debugContext"]["debugData"];
        ensure!(data["cause"] == "operator", "{event}");
    }
    let all = std::fs::read_to_string(&world.server.received)?;
    ensure!(!all.contains(NAME), "a user's name is in an event");
    Ok(())
}

impl World {
    fn start() -> Result<Self> {
        let lab = Lab::new("log-attack")?;
        let site = lab.site()?;
        let server = Rsyslog::tcp(&lab, Rsyslog::PLAIN)?;
        let token = lab.write("analyst.token", TOKEN)?;
        std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600))?;
        let log = site.access_log().display();
        let port = Rsyslog::PORT;
        // nginx's own log does not know users; this site's has them in the request.
        let pattern = r#"^(?P<client>\S+) - \S+ \[(?P<time>[^\]]+)\] "POST /sign-in\?user=(?P<user>[^&]+)\S* [^"]+" (?P<outcome>\d+) "#;
        // Between LOW and HIGH a source would be slowed by its rate, and the test would wait for it.
        let config = AgentConfig::new("block")
            .set("rate_limit.limited_connections", 0)
            .set("rate_limit.limited_packets", 0)
            .service("login", &[Site::HTTP], false)
            .toml(&format!(
                "[[signal]]\nname = \"access log\"\nfile = \"{log}\"\nformat = \"regex\"\npattern = '{pattern}'\n\
                 outcomes = [\"success=302\", \"failure=401\"]\n\
                 [[stream]]\nname = \"siem\"\nkind = \"syslog\"\ntransport = \"tcp\"\naddress = \"127.0.0.1:{port}\"\n\
                 [api]\nlisten = \"127.0.0.1:{API}\"\n\
                 [[api.token]]\nname = \"analyst\"\nsecret_file = \"{{lab}}/analyst.token\"\nscopes = [\"okta.logs.read\"]\n"
            ));
        let agent = Agent::start(&lab, &config)?;
        Ok(Self {
            agent,
            server,
            site,
            lab,
        })
    }

    /// Tries one password on one user after the other until the kernel has dropped a packet of it.
    fn spray(&self, source: IpAddr) -> Result<()> {
        let refused = || -> Result<u64> {
            let status = self.agent.cli_json(&["status"])?;
            Ok(status["packets"]["refused"].as_u64().unwrap_or_default())
        };
        let before = refused()?;
        let target = self.site.address(source);
        let mut number = 0;
        until("it is dropped", || {
            number += 1;
            let path = format!("{}?user={NAME}{number}&password=winter", Site::SIGN_IN);
            let request = Request::post(&path, "");
            let answer = self
                .lab
                .attacker
                .http(source, target, &request, DROPPED_AFTER);
            Ok(answer.is_err() && refused()? > before)
        })
        .with_context(|| format!("{source}\n{}", self.agent.log()))?;
        let explained = self.agent.cli_json(&["explain", &source.to_string()])?;
        ensure!(explained["action"] == "drop", "{explained}");
        Ok(())
    }

    /// Waits until such an event is in the receiver's file.
    fn arrival(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut found = None;
        until(what, || {
            found = self.arrived()?.into_iter().find(|event| is_it(event));
            Ok(found.is_some())
        })
        .with_context(|| self.agent.log())?;
        found.context("it was found")
    }

    /// Everything that has arrived in whole lines.
    fn arrived(&self) -> Result<Vec<Value>> {
        let text = std::fs::read_to_string(&self.server.received).unwrap_or_default();
        events(text.rsplit_once('\n').map_or("", |(whole, _)| whole))
    }

    /// The report names the event's source, and its query finds the very event that arrived.
    fn found_by_report(&self, event: &Value) -> Result<()> {
        let source = event["client"]["ipAddress"].as_str().context("a source")?;
        let mut row = Value::Null;
        // A summary may be on its way: what the query finds stands for as much as the report has counted.
        until("the report and its query agree", || {
            let report = self.agent.cli_json(&["report", "threats"])?;
            let rows = report["rows"].as_array().cloned().unwrap_or_default();
            let Some(found) = rows.into_iter().find(|row| row["source"] == source) else {
                return Ok(false);
            };
            row = found;
            Ok(stands_for(&self.by_command(filter(&row)?)?) == row["events"].as_u64())
        })
        .with_context(|| format!("{source}: {row}\n{}", self.agent.log()))?;
        ensure!(row["enforced"].as_u64() > Some(0), "{row}");
        let query = filter(&row)?;
        for (way, found) in [
            ("command", self.by_command(query)?),
            ("API", self.by_api(query)?),
        ] {
            ensure!(
                found.contains(event),
                "the {way} does not find {event}\nwith {query}: {found:#?}"
            );
            let others = found
                .iter()
                .find(|found| found["client"]["ipAddress"] != source);
            ensure!(others.is_none(), "{way}: {others:?}");
        }
        self.copied(query)
    }

    fn by_command(&self, query: &str) -> Result<Vec<Value>> {
        let words = ["log", "--json", "--limit", "1000", "--filter", query];
        events(&self.agent.cli_ok(&words)?)
    }

    fn by_api(&self, query: &str) -> Result<Vec<Value>> {
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let path = format!("/api/v1/logs?limit=1000&filter={}", encoded(query));
        let request = Request::get(&path).header(&format!("Authorization: SSWS {TOKEN}"));
        let target = SocketAddr::new(here, API);
        let answer = self
            .lab
            .login
            .http(here, target, &request, Duration::from_secs(30))?;
        ensure!(answer.status == 200, "{answer:?}");
        serde_json::from_str(&answer.body).with_context(|| answer.body)
    }

    /// Table, CSV and page have the query; the command below the table is one that a shell takes as it is.
    fn copied(&self, query: &str) -> Result<()> {
        let table = self.agent.cli_ok(&["report", "threats"])?;
        let page = self.lab.directory().join("threats.html");
        let name = page.to_str().context("a path that is no UTF-8")?;
        self.agent.cli_ok(&["report", "threats", "--html", name])?;
        let page = std::fs::read_to_string(&page)?.replace("&quot;", "\"");
        let csv = self.agent.cli_ok(&["report", "threats", "--csv"])?;
        for text in [&table, &page, &csv.replace("\"\"", "\"")] {
            ensure!(text.contains(query), "no {query} in {text}");
        }
        let command = table.lines().find(|line| line.starts_with("edgeward log "));
        let command = command.context("a command")?;
        // The second in which it was made stands ahead of the filter.
        let (_, words) = command.split_once(" --filter ").context("a filter")?;
        ensure!(page.contains(&words.replace('\'', "&#39;")), "{page}");
        let binary = lab::binary()?;
        let folder = binary.parent().and_then(Path::to_str).context("a folder")?;
        let socket = self.agent.socket().to_str().context("a path")?;
        let said = self
            .lab
            .login
            .command(&["/bin/sh", "-c", &format!("{command} --json")])
            .env("PATH", folder)
            .env("EDGEWARD_SOCKET", socket)
            .run()?
            .success()?;
        ensure!(!events(&said)?.is_empty(), "{command} finds nothing");
        Ok(())
    }
}

fn filter(row: &Value) -> Result<&str> {
    row["filter"]
        .as_str()
        .with_context(|| format!("no query: {row}"))
}

/// How many events these stand for: a summary has a count.
fn stands_for(events: &[Value]) -> Option<u64> {
    let count = |event: &Value| -> Option<u64> {
        match event["debugContext"]["debugData"]["count"].as_str() {
            Some(count) => count.parse().ok(),
            None => Some(1),
        }
    };
    events.iter().map(count).sum()
}

fn events(lines: &str) -> Result<Vec<Value>> {
    lines
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}")))
        .collect()
}

/// Whether a prefix holds an address: those of the lab's attacker are a host, or a /64.
fn holds(prefix: &str, address: IpAddr) -> bool {
    prefix
        .parse::<ipnet::IpNet>()
        .is_ok_and(|prefix| prefix.contains(&address))
}

/// For a URL's query.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
