//! What a log is written in, and how to make a reader of it.

use super::{
    AccessLog, Authelia, Expression, JsonFields, JsonLines, Keycloak, LogFormat, Maker, RegexLines,
    Routes, Sshd, Words,
};

/// A format with everything that it needs; a reader can be made of it at any time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipe {
    /// OpenSSH's server in syslog or journald output.
    Sshd,
    /// nginx or Apache, combined format.
    Access(Routes),
    /// Keycloak's events.
    Keycloak,
    /// Authelia.
    Authelia,
    /// One JSON object a line.
    Json(JsonFields),
    /// Lines by an expression, and what its words of the outcome mean.
    Regex(Expression, Words),
}

impl Recipe {
    /// A reader of a log that was last written at `latest_ms` (for times without a year).
    #[must_use]
    pub fn reader(&self, maker: Maker, latest_ms: u64) -> Box<dyn LogFormat + Send> {
        match self {
            Self::Sshd => Box::new(Sshd::new(maker, latest_ms)),
            Self::Access(routes) => Box::new(AccessLog::new(maker, routes.clone())),
            Self::Keycloak => Box::new(Keycloak::new(maker)),
            Self::Authelia => Box::new(Authelia::new(maker)),
            Self::Json(fields) => Box::new(JsonLines::new(maker, fields.clone(), latest_ms)),
            Self::Regex(expression, words) => Box::new(RegexLines::new(
                maker,
                expression.clone(),
                words.clone(),
                latest_ms,
            )),
        }
    }
}
