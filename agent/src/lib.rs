//! Edgeward's agent as a library: the binary and the kernel tests both stand on it.

mod agent;
mod api;
mod authz;
mod base64;
pub mod cli;
mod clock;
pub mod config;
pub mod control;
pub mod datapath;
mod deferred;
mod detection;
mod feed;
mod forwarders;
mod gate;
mod gateway;
pub mod geo;
mod health;
mod histogram;
pub mod journal;
mod keeper;
mod lapi;
mod life;
mod metrics;
mod moment;
mod observe;
mod origins;
mod outbound;
pub mod policy;
mod privileges;
mod random;
pub mod replay;
pub mod signal;
pub mod store;
mod stream;
pub mod training;

pub use agent::run;
