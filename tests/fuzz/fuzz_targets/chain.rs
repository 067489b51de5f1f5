//! Header lines of any bytes: a canonical client outside the trusted set unless nobody else is there, which nothing to
//! the left of it changes.
#![no_main]

#[path = "../../tests/common/chains.rs"]
#[expect(dead_code, reason = "the other targets' bodies")]
mod chains;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| chains::chain(bytes));
