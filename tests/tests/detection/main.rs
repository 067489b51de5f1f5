//! The agent finds attackers by itself: from real servers' logs to drops in the real kernel.
//!
//! No assertion is about time; an attack that is not refused within a bounded number of attempts fails its test.

#![expect(
    clippy::indexing_slicing,
    reason = "JSON values only: a missing key is null, not a panic"
)]

mod asked;
mod attack;
mod log;
mod memory;
mod world;

fn main() {
    lab::run_tests(
        [
            log::tests(),
            memory::tests(),
            attack::tests(),
            asked::tests(),
        ]
        .concat(),
    );
}
