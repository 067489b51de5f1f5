//! Each task open and complete, and what they come to together.

use super::*;
use crate::{journal::Filter, policy::mode::Mode};

/// Nothing is wrong.
fn well() -> Facts {
    Facts {
        now_ms: 100 * DAY,
        uptime_ms: 30 * DAY,
        mode: Some(Mode::Block),
        mode_since_ms: 50 * DAY,
        exempt_seen: 5,
        zones: vec![
            zone("office", "192.0.2.0/24", true),
            zone("cdn", "198.51.100.0/24", false),
        ],
        services: vec![Service {
            name: "login".to_owned(),
            restricted: true,
            proxied: true,
            around: 0,
        }],
        interfaces: vec![interface("native")],
        feeds: vec![Feed {
            name: "drop".to_owned(),
            heard_ms: Some(100 * DAY),
            every_ms: DAY / 24,
            failing: false,
        }],
        streams: vec![Stream {
            name: "siem".to_owned(),
            ..Stream::default()
        }],
        journal: Journal {
            bytes: 10,
            bytes_max: 100,
            oldest_ms: 90 * DAY,
            retention_ms: 90 * DAY,
            failing: None,
        },
        tables: vec![table(50, 0)],
        verified: Some(Verified::default()),
        clock_synchronised: Some(true),
        ..Facts::default()
    }
}

fn zone(name: &str, network: &str, exempt: bool) -> Zone {
    Zone {
        name: name.to_owned(),
        exempt,
        trusted_proxy: !exempt,
        widest: Some(network.parse().unwrap()),
    }
}

fn interface(attached: &str) -> Interface {
    Interface {
        name: "eth0".to_owned(),
        attached: attached.to_owned(),
    }
}

fn table(used: u64, displaced: u64) -> Table {
    Table {
        name: "hosts_v4".to_owned(),
        used,
        max: 100,
        displaced,
    }
}

fn forwarder(trusted: bool, requests: u64, no_header: u64) -> Forwarder {
    Forwarder {
        address: "198.51.100.70".parse().unwrap(),
        trusted,
        requests,
        sign_ins: requests,
        no_header,
    }
}

/// What is wrong, in what makes it so: the task, its severity, and words of the evidence.
type Row = (&'static str, Severity, fn(&mut Facts), &'static str);

