//! Every map that says who is judged how, and the order in which they change.
//!
//! The order is what keeps the contract. Adding: entry, filter bit, presence flag. Removing: the other
//! way round. Zones grow before entries change and shrink afterwards, so nothing that is exempt or a
//! proxy before or after a change can be dropped during it. The whole of it is [`Tables::apply`]; one entry is `point`'s.

mod flags;
mod point;
mod ports;

use std::{
    collections::HashMap,
    os::fd::OwnedFd,
    sync::atomic::{AtomicU64, Ordering::Release},
};

use anyhow::{Context as _, anyhow};
use edgeward_ebpf::{
    abi::{
        CLASSES, Class, Control, Limits, Listed, PolicyWord, StashKey, ZoneValue, hosts, present,
        profile,
    },
    lookup::{Kind4, Meta, filter6, table4},
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

pub(super) use self::flags::flags_of;
use super::{
    exact::{V4, V6},
    generation::{Change, Generation, Slots, Switch},
    marks,
    sys::{Table, Words},
    trie::{Tries, Value},
};
use crate::policy::{listing::Desired, zone::ZoneTable};

/// Everything the kernel should hold besides the policy word.
#[derive(Debug)]
pub struct Wanted {
    /// Entries.
    pub entries: Desired,
    /// Zones.
    pub zones: ZoneTable,
    /// Rules by port ([`edgeward_ebpf::abi::port`]); ports without rules are left out.
    pub ports: Vec<(u16, u64)>,
    /// Limits by [`profile`].
    pub limits: [Limits; profile::COUNT as usize],
    /// A blocked zone may have a prefix inside a listed network ([`present::HIDDEN`]).
    pub hidden: bool,
}

/// An entry as the kernel holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Prefix.
    pub prefix: IpNet,
    /// Score, class, expiry.
    pub meta: Meta,
    /// Frames that matched.
    pub hits: u64,
}

/// How full the tables are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Fill {
    /// Exact IPv4 entries, /32 and /24.
    pub exact_v4: usize,
    /// Slots for them in the generation in force; it grows by itself up to the capacity.
    pub slots_v4: usize,
    /// Exact IPv6 entries.
    pub exact_v6: usize,
    /// Slots for them.
    pub slots_v6: usize,
    /// Entries whose bucket is full.
    pub stashed: usize,
    /// Prefixes in the IPv4 trie.
    pub prefixes_v4: usize,
    /// Prefixes in the IPv6 trie.
    pub prefixes_v6: usize,
    /// Zone prefixes, IPv4.
    pub zones_v4: usize,
    /// Zone prefixes, IPv6.
    pub zones_v6: usize,
}

/// The maps.
pub(super) struct Tables {
    pub(super) control: Words,
    pub(super) table4: Words,
    pub(super) filter6: Words,
    pub(super) outer: Table<u32, u32>,
    pub(super) stash: Table<StashKey, Listed>,
    pub(super) exact4: Generation<V4>,
    pub(super) exact6: Generation<V6>,
    pub(super) list: Tries<Listed>,
    pub(super) zones: Tries<ZoneValue>,
    pub(super) ports: Table<u32, u64>,
    pub(super) limits: Table<u32, Limits>,
    pub(super) classes: Table<u32, Class>,
    pub(super) seed: u64,
    /// Exact entries by what the presence flags distinguish.
    counts: HashMap<u16, usize>,
    /// A prefix of an IPv6 trie is too short for the filter.
    wide6: bool,
    /// See [`Wanted::hidden`].
    hidden: bool,
    ports_live: Vec<(u16, u64)>,
    limits_live: [Limits; profile::COUNT as usize],
}

/// Where generations are switched over, while the generations themselves are borrowed to change.
macro_rules! switch {
    ($tables:expr) => {
        Switch {
            outer: &$tables.outer,
            control: &$tables.control,
        }
    };
}
use switch;

/// Descriptors of the maps, by name.
pub(super) type Opened = HashMap<&'static str, OwnedFd>;

