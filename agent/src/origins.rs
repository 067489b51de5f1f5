//! Who tried to reach restricted services around their proxies: a bounded table, filled by events of the kernel and
//! by the gate, read by `edgeward report origins`.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::control::report::{OriginRow, Origins as Report};

/// The table. Cheap to clone; shared by whoever sees such a source.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// By service and source.
    rows: HashMap<(String, IpAddr), Seen>,
    /// Sources that gave way, seen again or not.
    displaced: u64,
    /// Events that were held back before one that is in the table, by service.
    suppressed: BTreeMap<String, u64>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    events: u64,
    enforced: u64,
    first_ms: u64,
    last_ms: u64,
}

/// One attempt, or what stands for several.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt<'a> {
    /// The restricted service.
    pub(crate) service: &'a str,
    /// Who is neither proxy nor allowed origin.
    pub(crate) source: IpAddr,
    /// When, wall clock.
    pub(crate) when_ms: u64,
    /// It was refused, not only logged.
    pub(crate) enforced: bool,
    /// Events of any source that were held back before this one.
    pub(crate) suppressed: u64,
}

impl Origins {
    /// Takes note of an attempt.
    pub(crate) fn seen(&self, attempt: &Attempt<'_>) {
        let mut inner = self.inner();
        let key = (attempt.service.to_owned(), attempt.source);
        let row = inner.rows.entry(key).or_insert(Seen {
            events: 0,
            enforced: 0,
            first_ms: attempt.when_ms,
            last_ms: attempt.when_ms,
        });
        row.events = row.events.saturating_add(1);
        row.enforced = row.enforced.saturating_add(attempt.enforced.into());
        row.first_ms = row.first_ms.min(attempt.when_ms);
        row.last_ms = row.last_ms.max(attempt.when_ms);
        if attempt.suppressed > 0 {
            // As many services as the configuration ever had, which is no number that somebody else chooses.
            let held = inner
                .suppressed
                .entry(attempt.service.to_owned())
                .or_default();
            *held = held.saturating_add(attempt.suppressed);
        }
        inner.make_room();
    }

    /// The sources seen most, at most `limit` of them.
    pub(crate) fn report(&self, limit: usize) -> Report {
        let inner = self.inner();
        let mut origins: Vec<OriginRow> = inner
            .rows
            .iter()
            .map(|((service, source), seen)| OriginRow {
                service: service.clone(),
                source: source.to_string(),
                events: seen.events,
                enforced: seen.enforced,
                first: seen.first_ms,
                last: seen.last_ms,
            })
            .collect();
        let total = origins.len() as u64;
        origins.sort_by(|a, b| {
            (b.events, b.last, &a.service, &a.source)
                .cmp(&(a.events, a.last, &b.service, &b.source))
        });
        origins.truncate(limit);
        Report {
            origins,
            total,
            displaced: inner.displaced,
            suppressed: inner.suppressed.clone(),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Keeps the sources seen most, of equal ones those seen last. Not at every new source: a flood of them would
    /// sort the table each time.
    fn make_room(&mut self) {
        if self.rows.len() < SOURCES_MAX + SOURCES_SLACK {
            return;
        }
        let mut ranks: Vec<(u64, u64)> = self
            .rows
            .values()
            .map(|seen| (seen.events, seen.last_ms))
            .collect();
        let gone = ranks.len().saturating_sub(SOURCES_MAX);
        let (_, least, _) = ranks.select_nth_unstable(gone);
        let least = *least;
        let mut equal_gone = gone.saturating_sub(
            self.rows
                .values()
                .filter(|seen| (seen.events, seen.last_ms) < least)
                .count(),
        );
        self.rows
            .retain(|_, seen| match (seen.events, seen.last_ms).cmp(&least) {
                std::cmp::Ordering::Less => false,
                std::cmp::Ordering::Greater => true,
                std::cmp::Ordering::Equal if equal_gone > 0 => {
                    equal_gone -= 1;
                    false
                }
                std::cmp::Ordering::Equal => true,
            });
        self.displaced = self.displaced.saturating_add(gone as u64);
    }
}

/// Sources that are kept, all services together.
pub(crate) const SOURCES_MAX: usize = 10_000;
/// So many more may gather before the least are taken out.
const SOURCES_SLACK: usize = 1_000;

#[cfg(test)]
mod tests {

    use super::*;

    fn attempt(source: u32, when_ms: u64) -> Attempt<'static> {
        Attempt {
            service: "login",
            source: std::net::Ipv4Addr::from(source).into(),
            when_ms,
            enforced: when_ms.is_multiple_of(2),
            suppressed: 0,
        }
    }

    #[test]
    fn attempts_of_one_source_are_one_row() {
        let origins = Origins::default();
        for when in [20, 10, 31] {
            origins.seen(&attempt(1, when));
        }
        origins.seen(&Attempt {
            service: "other",
            suppressed: 7,
            ..attempt(1, 5)
        });
        let report = origins.report(10);
        assert_eq!((report.total, report.displaced), (2, 0));
        let [first, second] = report.origins.as_slice() else {
            panic!("{report:?}");
        };
        assert_eq!(
            (first.service.as_str(), first.source.as_str()),
            ("login", "0.0.0.1")
        );
        assert_eq!((first.events, first.enforced), (3, 2));
        assert_eq!((first.first, first.last), (10, 31));
        assert_eq!((second.service.as_str(), second.events), ("other", 1));
        assert_eq!(report.suppressed, BTreeMap::from([("other".to_owned(), 7)]));
        assert_eq!(origins.report(1).origins.len(), 1);
    }

    #[test]
    fn the_table_is_bounded_and_keeps_those_seen_most() {
        let origins = Origins::default();
        let busy = 0..100u32;
        for source in busy.clone() {
            origins.seen(&attempt(source, 1));
            origins.seen(&attempt(source, 2));
        }
        for source in 100..50_000u32 {
            origins.seen(&attempt(source, u64::from(source)));
        }
        let report = origins.report(usize::MAX);
        assert!(report.total < (SOURCES_MAX + SOURCES_SLACK) as u64);
        assert_eq!(report.total + report.displaced, 50_000);
        // Those seen twice first, then the latest.
        assert!(report.origins[..100].iter().all(|row| row.events == 2));
        assert_eq!(report.origins[100].last, 49_999);
        let oldest = report.origins.last().unwrap();
        assert!(oldest.last > 50_000 - (SOURCES_MAX + SOURCES_SLACK) as u64);
    }

    #[test]
    fn equal_sources_give_way_without_emptying_the_table() {
        let origins = Origins::default();
        for source in 0..u32::try_from(SOURCES_MAX + SOURCES_SLACK).unwrap() {
            origins.seen(&attempt(source, 4));
        }
        let report = origins.report(usize::MAX);
        assert_eq!(report.total, SOURCES_MAX as u64);
        assert_eq!(report.displaced, SOURCES_SLACK as u64);
    }
}
