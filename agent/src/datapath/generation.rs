//! The exact entries of one family in force: the array that the outer map points to, and the stash for
//! what does not fit its bucket.
//!
//! Small changes are stores into the live array. Large ones build a new array aside, put it into a free slot
//! of the outer map and say so in one word: the program sees the old set or the new one, never a part of
//! either.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    sync::atomic::Ordering::{Acquire, Release},
};

use anyhow::Context as _;
use edgeward_ebpf::{
    abi::{InForce, Listed, StashKey, hosts},
    lookup::{ELEMENT_BYTES, Meta},
};

use super::{
    exact::{Exact, Family, Put},
    sys::{self, Table, Words},
};

/// What a change did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Entries that were not there.
    pub added: usize,
    /// Entries with another score, class or expiry.
    pub changed: usize,
    /// Entries that are gone.
    pub removed: usize,
    /// Entries that gave way to stronger ones because their table was full.
    pub evicted: usize,
    /// Whether a new generation took over.
    pub rebuilt: bool,
}

impl Change {
    /// Adds another change to this one.
    pub(super) const fn add(&mut self, other: Self) {
        self.added += other.added;
        self.changed += other.changed;
        self.removed += other.removed;
        self.evicted += other.evicted;
        self.rebuilt |= other.rebuilt;
    }
}

/// Where a family's array is put in force.
#[derive(Clone, Copy)]
pub(super) struct Switch<'a> {
    /// The map of arrays.
    pub(super) outer: &'a Table<u32, u32>,
    /// The control element.
    pub(super) control: &'a Words,
}

impl Switch<'_> {
    fn read(self, word: usize) -> InForce {
        let word = self.control.get().get(word);
        InForce(word.map_or(0, |word| word.load(Acquire)))
    }

    /// Puts an array into the slot that is not in force, switches over and empties the other slot. Frames that
    /// came before the switch still find the old array there until the last of them is judged.
    fn publish(self, place: &Slots, array: &OwnedFd, shift: u32) -> anyhow::Result<()> {
        let old = self.read(place.word).slot();
        let [first, second] = place.slots;
        let new = if old == first { second } else { first };
        self.put(new, array)?;
        if let Some(word) = self.control.get().get(place.word) {
            word.store(InForce::new(new, shift).0, Release);
        }
        // Nothing changes, but the kernel returns only when every program that runs now has ended.
        self.put(new, array)?;
        self.outer
            .remove(&old)
            .context("cannot let go of the generation before")
    }

    fn put(self, slot: u32, array: &OwnedFd) -> anyhow::Result<()> {
        // Update takes a descriptor where look-up gives an id (kernel documentation, map_of_maps).
        let fd = u32::try_from(array.as_raw_fd())?;
        self.outer
            .set(&slot, &fd)
            .context("cannot put a generation in force")
    }
}

/// Which slots of the outer map and which word of the control element are a family's.
#[derive(Clone, Copy)]
pub(super) struct Slots {
    /// Indices of the outer map.
    pub(super) slots: [u32; 2],
    /// Word of the control element.
    pub(super) word: usize,
}

/// One family's exact entries.
pub(super) struct Generation<F: Family> {
    place: Slots,
    seed: u64,
    exact: Exact<F, Words>,
    stash: BTreeMap<F::Key, Meta>,
    /// Entries of the stash map of both families; this family's share.
    stash_max: usize,
}

impl<F: Family> Generation<F> {
    /// Adopts what is in force, or begins with a small empty generation.
    pub(super) fn open(
        switch: Switch<'_>,
        stash: &Table<StashKey, Listed>,
        place: Slots,
        seed: u64,
        stash_max: usize,
    ) -> anyhow::Result<Self> {
        let exact = match adopt(switch, &place, seed)? {
            Some(exact) => exact,
            None => {
                let (array, exact) = make::<F>(F::SHIFT_MIN, seed)?;
                switch.publish(&place, &array, exact.shift())?;
                exact
            }
        };
        Ok(Self {
            place,
            seed,
            exact,
            stash: read_stash::<F>(stash)?,
            stash_max,
        })
    }

