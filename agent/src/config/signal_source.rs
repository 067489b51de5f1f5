//! `[[signal]]`: logs in which sign-ins and their outcomes are found.

use std::path::PathBuf;

use crate::signal::Recipe;

/// A log that is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignalSource {
    /// Unique among these; under it the agent remembers how far it has read.
    pub name: String,
    /// The service whose sign-ins it tells of; `None` where there is no service.
    pub service: Option<String>,
    /// Where the log is.
    pub place: SignalPlace,
    /// What it is written in.
    pub format: SignalFormat,
    /// The same with its options.
    pub recipe: Recipe,
    /// Where reading begins the first time.
    pub start: SignalStart,
}

/// Where a log is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignalPlace {
    /// A file, followed over its rotation.
    File(PathBuf),
    /// Units in journald, at least one.
    Journal(Vec<String>),
}

/// What a log is written in, by the program that writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalFormat {
    /// OpenSSH's server.
    Sshd,
    /// nginx, combined format.
    Nginx,
    /// Apache, combined format.
    Apache,
    /// Keycloak's events.
    Keycloak,
    /// Authelia.
    Authelia,
    /// One JSON object a line.
    Json,
    /// Anything, by an expression.
    Regex,
}

/// Where reading begins as long as nothing is known of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SignalStart {
    /// At its end: what was written before is past.
    #[default]
    End,
    /// At its beginning.
    Beginning,
}

impl SignalFormat {
    /// The words of the configuration.
    pub const NAMED: [(&'static str, Self); 7] = [
        ("sshd", Self::Sshd),
        ("nginx", Self::Nginx),
        ("apache", Self::Apache),
        ("keycloak", Self::Keycloak),
        ("authelia", Self::Authelia),
        ("json", Self::Json),
        ("regex", Self::Regex),
    ];

    /// The word of the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        let named = Self::NAMED.iter().find(|(_, format)| *format == self);
        named.map_or("", |(name, _)| name)
    }
}

impl SignalStart {
    /// The words of the configuration.
    pub const NAMED: [(&'static str, Self); 2] =
        [("end", Self::End), ("beginning", Self::Beginning)];

    /// The word of the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        let named = Self::NAMED.iter().find(|(_, start)| *start == self);
        named.map_or("", |(name, _)| name)
    }
}
