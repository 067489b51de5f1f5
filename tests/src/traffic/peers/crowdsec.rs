//! CrowdSec: one run over a file, with the time of its lines, and a local API of its own that takes the alerts.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{Ban, Log, Run, finished};
use crate::PYTHON;

/// Which scenarios are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scenarios {
    /// The collections nginx (with all HTTP scenarios but those for single vulnerabilities) and sshd.
    All,
    /// Those alone that count failed sign-ins: the least work.
    Failures,
}

pub(super) fn run(packages: &Path, log: &Path, kind: Log, scenarios: Scenarios) -> Result<Run> {
    let folder = super::scratch()?;
    let crowdsec = Crowdsec::new(packages, folder.path(), scenarios)?;
    let empty = folder.path().join("empty.log");
    fs::write(&empty, "")?;
    let start = crowdsec.read(&empty, kind)?;
    let taken = crowdsec.read(log, kind)?;
    Ok(Run::of(crowdsec.bans()?, taken.saturating_sub(start)))
}

struct Crowdsec<'a> {
    packages: &'a Path,
    folder: &'a Path,
}

impl<'a> Crowdsec<'a> {
    /// A configuration with the files that `cscli` would install.
    fn new(packages: &'a Path, folder: &'a Path, scenarios: Scenarios) -> Result<Self> {
        let crowdsec = Self { packages, folder };
        let hub = packages.join("usr/share/crowdsec/hub");
        for (from, to) in PARSERS {
            crowdsec.copy(
                &hub.join("parsers").join(from),
                &format!("config/parsers/{to}"),
            )?;
        }
        for name in FAILURES {
            let path = hub.join(format!("scenarios/crowdsecurity/{name}.yaml"));
            crowdsec.copy(&path, "config/scenarios")?;
        }
        if scenarios == Scenarios::All {
            for name in HTTP {
                let path = hub.join(format!("scenarios/{name}.yaml"));
                crowdsec.copy(&path, "config/scenarios")?;
            }
        }
        for entry in fs::read_dir(packages.join("etc/crowdsec/patterns"))? {
            crowdsec.copy(&entry?.path(), "config/patterns")?;
        }
        for entry in fs::read_dir(packages.join("usr/share/crowdsec/data"))? {
            crowdsec.copy(&entry?.path(), "data")?;
        }
        // The scenario asks for it by another name than Debian's file has.
        let traversal = folder.join("data/path_traversal.txt");
        fs::copy(traversal, folder.join("data/http_path_traversal.txt"))?;
        crowdsec.copy(&hub.join(".index.json"), "hub")?;
        let etc = packages.join("etc/crowdsec");
        crowdsec.copy(&etc.join("simulation.yaml"), "config")?;
        crowdsec.copy(&etc.join("profiles.yaml"), "config")?;
        crowdsec.configure()?;
        Ok(crowdsec)
    }

    fn copy(&self, from: &Path, to: &str) -> Result<()> {
        let folder = self.folder.join(to);
        fs::create_dir_all(&folder)?;
        let name = from.file_name().context("a file without a name")?;
        fs::copy(from, folder.join(name)).with_context(|| from.display().to_string())?;
        Ok(())
    }

    fn configure(&self) -> Result<()> {
        // Free a moment ago; nobody else of this machine is expected to take it.
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let folder = self.folder.display().to_string();
        let text = CONFIG
            .replace("FOLDER", &folder)
            .replace("PORT", &port.to_string());
        fs::write(self.config(), text)?;
        fs::write(self.folder.join("acquis.yaml"), "")?;
        let mut command = Command::new(self.packages.join("usr/bin/cscli"));
        command.arg("-c").arg(self.config());
        command.args(["machines", "add", "peer", "--auto", "--force", "--file"]);
        finished(command.arg(self.folder.join("credentials.yaml")))?;
        Ok(())
    }

    fn config(&self) -> PathBuf {
        self.folder.join("config.yaml")
    }

