//! Which metrics there are, and where their numbers come from.

use std::collections::BTreeMap;

use super::{
    Measured,
    text::{Family, Kind, Metric, Text, moment},
};
use crate::{
    control::report::{ProxiedReport, SignalRow, Status},
    policy::posture::{Posture, Severity, State},
    stream::StreamState,
};

/// Everything that is known, as text.
pub(super) fn text(measured: &Measured) -> String {
    let mut text = Text::default();
    let out = &mut text;
    let status = &measured.status;
    agent(out, measured);
    kernel(out, measured);
    tables(out, status);
    requests(out, measured);
    sign_ins(out, &status.proxied);
    for row in SIGNALS {
        let mut family = out.family(row.0);
        for source in &status.signals {
            row.1(&mut family, source);
        }
    }
    detection(out, measured);
    feeds(out, status);
    streams(out, status);
    journal(out, measured);
    posture(out, &measured.posture);
    let left_out = text.left_out();
    text.single(SERIES_LEFT_OUT, left_out);
    text.finish()
}

fn agent(out: &mut Text, measured: &Measured) {
    let status = &measured.status;
    out.family(BUILD_INFO)
        .add(&[("version", &status.version)], 1);
    out.single(START_TIME, moment(measured.started_ms));
    let mut modes = out.family(MODE);
    for mode in ["off", "log", "block"] {
        modes.add(&[("mode", mode)], status.mode.mode == mode);
    }
    out.single(MODE_TIME, moment(status.mode.since));
    out.single(WARNINGS, status.warnings.len() as u64);
    let mut interfaces = out.family(INTERFACE);
    for interface in &status.interfaces {
        let labels = [
            ("interface", interface.name.as_str()),
            ("attached", interface.attached.as_str()),
        ];
        interfaces.add(&labels, 1);
    }
}

fn kernel(out: &mut Text, measured: &Measured) {
    for (metric, of) in [
        (
            PACKETS,
            (|found| found.packets) as fn(&super::Packets) -> u64,
        ),
        (PACKET_BYTES, |found| found.bytes),
    ] {
        let mut family = out.family(metric);
        for found in &measured.packets {
            let labels = [
                ("outcome", found.outcome),
                ("enforced", word(found.enforced)),
            ];
            family.add(&labels, of(found));
        }
    }
    let status = &measured.status;
    by(out.family(UNREADABLE), "cause", &status.unreadable);
    for (metric, key) in [
        (UNJUDGED, "unjudged"),
        (NOT_IP, "not_ip"),
        (RESETS, "resets"),
        (RATE_LOST, "rate_states_lost"),
    ] {
        out.single(metric, of(&status.packets, key));
    }
    let is_head = |name: &str| name.starts_with("heads_");
    let mut events = out.family(KERNEL_EVENTS);
    for (state, count) in status.events.iter().filter(|(name, _)| !is_head(name)) {
        events.add(&[("state", state)], *count);
    }
    let mut heads = out.family(KERNEL_HEADS);
    for (name, count) in &status.events {
        if let Some(state) = name.strip_prefix("heads_") {
            heads.add(&[("state", state)], *count);
        }
    }
    by(out.family(STEERED), "outcome", &status.proxied.steering);
}

fn tables(out: &mut Text, status: &Status) {
    for (metric, of) in [
        (
            TABLE_ENTRIES,
            (|table| table.used) as fn(&crate::control::report::Table) -> u64,
        ),
        (TABLE_CAPACITY, |table| table.max),
        (TABLE_DISPLACED, |table| table.displaced),
    ] {
        let mut family = out.family(metric);
        for table in &status.tables {
            family.add(&[("table", &table.name)], of(table));
        }
    }
    by(out.family(DECISIONS), "kind", &status.decisions);
    out.single(ZONES, status.zones);
    let mut networks = out.family(LIST_NETWORKS);
    for list in &status.lists {
        networks.add(&[("list", &list.name)], list.networks);
    }
}

