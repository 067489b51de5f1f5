//! What is served, held against the rules of the format, the dashboard and the alert rules.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Measured, Packets, families,
    text::{Kind, Metric, SERIES_MAX, Text},
};
use crate::{
    control::report::{
        Interface, ListRow, ModeReport, ProxiedReport, ProxiedService, SignalRow, Status, Table,
    },
    feed::FeedState,
    histogram::Histogram,
    policy::posture::{Dismissals, Facts, Posture},
    stream::StreamState,
};

fn counts(names: &[&str]) -> BTreeMap<String, u64> {
    let numbered = names.iter().zip(1..);
    numbered
        .map(|(name, count)| ((*name).to_owned(), count))
        .collect()
}

/// Its fields are not all ours to name.
fn stream() -> StreamState {
    let mut stream = StreamState::default();
    stream.name = "siem".to_owned();
    stream.lag_ms = 1_500;
    stream.last_delivered = Some(3_000);
    stream
}

fn proxied() -> ProxiedReport {
    ProxiedReport {
        services: vec![ProxiedService {
            name: "login".to_owned(),
            passed: counts(&["gateway"]),
            refused: counts(&["reputation"]),
            would_refuse: counts(&["rate_limit"]),
            ..ProxiedService::default()
        }],
        rejected: BTreeMap::from([("gateway".to_owned(), counts(&["bad_host"]))]),
        events: counts(&["sent"]),
        gateway: counts(&["connections", "requests", "upstream_open", "upstream_idle"]),
        sign_ins: counts(&["signals"]),
        steering: counts(&["steered"]),
        ..ProxiedReport::default()
    }
}

/// Something of everything.
fn everything() -> Measured {
    let histogram = Histogram::default();
    histogram.add(std::time::Duration::from_micros(300));
    let status = Status {
        version: "1.2.3".to_owned(),
        mode: ModeReport {
            mode: "log".to_owned(),
            since: 1_700_000_000_500,
            ..ModeReport::default()
        },
        interfaces: vec![Interface {
            attached: "native".to_owned(),
            ..Interface::default()
        }],
        tables: vec![Table {
            name: "hosts_v4".to_owned(),
            used: 7,
            max: 10,
            displaced: 1,
        }],
        decisions: counts(&["block", "exempt"]),
        zones: 3,
        lists: vec![ListRow {
            name: "a \"list\"\\\nof two lines".to_owned(),
            ..ListRow::default()
        }],
        packets: counts(&["unjudged", "not_ip", "resets", "rate_states_lost"]),
        unreadable: counts(&["short"]),
        events: counts(&["sent", "heads_copied"]),
        journal: counts(&[
            "written",
            "folded",
            "lost",
            "queued",
            "kept",
            "bytes",
            "oldest_ms",
        ]),
        proxied: proxied(),
        signals: vec![SignalRow {
            name: "nginx".to_owned(),
            rejected: counts(&["bad_time"]),
            last_ms: Some(1),
            ..SignalRow::default()
        }],
        detection: counts(&["signals"]),
        feeds: vec![FeedState {
            name: "drop".to_owned(),
            heard: Some(2_000),
            ..FeedState::default()
        }],
        streams: vec![stream()],
        ..Status::default()
    };
    Measured {
        status,
        started_ms: 1_700_000_000_000,
        packets: vec![Packets {
            outcome: "reputation",
            enforced: true,
            packets: 5,
            bytes: 600,
        }],
        latencies: vec![("gateway", histogram.buckets())],
        commits: histogram.buckets(),
        journal_failing: false,
        journal_bytes_max: 100,
        detections: vec![("Password Spray", 2)],
        services: vec![("login".to_owned(), true)],
        posture: Posture::of(&Facts::default(), &Dismissals::default()).into(),
    }
}

#[test]
fn every_metric_says_what_it_is_once_and_before_its_series() {
    let text = families::text(&everything());
    let mut told = BTreeSet::new();
    let mut present = "";
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            present = help.split_once(' ').expect("a sentence").0;
            assert!(told.insert(present), "{present} twice");
        } else if !line.starts_with("# TYPE ") {
            let end = line.find(['{', ' ']).expect("a value");
            let name = &line[..end];
            let series = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix))
                .unwrap_or(name);
            assert_eq!(series, present, "{line}");
        }
    }
    let all: BTreeSet<&str> = families::ALL.iter().map(|metric| metric.name).collect();
    assert_eq!(
        told, all,
        "one that is never written, or is not in the list"
    );
    for metric in families::ALL {
        let counts = metric.kind == Kind::Counter;
        assert_eq!(metric.name.ends_with("_total"), counts, "{}", metric.name);
        assert!(metric.name.starts_with("edgeward_"), "{}", metric.name);
    }
}

