//! What the gate has counted.

use std::time::Duration;

use super::Via;

/// Counters of the gate.
#[derive(Debug, Default)]
pub(crate) struct GateCounters {}

/// How long something takes, as a histogram.
#[derive(Debug, Default)]
pub(crate) struct Latency {}

/// For `status`.
#[derive(Clone, Debug, Default)]
pub(crate) struct GateReport {}

impl GateCounters {
    pub(super) fn took(&self, _via: Via, _latency: Duration) {}
    pub(super) fn rejected(&self, _via: Via, _cause: &'static str) {}
    pub(super) fn report(&self) -> GateReport {
        GateReport {}
    }
}
