//! Exact entries in arrays of buckets: the agent's side of [`edgeward_ebpf::lookup`].
//!
//! Works on any slice of atomics, so the unit tests run it without a kernel. There is one writer; the
//! program reads at the same time, so every change is ordered: a key before its meta word, a meta word
//! cleared before its key goes.

use std::{
    marker::PhantomData,
    sync::atomic::{
        AtomicU64,
        Ordering::{Relaxed, Release},
    },
};

use edgeward_ebpf::{
    abi::StashKey,
    lookup::{
        BUCKET4_BYTES, BUCKET6_BYTES, Kind4, Meta, SHIFT4_MAX, SHIFT4_MIN, SHIFT6_MAX, SHIFT6_MIN,
        SLOTS4, SLOTS6, bucket6, hash6, length_of, place4, slot4, unplace4,
    },
};

/// How one address family lays out its buckets.
pub(super) trait Family {
    /// What an entry is for.
    type Key: Copy + Ord + std::fmt::Debug;
    /// Words of a bucket.
    const WORDS: usize;
    /// Slots of a bucket.
    const SLOTS: usize;
    /// Fewest bits that pick a bucket.
    const SHIFT_MIN: u32;
    /// Most bits that pick a bucket.
    const SHIFT_MAX: u32;
    /// How many slots in a hundred a new array may fill: about one entry in a hundred then finds its bucket full.
    const FILL_NEW: usize;
    /// How many slots in a hundred may be filled before one more entry makes the array larger.
    const FILL_MAX: usize;

    /// Where `key` belongs.
    fn place(key: Self::Key, seed: u64, shift: u32) -> Place;
    /// What a slot holds as seen by `key`.
    fn slot(bucket: &[AtomicU64], slot: usize, key: Self::Key, place: Place) -> Slot;
    /// The entry in a slot, if there is one.
    fn read(bucket: &[AtomicU64], slot: usize, place: Place) -> Option<(Self::Key, Meta)>;
    /// Fills or overwrites a slot.
    fn write(bucket: &[AtomicU64], slot: usize, key: Self::Key, meta: Meta, place: Place);
    /// Empties a slot.
    fn clear(bucket: &[AtomicU64], slot: usize);
    /// The hits of a slot.
    fn hits(bucket: &[AtomicU64], slot: usize) -> Option<u64>;
    /// Makes something else of the hits of a slot, which the program may be counting.
    fn change_hits(bucket: &[AtomicU64], slot: usize, change: impl Fn(u64) -> u64);
    /// The key under which the stash keeps what does not fit.
    fn stash_key(key: Self::Key) -> StashKey;
    /// The inverse of [`Self::stash_key`]; `None` for the other family's.
    fn from_stash(key: StashKey) -> Option<Self::Key>;
    /// The length of the prefix.
    fn length(key: Self::Key) -> u8;
}

/// Where a bucket is: what a slot's bits mean depends on it.
#[derive(Clone, Copy)]
pub(super) struct Place {
    bucket: u32,
    /// IPv4: what [`edgeward_ebpf::lookup::place4`] leaves of the address.
    tag: u32,
    seed: u64,
    shift: u32,
}

impl Place {
    /// Whether both are in the same bucket.
    pub(super) const fn is_beside(&self, other: &Self) -> bool {
        self.bucket == other.bucket
    }
}

/// What a slot holds as seen by one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// Nothing.
    Free,
    /// Another key's entry.
    Other,
    /// The key's entry.
    Own(Meta),
}

/// What became of an entry that was to be put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// It was not there.
    Added,
    /// It was there with another meta.
    Changed,
    /// It was there just so.
    Same,
    /// Its bucket is full: it belongs into the stash.
    Full,
}

/// One generation of exact entries.
#[derive(Debug)]
pub(super) struct Exact<F, S> {
    words: S,
    seed: u64,
    shift: u32,
    used: usize,
    _family: PhantomData<F>,
}

impl<F: Family, S: AsRef<[AtomicU64]>> Exact<F, S> {
    /// Words of an array with `shift` bits.
    pub(super) const fn words_of(shift: u32) -> usize {
        F::WORDS << shift
    }

    /// The fewest bits that hold `entries` with room to spare.
    pub(super) fn shift_for(entries: usize) -> u32 {
        (F::SHIFT_MIN..F::SHIFT_MAX)
            .find(|shift| entries.saturating_mul(100) <= (F::SLOTS << shift) * F::FILL_NEW)
            .unwrap_or(F::SHIFT_MAX)
    }

