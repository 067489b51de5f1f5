//! Strict servers of Splunk's, Datadog's, Microsoft's and OpenTelemetry's wire formats.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::ensure;
use lab::{Agent, Lab, PYTHON, Process, Result};

use super::{
    super::streams::world::{config, settled, sign_ins, stream, told, until},
    Folder, secret, text, tools,
};

pub(super) const SECRET: &str = "s3cret-token+/=";
const PORT: &str = "8090";

/// A receiver, and what it is made to do.
struct Case {
    lab: &'static str,
    kind: &'static [&'static str],
    /// Keys of the stream beyond the common ones.
    stream: &'static str,
    words: &'static [&'static str],
    /// Events that the receiver itself throws away.
    thrown: usize,
    doubled_max: usize,
}

pub(crate) fn splunk() -> Result<()> {
    run(&Case {
        lab: "sinks-splunk",
        kind: &["splunk"],
        stream: "kind = \"splunk-hec\"\nurl = \"http://127.0.0.1:8090\"\ntoken_file = \"siem.secret\"\n\
                 acknowledge = true\nacknowledge_within = \"3s\"\nindex = \"main\"\n",
        // Slow ones give time for a word of the indexers, which ends a row of failures.
        words: &[
            "take", "503", "take", "slow", "slow", "restart", "take", "slow", "slow", "429",
            "garbage", "take", "slow", "slow", "lost", "400", "take", "slow", "slow", "hang",
            "take", "slow", "slow", "413", "welcome", "take", "restart", "take", "slow", "slow",
            "401", "take",
        ],
        thrown: 0,
        // Indexed, and the kill caught the word of it.
        doubled_max: 100,
    })
}

pub(crate) fn datadog() -> Result<()> {
    run(&Case {
        lab: "sinks-datadog",
        kind: &["datadog"],
        stream: "kind = \"datadog\"\nurl = \"http://127.0.0.1:8090\"\napi_key_file = \"siem.secret\"\n\
                 tags = [\"env:test\"]\n",
        words: &[
            "take", "503", "take", "408", "429", "garbage", "lost", "400", "hang", "413",
            "welcome", "slow", "403", "take",
        ],
        thrown: 0,
        // Two requests that were taken and not answered: one "lost", one that the kill caught.
        doubled_max: 200,
    })
}

pub(crate) fn sentinel() -> Result<()> {
    run(&Case {
        lab: "sinks-sentinel",
        kind: &["sentinel"],
        stream: "kind = \"sentinel\"\nurl = \"http://127.0.0.1:8090\"\nauthority = \"http://127.0.0.1:8090\"\n\
                 rule = \"dcr-0123\"\nstream_name = \"Custom-Edgeward_CL\"\ntenant = \"directory-1\"\n\
                 client_id = \"app-1\"\nclient_secret_file = \"siem.secret\"\n",
        words: &[
            "take", "revoke", "take", "503", "429", "garbage", "lost", "400", "hang", "413",
            "welcome", "slow", "403", "take",
        ],
        thrown: 0,
        doubled_max: 200,
    })
}

const COLLECTOR: [&str; 2] = [
    "kind = \"otlp\"\nurl = \"http://127.0.0.1:8090\"\nheader = \"x-key\"\nheader_file = \"siem.secret\"\ngzip = true\n",
    "kind = \"otlp\"\nurl = \"http://127.0.0.1:8090\"\nheader = \"x-key\"\nheader_file = \"siem.secret\"\nencoding = \"json\"\n",
];
const COLLECTOR_WORDS: &[&str] = &[
    "take", "503", "take", "partial", "502", "429", "garbage", "lost", "400", "hang", "413", "500",
    "slow", "take",
];

pub(crate) fn otlp_protobuf() -> Result<()> {
    run(&Case {
        lab: "sinks-otlp",
        kind: &["otlp"],
        stream: COLLECTOR[0],
        words: COLLECTOR_WORDS,
        thrown: 1,
        doubled_max: 200,
    })
}

pub(crate) fn otlp_json() -> Result<()> {
    run(&Case {
        lab: "sinks-otlp-json",
        kind: &["otlp"],
        stream: COLLECTOR[1],
        words: COLLECTOR_WORDS,
        thrown: 1,
        doubled_max: 200,
    })
}

/// The server in Python.
pub(super) struct Server {
    process: Process,
    script: PathBuf,
    /// The kind, and the format of events where that is not Okta's.
    arguments: &'static [&'static str],
}

impl Server {
    pub(super) fn start(
        lab: &Lab,
        folder: &Folder,
        arguments: &'static [&'static str],
    ) -> Result<Self> {
        lab.write("receiver/schemas.py", include_str!("schemas.py"))?;
        let script = lab.write("receiver/strict.py", include_str!("strict.py"))?;
        let process = Self::launch(lab, folder, &script, arguments)?;
        Ok(Self {
            process,
            script,
            arguments,
        })
    }

    fn again(&mut self, lab: &Lab, folder: &Folder) -> Result<()> {
        self.process = Self::launch(lab, folder, &self.script, self.arguments)?;
        Ok(())
    }

    fn launch(lab: &Lab, folder: &Folder, script: &Path, arguments: &[&str]) -> Result<Process> {
        let fixed = [PYTHON, text(script)?, PORT, text(&folder.0)?];
        let argv = [&fixed, arguments].concat();
        let mut process = lab
            .login
            .command(&argv)
            .env("PYTHONPATH", text(&tools())?)
            .spawn()?;
        process.wait_for_line("ready", Duration::from_secs(30))?;
        Ok(process)
    }
}

fn run(case: &Case) -> Result<()> {
    let lab = Lab::new(case.lab)?;
    let folder = Folder::new(&lab)?;
    secret(&lab, "siem.secret", &format!("{SECRET}\n"))?;
    let mut server = Server::start(&lab, &folder, case.kind)?;
    folder.does(case.words)?;
    let settings = config(&format!(
        "[[stream]]\nname = \"siem\"\nfrom = \"oldest\"\nbatch_events_max = 100\nflush = \"50ms\"\ntimeout = \"2s\"\n{}",
        case.stream
    ));
    let agent = Agent::start(&lab, &settings)?;
    sign_ins(&lab, 0, 3_000)?;
    until(&agent, "siem", |_| folder.is_done())?;

    // Killed while events come, and back after a while.
    sign_ins(&lab, 3_000, 500)?;
    server.process.kill9();
    sign_ins(&lab, 3_500, 500)?;
    until(&agent, "siem", |state| state["health"] == "failing")?;
    server.again(&lab, &folder)?;
    settled(&agent, "siem", 4_000)?;

    // One event that it never takes.
    folder.poison("\"10.0.16.7\"")?;
    sign_ins(&lab, 4_096, 300)?;
    let state = settled(&agent, "siem", 4_300)?;
    ensure!(state["dead"] == 1 + case.thrown, "{state}");
    ensure!(state["gap"] == 0, "{state}");
    folder.accounted(&agent, 1 + case.thrown, case.doubled_max)?;

    let told = told(&agent)?;
    for event in ["recover", "dead_letter"] {
        let event = format!("system.log_stream.{event}");
        ensure!(told.contains(&event), "no {event} among {told:?}");
    }
    let shown = stream(&agent, "siem")?.to_string()
        + &agent.log()
        + &agent.cli_ok(&["status", "--json"])?
        + &agent.cli_ok(&["log", "--json", "--since", "1d", "--limit", "100000"])?;
    ensure!(
        !shown.contains(SECRET) && !shown.contains("token-1-"),
        "a secret is shown"
    );
    Ok(())
}
