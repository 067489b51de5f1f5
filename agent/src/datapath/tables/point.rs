//! Changes of one entry, and what the kernel holds under one prefix.

use edgeward_ebpf::lookup::{Kind4, Meta};
use ipnet::IpNet;

use super::{
    super::{
        generation::{Change, Switch},
        marks,
    },
    Tables,
    flags::{exact6_flag, presence},
    switch,
};

impl Tables {
    /// Sets or removes one entry.
    pub(in crate::datapath) fn put(
        &mut self,
        net: IpNet,
        meta: Option<Meta>,
    ) -> anyhow::Result<Change> {
        let change = match (Route::of(net), meta) {
            (Route::Exact4(key), Some(meta)) => {
                if self.exact4.is_crowded() {
                    self.exact4.grow(switch!(self), &self.stash)?;
                }
                let change = self.exact4.put(&self.stash, key, meta)?;
                marks::exact4(self.table4.get(), key);
                change
            }
            (Route::Exact4(key), None) => self.exact4.remove(&self.stash, key)?,
            (Route::Exact6(key), Some(meta)) => {
                if self.exact6.is_crowded() {
                    self.exact6.grow(switch!(self), &self.stash)?;
                }
                let change = self.exact6.put(&self.stash, key, meta)?;
                marks::exact6(self.filter6.get(), key, self.seed);
                change
            }
            (Route::Exact6(key), None) => self.exact6.remove(&self.stash, key)?,
            (Route::Trie, Some(meta)) => {
                let change = self.list.put(net, meta)?;
                self.wide6 |= marks::prefix(self.table4.get(), self.filter6.get(), net, self.seed);
                change
            }
            (Route::Trie, None) => self.list.remove(net)?,
        };
        let flag = presence(net);
        let count = self.counts.entry(flag).or_default();
        *count = (*count + change.added).saturating_sub(change.removed + change.evicted);
        self.add_flags(if meta.is_some() { flag } else { 0 });
        self.set_policy(self.policy());
        Ok(change)
    }

    /// The meta word of one exact prefix.
    pub(in crate::datapath) fn get(&self, net: IpNet) -> Option<Meta> {
        match Route::of(net) {
            Route::Exact4(key) => self.exact4.get(key),
            Route::Exact6(key) => self.exact6.get(key),
            Route::Trie => self.list.live().get(&net).copied(),
        }
    }

    /// The hit counter of one exact prefix.
    pub(in crate::datapath) fn hits(&self, net: IpNet) -> Option<u64> {
        match Route::of(net) {
            Route::Exact4(key) => self.exact4.hits(&self.stash, key),
            Route::Exact6(key) => self.exact6.hits(&self.stash, key),
            Route::Trie => self.list.value(net).map(|value| value.hits),
        }
    }
}

/// Where an entry lives.
pub(super) enum Route {
    Exact4((u32, Kind4)),
    Exact6((u128, u8)),
    Trie,
}

impl Route {
    pub(super) fn of(net: IpNet) -> Self {
        match net {
            IpNet::V4(net) if net.prefix_len() == 32 => {
                Self::Exact4((net.network().into(), Kind4::Host))
            }
            IpNet::V4(net) if net.prefix_len() == 24 => {
                Self::Exact4((net.network().into(), Kind4::Net24))
            }
            IpNet::V6(net) if exact6_flag(net.prefix_len()) != 0 => {
                Self::Exact6((net.network().into(), net.prefix_len()))
            }
            _ => Self::Trie,
        }
    }
}
