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

    /// Adds one, by a load and a store: a source that arrives on two CPUs at once may lose a count. An
    /// atomic add would wait for the cache line of every blocked packet, which at a million entries
    /// costs as much as the verdict.
    #[inline(always)]
    pub(crate) fn add_one(&self) {
        self.store(self.load().wrapping_add(1));
    }
}

/// A counter of 32 bits that stays at its end.
#[repr(transparent)]
pub(crate) struct Tally(UnsafeCell<u32>);

// SAFETY: every access below is one aligned 32-bit load or store.
unsafe impl Sync for Tally {}

impl Tally {
    /// [`Word::add_one`], up to what it holds.
    #[inline(always)]
    pub(crate) fn add_one(&self) {
        // SAFETY: valid and aligned; volatile, so it is one load and at most one store.
        unsafe {
            let count = self.0.get().read_volatile();
            if count != u32::MAX {
                self.0.get().write_volatile(count + 1);
            }
        }
    }
}
