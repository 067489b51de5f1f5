//! PROXY protocol of any bytes: whole headers or none, within the limit, never a panic.
#![no_main]

#[path = "../../tests/common/chains.rs"]
#[expect(dead_code, reason = "the other targets' bodies")]
mod chains;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| chains::proxy_protocol(bytes));