impl Tables {
    /// Takes over opened maps. `seed` is drawn by the caller and used only if the maps are new.
    pub(super) fn open(mut maps: Opened, seed: u64, sizes: &super::Sizes) -> anyhow::Result<Self> {
        use std::os::fd::AsFd as _;
        let mut take = |name: &'static str| {
            maps.remove(name)
                .ok_or_else(|| anyhow!("the program has no map {name}"))
        };
        let words = |map: OwnedFd, count: usize, name: &str| {
            Words::map(map.as_fd(), count).with_context(|| format!("cannot map {name} into memory"))
        };
        let control = words(take("CONTROL")?, size_of::<Control>() / 8, "CONTROL")?;
        let seed = adopt_seed(&control, seed);
        let outer = Table::new(take("HOSTS")?);
        let stash = Table::new(take("STASH")?);
        let share = super::STASH as usize / 2;
        let switch = Switch {
            outer: &outer,
            control: &control,
        };
        let exact4 = Generation::open(switch, &stash, SLOTS_V4, seed, share)?;
        let exact6 = Generation::open(switch, &stash, SLOTS_V6, seed, share)?;
        let list = Tries::open(take("LIST4")?, take("LIST6")?, sizes.prefixes as usize)?;
        let zones = Tries::open(take("ZONES4")?, take("ZONES6")?, sizes.zones as usize)?;
        let mut tables = Self {
            control,
            table4: words(take("TABLE4")?, table4::WORDS as usize, "TABLE4")?,
            filter6: words(take("FILTER6")?, filter6::WORDS as usize, "FILTER6")?,
            outer,
            stash,
            exact4,
            exact6,
            list,
            zones,
            ports: Table::new(take("PORTS")?),
            limits: Table::new(take("LIMITS")?),
            classes: Table::new(take("CLASSES")?),
            seed,
            counts: HashMap::new(),
            wide6: false,
            hidden: false,
            ports_live: Vec::new(),
            limits_live: Default::default(),
        };
        tables.recount();
        tables.read_ports()?;
        Ok(tables)
    }

    /// Takes what the kernel holds for true, whoever wrote it: what is kept beside the maps saves look-ups
    /// and must not hide a change that was made behind the agent's back.
    pub(super) fn reread(&mut self) -> anyhow::Result<()> {
        self.exact4.reread(&self.stash)?;
        self.exact6.reread(&self.stash)?;
        self.list.reread()?;
        self.zones.reread()?;
        self.recount();
        self.read_ports()
    }

    /// The policy word in force.
    pub(super) fn policy(&self) -> PolicyWord {
        PolicyWord(word(&self.control, 0))
    }

    /// Publishes mode, thresholds and refusal in one store; presence flags are the tables' own.
    pub(super) fn set_policy(&self, policy: PolicyWord) {
        if let Some(word) = self.control.get().first() {
            word.store(policy.with_present(self.present()).0, Release);
        }
    }

    /// Sets one of the constants beside the policy word.
    pub(super) fn set_constant(&self, index: usize, value: u64) {
        if let Some(word) = self.control.get().get(index) {
            word.store(value, Release);
        }
    }

    /// Makes `wanted` what is in force.
    pub(super) fn apply(&mut self, wanted: &Wanted) -> anyhow::Result<Change> {
        let exact4 = joined(&wanted.entries);
        let exact6 = exact6_of(&wanted.entries);
        let (table, filter, wide) = self.marks_of(wanted, &exact4, &exact6);

        marks::widen(self.table4.get(), &table);
        marks::widen(self.filter6.get(), &filter);
        self.wide6 |= wide;
        self.hidden |= wanted.hidden;
        self.add_flags(flags_of(wanted));
        let mut change = self.widen_zones(wanted.zones.entries())?;
        self.set_ports(&wanted.ports, &wanted.limits)?;
        change.add(self.list.extend(&wanted.entries.trie)?);
        change.add(self.exact4.apply(switch!(self), &self.stash, &exact4)?);
        change.add(self.exact6.apply(switch!(self), &self.stash, &exact6)?);
        change.add(self.list.retain(&wanted.entries.trie)?);
        self.zones.extend(wanted.zones.entries())?;
        change.add(self.zones.retain(wanted.zones.entries())?);
        self.wide6 = wide;
        self.hidden = wanted.hidden;
        self.recount();
        self.set_policy(self.policy());
        marks::narrow(self.table4.get(), &table);
        marks::narrow(self.filter6.get(), &filter);
        Ok(change)
    }

    /// Makes `zones` what is in force, entries untouched.
    pub(super) fn set_zones(&mut self, zones: &ZoneTable) -> anyhow::Result<Change> {
        for (net, _) in zones.entries() {
            self.wide6 |= marks::prefix(self.table4.get(), self.filter6.get(), *net, self.seed);
        }
        self.add_flags(present::ZONES4 | present::ZONES6);
        let mut change = self.zones.extend(zones.entries())?;
        change.add(self.zones.retain(zones.entries())?);
        self.set_policy(self.policy());
        Ok(change)
    }

    /// The filters that go with `wanted`, and whether a prefix is too short for them.
    pub(super) fn marks_of(
        &self,
        wanted: &Wanted,
        exact4: &[((u32, Kind4), Meta)],
        exact6: &[((u128, u8), Meta)],
    ) -> (Vec<AtomicU64>, Vec<AtomicU64>, bool) {
        let (table, filter) = (marks::blank(table4::WORDS), marks::blank(filter6::WORDS));
        exact4
            .iter()
            .for_each(|(key, _)| marks::exact4(&table, *key));
        exact6
            .iter()
            .for_each(|(key, _)| marks::exact6(&filter, *key, self.seed));
        let mut wide = false;
        let prefixes = wanted.entries.trie.iter().map(|(net, _)| *net);
        for net in prefixes.chain(wanted.zones.entries().iter().map(|(net, _)| *net)) {
            wide |= marks::prefix(&table, &filter, net, self.seed);
        }
        (table, filter, wide)
    }

    /// Zones as they are now and as they will be: what either exempts or trusts stays so meanwhile.
    fn widen_zones(&mut self, wanted: &[(IpNet, ZoneValue)]) -> anyhow::Result<Change> {
        let both: Vec<_> = wanted
            .iter()
            .map(|(net, value)| {
                let mut value = *value;
                if let Some(old) = self.zones.live().get(net) {
                    value.uses |= old.uses;
                    value.exempt_until = value.exempt_until.max(old.exempt_until);
                }
                (*net, value)
            })
            .collect();
        self.zones.extend(&both)
    }

    /// Every entry in force.
    pub(super) fn installed(&self) -> anyhow::Result<Vec<Installed>> {
        let mut found = Vec::with_capacity(self.exact4.len() + self.exact6.len());
        for ((address, kind), meta, hits) in self.exact4.entries(&self.stash) {
            let length = if kind == Kind4::Host { 32 } else { 24 };
            found.push(Installed {
                prefix: Ipv4Net::new(address.into(), length)?.into(),
                meta,
                hits,
            });
        }
        for ((address, length), meta, hits) in self.exact6.entries(&self.stash) {
            found.push(Installed {
                prefix: Ipv6Net::new(address.into(), length)?.into(),
                meta,
                hits,
            });
        }
        for (prefix, value) in self.list.installed()? {
            found.push(Installed {
                prefix,
                meta: value.said(),
                hits: value.hits,
            });
        }
        Ok(found)
    }

    /// Zone values as the kernel holds them.
    pub(super) fn installed_zones(&self) -> anyhow::Result<Vec<(IpNet, ZoneValue)>> {
        self.zones.installed()
    }

    /// Fill levels.
    pub(super) fn fill(&self) -> Fill {
        Fill {
            exact_v4: self.exact4.len(),
            slots_v4: self.exact4.slots(),
            exact_v6: self.exact6.len(),
            slots_v6: self.exact6.slots(),
            stashed: self.exact4.stashed() + self.exact6.stashed(),
            prefixes_v4: self.list.count(false),
            prefixes_v6: self.list.count(true),
            zones_v4: self.zones.count(false),
            zones_v6: self.zones.count(true),
        }
    }

    /// Writes the class names.
    pub(super) fn set_classes(
        &self,
        records: impl Iterator<Item = (u8, Class)>,
    ) -> anyhow::Result<()> {
        for (id, class) in records {
            self.classes
                .set(&u32::from(id), &class)
                .context("cannot name a class")?;
        }
        Ok(())
    }

    /// Reads the class names.
    pub(super) fn classes(&self) -> anyhow::Result<Vec<(u8, Class)>> {
        let mut found = Vec::new();
        for id in 0..CLASSES {
            if let Some(class) = self
                .classes
                .get(&id)?
                .filter(|class| *class != Class::default())
            {
                found.push((u8::try_from(id)?, class));
            }
        }
        Ok(found)
    }
}

