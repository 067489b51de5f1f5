//! The real agent on the login host: started, asked, killed and started again.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::Result;
use crate::agent_config::{AgentConfig, Paths};
use crate::host::Host;
use crate::network::Lab;
use crate::process::{Cmd, Output, Process};

/// An agent with its configuration, running or not. Dropping it kills it; what it pinned goes with the lab.
#[derive(Debug)]
pub struct Agent {
    host: Host,
    directory: PathBuf,
    binary: PathBuf,
    paths: Paths,
    config: PathBuf,
    process: Option<Process>,
    environment: Vec<(String, String)>,
    /// What processes before the present one wrote to standard error.
    earlier_log: String,
}

impl Agent {
    /// Writes the configuration and starts the agent; it answers `status` when this returns.
    ///
    /// # Errors
    /// With the agent's log when it ends or does not answer.
    pub fn start(lab: &Lab, config: &AgentConfig) -> Result<Self> {
        let mut agent = Self::prepare(lab, config)?;
        agent.launch()?;
        Ok(agent)
    }

    /// Writes the configuration and starts nothing.
    ///
    /// # Errors
    /// When there is no binary or the file cannot be written.
    pub fn prepare(lab: &Lab, config: &AgentConfig) -> Result<Self> {
        let paths = config.paths(lab.directory(), &lab.bpffs());
        Ok(Self {
            host: lab.login.clone(),
            directory: lab.directory().to_owned(),
            binary: binary()?,
            config: lab.write(&paths.config_name, &config.text(&paths))?,
            paths,
            process: None,
            environment: Vec::new(),
            earlier_log: String::new(),
        })
    }

    /// Starts the agent that is not running, and waits until it answers `status`.
    ///
    /// # Errors
    /// With its log when it ends or does not answer.
    pub fn launch(&mut self) -> Result<()> {
        if self.is_running() {
            bail!("the agent is running already");
        }
        self.collect_log();
        let process = self.run_command()?.spawn()?;
        self.process = Some(process);
        self.wait_ready()
    }

    /// Runs the agent expecting it to refuse: its exit code and what it said. Killed if it runs on.
    ///
    /// # Errors
    /// When it does not end by itself.
    pub fn run_refused(&self) -> Result<Output> {
        self.run_command()?.run_for(REFUSE_MAX)
    }

    /// The command that starts the agent, for tests that change its user or environment.
    ///
    /// # Errors
    /// When a path is no UTF-8.
    pub fn run_command(&self) -> Result<Cmd> {
        let binary = text_of(&self.binary)?;
        let config = text_of(&self.config)?;
        let command = self
            .host
            .command(&[binary, "run", "--config", config])
            .directory(&self.directory);
        let variables = self.environment.iter();
        Ok(variables.fold(command, |command, (name, value)| command.env(name, value)))
    }

    /// Variables of the environment from the next start on; client commands have none of them.
    pub fn set_environment(&mut self, variables: &[(&str, &str)]) {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        self.environment = variables.iter().map(owned).collect();
    }

    /// A client command, told by its environment where the agent is: `agent.command(&["status"])`.
    ///
    /// # Errors
    /// When a path is no UTF-8.
    pub fn command(&self, arguments: &[&str]) -> Result<Cmd> {
        let argv = [&[text_of(&self.binary)?], arguments].concat();
        let command = self.host.command(&argv).directory(&self.directory);
        Ok(command.env("EDGEWARD_SOCKET", text_of(&self.paths.socket)?))
    }

    /// Runs a client command, whatever its exit code.
    ///
    /// # Errors
    /// When it cannot start or hangs.
    pub fn cli(&self, arguments: &[&str]) -> Result<Output> {
        self.command(arguments)?.run()
    }

    /// Runs a client command that must succeed; its standard output.
    ///
    /// # Errors
    /// With its outputs when the exit code is not 0.
    pub fn cli_ok(&self, arguments: &[&str]) -> Result<String> {
        self.cli(arguments)?
            .success()
            .with_context(|| format!("edgeward {}", arguments.join(" ")))
    }

    /// Runs a client command with `--json`, which must succeed, and reads what it printed.
    ///
    /// # Errors
    /// When the exit code is not 0 or the output is no JSON.
    pub fn cli_json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.cli_ok(&[arguments, &["--json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("no JSON: {text:?}"))
    }

    /// Sends one request over the control socket, past the CLI, and returns the first reply line; see [`ask`].
    ///
    /// # Errors
    /// When the agent cannot be reached or does not answer in time.
    pub fn request(&self, request: &Value) -> Result<Value> {
        ask(&self.paths.socket, request)
    }

    /// Kills it with SIGKILL. Does nothing when it is not running.
    pub fn kill9(&mut self) {
        if let Some(process) = &mut self.process {
            process.kill9();
        }
    }

    /// Ends it as a service manager does, with SIGTERM; its exit code.
    ///
    /// # Errors
    /// When it is not running or does not end.
    pub fn stop(&mut self) -> Result<i32> {
        let process = self
            .process
            .as_mut()
            .context("the agent was never started")?;
        process.signal(libc::SIGTERM)?;
        process.wait(STOP_MAX)
    }

    /// Stops it and starts it again.
    ///
    /// # Errors
    /// As [`Agent::stop`] and [`Agent::launch`].
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.launch()
    }

    /// Writes another configuration; it holds from the next reload or start on. Its instance must be the same.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn reconfigure(&self, config: &AgentConfig) -> Result<()> {
        std::fs::write(&self.config, config.text(&self.paths))?;
        Ok(())
    }

