//! What the kernel holds against addresses: an immutable base, and the changes since it was built.
//!
//! A change costs as much as itself, not as the million entries beside it. The changes are a persistent
//! map: snapshots share it, and the one that a request holds never changes under it.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use edgeward_ebpf::{abi::SCORE_BLOCKED_ZONE, lookup::Meta, verdict::Entry};
use ipnet::IpNet;

use super::table::{Address as _, Hosts, Nets, Packed};
use crate::policy::{clock::Now, listing::Desired, prefix::canonical_address};

/// Entries by prefix; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Entries {
    base: Arc<Base>,
    /// What differs from the base; `None` is no entry.
    changes: imbl::HashMap<Key, Option<Meta>>,
    /// The lengths that occur among the changes.
    changed: Lengths,
}

/// The entries as they were when the base was built.
#[derive(Debug, Default)]
struct Base {
    hosts4: Hosts<u32>,
    nets4: Nets<u32, Packed>,
    hosts6: Hosts<u128>,
    nets6: Nets<u128, Packed>,
}

/// A prefix as a key: IPv4 as mapped IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key {
    address: u128,
    length: u8,
}

/// A set of prefix lengths for each family.
#[derive(Clone, Copy, Debug, Default)]
struct Lengths {
    v4: u64,
    /// Bits 0 to 127; whether 128 is among them.
    v6: u128,
    hosts6: bool,
}

/// Changes that make a new base, if they are also an eighth of it.
const CHANGES_MAX: usize = 4_096;

impl Entries {
    pub(super) fn new(desired: &Desired) -> Self {
        Self {
            base: Arc::new(Base::new(desired)),
            changes: imbl::HashMap::new(),
            changed: Lengths::default(),
        }
    }

    /// With another content under exactly this canonical prefix.
    pub(super) fn with(mut self, prefix: IpNet, meta: Option<Meta>) -> Self {
        let key = Key::of(prefix);
        self.changes.insert(key, meta);
        self.changed.add(prefix);
        if self.changes.len() > CHANGES_MAX.max(self.base.len() / 8) {
            self = self.rebuilt();
        }
        self
    }

    /// The live entry that decides about an address, as the kernel's search finds it: one of a blocked
    /// zone first, then the first one whose score reaches `enough`, else the one with the highest score.
    #[inline]
    pub(super) fn strongest(&self, address: IpAddr, enough: u8, now: Now) -> Option<Entry> {
        let mut best = Best::new(enough, now);
        match canonical_address(address) {
            IpAddr::V4(v4) => self
                .base
                .offer4(v4, &mut best, |length| self.hides(IpAddr::V4(v4), length)),
            IpAddr::V6(v6) => self
                .base
                .offer6(v6, &mut best, |length| self.hides(IpAddr::V6(v6), length)),
        }
        if !self.changes.is_empty() {
            self.offer_changes(canonical_address(address), &mut best);
        }
        best.entry()
    }

    /// Whether the base's entry of this length is no longer what it was.
    #[inline]
    fn hides(&self, address: IpAddr, length: u8) -> bool {
        !self.changes.is_empty()
            && self.changed.contains(address, length)
            && self.changes.contains_key(&Key::at(address, length))
    }

    fn offer_changes(&self, address: IpAddr, best: &mut Best) {
        let longest = if address.is_ipv4() { 32 } else { 128 };
        for length in (0..=longest)
            .rev()
            .filter(|length| self.changed.contains(address, *length))
        {
            if let Some(Some(meta)) = self.changes.get(&Key::at(address, length)) {
                best.offer(longest, length, *meta);
            }
        }
    }

    /// Every entry, in any order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (IpNet, Meta)> + '_ {
        let unchanged = |(prefix, _): &(IpNet, Meta)| {
            self.changes.is_empty() || !self.changes.contains_key(&Key::of(*prefix))
        };
        let changes = self
            .changes
            .iter()
            .filter_map(|(key, meta)| Some((key.prefix()?, (*meta)?)));
        self.base.iter().filter(unchanged).chain(changes)
    }

    /// With a base of its own, and no changes.
    pub(super) fn rebuilt(&self) -> Self {
        Self::new(&self.flat())
    }

    /// Base and changes as one.
    fn flat(&self) -> Desired {
        Desired::from_entries(self.iter())
    }

    #[cfg(test)]
    pub(super) fn changes(&self) -> usize {
        self.changes.len()
    }

    /// Bytes that the base holds.
    #[cfg(test)]
    pub(super) fn base_bytes(&self) -> usize {
        self.base.bytes()
    }
}

impl Base {
    fn new(desired: &Desired) -> Self {
        let mut nets4: Vec<(u32, u8, Packed)> = desired
            .nets24
            .iter()
            .map(|(net, meta)| (*net, 24, Packed::new(*meta)))
            .collect();
        let mut nets6: Vec<(u128, u8, Packed)> = desired
            .exact6
            .iter()
            .filter(|entry| entry.1 != 128)
            .map(|(net, length, meta)| (*net, *length, Packed::new(*meta)))
            .collect();
        for (prefix, meta) in &desired.trie {
            match prefix {
                IpNet::V4(v4) => {
                    nets4.push((v4.addr().into(), v4.prefix_len(), Packed::new(*meta)))
                }
                IpNet::V6(v6) => {
                    nets6.push((v6.addr().into(), v6.prefix_len(), Packed::new(*meta)))
                }
            }
        }
        nets4.sort_unstable_by_key(|entry| (entry.0, entry.1));
        nets6.sort_unstable_by_key(|entry| (entry.0, entry.1));
        let hosts6 = desired.exact6.iter().filter(|entry| entry.1 == 128);
        Self {
            hosts4: Hosts::new(desired.hosts4.iter().copied()),
            nets4: Nets::new(nets4),
            hosts6: Hosts::new(hosts6.map(|(host, _, meta)| (*host, *meta))),
            nets6: Nets::new(nets6),
        }
    }

