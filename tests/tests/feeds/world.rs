//! What these tests share: zones, a web server that behaves as it is told, and a real CrowdSec.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use lab::frames::Frame;
use lab::{Agent, AgentConfig, EdgeTap, Host, Lab, PYTHON, Process, Result};
use serde_json::Value;

/// Someone exempt, a trusted proxy, and block mode.
pub(crate) fn zones(mode: &str) -> AgentConfig {
    AgentConfig::new(mode)
        .zone("office", &["exempt"], &["198.51.100.128/26"])
        .zone("cdn", &["trusted-proxy"], &["198.51.100.64/26"])
}

/// Whether one packet of a source passes now.
pub(crate) fn passes(lab: &Lab, tap: &mut EdgeTap, source: &str) -> Result<bool> {
    let source = source.parse()?;
    let target = lab.login.address_like(source);
    tap.passes(
        &Frame::between(source, target)
            .udp(50_000, 443, b"probe")
            .build(),
    )
}

/// Each of these sources is refused, or each passes.
pub(crate) fn all_pass(lab: &Lab, wanted: bool, sources: &[&str]) -> Result<()> {
    let mut tap = lab.edge_tap()?;
    for source in sources {
        ensure!(
            passes(lab, &mut tap, source)? == wanted,
            "{source} {}",
            if wanted { "does not pass" } else { "passes" }
        );
    }
    Ok(())
}

/// Polls until a source passes, or is refused.
pub(crate) fn until_passes(lab: &Lab, wanted: bool, source: &str) -> Result<()> {
    let mut tap = lab.edge_tap()?;
    let what = format!("{source} {}", if wanted { "passes" } else { "is refused" });
    until(&what, || Ok(passes(lab, &mut tap, source)? == wanted))
}

