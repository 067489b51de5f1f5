//! The program's counters by name.

use anyhow::Context as _;
use aya::maps::{MapData, PerCpuArray};
use edgeward_ebpf::{
    abi::{Count, counter},
    frame::Cause,
    verdict::Outcome,
};

/// One counter, summed over all CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Counter {
    /// What was counted: an outcome, a cause, or one of the program's own.
    pub name: &'static str,
    /// What kind of name it is.
    pub kind: CounterKind,
    /// Frames.
    pub packets: u64,
    /// Bytes of those frames.
    pub bytes: u64,
}

/// What a counter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CounterKind {
    /// An outcome that was acted on.
    Enforced,
    /// An outcome that mode log let pass.
    Logged,
    /// Frames of which something could not be read.
    Unreadable,
    /// The rest.
    Other,
}

/// Reads all counters.
pub(super) fn read(map: &PerCpuArray<MapData, Count>) -> anyhow::Result<Vec<Counter>> {
    let mut found = Vec::new();
    let mut add = |index: u32, name, kind| -> anyhow::Result<()> {
        let values = map.get(&index, 0).context("cannot read a counter")?;
        let (mut packets, mut bytes) = (0, 0);
        for value in values.iter() {
            packets += value.packets;
            bytes += value.bytes;
        }
        found.push(Counter {
            name,
            kind,
            packets,
            bytes,
        });
        Ok(())
    };
    for outcome in Outcome::ALL {
        add(outcome as u32, outcome.name(), CounterKind::Enforced)?;
    }
    for outcome in Outcome::ALL
        .into_iter()
        .filter(|outcome| outcome.reason().is_some())
    {
        add(
            counter::LOGGED + outcome as u32,
            outcome.name(),
            CounterKind::Logged,
        )?;
    }
    for cause in Cause::ALL {
        add(
            counter::CAUSE + cause as u32,
            cause.name(),
            CounterKind::Unreadable,
        )?;
    }
    for (index, name) in [
        (counter::UNJUDGED, "unjudged"),
        (counter::NOT_IP, "not_ip"),
        (counter::EVENTS_SENT, "events_sent"),
        (counter::EVENTS_SUPPRESSED, "events_suppressed"),
        (counter::EVENTS_LOST, "events_lost"),
        (counter::RESETS, "resets"),
        (counter::RATE_LOST, "rate_states_lost"),
        (counter::HEADS_COPIED, "heads_copied"),
        (counter::HEADS_SUPPRESSED, "heads_suppressed"),
        (counter::HEADS_LOST, "heads_lost"),
    ] {
        add(index, name, CounterKind::Other)?;
    }
    Ok(found)
}
