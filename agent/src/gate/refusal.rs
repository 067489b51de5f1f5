//! What a refused client is told: the only place with status codes for clients.

use std::time::Duration;

use bytes::Bytes;

/// Which form the client takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Html,
    Json,
}

/// The answer to a refused request.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    /// 403 or 429, or what the service says.
    pub(crate) status: u16,
    /// Whole seconds, for `Retry-After`.
    pub(crate) retry_after: Option<Duration>,
    /// The event's id: all that the client learns.
    pub(crate) event_id: String,
}

impl Wanted {
    /// By `Accept`: JSON where it is preferred over HTML, HTML otherwise.
    pub(crate) fn by_accept(accept: Option<&[u8]>) -> Self {
        let _ = accept;
        Self::Html
    }
}

impl Refusal {
    /// `Content-Type` and body in the wanted form, from the service's own pages where it has some.
    pub(crate) fn body(&self, wanted: Wanted) -> (&'static str, Bytes) {
        match wanted {
            Wanted::Html => ("text/html; charset=utf-8", Bytes::new()),
            Wanted::Json => ("application/json", Bytes::new()),
        }
    }
}
