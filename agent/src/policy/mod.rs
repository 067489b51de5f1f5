//! Pure decisions: no files, sockets, clocks or kernel maps in here.

mod asked;
pub mod classes;
pub mod clock;
pub mod decision;
pub mod explain;
pub mod listing;
pub mod mode;
pub mod nested;
pub mod prefix;
#[cfg(test)]
mod random;
mod standing;
pub mod zone;
