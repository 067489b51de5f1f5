//! A table that never holds more than its limit: what is worth least gives way, and is counted.

use std::hash::Hash;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::index::Index;

/// Something that can be displaced.
pub trait Worth {
    /// How much would be lost with it at a moment (seconds since the epoch); the least gives way.
    fn worth(&self, time_s: u32) -> u32;
}

/// Entries in a row, an index over them, and a hand that goes round when there is no room.
#[derive(Debug)]
pub struct Table<K, V> {
    entries: Vec<(K, V)>,
    index: Index,
    entries_max: u32,
    hand: usize,
    displaced: u64,
}

/// Most entries of any table.
const ENTRIES_MAX: u32 = u32::MAX >> 1;
/// Entries that the hand looks at before it takes the one worth least.
const LOOKED_AT: usize = 16;

impl<K: Copy + Eq + Hash, V: Worth + Default> Table<K, V> {
    /// An empty table. Memory is taken as entries come.
    #[must_use]
    pub fn new(entries_max: u32) -> Self {
        Self {
            entries: Vec::new(),
            index: Index::new(entries_max.max(1)),
            entries_max: entries_max.max(1),
            hand: 0,
            displaced: 0,
        }
    }

    /// The entry of a key, if there is one.
    pub fn get(&self, key: K) -> Option<&V> {
        let at = place(self.find(&key)?);
        self.entries.get(at).map(|(_, value)| value)
    }

    /// The entry of a key, made if there is none; another gives way for it if need be. Always `Some`.
    pub fn entry(&mut self, key: K, time_s: u32) -> Option<&mut V> {
        let at = match self.find(&key) {
            Some(number) => place(number),
            None => self.make(key, time_s),
        };
        self.entries.get_mut(at).map(|(_, value)| value)
    }

    /// Every entry, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &(K, V)> {
        self.entries.iter()
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: K) -> Option<V> {
        let number = self.find(&key)?;
        let entries = &self.entries;
        self.index.remove(&key, number, |of| key_at(entries, of));
        let (_, value) = self.entries.swap_remove(place(number));
        // The last entry has taken its place.
        let last = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        if let Some(moved) = key_at(&self.entries, number) {
            self.index.renumber(&moved, last, number);
        }
        Some(value)
    }

    /// Sets how many entries there may be; what is worth least gives way.
    pub fn limit(&mut self, entries_max: u32, time_s: u32) {
        self.entries_max = entries_max.max(1);
        let most = place(self.entries_max);
        let over = self.entries.len().saturating_sub(most);
        if over > 0 {
            self.entries
                .sort_by_cached_key(|(_, value)| std::cmp::Reverse(value.worth(time_s)));
            self.entries.truncate(most);
            self.displaced = self.displaced.saturating_add(over as u64);
        }
        // How an entry's number is kept depends on how many there may be.
        self.index = Index::of(self.entries_max, self.entries.iter().map(|(key, _)| key));
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

    fn find(&self, key: &K) -> Option<u32> {
        let is = |number| key_at(&self.entries, number).is_some_and(|known| known == *key);
        self.index.get(key, is)
    }

    fn make(&mut self, key: K, time_s: u32) -> usize {
        let count = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        if count < self.entries_max {
            let entries = &self.entries;
            self.index.insert(&key, count, |of| key_at(entries, of));
            self.entries.push((key, V::default()));
            return place(count);
        }
        let at = self.least(time_s);
        let number = u32::try_from(at).unwrap_or(u32::MAX);
        let entries = &self.entries;
        let key_of = |of| key_at(entries, of);
        if let Some(old) = key_of(number) {
            self.index.remove(&old, number, key_of);
        }
        self.index.insert(&key, number, key_of);
        if let Some(slot) = self.entries.get_mut(at) {
            *slot = (key, V::default());
        }
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

/// The key of an entry.
fn key_at<K: Copy, V>(entries: &[(K, V)], number: u32) -> Option<K> {
    entries.get(place(number)).map(|(key, _)| *key)
}

/// Where the entry of a number lies.
fn place(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl<K: Serialize, V: Serialize> Serialize for Table<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.entries, self.displaced).serialize(serializer)
    }
}

/// The limit is the configuration's and is set by [`Table::limit`].
impl<'de, K, V> Deserialize<'de> for Table<K, V>
where
    K: Copy + Eq + Hash + Deserialize<'de>,
    V: Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (entries, displaced) = <(Vec<(K, V)>, u64)>::deserialize(deserializer)?;
        let mut index = Index::of(ENTRIES_MAX, std::iter::empty::<&K>());
        for (number, (key, _)) in (0_u32..).zip(&entries) {
            let is = |of| key_at(&entries, of).is_some_and(|known| known == *key);
            if index.get(key, is).is_some() {
                return Err(D::Error::custom("a key stands twice in a table"));
            }
            index.insert(key, number, |of| key_at(&entries, of));
        }
        Ok(Self {
            entries,
            index,
            entries_max: ENTRIES_MAX,
            hand: 0,
            displaced,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default, Serialize, Deserialize)]
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

    #[test]
    fn a_table_can_be_written_down_cut_and_emptied() {
        let mut table = Table::<u64, Weight>::new(100);
        for key in 0..100 {
            table.entry(key, 0).unwrap().0 = u32::try_from(key).unwrap();
        }
        let bytes = postcard::to_stdvec(&table).unwrap();
        let mut read: Table<u64, Weight> = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(read.len(), 100);
        assert_eq!(read.get(42).unwrap().0, 42);
        read.limit(10, 0);
        assert_eq!((read.len(), read.displaced()), (10, 90));
        assert!(
            (90..100).all(|key| read.get(key).is_some()),
            "the best stay"
        );
        for key in 90..100 {
            assert_eq!(
                read.remove(key).map(|weight| u64::from(weight.0)),
                Some(key)
            );
            assert!((key + 1..100).all(|other| read.get(other).is_some()));
        }
        assert!(read.is_empty() && read.remove(90).is_none());
        let twice = postcard::to_stdvec(&(vec![(1_u64, 1_u32), (1, 2)], 0_u64)).unwrap();
        assert!(postcard::from_bytes::<Table<u64, Weight>>(&twice).is_err());
    }
}