    /// Begins an empty generation in zeroed words.
    pub(super) const fn begin(words: S, seed: u64, shift: u32) -> Self {
        Self {
            words,
            seed,
            shift,
            used: 0,
            _family: PhantomData,
        }
    }

    /// Takes over a generation that is in force; `None` if its size is not that of `shift`.
    pub(super) fn adopt(words: S, seed: u64, shift: u32) -> Option<Self> {
        let fits = (F::SHIFT_MIN..=F::SHIFT_MAX).contains(&shift)
            && words.as_ref().len() == Self::words_of(shift);
        if !fits {
            return None;
        }
        let mut adopted = Self {
            words,
            seed,
            shift,
            used: 0,
            _family: PhantomData,
        };
        adopted.recount();
        Some(adopted)
    }

    /// Counts the entries anew.
    pub(super) fn recount(&mut self) {
        self.used = self.entries().count();
    }

    /// Entries in the buckets.
    pub(super) const fn used(&self) -> usize {
        self.used
    }

    /// Slots in all buckets.
    pub(super) const fn slots(&self) -> usize {
        F::SLOTS << self.shift
    }

    /// Bits that pick a bucket.
    pub(super) const fn shift(&self) -> u32 {
        self.shift
    }

    /// The meta word of an entry in the buckets.
    pub(super) fn get(&self, key: F::Key) -> Option<Meta> {
        let (bucket, place) = self.bucket(key)?;
        (0..F::SLOTS).find_map(|slot| match F::slot(bucket, slot, key, place) {
            Slot::Own(meta) => Some(meta),
            Slot::Free | Slot::Other => None,
        })
    }

    /// Adds or changes an entry.
    pub(super) fn put(&mut self, key: F::Key, meta: Meta) -> Put {
        let Some((bucket, place)) = self.bucket(key) else {
            return Put::Full;
        };
        let mut free = None;
        for slot in 0..F::SLOTS {
            match F::slot(bucket, slot, key, place) {
                Slot::Own(old) if old == meta => return Put::Same,
                Slot::Own(_) => {
                    F::write(bucket, slot, key, meta, place);
                    return Put::Changed;
                }
                Slot::Other => {}
                Slot::Free => free = free.or(Some(slot)),
            }
        }
        let Some(slot) = free else {
            return Put::Full;
        };
        F::change_hits(bucket, slot, |_| 0);
        F::write(bucket, slot, key, meta, place);
        self.used += 1;
        Put::Added
    }

    /// Removes an entry from the buckets; says whether it was there.
    pub(super) fn remove(&mut self, key: F::Key) -> bool {
        let Some((bucket, place)) = self.bucket(key) else {
            return false;
        };
        let Some(slot) = own_slot::<F>(bucket, key, place) else {
            return false;
        };
        F::clear(bucket, slot);
        self.used -= 1;
        true
    }

    /// Whether one more entry should first make the array larger.
    pub(super) const fn is_crowded(&self) -> bool {
        self.used * 100 > self.slots() * F::FILL_MAX
    }

    /// The hits of an entry in the buckets.
    pub(super) fn hits(&self, key: F::Key) -> Option<u64> {
        let (bucket, place) = self.bucket(key)?;
        F::hits(bucket, own_slot::<F>(bucket, key, place)?)
    }

    /// Adds to the hits of an entry in the buckets.
    pub(super) fn add_hits(&self, key: F::Key, more: u64) {
        if let Some((bucket, place)) = self.bucket(key)
            && let Some(slot) = own_slot::<F>(bucket, key, place)
        {
            F::change_hits(bucket, slot, |hits| hits.saturating_add(more));
        }
    }

    /// The entry of `key`'s bucket with the lowest score: the one that gives way.
    pub(super) fn weakest_beside(&self, key: F::Key) -> Option<(F::Key, Meta)> {
        let (bucket, place) = self.bucket(key)?;
        (0..F::SLOTS)
            .filter_map(|slot| F::read(bucket, slot, place))
            .min_by_key(|(_, meta)| meta.score())
    }

