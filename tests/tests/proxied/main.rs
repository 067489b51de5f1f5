//! Clients behind real proxies: each sort of proxy asks the decision endpoint with the configuration that is shipped
//! for it, and the gateway stands in the path of a real application.

#![expect(
    clippy::indexing_slicing,
    reason = "JSON values only: a missing key is null, not a panic"
)]

mod callers;
mod decisions;
mod gateway;
mod outages;
mod world;

fn main() {
    lab::run_tests_needing([decisions::tests(), outages::tests(), gateway::tests()].concat());
}
