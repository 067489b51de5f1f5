//! Logs of the past, for `replay` and `train`: where they are, what wrote them, and what their fields mean.

use std::{
    fs::File,
    io::{self, BufRead},
    path::Path,
    time::UNIX_EPOCH,
};

use clap::{Args, ValueEnum};

use super::{Outcome, Trouble};
use crate::{
    policy::signal::PseudonymKey,
    random,
    signal::{
        Expression, JsonFields, LogFormat, Maker, Recipe, Route, Routes, Words,
        compressed::decompressed,
    },
};

/// How a log is read.
#[derive(Debug, Args)]
pub(super) struct LogOptions {
    /// What wrote it
    #[arg(long)]
    format: Format,
    /// For nginx and apache, instead of the common sign-in pages: `POST /login success=302 failure=200
    /// [flow=recovery|enrolment]`; several may be given
    #[arg(long = "route", value_name = "ROUTE")]
    routes: Vec<String>,
    /// For json, where facts are found: `time=ts,client=request.ip,user=name,outcome=result,agent=ua,path=url`
    #[arg(long, value_name = "MAP")]
    fields: Option<String>,
    /// For regex: an expression with the groups time and client, and where there are any user, outcome, agent,
    /// path
    #[arg(long, value_name = "REGEX")]
    pattern: Option<String>,
    /// For json and regex, what words of the outcome mean: `success=LOGIN_OK`, `failure=…`, `unknown-user=…`,
    /// `challenge=…`; several may be given
    #[arg(long = "outcome", value_name = "MEANING=WORD")]
    outcomes: Vec<String>,
}

/// What wrote the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// OpenSSH's server in syslog or journald output
    Sshd,
    /// nginx, combined format
    Nginx,
    /// Apache, combined format
    Apache,
    /// Keycloak's events
    Keycloak,
    /// Authelia
    Authelia,
    /// One JSON object a line (--fields)
    Json,
    /// Anything (--pattern)
    Regex,
}

impl LogOptions {
    /// An option of another format is a mistake, not a wish to be passed over.
    pub(super) fn check(&self) -> Outcome {
        let is_access = matches!(self.format, Format::Nginx | Format::Apache);
        let has_words = matches!(self.format, Format::Json | Format::Regex);
        for (given, fits, name) in [
            (!self.routes.is_empty(), is_access, "--route"),
            (
                self.fields.is_some(),
                self.format == Format::Json,
                "--fields",
            ),
            (
                self.pattern.is_some(),
                self.format == Format::Regex,
                "--pattern",
            ),
            (!self.outcomes.is_empty(), has_words, "--outcome"),
        ] {
            if given && !fits {
                return Err(Trouble::Usage(format!(
                    "{name} does not go with this --format"
                )));
            }
        }
        Ok(())
    }

    /// Nothing sees requests of what wrote it before they are answered.
    pub(super) fn is_direct(&self) -> bool {
        self.format == Format::Sshd
    }

    /// A reader; times without a year are before `written_ms`.
    pub(super) fn reader(&self, written_ms: u64) -> Result<Box<dyn LogFormat + Send>, Trouble> {
        let secret = || random::secret().map_err(|error| Trouble::Failed(format!("{error:#}")));
        let maker = Maker {
            key: PseudonymKey::new(secret()?, secret()?),
            service: 0,
        };
        let mut words = Words::default();
        for outcome in &self.outcomes {
            words.add(outcome).map_err(usage("--outcome"))?;
        }
        Ok(self.recipe(words)?.reader(maker, written_ms))
    }

    fn recipe(&self, words: Words) -> Result<Recipe, Trouble> {
        Ok(match self.format {
            Format::Sshd => Recipe::Sshd,
            Format::Nginx | Format::Apache => Recipe::Access(self.routes()?),
            Format::Keycloak => Recipe::Keycloak,
            Format::Authelia => Recipe::Authelia,
            Format::Json => {
                let fields = self.fields.as_deref().unwrap_or_default();
                Recipe::Json(JsonFields::parse(fields, words).map_err(usage("--fields"))?)
            }
            Format::Regex => {
                let missing = "--format regex needs --pattern with the groups time and client";
                let pattern = self
                    .pattern
                    .as_deref()
                    .ok_or_else(|| Trouble::Usage(missing.to_owned()))?;
                let expression = Expression::parse(pattern).map_err(usage("--pattern"))?;
                Recipe::Regex(expression, words)
            }
        })
    }

    fn routes(&self) -> Result<Routes, Trouble> {
        if self.routes.is_empty() {
            return Ok(Routes::default());
        }
        let routes: Result<Vec<Route>, String> = self
            .routes
            .iter()
            .map(|route| Route::parse(route))
            .collect();
        routes.and_then(Routes::new).map_err(usage("--route"))
    }
}

/// A log, and when it was last written (for times without a year).
pub(super) fn open(path: &Path, now: u64) -> Result<(Box<dyn BufRead + Send>, u64), Trouble> {
    if path == Path::new("-") {
        let input = decompressed(io::stdin()).map_err(|error| unreadable(path, &error))?;
        return Ok((input, now));
    }
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let metadata = file.metadata().map_err(|error| unreadable(path, &error))?;
    let written = metadata.modified().ok();
    let written = written
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .and_then(|since| u64::try_from(since.as_millis()).ok());
    let input = decompressed(file).map_err(|error| unreadable(path, &error))?;
    Ok((input, written.unwrap_or(now)))
}

/// What it is called.
pub(super) fn name(path: &Path) -> String {
    if path == Path::new("-") {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    }
}

/// Why it cannot be read.
pub(super) fn unreadable(path: &Path, error: &io::Error) -> Trouble {
    Trouble::Failed(match error.kind() {
        io::ErrorKind::Unsupported => format!("{} {error}", name(path)),
        _ => format!("{} cannot be read: {error}", name(path)),
    })
}

fn usage(option: &'static str) -> impl Fn(String) -> Trouble {
    move |what| Trouble::Usage(format!("{option}: {what}"))
}
