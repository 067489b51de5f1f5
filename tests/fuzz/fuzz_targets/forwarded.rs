//! `Forwarded` of any bytes: as for every chain, and a proxy's own element is read whatever stands before it.
#![no_main]

#[path = "../../tests/common/chains.rs"]
#[expect(dead_code, reason = "the other targets' bodies")]
mod chains;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| chains::forwarded(bytes));
