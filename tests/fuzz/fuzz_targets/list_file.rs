//! A list file of any bytes: networks that are canonical and sorted, the rest counted, never a panic.
#![no_main]

use edgeward::config::{Networks, list_file};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut networks = Networks::default();
    if list_file::scan(bytes, &mut networks).is_err() {
        return;
    }
    let all: Vec<_> = networks.iter().collect();
    let again = Networks::from_networks(all.iter().copied());
    assert!(all.iter().all(|network| again.lists(network)));
    assert!(all.iter().all(|network| network.trunc() == *network));
});