fn requests(out: &mut Text, measured: &Measured) {
    let proxied = &measured.status.proxied;
    let mut passed = out.family(REQUESTS_PASSED);
    for service in &proxied.services {
        for (via, count) in &service.passed {
            passed.add(&[("service", &service.name), ("via", via)], *count);
        }
    }
    let mut refused = out.family(REQUESTS_REFUSED);
    for service in &proxied.services {
        for (enforced, counts) in [("true", &service.refused), ("false", &service.would_refuse)] {
            for (reason, count) in counts {
                let labels = [
                    ("service", service.name.as_str()),
                    ("reason", reason.as_str()),
                    ("enforced", enforced),
                ];
                refused.add(&labels, *count);
            }
        }
    }
    let mut exempt = out.family(REQUESTS_EXEMPT);
    for service in &proxied.services {
        exempt.add(&[("service", &service.name)], service.exempt);
    }
    let mut unknown = out.family(REQUESTS_UNKNOWN);
    for service in &proxied.services {
        unknown.add(&[("service", &service.name)], service.unknown_clients);
    }
    let mut rejected = out.family(REQUESTS_REJECTED);
    for (via, causes) in &proxied.rejected {
        for (cause, count) in causes {
            rejected.add(&[("via", via), ("cause", cause)], *count);
        }
    }
    by(out.family(REQUEST_EVENTS), "state", &proxied.events);
    let mut latencies = out.family(DECISION_TIME);
    for (via, buckets) in &measured.latencies {
        if buckets.count > 0 {
            latencies.histogram(&[("via", via)], buckets);
        }
    }
    let gauges = |name: &str| proxied.gateway.get(name).copied();
    for (metric, key) in [
        (GATEWAY_CONNECTIONS, "connections"),
        (GATEWAY_REQUESTS, "requests"),
        (GATEWAY_UPSTREAM, "upstream_open"),
        (GATEWAY_IDLE, "upstream_idle"),
    ] {
        if let Some(value) = gauges(key) {
            out.single(metric, value);
        }
    }
}

fn sign_ins(out: &mut Text, proxied: &ProxiedReport) {
    by(out.family(SIGN_INS), "what", &proxied.sign_ins);
}

fn detection(out: &mut Text, measured: &Measured) {
    let counts = &measured.status.detection;
    if !counts.is_empty() {
        let (failed, succeeded) = (of(counts, "failures"), of(counts, "successes"));
        let other = of(counts, "signals").saturating_sub(failed.saturating_add(succeeded));
        let mut outcomes = out.family(DETECTION_SIGNALS);
        for (outcome, count) in [
            ("failure", failed),
            ("success", succeeded),
            ("other", other),
        ] {
            outcomes.add(&[("outcome", outcome)], count);
        }
        for (metric, key) in [
            (DETECTION_REFUSED, "would_refuse"),
            (DETECTION_HIT, "successes_hit"),
            (DETECTION_SPARED, "spared"),
            (DETECTION_EARLY, "early"),
            (DETECTION_UNSAVED, "unsaved"),
            (DETECTION_DISPLACED, "displaced"),
            (DETECTION_REPUTATIONS, "detected"),
            (DETECTION_SOURCES, "sources"),
        ] {
            out.single(metric, of(counts, key));
        }
    }
    let mut detections = out.family(DETECTIONS);
    for (detector, count) in &measured.detections {
        detections.add(&[("detector", detector)], *count);
    }
    let mut attacked = out.family(ATTACKED);
    for (service, is_attacked) in &measured.services {
        attacked.add(&[("service", service)], *is_attacked);
    }
}

