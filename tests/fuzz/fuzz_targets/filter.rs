//! A filter expression of any bytes: read or refused with its place, never a panic.
#![no_main]

#[path = "../../tests/common/filters.rs"]
mod filters;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| filters::filter(bytes));
