//! Bodies of any bytes, under any type: a user that does not depend on where the body is cut, and never a panic.
#![no_main]

#[path = "../../tests/common/sign_ins.rs"]
mod sign_ins;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| sign_ins::body(bytes));
