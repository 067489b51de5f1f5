//! What the maps hold against what they should hold: the same look at them as a reader, changing
//! nothing.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use edgeward_ebpf::lookup::{Meta, filter6, table4};
use ipnet::IpNet;

use super::{
    exact::Family,
    generation::Generation,
    tables::{Tables, Wanted, exact6_of, flags_of, joined},
    trie::{Tries, Value},
};

/// The result of a comparison.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Things compared.
    pub checked: u64,
    /// Each difference, as a sentence.
    pub differences: Vec<String>,
}

impl Tables {
    /// Compares everything.
    pub(super) fn compare(&self, wanted: &Wanted) -> anyhow::Result<Comparison> {
        let mut found = Comparison::default();
        let exact4 = joined(&wanted.entries);
        let exact6 = exact6_of(&wanted.entries);
        self.generation(&mut found, "IPv4", &self.exact4, &exact4);
        self.generation(&mut found, "IPv6", &self.exact6, &exact6);
        tries(&mut found, "entry", &self.list, &wanted.entries.trie)?;
        tries(&mut found, "zone", &self.zones, wanted.zones.entries())?;
        let ports = self.installed_ports()?;
        found.checked += wanted.ports.len() as u64;
        if ports != wanted.ports {
            found.differences.push(format!(
                "port rules are {ports:?} and should be {:?}",
                wanted.ports
            ));
        }
        let limits = self.installed_limits()?;
        if limits != wanted.limits {
            found.differences.push(format!(
                "rate limits are {limits:?} and should be {:?}",
                wanted.limits
            ));
        }
        let missing = flags_of(wanted) & !self.policy().present();
        if missing != 0 {
            found.differences.push(format!(
                "presence flags {missing:#x} are missing: entries are not asked for"
            ));
        }
        let (table, filter, _) = self.marks_of(wanted, &exact4, &exact6);
        marked(
            &mut found,
            "IPv4 table",
            self.table4.get(),
            &table,
            table4::WORDS,
        );
        marked(
            &mut found,
            "IPv6 filter",
            self.filter6.get(),
            &filter,
            filter6::WORDS,
        );
        Ok(found)
    }

    fn generation<F: Family>(
        &self,
        found: &mut Comparison,
        family: &str,
        live: &Generation<F>,
        wanted: &[(F::Key, Meta)],
    ) {
        found.checked += wanted.len() as u64;
        let mut held = 0;
        for (key, meta) in wanted {
            match live.get(*key) {
                Some(other) if other == *meta => held += 1,
                Some(other) => {
                    held += 1;
                    found.differences.push(format!(
                        "{family} {key:?} holds {other:?} and should hold {meta:?}"
                    ));
                }
                None => found
                    .differences
                    .push(format!("{family} {key:?} is missing ({meta:?})")),
            }
        }
        if live.len() == held {
            return;
        }
        for (key, meta, _) in live.entries(&self.stash) {
            if wanted.binary_search_by_key(&key, |(key, _)| *key).is_err() {
                found.differences.push(format!(
                    "{family} {key:?} holds {meta:?} and should not be there"
                ));
            }
        }
    }
}

fn tries<V: Value<Said: Debug>>(
    found: &mut Comparison,
    what: &str,
    live: &Tries<V>,
    wanted: &[(IpNet, V::Said)],
) -> anyhow::Result<()> {
    found.checked += wanted.len() as u64;
    let mut installed: BTreeMap<IpNet, V::Said> = live
        .installed()?
        .into_iter()
        .map(|(net, value)| (net, value.said()))
        .collect();
    for (net, said) in wanted {
        match installed.remove(net) {
            Some(other) if other == *said => {}
            Some(other) => found.differences.push(format!(
                "{what} {net} holds {other:?} and should hold {said:?}"
            )),
            None => found.differences.push(format!("{what} {net} is missing")),
        }
    }
    let extra = installed
        .keys()
        .map(|net| format!("{what} {net} should not be there"));
    found.differences.extend(extra);
    Ok(())
}

/// Filter bits may be set too much, never too little.
fn marked(
    found: &mut Comparison,
    what: &str,
    live: &[AtomicU64],
    wanted: &[AtomicU64],
    words: u32,
) {
    let missing = live
        .iter()
        .zip(wanted)
        .filter(|(live, wanted)| wanted.load(Relaxed) & !live.load(Relaxed) != 0)
        .count();
    if missing > 0 {
        found.differences.push(format!(
            "{missing} of {words} words of the {what} lack bits: entries are not asked for"
        ));
    }
}
