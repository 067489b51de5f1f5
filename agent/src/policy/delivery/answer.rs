//! What a receiver can say to a flight of events, whatever it speaks.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A receiver's answer. `what` is for a person and holds nothing of a secret or a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It has all of them.
    Accepted,
    /// It has taken the flight and thrown some of it away, and does not say which: nothing is sent again.
    AcceptedBut {
        /// How many.
        rejected: u64,
        what: String,
    },
    /// All were handed over, and whether they arrive shows later: the sink confirms.
    Handed,
    /// It has some; those at the indices of `failed` not.
    Partly {
        /// Ascending, from 0.
        failed: Vec<usize>,
        what: String,
        after: Option<Duration>,
    },
    /// Not now: the network, 408, 429, 5xx. It may have taken some all the same.
    Retry {
        what: String,
        /// How long it asks to be left alone.
        after: Option<Duration>,
    },
    /// The connection is gone, and with it everything that was handed over and not confirmed.
    Broken { what: String },
    /// Nothing will be taken until somebody changes something.
    Paused {
        why: Pause,
        what: String,
        after: Option<Duration>,
    },
    /// Fewer at a time (413).
    TooLarge { what: String },
    /// The event at `index` will never be taken.
    Poison {
        index: usize,
        /// Whether those before it were taken all the same.
        earlier_taken: bool,
        what: String,
    },
    /// Something in it will never be taken, and nobody says what (400).
    Refused { what: String },
}

/// Why a stream waits for somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Pause {
    /// The secret is not (any more) the right one: 401, 403.
    Unauthorized,
    /// It is no receiver for this: 404, a redirect, …
    Misdirected,
    /// It refuses every event.
    Refused,
    /// The stream cannot be set up: a file that it needs cannot be read, …
    Unusable,
}