    /// Uses another binary from the next start or command on: an upgrade.
    pub fn set_binary(&mut self, path: &Path) {
        path.clone_into(&mut self.binary);
    }

    /// Sends a signal, such as SIGHUP.
    ///
    /// # Errors
    /// When it is not running.
    pub fn signal(&mut self, signal: i32) -> Result<()> {
        self.process
            .as_mut()
            .context("the agent was never started")?
            .signal(signal)
    }

    /// Makes it hang with SIGSTOP; every thread of it stands still when this returns. SIGCONT lets it go on.
    ///
    /// # Errors
    /// When it is not running, or a thread goes on.
    pub fn hang(&mut self) -> Result<()> {
        self.signal(libc::SIGSTOP)?;
        let id = self.id().context("the agent was never started")?;
        let deadline = Instant::now() + STOP_MAX;
        while !stands_still(id)? {
            if Instant::now() >= deadline {
                bail!("a thread of the agent goes on");
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// True while its process runs.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::running)
    }

    /// Its process id, while there is a process.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// All it wrote to standard error, over every start.
    #[must_use]
    pub fn log(&self) -> String {
        let present = self
            .process
            .as_ref()
            .map(Process::stderr)
            .unwrap_or_default();
        format!("{}{present}", self.earlier_log)
    }

    /// Waits for a line in its output; see [`Process::wait_for_line`].
    ///
    /// # Errors
    /// As there, and when it was never started.
    pub fn wait_for_line(&mut self, text: &str, timeout: Duration) -> Result<String> {
        self.process
            .as_mut()
            .context("the agent was never started")?
            .wait_for_line(text, timeout)
    }

    /// The configuration file.
    #[must_use]
    pub fn config_path(&self) -> &Path {
        &self.config
    }

    /// The control socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.paths.socket
    }

    /// The state directory.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        &self.paths.state
    }

    /// The folder of its pins.
    #[must_use]
    pub fn bpffs_dir(&self) -> &Path {
        &self.paths.bpffs
    }

    fn wait_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY_MAX;
        loop {
            if !self.is_running() {
                let code = self.stop_code();
                bail!(
                    "the agent ended before it was ready, {code}:\n{}",
                    self.log()
                );
            }
            // A connect first: it costs nothing beside the start of a process.
            let answered =
                UnixStream::connect(&self.paths.socket).is_ok() && self.cli(&["status"])?.code == 0;
            if answered {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!(
                    "the agent does not answer within {READY_MAX:?}:\n{}",
                    self.log()
                );
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// How it ended, in words.
    fn stop_code(&mut self) -> String {
        let ended = self
            .process
            .as_mut()
            .map(|process| process.wait(Duration::ZERO));
        match ended {
            Some(Ok(code)) => format!("with code {code}"),
            _ => "nobody knows how".to_owned(),
        }
    }

    fn collect_log(&mut self) {
        if let Some(process) = self.process.take() {
            self.earlier_log.push_str(&process.stderr());
        }
    }
}

/// Sends one request to a control socket and returns the first reply line, for threads that do not own the agent.
///
/// # Errors
/// When nobody answers there, or not in time, or the connection ends before the whole line.
pub fn ask(socket: &Path, request: &Value) -> Result<Value> {
    let mut stream = UnixStream::connect(socket)
        .with_context(|| format!("cannot reach {}", socket.display()))?;
    stream.set_read_timeout(Some(READY_MAX))?;
    stream.write_all(format!("{request}\n").as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    serde_json::from_str(&line).with_context(|| format!("no JSON: {line:?}"))
}

/// The agent's binary: `EDGEWARD_BIN`, or the newer of the release and the debug build.
///
/// # Errors
/// When there is none, with what to run.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("EDGEWARD_BIN") {
        let path = PathBuf::from(path);
        return std::path::absolute(&path).context("EDGEWARD_BIN");
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    );
    let built = |profile: &str| {
        let path = target.join(profile).join("edgeward");
        let modified = path.metadata().and_then(|data| data.modified()).ok()?;
        Some((modified, path))
    };
    let newest = [built("release"), built("debug")]
        .into_iter()
        .flatten()
        .max();
    let (_, path) = newest.context("there is no agent to test: run `cargo xtask build`")?;
    Ok(path.canonicalize()?)
}

/// Whether every thread of a process is stopped: the signal reaches them one after the other.
fn stands_still(id: u32) -> Result<bool> {
    for entry in std::fs::read_dir(format!("/proc/{id}/task"))? {
        let stat = std::fs::read_to_string(entry?.path().join("stat"))?;
        // The second field is the name in brackets and may hold anything; the state follows the last bracket.
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
        if !state.is_some_and(|state| state.starts_with('T')) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn text_of(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is no UTF-8", path.display()))
}

/// Longest a start may take until `status` is answered: only a failure does, also on an emulated processor.
const READY_MAX: Duration = Duration::from_secs(60);
/// Longest a stop may take.
const STOP_MAX: Duration = Duration::from_secs(10);
/// Longest an agent may take to refuse to start.
const REFUSE_MAX: Duration = Duration::from_secs(10);