    #[inline]
    fn offer4(&self, address: Ipv4Addr, best: &mut Best, hidden: impl Fn(u8) -> bool) {
        let bits = u32::from(address);
        if let Some(meta) = self.hosts4.get(bits).filter(|_| !hidden(32)) {
            best.offer(32, 32, meta);
        }
        for (length, packed) in self
            .nets4
            .covering(bits)
            .filter(|(length, _)| !hidden(*length))
        {
            best.offer(32, length, packed.meta());
        }
    }

    #[inline]
    fn offer6(&self, address: Ipv6Addr, best: &mut Best, hidden: impl Fn(u8) -> bool) {
        let bits = u128::from(address);
        if let Some(meta) = self.hosts6.get(bits).filter(|_| !hidden(128)) {
            best.offer(128, 128, meta);
        }
        for (length, packed) in self
            .nets6
            .covering(bits)
            .filter(|(length, _)| !hidden(*length))
        {
            best.offer(128, length, packed.meta());
        }
    }

    /// What it holds in memory.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.hosts4.bytes() + self.nets4.bytes() + self.hosts6.bytes() + self.nets6.bytes()
    }

    fn len(&self) -> usize {
        self.hosts4.len() + self.nets4.len() + self.hosts6.len() + self.nets6.len()
    }

    fn iter(&self) -> impl Iterator<Item = (IpNet, Meta)> + '_ {
        let v4 = |address: u32, length| IpNet::new(Ipv4Addr::from(address).into(), length).ok();
        let v6 = |address: u128, length| IpNet::new(Ipv6Addr::from(address).into(), length).ok();
        let hosts4 = self
            .hosts4
            .iter()
            .filter_map(move |(host, meta)| Some((v4(host, 32)?, meta)));
        let hosts6 = self
            .hosts6
            .iter()
            .filter_map(move |(host, meta)| Some((v6(host, 128)?, meta)));
        let nets4 = self
            .nets4
            .iter()
            .filter_map(move |(net, length, meta)| Some((v4(net, length)?, meta.meta())));
        let nets6 = self
            .nets6
            .iter()
            .filter_map(move |(net, length, meta)| Some((v6(net, length)?, meta.meta())));
        hosts4.chain(hosts6).chain(nets4).chain(nets6)
    }
}

impl Key {
    fn of(prefix: IpNet) -> Self {
        Self::at(prefix.addr(), prefix.prefix_len())
    }

    /// The prefix of that length around an address.
    fn at(address: IpAddr, length: u8) -> Self {
        let (bits, length) = match address {
            IpAddr::V4(v4) => (u128::from(v4.to_ipv6_mapped()), length.saturating_add(96)),
            IpAddr::V6(v6) => (u128::from(v6), length),
        };
        Self {
            address: bits.masked(length),
            length,
        }
    }

    fn prefix(self) -> Option<IpNet> {
        let prefix = IpNet::new(Ipv6Addr::from(self.address).into(), self.length).ok()?;
        Some(crate::policy::prefix::canonical_network(prefix))
    }
}

impl Lengths {
    fn add(&mut self, prefix: IpNet) {
        let length = u32::from(prefix.prefix_len());
        match prefix {
            IpNet::V4(_) => self.v4 |= 1_u64.checked_shl(length).unwrap_or(0),
            IpNet::V6(_) if length == 128 => self.hosts6 = true,
            IpNet::V6(_) => self.v6 |= 1_u128.checked_shl(length).unwrap_or(0),
        }
    }

    #[inline]
    fn contains(&self, address: IpAddr, length: u8) -> bool {
        let length = u32::from(length);
        match address {
            IpAddr::V4(_) => self.v4.checked_shr(length).unwrap_or(0) & 1 != 0,
            IpAddr::V6(_) if length == 128 => self.hosts6,
            IpAddr::V6(_) => self.v6.checked_shr(length).unwrap_or(0) & 1 != 0,
        }
    }
}

/// The strongest entry so far. The order in which entries are offered changes nothing.
struct Best {
    enough: u8,
    tick: u32,
    rank: (u8, u8, u8),
    meta: Option<Meta>,
}

impl Best {
    fn new(enough: u8, now: Now) -> Self {
        Self {
            enough,
            tick: now.tick(),
            rank: (0, 0, 0),
            meta: None,
        }
    }

    #[inline]
    fn offer(&mut self, longest: u8, length: u8, meta: Meta) {
        let expires = meta.expires();
        if expires != edgeward_ebpf::abi::FOREVER && self.tick >= expires {
            return;
        }
        let rank = match meta.score() {
            SCORE_BLOCKED_ZONE => (3, length, 0),
            score if score >= self.enough => (2, 0, turn(longest, length)),
            score => (1, score, turn(longest, length)),
        };
        if rank > self.rank {
            self.rank = rank;
            self.meta = Some(meta);
        }
    }

    fn entry(&self) -> Option<Entry> {
        self.meta.map(|meta| Entry {
            score: meta.score(),
            class: meta.class(),
        })
    }
}

/// When the kernel asks for this length, the first the highest: exact ones, then the tries' from long to
/// short.
const fn turn(longest: u8, length: u8) -> u8 {
    match (longest, length) {
        (32, 32 | 24) | (128, 128 | 64 | 56 | 48) => length.saturating_add(127),
        _ => length,
    }
}