    /// Takes what the kernel holds for true, whoever wrote it.
    pub(super) fn reread(&mut self, stash: &Table<StashKey, Listed>) -> anyhow::Result<()> {
        self.exact.recount();
        self.stash = read_stash::<F>(stash)?;
        Ok(())
    }

    /// Entries in force.
    pub(super) fn len(&self) -> usize {
        self.exact.used() + self.stash.len()
    }

    /// Slots of the array.
    pub(super) const fn slots(&self) -> usize {
        self.exact.slots()
    }

    /// Entries that live in the stash.
    pub(super) fn stashed(&self) -> usize {
        self.stash.len()
    }

    /// The meta word of an entry.
    pub(super) fn get(&self, key: F::Key) -> Option<Meta> {
        self.exact
            .get(key)
            .or_else(|| self.stash.get(&key).copied())
    }

    /// The hit counter of an entry.
    pub(super) fn hits(&self, stash: &Table<StashKey, Listed>, key: F::Key) -> Option<u64> {
        if let Some(hits) = self.exact.hits(key) {
            return Some(hits);
        }
        stash
            .get(&F::stash_key(key))
            .ok()
            .flatten()
            .map(|value| value.hits)
    }

    /// Every entry with its hits.
    pub(super) fn entries<'a>(
        &'a self,
        stash: &'a Table<StashKey, Listed>,
    ) -> impl Iterator<Item = (F::Key, Meta, u64)> + 'a {
        let stashed = self.stash.iter().map(|(key, meta)| {
            let hits = stash
                .get(&F::stash_key(*key))
                .ok()
                .flatten()
                .map_or(0, |value| value.hits);
            (*key, *meta, hits)
        });
        self.exact.entries().chain(stashed)
    }

    /// Makes `desired` (sorted by key, unique) what is in force.
    pub(super) fn apply(
        &mut self,
        switch: Switch<'_>,
        stash: &Table<StashKey, Listed>,
        desired: &[(F::Key, Meta)],
    ) -> anyhow::Result<Change> {
        let wrong = desired
            .iter()
            .filter(|(key, meta)| self.get(*key) != Some(*meta))
            .count();
        let present = desired
            .iter()
            .filter(|(key, _)| self.get(*key).is_some())
            .count();
        let extra = self.len() - present;
        if wrong + extra == 0 {
            return Ok(Change::default());
        }
        let few = wrong + extra <= (self.len() / 8).max(IN_PLACE_MAX);
        let roomy = (self.len() + wrong) * 100 <= self.exact.slots() * F::FILL_NEW;
        if few && roomy {
            return self.change_in_place(stash, desired);
        }
        let mut change = self.rebuild(switch, stash, desired)?;
        change.added = desired.len() - present;
        change.changed = wrong - change.added;
        change.removed = extra;
        Ok(change)
    }

    fn change_in_place(
        &mut self,
        stash: &Table<StashKey, Listed>,
        desired: &[(F::Key, Meta)],
    ) -> anyhow::Result<Change> {
        let mut change = Change::default();
        for (key, meta) in desired {
            if self.get(*key) != Some(*meta) {
                change.add(self.put(stash, *key, *meta)?);
            }
        }
        let extra: Vec<F::Key> = self
            .exact
            .entries()
            .map(|(key, ..)| key)
            .chain(self.stash.keys().copied())
            .filter(|key| desired.binary_search_by_key(key, |(key, _)| *key).is_err())
            .collect();
        for key in extra {
            change.add(self.remove(stash, key)?);
        }
        Ok(change)
    }

    /// Builds a generation aside and lets it take over.
    fn rebuild(
        &mut self,
        switch: Switch<'_>,
        stash: &Table<StashKey, Listed>,
        desired: &[(F::Key, Meta)],
    ) -> anyhow::Result<Change> {
        let (array, mut exact) = make::<F>(Exact::<F, Words>::shift_for(desired.len()), self.seed)?;
        let mut change = Change {
            rebuilt: true,
            ..Change::default()
        };
        let mut overflow = BTreeMap::new();
        for (key, meta) in desired {
            if exact.put(*key, *meta) == Put::Full {
                if overflow.len() < self.stash_max {
                    overflow.insert(*key, *meta);
                } else {
                    change.evicted += 1;
                }
            }
        }
        // The stash is asked only by the generation whose bucket is full: both sets may be in it.
        for (key, meta) in &overflow {
            if self.stash.get(key) != Some(meta) {
                set_stash::<F>(stash, *key, *meta)?;
            }
        }
        let carried = self.carry_hits(&exact, desired);
        switch.publish(&self.place, &array, exact.shift())?;
        // The kernel has waited for every program that could still see the old generation.
        let old = std::mem::replace(&mut self.exact, exact);
        for (key, before) in carried {
            let late = old.hits(key).unwrap_or(0).saturating_sub(before);
            if late > 0 {
                self.exact.add_hits(key, late);
            }
        }
        let gone: Vec<_> = self
            .stash
            .keys()
            .filter(|key| !overflow.contains_key(key))
            .copied()
            .collect();
        for key in gone {
            stash
                .remove(&F::stash_key(key))
                .context("cannot clear the stash")?;
        }
        self.stash = overflow;
        Ok(change)
    }

    /// Copies the counts of entries that stay; returns those that may still grow.
    fn carry_hits(&self, new: &Exact<F, Words>, desired: &[(F::Key, Meta)]) -> Vec<(F::Key, u64)> {
        if self.exact.used() == 0 {
            return Vec::new();
        }
        let mut carried = Vec::new();
        for (key, _) in desired {
            let Some(before) = self.exact.hits(*key) else {
                continue;
            };
            if before > 0 {
                new.add_hits(*key, before);
                carried.push((*key, before));
            }
        }
        carried
    }

    /// Adds or changes one entry. The caller sees to it that the generation has room.
    pub(super) fn put(
        &mut self,
        stash: &Table<StashKey, Listed>,
        key: F::Key,
        meta: Meta,
    ) -> anyhow::Result<Change> {
        let known = self.stash.contains_key(&key);
        let put = if known {
            Put::Full
        } else {
            self.exact.put(key, meta)
        };
        match put {
            Put::Added => {
                return Ok(Change {
                    added: 1,
                    ..Change::default()
                });
            }
            Put::Changed => {
                return Ok(Change {
                    changed: 1,
                    ..Change::default()
                });
            }
            Put::Same => return Ok(Change::default()),
            Put::Full if known || self.stash.len() < self.stash_max => {
                set_stash::<F>(stash, key, meta)?;
                self.stash.insert(key, meta);
            }
            Put::Full => return self.displace(stash, key, meta),
        }
        Ok(Change {
            added: usize::from(!known),
            changed: usize::from(known),
            ..Change::default()
        })
    }

    /// Bucket and stash are full: the weakest entry of the bucket gives way, or the new one does.
    fn displace(
        &mut self,
        stash: &Table<StashKey, Listed>,
        key: F::Key,
        meta: Meta,
    ) -> anyhow::Result<Change> {
        let weakest = self.exact.weakest_beside(key);
        let Some((weakest, _)) = weakest.filter(|(_, weak)| weak.score() < meta.score()) else {
            anyhow::bail!(
                "the table is full here ({} entries) and nothing in it is weaker: raise [capacity]",
                self.len()
            );
        };
        self.remove(stash, weakest)?;
        let mut change = self.put(stash, key, meta)?;
        change.evicted += 1;
        Ok(change)
    }

    /// Removes one entry.
    pub(super) fn remove(
        &mut self,
        stash: &Table<StashKey, Listed>,
        key: F::Key,
    ) -> anyhow::Result<Change> {
        let removed = Change {
            removed: 1,
            ..Change::default()
        };
        if self.stash.remove(&key).is_some() {
            stash
                .remove(&F::stash_key(key))
                .context("cannot remove an entry from the stash")?;
            return Ok(removed);
        }
        if !self.exact.remove(key) {
            return Ok(Change::default());
        }
        // The bucket is not full any more, so its entries in the stash would not be found: one moves in.
        let place = F::place(key, self.seed, self.exact.shift());
        let waiting = self
            .stash
            .iter()
            .find(|(other, _)| F::place(**other, self.seed, self.exact.shift()).is_beside(&place))
            .map(|(key, meta)| (*key, *meta));
        if let Some((key, meta)) = waiting {
            let hits = stash
                .get(&F::stash_key(key))
                .ok()
                .flatten()
                .map_or(0, |value| value.hits);
            self.exact.put(key, meta);
            self.exact.add_hits(key, hits);
            self.stash.remove(&key);
            stash
                .remove(&F::stash_key(key))
                .context("cannot move an entry out of the stash")?;
        }
        Ok(removed)
    }

    /// Whether one more entry should first make the array larger.
    pub(super) const fn is_crowded(&self) -> bool {
        self.exact.is_crowded()
    }

    /// Doubles the array.
    pub(super) fn grow(
        &mut self,
        switch: Switch<'_>,
        stash: &Table<StashKey, Listed>,
    ) -> anyhow::Result<()> {
        let mut all: Vec<_> = self
            .exact
            .entries()
            .map(|(key, meta, _)| (key, meta))
            .collect();
        all.extend(self.stash.iter().map(|(key, meta)| (*key, *meta)));
        all.sort_unstable_by_key(|(key, _)| *key);
        self.rebuild(switch, stash, &all).map(|_| ())
    }
}