    /// Every entry with its hits.
    pub(super) fn entries(&self) -> impl Iterator<Item = (F::Key, Meta, u64)> + '_ {
        let buckets = self.words.as_ref().chunks_exact(F::WORDS);
        (0..).zip(buckets).flat_map(move |(number, bucket)| {
            let place = Place {
                bucket: number,
                tag: 0,
                seed: self.seed,
                shift: self.shift,
            };
            (0..F::SLOTS).filter_map(move |slot| {
                let (key, meta) = F::read(bucket, slot, place)?;
                Some((key, meta, F::hits(bucket, slot).unwrap_or(0)))
            })
        })
    }

    fn bucket(&self, key: F::Key) -> Option<(&[AtomicU64], Place)> {
        let place = F::place(key, self.seed, self.shift);
        let start = usize::try_from(place.bucket).ok()?.checked_mul(F::WORDS)?;
        Some((self.words.as_ref().get(start..start + F::WORDS)?, place))
    }
}

fn own_slot<F: Family>(bucket: &[AtomicU64], key: F::Key, place: Place) -> Option<usize> {
    (0..F::SLOTS).find(|slot| matches!(F::slot(bucket, *slot, key, place), Slot::Own(_)))
}

/// IPv4 hosts and /24 networks.
#[derive(Debug)]
pub(super) struct V4;

impl Family for V4 {
    type Key = (u32, Kind4);
    const WORDS: usize = BUCKET4_BYTES / 8;
    const SLOTS: usize = SLOTS4;
    const SHIFT_MIN: u32 = SHIFT4_MIN;
    const SHIFT_MAX: u32 = SHIFT4_MAX;
    const FILL_NEW: usize = 40;
    const FILL_MAX: usize = 45;

    fn place((address, kind): Self::Key, seed: u64, shift: u32) -> Place {
        let place = place4(address, kind, seed, shift);
        Place {
            bucket: place.bucket,
            tag: place.tag,
            seed,
            shift,
        }
    }

    fn slot(bucket: &[AtomicU64], slot: usize, _key: Self::Key, place: Place) -> Slot {
        match cell4(bucket, slot).map_or(0, |word| word.load(Relaxed)) {
            0 => Slot::Free,
            word if word >> 46 == u64::from(place.tag) => Slot::Own(Meta::of(word)),
            _ => Slot::Other,
        }
    }

    fn read(bucket: &[AtomicU64], slot: usize, place: Place) -> Option<(Self::Key, Meta)> {
        let word = cell4(bucket, slot)?.load(Relaxed);
        (word != 0).then(|| {
            (
                unplace4(place.bucket, word, place.seed, place.shift),
                Meta::of(word),
            )
        })
    }

    fn write(bucket: &[AtomicU64], slot: usize, key: Self::Key, meta: Meta, place: Place) {
        if let Some(word) = cell4(bucket, slot) {
            let place = place4(key.0, key.1, place.seed, place.shift);
            word.store(slot4(place, meta), Release);
        }
    }

    fn clear(bucket: &[AtomicU64], slot: usize) {
        if let Some(word) = cell4(bucket, slot) {
            word.store(0, Release);
        }
    }

    fn hits(bucket: &[AtomicU64], slot: usize) -> Option<u64> {
        let (word, shift) = tally4(bucket, slot)?;
        Some(word.load(Relaxed) >> shift & TALLY_MAX)
    }

    fn change_hits(bucket: &[AtomicU64], slot: usize, change: impl Fn(u64) -> u64) {
        let Some((word, shift)) = tally4(bucket, slot) else {
            return;
        };
        // Compared and swapped, since the other half is a neighbour's and may be counted right now.
        let swapped = word.fetch_update(Relaxed, Relaxed, |word| {
            let hits = change(word >> shift & TALLY_MAX).min(TALLY_MAX);
            Some(word & !(TALLY_MAX << shift) | hits << shift)
        });
        debug_assert!(swapped.is_ok(), "the closure always has an answer");
    }

    fn stash_key(key: Self::Key) -> StashKey {
        StashKey {
            hi: 0,
            lo: u64::from(key.0),
            length: u32::from(Self::length(key)),
            family: 4,
        }
    }

    fn from_stash(key: StashKey) -> Option<Self::Key> {
        let kind = match key.length {
            32 => Kind4::Host,
            24 => Kind4::Net24,
            _ => return None,
        };
        (key.family == 4).then_some((u32::try_from(key.lo).ok()?, kind))
    }

    fn length((_, kind): Self::Key) -> u8 {
        match kind {
            Kind4::Host => 32,
            Kind4::Net24 => 24,
        }
    }
}

