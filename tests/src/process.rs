//! Processes inside a lab host: started in its namespace, output in files, killed with their group, waited for with deadlines.

use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};

use crate::host::Host;
use crate::{Result, sys};

/// A command to be run or started in a host; made by [`Host::command`].
#[derive(Debug)]
#[must_use]
pub struct Cmd {
    host: Host,
    argv: Vec<String>,
    environment: Vec<(String, String)>,
    user: Option<(u32, u32)>,
    directory: Option<PathBuf>,
}

/// What a finished command left.
#[derive(Debug, Clone)]
pub struct Output {
    /// Exit code; 128 + signal when a signal ended it.
    pub code: i32,
    /// Standard output, bytes that are no UTF-8 replaced.
    pub stdout: String,
    /// Standard error, likewise.
    pub stderr: String,
}

/// A running process of the lab. Dropping it kills it and its group.
#[derive(Debug)]
pub struct Process {
    what: String,
    child: Child,
    ended: Option<i32>,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Cmd {
    pub(crate) fn new(host: &Host, argv: &[&str]) -> Self {
        Self {
            host: host.clone(),
            argv: argv.iter().map(ToString::to_string).collect(),
            environment: Vec::new(),
            user: None,
            directory: None,
        }
    }

    /// Adds an environment variable. Those of the caller's SSH session are never handed on.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs as this user and group id, without supplementary groups and so without any capability.
    pub fn user(mut self, uid: u32, gid: u32) -> Self {
        self.user = Some((uid, gid));
        self
    }

    /// Runs in this directory.
    pub fn directory(mut self, path: &Path) -> Self {
        self.directory = Some(path.to_owned());
        self
    }

    /// Starts the process; standard output and error go to files in the lab's directory.
    ///
    /// # Errors
    /// When the program cannot be found or started in the namespace.
    pub fn spawn(self) -> Result<Process> {
        let Some((program, arguments)) = self.argv.split_first() else {
            bail!("empty command")
        };
        let (stdout, stderr) = self.host.output_files(program);
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(File::create(&stdout)?)
            .stderr(File::create(&stderr)?)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .process_group(0);
        for name in ["SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY"] {
            if !self.environment.iter().any(|(set, _)| set == name) {
                command.env_remove(name);
            }
        }
        if let Some(path) = &self.directory {
            command.current_dir(path);
        }
        sys::prepare(&mut command, self.host.namespace()?, self.user);
        let what = format!("{} in {}", self.argv.join(" "), self.host.name());
        let child = start(command).with_context(|| format!("cannot start {what}"))?;
        Ok(Process {
            what,
            child,
            ended: None,
            stdout,
            stderr,
        })
    }

    /// Runs the command to its end, whatever its exit code.
    ///
    /// # Errors
    /// When it cannot start, or has not ended in time (it is killed then).
    pub fn run_for(self, timeout: Duration) -> Result<Output> {
        let mut process = self.spawn()?;
        let code = process.wait(timeout)?;
        let output = Output {
            code,
            stdout: process.stdout(),
            stderr: process.stderr(),
        };
        // Kept only for processes that live on: thousands of short commands should not fill the directory.
        let _ = fs::remove_file(&process.stdout);
        let _ = fs::remove_file(&process.stderr);
        Ok(output)
    }

    /// As [`Cmd::run_for`] with a deadline that only a hang reaches.
    ///
    /// # Errors
    /// As [`Cmd::run_for`].
    pub fn run(self) -> Result<Output> {
        self.run_for(RUN_MAX)
    }
}

impl Output {
    /// Standard output of a command that must succeed.
    ///
    /// # Errors
    /// With both outputs when the exit code is not 0.
    pub fn success(self) -> Result<String> {
        if self.code == 0 {
            return Ok(self.stdout);
        }
        Err(anyhow!(
            "exit code {}\nstdout: {}\nstderr: {}",
            self.code,
            self.stdout,
            self.stderr
        ))
    }
}

impl Process {
    /// The process id, also its group's.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it wrote to standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        read_text(&self.stdout)
    }

