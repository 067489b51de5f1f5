//! The entries the kernel should hold: blocked zones, lists and decisions merged, each prefix once.
//!
//! Rules, the same as in `standing` for a single prefix:
//! - Of several sources with the same prefix the strongest stays: a blocked zone, then the higher
//!   score, then the later expiry, then the origin with the lower code, then the first in order.
//! - Whatever lies in a blocked zone is an entry of that zone (of its longest covering prefix): the
//!   verdict asks for blocked zones before reputation, and the kernel's search may end at the entry.
//! - What has expired is left out.

use edgeward_ebpf::{
    abi::{FOREVER, SCORE_BLOCKED_ZONE},
    lookup::Meta,
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

pub use super::standing::{By, Found, effective, is_exact, strongest};
use super::{
    classes::{ClassOrigin, Classes},
    clock::Now,
    decision::{Decision, Kind},
    feed::FeedTable,
    nested::{Nested, Sweep},
    prefix::canonical_network,
};
use crate::config::{Capacity, List, Networks, Uses, Zone};

/// The entries by the structure that holds them; each sorted by its key, each key once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// IPv4 /32.
    pub hosts4: Vec<(u32, Meta)>,
    /// IPv4 /24, by network address.
    pub nets24: Vec<(u32, Meta)>,
    /// IPv6 of length 128, 64, 56 or 48, by network address and length.
    pub exact6: Vec<(u128, u8, Meta)>,
    /// Every other length.
    pub trie: Vec<(IpNet, Meta)>,
}

/// How many entries gave way because a structure is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evicted {
    /// IPv4 /32 and /24, which share `capacity.hosts_v4`.
    pub hosts4: u64,
    /// Exact IPv6 entries (`capacity.hosts_v6`).
    pub exact6: u64,
    /// Entries of the tries (`capacity.prefixes`, for each family).
    pub trie: u64,
}

impl Evicted {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.hosts4
            .saturating_add(self.exact6)
            .saturating_add(self.trie)
    }
}

