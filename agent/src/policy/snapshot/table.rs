//! Immutable tables of prefixes: small, and every prefix that covers an address is a few steps away.
//!
//! Keys are sorted arrays; the first bits that differ between them lead to the right part by an index.
//! Hosts have a table of their own, since they are many and cover nothing else.

use edgeward_ebpf::lookup::{Meta, mask6};

/// An address as a number; the first octet is the highest byte.
pub(super) trait Address: Copy + Ord + Default {
    /// 32 or 128.
    const BITS: u8;
    /// With the bits behind `length` cleared.
    fn masked(self, length: u8) -> Self;
    /// How many leading bits two of them share, at most 128.
    fn shared(self, other: Self) -> u32;
    /// The `count` bits (at most 16) behind the first `skip`.
    fn bits(self, skip: u32, count: u32) -> usize;
}

impl Address for u32 {
    const BITS: u8 = 32;
    fn masked(self, length: u8) -> Self {
        match 32_u32.checked_sub(u32::from(length)) {
            None | Some(0) => self,
            Some(rest) => self & u32::MAX.checked_shl(rest).unwrap_or(0),
        }
    }
    fn shared(self, other: Self) -> u32 {
        (self ^ other).leading_zeros()
    }
    fn bits(self, skip: u32, count: u32) -> usize {
        let window = self.checked_shl(skip).unwrap_or(0);
        let bits = window
            .checked_shr(32_u32.saturating_sub(count))
            .unwrap_or(0);
        usize::try_from(bits).unwrap_or(0)
    }
}

impl Address for u128 {
    const BITS: u8 = 128;
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    fn masked(self, length: u8) -> Self {
        let (high, low) = mask6((self >> 64) as u64, self as u64, length);
        Self::from(high) << 64 | Self::from(low)
    }
    fn shared(self, other: Self) -> u32 {
        (self ^ other).leading_zeros()
    }
    fn bits(self, skip: u32, count: u32) -> usize {
        let window = self.checked_shl(skip).unwrap_or(0);
        let bits = window
            .checked_shr(128_u32.saturating_sub(count))
            .unwrap_or(0);
        usize::try_from(bits).unwrap_or(0)
    }
}

/// Score, class and expiry in six bytes: a million of them is a megabyte or two less than as words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Packed([u16; 3]);

impl Packed {
    pub(super) fn new(meta: Meta) -> Self {
        let [_, high, middle, low] = split(meta.0);
        Self([high, middle, low])
    }

    pub(super) fn meta(self) -> Meta {
        let [high, middle, low] = self.0.map(u64::from);
        Meta(high << 32 | middle << 16 | low)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "cut into its pieces")]
const fn split(word: u64) -> [u16; 4] {
    [
        (word >> 48) as u16,
        (word >> 32) as u16,
        (word >> 16) as u16,
        word as u16,
    ]
}

/// Sorted keys with an index by their first differing bits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Keys<A> {
    keys: Box<[A]>,
    /// The bits that all keys begin with.
    shared: u32,
    /// How many bits pick a part.
    count: u32,
    /// By those bits, the first key of each part; one element more than there are parts.
    parts: Box<[u32]>,
}

impl<A: Address> Keys<A> {
    fn new(keys: Box<[A]>) -> Self {
        let (Some(first), Some(last)) = (keys.first(), keys.last()) else {
            return Self::default();
        };
        let shared = first.shared(*last).min(u32::from(A::BITS));
        let count = keys
            .len()
            .ilog2()
            .min(16)
            .min(u32::from(A::BITS).saturating_sub(shared));
        let mut parts = Vec::with_capacity((1_usize << count).saturating_add(1));
        let mut at = 0_u32;
        let mut rest = keys.iter().peekable();
        for part in 0..=1_usize << count {
            while rest.next_if(|key| key.bits(shared, count) < part).is_some() {
                at = at.saturating_add(1);
            }
            parts.push(at);
        }
        Self {
            keys,
            shared,
            count,
            parts: parts.into(),
        }
    }

    #[cfg(test)]
    fn bytes(&self) -> usize {
        size_of_val(&*self.keys) + size_of_val(&*self.parts)
    }

