//! Per-CPU counters.

use super::maps::COUNTERS;

/// Adds one frame of `bytes` to an element of the counter map.
#[inline(always)]
pub(crate) fn count(index: u32, bytes: u64) {
    if let Some(counter) = COUNTERS.get_ptr_mut(index) {
        // SAFETY: an element of this CPU's own array; XDP does not preempt itself on one CPU.
        unsafe {
            (*counter).packets += 1;
            (*counter).bytes += bytes;
        }
    }
}