impl Desired {
    /// Merges all sources. Decisions may come in any order (sorted ones cost least); exemptions are
    /// passed over. New classes are given out in `classes`.
    #[must_use]
    pub fn build<'a>(
        zones: &[Zone],
        lists: &[List],
        decisions: impl IntoIterator<Item = &'a Decision>,
        classes: &mut Classes,
        now: Now,
    ) -> Self {
        Self::build_with(zones, lists, decisions, [], classes, now)
    }

    /// The same with the tables of feeds, in the order of the configuration.
    #[must_use]
    pub fn build_with<'a, 'f>(
        zones: &[Zone],
        lists: &[List],
        decisions: impl IntoIterator<Item = &'a Decision>,
        feeds: impl IntoIterator<Item = &'f FeedTable>,
        classes: &mut Classes,
        now: Now,
    ) -> Self {
        let mut desired = Self::default();
        let mut covers: Vec<(IpNet, Meta)> = Vec::new();
        for zone in zones
            .iter()
            .filter(|zone| zone.uses.contains(Uses::BLOCKED))
        {
            let class = classes.intern(ClassOrigin::BlockedZone, &zone.name);
            let meta = Meta::new(SCORE_BLOCKED_ZONE, class, FOREVER);
            desired.add_networks(&zone.networks, meta);
            covers.extend(zone.networks.prefixes.iter().map(|prefix| (*prefix, meta)));
        }
        for list in lists {
            let class = classes.intern(ClassOrigin::List, &list.name);
            desired.add_networks(&list.networks, Meta::new(list.score, class, FOREVER));
        }
        for decision in decisions {
            let expires = now.expiry_tick(decision.expires);
            if decision.kind == Kind::Block && now.is_live(expires) {
                let by = By::Decision(decision);
                let class = classes.intern(by.origin(), by.class_name());
                let meta = Meta::new(decision.score, class, expires);
                desired.add(canonical_network(decision.prefix), meta);
            }
        }
        for feed in feeds {
            let class = classes.intern(ClassOrigin::Feed, feed.name());
            let (hosts, nets) = feed.metas(class, now);
            desired.hosts4.extend(hosts);
            nets.for_each(|(net, meta)| desired.add(net, meta));
        }
        let origins = origin_codes(classes);
        merge(&mut desired.hosts4, |entry| (entry.0, entry.1), &origins);
        merge(&mut desired.nets24, |entry| (entry.0, entry.1), &origins);
        merge(
            &mut desired.exact6,
            |entry| ((entry.0, entry.1), entry.2),
            &origins,
        );
        merge(&mut desired.trie, |entry| (entry.0, entry.1), &origins);
        desired.promote(covers);
        desired
    }

    /// Entries that are final already, each prefix once, in any order.
    pub(super) fn from_entries(entries: impl Iterator<Item = (IpNet, Meta)>) -> Self {
        let mut desired = Self::default();
        for (prefix, meta) in entries {
            desired.add(prefix, meta);
        }
        desired.hosts4.sort_unstable_by_key(|entry| entry.0);
        desired.nets24.sort_unstable_by_key(|entry| entry.0);
        desired
            .exact6
            .sort_unstable_by_key(|entry| (entry.0, entry.1));
        desired.trie.sort_unstable_by_key(|entry| entry.0);
        desired
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        [
            self.hosts4.len(),
            self.nets24.len(),
            self.exact6.len(),
            self.trie.len(),
        ]
        .into_iter()
        .fold(0, usize::saturating_add)
    }

    /// True if nothing is listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every entry as prefix and content: hosts, /24, exact IPv6, tries.
    pub fn iter(&self) -> impl Iterator<Item = (IpNet, Meta)> + '_ {
        let hosts4 = self
            .hosts4
            .iter()
            .filter_map(|(host, meta)| Some((net4(*host, 32)?, *meta)));
        let nets24 = self
            .nets24
            .iter()
            .filter_map(|(net, meta)| Some((net4(*net, 24)?, *meta)));
        let exact6 = self
            .exact6
            .iter()
            .filter_map(|(net, len, meta)| Some((net6(*net, *len)?, *meta)));
        hosts4
            .chain(nets24)
            .chain(exact6)
            .chain(self.trie.iter().copied())
    }

    /// What is held under exactly this canonical prefix.
    #[must_use]
    pub fn get(&self, prefix: &IpNet) -> Option<Meta> {
        let by_u32 = |entries: &[(u32, Meta)], key: u32| {
            let index = entries.binary_search_by_key(&key, |entry| entry.0).ok()?;
            entries.get(index).map(|entry| entry.1)
        };
        match prefix {
            IpNet::V4(v4) if v4.prefix_len() == 32 => by_u32(&self.hosts4, v4.addr().into()),
            IpNet::V4(v4) if v4.prefix_len() == 24 => by_u32(&self.nets24, v4.addr().into()),
            IpNet::V6(v6) if is_exact(prefix) => {
                let key = (u128::from(v6.addr()), v6.prefix_len());
                let index = self
                    .exact6
                    .binary_search_by_key(&key, |entry| (entry.0, entry.1))
                    .ok()?;
                self.exact6.get(index).map(|entry| entry.2)
            }
            _ => {
                let index = self
                    .trie
                    .binary_search_by_key(prefix, |entry| entry.0)
                    .ok()?;
                self.trie.get(index).map(|entry| entry.1)
            }
        }
    }

    /// Marks every class that an entry holds, for [`Classes::retain`].
    pub fn mark_classes(&self, used: &mut [bool; 256]) {
        let exact4 = self.hosts4.iter().chain(&self.nets24).map(|entry| entry.1);
        let metas = exact4
            .chain(self.exact6.iter().map(|entry| entry.2))
            .chain(self.trie.iter().map(|entry| entry.1));
        for meta in metas {
            if let Some(mark) = used.get_mut(usize::from(meta.class())) {
                *mark = true;
            }
        }
    }

    /// Makes everything fit: the lowest scores give way, among equals those that expire first, among
    /// those the highest addresses (of hosts and /24 the latter).
    pub fn fit(&mut self, capacity: &Capacity) -> Evicted {
        let mut cut = Cut::of(
            self.hosts4.iter().chain(&self.nets24).map(|entry| entry.1),
            capacity.hosts_v4,
        );
        self.hosts4.retain(|entry| cut.keeps(entry.1));
        self.nets24.retain(|entry| cut.keeps(entry.1));
        let mut cut6 = Cut::of(self.exact6.iter().map(|entry| entry.2), capacity.hosts_v6);
        self.exact6.retain(|entry| cut6.keeps(entry.2));
        let family = |v4: bool| move |entry: &&(IpNet, Meta)| matches!(entry.0, IpNet::V4(_)) == v4;
        let mut trie4 = Cut::of(
            self.trie.iter().filter(family(true)).map(|entry| entry.1),
            capacity.prefixes,
        );
        let mut trie6 = Cut::of(
            self.trie.iter().filter(family(false)).map(|entry| entry.1),
            capacity.prefixes,
        );
        self.trie.retain(|entry| match entry.0 {
            IpNet::V4(_) => trie4.keeps(entry.1),
            IpNet::V6(_) => trie6.keeps(entry.1),
        });
        Evicted {
            hosts4: cut.evicted,
            exact6: cut6.evicted,
            trie: trie4.evicted.saturating_add(trie6.evicted),
        }
    }

    fn add_networks(&mut self, networks: &Networks, meta: Meta) {
        self.hosts4
            .extend(networks.hosts_v4.iter().map(|host| (*host, meta)));
        self.exact6
            .extend(networks.hosts_v6.iter().map(|host| (*host, 128, meta)));
        for prefix in &networks.prefixes {
            self.add(*prefix, meta);
        }
    }

    fn add(&mut self, prefix: IpNet, meta: Meta) {
        match prefix {
            IpNet::V4(v4) if v4.prefix_len() == 32 => self.hosts4.push((v4.addr().into(), meta)),
            IpNet::V4(v4) if v4.prefix_len() == 24 => self.nets24.push((v4.addr().into(), meta)),
            IpNet::V6(v6) if is_exact(&prefix) => {
                self.exact6.push((v6.addr().into(), v6.prefix_len(), meta));
            }
            _ => self.trie.push((prefix, meta)),
        }
    }

    /// Gives entries inside a blocked zone that zone's score and class. A blocked host covers itself
    /// alone, and there the zone has won already.
    fn promote(&mut self, covers: Vec<(IpNet, Meta)>) {
        if covers.is_empty() {
            return;
        }
        // Of the zones with the same prefix the first decides.
        let first =
            |_: Option<&Option<Meta>>, same: &[(IpNet, Meta)]| same.first().map(|(_, meta)| *meta);
        let covers = Nested::build(covers, first);
        let (mut sweep4, mut sweep24) = (covers.sweep(), covers.sweep());
        let (mut sweep6, mut sweep_trie) = (covers.sweep(), covers.sweep());
        let zone = |sweep: &mut Sweep<'_, Option<Meta>>, prefix: Option<IpNet>, meta: &mut Meta| {
            if let Some((_, Some(zone))) = prefix.and_then(|prefix| sweep.longest(&prefix))
                && meta.score() != SCORE_BLOCKED_ZONE
            {
                *meta = *zone;
            }
        };
        for (host, meta) in &mut self.hosts4 {
            zone(&mut sweep4, net4(*host, 32), meta);
        }
        for (net, meta) in &mut self.nets24 {
            zone(&mut sweep24, net4(*net, 24), meta);
        }
        for (net, length, meta) in &mut self.exact6 {
            zone(&mut sweep6, net6(*net, *length), meta);
        }
        for (prefix, meta) in &mut self.trie {
            zone(&mut sweep_trie, Some(*prefix), meta);
        }
    }
}

