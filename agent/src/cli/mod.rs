//! The command line: what can be typed, where the agent is found, and which exit code says what.
//!
//! One file a command; each makes a request, prints its data and leaves the rest to this one.

mod attack;
mod block;
mod check;
mod events;
mod explain;
mod feed;
mod gathered;
mod health;
mod list;
mod log;
mod mode;
mod output;
mod page;
mod past;
mod replay;
mod report;
mod run;
mod simple;
mod status;
mod stream;
#[cfg(test)]
mod tests;
mod token;
mod train;
mod verify;
mod zone;

use std::{
    env, fmt, fs,
    io::{self, BufWriter, ErrorKind, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, Subcommand};
use serde_json::Value;

use crate::{
    control::{
        Envelope, Failure, FailureKind,
        client::{Client, ClientError},
    },
    policy::posture::Severity,
};

/// Stops credential attacks on login-tier hosts before a password is checked.
#[derive(Debug, Parser)]
#[command(name = "edgeward", version, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    /// Print facts as JSON
    #[arg(long, global = true)]
    json: bool,
    /// The agent's control socket [default: $EDGEWARD_SOCKET, the configuration's, or
    /// /run/edgeward/control.sock]
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The configuration [default for run and check: /etc/edgeward/edgeward.toml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Run the agent in the foreground
    Run(run::Run),
    /// Check the configuration and its files; exit 78 on mistakes
    Check,
    /// How the agent is: mode, interfaces, what is in force, what was refused
    Status,
    /// Show the mode, set it, or confirm it
    Mode(mode::Mode),
    /// Give a prefix a reputation that is refused in block mode
    Block(block::Block),
    /// Take an operator's block or exemption back
    Unblock(block::Unblock),
    /// Carve a prefix out of every reputation, list and rate limit
    Exempt(block::Exempt),
    /// The decisions in force
    List(list::List),
    /// The zones and their networks
    Zone(zone::Zone),
    /// Reputation from outside
    Feed(feed::Feed),
    /// The System Log on its way to where a team looks
    Stream(stream::Stream),
    /// How an address is judged, step by step
    Explain(explain::Explain),
    /// Compare what should be enforced with what the kernel holds; exit 1 on a difference
    Verify,
    /// Which services are under attack, or say that they are or are not
    Attack(attack::Attack),
    /// What is wrong with the set-up; the exit code says how bad it is
    Health(health::Health),
    /// What has gathered over time
    Report(report::Report),
    /// The latest events
    Events(events::Events),
    /// Search the System Log
    Log(log::Log),
    /// Run detection over a log of the past: what block mode would have refused
    Replay(replay::Replay),
    /// Learn from labelled logs what attacks look like
    Train(train::Train),
    /// Tokens for the HTTP API
    Token(token::Token),
    /// Read the configuration and its files again
    Reload,
    /// Take the programs off the interfaces: the one way to stop enforcement
    Detach,
}

/// What a command works with.
struct Context<'a> {
    json: bool,
    socket: Option<PathBuf>,
    config: Option<PathBuf>,
    /// The present, milliseconds since the Unix epoch, to print times as distances.
    now: u64,
    out: &'a mut dyn Write,
}

/// Why a command did not do what it should; decides the exit code.
#[derive(Debug)]
enum Trouble {
    /// The command cannot be meant like this.
    Usage(String),
    /// The agent refused or could not be asked.
    Client(ClientError),
    /// The configuration has mistakes, which are printed already.
    Configuration(String),
    /// Anything else, in a sentence.
    Failed(String),
    /// The facts are printed, and they are bad.
    Difference,
    /// The same, and how bad.
    Posture(Severity),
    /// The output could not be written.
    Output(io::Error),
}

type Outcome = Result<(), Trouble>;

/// Reads the command line, does it and gives the exit code.
#[must_use]
pub fn main() -> ExitCode {
    // Prints help and usage mistakes itself; 0 and 2 are its codes for them.
    let cli = Cli::parse();
    let json = cli.json;
    let mut out = BufWriter::new(io::stdout().lock());
    let outcome = execute(cli, &mut out).and_then(|()| out.flush().map_err(Trouble::Output));
    let Err(trouble) = outcome else {
        return ExitCode::SUCCESS;
    };
    // Facts that were printed before the trouble still count.
    drop(out.flush());
    report(&trouble, json);
    ExitCode::from(trouble.code())
}

