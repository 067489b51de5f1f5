//! rsyslog over UDP and Unix sockets, each shape of an event on a listener of its own: the fields of RFC 5424 as rsyslog
//! reads them, killed in the middle, and messages that are too long.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use lab::{Agent, Lab, Result};
use serde_json::Value;

use super::rsyslog::{Listens, Rsyslog};
use super::world::{WAIT_MAX, config, sign_ins, stream, told, until};

/// How events get there.
struct Transport {
    lab: &'static str,
    name: &'static str,
    module: &'static str,
    /// Whether it shows what a receiver that was killed had not read.
    is_told: bool,
    /// Why a message is too long, and zones enough for one that is.
    long: (&'static str, usize),
}

/// An event's shape, the number of the facility that its stream names, and where the event's id is.
const SHAPES: [(&str, &str, u64, &str); 3] = [
    ("okta", "authpriv", 10, "/uuid"),
    ("ecs", "local4", 20, "/event/id"),
    ("ocsf", "audit", 13, "/metadata/uid"),
];

pub(crate) fn udp() -> Result<()> {
    run(&Transport {
        lab: "streams-udp",
        name: "udp",
        module: "module(load=\"imudp\")",
        is_told: false,
        long: ("message_bytes_max is 65507", ZONES),
    })
}

pub(crate) fn unix_datagram() -> Result<()> {
    // The kernel refuses what the socket's buffer cannot hold, whatever the settings allow.
    let buffer = std::fs::read_to_string("/proc/sys/net/core/wmem_default")?;
    let buffer: usize = buffer.trim().parse()?;
    run(&Transport {
        lab: "streams-unix-datagram",
        name: "unix-datagram",
        module: "module(load=\"imuxsock\" SysSock.Use=\"off\")",
        is_told: true,
        long: ("too long for a datagram", ZONES.max(buffer / ZONE_BYTES)),
    })
}

pub(crate) fn unix() -> Result<()> {
    run(&Transport {
        lab: "streams-unix",
        name: "unix",
        module: "module(load=\"imptcp\")",
        is_told: true,
        long: ("message_bytes_max is 65536", ZONES),
    })
}

fn run(transport: &Transport) -> Result<()> {
    let lab = Lab::new(transport.lab)?;
    let mut server = transport.server(&lab)?;
    let streams = transport.streams(&lab);
    let mut agent = Agent::start(&lab, &config(&streams))?;
    sign_ins(&lab, 0, 300)?;
    agent.cli_ok(&["attack", "start", "--for", "1h"])?;
    settled(&agent)?;
    let first = agent.id().context("an agent")?;
    // An error too: the next agent says that this one was killed.
    agent.kill9();
    agent.launch()?;
    sign_ins(&lab, 300, 200)?;
    settled(&agent)?;
    if transport.is_told {
        server.process.kill9();
        sign_ins(&lab, 500, 500)?;
        for (shape, ..) in SHAPES {
            until(&agent, shape, |state| state["failures"].as_u64() >= Some(3))?;
        }
        server.launch(&lab)?;
        sign_ins(&lab, 1_000, 100)?;
        settled(&agent)?;
    }
    let dead = too_long(&lab, &agent, &streams, transport.long)?;
    let ids = [first, agent.id().context("an agent")?].map(|id| id.to_string());
    arrived(&lab, &agent, &ids, &dead)
}

impl Transport {
    fn server(&self, lab: &Lab) -> Result<Rsyslog> {
        let (mut inputs, mut listens) = (String::new(), Vec::new());
        for (index, (shape, ..)) in SHAPES.into_iter().enumerate() {
            let (path, port) = (self.path(lab, shape), port(index));
            let shown = path.display();
            let input = match self.name {
                "udp" => {
                    listens.push(Listens::Udp(port));
                    format!(
                        "type=\"imudp\" port=\"{port}\" address=\"127.0.0.1\" rcvbufSize=\"16m\""
                    )
                }
                // As the manual has it for messages of RFC 5424.
                "unix-datagram" => {
                    listens.push(Listens::Path(path.clone()));
                    format!(
                        "type=\"imuxsock\" Socket=\"{shown}\" UseSpecialParser=\"off\" ParseHostname=\"on\" \
                         IgnoreTimestamp=\"off\" UseSysTimeStamp=\"off\""
                    )
                }
                _ => {
                    listens.push(Listens::Path(path.clone()));
                    format!("type=\"imptcp\" path=\"{shown}\" unlink=\"on\"")
                }
            };
            let file = file(lab, shape);
            inputs.push_str(&format!(
                "ruleset(name=\"{shape}\") {{ action(type=\"omfile\" file=\"{}\" template=\"all\") }}\n\
                 input({input} ruleset=\"{shape}\")\n",
                file.display()
            ));
        }
        let properties: String = PROPERTIES
            .map(|name| {
                let date = if name == "timereported" {
                    " dateFormat=\"rfc3339\""
                } else {
                    ""
                };
                format!("property(outname=\"{name}\" name=\"{name}\" format=\"jsonf\"{date})\n")
            })
            .concat();
        let rest = format!(
            ")\n{}\ntemplate(name=\"all\" type=\"list\" option.jsonf=\"on\") {{\n{properties}}}\n{inputs}",
            self.module
        );
        Rsyslog::start(lab, &rest, listens)
    }

