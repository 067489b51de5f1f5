//! Prefixes in the kernel's LPM tries, both families together, with what is in them kept beside.

use std::{collections::BTreeMap, os::fd::OwnedFd};

use anyhow::Context as _;
use aya::maps::lpm_trie::Key;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{generation::Change, sys::Table};

/// A value of a trie.
pub(super) trait Value: aya::Pod + Default {
    /// What of it the agent decides; the rest is the kernel's (hits).
    type Said: Copy + PartialEq + std::fmt::Debug;
    /// The decided part.
    fn said(&self) -> Self::Said;
    /// A value that says `said` and keeps what the kernel counted in `old`.
    fn make(said: Self::Said, net: IpNet, old: Option<&Self>) -> Self;
}

/// The tries of both families.
pub(super) struct Tries<V: Value> {
    v4: Table<Key<[u8; 4]>, V>,
    v6: Table<Key<[u8; 16]>, V>,
    live: BTreeMap<IpNet, V::Said>,
    capacity: usize,
}

impl<V: Value> Tries<V> {
    /// Adopts what is in the maps.
    pub(super) fn open(v4: OwnedFd, v6: OwnedFd, capacity: usize) -> anyhow::Result<Self> {
        let mut tries = Self {
            v4: Table::new(v4),
            v6: Table::new(v6),
            live: BTreeMap::new(),
            capacity,
        };
        tries.reread()?;
        Ok(tries)
    }

    /// Takes what the kernel holds for true, whoever wrote it.
    pub(super) fn reread(&mut self) -> anyhow::Result<()> {
        self.live = self
            .installed()?
            .into_iter()
            .map(|(net, value)| (net, value.said()))
            .collect();
        Ok(())
    }

    /// What the kernel holds now.
    pub(super) fn installed(&self) -> anyhow::Result<Vec<(IpNet, V)>> {
        let mut found = Vec::new();
        for (key, value) in self.v4.entries().context("cannot read an IPv4 trie")? {
            let net = Ipv4Net::new(key.data().into(), u8::try_from(key.prefix_len())?)?;
            found.push((IpNet::V4(net), value));
        }
        for (key, value) in self.v6.entries().context("cannot read an IPv6 trie")? {
            let net = Ipv6Net::new(key.data().into(), u8::try_from(key.prefix_len())?)?;
            found.push((IpNet::V6(net), value));
        }
        Ok(found)
    }

    /// The value of one prefix as the kernel holds it.
    pub(super) fn value(&self, net: IpNet) -> Option<V> {
        let value = match net {
            IpNet::V4(net) => self.v4.get(&key4(net)),
            IpNet::V6(net) => self.v6.get(&key6(net)),
        };
        value.ok().flatten()
    }

    /// Prefixes of one family in force.
    pub(super) fn count(&self, is_v6: bool) -> usize {
        self.live
            .keys()
            .filter(|net| matches!(net, IpNet::V6(_)) == is_v6)
            .count()
    }

    /// What is in force.
    pub(super) fn live(&self) -> &BTreeMap<IpNet, V::Said> {
        &self.live
    }

    /// Adds and changes what differs in `wanted`, the most specific prefix first, and removes nothing.
    pub(super) fn extend(&mut self, wanted: &[(IpNet, V::Said)]) -> anyhow::Result<Change> {
        let mut change = Change::default();
        let mut differing: Vec<(IpNet, V::Said)> = wanted
            .iter()
            .filter(|(net, said)| match self.live.get(net) {
                Some(old) if old == said => false,
                Some(_) => {
                    change.changed += 1;
                    true
                }
                None => {
                    change.added += 1;
                    true
                }
            })
            .copied()
            .collect();
        differing.sort_by_key(|(net, _)| std::cmp::Reverse(net.prefix_len()));
        let (mut keys4, mut values4, mut keys6, mut values6) = (vec![], vec![], vec![], vec![]);
        for (net, said) in &differing {
            match net {
                IpNet::V4(v4) => {
                    let key = key4(*v4);
                    let old = self
                        .live
                        .get(net)
                        .and_then(|_| self.v4.get(&key).ok().flatten());
                    values4.push(V::make(*said, *net, old.as_ref()));
                    keys4.push(key);
                }
                IpNet::V6(v6) => {
                    let key = key6(*v6);
                    let old = self
                        .live
                        .get(net)
                        .and_then(|_| self.v6.get(&key).ok().flatten());
                    values6.push(V::make(*said, *net, old.as_ref()));
                    keys6.push(key);
                }
            }
        }
        self.v4
            .set_all(&keys4, &values4)
            .map_err(|failed| self.full("IPv4", failed))?;
        self.v6
            .set_all(&keys6, &values6)
            .map_err(|failed| self.full("IPv6", failed))?;
        self.live.extend(differing);
        Ok(change)
    }

    /// Removes what is not in `wanted` (sorted by prefix).
    pub(super) fn retain(&mut self, wanted: &[(IpNet, V::Said)]) -> anyhow::Result<Change> {
        let gone: Vec<IpNet> = self
            .live
            .keys()
            .filter(|net| wanted.binary_search_by_key(*net, |(net, _)| *net).is_err())
            .copied()
            .collect();
        for net in &gone {
            self.remove(*net)?;
        }
        Ok(Change {
            removed: gone.len(),
            ..Change::default()
        })
    }

    /// Sets one prefix.
    pub(super) fn put(&mut self, net: IpNet, said: V::Said) -> anyhow::Result<Change> {
        self.extend(&[(net, said)])
    }

    /// Removes one prefix.
    pub(super) fn remove(&mut self, net: IpNet) -> anyhow::Result<Change> {
        if self.live.remove(&net).is_none() {
            return Ok(Change::default());
        }
        match net {
            IpNet::V4(net) => self.v4.remove(&key4(net)),
            IpNet::V6(net) => self.v6.remove(&key6(net)),
        }
        .with_context(|| format!("cannot remove {net} from its trie"))?;
        Ok(Change {
            removed: 1,
            ..Change::default()
        })
    }

    fn full(&self, family: &str, (done, error): (usize, std::io::Error)) -> anyhow::Error {
        anyhow::Error::new(error).context(format!(
            "cannot write {family} prefixes after {done} (the trie holds {} of {}): raise [capacity]",
            self.live.len(),
            self.capacity
        ))
    }
}

fn key4(net: Ipv4Net) -> Key<[u8; 4]> {
    Key::new(u32::from(net.prefix_len()), net.network().octets())
}

fn key6(net: Ipv6Net) -> Key<[u8; 16]> {
    Key::new(u32::from(net.prefix_len()), net.network().octets())
}