    /// Everything it wrote to standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        read_text(&self.stderr)
    }

    /// True until it has ended.
    pub fn running(&mut self) -> bool {
        matches!(self.try_code(), Ok(None))
    }

    /// Waits until a whole line of either output contains the text, and returns that line.
    ///
    /// # Errors
    /// With all output when the time is over, or when the process has ended without that line.
    pub fn wait_for_line(&mut self, text: &str, timeout: Duration) -> Result<String> {
        let deadline = Instant::now() + timeout;
        loop {
            // Asked before reading: a line written just before the end must not be missed.
            let ended = self.try_code()?;
            let (stdout, stderr) = (self.stdout(), self.stderr());
            for line in complete_lines(&stdout).chain(complete_lines(&stderr)) {
                if line.contains(text) {
                    return Ok(line.to_owned());
                }
            }
            let reason = match ended {
                Some(code) => format!("it ended with code {code}"),
                None if Instant::now() >= deadline => format!("{timeout:?} are over"),
                None => {
                    thread::sleep(POLL);
                    continue;
                }
            };
            bail!(
                "{}: no line with {text:?}, {reason}\nstdout: {stdout}\nstderr: {stderr}",
                self.what
            );
        }
    }

    /// Waits for the end and returns the exit code (128 + signal when a signal ended it).
    ///
    /// # Errors
    /// When it has not ended in time; it is killed then, with its group.
    pub fn wait(&mut self, timeout: Duration) -> Result<i32> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(code) = self.try_code()? {
                return Ok(code);
            }
            if Instant::now() >= deadline {
                self.kill9();
                bail!(
                    "{} did not end within {timeout:?}\nstderr: {}",
                    self.what,
                    self.stderr()
                );
            }
            thread::sleep(POLL);
        }
    }

    /// Sends a signal to the process alone.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn signal(&mut self, signal: i32) -> Result<()> {
        if self.try_code()?.is_some() {
            bail!("{} has ended", self.what);
        }
        let pid = i32::try_from(self.child.id())?;
        sys::signal(pid, signal).with_context(|| format!("cannot signal {}", self.what))
    }

    /// Kills the process and its group with SIGKILL and takes it off the process table.
    pub fn kill9(&mut self) {
        if self.ended.is_some() {
            return;
        }
        if let Ok(group) = i32::try_from(self.child.id()) {
            // Not yet waited for, so the id cannot belong to anybody else.
            let _ = sys::signal_group(group, libc::SIGKILL);
        }
        if let Ok(status) = self.child.wait() {
            self.ended = Some(code_of(status));
        }
    }

    /// The exit code if it has ended.
    fn try_code(&mut self) -> Result<Option<i32>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait()?.map(code_of);
        }
        Ok(self.ended)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// A command on its way to the thread that starts it, and where its child is sent.
type Job = (Command, SyncSender<std::io::Result<Child>>);

/// Starts a command from one thread that never ends.
///
/// The death signal of [`sys::prepare`] is sent when the *thread* that started a child ends: a child
/// started on a test's own short-lived thread would die with that, not with the run.
fn start(command: Command) -> Result<Child> {
    static STARTER: OnceLock<SyncSender<Job>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (sender, jobs) = mpsc::sync_channel::<Job>(JOBS_MAX);
        thread::spawn(move || {
            for (mut command, reply) in jobs {
                // Nobody waits any more when the asking thread panicked; the child is then nobody's and must go.
                if let Err(mpsc::SendError(Ok(mut child))) = reply.send(command.spawn()) {
                    let _ = child.kill();
                    let _ = child.wait();
                }
            }
        });
        sender
    });
    let (reply, child) = mpsc::sync_channel(1);
    starter
        .send((command, reply))
        .map_err(|_| anyhow!("the starting thread has ended"))?;
    Ok(child.recv().context("the starting thread has ended")??)
}

/// One number for every end of a process, as shells have it.
fn code_of(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

/// A file's text; empty when it cannot be read.
pub(crate) fn read_text(path: &Path) -> String {
    fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

/// The lines that are finished by a newline: half a line is still being written.
fn complete_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n'))
}

/// Longest a short command may take: only a hang does.
const RUN_MAX: Duration = Duration::from_secs(60);
/// Pause between two looks at a process or file.
const POLL: Duration = Duration::from_millis(2);
/// Commands that may wait for the starting thread.
const JOBS_MAX: usize = 16;