#[test]
fn numbers_come_from_where_they_should() {
    let text = families::text(&everything());
    for line in [
        "edgeward_build_info{version=\"1.2.3\"} 1",
        "edgeward_start_time_seconds 1700000000",
        "edgeward_mode_set_time_seconds 1700000000.5",
        "edgeward_mode{mode=\"log\"} 1",
        "edgeward_mode{mode=\"block\"} 0",
        "edgeward_packets_total{outcome=\"reputation\",enforced=\"true\"} 5",
        "edgeward_packet_bytes_total{outcome=\"reputation\",enforced=\"true\"} 600",
        "edgeward_kernel_events_total{state=\"sent\"} 1",
        "edgeward_kernel_heads_total{state=\"copied\"} 2",
        "edgeward_list_networks{list=\"a \\\"list\\\"\\\\\\nof two lines\"} 0",
        "edgeward_requests_refused_total{service=\"login\",reason=\"reputation\",enforced=\"true\"} 1",
        "edgeward_decision_duration_seconds_bucket{via=\"gateway\",le=\"0.000256\"} 0",
        "edgeward_decision_duration_seconds_bucket{via=\"gateway\",le=\"0.001024\"} 1",
        "edgeward_decision_duration_seconds_bucket{via=\"gateway\",le=\"+Inf\"} 1",
        "edgeward_decision_duration_seconds_sum{via=\"gateway\"} 0.0003",
        "edgeward_decision_duration_seconds_count{via=\"gateway\"} 1",
        "edgeward_detections_total{detector=\"Password Spray\"} 2",
        "edgeward_service_attacked{service=\"login\"} 1",
        "edgeward_feed_state{feed=\"drop\",state=\"new\"} 1",
        "edgeward_feed_heard_time_seconds{feed=\"drop\"} 2",
        "edgeward_stream_state{stream=\"siem\",state=\"new\"} 1",
        "edgeward_stream_lag_seconds{stream=\"siem\"} 1.5",
        "edgeward_journal_limit_bytes 100",
        "edgeward_metrics_left_out_series 0",
    ] {
        assert!(text.lines().any(|is| is == line), "{line}\nnot in\n{text}");
    }
}

#[test]
fn series_of_a_metric_are_bounded_and_those_left_out_are_counted() {
    let mut text = Text::default();
    let metric = Metric {
        name: "edgeward_many",
        kind: Kind::Gauge,
        help: "Many.",
    };
    let mut family = text.family(metric);
    for number in 0..SERIES_MAX as u64 + 5 {
        family.add(&[("number", &number.to_string())], number);
    }
    assert_eq!(text.left_out(), 5);
    let lines = text.finish().lines().count();
    assert_eq!(lines, SERIES_MAX + 2);
}

/// The names that a text uses as metrics of ours.
fn used(text: &str) -> BTreeSet<String> {
    let word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    text.split(|letter| !word(letter))
        .filter(|word| word.starts_with("edgeward_"))
        .map(str::to_owned)
        .collect()
}

/// Whether something is a series of ours: a metric, or a part of a histogram.
fn is_known(name: &str) -> bool {
    families::ALL.iter().any(|metric| match metric.kind {
        Kind::Histogram => ["_bucket", "_sum", "_count"]
            .iter()
            .any(|suffix| name.strip_suffix(suffix) == Some(metric.name)),
        _ => metric.name == name,
    })
}

#[test]
fn dashboard_and_alert_rules_name_only_metrics_that_exist() {
    let dashboard = include_str!("../../../config/grafana/edgeward.json");
    let value: serde_json::Value = serde_json::from_str(dashboard).expect("JSON");
    let panels = value["panels"].as_array().expect("panels");
    let expressions: Vec<&str> = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array())
        .flatten()
        .map(|target| target["expr"].as_str().expect("an expression"))
        .collect();
    assert!(expressions.len() >= 15, "{}", expressions.len());
    let rules = include_str!("../../../config/prometheus/edgeward.rules.yml");
    for text in expressions.into_iter().chain([rules]) {
        let names = used(text);
        assert!(!names.is_empty(), "{text}");
        for name in names {
            assert!(is_known(&name), "{name}");
        }
    }
}

#[test]
fn the_page_about_metrics_names_each_with_its_kind() {
    let page = include_str!("../../../docs/metrics.md");
    for metric in families::ALL {
        let kind = format!("{:?}", metric.kind).to_lowercase();
        let row = format!("| `{}` | {kind} |", metric.name);
        assert!(page.contains(&row), "{row}");
    }
    for name in used(page) {
        assert!(
            is_known(&name) || families::ALL.iter().any(|is| is.name == name),
            "{name}"
        );
    }
}