fn feeds(out: &mut Text, status: &Status) {
    use crate::feed::Health;
    let mut entries = out.family(FEED_ENTRIES);
    for feed in &status.feeds {
        entries.add(&[("feed", &feed.name)], feed.entries);
    }
    let mut states = out.family(FEED_STATE);
    for feed in &status.feeds {
        for (state, health) in [
            ("new", Health::New),
            ("ok", Health::Ok),
            ("failing", Health::Failing),
            ("refused", Health::Refused),
        ] {
            let labels = [("feed", feed.name.as_str()), ("state", state)];
            states.add(&labels, feed.health == health);
        }
    }
    let mut heard = out.family(FEED_HEARD);
    for feed in &status.feeds {
        if let Some(at) = feed.heard {
            heard.add(&[("feed", &feed.name)], moment(at));
        }
    }
    let mut rounds = out.family(FEED_ROUNDS);
    for feed in &status.feeds {
        for (outcome, count) in [
            ("fetched", feed.fetched),
            ("unchanged", feed.unchanged),
            ("rejected", feed.rejected),
            ("failed", feed.failed),
        ] {
            let labels = [("feed", feed.name.as_str()), ("outcome", outcome)];
            rounds.add(&labels, count);
        }
    }
}

fn streams(out: &mut Text, status: &Status) {
    use crate::stream::StreamHealth;
    let mut states = out.family(STREAM_STATE);
    for stream in &status.streams {
        for (state, health) in [
            ("new", StreamHealth::New),
            ("ok", StreamHealth::Ok),
            ("failing", StreamHealth::Failing),
            ("paused", StreamHealth::Paused),
            ("off", StreamHealth::Off),
        ] {
            let labels = [("stream", stream.name.as_str()), ("state", state)];
            states.add(&labels, stream.health == health);
        }
    }
    for (metric, of) in STREAMS {
        let mut family = out.family(metric);
        for stream in &status.streams {
            family.add(&[("stream", &stream.name)], of(stream));
        }
    }
    let mut lags = out.family(STREAM_LAG_TIME);
    for stream in &status.streams {
        lags.add(&[("stream", &stream.name)], moment(stream.lag_ms));
    }
    let mut delivered = out.family(STREAM_TIME);
    for stream in &status.streams {
        if let Some(at) = stream.last_delivered {
            delivered.add(&[("stream", &stream.name)], moment(at));
        }
    }
}

fn journal(out: &mut Text, measured: &Measured) {
    let counts = &measured.status.journal;
    if counts.is_empty() {
        return;
    }
    for (metric, key) in [
        (JOURNAL_WRITTEN, "written"),
        (JOURNAL_FOLDED, "folded"),
        (JOURNAL_LOST, "lost"),
        (JOURNAL_QUEUED, "queued"),
        (JOURNAL_EVENTS, "kept"),
        (JOURNAL_BYTES, "bytes"),
    ] {
        out.single(metric, of(counts, key));
    }
    out.single(JOURNAL_LIMIT, measured.journal_bytes_max);
    let oldest = of(counts, "oldest_ms");
    if oldest > 0 {
        out.single(JOURNAL_OLDEST, moment(oldest));
    }
    out.single(JOURNAL_FAILING, measured.journal_failing);
    if measured.commits.count > 0 {
        out.family(JOURNAL_COMMIT).histogram(&[], &measured.commits);
    }
}

fn posture(out: &mut Text, posture: &Posture) {
    if posture.tasks.is_empty() {
        return;
    }
    out.single(POSTURE_SCORE, u64::from(posture.score));
    let mut tasks = out.family(POSTURE_TASKS);
    for severity in Severity::ALL {
        for state in State::ALL {
            let count = posture
                .tasks
                .iter()
                .filter(|task| (task.severity, task.state) == (severity, state))
                .count();
            let labels = [("severity", severity.name()), ("state", state.name())];
            tasks.add(&labels, count as u64);
        }
    }
}

fn by(mut family: Family<'_>, label: &'static str, counts: &BTreeMap<String, u64>) {
    for (name, count) in counts {
        family.add(&[(label, name)], *count);
    }
}

