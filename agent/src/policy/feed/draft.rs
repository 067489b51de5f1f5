//! A table in the making: entries in any order and possibly repeated, then sorted, judged by the gate and
//! made a [`FeedTable`].

use std::{collections::HashMap, fmt};

use ipnet::IpNet;

use super::{
    gate::{Gate, Refusals, Refused},
    table::{Fact, FeedTable, host_of},
};
use crate::policy::prefix::canonical_network;

/// Different reasons that one table keeps; entries with further ones are given the feed's own.
pub const REASONS_MAX: usize = 4_096;
/// Longest reason, in bytes; a longer one is cut.
pub const REASON_BYTES_MAX: usize = 120;

/// See the module.
#[derive(Debug)]
pub struct Draft {
    entries_max: usize,
    reasons: Vec<Box<str>>,
    numbers: HashMap<Box<str>, u16>,
    hosts4: Vec<(u32, Fact)>,
    nets: Vec<(IpNet, Fact)>,
}

/// There are more entries than the feed may bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany {
    /// As many as there may be.
    pub entries_max: usize,
}

impl fmt::Display for TooMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "brings more than {} entries (entries_max)",
            self.entries_max
        )
    }
}

impl Draft {
    /// For a feed that may bring `entries_max` entries; `reason` is that of entries which bring none.
    #[must_use]
    pub fn new(entries_max: usize, reason: &str) -> Self {
        Self {
            entries_max,
            reasons: vec![tidy(reason).into()],
            numbers: HashMap::new(),
            hosts4: Vec::new(),
            nets: Vec::new(),
        }
    }

    /// For what was written down: entries come by [`Draft::add`], with the numbers of these reasons.
    #[must_use]
    pub fn restored(entries_max: usize, reasons: Vec<Box<str>>) -> Self {
        let numbers = (0..)
            .zip(&reasons)
            .skip(1)
            .map(|(number, reason)| (reason.clone(), number))
            .collect();
        Self {
            entries_max,
            reasons,
            numbers,
            hosts4: Vec::new(),
            nets: Vec::new(),
        }
    }

    /// How many entries there are, repeated ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hosts4.len().saturating_add(self.nets.len())
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many more there may be.
    #[must_use]
    pub fn room(&self) -> usize {
        self.entries_max.saturating_sub(self.len())
    }

    /// Adds an entry; `expires_s` is 0 if it has no end of its own.
    ///
    /// # Errors
    /// When there are as many as there may be.
    pub fn push(
        &mut self,
        prefix: IpNet,
        score: u8,
        expires_s: u32,
        reason: Option<&str>,
    ) -> Result<(), TooMany> {
        let reason = reason.map_or(0, |reason| self.number(reason));
        let fact = Fact {
            expires_s,
            reason,
            score,
        };
        self.add(prefix, fact)
    }

    /// Adds an entry whose reason has a number already.
    ///
    /// # Errors
    /// When there are as many as there may be.
    pub fn add(&mut self, prefix: IpNet, fact: Fact) -> Result<(), TooMany> {
        if self.len() >= self.entries_max {
            return Err(TooMany {
                entries_max: self.entries_max,
            });
        }
        match canonical_network(prefix) {
            IpNet::V4(v4) if v4.prefix_len() == 32 => self.hosts4.push((v4.addr().into(), fact)),
            net => self.nets.push((net, fact)),
        }
        Ok(())
    }

    /// The number of a reason, 0 for one that finds no place.
    pub fn number(&mut self, reason: &str) -> u16 {
        if let Some(number) = self.numbers.get(reason) {
            return *number;
        }
        let tidied = tidy(reason);
        if tidied.is_empty() || self.reasons.first().is_some_and(|own| **own == *tidied) {
            return 0;
        }
        if let Some(number) = self.numbers.get(tidied.as_str()) {
            return *number;
        }
        if self.reasons.len() >= REASONS_MAX {
            return 0;
        }
        let number = u16::try_from(self.reasons.len()).unwrap_or(0);
        self.reasons.push(tidied.clone().into());
        self.numbers.insert(tidied.into(), number);
        number
    }

    /// Sorts, keeps the strongest of each prefix, and sets apart what the gate refuses.
    #[must_use]
    pub fn finish(mut self, name: &str, gate: &Gate) -> (FeedTable, Refusals) {
        strongest_of_each(&mut self.hosts4);
        strongest_of_each(&mut self.nets);
        let mut refusals = Refusals::default();
        let mut keep = |prefix: IpNet, fact: Fact| match gate.refuses(&prefix) {
            None => true,
            Some(why) => {
                refusals.note(prefix, fact, why);
                false
            }
        };
        self.hosts4
            .retain(|(host, fact)| keep(host_of(*host), *fact));
        self.nets.retain(|(net, fact)| keep(*net, *fact));
        let table = FeedTable {
            name: name.into(),
            until_s: 0,
            heard_ms: 0,
            reasons: self.reasons.into(),
            hosts4: self.hosts4.into(),
            nets: self.nets.into(),
        };
        (table, refusals)
    }
}

impl FeedTable {
    /// The same feed judged by another gate: what was set apart before gets its chance.
    #[must_use]
    pub fn judged(&self, refused: &[(IpNet, Fact, Refused)], gate: &Gate) -> (Self, Refusals) {
        let mut draft = Draft {
            entries_max: usize::MAX,
            reasons: self.reasons.to_vec(),
            numbers: HashMap::new(),
            hosts4: self.hosts4.to_vec(),
            nets: self.nets.to_vec(),
        };
        for (prefix, fact, _) in refused {
            // Without a limit there is no error.
            if draft.add(*prefix, *fact).is_err() {
                break;
            }
        }
        let (table, refusals) = draft.finish(&self.name, gate);
        (table.with_until(self.until_s, self.heard_ms), refusals)
    }
}

/// Sorted by key, each once: the highest score stays, then the latest end, then the first.
fn strongest_of_each<K: Ord + Copy>(entries: &mut Vec<(K, Fact)>) {
    if !entries.is_sorted_by(|a, b| a.0 < b.0) {
        entries.sort_by_key(|entry| entry.0);
        entries.dedup_by(|later, kept| {
            if later.0 != kept.0 {
                return false;
            }
            let strength = |fact: Fact| (fact.score, fact.expires_s.wrapping_sub(1));
            if strength(later.1) > strength(kept.1) {
                kept.1 = later.1;
            }
            true
        });
    }
    entries.shrink_to_fit();
}

/// A text that can stand in a line of a log or a terminal.
fn tidy(text: &str) -> String {
    let mut out = String::new();
    for c in text.trim().chars() {
        let c = if c.is_control() { ' ' } else { c };
        if out.len() + c.len_utf8() > REASON_BYTES_MAX {
            break;
        }
        out.push(c);
    }
    out
}