/// Whether a blocked zone has a prefix that hides behind a shorter one which the kernel asks for first
/// (IPv4 /25 to /31 behind a listed /24; IPv6 lengths behind a listed /64, /56 or /48).
///
/// The kernel then must not end its search at such an entry unless it is a blocked zone's itself, or it
/// would report the refusal as one by reputation.
#[must_use]
pub fn hides_blocked(zones: &[Zone]) -> bool {
    let blocked = zones
        .iter()
        .filter(|zone| zone.uses.contains(Uses::BLOCKED));
    blocked
        .flat_map(|zone| &zone.networks.prefixes)
        .any(|prefix| {
            !is_exact(prefix)
                && prefix.prefix_len()
                    > if matches!(prefix, IpNet::V4(_)) {
                        24
                    } else {
                        48
                    }
        })
}

/// Sorts by key, stably, and keeps the strongest of each. Sources come as sorted runs, which the
/// standard sort merges instead of sorting; a single one is left as it is.
fn merge<E: Copy, K: Ord>(
    entries: &mut Vec<E>,
    parts: impl Fn(&E) -> (K, Meta),
    origins: &[u8; 256],
) {
    if !entries.is_sorted_by(|a, b| parts(a).0 < parts(b).0) {
        entries.sort_by(|a, b| parts(a).0.cmp(&parts(b).0));
        entries.dedup_by(|later, kept| {
            let ((key, new), (kept_key, old)) = (parts(later), parts(kept));
            if key != kept_key {
                return false;
            }
            if precedence(new, origins) > precedence(old, origins) {
                *kept = *later;
            }
            true
        });
    }
    // What is held twice over costs memory for as long as the list lives.
    entries.shrink_to_fit();
}

