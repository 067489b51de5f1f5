//! `cargo xtask demo`: Edgeward at work, for somebody who has never seen it. And a check: it ends with a
//! nonzero exit code if anything is not as it should be.
//!
//! Everything is real but the Internet: the agent, the kernel, nginx, the sign-ins. The hosts are network
//! namespaces of the lab, so nothing touches the machine's own network.

mod cast;
mod found;
mod page;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use lab::{Agent, AgentConfig, Lab, Output, Process, Result, Site};
use serde_json::Value;

use self::cast::{
    CONFIGURATION, CUSTOMER_V4, Cast, Enforced, NEIGHBOUR_V4, OFFICE_V4, PLACES, PROXIED_V4,
    PROXY_V4, Part, TRIES, UNKNOWN_V4, UNKNOWN_V6_NETWORK,
};
use self::page::Page;

fn main() -> ExitCode {
    catch_signals();
    let started = Instant::now();
    let mut page = Page::new();
    match play(&mut page) {
        Ok(()) if page.close(started.elapsed().as_secs()) => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("\nThe demo could not go on; what it had made is removed.\n{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// All steps. Whatever ends them, the lab is removed.
fn play(page: &mut Page) -> Result<()> {
    if let Err(missing) = lab::preconditions() {
        bail!("this machine cannot run the demo: {missing}");
    }
    let lab = Lab::new("demo")?;
    let namespaces = lab.namespaces();
    {
        let mut stage = Stage::new(&lab, page)?;
        for act in [
            Stage::introduction,
            Stage::log_mode,
            Stage::what_would_be,
            Stage::operator_blocks,
            Stage::block_mode,
            Stage::attacker_found,
            Stage::agent_killed,
            Stage::agent_back,
            Stage::way_out,
        ] {
            act(&mut stage)?;
            // The hosts' processes do not hear of a Ctrl-C; they end with the lab.
            if STOP.load(Ordering::Relaxed) {
                bail!("interrupted");
            }
        }
    }
    let directory = lab.directory().to_owned();
    drop(lab);
    page.step("Clean up");
    let left = namespaces
        .iter()
        .filter(|name| std::path::Path::new("/run/netns").join(name).exists())
        .count();
    page.expect(
        left == 0 && !directory.exists(),
        "the hosts of this demo, and everything in them, are gone from your machine",
    );
    Ok(())
}

/// What the steps share.
struct Stage<'a> {
    page: &'a mut Page,
    lab: &'a Lab,
    site: Site,
    agent: Agent,
    cast: Cast,
    _cdn: Process,
}

impl<'a> Stage<'a> {
    fn new(lab: &'a Lab, page: &'a mut Page) -> Result<Self> {
        // The reader has the log where it usually is.
        let own = CONFIGURATION.replace("/var/log/nginx/", "{lab}/");
        let config = AgentConfig::raw(&format!("{PLACES}{own}"));
        Ok(Self {
            page,
            lab,
            site: lab.site()?,
            agent: Agent::prepare(lab, &config)?,
            cast: Cast::new(lab)?,
            _cdn: cast::cdn(lab)?,
        })
    }

    fn introduction(&mut self) -> Result<()> {
        self.page.step("The scene");
        self.page.say(PICTURE);
        self.page
            .say("\nThe operator's configuration, /etc/edgeward/edgeward.toml:\n\n");
        let indented: String = CONFIGURATION
            .lines()
            .map(|line| format!("  {line}\n"))
            .collect();
        self.page.say(&indented);
        Ok(())
    }

    fn log_mode(&mut self) -> Result<()> {
        self.page
            .step("Edgeward starts in log mode: it judges every packet and lets all of them pass");
        self.page
            .command("edgeward run --config /etc/edgeward/edgeward.toml &");
        self.agent.launch()?;
        self.page.run(&self.agent, &["mode"], 0)?;
        self.page
            .say(&format!("\nNow everybody signs in {TRIES} times."));
        self.round(
            "log",
            Enforced::NOBODY,
            "everybody got in: log mode refuses nobody",
        )
    }

    fn what_would_be(&mut self) -> Result<()> {
        self.page.step("What would have been refused?");
        self.page.run(&self.agent, &["status"], 0)?;
        self.page.say("\nThe lines to look at are \"would refuse\": so many packets, for these reasons. And whose?");
        self.page.say("Each new source is an event. Told in words:");
        self.page.command("edgeward events --json");
        let known: Vec<_> = self.known_bad().collect();
        let told = self.told(&known)?;
        for (source, why) in &told {
            self.page
                .say(&format!("| {source}: would have been refused, {why}"));
        }
        self.page.say("");
        let right =
            told.len() == known.len() && known.iter().all(|source| told.contains_key(source));
        self.page
            .expect(right, "the known attackers are named, and nobody else is");
        self.page
            .say("\nWhy one of them? And why not the office, which is in the same bad network?");
        let output = self.page.run(&self.agent, &["explain", NEIGHBOUR_V4], 0)?;
        let refused = output.stdout.contains("deny");
        let output = self.page.run(&self.agent, &["explain", OFFICE_V4], 0)?;
        let right = refused && output.stdout.contains("pass") && !output.stdout.contains("deny");
        self.page
            .expect(right, "the neighbour is refused, the office is not");
        self.page.say("\nAnd one who comes through the CDN? Its header names the client, because the CDN is trusted:");
        let header = format!("X-Forwarded-For: {PROXIED_V4}");
        let arguments = ["explain", "--peer", PROXY_V4, "--header", &header];
        let refused = self.page.run(&self.agent, &arguments, 0)?.stdout;
        self.page
            .say("\nThe same header from anybody else says nothing:");
        let arguments = ["explain", "--peer", CUSTOMER_V4, "--header", &header];
        let ignored = self.page.run(&self.agent, &arguments, 0)?.stdout;
        let right = refused.contains("deny") && !ignored.contains("deny");
        self.page
            .expect(right, "a header is believed from a trusted proxy only");
        Ok(())
    }

    fn operator_blocks(&mut self) -> Result<()> {
        self.page
            .step("Two attackers are on no list: the operator blocks them by hand");
        let block: [&[&str]; 2] = [
            &[
                "block",
                UNKNOWN_V4,
                "--for",
                "1h",
                "--reason",
                "password spray",
            ],
            &[
                "block",
                UNKNOWN_V6_NETWORK,
                "--for",
                "1h",
                "--reason",
                "password spray",
            ],
        ];
        for arguments in block {
            self.page.run(&self.agent, arguments, 0)?;
        }
        self.page.say(
            "\nA slip of the hand must not cut off a proxy with thousands of people behind it:",
        );
        let output = self.page.run(&self.agent, &["block", PROXY_V4], 1)?;
        self.page
            .expect(output.code == 1, "it is refused, with the reason");
        Ok(())
    }

    fn block_mode(&mut self) -> Result<()> {
        self.page.step("From looking to blocking");
        self.page.say(
            "If the operator locks himself out now, the mode goes back by itself in five minutes.",
        );
        self.page
            .run(&self.agent, &["mode", "block", "--confirm-within", "5m"], 0)?;
        self.page.say("\nEverybody signs in again.");
        self.round(
            "block",
            Enforced::EVERYWHERE,
            "attackers are cut off, behind the CDN refused; customers, the office and the CDN are not",
        )?;
        self.page.say("Nobody is locked out, so it stays:");
        self.page.run(&self.agent, &["mode", "confirm"], 0)?;
        Ok(())
    }

    fn agent_killed(&mut self) -> Result<()> {
        self.page.step("The agent dies (kill -9)");
        let id = self.agent.id().context("the agent has no process")?;
        self.page.command(&format!("kill -9 {id}"));
        self.agent.kill9();
        self.page.run(&self.agent, &["status"], 69)?;
        self.page
            .say("\nThe rules are in the kernel and stay there. Everybody signs in again.");
        self.round(
            "agent dead",
            Enforced::DIRECT_ONLY,
            "the kernel goes on without the agent; what comes through the CDN passes unjudged (fail = \"open\")",
        )
    }

    fn agent_back(&mut self) -> Result<()> {
        self.page
            .step("The agent starts again and takes over what it finds");
        self.page
            .command("edgeward run --config /etc/edgeward/edgeward.toml &");
        self.agent.launch()?;
        self.page.run(&self.agent, &["mode"], 0)?;
        let listed = self.page.run(&self.agent, &["list"], 0)?.stdout;
        let right = [UNKNOWN_V4, UNKNOWN_V6_NETWORK, found::ATTACKER]
            .iter()
            .all(|prefix| listed.contains(prefix));
        self.page.expect(
            right,
            "both blocks of the operator survived, and so did what Edgeward found",
        );
        self.page
            .say("\nDoes the kernel hold what the agent thinks it does?");
        let output: Output = self.page.run(&self.agent, &["verify"], 0)?;
        self.page.expect(output.code == 0, "it does");
        self.page.say("\nEverybody signs in again.");
        self.round("agent back", Enforced::EVERYWHERE, "everything as before")
    }

    fn way_out(&mut self) -> Result<()> {
        self.page.step("The way out");
        self.page.run(&self.agent, &["detach"], 0)?;
        self.page.say("\nEverybody signs in once more.");
        self.round(
            "detached",
            Enforced::NOBODY,
            "everybody gets in: it was Edgeward, and only Edgeward, that refused",
        )
    }

    fn round(&mut self, title: &'static str, enforced: Enforced, meaning: &str) -> Result<()> {
        let right = self.cast.round(&self.site, title, enforced)?;
        self.page.table(&self.cast.table());
        self.page.expect(right, meaning);
        Ok(())
    }

    /// Who would have been refused, and why, as the agent's events tell it. Waits for those in `known`: events
    /// reach the agent a moment after the packets.
    fn told(&self, known: &[String]) -> Result<BTreeMap<String, String>> {
        let deadline = Instant::now() + EVENTS_MAX;
        loop {
            let told = would_be_refused(&self.agent.cli_ok(&["events", "--json"])?);
            if known.iter().all(|source| told.contains_key(source)) || Instant::now() >= deadline {
                return Ok(told);
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The attackers that the configuration knows, as events name them.
    fn known_bad(&self) -> impl Iterator<Item = String> {
        self.cast
            .actors
            .iter()
            .filter(|actor| actor.part == Part::Known)
            .map(|actor| actor.source.to_string())
    }
}

/// From the agent's events: who would have been refused, and why in words.
fn would_be_refused(events: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for event in events
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
    {
        let text = |key: &str| event.get(key).and_then(Value::as_str);
        // Behind the CDN the source is the CDN; whom it stands for is the client.
        let who = text("client").or_else(|| text("source"));
        let (Some(source), Some("deny")) = (who, text("verdict")) else {
            continue;
        };
        let name = text("detail").unwrap_or("?");
        let why = match text("reason") {
            Some("blocked_zone") => format!("it is in the blocked zone \"{name}\""),
            Some("reputation") => {
                format!(
                    "it is on \"{name}\" with a score of {}",
                    event.get("score").unwrap_or(&Value::Null)
                )
            }
            other => other.unwrap_or("no reason").to_owned(),
        };
        found.insert(source.to_owned(), why);
    }
    found
}

/// Set by a signal; looked at between the steps, so that an interrupted demo cleans up too.
static STOP: AtomicBool = AtomicBool::new(false);

extern "C" fn stop(_signal: libc::c_int) {
    STOP.store(true, Ordering::Relaxed);
}

fn catch_signals() {
    let handler = stop as extern "C" fn(libc::c_int) as libc::sighandler_t;
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler only stores to an atomic, which is safe at any moment.
        unsafe {
            libc::signal(signal, handler);
        }
    }
}

/// Longest until an event has reached the agent: only a failure takes it.
const EVENTS_MAX: Duration = Duration::from_secs(5);

const PICTURE: &str = "\
Six hosts were just made inside this machine, with a network of their own between them:

  attackers ──┐
  customers ──┤
  the office ─┼── the Internet ── edge0 [ Edgeward ] ── nginx: the page where people sign in
  a CDN ──────┘                          \\______ the login host ______/

Some customers, and some attackers, come through the CDN: their packets carry its address, and
only a header of each request says who they are.

The agent, the kernel, nginx and the sign-ins are real. Edgeward is on edge0, the login host's
network card: what it refuses, nginx never hears of. It works inside the kernel, at the first
moment a packet can be looked at (\"XDP\"), so an attack costs the host next to nothing.
The commands below are what an operator types on the login host.
(For this demo the agent keeps its files in a directory of its own under /tmp.)";
