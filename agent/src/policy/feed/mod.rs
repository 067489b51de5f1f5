//! What a feed says, as pure values: tables of prefixes with score, end and reason, what may go into them,
//! and how two of them differ. Fetching and reading is `crate::feed`.

mod draft;
mod gate;
mod table;
#[cfg(test)]
mod tests;

pub use draft::{Draft, REASON_BYTES_MAX, REASONS_MAX, TooMany};
pub use gate::{Gate, Limits, Refusals, Refused, spared};
pub use table::{Changed, Fact, FeedTable};
