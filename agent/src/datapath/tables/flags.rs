//! The presence flags of the policy word: which of the tables hold anything at all.

use std::sync::atomic::Ordering::Release;

use edgeward_ebpf::{
    abi::{Limits, present},
    lookup::{EXACT6, Kind4},
};
use ipnet::IpNet;

use super::{Tables, Wanted, point::Route};

impl Tables {
    pub(super) fn recount(&mut self) {
        self.counts.clear();
        for ((_, kind), ..) in self.exact4.entries(&self.stash) {
            let flag = if kind == Kind4::Host {
                present::TABLE4
            } else {
                present::NET24
            };
            *self.counts.entry(flag).or_default() += 1;
        }
        for ((_, length), ..) in self.exact6.entries(&self.stash) {
            *self.counts.entry(exact6_flag(length)).or_default() += 1;
        }
        self.counts.insert(present::LIST4, self.list.count(false));
        self.counts.insert(present::LIST6, self.list.count(true));
    }

    /// The presence flags that follow from what is in the tables.
    pub(super) fn present(&self) -> u16 {
        let mut flags = 0;
        for (flag, count) in &self.counts {
            if *count > 0 {
                flags |= flag;
            }
        }
        if self.zones.count(false) > 0 {
            flags |= present::ZONES4;
        }
        if self.zones.count(true) > 0 {
            flags |= present::ZONES6;
        }
        if flags & (present::NET24 | present::LIST4 | present::ZONES4) != 0 {
            flags |= present::TABLE4;
        }
        if self.wide6 {
            flags |= present::WIDE6;
        }
        if self.hidden {
            flags |= present::HIDDEN;
        }
        if !self.ports_live.is_empty() {
            flags |= present::PORTS;
        }
        if self
            .limits_live
            .iter()
            .any(|limit| *limit != Limits::default())
        {
            flags |= present::RATE;
        }
        flags
    }

    /// Sets flags ahead of what they announce.
    pub(super) fn add_flags(&self, flags: u16) {
        let policy = self.policy();
        let table = if flags & (present::NET24 | present::LIST4 | present::ZONES4) == 0 {
            0
        } else {
            present::TABLE4
        };
        let wide = if self.wide6 { present::WIDE6 } else { 0 };
        let hidden = if self.hidden { present::HIDDEN } else { 0 };
        let present = policy.present() | flags | table | wide | hidden;
        if let Some(word) = self.control.get().first() {
            word.store(policy.with_present(present).0, Release);
        }
    }
}

pub(in crate::datapath) fn flags_of(wanted: &Wanted) -> u16 {
    let zones = wanted.zones.entries().iter().map(|(net, _)| match net {
        IpNet::V4(_) => present::ZONES4,
        IpNet::V6(_) => present::ZONES6,
    });
    let trie = wanted.entries.trie.iter().map(|(net, _)| presence(*net));
    let exact6 = wanted
        .entries
        .exact6
        .iter()
        .map(|(_, length, _)| exact6_flag(*length));
    let exact4 = [
        (wanted.entries.hosts4.is_empty(), present::TABLE4),
        (wanted.entries.nets24.is_empty(), present::NET24),
    ];
    let exact4 = exact4
        .into_iter()
        .filter(|(empty, _)| !empty)
        .map(|(_, flag)| flag);
    zones
        .chain(trie)
        .chain(exact6)
        .chain(exact4)
        .fold(0, |flags, flag| flags | flag)
}

pub(super) fn presence(net: IpNet) -> u16 {
    match (Route::of(net), net) {
        (Route::Exact4((_, Kind4::Host)), _) => present::TABLE4,
        (Route::Exact4(_), _) => present::NET24,
        (Route::Exact6((_, length)), _) => exact6_flag(length),
        (Route::Trie, IpNet::V4(_)) => present::LIST4,
        (Route::Trie, IpNet::V6(_)) => present::LIST6,
    }
}

pub(super) fn exact6_flag(length: u8) -> u16 {
    EXACT6
        .iter()
        .find(|(exact, _)| *exact == length)
        .map_or(0, |(_, flag)| *flag)
}