fn execute(cli: Cli, out: &mut dyn Write) -> Outcome {
    let context = &mut Context {
        json: cli.json,
        socket: cli.socket,
        config: cli.config,
        now: output::now(),
        out,
    };
    match cli.command {
        Subcommands::Run(run) => run.execute(context),
        Subcommands::Check => check::execute(context),
        Subcommands::Status => status::execute(context),
        Subcommands::Mode(mode) => mode.execute(context),
        Subcommands::Block(block) => block.execute(context),
        Subcommands::Unblock(unblock) => unblock.execute(context),
        Subcommands::Exempt(exempt) => exempt.execute(context),
        Subcommands::List(list) => list.execute(context),
        Subcommands::Zone(zone) => zone.execute(context),
        Subcommands::Feed(feed) => feed.execute(context),
        Subcommands::Stream(stream) => stream.execute(context),
        Subcommands::Explain(explain) => explain.execute(context),
        Subcommands::Verify => verify::execute(context),
        Subcommands::Attack(attack) => attack.execute(context),
        Subcommands::Health(health) => health.execute(context),
        Subcommands::Report(report) => report.execute(context),
        Subcommands::Events(events) => events.execute(context),
        Subcommands::Log(log) => log.execute(context),
        Subcommands::Replay(replay) => replay.execute(context),
        Subcommands::Train(train) => train.execute(context),
        Subcommands::Token(token) => token.execute(context),
        Subcommands::Reload => simple::reload(context),
        Subcommands::Detach => simple::detach(context),
    }
}

/// Says what went wrong, on stderr: a sentence, or JSON for a program that asked for it.
fn report(trouble: &Trouble, json: bool) {
    let text = match trouble {
        Trouble::Difference | Trouble::Posture(_) => return,
        // `edgeward list | head` is no mistake of anybody's.
        Trouble::Output(error) if error.kind() == ErrorKind::BrokenPipe => return,
        Trouble::Client(ClientError::Refused(failure)) if json => {
            serde_json::json!({ "error": failure }).to_string()
        }
        other if json => {
            serde_json::json!({ "error": Failure::new(other.kind(), other.to_string()) })
                .to_string()
        }
        other => format!("edgeward: {other}"),
    };
    // With stderr gone there is nobody left to tell.
    drop(writeln!(io::stderr(), "{text}"));
}

impl Context<'_> {
    /// Sends a request and waits as long as most commands ever take.
    fn ask(&self, request: impl Into<Envelope>) -> Result<Value, Trouble> {
        self.ask_patiently(request, PATIENCE)
    }

    fn ask_patiently(
        &self,
        request: impl Into<Envelope>,
        patience: Duration,
    ) -> Result<Value, Trouble> {
        self.connect()?
            .request(&request.into(), patience)
            .map_err(Trouble::Client)
    }

    fn connect(&self) -> Result<Client, Trouble> {
        Client::connect(&self.socket_path()?).map_err(Trouble::Client)
    }

    fn config_path(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new(CONFIG_DEFAULT))
    }

    /// What was typed beats the environment, which beats the configuration named on the command line.
    fn socket_path(&self) -> Result<PathBuf, Trouble> {
        if let Some(path) = &self.socket {
            return Ok(path.clone());
        }
        if let Some(path) = env::var_os(SOCKET_VARIABLE).filter(|path| !path.is_empty()) {
            return Ok(path.into());
        }
        match &self.config {
            None => Ok(PathBuf::from(SOCKET_DEFAULT)),
            Some(file) => socket_of(file),
        }
    }

    /// Prints facts as JSON if asked for; whether it did.
    fn printed_json(&mut self, data: &Value) -> Result<bool, Trouble> {
        if self.json {
            self.line(format_args!("{data}"))?;
        }
        Ok(self.json)
    }

    fn line(&mut self, text: fmt::Arguments<'_>) -> Outcome {
        writeln!(self.out, "{text}").map_err(Trouble::Output)
    }

    fn text(&mut self, text: &str) -> Outcome {
        self.out.write_all(text.as_bytes()).map_err(Trouble::Output)
    }
}

