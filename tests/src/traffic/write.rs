//! Traffic as logs: JSON lines with labels, nginx's combined format, sshd in syslog.

use std::io::{self, Write};

use super::{Attempt, Flow, Outcome};

/// A form of log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object an attempt, with `label`.
    Json,
    /// nginx, combined.
    Nginx,
    /// sshd, with ISO times.
    Sshd,
}

/// Writes the attempts, in their order.
///
/// # Errors
/// `out` failed.
pub fn write(attempts: &[Attempt], format: Format, out: &mut dyn Write) -> io::Result<()> {
    for (number, attempt) in attempts.iter().enumerate() {
        match format {
            Format::Json => json(attempt, out)?,
            Format::Nginx => nginx(attempt, out)?,
            Format::Sshd => sshd(attempt, number, out)?,
        }
    }
    Ok(())
}

/// Writes the label of each line of a log of this format, as `edgeward train` reads them.
///
/// # Errors
/// `out` failed.
pub fn write_labels(attempts: &[Attempt], format: Format, out: &mut dyn Write) -> io::Result<()> {
    for attempt in attempts {
        if format != Format::Sshd || attempt.flow == Flow::SignIn {
            writeln!(out, "{}", attempt.truth.label())?;
        }
    }
    Ok(())
}

fn json(attempt: &Attempt, out: &mut dyn Write) -> io::Result<()> {
    let outcome = match attempt.outcome {
        Outcome::Success => "success",
        Outcome::Failure => "failure",
        Outcome::UnknownUser => "unknown-user",
    };
    let line = serde_json::json!({
        "time": attempt.time_ms,
        "client": attempt.client.to_string(),
        "user": attempt.user,
        "outcome": outcome,
        "flow": match attempt.flow { Flow::SignIn => "sign-in", Flow::Recovery => "recovery" },
        "agent": attempt.agent,
        "label": attempt.truth.label(),
    });
    writeln!(out, "{line}")
}

fn nginx(attempt: &Attempt, out: &mut dyn Write) -> io::Result<()> {
    let (path, status) = match (attempt.flow, attempt.outcome) {
        (Flow::Recovery, _) => ("/forgot-password", 200),
        (Flow::SignIn, Outcome::Success) => ("/login", 302),
        (Flow::SignIn, Outcome::Failure | Outcome::UnknownUser) => ("/login", 401),
    };
    let (year, month, day) = date(attempt.time_ms);
    let month = usize::try_from(month).unwrap_or(1);
    let month = MONTHS.get(month - 1).unwrap_or(&"Jan");
    let (hour, minute, second, _) = clock(attempt.time_ms);
    writeln!(
        out,
        "{} - - [{day:02}/{month}/{year}:{hour:02}:{minute:02}:{second:02} +0000] \
         \"POST {path} HTTP/1.1\" {status} 512 \"-\" \"{}\"",
        attempt.client, attempt.agent
    )
}

fn sshd(attempt: &Attempt, number: usize, out: &mut dyn Write) -> io::Result<()> {
    if attempt.flow == Flow::Recovery {
        return Ok(());
    }
    let (year, month, day) = date(attempt.time_ms);
    let (hour, minute, second, ms) = clock(attempt.time_ms);
    let what = match attempt.outcome {
        Outcome::Success => "Accepted password for ",
        Outcome::Failure => "Failed password for ",
        Outcome::UnknownUser => "Failed password for invalid user ",
    };
    // Names on hosts have no domain, and CrowdSec reads none that have.
    let user = attempt.user.split('@').next().unwrap_or_default();
    writeln!(
        out,
        "{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}+00:00 login sshd[{number}]: \
         {what}{user} from {} port 40000 ssh2",
        attempt.client
    )
}

fn clock(time_ms: u64) -> (u64, u64, u64, u64) {
    let of_day = time_ms % 86_400_000;
    (
        of_day / 3_600_000,
        of_day / 60_000 % 60,
        of_day / 1_000 % 60,
        of_day % 1_000,
    )
}

/// The date of a moment (Howard Hinnant's `civil_from_days`).
fn date(time_ms: u64) -> (u64, u64, u64) {
    let shifted = time_ms / 86_400_000 + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
