//! The text of a learned model, of any bytes: read or refused, never a panic.
#![no_main]

#[path = "../../tests/common/models.rs"]
mod models;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| models::model(bytes));
