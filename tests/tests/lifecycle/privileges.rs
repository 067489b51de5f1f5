//! What each thread of a running agent may still do. Linux keeps capabilities by thread, so each is looked at.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, ensure};
use lab::{Agent, AgentConfig, Lab, Result, TestFn};

use super::world::{guarded, until};

pub(crate) fn tests() -> Vec<(&'static str, TestFn)> {
    vec![(
        "only_the_keeper_keeps_privileges_over_reloads_too",
        only_the_keeper,
    )]
}

/// Everything that has a thread of its own.
fn busy(gateway: bool) -> AgentConfig {
    let gateway = if gateway { "[service.gateway]\n" } else { "" };
    guarded("block").toml(&format!(
        "[[service]]\nname = \"login\"\nports = [80]\n{gateway}\
         [[endpoint]]\nname = \"proxy\"\nprofile = \"auth-request\"\nlisten = \"unix:{{lab}}/proxy.sock\"\n\
         [[signal]]\nname = \"access log\"\nfile = \"{{lab}}/access.log\"\nformat = \"nginx\"\n\
         routes = [\"POST /sign-in success=302 failure=401\"]\n\
         [[feed]]\nname = \"own\"\nfile = \"{{lab}}/feed.netset\"\nformat = \"netset\"\n\
         [lapi]\nlisten = \"127.0.0.1:8081\"\n\
         [[lapi.bouncer]]\nname = \"firewall\"\nkey_file = \"bouncer.key\"\n\
         [metrics]\nlisten = \"127.0.0.1:9464\"\n"
    ))
}

/// A further endpoint, in a folder whose group is another.
const ADDED: &str = "[[endpoint]]\nname = \"added\"\nprofile = \"auth-request\"\n\
     listen = \"unix:{lab}/shared/added.sock\"\nlisten_mode = \"0660\"\n";

fn only_the_keeper() -> Result<()> {
    let lab = Lab::new("privileges")?;
    lab.write("access.log", "")?;
    lab.write("feed.netset", "192.0.2.64/28\n")?;
    let key = lab.write("bouncer.key", "0123456789abcdef0123456789abcdef\n")?;
    std::fs::set_permissions(key, PermissionsExt::from_mode(0o600))?;
    // Sockets in it belong to its group, as for a proxy that runs as somebody else.
    let shared = lab.directory().join("shared");
    std::fs::create_dir(&shared)?;
    std::os::unix::fs::chown(&shared, None, Some(GROUP))?;
    std::fs::set_permissions(&shared, PermissionsExt::from_mode(0o2750))?;
    let agent = Agent::start(&lab, &busy(true))?;
    let at_work = [
        "endpoints",
        "gateway-0",
        "signal source",
        "feeds",
        "lapi",
        "journal",
        "metrics",
        "health",
        "streams",
        "api",
        "geo",
    ];
    stripped(&agent, &at_work)?;
    answers(&lab.directory().join("proxy.sock"))?;

    agent.reconfigure(&busy(true).toml(ADDED))?;
    agent.cli_ok(&["reload"])?;
    let added = shared.join("added.sock");
    until("the endpoint that was added answers", || {
        Ok(answers(&added).is_ok())
    })?;
    let file = std::fs::metadata(&added)?;
    ensure!(
        file.gid() == GROUP && file.mode() & 0o777 == 0o660,
        "group {} mode {:o}",
        file.gid(),
        file.mode()
    );
    stripped(&agent, &at_work)?;

    // A gateway that a reload begins, on threads that the keeper starts.
    agent.reconfigure(&busy(false))?;
    agent.cli_ok(&["reload"])?;
    until("the gateway has gone", || {
        Ok(!threads(&agent)?
            .iter()
            .any(|thread| thread.name.starts_with("gateway")))
    })?;
    agent.reconfigure(&busy(true))?;
    agent.cli_ok(&["reload"])?;
    stripped(&agent, &at_work)
}

/// Every thread but the keeper's has no capability, and the keeper's has two.
fn stripped(agent: &Agent, at_work: &[&str]) -> Result<()> {
    // A thread gives its privileges up when it begins.
    until("every thread has what it may have", || {
        let threads = threads(agent)?;
        let there = |name: &str| threads.iter().any(|thread| thread.name == name);
        Ok(at_work.iter().all(|name| there(name))
            && there("keeper")
            && there("detection")
            && threads.iter().all(Thread::has_its_own))
    })
    .with_context(|| format!("{:#?}", threads(agent)))
}

/// A thread and what `/proc` says of it.
#[derive(Debug)]
struct Thread {
    name: String,
    /// `CapEff` and the others, and `NoNewPrivs`.
    sets: BTreeMap<String, u64>,
}

impl Thread {
    fn has_its_own(&self) -> bool {
        let expected = if self.name == "keeper" { KEEPERS } else { 0 };
        let is = |set: &str, value: u64| self.sets.get(set) == Some(&value);
        let bounded = self.sets.get("CapBnd").map(|bound| bound & !KEEPERS);
        is("CapEff", expected)
            && is("CapPrm", expected)
            && is("CapInh", 0)
            && is("CapAmb", 0)
            && bounded == Some(0)
            && is("NoNewPrivs", 1)
    }
}

fn threads(agent: &Agent) -> Result<Vec<Thread>> {
    let id = agent.id().context("the agent runs")?;
    let mut threads = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{id}/task"))? {
        // One that has ended meanwhile holds nothing.
        let Ok(status) = std::fs::read_to_string(entry?.path().join("status")) else {
            continue;
        };
        let fields = || status.lines().filter_map(|line| line.split_once(":\t"));
        let name = fields().find(|(key, _)| *key == "Name");
        let sets = fields()
            .filter(|(key, _)| key.starts_with("Cap") || *key == "NoNewPrivs")
            .map(|(key, value)| Ok((key.to_owned(), u64::from_str_radix(value, 16)?)))
            .collect::<Result<_>>()?;
        threads.push(Thread {
            name: name.map(|(_, name)| name.to_owned()).unwrap_or_default(),
            sets,
        });
    }
    Ok(threads)
}

/// Somebody answers a request there.
fn answers(socket: &Path) -> Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: edgeward\r\nConnection: close\r\n\r\n")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    ensure!(line.starts_with("HTTP/1.1 "), "{line:?}");
    Ok(())
}

/// `CAP_NET_ADMIN` (12) and `CAP_BPF` (39).
const KEEPERS: u64 = 1 << 12 | 1 << 39;
/// A group that is nobody's here.
const GROUP: u32 = 4_242;
