//! The body of a call that reports outcomes, of any bytes: signals or reasons, never a panic, within the limits.
#![no_main]

#[path = "../../tests/common/logs.rs"]
#[expect(dead_code, reason = "the other target's body")]
mod logs;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| logs::reported(bytes));
