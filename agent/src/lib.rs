//! Edgeward's agent as a library: the binary and the kernel tests both stand on it.

pub mod cli;
pub mod config;
pub mod control;
pub mod datapath;
pub mod policy;
pub mod store;
