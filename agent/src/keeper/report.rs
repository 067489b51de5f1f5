//! Facts for the CLI: status, lists, zones.

use std::collections::BTreeMap;

use tracing::warn;

use super::Keeper;
use crate::{
    control::report::{
        Interface, ListRow, ModeReport, ProxiedReport, SignalRow, Status, Table, ZoneDetail,
        ZoneRow, Zones,
    },
    datapath::{Counter, CounterKind, SteeringCounts, netlink::XdpMode},
    detection::Orders,
    geo::{self, DatabaseRow, Databases},
    journal::Log,
    policy::decision::Kind,
    signal::sources::Sources,
    store::ModeOrigin,
};

/// Networks of a zone that one answer shows.
const NETWORKS_SHOWN_MAX: usize = 10_000;

impl Keeper {
    pub(super) fn status(&self) -> anyhow::Result<Status> {
        let counters = self.datapath.counters()?;
        let now = self.clock.now();
        let mut decisions = BTreeMap::new();
        for decision in self.decisions.values() {
            *decisions
                .entry(decision.kind.name().to_owned())
                .or_default() += 1;
        }
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_ms: now.wall_ms.saturating_sub(self.started_ms),
            config: self
                .config
                .path
                .as_ref()
                .map(|path| path.display().to_string()),
            mode: self.mode_report(),
            interfaces: self.interfaces(),
            tables: self.tables(),
            decisions,
            zones: self.config.zones.len() as u64,
            lists: self
                .config
                .lists
                .iter()
                .map(|list| ListRow {
                    name: list.name.clone(),
                    score: list.score,
                    networks: list.networks.len() as u64,
                    rejected: list.networks.rejected,
                })
                .collect(),
            packets: packets(&counters),
            reasons: reasons(&counters),
            unreadable: named(&counters, CounterKind::Unreadable, ""),
            events: events(&counters),
            journal: self.feed.log().map(Log::report).unwrap_or_default(),
            proxied: self.proxied(),
            signals: self.signals(),
            detection: self.detection(),
            geo: self.geo(),
            feeds: self.feed_rows().feeds,
            streams: self.stream_rows().streams,
            warnings: self.warnings(),
        })
    }

    fn detection(&self) -> BTreeMap<String, u64> {
        let Some(orders) = &self.detection else {
            return BTreeMap::new();
        };
        let report = orders.report();
        let counts = report.counts;
        let named = [
            ("signals", counts.signals),
            ("failures", counts.failures),
            ("successes", counts.successes),
            ("would_refuse", counts.refused),
            ("successes_hit", counts.successes_refused),
            ("spared", report.spared),
            ("early", report.early),
            ("detected", report.detected),
            ("unsaved", report.unsaved),
            ("sources", report.sources),
            ("displaced", report.displaced),
            ("simulated", report.simulated),
        ];
        named
            .into_iter()
            .map(|(name, count)| (name.to_owned(), count))
            .collect()
    }

    fn geo(&self) -> Vec<DatabaseRow> {
        let databases = self.geo.as_ref().map(geo::Orders::databases);
        databases.map(Databases::rows).unwrap_or_default()
    }

    fn signals(&self) -> Vec<SignalRow> {
        let logs = self.sources.as_ref().map(Sources::rows);
        let mut rows = logs.unwrap_or_default();
        rows.extend(self.outcomes.rows(&self.config.endpoints));
        rows
    }

    fn proxied(&self) -> ProxiedReport {
        let mut report = self.gate.report();
        if let Some(gateway) = self.deferred.gateway() {
            report.gateway = gateway.gauges();
        }
        match self.datapath.steering() {
            Ok(steering) if steering.attached => report.steering = steered(&steering.counts),
            Ok(_) => {}
            Err(error) => warn!("the counters of steering cannot be read: {error:#}"),
        }
        report
    }

    pub(super) fn mode_report(&self) -> ModeReport {
        let now = self.clock.now().wall_ms;
        let next = self.mode.next_revert();
        ModeReport {
            mode: self.mode.mode.name().to_owned(),
            origin: match self.mode.origin {
                ModeOrigin::Configuration => "configuration",
                ModeOrigin::Operator => "operator",
                ModeOrigin::Revert => "revert",
            }
            .to_owned(),
            actor: self.mode.actor.clone(),
            since: self.mode.since,
            next: next.map(|next| next.previous.name().to_owned()),
            next_in_ms: next.map(|next| next.at.saturating_sub(now)),
            unconfirmed: self.mode.unconfirmed.is_some(),
        }
    }

    pub(super) fn zone_rows(&self) -> Zones {
        let zones = self.config.zones.iter().map(|zone| ZoneRow {
            name: zone.name.clone(),
            uses: zone.uses.names().into_iter().map(str::to_owned).collect(),
            networks: zone.networks.len() as u64,
            rejected: zone.networks.rejected,
        });
        Zones {
            zones: zones.collect(),
        }
    }

    pub(super) fn zone_detail(&self, name: &str) -> Option<ZoneDetail> {
        let zone = self.config.zones.iter().find(|zone| zone.name == name)?;
        Some(ZoneDetail {
            name: zone.name.clone(),
            uses: zone.uses.names().into_iter().map(str::to_owned).collect(),
            networks: zone.networks.iter().take(NETWORKS_SHOWN_MAX).collect(),
            total: zone.networks.len() as u64,
        })
    }

    fn interfaces(&self) -> Vec<Interface> {
        // The last attach may have been before an interface went.
        let is_there = |name: &str| !self.missing_interfaces.iter().any(|(gone, _)| gone == name);
        let attached = self.datapath.attached().iter();
        let attached = attached.filter(|attachment| is_there(&attachment.name));
        let attached = attached.map(|attachment| Interface {
            name: attachment.name.clone(),
            attached: match attachment.mode {
                XdpMode::Native => "native",
                XdpMode::Generic => "generic",
                XdpMode::Other => "other",
            }
            .to_owned(),
            note: (attachment.mode == XdpMode::Generic)
                .then(|| "the driver does not take XDP programs, so packets cost more".to_owned()),
        });
        let missing = self.missing_interfaces.iter().map(|(name, why)| Interface {
            name: name.clone(),
            attached: "detached".to_owned(),
            note: Some(why.clone()),
        });
        attached.chain(missing).collect()
    }

    pub(super) fn tables(&self) -> Vec<Table> {
        let fill = self.datapath.fill();
        let capacity = &self.config.capacity;
        let row = |name: &str, used: usize, max: u32, displaced: u64| Table {
            name: name.to_owned(),
            used: used as u64,
            max: u64::from(max),
            displaced,
        };
        let evicted = &self.evicted;
        vec![
            row("hosts_v4", fill.exact_v4, capacity.hosts_v4, evicted.hosts4),
            row("hosts_v6", fill.exact_v6, capacity.hosts_v6, evicted.exact6),
            row(
                "prefixes_v4",
                fill.prefixes_v4,
                capacity.prefixes,
                evicted.trie,
            ),
            row("prefixes_v6", fill.prefixes_v6, capacity.prefixes, 0),
            row("zones_v4", fill.zones_v4, capacity.zones, 0),
            row("zones_v6", fill.zones_v6, capacity.zones, 0),
        ]
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = self.notices.clone();
        // Databases of places come and go while the agent runs, and say so themselves.
        let lasting = self.config.warnings.iter();
        let lasting = lasting.filter(|warning| !warning.path.starts_with("geo."));
        warnings.extend(lasting.map(ToString::to_string));
        warnings.extend(self.deferred.warnings());
        warnings.extend(self.feed_warnings());
        warnings.extend(self.stream_warnings());
        let detection = self.detection.as_ref().map(Orders::report);
        warnings.extend(detection.iter().flat_map(|report| report.warnings.clone()));
        let failing = detection
            .iter()
            .filter_map(|report| report.failing.as_ref());
        warnings.extend(failing.map(|why| {
            format!(
                "what detection learns cannot be written down, and a restart would lose it: {why}"
            )
        }));
        if let Some(why) = self.feed.log().and_then(Log::failing) {
            warnings.push(format!("the System Log cannot be written: {why}"));
        }
        warnings.extend(self.geo().iter().filter_map(DatabaseRow::warning));
        let steering = self.datapath.steering().ok();
        if let Some(why) = steering.and_then(|steering| steering.no_v6) {
            warnings.push(format!(
                "the gateway reaches no application over IPv6: {why}"
            ));
        }
        let evicted = self.evicted.total();
        if evicted > 0 {
            warnings.push(format!(
                "{evicted} entries with the lowest scores had no room in the kernel's tables: raise [capacity]"
            ));
        }
        let expiring = self
            .decisions
            .values()
            .filter(|decision| decision.kind == Kind::Exempt && decision.expires.is_none())
            .count();
        if expiring > 0 {
            warnings.push(format!("{expiring} exemptions have no end"));
        }
        warnings
    }
}