    /// How many keys are not after `address`.
    #[inline]
    fn not_after(&self, address: A) -> usize {
        let (Some(first), Some(last)) = (self.keys.first(), self.keys.last()) else {
            return 0;
        };
        if address < *first {
            return 0;
        }
        if address >= *last {
            return self.keys.len();
        }
        let part = address.bits(self.shared, self.count);
        let bound = |part: usize| self.parts.get(part).map_or(0, |at| *at as usize);
        let (from, to) = (bound(part), bound(part + 1));
        let within = self.keys.get(from..to).unwrap_or_default();
        from + within.partition_point(|key| *key <= address)
    }
}

/// Single addresses with what is listed under them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hosts<A> {
    keys: Keys<A>,
    metas: Box<[Packed]>,
}

impl<A: Address> Hosts<A> {
    /// From entries that rise, each address once.
    pub(super) fn new(entries: impl Iterator<Item = (A, Meta)> + Clone) -> Self {
        Self {
            metas: entries.clone().map(|(_, meta)| Packed::new(meta)).collect(),
            keys: Keys::new(entries.map(|(address, _)| address).collect()),
        }
    }

    #[inline]
    pub(super) fn get(&self, address: A) -> Option<Meta> {
        let index = self.keys.not_after(address).checked_sub(1)?;
        let found = self.keys.keys.get(index)? == &address;
        found
            .then(|| self.metas.get(index).copied().map(Packed::meta))
            .flatten()
    }

    pub(super) fn len(&self) -> usize {
        self.metas.len()
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.keys.bytes() + size_of_val(&*self.metas)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (A, Meta)> + '_ {
        let metas = self.metas.iter().copied().map(Packed::meta);
        self.keys.keys.iter().copied().zip(metas)
    }
}

/// Prefixes with values, which know what covers them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Nets<A, V> {
    keys: Keys<A>,
    lengths: Box<[u8]>,
    /// Of each, the index of the longest other one that covers it; [`NONE`] without one.
    covers: Box<[u32]>,
    values: Box<[V]>,
}

impl<A: Default, V> Default for Nets<A, V> {
    fn default() -> Self {
        Self {
            keys: Keys {
                keys: Box::default(),
                shared: 0,
                count: 0,
                parts: Box::default(),
            },
            lengths: Box::default(),
            covers: Box::default(),
            values: Box::default(),
        }
    }
}

impl<A: Address, V> Nets<A, V> {
    /// From canonical prefixes that rise by address, then length, each once.
    pub(super) fn new(entries: Vec<(A, u8, V)>) -> Self {
        let mut covers = Vec::with_capacity(entries.len());
        let mut open: Vec<(A, u8, u32)> = Vec::new();
        for (index, (address, length, _)) in (0_u32..).zip(&entries) {
            while open
                .pop_if(|(cover, shorter, _)| address.masked(*shorter) != *cover)
                .is_some()
            {}
            covers.push(open.last().map_or(NONE, |(_, _, index)| *index));
            open.push((*address, *length, index));
        }
        Self {
            keys: Keys::new(entries.iter().map(|entry| entry.0).collect()),
            lengths: entries.iter().map(|entry| entry.1).collect(),
            covers: covers.into(),
            values: entries.into_iter().map(|entry| entry.2).collect(),
        }
    }

    /// Every prefix that covers `address`, the longest first.
    #[inline]
    pub(super) fn covering(&self, address: A) -> impl Iterator<Item = (u8, &V)> {
        let start = self.keys.not_after(address).checked_sub(1);
        let start = start.and_then(|index| u32::try_from(index).ok());
        std::iter::successors(start, |index| {
            let cover = *self.covers.get(*index as usize)?;
            (cover != NONE).then_some(cover)
        })
        .filter_map(move |index| {
            let index = index as usize;
            let (key, length) = (self.keys.keys.get(index)?, *self.lengths.get(index)?);
            let covers = address.masked(length) == *key;
            covers
                .then(|| Some((length, self.values.get(index)?)))
                .flatten()
        })
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.keys.bytes()
            + size_of_val(&*self.lengths)
            + size_of_val(&*self.covers)
            + size_of_val(&*self.values)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (A, u8, &V)> + '_ {
        let keys = self
            .keys
            .keys
            .iter()
            .copied()
            .zip(self.lengths.iter().copied());
        keys.zip(&self.values)
            .map(|((key, length), value)| (key, length, value))
    }
}

