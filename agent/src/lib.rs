//! Edgeward's agent as a library: the binary and the kernel tests both stand on it.

mod agent;
pub mod cli;
pub mod config;
pub mod control;
pub mod datapath;
mod keeper;
pub mod policy;
mod privileges;
pub mod store;

pub use agent::run;
