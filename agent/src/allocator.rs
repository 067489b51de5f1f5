//! What the allocator keeps back: as little as does not slow the gateway down.

use libmimalloc_sys::{mi_collect, mi_option_set, mi_option_t};

/// Memory that was freed goes back to the kernel soon, and no huge pages: a heap for each thread, in pages of 2 MiB, is
/// most of what the agent would have resident.
pub(crate) fn give_back() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!("huge pages stay: {error}");
    }
    // SAFETY: an option is a number that any thread may set at any time, and collecting touches only what is free. What
    // was freed until now has the old delay, which holds up everything after it: it is given back at once.
    unsafe {
        mi_option_set(PURGE_DELAY, PURGE_DELAY_MS);
        mi_collect(true);
    }
}

/// `mi_option_purge_delay` of `mimalloc.h`, which the crate does not name: milliseconds until freed pages are given back.
const PURGE_DELAY: mi_option_t = 15;
/// A second is its own default: with a burst in each thread's heap that is tens of megabytes.
const PURGE_DELAY_MS: std::ffi::c_long = 1;
