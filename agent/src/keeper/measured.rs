//! What the keeper tells for metrics.

use tokio::sync::oneshot;

use super::Keeper;
use crate::{
    control::report::Verification,
    datapath::CounterKind,
    health,
    metrics::{self, Measured, Packets},
    policy::detect::Detection,
};

/// Reputations by detector, since the agent's start.
#[derive(Debug, Default)]
pub(super) struct Detections([u64; Detection::ALL.len()]);

/// Those who look on, and what is kept for them.
#[derive(Debug, Default)]
pub(super) struct Onlookers {
    /// How the server of metrics is reached; absent until it runs.
    pub(super) metrics: Option<metrics::Orders>,
    /// How those who look at the set-up are reached; absent until they run.
    pub(super) health: Option<health::Orders>,
    /// The latest comparison with the kernel, and when it was made.
    pub(super) verified: Option<(u64, Verification)>,
    pub(super) detections: Detections,
}

impl Detections {
    pub(super) fn add(&mut self, names: impl Iterator<Item = &'static str>) {
        for name in names {
            let known = Detection::ALL.iter().zip(&mut self.0);
            for (_, count) in known.filter(|(detection, _)| detection.name() == name) {
                *count = count.saturating_add(1);
            }
        }
    }
}

impl Keeper {
    /// From now on the server of metrics is told of reloads.
    pub(crate) fn command_metrics(&mut self, orders: metrics::Orders) {
        self.onlookers.metrics = Some(orders);
    }

    /// Tells whoever asks; one that has gone is no loss.
    pub(super) fn measure(&self, reply: oneshot::Sender<Measured>) {
        match self.measured() {
            Ok(measured) => drop(reply.send(measured)),
            Err(error) => tracing::warn!("there are no metrics: {error:#}"),
        }
    }

    fn measured(&self) -> anyhow::Result<Measured> {
        let counters = self.datapath.counters()?;
        let packets = counters.iter().filter_map(|counter| {
            let enforced = match counter.kind {
                CounterKind::Enforced => true,
                CounterKind::Logged => false,
                CounterKind::Unreadable | CounterKind::Other => return None,
            };
            Some(Packets {
                outcome: counter.name,
                enforced,
                packets: counter.packets,
                bytes: counter.bytes,
            })
        });
        let log = self.feed.log();
        let detections = Detection::ALL.iter().zip(self.onlookers.detections.0);
        let services = self.config.services.iter();
        Ok(Measured {
            status: self.status()?,
            started_ms: self.started_ms,
            packets: packets.collect(),
            latencies: self.gate.latencies(),
            commits: log.map(crate::journal::Log::commits).unwrap_or_default(),
            journal_failing: log.is_some_and(|log| log.failing().is_some()),
            journal_bytes_max: self.config.journal.bytes_max,
            detections: detections
                .map(|(detection, count)| (detection.name(), count))
                .collect(),
            posture: self
                .onlookers
                .health
                .as_ref()
                .map(health::Orders::latest)
                .unwrap_or_default(),
            services: services
                .map(|service| {
                    let is_attacked = self.attacked.contains(&service.name);
                    (service.name.clone(), is_attacked)
                })
                .collect(),
        })
    }
}
