//! Pure decisions: no files, sockets, clocks or kernel maps in here.

mod asked;
pub mod attack;
pub mod chain;
pub mod classes;
pub mod clock;
pub mod decision;
pub mod defence;
pub(crate) mod delivery;
pub mod detect;
pub mod explain;
pub mod explain_request;
pub mod feed;
pub mod impact;
pub mod limits;
pub mod listing;
pub mod mode;
pub mod model;
pub mod names;
pub mod nested;
pub mod path;
pub mod posture;
pub mod prefix;
#[cfg(test)]
pub(crate) mod random;
pub mod reputation;
pub mod request;
pub mod sign_in;
pub mod signal;
pub mod snapshot;
mod standing;
pub mod suspects;
pub mod zone;
