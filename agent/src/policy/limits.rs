//! Rate limits of requests: fixed windows and requests in progress, per client, in bounded memory.

use std::time::Duration;

/// What the limits say of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limited {
    /// Name of the limit that is exceeded.
    pub limit: String,
    /// Whether it refuses (`enforce`) or only says so (`preview`).
    pub enforced: bool,
    /// When the next request may pass.
    pub retry_after: Duration,
}