const ROWS: &[Row] = &[
    (
        "mode",
        Severity::Critical,
        |f| f.mode = Some(Mode::Off),
        "nothing is judged",
    ),
    (
        "mode",
        Severity::Moderate,
        |f| f.mode = Some(Mode::Log),
        "the mode is log",
    ),
    (
        "log-mode-long",
        Severity::High,
        |f| (f.mode, f.block_mode) = (Some(Mode::Log), Some("safe".to_owned())),
        "log mode for 50 days",
    ),
    (
        "kernel-differs",
        Severity::High,
        |f| {
            f.verified = Some(Verified {
                differences: 3,
                first: "192.0.2.1 is missing".to_owned(),
            })
        },
        "3 differences, the first: 192.0.2.1 is missing",
    ),
    (
        "interface-detached",
        Severity::High,
        |f| f.interfaces.push(interface("detached")),
        "eth0 is not",
    ),
    (
        "interface-generic",
        Severity::Low,
        |f| f.interfaces.push(interface("generic")),
        "generic mode",
    ),
    (
        "exempt-wide",
        Severity::High,
        |f| f.zones.push(zone("all", "10.0.0.0/8", true)),
        "exempts 10.0.0.0/8",
    ),
    (
        "exempt-attackers",
        Severity::High,
        |f| {
            f.overlaps.push(Overlap {
                zone: "office".to_owned(),
                prefix: "192.0.2.7/32".parse().unwrap(),
                reason: "Brute Force".to_owned(),
            })
        },
        "192.0.2.7/32 (Brute Force) is in the exempt zone office",
    ),
    (
        "exempt-unused",
        Severity::Low,
        |f| f.exempt_seen = 0,
        "nobody came from an exempt zone (office)",
    ),
    (
        "proxy-no-client",
        Severity::High,
        |f| f.forwarders.push(forwarder(true, 40, 21)),
        "198.51.100.70 named no client in 21 of 40",
    ),
    (
        "proxy-untrusted",
        Severity::Moderate,
        |f| f.forwarders.push(forwarder(false, 20, 0)),
        "198.51.100.70 forwarded 20 sign-ins",
    ),
    (
        "around-proxies",
        Severity::Moderate,
        |f| f.services[0].restricted = false,
        "login is behind proxies",
    ),
    (
        "unknown-clients",
        Severity::Moderate,
        |f| (f.requests, f.unknown_clients) = (1_000, 11),
        "of 1000 proxied requests the client of 11",
    ),
    (
        "feed-stale",
        Severity::Moderate,
        |f| f.feeds[0].heard_ms = Some(98 * DAY),
        "drop was last heard of 48",
    ),
    (
        "feed-stale",
        Severity::Moderate,
        |f| f.feeds[0].failing = true,
        "drop cannot be had",
    ),
    (
        "feed-stale",
        Severity::Moderate,
        |f| (f.feeds[0].failing, f.feeds[0].heard_ms) = (true, None),
        "drop was never heard of",
    ),
    (
        "stream-lag",
        Severity::Moderate,
        |f| f.streams[0].lag_ms = 301_000,
        "siem is 301 s behind",
    ),
    (
        "stream-none",
        Severity::Low,
        |f| f.streams[0].off = true,
        "no stream",
    ),
    (
        "journal-failing",
        Severity::High,
        |f| f.journal.failing = Some("no space left".to_owned()),
        "no space left",
    ),
    (
        "journal-short",
        Severity::Moderate,
        |f| f.journal.bytes = 91,
        "reaches back 10 days of 90",
    ),
    (
        "table-full",
        Severity::Moderate,
        |f| f.tables.push(table(91, 0)),
        "91 of 100",
    ),
    (
        "table-full",
        Severity::Moderate,
        |f| f.tables.push(table(1, 7)),
        "7 had no room",
    ),
    (
        "token-old",
        Severity::Moderate,
        |f| {
            f.tokens.push(Token {
                name: "siem".to_owned(),
                age_ms: 366 * DAY,
                everything: false,
            })
        },
        "siem is 366 days old",
    ),
    (
        "token-broad",
        Severity::Low,
        |f| {
            f.tokens.push(Token {
                name: "siem".to_owned(),
                age_ms: 0,
                everything: true,
            })
        },
        "siem may do everything",
    ),
    (
        "files-open",
        Severity::High,
        |f| {
            f.open_files.push((
                "/etc/x has mode 0666".to_owned(),
                "chmod 0644 /etc/x".to_owned(),
            ))
        },
        "/etc/x has mode 0666",
    ),
    (
        "certificates",
        Severity::High,
        |f| {
            f.certificates.push(Certificate {
                file: "/tls.pem".to_owned(),
                what: "holds a certificate that has expired".to_owned(),
                expired: true,
            })
        },
        "/tls.pem holds a certificate that has expired",
    ),
    (
        "clock",
        Severity::Moderate,
        |f| f.clock_synchronised = Some(false),
        "follows no other",
    ),
];

