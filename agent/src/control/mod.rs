//! The local control socket: what may be asked, by whom, and how the answers travel.
//!
//! The server decides who may ask (by the kernel's word about the peer, never by what the peer says) and
//! hands requests to the keeper over a bounded channel; it never touches state itself.

pub mod client;
mod connection;
pub mod feed;
mod log;
pub mod protocol;
pub mod report;
pub mod roles;
pub mod server;
pub mod ssh;
#[cfg(test)]
pub(crate) mod tests;
pub mod zones;

pub use feed::EventFeed;
pub use protocol::{
    Command, Envelope, Failure, FailureKind, LogQuery, Peer, ReportKind, Request, Role, Target,
};
pub use roles::Roles;
