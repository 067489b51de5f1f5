//! Edgeward's agent as a library: the binary and the kernel tests both stand on it.

mod agent;
#[cfg_attr(
    not(test),
    expect(dead_code, unused_imports, reason = "not served by the agent yet")
)]
mod authz;
pub mod cli;
mod clock;
pub mod config;
pub mod control;
pub mod datapath;
#[expect(
    dead_code,
    reason = "the gateway and the decision endpoints are on their way"
)]
mod gate;
mod keeper;
pub mod policy;
mod privileges;
mod random;
pub mod store;

pub use agent::run;
