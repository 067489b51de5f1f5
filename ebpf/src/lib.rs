//! What the kernel and the agent share: layouts ([`abi`]), the frame parser ([`frame`]), the verdict
//! ([`verdict`]), the fast look-up structures ([`lookup`]) and the TCP reset ([`reset`]).
//!
//! Everything in here is `no_std`, allocates nothing and compiles for both targets: the code that the
//! verifier accepts is the code that the unit tests, the fuzzers and the agent run.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod abi;
pub mod frame;
pub mod lookup;
pub mod reset;
pub mod verdict;
