//! Where sign-in outcomes come from. Here: log files, one file a format; lines in, signals out.
//!
//! Every reader streams, keeps bounded memory, and never fails as a whole: a line that should tell an
//! outcome and cannot be read is rejected by itself, with a reason.

mod access;
mod authelia;
pub mod compressed;
mod expression;
mod fields;
pub(crate) mod follow;
pub(crate) mod ids;
pub(crate) mod journal;
mod json;
mod keycloak;
pub mod lines;
pub(crate) mod outcomes;
mod recipe;
pub mod reported;
mod routes;
pub(crate) mod sources;
mod sshd;
mod sshd_message;
pub(crate) mod tally;
pub mod time;

use std::{borrow::Cow, net::IpAddr};

pub use access::AccessLog;
pub use authelia::Authelia;
pub use expression::{Expression, RegexLines};
pub use json::{JsonFields, JsonLines, Words};
pub use keycloak::Keycloak;
pub use recipe::Recipe;
pub use routes::{Route, Routes};
pub use sshd::Sshd;

use crate::policy::{
    prefix::canonical_address,
    signal::{Flow, Outcome, PseudonymKey, Signal},
};

/// A log format: lines in, signals out.
pub trait LogFormat {
    /// Reads one line, without its end. A line that is about something else is read and tells nothing.
    ///
    /// # Errors
    /// The line should tell something and cannot be read.
    fn read(&mut self, line: &str, found: &mut Vec<Signal>) -> Result<(), Rejection>;

    /// The log was last written at `latest_ms` (for times without a year); said now and then of a log that goes on.
    fn written(&mut self, _latest_ms: u64) {}

    /// The log has ended: what waited for a further line is told now.
    fn finish(&mut self, _found: &mut Vec<Signal>) {}
}

/// Why a line was not read, for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection(Cow<'static, str>);

/// What all formats need to make signals.
#[derive(Clone, Debug)]
pub struct Maker {
    /// Names become pseudonyms under it.
    pub key: PseudonymKey,
    /// The service that the log is of.
    pub service: u16,
}

/// What a line told, in its own words.
#[derive(Clone, Copy, Debug)]
struct Told<'a> {
    time_ms: u64,
    client: IpAddr,
    flow: Flow,
    outcome: Outcome,
    user: Option<&'a str>,
    agent: Option<&'a str>,
    path: Option<&'a str>,
}

impl Maker {
    fn signal(&self, told: Told<'_>) -> Signal {
        let user = told.user.filter(|user| !matches!(*user, "" | "-"));
        let agent = told.agent.filter(|agent| !agent.is_empty());
        let path = told.path.unwrap_or_default();
        Signal {
            time_ms: told.time_ms,
            client: canonical_address(told.client),
            service: self.service,
            flow: told.flow,
            outcome: told.outcome,
            user: user.map(|user| self.key.user(user.as_bytes())),
            agent: agent.map(|agent| self.key.agent(agent.as_bytes(), path.as_bytes())),
            asn: None,
        }
    }
}

impl Rejection {
    const fn new(reason: &'static str) -> Self {
        Self(Cow::Borrowed(reason))
    }
}

impl std::fmt::Display for Rejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// An address as logs write it: brackets, a zone id and a port are taken off.
fn address(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(canonical_address(address));
    }
    let text = text.trim();
    let inner = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        // One colon is a port behind IPv4, several are IPv6.
        None if text.matches(':').count() == 1 => text.split_once(':')?.0,
        None => text,
    };
    let inner = inner.split_once('%').map_or(inner, |(address, _)| address);
    inner.parse::<IpAddr>().ok().map(canonical_address)
}

/// Reads a line as it stands in a log.
///
/// Bytes that are no UTF-8 are replaced: whoever can put one into a log line must not vanish from it by that.
///
/// # Errors
/// Why it was not read. What is in parentheses names a place, the sentence before it is one of a closed set.
pub fn read_line(
    bytes: &[u8],
    format: &mut dyn LogFormat,
    found: &mut Vec<Signal>,
) -> Result<(), Cow<'static, str>> {
    // A byte order mark is no part of the first line.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => format
            .read(text, found)
            .map_err(|reason| reason.to_string().into()),
        Err(error) => {
            if bytes.contains(&0) {
                return Err("holds binary data".into());
            }
            let text = String::from_utf8_lossy(bytes);
            let at = error.valid_up_to();
            format
                .read(&text, found)
                .map_err(|reason| format!("{reason} (and it is no UTF-8 from byte {at} on)").into())
        }
    }
}

const NO_ADDRESS: Rejection = Rejection::new("the client is no IP address");
const NO_TIME: Rejection = Rejection::new("the time cannot be read");

#[cfg(test)]
mod robustness;
#[cfg(test)]
mod sshd_tests;
#[cfg(test)]
mod tests;
