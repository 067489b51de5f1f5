//! Where requests are counted: a table of a fixed size, in shards with a lock each.

use std::{
    hash::{DefaultHasher, Hash, Hasher as _},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::LimiterReport;

/// All counts.
#[derive(Debug)]
pub(super) struct Table {
    seed: u64,
    shards: Box<[Mutex<Box<[Set]>>]>,
    displaced: AtomicU64,
    uncounted: AtomicU64,
}

/// A few places, one of which a key must take.
#[derive(Clone, Copy, Debug, Default)]
struct Set([Slot; WAYS]);

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slot {
    /// 0 is empty.
    key: u64,
    /// End of the window, milliseconds since boot.
    pub(super) ends_ms: u64,
    /// Requests in the window.
    pub(super) count: u32,
    /// Requests that one window may have.
    pub(super) most: u32,
    pub(super) in_progress: u32,
}

impl Table {
    pub(super) fn new(seed: u64, capacity: usize) -> Self {
        let sets = capacity.div_ceil(WAYS).clamp(SHARDS, SETS_MAX);
        let sets = sets.checked_next_power_of_two().unwrap_or(SETS_MAX);
        let shard = || Mutex::new(vec![Set::default(); sets / SHARDS].into_boxed_slice());
        Self {
            seed,
            shards: (0..SHARDS).map(|_| shard()).collect(),
            displaced: AtomicU64::new(0),
            uncounted: AtomicU64::new(0),
        }
    }

    pub(super) fn report(&self) -> LimiterReport {
        let slots = self.shards.iter().map(|shard| lock(shard).len() * WAYS);
        LimiterReport {
            displaced: self.displaced.load(Ordering::Relaxed),
            uncounted: self.uncounted.load(Ordering::Relaxed),
            capacity: u64::try_from(slots.sum::<usize>()).unwrap_or(u64::MAX),
        }
    }

    pub(super) fn went_uncounted(&self) {
        self.uncounted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn hash(&self, what: impl Hash) -> u64 {
        // The seed comes first, so that what follows cannot be chosen to collide without knowing it.
        let mut hasher = DefaultHasher::new();
        self.seed.hash(&mut hasher);
        what.hash(&mut hasher);
        hasher.finish()
    }

    pub(super) fn set(&self, key: u64) -> Guarded<'_> {
        let (shard, index) = (low(key) % SHARDS, low(key >> 16));
        Guarded {
            sets: self.shards.get(shard).map(lock),
            index,
        }
    }

    pub(super) fn give_back(&self, key: u64) {
        if let Some(slot) = self.set(key).find(key) {
            slot.in_progress = slot.in_progress.saturating_sub(1);
        }
    }
}

/// A set within its locked shard.
pub(super) struct Guarded<'a> {
    sets: Option<MutexGuard<'a, Box<[Set]>>>,
    index: usize,
}

impl Guarded<'_> {
    fn slots(&mut self) -> &mut [Slot] {
        let index = self.index;
        let Some(sets) = &mut self.sets else {
            return &mut [];
        };
        let count = sets.len().max(1);
        match sets.get_mut(index % count) {
            Some(set) => &mut set.0,
            None => &mut [],
        }
    }

    fn find(&mut self, key: u64) -> Option<&mut Slot> {
        self.slots().iter_mut().find(|slot| slot.key == key)
    }

    /// The key's place, made free if need be.
    pub(super) fn slot(&mut self, key: u64, now_ms: u64, table: &Table) -> Option<&mut Slot> {
        let known = self.slots().iter().position(|slot| slot.key == key);
        if let Some(index) = known {
            return self.slots().get_mut(index);
        }
        let victim = self
            .slots()
            .iter_mut()
            .filter(|slot| slot.in_progress == 0)
            .filter(|slot| slot.ends_ms <= now_ms || slot.count < slot.most)
            .min_by_key(|slot| {
                let live = slot.ends_ms > now_ms;
                (live, if live { slot.count } else { 0 })
            })?;
        if victim.key != 0 && victim.ends_ms > now_ms {
            table.displaced.fetch_add(1, Ordering::Relaxed);
        }
        *victim = Slot {
            key,
            ..Slot::default()
        };
        Some(victim)
    }
}

fn lock(shard: &Mutex<Box<[Set]>>) -> MutexGuard<'_, Box<[Set]>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(clippy::cast_possible_truncation, reason = "picks one of few")]
const fn low(bits: u64) -> usize {
    bits as u32 as usize
}

/// Places of a set.
const WAYS: usize = 8;
/// Locks; a power of two.
const SHARDS: usize = 64;
/// Most sets: 256 MiB.
const SETS_MAX: usize = 1 << 20;