fn read_stash<F: Family>(
    stash: &Table<StashKey, Listed>,
) -> anyhow::Result<BTreeMap<F::Key, Meta>> {
    let kept = stash.entries().context("cannot read the stash")?;
    Ok(kept
        .into_iter()
        .filter_map(|(key, value)| Some((F::from_stash(key)?, Meta::of(value.meta))))
        .collect())
}

fn adopt<F: Family>(
    switch: Switch<'_>,
    place: &Slots,
    seed: u64,
) -> anyhow::Result<Option<Exact<F, Words>>> {
    let in_force = switch.read(place.word);
    if in_force.shift() == 0 {
        return Ok(None);
    }
    let Some(id) = switch
        .outer
        .get(&in_force.slot())
        .context("cannot read the outer map")?
        .filter(|id| *id != 0)
    else {
        return Ok(None);
    };
    let map = aya::maps::MapData::from_id(id).context("cannot open the generation in force")?;
    let elements = map.info()?.max_entries() as usize;
    let words = Words::map(map.fd().as_fd(), elements * ELEMENT_BYTES / 8)
        .context("cannot map the generation in force")?;
    Ok(Exact::adopt(words, seed, in_force.shift()))
}

fn make<F: Family>(shift: u32, seed: u64) -> anyhow::Result<(OwnedFd, Exact<F, Words>)> {
    let words = Exact::<F, Words>::words_of(shift);
    let elements = u32::try_from(words * 8 / ELEMENT_BYTES)?;
    let array = sys::create_array(ELEMENT_BYTES, elements, hosts::FLAGS)
        .with_context(|| format!("cannot make an array of {elements} elements"))?;
    let mapped = Words::map(array.as_fd(), words).context("cannot map an array of buckets")?;
    Ok((array, Exact::begin(mapped, seed, shift)))
}

fn set_stash<F: Family>(
    stash: &Table<StashKey, Listed>,
    key: F::Key,
    meta: Meta,
) -> io::Result<()> {
    let stash_key = F::stash_key(key);
    let hits = stash.get(&stash_key)?.map_or(0, |value| value.hits);
    stash.set(
        &stash_key,
        &Listed {
            meta: meta.with_length(F::length(key)),
            hits,
        },
    )
}

/// Changes that are made in the live array however small it is.
const IN_PLACE_MAX: usize = 1024;