#[test]
fn each_task_is_open_when_it_should_be_and_only_then() {
    let good = Posture::of(&well(), &Dismissals::default());
    let open = |posture: &Posture| -> Vec<String> {
        let open = posture
            .tasks
            .iter()
            .filter(|task| task.state == State::Incomplete);
        open.map(|task| task.id.clone()).collect()
    };
    assert_eq!(
        (open(&good), good.score, good.worst),
        (Vec::new(), 100, None)
    );
    for (id, severity, spoil, words) in ROWS {
        let mut facts = well();
        spoil(&mut facts);
        let posture = Posture::of(&facts, &Dismissals::default());
        let task = posture.tasks.iter().find(|task| task.id == *id).unwrap();
        assert_eq!(
            (task.state, task.severity),
            (State::Incomplete, *severity),
            "{id}"
        );
        assert!(task.evidence.contains(words), "{id}: {}", task.evidence);
        assert!(!task.fix.is_empty(), "{id}");
        if let Some(filter) = &task.filter {
            assert!(Filter::parse(filter).is_ok(), "{id}: {filter}");
        }
        assert!(posture.score < 100, "{id}");
        let others: Vec<String> = open(&posture)
            .into_iter()
            .filter(|other| other != id)
            .collect();
        // Log mode that has gone on for too long is log mode.
        let expected: &[&str] = if *id == "log-mode-long" {
            &["mode"]
        } else {
            &[]
        };
        assert_eq!(others, expected, "{id} opens others");
    }
    for check in CHECKS {
        let tested = ROWS.iter().any(|(id, ..)| *id == check.id);
        assert!(tested, "{} has no row", check.id);
    }
}

#[test]
fn few_of_something_is_no_task() {
    let unspoiled: [fn(&mut Facts); 8] = [
        |f| f.forwarders.push(forwarder(true, 19, 19)),
        |f| f.forwarders.push(forwarder(false, 19, 0)),
        |f| (f.requests, f.unknown_clients) = (99, 99),
        |f| (f.exempt_seen, f.uptime_ms) = (0, DAY),
        |f| (f.journal.bytes, f.journal.oldest_ms) = (100, DAY),
        |f| f.mode = None,
        |f| f.verified = None,
        |f| f.clock_synchronised = None,
    ];
    for (number, change) in unspoiled.iter().enumerate() {
        let mut facts = well();
        change(&mut facts);
        let posture = Posture::of(&facts, &Dismissals::default());
        assert_eq!(posture.score, 100, "{number}: {:?}", posture.tasks.first());
    }
}

#[test]
fn what_is_dismissed_costs_nothing_while_it_is_open() {
    let mut facts = well();
    facts.mode = Some(Mode::Off);
    let dismissal = Dismissal {
        reason: "maintenance".to_owned(),
        ..Dismissal::default()
    };
    let dismissals = Dismissals::from([("mode".to_owned(), dismissal)]);
    let posture = Posture::of(&facts, &dismissals);
    assert_eq!((posture.score, posture.worst), (100, None));
    let task = posture.tasks.first().unwrap();
    assert_eq!((task.id.as_str(), task.state), ("mode", State::Dismissed));
    assert_eq!(task.dismissed.as_ref().unwrap().reason, "maintenance");
    let well = Posture::of(&well(), &dismissals);
    let task = well.tasks.iter().find(|task| task.id == "mode").unwrap();
    assert_eq!((task.state, &task.dismissed), (State::Complete, &None));
}

#[test]
fn changes_are_told_once_and_the_gravest_comes_first() {
    let none = Posture::default();
    let good = Posture::of(&well(), &Dismissals::default());
    assert_eq!(good.changes(&none), [], "all is well at the first look");
    let mut facts = well();
    (facts.mode, facts.exempt_seen) = (Some(Mode::Off), 0);
    facts.tables.push(table(99, 0));
    let bad = Posture::of(&facts, &Dismissals::default());
    let order: Vec<&str> = bad
        .tasks
        .iter()
        .take(3)
        .map(|task| task.id.as_str())
        .collect();
    assert_eq!(order, ["mode", "table-full", "exempt-unused"]);
    assert_eq!(bad.score, 100 - 40 - 8 - 3);
    let told: Vec<(&str, Option<State>)> = bad
        .changes(&good)
        .into_iter()
        .map(|(task, stood)| (task.id.as_str(), stood))
        .collect();
    assert_eq!(told[0], ("mode", Some(State::Complete)));
    assert_eq!(told.len(), 3);
    assert_eq!(bad.changes(&bad), []);
    assert_eq!(good.changes(&bad).len(), 3, "and when it is well again");
    assert_eq!(bad.changes(&none).len(), 3);
}

const DAY: u64 = 86_400_000;
