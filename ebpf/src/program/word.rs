//! A word that the agent and other CPUs change under the program's hands.

use core::cell::UnsafeCell;

/// A 64-bit word in a map. `core`'s atomics do not compile for this target, and a plain reference would
/// let the compiler assume that nobody else writes.
#[repr(transparent)]
pub(crate) struct Word(UnsafeCell<u64>);

// SAFETY: every access below is one aligned 64-bit load, store or atomic add.
unsafe impl Sync for Word {}

impl Word {
    #[inline(always)]
    pub(crate) const fn new(value: u64) -> Self {
        Self(UnsafeCell::new(value))
    }

    #[inline(always)]
    pub(crate) fn load(&self) -> u64 {
        // SAFETY: valid and aligned; volatile, so it is one load.
        unsafe { self.0.get().read_volatile() }
    }

    #[inline(always)]
    pub(crate) fn store(&self, value: u64) {
        // SAFETY: valid and aligned; volatile, so it is one store.
        unsafe { self.0.get().write_volatile(value) }
    }

    /// Adds one without losing any to another CPU.
    #[inline(always)]
    pub(crate) fn add_one(&self) {
        // SAFETY: valid and aligned; XADD is the kernel's own atomic add (BPF ISA, RFC 9669 5.3).
        unsafe {
            core::arch::asm!(
                "lock *(u64 *)({word} + 0) += {one}",
                word = in(reg) self.0.get(),
                one = in(reg) 1u64,
            );
        }
    }
}
