//! What the gate has counted: requests by service, way and outcome; refusals by path; how long it took.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::Via;
use crate::{
    control::report::{ProxiedReport, ProxiedService},
    histogram::{Buckets, Histogram},
    policy::request::Reason,
};

/// Counters of the gate.
#[derive(Debug, Default)]
pub(super) struct Counters {
    services: RwLock<Vec<(String, Arc<ServiceCounters>)>>,
    rejected: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
    latency: [Histogram; Via::ALL.len()],
}

/// Counters of one service, kept under its name over reloads.
#[derive(Debug, Default)]
pub(super) struct ServiceCounters {
    passed: [AtomicU64; Via::ALL.len()],
    exempt: AtomicU64,
    /// Refused, by reason.
    refused: [AtomicU64; Reason::ALL.len()],
    /// What would have been refused in block mode, or by a limit that is only previewed.
    would_refuse: [AtomicU64; Reason::ALL.len()],
    unknown_clients: AtomicU64,
    /// Refused or nearly so, by path; what has no room is counted under [`OTHER`].
    paths: Mutex<BTreeMap<String, u64>>,
}

/// What became of a request, for its counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    Passed,
    Exempt,
    Refused(Reason),
    WouldRefuse(Reason),
}

impl Counters {
    /// The counters of a service; made when it is seen first.
    pub(super) fn service(&self, name: &str) -> Arc<ServiceCounters> {
        let found = |services: &[(String, Arc<ServiceCounters>)]| {
            let (_, found) = services.iter().find(|(known, _)| known == name)?;
            Some(Arc::clone(found))
        };
        if let Some(counters) = found(&self.services.read().unwrap_or_else(PoisonError::into_inner))
        {
            return counters;
        }
        let mut services = self
            .services
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        found(&services).unwrap_or_else(|| {
            let made = Arc::new(ServiceCounters::default());
            services.push((name.to_owned(), Arc::clone(&made)));
            made
        })
    }

    pub(super) fn took(&self, via: Via, latency: Duration) {
        if let Some(histogram) = self.latency.get(via.index()) {
            histogram.add(latency);
        }
    }

    /// How long each way took, in buckets.
    pub(super) fn latencies(&self) -> Vec<(&'static str, Buckets)> {
        let timed = Via::ALL.iter().zip(&self.latency);
        timed
            .map(|(via, histogram)| (via.name(), histogram.buckets()))
            .collect()
    }

    pub(super) fn rejected(&self, via: Via, cause: &'static str) {
        let mut rejected = self.rejected.lock().unwrap_or_else(PoisonError::into_inner);
        let count = rejected.entry((via.name(), cause)).or_default();
        *count = count.saturating_add(1);
    }

    pub(super) fn report(&self) -> ProxiedReport {
        let services = self.services.read().unwrap_or_else(PoisonError::into_inner);
        let mut rejected: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        for ((via, cause), count) in &*self.rejected.lock().unwrap_or_else(PoisonError::into_inner)
        {
            let causes = rejected.entry((*via).to_owned()).or_default();
            causes.insert((*cause).to_owned(), *count);
        }
        let timed = Via::ALL.iter().zip(&self.latency);
        ProxiedReport {
            services: services
                .iter()
                .map(|(name, counters)| counters.report(name))
                .collect(),
            rejected,
            latency: timed
                .filter_map(|(via, histogram)| Some((via.name().to_owned(), histogram.report()?)))
                .collect(),
            ..ProxiedReport::default()
        }
    }
}

impl ServiceCounters {
    pub(super) fn add(&self, via: Via, counted: Counted, unknown: bool, path: &str) {
        if unknown {
            add(&self.unknown_clients);
        }
        match counted {
            Counted::Passed => add(self.passed.get(via.index())),
            Counted::Exempt => add(&self.exempt),
            Counted::Refused(reason) => {
                add(self.refused.get(reason.index()));
                self.add_path(path);
            }
            Counted::WouldRefuse(reason) => {
                add(self.passed.get(via.index()));
                add(self.would_refuse.get(reason.index()));
                self.add_path(path);
            }
        }
    }

    fn add_path(&self, path: &str) {
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        let known =
            paths.len() < PATHS_MAX && path.len() <= PATH_BYTES_MAX || paths.contains_key(path);
        let path = if known { path } else { OTHER };
        match paths.get_mut(path) {
            Some(count) => *count = count.saturating_add(1),
            None => drop(paths.insert(path.to_owned(), 1)),
        }
    }

    fn report(&self, name: &str) -> ProxiedService {
        let by_reason = |counters: &[AtomicU64]| {
            Reason::ALL
                .iter()
                .zip(counters)
                .map(|(reason, count)| (reason.name().to_owned(), count.load(Relaxed)))
                .filter(|(_, count)| *count > 0)
                .collect()
        };
        let passed = Via::ALL.iter().zip(&self.passed);
        ProxiedService {
            name: name.to_owned(),
            passed: passed
                .map(|(via, count)| (via.name().to_owned(), count.load(Relaxed)))
                .filter(|(_, count)| *count > 0)
                .collect(),
            exempt: self.exempt.load(Relaxed),
            unknown_clients: self.unknown_clients.load(Relaxed),
            refused: by_reason(&self.refused),
            would_refuse: by_reason(&self.would_refuse),
            refused_paths: self
                .paths
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }
}

/// Counts where there is a counter, which is always.
fn add<'a>(counter: impl Into<Option<&'a AtomicU64>>) {
    if let Some(counter) = counter.into() {
        counter.fetch_add(1, Relaxed);
    }
}

/// Paths of a service that are counted by name.
const PATHS_MAX: usize = 256;
/// Longest path that is counted by name.
const PATH_BYTES_MAX: usize = 200;
/// Every other path.
const OTHER: &str = "(other)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_bounded_and_none_is_lost() {
        let counters = ServiceCounters::default();
        for index in 0..1_000 {
            let counted = Counted::Refused(Reason::Reputation);
            counters.add(Via::Gateway, counted, false, &format!("/{index}"));
        }
        let report = counters.report("login");
        assert!(report.refused_paths.len() <= PATHS_MAX + 1);
        assert_eq!(report.refused_paths.values().sum::<u64>(), 1_000);
        assert_eq!(report.refused["reputation"], 1_000);
    }
}
