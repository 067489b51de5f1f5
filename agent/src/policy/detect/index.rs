//! Where in a row of entries a key lies: 5 bytes an entry at most, and one look into memory for a key.
//!
//! Open addressing with linear probing. A slot holds the number of an entry and, in the bits that the
//! number leaves free, a tag of the key's hash, so that entries of other keys are hardly ever looked at.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};

/// An index over at most so many entries.
#[derive(Debug)]
pub(super) struct Index {
    /// 0 is an empty slot, otherwise the tag above the entry's number and 1.
    slots: Vec<u32>,
    slots_max: usize,
    used: usize,
    /// Bits of a slot that hold the number.
    number_bits: u32,
    keyed: Keyed,
}

/// A keyed hash of a few words: multiplied and folded, twice. Both keys are of chance, so whoever chooses
/// addresses does not choose where they fall.
#[derive(Clone, Copy, Debug)]
struct Keyed {
    state: u64,
    key: u64,
}

/// Slots of the smallest index.
const SLOTS_MIN: usize = 16;

impl Index {
    /// An empty index.
    pub(super) fn new(entries_max: u32) -> Self {
        let chance = RandomState::new();
        let entries = usize::try_from(entries_max).unwrap_or(usize::MAX);
        Self {
            slots: vec![0; SLOTS_MIN],
            slots_max: slots_for(entries),
            used: 0,
            number_bits: u32::BITS - entries_max.leading_zeros(),
            keyed: Keyed {
                state: chance.hash_one(0),
                key: chance.hash_one(1) | 1,
            },
        }
    }

    /// An index over these keys, numbered in their order.
    pub(super) fn of<'k, K: Hash + 'k>(
        entries_max: u32,
        keys: impl ExactSizeIterator<Item = &'k K>,
    ) -> Self {
        let mut index = Self::new(entries_max);
        index.slots = vec![0; slots_for(keys.len())];
        for (number, key) in (0..).zip(keys) {
            index.put(index.keyed.hash(key), number);
        }
        index
    }

    /// The number of a key's entry. `is` says whether the entry of a number is the key's.
    pub(super) fn get(&self, key: &impl Hash, is: impl Fn(u32) -> bool) -> Option<u32> {
        let hash = self.keyed.hash(key);
        let tag = self.tag(hash);
        let mut at = self.home(hash);
        // There is always an empty slot.
        loop {
            let slot = *self.slots.get(at)?;
            if slot == 0 {
                return None;
            }
            if slot & !self.number_mask() == tag {
                let number = (slot & self.number_mask()).wrapping_sub(1);
                if is(number) {
                    return Some(number);
                }
            }
            at = self.after(at);
        }
    }

    /// Adds the number of a key that is not in it. `key_of` gives the key of a number that is.
    pub(super) fn insert<K: Hash>(
        &mut self,
        key: &K,
        number: u32,
        key_of: impl Fn(u32) -> Option<K>,
    ) {
        if slots_for(self.used.saturating_add(1)) > self.slots.len() {
            self.grow(key_of);
        }
        self.put(self.keyed.hash(key), number);
    }

    /// Takes a key's number out.
    pub(super) fn remove<K: Hash>(
        &mut self,
        key: &K,
        number: u32,
        key_of: impl Fn(u32) -> Option<K>,
    ) {
        let Some(mut hole) = self.slot_of(self.keyed.hash(key), number) else {
            return;
        };
        self.used = self.used.saturating_sub(1);
        // What was pushed past the hole moves up, so that a search may end at the first empty slot.
        let mut at = self.after(hole);
        while let Some(slot) = self.slots.get(at).copied().filter(|slot| *slot != 0) {
            let moved = (slot & self.number_mask()).wrapping_sub(1);
            let home = key_of(moved).map_or(at, |key| self.home(self.keyed.hash(&key)));
            if self.distance(home, at) >= self.distance(hole, at) {
                self.set(hole, slot);
                hole = at;
            }
            at = self.after(at);
        }
        self.set(hole, 0);
    }

    /// A key's entry has got another number.
    pub(super) fn renumber(&mut self, key: &impl Hash, from: u32, to: u32) {
        let hash = self.keyed.hash(key);
        if let Some(at) = self.slot_of(hash, from) {
            self.set(at, self.tag(hash) | to.wrapping_add(1));
        }
    }

    /// How many numbers there are.
    #[cfg(test)]
    pub(super) const fn len(&self) -> usize {
        self.used
    }

    fn grow<K: Hash>(&mut self, key_of: impl Fn(u32) -> Option<K>) {
        let length = self.slots.len().saturating_mul(2).min(self.slots_max);
        let length = length.max(slots_for(self.used.saturating_add(1)));
        let old = std::mem::replace(&mut self.slots, vec![0; length]);
        self.used = 0;
        for slot in old.into_iter().filter(|slot| *slot != 0) {
            let number = (slot & self.number_mask()).wrapping_sub(1);
            if let Some(key) = key_of(number) {
                self.put(self.keyed.hash(&key), number);
            }
        }
    }

    fn put(&mut self, hash: u64, number: u32) {
        let mut at = self.home(hash);
        while self.slots.get(at).is_some_and(|slot| *slot != 0) {
            at = self.after(at);
        }
        self.set(at, self.tag(hash) | number.wrapping_add(1));
        self.used = self.used.saturating_add(1);
    }

