//! What became of every single probe, by its number, so that a window is exact however late a packet is counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::bail;

use crate::Result;

/// A moment in a prober's run: which probes were surely sent before it, and which surely after.
#[derive(Debug, Clone)]
pub struct Mark {
    /// For each probe: the count that had been sent a while before.
    pub(crate) before: Vec<u64>,
    /// For each probe: the first number not yet taken a while after.
    pub(crate) after: Vec<u64>,
}

/// The counts of one probe in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Probes that went out. Never 0, so that an assertion on the others says something.
    pub sent: u64,
    /// Of these, how many arrived (UDP) or connected (TCP).
    pub arrived: u64,
    /// Of these, how many did not.
    pub lost: u64,
}

/// The result of a prober's whole run.
#[derive(Debug)]
pub struct Tally {
    pub(crate) probes: Vec<(String, Vec<Fate>)>,
}

/// What became of one numbered probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Fate {
    /// Sent, and not seen.
    #[default]
    Lost,
    /// Seen where it was to go.
    Arrived,
    /// The sending host itself did not get it out; says nothing about a verdict.
    Unsent,
}

/// One probe's live counts, shared between its sender and its receiver.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    taken: AtomicU64,
    done: AtomicU64,
    seen: AtomicU64,
    fates: Mutex<Vec<Fate>>,
}

impl Ledger {
    /// Takes the next number, before the probe is sent; `None` at the limit.
    pub(crate) fn take(&self) -> Option<u64> {
        let number = self.taken.load(Ordering::SeqCst);
        if number >= PROBES_MAX {
            return None;
        }
        self.fates().push(Fate::Lost);
        self.taken.store(number + 1, Ordering::SeqCst);
        Some(number)
    }

    /// Notes that the probe taken last is on its way, or over.
    pub(crate) fn done(&self) {
        self.done.fetch_add(1, Ordering::SeqCst);
    }

    /// Notes what became of a probe. Numbers that were never taken are ignored.
    pub(crate) fn note(&self, number: u64, fate: Fate) {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        if let Some(slot) = self.fates().get_mut(index) {
            *slot = fate;
            self.seen.fetch_add(1, Ordering::SeqCst);
        }
    }

    pub(crate) fn taken_count(&self) -> u64 {
        self.taken.load(Ordering::SeqCst)
    }

    pub(crate) fn done_count(&self) -> u64 {
        self.done.load(Ordering::SeqCst)
    }

    /// How many probes something is known about.
    pub(crate) fn seen_count(&self) -> u64 {
        self.seen.load(Ordering::SeqCst)
    }

    /// All fates, at the end.
    pub(crate) fn take_fates(&self) -> Vec<Fate> {
        std::mem::take(&mut *self.fates())
    }

    fn fates(&self) -> MutexGuard<'_, Vec<Fate>> {
        self.fates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    /// What became of a probe between two marks.
    ///
    /// # Errors
    /// When there is no such probe, or none of it was sent in the window.
    pub fn between(&self, name: &str, from: &Mark, to: &Mark) -> Result<Window> {
        let index = self.index(name)?;
        let position = |mark: &[u64]| mark.get(index).copied().unwrap_or_default();
        self.count(name, position(&from.after), position(&to.before))
    }

    /// What became of a probe from a mark to the end.
    ///
    /// # Errors
    /// As [`Tally::between`].
    pub fn since(&self, name: &str, from: &Mark) -> Result<Window> {
        let index = self.index(name)?;
        self.count(
            name,
            from.after.get(index).copied().unwrap_or_default(),
            u64::MAX,
        )
    }

    /// What became of a probe from the beginning to a mark.
    ///
    /// # Errors
    /// As [`Tally::between`].
    pub fn until(&self, name: &str, to: &Mark) -> Result<Window> {
        let index = self.index(name)?;
        self.count(name, 0, to.before.get(index).copied().unwrap_or_default())
    }

    /// What became of a probe in the whole run.
    ///
    /// # Errors
    /// As [`Tally::between`].
    pub fn whole(&self, name: &str) -> Result<Window> {
        self.count(name, 0, u64::MAX)
    }

    fn index(&self, name: &str) -> Result<usize> {
        match self.probes.iter().position(|(known, _)| known == name) {
            Some(index) => Ok(index),
            None => bail!("no probe is named {name:?}"),
        }
    }

    fn count(&self, name: &str, from: u64, to: u64) -> Result<Window> {
        let index = self.index(name)?;
        let (from, to) = (usize::try_from(from)?, usize::try_from(to)?);
        let fates = self
            .probes
            .get(index)
            .map(|(_, fates)| fates.as_slice())
            .unwrap_or_default();
        let to = to.min(fates.len());
        let window = fates.get(from.min(to)..to).unwrap_or_default();
        let count = |fate| u64::try_from(window.iter().filter(|seen| **seen == fate).count());
        let (arrived, lost) = (count(Fate::Arrived)?, count(Fate::Lost)?);
        if arrived + lost == 0 {
            bail!("probe {name:?} sent nothing between {from} and {to}");
        }
        Ok(Window {
            sent: arrived + lost,
            arrived,
            lost,
        })
    }
}

/// Most probes of one kind in a run.
const PROBES_MAX: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_count_by_number_and_never_are_empty() {
        use Fate::{Arrived, Lost, Unsent};
        let fates = vec![Arrived, Arrived, Lost, Unsent, Lost, Arrived];
        let tally = Tally {
            probes: vec![("a".into(), fates)],
        };
        let mark = |at: u64| Mark {
            before: vec![at],
            after: vec![at],
        };
        let window = tally.between("a", &mark(1), &mark(5)).unwrap();
        assert_eq!(
            window,
            Window {
                sent: 3,
                arrived: 1,
                lost: 2
            }
        );
        assert_eq!(
            tally.whole("a").unwrap(),
            Window {
                sent: 5,
                arrived: 3,
                lost: 2
            }
        );
        assert_eq!(
            tally.since("a", &mark(4)).unwrap(),
            Window {
                sent: 2,
                arrived: 1,
                lost: 1
            }
        );
        assert_eq!(
            tally.until("a", &mark(2)).unwrap(),
            Window {
                sent: 2,
                arrived: 2,
                lost: 0
            }
        );
        assert!(
            tally.between("a", &mark(3), &mark(4)).is_err(),
            "nothing sent"
        );
        assert!(tally.between("a", &mark(5), &mark(1)).is_err(), "backwards");
        assert!(tally.whole("b").is_err(), "unknown");
    }
}