fn of(counts: &BTreeMap<String, u64>, key: &str) -> u64 {
    counts.get(key).copied().unwrap_or_default()
}

const fn word(flag: bool) -> &'static str {
    if flag { "true" } else { "false" }
}

/// What is told of each stream as a number.
const STREAMS: [(Metric, OfStream); 7] = [
    (STREAM_LAG, |stream| stream.lag_events),
    (STREAM_DELIVERED, |stream| stream.delivered),
    (STREAM_BYTES, |stream| stream.delivered_bytes),
    (STREAM_FILTERED, |stream| stream.filtered),
    (STREAM_FAILED, |stream| stream.failed_batches),
    (STREAM_DEAD, |stream| stream.dead),
    (STREAM_GAP, |stream| stream.gap),
];

type OfStream = fn(&StreamState) -> u64;
type OfSource = fn(&mut Family<'_>, &SignalRow);

/// What is told of each source of signals.
const SIGNALS: [(Metric, OfSource); 7] = [
    (SIGNAL_LINES, |family, row| {
        family.add(&[("source", &row.name)], row.lines);
    }),
    (SIGNALS_FOUND, |family, row| {
        family.add(&[("source", &row.name)], row.signals);
    }),
    (SIGNALS_REJECTED, |family, row| {
        for (reason, count) in &row.rejected {
            family.add(&[("source", &row.name), ("reason", reason)], *count);
        }
    }),
    (SIGNALS_DOUBLE, |family, row| {
        family.add(&[("source", &row.name)], row.duplicates);
    }),
    (SIGNALS_TURNED_AWAY, |family, row| {
        family.add(&[("source", &row.name)], row.turned_away);
    }),
    (SIGNAL_LAG, |family, row| {
        family.add(&[("source", &row.name)], row.lag_bytes);
    }),
    (SIGNAL_TIME, |family, row| {
        if let Some(at) = row.last_ms {
            family.add(&[("source", &row.name)], moment(at));
        }
    }),
];

macro_rules! metrics {
    ($($constant:ident $kind:ident $name:literal $help:literal;)*) => {
        $(const $constant: Metric = Metric { name: $name, kind: Kind::$kind, help: $help };)*
        /// Every metric.
        #[cfg(test)]
        pub(super) const ALL: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    BUILD_INFO Gauge "edgeward_build_info" "The agent's version; always 1.";
    START_TIME Gauge "edgeward_start_time_seconds" "When the agent started, since the Unix epoch.";
    MODE Gauge "edgeward_mode" "1 for the mode in force, 0 for the others.";
    MODE_TIME Gauge "edgeward_mode_set_time_seconds" "When the mode was set, since the Unix epoch.";
    WARNINGS Gauge "edgeward_warnings" "Warnings that `edgeward status` shows.";
    INTERFACE Gauge "edgeward_interface_info" "How an interface is attached (native, generic, detached); always 1.";
    PACKETS Counter "edgeward_packets_total" "Packets by outcome since the kernel's maps were made; enforced is false for what mode log let pass.";
    PACKET_BYTES Counter "edgeward_packet_bytes_total" "Bytes of those packets.";
    UNREADABLE Counter "edgeward_unreadable_packets_total" "Packets of which something could not be read, by cause.";
    UNJUDGED Counter "edgeward_unjudged_packets_total" "Packets that were passed without a judgement.";
    NOT_IP Counter "edgeward_not_ip_packets_total" "Frames that are neither IPv4 nor IPv6.";
    RESETS Counter "edgeward_resets_total" "Refusals that were answered with a TCP reset.";
    RATE_LOST Counter "edgeward_rate_states_lost_total" "Packets that could not be counted for a rate limit.";
    KERNEL_EVENTS Counter "edgeward_kernel_events_total" "Events of the kernel by what became of them.";
    KERNEL_HEADS Counter "edgeward_kernel_heads_total" "Copies of request heads by what became of them.";
    STEERED Counter "edgeward_steered_connections_total" "Connections from trusted proxies to protected ports, by outcome of steering.";
    TABLE_ENTRIES Gauge "edgeward_table_entries" "Entries of a kernel table.";
    TABLE_CAPACITY Gauge "edgeward_table_capacity_entries" "Entries that a kernel table can hold.";
    TABLE_DISPLACED Gauge "edgeward_table_displaced_entries" "Entries that gave way because a kernel table is full.";
    DECISIONS Gauge "edgeward_decisions" "Decisions in force, by kind.";
    ZONES Gauge "edgeward_zones" "Zones that are configured.";
    LIST_NETWORKS Gauge "edgeward_list_networks" "Networks of a list.";
    REQUESTS_PASSED Counter "edgeward_requests_passed_total" "Proxied requests that were let on.";
    REQUESTS_REFUSED Counter "edgeward_requests_refused_total" "Proxied requests by reason; enforced is false for those that were let on all the same.";
    REQUESTS_EXEMPT Counter "edgeward_requests_exempt_total" "Proxied requests of exempt clients.";
    REQUESTS_UNKNOWN Counter "edgeward_requests_unknown_client_total" "Proxied requests whose client could not be read.";
    REQUESTS_REJECTED Counter "edgeward_requests_rejected_total" "Requests and connections that never came to a judgement, by cause.";
    REQUEST_EVENTS Counter "edgeward_request_events_total" "Events of proxied requests by what became of them.";
    DECISION_TIME Histogram "edgeward_decision_duration_seconds" "How long Edgeward's own part of a proxied request took.";
    GATEWAY_CONNECTIONS Gauge "edgeward_gateway_connections" "Connections that the gateway holds.";
    GATEWAY_REQUESTS Gauge "edgeward_gateway_requests" "Requests that the gateway is at.";
    GATEWAY_UPSTREAM Gauge "edgeward_gateway_upstream_connections" "Connections of the gateway to applications.";
    GATEWAY_IDLE Gauge "edgeward_gateway_upstream_idle_connections" "Those that wait for a request.";
    SIGN_INS Counter "edgeward_sign_in_requests_total" "Sign-ins that the gateway and the endpoints recognised, by what was noted.";
    SIGNAL_LINES Counter "edgeward_signal_lines_total" "Lines that were read of a source of signals; calls of an endpoint.";
    SIGNALS_FOUND Counter "edgeward_signals_total" "Signals that a source gave.";
    SIGNALS_REJECTED Counter "edgeward_signals_rejected_total" "Lines or signals that could not be read, by reason.";
    SIGNALS_DOUBLE Counter "edgeward_signals_duplicate_total" "Signals that were there before, by their id.";
    SIGNALS_TURNED_AWAY Counter "edgeward_signal_calls_turned_away_total" "Calls that were told to come back because detection was too far behind.";
    SIGNAL_LAG Gauge "edgeward_signal_lag_bytes" "Bytes of a source that are written and not read yet.";
    SIGNAL_TIME Gauge "edgeward_signal_read_time_seconds" "When a source was last read, since the Unix epoch.";
    DETECTION_SIGNALS Counter "edgeward_detection_signals_total" "Sign-ins that detection has counted, by outcome, over the life of its state.";
    DETECTION_REFUSED Counter "edgeward_detection_refused_total" "Attempts that detection refused, or would have.";
    DETECTION_HIT Counter "edgeward_detection_successes_hit_total" "Those of them that signed somebody in.";
    DETECTION_SPARED Counter "edgeward_detection_spared_total" "Sign-ins of exempt clients and trusted proxies.";
    DETECTION_EARLY Counter "edgeward_detection_early_total" "Sign-ins whose time lay in the future.";
    DETECTION_UNSAVED Counter "edgeward_detection_unsaved_total" "Batches of sign-ins that could not be written down.";
    DETECTION_DISPLACED Counter "edgeward_detection_displaced_total" "What detection forgot for want of room.";
    DETECTION_REPUTATIONS Counter "edgeward_reputations_total" "Reputations that began since the agent's start.";
    DETECTION_SOURCES Gauge "edgeward_detection_sources" "Sources that detection remembers.";
    DETECTIONS Counter "edgeward_detections_total" "Reputations that were put in force since the agent's start, by detector; one of several detectors counts for each.";
    ATTACKED Gauge "edgeward_service_attacked" "1 while a service is under attack.";
    FEED_ENTRIES Gauge "edgeward_feed_entries" "Entries of a feed.";
    FEED_STATE Gauge "edgeward_feed_state" "1 for the state of a feed, 0 for the others.";
    FEED_HEARD Gauge "edgeward_feed_heard_time_seconds" "When a feed was last heard of, since the Unix epoch.";
    FEED_ROUNDS Counter "edgeward_feed_rounds_total" "Rounds of a feed by outcome, since the agent's start.";
    STREAM_STATE Gauge "edgeward_stream_state" "1 for the state of a stream, 0 for the others.";
    STREAM_LAG Gauge "edgeward_stream_lag_events" "Events of the System Log that a stream is behind.";
    STREAM_LAG_TIME Gauge "edgeward_stream_lag_seconds" "How long the oldest event that waits for a stream has waited.";
    STREAM_TIME Gauge "edgeward_stream_delivered_time_seconds" "When a stream last delivered something, since the Unix epoch.";
    STREAM_DELIVERED Counter "edgeward_stream_delivered_events_total" "Events that a stream delivered.";
    STREAM_BYTES Counter "edgeward_stream_delivered_bytes_total" "Bytes of them as they were sent.";
    STREAM_FILTERED Counter "edgeward_stream_filtered_events_total" "Events that a stream's filter passed over.";
    STREAM_FAILED Counter "edgeward_stream_failed_batches_total" "Batches of a stream that failed; they are sent again.";
    STREAM_DEAD Counter "edgeward_stream_dead_events_total" "Events that a receiver refused for good, since the stream was made.";
    STREAM_GAP Counter "edgeward_stream_gap_events_total" "Events that retention took before a stream could send them, since it was made.";
    JOURNAL_WRITTEN Counter "edgeward_journal_written_events_total" "Events that were written to the System Log.";
    JOURNAL_FOLDED Counter "edgeward_journal_folded_events_total" "Events that were counted in another instead of being written by themselves.";
    JOURNAL_LOST Counter "edgeward_journal_lost_events_total" "Events that found no room.";
    JOURNAL_QUEUED Gauge "edgeward_journal_queued_events" "Events that wait to be written.";
    JOURNAL_EVENTS Gauge "edgeward_journal_events" "Events that the System Log holds.";
    JOURNAL_BYTES Gauge "edgeward_journal_bytes" "Bytes of the System Log on disk.";
    JOURNAL_LIMIT Gauge "edgeward_journal_limit_bytes" "Bytes that it may take.";
    JOURNAL_OLDEST Gauge "edgeward_journal_oldest_time_seconds" "When its oldest part begins, since the Unix epoch.";
    JOURNAL_FAILING Gauge "edgeward_journal_failing" "1 while the System Log cannot be written.";
    JOURNAL_COMMIT Histogram "edgeward_journal_commit_duration_seconds" "How long it took to write a batch of events and to sync it.";
    POSTURE_SCORE Gauge "edgeward_posture_score" "How well the host is set up, 0 to 100 (`edgeward health`).";
    POSTURE_TASKS Gauge "edgeward_posture_tasks" "Tasks of `edgeward health` by severity and state.";
    SERIES_LEFT_OUT Gauge "edgeward_metrics_left_out_series" "Series that were left out because their metric has too many.";
}
