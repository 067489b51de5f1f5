//! What the agent tells others: its log, its numbers, how it is.
//!
//! No assertion is about time.

#![expect(
    clippy::indexing_slicing,
    reason = "JSON values only: a missing key is null, not a panic"
)]

mod attack;
mod health;
mod journal;
mod metrics;
mod sdk;
mod sinks;
mod streams;

fn main() {
    lab::run_tests_needing(
        [
            attack::tests(),
            health::tests(),
            journal::tests(),
            metrics::tests(),
            sdk::tests(),
            sinks::tests(),
            streams::tests(),
        ]
        .concat(),
    );
}
