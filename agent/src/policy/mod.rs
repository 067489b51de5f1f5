//! Pure decisions: no files, sockets, clocks or kernel maps in here.

mod asked;
pub mod chain;
pub mod classes;
pub mod clock;
pub mod decision;
pub mod explain;
pub mod explain_request;
pub mod limits;
pub mod listing;
pub mod mode;
pub mod nested;
pub mod path;
pub mod prefix;
#[cfg(test)]
mod random;
pub mod request;
pub mod snapshot;
mod standing;
pub mod zone;