/// Orders entries with the same prefix.
fn precedence(meta: Meta, origins: &[u8; 256]) -> (u64, std::cmp::Reverse<u8>) {
    let origin = origins
        .get(usize::from(meta.class()))
        .copied()
        .unwrap_or(u8::MAX);
    (strength(meta), std::cmp::Reverse(origin))
}

/// Score, then expiry.
fn strength(meta: Meta) -> u64 {
    u64::from(meta.score()) << 32 | u64::from(meta.expires())
}

/// By class, the code of its origin.
fn origin_codes(classes: &Classes) -> [u8; 256] {
    let mut codes = [u8::MAX; 256];
    for (code, id) in codes.iter_mut().zip(0..=u8::MAX) {
        if let Some((origin, _)) = classes.get(id) {
            *code = origin.code();
        }
    }
    codes
}

/// What stays of a structure that is too full.
struct Cut {
    /// Weaker entries go.
    weakest: u64,
    /// How many of exactly that strength still may stay.
    room: u64,
    evicted: u64,
}

impl Cut {
    fn of(metas: impl Iterator<Item = Meta> + Clone, capacity: u32) -> Self {
        let capacity = usize::try_from(capacity).unwrap_or(usize::MAX);
        let open = Self {
            weakest: 0,
            room: u64::MAX,
            evicted: 0,
        };
        if metas.clone().count() <= capacity {
            return open;
        }
        let mut strengths: Vec<u64> = metas.map(strength).collect();
        let Some(last) = capacity.checked_sub(1) else {
            return Self {
                weakest: u64::MAX,
                room: 0,
                evicted: 0,
            };
        };
        let (stronger, weakest, _) = strengths.select_nth_unstable_by(last, |a, b| b.cmp(a));
        let weakest = *weakest;
        let equal = stronger
            .iter()
            .filter(|strength| **strength == weakest)
            .count();
        Self {
            weakest,
            room: u64::try_from(equal).unwrap_or(u64::MAX).saturating_add(1),
            evicted: 0,
        }
    }

    fn keeps(&mut self, meta: Meta) -> bool {
        let strength = strength(meta);
        if strength == self.weakest && self.room > 0 {
            self.room -= 1;
            return true;
        }
        let keeps = strength > self.weakest;
        self.evicted = self.evicted.saturating_add(u64::from(!keeps));
        keeps
    }
}

fn net4(address: u32, length: u8) -> Option<IpNet> {
    Ipv4Net::new(address.into(), length).ok().map(IpNet::V4)
}

fn net6(address: u128, length: u8) -> Option<IpNet> {
    Ipv6Net::new(address.into(), length).ok().map(IpNet::V6)
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "listing_properties.rs"]
mod properties;