/// The socket of a configuration.
fn socket_of(file: &Path) -> Result<PathBuf, Trouble> {
    path_of(file, "socket", SOCKET_DEFAULT)
}

/// One path of the configuration: reading all of it, with a million networks, would be slow.
fn path_of(file: &Path, key: &str, default: &str) -> Result<PathBuf, Trouble> {
    let mistake = |what: String| Trouble::Configuration(format!("{}: {what}", file.display()));
    let text = fs::read_to_string(file).map_err(|error| mistake(error.to_string()))?;
    let table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| mistake(error.to_string()))?;
    match table.get(key) {
        None => Ok(PathBuf::from(default)),
        Some(toml::Value::String(path)) => Ok(PathBuf::from(path)),
        Some(_) => Err(mistake(format!("{key}: must be a path in quotes"))),
    }
}

/// A duration above zero, in milliseconds, as an argument.
fn lifetime(text: &str) -> Result<u64, String> {
    let milliseconds = crate::config::duration::parse(text)?.as_millis();
    match u64::try_from(milliseconds) {
        Ok(0) => Err("must be above zero".to_owned()),
        Ok(milliseconds) => Ok(milliseconds),
        Err(_) => Err("is too long".to_owned()),
    }
}

/// Data of the agent as a report. A neighbouring version may say more, or less.
fn read<T: serde::de::DeserializeOwned>(data: Value) -> Result<T, Trouble> {
    serde_json::from_value(data).map_err(|error| {
        Trouble::Failed(format!(
            "the agent's answer was not understood ({error}); is it of another version? --json prints it \
             as it is"
        ))
    })
}

impl Trouble {
    const fn kind(&self) -> FailureKind {
        match self {
            Self::Usage(_) => FailureKind::Usage,
            Self::Configuration(_) => FailureKind::Configuration,
            Self::Client(ClientError::Refused(failure)) => failure.kind,
            Self::Client(ClientError::Forbidden { .. }) => FailureKind::Denied,
            Self::Client(_) => FailureKind::Unavailable,
            Self::Failed(_) | Self::Difference | Self::Posture(_) | Self::Output(_) => {
                FailureKind::Internal
            }
        }
    }

    /// The exit codes of sysexits.h where one fits.
    fn code(&self) -> u8 {
        if let Self::Output(error) = self
            && error.kind() == ErrorKind::BrokenPipe
        {
            return 0;
        }
        if let Self::Posture(worst) = self {
            return health::code(*worst);
        }
        match self.kind() {
            FailureKind::Usage => 2,
            FailureKind::Unavailable => 69,
            FailureKind::Denied => 77,
            FailureKind::Configuration => 78,
            FailureKind::NotFound
            | FailureKind::Conflict
            | FailureKind::Protected
            | FailureKind::Internal => 1,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Configuration(text) | Self::Failed(text) => f.write_str(text),
            Self::Client(error) => error.fmt(f),
            Self::Difference => f.write_str("there are differences"),
            Self::Posture(_) => f.write_str("there is something to do"),
            Self::Output(error) => write!(f, "the output could not be written: {error}"),
        }
    }
}

const EXIT_CODES: &str = "Exit codes: 0 done; 1 failed, or `verify` found a difference; 2 usage; 10 to 13 \
                          `health` found a low, moderate, high or critical task; 69 no agent answers; 77 \
                          not allowed; 78 mistakes in the configuration.";
const CONFIG_DEFAULT: &str = "/etc/edgeward/edgeward.toml";
const SOCKET_DEFAULT: &str = "/run/edgeward/control.sock";
const SOCKET_VARIABLE: &str = "EDGEWARD_SOCKET";
const PATIENCE: Duration = Duration::from_secs(15);
/// For commands that read or compare everything.
const LONG_PATIENCE: Duration = Duration::from_secs(130);