/// IPv6 prefixes of the lengths in [`edgeward_ebpf::lookup::EXACT6`].
#[derive(Debug)]
pub(super) struct V6;

impl Family for V6 {
    type Key = (u128, u8);
    const WORDS: usize = BUCKET6_BYTES / 8;
    const SLOTS: usize = SLOTS6;
    const SHIFT_MIN: u32 = SHIFT6_MIN;
    const SHIFT_MAX: u32 = SHIFT6_MAX;
    const FILL_NEW: usize = 50;
    const FILL_MAX: usize = 60;

    fn place((address, length): Self::Key, seed: u64, shift: u32) -> Place {
        let (hi, lo) = halves(address);
        Place {
            bucket: bucket6(hash6(hi, lo, length, seed), shift),
            tag: 0,
            seed,
            shift,
        }
    }

    fn slot(bucket: &[AtomicU64], slot: usize, key: Self::Key, place: Place) -> Slot {
        match Self::read(bucket, slot, place) {
            None => Slot::Free,
            Some((found, meta)) if found == key => Slot::Own(meta),
            Some(_) => Slot::Other,
        }
    }

    fn read(bucket: &[AtomicU64], slot: usize, _place: Place) -> Option<(Self::Key, Meta)> {
        let word = bucket.get(SLOTS6 * 2 + slot)?.load(Relaxed);
        if word == 0 {
            return None;
        }
        let hi = bucket.get(slot * 2)?.load(Relaxed);
        let lo = bucket.get(slot * 2 + 1)?.load(Relaxed);
        Some((
            (u128::from(hi) << 64 | u128::from(lo), length_of(word)),
            Meta::of(word),
        ))
    }

    fn write(bucket: &[AtomicU64], slot: usize, key: Self::Key, meta: Meta, _place: Place) {
        let (hi, lo) = halves(key.0);
        let cells = (
            bucket.get(slot * 2),
            bucket.get(slot * 2 + 1),
            bucket.get(SLOTS6 * 2 + slot),
        );
        if let (Some(high), Some(low), Some(word)) = cells {
            high.store(hi, Relaxed);
            low.store(lo, Relaxed);
            word.store(meta.with_length(key.1), Release);
        }
    }

    fn clear(bucket: &[AtomicU64], slot: usize) {
        if let Some(word) = bucket.get(SLOTS6 * 2 + slot) {
            word.store(0, Release);
        }
    }

    fn hits(bucket: &[AtomicU64], slot: usize) -> Option<u64> {
        Some(bucket.get(SLOTS6 * 3 + slot)?.load(Relaxed))
    }

    fn change_hits(bucket: &[AtomicU64], slot: usize, change: impl Fn(u64) -> u64) {
        if let Some(word) = bucket.get(SLOTS6 * 3 + slot) {
            let swapped = word.fetch_update(Relaxed, Relaxed, |hits| Some(change(hits)));
            debug_assert!(swapped.is_ok(), "the closure always has an answer");
        }
    }

    fn stash_key(key: Self::Key) -> StashKey {
        let (hi, lo) = halves(key.0);
        StashKey {
            hi,
            lo,
            length: u32::from(key.1),
            family: 6,
        }
    }

    fn from_stash(key: StashKey) -> Option<Self::Key> {
        let address = u128::from(key.hi) << 64 | u128::from(key.lo);
        (key.family == 6).then_some((address, u8::try_from(key.length).ok()?))
    }

    fn length((_, length): Self::Key) -> u8 {
        length
    }
}

/// A slot of an IPv4 bucket ([`edgeward_ebpf::lookup::Bucket4`]): the counters come first.
fn cell4(bucket: &[AtomicU64], slot: usize) -> Option<&AtomicU64> {
    bucket.get(SLOTS4.div_ceil(2) + slot)
}

/// The word that holds a slot's counter, and how far up in it. All targets are little-endian.
fn tally4(bucket: &[AtomicU64], slot: usize) -> Option<(&AtomicU64, usize)> {
    Some((bucket.get(slot / 2)?, slot % 2 * 32))
}

/// The most hits that a slot of an IPv4 bucket counts.
const TALLY_MAX: u64 = u32::MAX as u64;

/// Upper and lower half of an IPv6 address.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the halves are what is wanted"
)]
pub(super) const fn halves(address: u128) -> (u64, u64) {
    ((address >> 64) as u64, address as u64)
}

#[cfg(test)]
mod tests;