/// Polls until it is so; the time only bounds a failure.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + WAIT_MAX;
    while !so()? {
        if Instant::now() >= deadline {
            bail!("never: {what}");
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Longest wait: only a failure takes it.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(90);

/// Looks at a feed now; what came of it.
pub(crate) fn refresh(agent: &Agent, name: &str) -> Result<Value> {
    agent
        .cli_json(&["feed", "refresh", name])
        .with_context(|| agent.log())
}

/// Looks at a feed, which must fail; the sentence.
pub(crate) fn refresh_fails(agent: &Agent, name: &str) -> Result<String> {
    let output = agent.cli(&["feed", "refresh", name])?;
    ensure!(output.code != 0, "it was taken: {output:?}");
    ensure!(!output.stderr.contains("panicked"), "{output:?}");
    Ok(output.stderr)
}

pub(crate) fn show(agent: &Agent, name: &str) -> Result<Value> {
    agent.cli_json(&["feed", "show", name])
}

/// The events of a feed, by their names.
pub(crate) fn events(agent: &Agent, feed: &str) -> Result<Vec<String>> {
    let text = agent.cli_ok(&["events", "--json"])?;
    let events = text.lines().filter_map(|line| {
        let event: Value = serde_json::from_str(line).ok()?;
        (event["feed"] == feed).then(|| event["event"].as_str().unwrap_or_default().to_owned())
    });
    Ok(events.collect())
}

/// A file in the lab's folder that its owner alone may read.
pub(crate) fn secret(lab: &Lab, name: &str, text: &str) -> Result<PathBuf> {
    let path = lab.write(name, text)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(path)
}

/// A web server on the login host's loopback that serves `list` as the file `behaviour` says.
#[derive(Debug)]
pub(crate) struct Web {
    process: Process,
    folder: PathBuf,
}

impl Web {
    pub(crate) const URL: &str = "http://127.0.0.1:8070/list?key=hidden";

    pub(crate) fn start(lab: &Lab) -> Result<Self> {
        let folder = lab.directory().join("web");
        fs::create_dir_all(&folder)?;
        let script = lab.write("web/serve.py", include_str!("serve.py"))?;
        let web = Self {
            process: lab
                .login
                .spawn(&[PYTHON, text(&script)?, "8070", text(&folder)?])?,
            folder,
        };
        web.serves("list", "203.0.113.66\n")?;
        let address: SocketAddr = "127.0.0.1:8070".parse()?;
        listens(&lab.login, address, &web.process)?;
        Ok(web)
    }

    /// What the next request gets.
    pub(crate) fn serves(&self, behaviour: &str, list: &str) -> Result<()> {
        fs::write(self.folder.join("list"), list)?;
        fs::write(self.folder.join("behaviour"), behaviour)?;
        Ok(())
    }

    /// The requests so far, one a line.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.process.stdout().lines().map(str::to_owned).collect()
    }

    pub(crate) fn stop(mut self) {
        self.process.kill9();
    }
}

/// A real local API of CrowdSec on the login host's loopback.
#[derive(Debug)]
pub(crate) struct CrowdSec {
    process: Process,
    host: Host,
    config: PathBuf,
}

/// The key of Edgeward's bouncer.
pub(crate) const KEY: &str = "0123456789abcdef0123456789abcdef";

impl CrowdSec {
    pub(crate) const URL: &str = "http://127.0.0.1:8080/";

    pub(crate) fn start(lab: &Lab) -> Result<Self> {
        let folder = lab.directory().join("crowdsec");
        fs::create_dir_all(folder.join("data"))?;
        fs::create_dir_all(folder.join("hub"))?;
        let name = folder.display().to_string();
        let yaml = include_str!("crowdsec.yaml").replace("{folder}", &name);
        let config = lab.write("crowdsec/config.yaml", &yaml)?;
        lab.write("crowdsec/simulation.yaml", "simulation: off\n")?;
        lab.write("crowdsec/profiles.yaml", PROFILES)?;
        lab.write("crowdsec/credentials.yaml", "")?;
        let credentials = format!("{name}/credentials.yaml");
        let mut crowdsec = Self {
            // Replaced below: a machine and a bouncer are made in the database before anything runs.
            process: lab.login.spawn(&["true"])?,
            host: lab.login.clone(),
            config,
        };
        crowdsec.cscli(&[
            "machines",
            "add",
            "lab",
            "--password",
            "lab-password",
            "-f",
            &credentials,
            "--url",
            "http://127.0.0.1:8080",
        ])?;
        crowdsec.cscli(&["bouncers", "add", "edgeward", "-k", KEY])?;
        crowdsec.launch()?;
        Ok(crowdsec)
    }

    pub(crate) fn launch(&mut self) -> Result<()> {
        let config = text(&self.config)?;
        self.process = self
            .host
            .spawn(&[&peer("crowdsec"), "-c", config, "-no-cs"])?;
        listens(&self.host, "127.0.0.1:8080".parse()?, &self.process)
    }

    pub(crate) fn kill9(&mut self) {
        self.process.kill9();
    }

    pub(crate) fn cscli(&self, arguments: &[&str]) -> Result<String> {
        let config = text(&self.config)?;
        let cscli = peer("cscli");
        let argv = [&[cscli.as_str(), "-c", config], arguments].concat();
        self.host
            .run(&argv)?
            .success()
            .with_context(|| format!("cscli {}", arguments.join(" ")))
    }
}

const PROFILES: &str = "name: default\nfilters:\n - Alert.Remediation == true\ndecisions:\n - type: ban\n   duration: 4h\non_success: break\n";

/// Waits until somebody accepts connections.
pub(crate) fn listens(host: &Host, address: SocketAddr, process: &Process) -> Result<()> {
    let deadline = Instant::now() + WAIT_MAX;
    while let Err(error) = host.connect_from(
        address.ip(),
        address.ip(),
        address.port(),
        Duration::from_secs(1),
    ) {
        if Instant::now() >= deadline {
            bail!(
                "nobody listens on {address}: {error}\n{}{}",
                process.stdout(),
                process.stderr()
            );
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

pub(crate) fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no UTF-8")
}

/// A program of CrowdSec as `cargo xtask setup` unpacked it from the distribution's package.
pub(crate) fn peer(name: &str) -> String {
    let tools = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../target/tools/peers/usr/bin/"
    );
    format!("{tools}{name}")
}

/// CrowdSec of the distribution is there.
pub(crate) fn needs_crowdsec() -> std::result::Result<(), String> {
    needs(&["crowdsec", "cscli"])
}

/// Its bouncer is there.
pub(crate) fn needs_bouncer() -> std::result::Result<(), String> {
    needs(&["crowdsec-firewall-bouncer"])
}

fn needs(programs: &[&str]) -> std::result::Result<(), String> {
    let missing = programs
        .iter()
        .find(|program| !Path::new(&peer(program)).exists());
    match missing {
        None => Ok(()),
        Some(program) => Err(format!(
            "{program} is not there: run `cargo xtask setup test`"
        )),
    }
}