const NONE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::random::Random;

    #[test]
    fn a_meta_survives_its_packing() {
        for meta in [
            Meta::new(127, 255, u32::MAX),
            Meta::new(1, 0, 0),
            Meta::new(80, 7, 12_345_678),
            Meta(0),
        ] {
            assert_eq!(Packed::new(meta).meta(), meta);
        }
        assert_eq!(size_of::<Packed>(), 6);
    }

    /// Addresses that share bits, lie far apart, or are the ends of the space.
    fn addresses(random: &mut Random, count: u64) -> Vec<u128> {
        let base = random.pick(&[0_u128, 0x2001_0db8 << 96, u128::MAX << 20]);
        let spread = random.pick(&[4_u32, 16, 40, 100, 127]);
        (0..count)
            .map(|_| match random.below(20) {
                0 => 0,
                1 => u128::MAX,
                _ => {
                    base ^ (u128::from(random.next()) << 64 | u128::from(random.next()))
                        >> (128 - spread)
                }
            })
            .collect()
    }

    #[test]
    fn hosts_are_found_as_by_a_map() {
        let mut random = Random::new(91);
        for round in 0..200 {
            let meta = |index: usize| Meta::new(1, u8::try_from(index % 251).unwrap(), 7);
            let listed: std::collections::BTreeMap<u128, Meta> = addresses(&mut random, round)
                .into_iter()
                .enumerate()
                .map(|(index, address)| (address, meta(index)))
                .collect();
            let hosts = Hosts::new(listed.iter().map(|(address, meta)| (*address, *meta)));
            assert_eq!(
                (hosts.len(), hosts.iter().count()),
                (listed.len(), listed.len())
            );
            let near: Vec<u128> = listed
                .keys()
                .flat_map(|key| [key.wrapping_sub(1), *key, key.wrapping_add(1)])
                .collect();
            for address in near.into_iter().chain(addresses(&mut random, 50)) {
                assert_eq!(
                    hosts.get(address),
                    listed.get(&address).copied(),
                    "{address:x}"
                );
            }
        }
    }

    #[test]
    fn every_cover_is_found_from_long_to_short() {
        let mut random = Random::new(92);
        for round in 0..300 {
            let mut listed: Vec<(u32, u8, usize)> = (0..round)
                .map(|index| {
                    let length = random.pick(&[0_u8, 1, 8, 9, 15, 16, 17, 23, 24, 25, 30, 31, 32]);
                    let address =
                        random.pick(&[0x0a00_0000_u32, 0x0a01_0000, 0xc000_0200, u32::MAX])
                            ^ u32::try_from(random.below(1 << 12)).unwrap();
                    (address.masked(length), length, index)
                })
                .collect();
            listed.sort_by_key(|entry| (entry.0, entry.1));
            listed.dedup_by_key(|entry| (entry.0, entry.1));
            let nets = Nets::new(listed.clone());
            assert!(
                nets.iter()
                    .map(|(key, length, value)| (key, length, *value))
                    .eq(listed.iter().copied())
            );
            for _ in 0..100 {
                let address =
                    random.pick(&[0x0a00_0000_u32, 0x0a01_0000, 0xc000_0200, u32::MAX, 0])
                        ^ u32::try_from(random.below(1 << 13)).unwrap();
                let mut naive: Vec<(u8, usize)> = listed
                    .iter()
                    .filter(|(key, length, _)| address.masked(*length) == *key)
                    .map(|(_, length, value)| (*length, *value))
                    .collect();
                naive.reverse();
                let found: Vec<(u8, usize)> = nets
                    .covering(address)
                    .map(|(length, value)| (length, *value))
                    .collect();
                assert_eq!(found, naive, "{address:x}");
            }
        }
    }
}