    fn path(&self, lab: &Lab, shape: &str) -> PathBuf {
        lab.directory().join(format!("{shape}.sock"))
    }

    fn streams(&self, lab: &Lab) -> String {
        let table = |(index, (shape, facility, ..)): (usize, (&str, &str, u64, &str))| {
            let address = match self.name {
                "udp" => format!("127.0.0.1:{}", port(index)),
                _ => self.path(lab, shape).display().to_string(),
            };
            let more = match self.name {
                "udp" => "",
                "unix" => "settle = \"1s\"\n",
                _ => "settle = \"1s\"\nmessage_bytes_max = 1048576\n",
            };
            format!(
                "[[stream]]\nname = \"{shape}\"\nformat = \"{shape}\"\nkind = \"syslog\"\nfrom = \"oldest\"\n\
                 transport = \"{}\"\naddress = \"{address}\"\nfacility = \"{facility}\"\nhostname = \"login-1.lab\"\n{more}",
                self.name
            )
        };
        SHAPES.into_iter().enumerate().map(table).collect()
    }
}

/// Waits until everything in the log was delivered to all of them.
fn settled(agent: &Agent) -> Result<()> {
    for (shape, ..) in SHAPES {
        until(agent, shape, |state| {
            state["lag_events"] == 0 && state["settled"] == state["handed"]
        })?;
    }
    Ok(())
}

/// A reload whose event is longer than any message may be: a dead letter of every stream, counted, told and kept; what
/// comes after it arrives. Its id.
fn too_long(
    lab: &Lab,
    agent: &Agent,
    streams: &str,
    (cause, zones): (&str, usize),
) -> Result<String> {
    let zones: String = (0..zones)
        .map(|n| {
            format!(
                "[[zone]]\nname = \"a zone with a name that takes its place {n}\"\nuses = [\"allowed-origin\"]\n\
                 networks = [\"10.200.{}.{}\"]\n",
                n / 250,
                n % 250
            )
        })
        .collect();
    agent.reconfigure(&config(&format!("{streams}{zones}")))?;
    agent.cli_ok(&["reload"])?;
    sign_ins(lab, 2_000, 10)?;
    for (shape, ..) in SHAPES {
        until(agent, shape, |state| state["dead"] == 1)?;
    }
    settled(agent)?;
    let reload = log(agent)?
        .into_values()
        .find(|event| event["eventType"] == "system.agent.reload")
        .context("no reload")?;
    let id = reload["uuid"].as_str().context("an id")?.to_owned();
    for (shape, ..) in SHAPES {
        let path = agent.state_dir().join(format!("streams/{shape}.dead"));
        let kept = std::fs::read_to_string(path)?;
        let letter: Value = serde_json::from_str(kept.trim_end())?;
        let why = letter["why"].as_str().unwrap_or_default();
        ensure!(
            letter["id"] == *id && why.contains(cause),
            "{shape}: {}, {why}",
            letter["id"]
        );
        let state = stream(agent, shape)?;
        ensure!(state["dead"] == 1 && state["gap"] == 0, "{state}");
    }
    let letters = told(agent)?
        .iter()
        .filter(|name| *name == "system.log_stream.dead_letter")
        .count();
    ensure!(letters == SHAPES.len(), "{letters} are told");
    settled(agent)?;
    Ok(id)
}

/// Everything in the log but the dead letter is in each file, and each message is what it should be.
fn arrived(lab: &Lab, agent: &Agent, ids: &[String], dead: &str) -> Result<()> {
    let deadline = Instant::now() + WAIT_MAX;
    for (shape, _, facility, id_at) in SHAPES {
        loop {
            // The log last: it has everything that can have arrived.
            let messages = messages(lab, shape, id_at)?;
            let log = log(agent)?;
            let missing: Vec<&String> = log
                .keys()
                .filter(|id| !messages.contains_key(*id))
                .collect();
            if missing == [dead] {
                check(shape, facility, ids, &messages, &log)?;
                break;
            }
            if Instant::now() >= deadline {
                bail!("{shape}: {} are missing: {missing:?}", missing.len());
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
    Ok(())
}

/// Header and content of each message, by the event that it is about.
fn check(
    shape: &str,
    facility: u64,
    processes: &[String],
    messages: &BTreeMap<String, Value>,
    log: &BTreeMap<String, Value>,
) -> Result<()> {
    let mut severities = BTreeSet::new();
    for (id, message) in messages {
        let event = log
            .get(id)
            .with_context(|| format!("{id} is not in the log"))?;
        let said = |name: &str| message[name].as_str().unwrap_or_default();
        let word = event["severity"].as_str().context("a severity")?;
        let severity = match word {
            "ERROR" => 3,
            "WARN" => 4,
            _ => 6,
        };
        severities.insert(word);
        let kind = event["eventType"].as_str().context("a type")?;
        let expected = [
            ("pri", (facility * 8 + severity).to_string()),
            ("protocol-version", "1".to_owned()),
            (
                "timereported",
                event["published"].as_str().unwrap_or_default().to_owned(),
            ),
            ("hostname", "login-1.lab".to_owned()),
            ("app-name", "edgeward".to_owned()),
            ("msgid", kind.chars().take(32).collect()),
        ];
        for (name, value) in &expected {
            ensure!(
                said(name) == value,
                "{shape}: {name} is not {value}: {message}"
            );
        }
        ensure!(processes.iter().any(|id| id == said("procid")), "{message}");
        ensure!(
            said("structured-data").starts_with("[meta sequenceId=\"")
                && said("structured-data")
                    .contains("\"][origin software=\"edgeward\" swVersion=\""),
            "{message}"
        );
        // The bytes as they came: nothing ahead, nothing behind, nothing cut.
        let raw = format!(
            "<{}>1 {} login-1.lab edgeward {} {} {} {}",
            expected[0].1,
            expected[2].1,
            said("procid"),
            expected[5].1,
            said("structured-data"),
            said("msg")
        );
        ensure!(said("rawmsg") == raw, "{shape}: {raw}\nis not {message}");
        let content: Value = serde_json::from_str(said("msg"))?;
        let is_it = match shape {
            "okta" => content == *event,
            "ecs" => {
                content["event"]["action"] == kind && content["@timestamp"] == event["published"]
            }
            _ => content["metadata"]["event_code"] == kind && content["time"].is_u64(),
        };
        ensure!(is_it, "{shape}: {content}\nis not {event}");
    }
    ensure!(
        severities == BTreeSet::from(["ERROR", "INFO", "WARN"]),
        "{severities:?}"
    );
    Ok(())
}

/// What rsyslog has written, by the id of the event; a second copy has to be the same event.
fn messages(lab: &Lab, shape: &str, id_at: &str) -> Result<BTreeMap<String, Value>> {
    let text = std::fs::read_to_string(file(lab, shape)).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let mut found = BTreeMap::new();
    for line in whole.lines() {
        let message: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let content = message["msg"].as_str().context("a message")?;
        let event: Value = serde_json::from_str(content).with_context(|| line.to_owned())?;
        let id = event.pointer(id_at).and_then(Value::as_str);
        let id = id.with_context(|| format!("no id: {line}"))?.to_owned();
        found.insert(id, message);
    }
    Ok(found)
}

/// The log by ids.
fn log(agent: &Agent) -> Result<BTreeMap<String, Value>> {
    let text = agent.cli_ok(&["log", "--json", "--since", "1d", "--limit", "1000000"])?;
    text.lines()
        .map(|line| {
            let event: Value = serde_json::from_str(line)?;
            let id = event["uuid"].as_str().context("an id")?.to_owned();
            Ok((id, event))
        })
        .collect()
}

fn file(lab: &Lab, shape: &str) -> PathBuf {
    lab.directory().join(format!("{shape}.log"))
}

fn port(index: usize) -> u16 {
    Rsyslog::PORT + u16::try_from(index).unwrap_or_default()
}

/// Zones whose reload is an event of more than 64 KiB, and the least that one adds to it.
const ZONES: usize = 1_500;
const ZONE_BYTES: usize = 60;
/// What rsyslog tells of a message.
const PROPERTIES: [&str; 10] = [
    "rawmsg",
    "pri",
    "protocol-version",
    "timereported",
    "hostname",
    "app-name",
    "procid",
    "msgid",
    "structured-data",
    "msg",
];
