//! The agent's life against the real kernel: whatever happens to it, nothing that is blocked gets through and
//! nothing that is exempt or a proxy is lost.
//!
//! Promises about packets are counted over continuous probing (`lab::Watch`); no assertion is about time.

#![expect(
    clippy::indexing_slicing,
    reason = "JSON values only: a missing key is null, not a panic"
)]

mod ends;
mod lists;
mod privileges;
mod refusals;
mod reload;
mod restart;
mod state;
mod world;

fn main() {
    lab::run_tests(
        [
            restart::tests(),
            lists::tests(),
            state::tests(),
            ends::tests(),
            refusals::tests(),
            reload::tests(),
            privileges::tests(),
        ]
        .concat(),
    );
}