fn steered(counts: &SteeringCounts) -> BTreeMap<String, u64> {
    let counts = [
        ("steered", counts.steered),
        ("bypassed_empty", counts.bypassed_empty),
        ("bypassed_stalled", counts.bypassed_stalled),
        ("refused_empty", counts.refused_empty),
        ("refused_stalled", counts.refused_stalled),
        ("passed_reserved", counts.passed_reserved),
    ];
    counts
        .into_iter()
        .map(|(name, count)| (name.to_owned(), count))
        .collect()
}

fn packets(counters: &[Counter]) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    let mut add = |name: &str, packets| *found.entry(name.to_owned()).or_default() += packets;
    for counter in counters {
        match (counter.kind, counter.name) {
            (CounterKind::Enforced, name @ ("pass" | "exempt" | "trusted_proxy" | "limited")) => {
                add(name, counter.packets);
            }
            (CounterKind::Enforced, _) => add("refused", counter.packets),
            (CounterKind::Logged, "limited") => add("would_limit", counter.packets),
            (CounterKind::Logged, _) => add("would_refuse", counter.packets),
            (
                CounterKind::Other,
                name @ ("unjudged" | "not_ip" | "resets" | "rate_states_lost"),
            ) => {
                add(name, counter.packets);
            }
            _ => {}
        }
    }
    found
}

/// Refusals by reason, enforced and only logged together: the mode says which of them happened.
fn reasons(counters: &[Counter]) -> BTreeMap<String, u64> {
    let mut found: BTreeMap<String, u64> = BTreeMap::new();
    for counter in counters {
        let refusal = matches!(
            counter.name,
            "blocked_zone" | "restricted_origin" | "reputation" | "rate_limit"
        );
        if refusal {
            *found.entry(counter.name.to_owned()).or_default() += counter.packets;
        }
    }
    found
}

/// Events by what became of them, and copies of request heads.
fn events(counters: &[Counter]) -> BTreeMap<String, u64> {
    let mut found = named(counters, CounterKind::Other, "events_");
    let heads = named(counters, CounterKind::Other, "heads_").into_iter();
    found.extend(heads.map(|(name, count)| (format!("heads_{name}"), count)));
    found
}

fn named(counters: &[Counter], kind: CounterKind, prefix: &str) -> BTreeMap<String, u64> {
    counters
        .iter()
        .filter(|counter| counter.kind == kind)
        .filter_map(|counter| {
            Some((
                counter.name.strip_prefix(prefix)?.to_owned(),
                counter.packets,
            ))
        })
        .collect()
}
