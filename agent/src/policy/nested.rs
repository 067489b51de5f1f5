//! Sorted prefixes that know which of them covers which: the longest match without a trie.
//!
//! Order is by family, address, length, so a prefix follows whatever covers it. One sweep with a stack
//! finds each prefix's nearest cover, and every longest match ends at the last prefix not after the
//! address or at one of that prefix's covers.

use ipnet::IpNet;

/// Prefixes with values. Canonical prefixes only: bits behind the length would break the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nested<T> {
    entries: Vec<(IpNet, T)>,
    /// Of each entry, the index of the longest other entry that covers it; `NONE` without one.
    covers: Vec<u32>,
}

impl<T> Default for Nested<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            covers: Vec::new(),
        }
    }
}

impl<T: Clone> Nested<T> {
    /// Builds from prefixes in any order and possibly repeated. `fold` makes the value of a prefix of
    /// its nearest cover's value (built already) and the values given for it, in the order given.
    pub fn build<S>(
        mut given: Vec<(IpNet, S)>,
        fold: impl Fn(Option<&T>, &[(IpNet, S)]) -> T,
    ) -> Self {
        if !given.is_sorted_by_key(|(prefix, _)| *prefix) {
            given.sort_by_key(|(prefix, _)| *prefix);
        }
        let mut out = Self::default();
        for same in given.chunk_by(|(a, _), (b, _)| a == b) {
            let Some((prefix, _)) = same.first() else {
                continue;
            };
            // The chain of covers of the entry before is the stack of the sweep.
            let last = u32::try_from(out.entries.len())
                .ok()
                .and_then(|length| length.checked_sub(1));
            let cover = out.climb(last, prefix);
            let value = fold(
                cover
                    .and_then(|index| out.entry(index))
                    .map(|(_, value)| value),
                same,
            );
            out.entries.push((*prefix, value));
            out.covers.push(cover.unwrap_or(NONE));
        }
        out
    }
}

impl<T> Nested<T> {
    /// Every prefix with its value, sorted, each once.
    #[must_use]
    pub fn entries(&self) -> &[(IpNet, T)] {
        &self.entries
    }

    /// The longest prefix that covers `prefix` (or is it).
    #[must_use]
    pub fn longest(&self, prefix: &IpNet) -> Option<&(IpNet, T)> {
        let after = self.entries.partition_point(|(entry, _)| entry <= prefix);
        let start = u32::try_from(after).ok()?.checked_sub(1);
        self.climb(start, prefix)
            .and_then(|index| self.entry(index))
    }

    /// The same for many prefixes that rise: linear over all of them together.
    #[must_use]
    pub fn sweep(&self) -> Sweep<'_, T> {
        Sweep {
            nested: self,
            at: 0,
        }
    }

    /// From entry `start` up its covers to the first that covers `prefix`: at most 128 steps.
    fn climb(&self, start: Option<u32>, prefix: &IpNet) -> Option<u32> {
        let mut index = start?;
        while let Some((entry, _)) = self.entry(index) {
            if entry.contains(prefix) {
                return Some(index);
            }
            index = *self.covers.get(usize::try_from(index).ok()?)?;
        }
        None
    }

    fn entry(&self, index: u32) -> Option<&(IpNet, T)> {
        self.entries.get(usize::try_from(index).ok()?)
    }
}

/// A walk over a [`Nested`]; see [`Nested::sweep`].
#[derive(Clone, Copy, Debug)]
pub struct Sweep<'a, T> {
    nested: &'a Nested<T>,
    /// How many entries are not after the last prefix asked for.
    at: u32,
}

impl<'a, T> Sweep<'a, T> {
    /// The longest prefix that covers `prefix` (or is it). Prefixes must not fall from call to call.
    pub fn longest(&mut self, prefix: &IpNet) -> Option<&'a (IpNet, T)> {
        while self
            .nested
            .entry(self.at)
            .is_some_and(|(entry, _)| entry <= prefix)
        {
            self.at = self.at.saturating_add(1);
        }
        self.nested
            .climb(self.at.checked_sub(1), prefix)
            .and_then(|index| self.nested.entry(index))
    }
}

/// No cover: past the end of every table.
const NONE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::random::Random;

    #[test]
    fn the_longest_match_is_that_of_a_loop() {
        let mut random = Random::new(11);
        for round in 0..200 {
            let given: Vec<(IpNet, usize)> =
                (0..round).map(|index| (random.prefix(), index)).collect();
            let nested = Nested::build(given.clone(), |_, same| same.len());
            assert!(
                nested.entries().is_sorted_by(|a, b| a.0 < b.0),
                "sorted, each once"
            );
            assert_eq!(
                nested
                    .entries()
                    .iter()
                    .map(|(_, count)| count)
                    .sum::<usize>(),
                given.len()
            );
            let mut asked: Vec<IpNet> = (0..200).map(|_| random.prefix()).collect();
            asked.sort();
            let mut sweep = nested.sweep();
            for prefix in asked {
                let covers = given
                    .iter()
                    .map(|(cover, _)| cover)
                    .filter(|cover| cover.contains(&prefix));
                let naive = covers.max_by_key(|cover| cover.prefix_len());
                assert_eq!(
                    nested.longest(&prefix).map(|(found, _)| found),
                    naive,
                    "{prefix}"
                );
                assert_eq!(sweep.longest(&prefix), nested.longest(&prefix), "{prefix}");
            }
        }
    }

    #[test]
    fn values_are_folded_from_the_cover_down() {
        let mut random = Random::new(12);
        let given: Vec<(IpNet, u64)> = (0..500)
            .map(|index| (random.prefix(), 1 << (index % 61)))
            .collect();
        let nested = Nested::build(given.clone(), |cover, same| {
            same.iter()
                .fold(cover.copied().unwrap_or(0), |bits, (_, bit)| bits | bit)
        });
        for (prefix, bits) in nested.entries() {
            let covers = given.iter().filter(|(cover, _)| cover.contains(prefix));
            assert_eq!(
                *bits,
                covers.fold(0, |bits, (_, bit)| bits | bit),
                "{prefix}"
            );
        }
    }
}
