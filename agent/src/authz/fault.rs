//! Why a question cannot be judged: a mistake in how the proxy asks, never the client's.

use std::fmt;

/// See the module. The caller then does what it does without an answer, so this is never a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing is served under this path.
    Route,
    /// The service of the endpoint is not in the snapshot (yet).
    Service(String),
    /// Every place for a connection is taken.
    Connections,
    /// A fact that the proxy's configuration must hand over is not there.
    Missing(&'static str, String),
    /// It is there twice, so one of them may be the client's.
    Repeated(&'static str, String),
    /// It is there and makes no sense.
    Unreadable(&'static str, String),
}

impl Fault {
    /// The counter's label.
    pub(super) fn cause(&self) -> &'static str {
        match self {
            Self::Route => "no_route",
            Self::Service(_) => "no_service",
            Self::Connections => "connections",
            Self::Missing(..) => "missing",
            Self::Repeated(..) => "repeated",
            Self::Unreadable(..) => "unreadable",
        }
    }

    /// For callers that speak HTTP. Not 401 or 403: nobody has been judged.
    pub(super) fn status(&self) -> u16 {
        match self {
            Self::Route => 404,
            Self::Service(_) | Self::Connections => 503,
            Self::Missing(..) | Self::Repeated(..) | Self::Unreadable(..) => 500,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Route => f.write_str(
                "nothing is served under this path; a proxy asks for /check, an application reports to /v1/signals \
                 (see docs/proxies.md and docs/signals.md)",
            ),
            Self::Service(name) => write!(f, "service \"{name}\" is not configured"),
            Self::Connections => {
                f.write_str("too many connections; let the proxy keep fewer of them open")
            }
            Self::Missing(what, place) => write!(
                f,
                "the {what} is missing: the proxy's configuration must set {place} (see docs/proxies.md)"
            ),
            Self::Repeated(what, place) => write!(
                f,
                "{place}, the {what}, occurs more than once: the proxy's configuration must replace it, \
                 not add to it (see docs/proxies.md)"
            ),
            Self::Unreadable(what, place) => write!(
                f,
                "{place} is not a readable {what}: the proxy's configuration sets something else \
                 (see docs/proxies.md)"
            ),
        }
    }
}