/// Hosts and /24 networks in one list, sorted as the generation's keys are.
pub(super) fn joined(entries: &Desired) -> Vec<((u32, Kind4), Meta)> {
    let hosts = entries
        .hosts4
        .iter()
        .map(|(address, meta)| ((*address, Kind4::Host), *meta));
    let nets = entries
        .nets24
        .iter()
        .map(|(address, meta)| ((*address, Kind4::Net24), *meta));
    let mut all: Vec<_> = hosts.chain(nets).collect();
    if !entries.nets24.is_empty() {
        all.sort_unstable_by_key(|(key, _)| *key);
    }
    all
}

/// Exact IPv6 entries as the generation's keys.
pub(super) fn exact6_of(entries: &Desired) -> Vec<((u128, u8), Meta)> {
    entries
        .exact6
        .iter()
        .map(|(address, length, meta)| ((*address, *length), *meta))
        .collect()
}

fn adopt_seed(control: &Words, fresh: u64) -> u64 {
    match word(control, SEED) {
        0 => {
            if let Some(word) = control.get().get(SEED) {
                word.store(fresh | 1, Release);
            }
            fresh | 1
        }
        seed => seed,
    }
}

fn word(words: &Words, index: usize) -> u64 {
    words
        .get()
        .get(index)
        .map_or(0, |word| word.load(std::sync::atomic::Ordering::Acquire))
}

/// Words of [`Control`].
pub(super) const SEED: usize = 1;
pub(super) const EVENTS_AN_EPOCH: usize = 2;
pub(super) const RATE_WINDOW: usize = 3;
pub(super) const VERSION: usize = 4;
pub(super) const EPOCH: usize = 5;
const SLOTS_V4: Slots = Slots {
    slots: hosts::V4,
    word: 6,
};
const SLOTS_V6: Slots = Slots {
    slots: hosts::V6,
    word: 7,
};

impl Value for Listed {
    type Said = Meta;

    fn said(&self) -> Meta {
        Meta::of(self.meta)
    }

    fn make(said: Meta, net: IpNet, old: Option<&Self>) -> Self {
        Self {
            meta: said.with_length(net.prefix_len()),
            hits: old.map_or(0, |old| old.hits),
        }
    }
}

impl Value for ZoneValue {
    type Said = Self;

    fn said(&self) -> Self {
        *self
    }

    fn make(said: Self, _net: IpNet, _old: Option<&Self>) -> Self {
        said
    }
}