    fn slot_of(&self, hash: u64, number: u32) -> Option<usize> {
        let wanted = self.tag(hash) | number.wrapping_add(1);
        let mut at = self.home(hash);
        loop {
            match *self.slots.get(at)? {
                0 => return None,
                slot if slot == wanted => return Some(at),
                _ => at = self.after(at),
            }
        }
    }

    fn set(&mut self, at: usize, value: u32) {
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = value;
        }
    }

    const fn after(&self, at: usize) -> usize {
        let next = at.saturating_add(1);
        if next < self.slots.len() { next } else { 0 }
    }

    /// Slots from one to another, going forward and round.
    const fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from {
            to.saturating_sub(from)
        } else {
            self.slots.len().saturating_sub(from.saturating_sub(to))
        }
    }

    /// Where a search begins: by the upper half of the hash, without a division.
    fn home(&self, hash: u64) -> usize {
        let share = (hash >> 32) * self.slots.len() as u64;
        usize::try_from(share >> 32).unwrap_or(0)
    }

    /// By its lower half.
    fn tag(&self, hash: u64) -> u32 {
        let [a, b, c, d, ..] = hash.to_le_bytes();
        u32::from_le_bytes([a, b, c, d]) & !self.number_mask()
    }

    fn number_mask(&self) -> u32 {
        u32::try_from((1_u64 << self.number_bits).saturating_sub(1)).unwrap_or(u32::MAX)
    }
}

impl Keyed {
    fn hash(mut self, key: &impl Hash) -> u64 {
        key.hash(&mut self);
        self.finish()
    }
}

impl Hasher for Keyed {
    fn finish(&self) -> u64 {
        fold(self.state, self.key.rotate_left(32) | 1)
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.write_u64(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        if !rest.is_empty() {
            self.write_u64(u64::from_le_bytes(last));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.state = fold(self.state ^ word, self.key);
    }

    fn write_isize(&mut self, word: isize) {
        self.write_u64(word.cast_unsigned() as u64);
    }
}

/// Both halves of the product over each other.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    let [low, high] = [product, product >> 64].map(|half| half & u128::from(u64::MAX));
    u64::try_from(low ^ high).unwrap_or(0)
}

/// Slots for so many entries: four of five are used at most.
const fn slots_for(entries: usize) -> usize {
    let slots = entries.saturating_add(entries.div_ceil(4));
    if slots < SLOTS_MIN { SLOTS_MIN } else { slots }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::random::Random;

    #[test]
    fn it_says_what_a_map_says() {
        for entries_max in [1_u32, 7, 300, 5_000] {
            let mut random = Random::new(entries_max.into());
            // Entry by number, as a table has them.
            let mut keys: Vec<Option<u64>> = Vec::new();
            let mut index = Index::new(entries_max);
            for _ in 0..60_000 {
                let key = random.below(u64::from(entries_max) * 2);
                let of = |number: u32| keys[number as usize];
                let found = index.get(&key, |number| of(number) == Some(key));
                let expected = keys.iter().position(|one| *one == Some(key));
                assert_eq!(found.map(|number| number as usize), expected);
                if let Some(number) = found {
                    if random.below(2) == 0 {
                        index.remove(&key, number, of);
                        keys[number as usize] = None;
                    }
                    continue;
                }
                let free = keys.iter().position(Option::is_none);
                let number = free.unwrap_or(keys.len());
                if number < entries_max as usize {
                    index.insert(&key, u32::try_from(number).unwrap(), of);
                    if number == keys.len() {
                        keys.push(None);
                    }
                    keys[number] = Some(key);
                }
                if random.below(50) == 0
                    && let Some(Some(last)) = keys.last().copied()
                    && let Some(free) = keys.iter().position(Option::is_none)
                {
                    let from = keys.len() - 1;
                    let [from, to] = [from, free].map(|at| u32::try_from(at).unwrap());
                    index.renumber(&last, from, to);
                    keys.swap(free, from as usize);
                }
                assert_eq!(index.len(), keys.iter().flatten().count());
            }
            assert!(index.slots.len() <= slots_for(entries_max as usize).max(SLOTS_MIN));
        }
    }

    #[test]
    fn hashes_spread_whatever_the_keys_have_in_common() {
        let keyed = Index::new(1).keyed;
        for (what, key) in [
            ("low bits", (|n| n) as fn(u64) -> u64),
            ("high bits", |n| n << 48),
            ("/48 networks", |n| 0x2a00 << 48 | n << 16),
        ] {
            let mut buckets = [0_u32; 256];
            for n in 0..65_536 {
                let [.., top] = keyed.hash(&key(n)).to_le_bytes();
                buckets[usize::from(top)] += 1;
            }
            // 256 each with a deviation of 16; eight of them are chance no more.
            assert!(
                buckets.iter().all(|count| (128..384).contains(count)),
                "{what}: {buckets:?}"
            );
        }
        assert_ne!(
            Index::new(1).keyed.hash(&5_u64),
            Index::new(1).keyed.hash(&5_u64),
            "another index, another key"
        );
    }
}