    fn read(&self, log: &Path, kind: Log) -> Result<std::time::Duration> {
        let mut command = Command::new(self.packages.join("usr/bin/crowdsec"));
        command.arg("-c").arg(self.config());
        command.arg("-dsn").arg(format!("file://{}", log.display()));
        command.args([
            "-type",
            if kind == Log::Nginx {
                "nginx"
            } else {
                "syslog"
            },
        ]);
        finished(&mut command).map(|(_, taken)| taken)
    }

    /// Its alerts, as its database has them: each bans for four hours (profiles.yaml).
    fn bans(&self) -> Result<Vec<Ban>> {
        let mut command = Command::new(PYTHON);
        command.args(["-c", ALERTS]);
        let (output, _) = finished(command.arg(self.folder.join("data/crowdsec.db")))?;
        let text = String::from_utf8(output.stdout)?;
        let bans: Option<Vec<Ban>> = text.lines().map(ban).collect();
        bans.context("an alert without address or time")
    }
}

fn ban(line: &str) -> Option<Ban> {
    let (client, seconds) = line.split_once(' ')?;
    let from_ms = seconds.parse::<u64>().ok()? * 1_000;
    Some(Ban {
        client: client.parse().ok()?,
        from_ms,
        until_ms: from_ms + BAN_MS,
    })
}

/// `duration: 4h` of Debian's profiles.yaml.
const BAN_MS: u64 = 4 * 3_600_000;
const ALERTS: &str = "
import sqlite3, sys
for row in sqlite3.connect(sys.argv[1]).execute(\"select source_ip, strftime('%s', stopped_at) from alerts \"
        \"where source_scope = 'Ip' order by stopped_at\"):
    print(*row)
";
const PARSERS: [(&str, &str); 5] = [
    ("s00-raw/crowdsecurity/syslog-logs.yaml", "s00-raw"),
    ("s01-parse/crowdsecurity/nginx-logs.yaml", "s01-parse"),
    ("s01-parse/crowdsecurity/sshd-logs.yaml", "s01-parse"),
    ("s02-enrich/crowdsecurity/http-logs.yaml", "s02-enrich"),
    (
        "s02-enrich/crowdsecurity/dateparse-enrich.yaml",
        "s02-enrich",
    ),
];
const FAILURES: [&str; 3] = ["http-generic-bf", "ssh-bf", "ssh-slow-bf"];
/// The other scenarios of the collections nginx and base-http-scenarios.
const HTTP: [&str; 11] = [
    "crowdsecurity/nginx-req-limit-exceeded",
    "crowdsecurity/http-crawl-non_statics",
    "crowdsecurity/http-probing",
    "crowdsecurity/http-bad-user-agent",
    "crowdsecurity/http-path-traversal-probing",
    "crowdsecurity/http-sensitive-files",
    "crowdsecurity/http-sqli-probing",
    "crowdsecurity/http-xss-probing",
    "crowdsecurity/http-backdoors-attempts",
    "crowdsecurity/http-open-proxy",
    "ltsich/http-w00tw00t",
];
const CONFIG: &str = "\
common: { daemonize: false, log_media: stdout, log_level: info, working_dir: . }
config_paths:
  config_dir: FOLDER/config/
  data_dir: FOLDER/data/
  simulation_path: FOLDER/config/simulation.yaml
  hub_dir: FOLDER/hub/
  index_path: FOLDER/hub/.index.json
crowdsec_service: { acquisition_path: FOLDER/acquis.yaml, parser_routines: 1 }
db_config: { type: sqlite, use_wal: true, db_path: FOLDER/data/crowdsec.db }
cscli: { output: human }
api:
  client: { credentials_path: FOLDER/credentials.yaml }
  server:
    log_level: error
    listen_uri: 127.0.0.1:PORT
    profiles_path: FOLDER/config/profiles.yaml
prometheus: { enabled: false }
";
