//! The System Log: what was kept of events, and how it is asked for.

pub mod filter;
