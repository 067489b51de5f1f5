//! Which signals an application has reported already, by the ids that it gave them: a call that is repeated, because
//! its answer was lost, counts once.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use crate::detection::CURSOR_BYTES_MAX;

/// Ids of one endpoint; keyed hashes of them, so that nobody can make two alike.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    known: HashMap<u64, Written>,
    /// In the order in which they came, with when that was, ms.
    order: VecDeque<(u64, u64)>,
}

/// Whether the signal of an id is on disk by now.
pub(crate) type Written = Arc<AtomicBool>;

/// What is known of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Never seen, or too long ago.
    New,
    /// Its signal is being written.
    Pending,
    /// Its signal was counted.
    Counted,
}

impl Ids {
    /// The ids that were counted last before a restart.
    pub(crate) fn restored(cursor: &[u8], now_ms: u64) -> Self {
        let mut ids = Self::default();
        if let Some((&VERSION, hashes)) = cursor.split_first() {
            let (hashes, _) = hashes.as_chunks::<8>();
            let written = Arc::new(AtomicBool::new(true));
            for hash in hashes {
                ids.add(u64::from_le_bytes(*hash), now_ms, &written);
            }
        }
        ids
    }

    /// What is known of an id.
    pub(crate) fn get(&self, id: u64) -> Known {
        match self.known.get(&id) {
            None => Known::New,
            Some(written) if written.load(Relaxed) => Known::Counted,
            Some(_) => Known::Pending,
        }
    }

    /// Remembers an id.
    pub(crate) fn add(&mut self, id: u64, now_ms: u64, written: &Written) {
        while let Some((oldest, at)) = self.order.front().copied() {
            if self.order.len() < IDS_MAX && at.saturating_add(KNOWN_MS) > now_ms {
                break;
            }
            self.order.pop_front();
            self.known.remove(&oldest);
        }
        if self.known.insert(id, Arc::clone(written)).is_none() {
            self.order.push_back((id, now_ms));
        }
    }

    /// Takes the latest ids back: their signals found no room.
    pub(crate) fn take_back(&mut self, ids: &[u64]) {
        for id in ids.iter().rev() {
            if self.order.back().is_some_and(|(last, _)| last == id) {
                self.order.pop_back();
                self.known.remove(id);
            }
        }
    }

    /// The latest of them, as many as a position holds.
    pub(crate) fn cursor(&self) -> Vec<u8> {
        let first = self.order.len().saturating_sub(RESTORED_MAX);
        let latest = self.order.iter().skip(first);
        std::iter::once(VERSION)
            .chain(latest.flat_map(|(id, _)| id.to_le_bytes()))
            .collect()
    }
}

/// Of the form of a cursor.
const VERSION: u8 = 1;
/// Ids that are remembered.
pub(crate) const IDS_MAX: usize = 262_144;
/// How long, ms.
pub(crate) const KNOWN_MS: u64 = 60 * 60 * 1_000;
/// How many of them over a restart.
pub(crate) const RESTORED_MAX: usize = (CURSOR_BYTES_MAX - 1) / 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_known_for_a_while_and_over_restarts() {
        let mut ids = Ids::default();
        let (done, open) = (Arc::new(AtomicBool::new(true)), Written::default());
        ids.add(1, 0, &done);
        ids.add(2, 0, &open);
        assert_eq!(
            [1, 2, 3].map(|id| ids.get(id)),
            [Known::Counted, Known::Pending, Known::New]
        );
        ids.take_back(&[2]);
        assert_eq!(ids.get(2), Known::New);
        ids.add(4, KNOWN_MS + 1, &done);
        assert_eq!(ids.get(1), Known::New, "an hour is over");
        let many = RESTORED_MAX as u64 + 10;
        (10..10 + many).for_each(|id| ids.add(id, KNOWN_MS + 2, &done));
        let cursor = ids.cursor();
        assert!(cursor.len() <= CURSOR_BYTES_MAX);
        let restored = Ids::restored(&cursor, 5);
        assert_eq!(restored.get(10 + many - 1), Known::Counted);
        assert_eq!(restored.get(20), Known::Counted);
        assert_eq!(restored.get(19), Known::New);
        assert_eq!(Ids::restored(&[], 5).order.len(), 0);
        assert_eq!(Ids::restored(&[9; 17], 5).order.len(), 0);
    }

    #[test]
    fn a_flood_of_ids_costs_what_was_planned() {
        let mut ids = Ids::default();
        let done = Written::default();
        (0..2 * IDS_MAX as u64).for_each(|id| ids.add(id, 0, &done));
        assert!(ids.order.len() <= IDS_MAX && ids.known.len() == ids.order.len());
        assert_eq!(ids.get(0), Known::New);
        assert_eq!(ids.get(2 * IDS_MAX as u64 - 1), Known::Pending);
    }
}
