//! A table that never holds more than its limit: what is worth least gives way, and is counted.

use std::{collections::HashMap, hash::Hash};

/// Something that can be displaced.
pub trait Worth {
    /// How much would be lost with it at a moment (seconds since the epoch); the least gives way.
    fn worth(&self, time_s: u32) -> u32;
}

/// Entries in a row, an index over them, and a hand that goes round when there is no room.
#[derive(Debug)]
pub struct Table<K, V> {
    entries: Vec<(K, V)>,
    /// Keyed by chance: whoever chooses addresses does not choose where they fall.
    index: HashMap<K, u32>,
    entries_max: u32,
    hand: usize,
    displaced: u64,
}

/// Entries that the hand looks at before it takes the one worth least.
const LOOKED_AT: usize = 16;

impl<K: Copy + Eq + Hash, V: Worth + Default> Table<K, V> {
    /// An empty table. Memory is taken as entries come.
    #[must_use]
    pub fn new(entries_max: u32) -> Self {
        Self {
            entries: Vec::new(),
            index: HashMap::new(),
            entries_max: entries_max.max(1),
            hand: 0,
            displaced: 0,
        }
    }

    /// The entry of a key, if there is one.
    pub fn get(&self, key: K) -> Option<&V> {
        let at = usize::try_from(*self.index.get(&key)?).ok()?;
        self.entries.get(at).map(|(_, value)| value)
    }

    /// The entry of a key, made if there is none; another gives way for it if need be. Always `Some`.
    pub fn entry(&mut self, key: K, time_s: u32) -> Option<&mut V> {
        let known = self
            .index
            .get(&key)
            .and_then(|at| usize::try_from(*at).ok());
        let at = known.unwrap_or_else(|| self.place(key, time_s));
        self.entries.get_mut(at).map(|(_, value)| value)
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many gave way.
    #[must_use]
    pub const fn displaced(&self) -> u64 {
        self.displaced
    }

    fn place(&mut self, key: K, time_s: u32) -> usize {
        let count = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        if count < self.entries_max {
            self.entries.push((key, V::default()));
            self.index.insert(key, count);
            return self.entries.len().saturating_sub(1);
        }
        let at = self.least(time_s);
        if let Some(slot) = self.entries.get_mut(at) {
            self.index.remove(&slot.0);
            *slot = (key, V::default());
        }
        self.index
            .insert(key, u32::try_from(at).unwrap_or(u32::MAX));
        self.displaced = self.displaced.saturating_add(1);
        at
    }

    fn least(&mut self, time_s: u32) -> usize {
        let length = self.entries.len().max(1);
        let mut least = (u32::MAX, self.hand % length);
        for _ in 0..LOOKED_AT.min(length) {
            self.hand = (self.hand + 1) % length;
            let worth = self
                .entries
                .get(self.hand)
                .map_or(u32::MAX, |(_, value)| value.worth(time_s));
            if worth < least.0 {
                least = (worth, self.hand);
            }
        }
        // Among equals the hand goes round: nobody stays because of its place.
        self.hand = least.1;
        least.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Weight(u32);

    impl Worth for Weight {
        fn worth(&self, _: u32) -> u32 {
            self.0
        }
    }

    #[test]
    fn the_least_gives_way_and_the_limit_holds() {
        let mut table = Table::<u64, Weight>::new(100);
        for key in 0..10 {
            table.entry(key, 0).unwrap().0 = 1_000;
        }
        for key in 10..10_000 {
            table.entry(key, 0).unwrap().0 = 1;
        }
        assert_eq!(table.len(), 100);
        assert_eq!(table.displaced(), 9_900);
        assert!(
            (0..10).all(|key| table.get(key).is_some()),
            "what is worth more stays through a flood"
        );
        assert!(table.get(9_999).is_some() && table.get(50).is_none());
        assert_eq!(table.index.len(), table.entries.len());
    }
}
