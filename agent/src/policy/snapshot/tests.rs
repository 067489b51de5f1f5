//! Each rule of the judgement in a table.

use std::path::Path;

use super::*;
use crate::{
    config::{Header, Networks, Zone},
    policy::{
        chain::Forwarding,
        explain::Judged,
        request::{Reason, RequestFacts, Ruling},
    },
};

const NOW: Now = Now {
    wall_ms: 1_800_000_000_000,
    boot_ns: 3_600_000_000_000,
};

const WORLD: &str = r#"
mode = "block"

[[zone]]
name = "cdn"
uses = ["trusted-proxy"]
networks = ["10.0.0.0/8", "2001:db8:1::/48"]

[[zone]]
name = "nat"
uses = ["gateway"]
networks = ["172.16.0.0/12"]

[[zone]]
name = "relay"
uses = ["gateway", "trusted-proxy"]
networks = ["10.9.0.0/16"]

[[zone]]
name = "office"
uses = ["exempt"]
networks = ["198.51.100.0/28", "203.0.113.200", "172.16.0.66", "172.16.0.77"]

[[zone]]
name = "monitor"
uses = ["allowed-origin"]
networks = ["198.51.100.128/28"]

[[zone]]
name = "bad"
uses = ["blocked"]
networks = ["203.0.113.0/24", "2001:db8:bad::/48", "10.66.0.0/16"]

[[list]]
name = "drop"
score = 90
networks = ["192.0.2.90", "192.0.2.128/26", "2001:db8:90::/56", "10.0.0.90", "198.51.100.1", "172.16.0.90"]

[[list]]
name = "slow"
score = 50
networks = ["192.0.2.50", "192.0.2.128/25"]

[[service]]
name = "login"
ports = [443, 8443]

[[service]]
name = "inner"
ports = [9000]
restricted = true
unknown_client = "deny"
"#;

fn world() -> Snapshot {
    let text = WORLD.replace("unknown_client = \"deny\"\n", "");
    let mut config = Config::parse(&text, Path::new("/"), "test.toml").unwrap();
    config.services[1].unknown_client = crate::config::UnknownClient::Deny;
    config.services[1].restricted_except =
        vec![crate::policy::path::PathPattern::parse("/public/*").unwrap()];
    Snapshot::of_config(&config, NOW)
}

fn judged(snapshot: &Snapshot, service: usize, peer: &str, path: &str, lines: &[&str]) -> Ruling {
    let facts = RequestFacts {
        service,
        peer: peer.parse().unwrap(),
        path,
        user_agent: None,
        sign_in: None,
    };
    let lines = lines.iter().map(|line| line.as_bytes());
    snapshot.judge(&facts, Forwarding::Lines(Header::XForwardedFor, lines), NOW)
}

fn told(ruling: &Ruling) -> String {
    let word = |value: serde_json::Value| value.as_str().unwrap_or("-").to_owned();
    let verdict = word(serde_json::to_value(ruling.verdict).unwrap());
    let action = word(serde_json::to_value(ruling.action).unwrap());
    let reason = ruling.reason.map_or("-", Reason::name);
    let exempt = if ruling.exempt { " exempt" } else { "" };
    format!(
        "{} {verdict} {action} {reason} {}{exempt}",
        ruling.chain.client, ruling.score
    )
}

/// Service, peer, path, lines of X-Forwarded-For, ruling.
type Row = (
    usize,
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static str,
);

const ROWS: &[Row] = &[
    (
        0,
        "10.0.0.1",
        "/",
        &["192.0.2.1"],
        "192.0.2.1 pass pass - 0",
    ),
    (
        0,
        "10.0.0.1",
        "/",
        &["192.0.2.90"],
        "192.0.2.90 deny refuse reputation 90",
    ),
    (
        0,
        "10.0.0.1",
        "/",
        &["::ffff:192.0.2.90"],
        "192.0.2.90 deny refuse reputation 90",
    ),
    (
        0,
        "2001:db8:1::1",
        "/",
        &["2001:db8:90:55::1"],
        "2001:db8:90:55::1 deny refuse reputation 90",
    ),
    (
        0,
        "10.0.0.1",
        "/",
        &["192.0.2.130"],
        "192.0.2.130 deny refuse reputation 90",
    ),
    (
        0,
        "10.0.0.1",
        "/",
        &["192.0.2.50"],
        "192.0.2.50 limit limit reputation 50",
    ),
    (
        0,
        "10.0.0.1",
        "/",
        &["192.0.2.200"],
        "192.0.2.200 limit limit reputation 50",
    ),
    // Only the client's reputation counts.
    (
        0,
        "10.0.0.1",
        "/",
        &["192.0.2.90, 192.0.2.1"],
        "192.0.2.1 pass pass - 0",
    ),
    (
        0,
        "192.0.2.90",
        "/",
        &["192.0.2.1"],
        "192.0.2.90 deny refuse reputation 90",
    ),
    // Trusted proxies have none, wherever they stand.
    (0, "10.0.0.90", "/", &[], "10.0.0.90 pass pass - 0"),
    (
        0,
        "10.0.0.1",
        "/",
        &["10.0.0.90"],
        "10.0.0.90 pass pass - 0",
    ),
    (0, "10.0.0.90", "/", &["junk"], "10.0.0.90 pass pass - 0"),
    (0, "10.66.0.1", "/", &[], "10.66.0.1 pass pass - 0"),
    (
        0,
        "10.66.0.1",
        "/",
        &["192.0.2.1"],
        "192.0.2.1 pass pass - 0",
    ),
    (
        0,
        "10.0.0.1",
        "/",
        &["10.66.0.1, 192.0.2.1"],
        "192.0.2.1 pass pass - 0",
    ),
    // Gateways are judged; what they forward is not looked at.
    (
        0,
        "10.0.0.1",
        "/",
        &["203.0.113.5, 172.16.0.1"],
        "172.16.0.1 pass pass - 0",
    ),
    (
        0,
        "10.0.0.1",
        "/",
        &["172.16.0.90"],
        "172.16.0.90 deny refuse reputation 90",
    ),
    (
        0,
        "172.16.0.1",
        "/",
        &["203.0.113.5"],
        "172.16.0.1 pass pass - 0",
    ),
    (
        0,
        "10.9.0.1",
        "/",
        &["192.0.2.90"],
        "192.0.2.90 deny refuse reputation 90",
    ),
    // Blocked zones on every hop.
    (
        0,
        "10.0.0.1",
        "/",
        &["203.0.113.5"],
        "203.0.113.5 deny refuse blocked_zone 0",
    ),
    (
        0,
        "10.0.0.1",
        "/",
        &["203.0.113.5, 192.0.2.1"],
        "192.0.2.1 deny refuse blocked_zone 0",
    ),
    (
        0,
        "10.0.0.1",
        "/",
        &["203.0.113.5, junk, 192.0.2.1"],
        "192.0.2.1 deny refuse blocked_zone 0",
    ),
    (
        0,
        "10.0.0.1",
        "/",
        &["203.0.113.5, unknown"],
        "10.0.0.1 deny refuse blocked_zone 0",
    ),
    (
        0,
        "10.0.0.1",
        "/",
        &["2001:db8:bad::1"],
        "2001:db8:bad::1 deny refuse blocked_zone 0",
    ),
    (
        0,
        "10.0.0.1",
        "/",
        &["203.0.113.200"],
        "203.0.113.200 pass pass - 0 exempt",
    ),
    (
        0,
        "10.0.0.1",
        "/",
        &["203.0.113.200, 192.0.2.1"],
        "192.0.2.1 pass pass - 0",
    ),
    (
        0,
        "10.0.0.1",
        "/",
        &["203.0.113.5, 198.51.100.1"],
        "198.51.100.1 deny refuse blocked_zone 0",
    ),
    (
        0,
        "10.0.0.1",
        "/",
        &["203.0.113.5, 203.0.113.200"],
        "203.0.113.200 deny refuse blocked_zone 0",
    ),
    (
        0,
        "192.0.2.1",
        "/",
        &["203.0.113.5"],
        "192.0.2.1 pass pass - 0",
    ),
    // Exempt clients.
    (
        0,
        "10.0.0.1",
        "/",
        &["198.51.100.1"],
        "198.51.100.1 pass pass - 0 exempt",
    ),
    (
        0,
        "198.51.100.1",
        "/",
        &[],
        "198.51.100.1 pass pass - 0 exempt",
    ),
    (
        1,
        "198.51.100.1",
        "/",
        &[],
        "198.51.100.1 pass pass - 0 exempt",
    ),
    // Restricted origins are a matter of the peer.
    (
        1,
        "10.0.0.1",
        "/",
        &["192.0.2.1"],
        "192.0.2.1 pass pass - 0",
    ),
    (
        1,
        "192.0.2.1",
        "/",
        &[],
        "192.0.2.1 deny refuse restricted_origin 0",
    ),
    (
        1,
        "192.0.2.1",
        "/",
        &["198.51.100.129"],
        "192.0.2.1 deny refuse restricted_origin 0",
    ),
    (
        1,
        "198.51.100.129",
        "/",
        &[],
        "198.51.100.129 pass pass - 0",
    ),
    (
        1,
        "172.16.0.1",
        "/",
        &["192.0.2.1"],
        "172.16.0.1 deny refuse restricted_origin 0",
    ),
    (1, "192.0.2.1", "/public/x", &[], "192.0.2.1 pass pass - 0"),
    (
        1,
        "192.0.2.1",
        "/public/../login",
        &[],
        "192.0.2.1 deny refuse restricted_origin 0",
    ),
    (
        1,
        "192.0.2.1",
        "/public/%2e%2e/login",
        &[],
        "192.0.2.1 deny refuse restricted_origin 0",
    ),
    (
        1,
        "192.0.2.90",
        "/public/x",
        &[],
        "192.0.2.90 deny refuse reputation 90",
    ),
    (
        1,
        "192.0.2.90",
        "/",
        &[],
        "192.0.2.90 deny refuse restricted_origin 0",
    ),
    (
        1,
        "203.0.113.5",
        "/",
        &[],
        "203.0.113.5 deny refuse blocked_zone 0",
    ),
    // Unknown clients.
    (0, "10.0.0.1", "/", &["junk"], "10.0.0.1 pass pass - 0"),
    (
        1,
        "10.0.0.1",
        "/",
        &["junk"],
        "10.0.0.1 deny refuse client_unknown 0",
    ),
    (
        1,
        "10.0.0.1",
        "/",
        &["junk, 10.0.0.2"],
        "10.0.0.2 deny refuse client_unknown 0",
    ),
    (
        1,
        "10.0.0.1",
        "/",
        &["junk, 192.0.2.1"],
        "192.0.2.1 pass pass - 0",
    ),
    (1, "10.0.0.1", "/", &[], "10.0.0.1 pass pass - 0"),
    // No such service: the chain and the reputation still count.
    (
        9,
        "10.0.0.1",
        "/",
        &["192.0.2.90"],
        "192.0.2.90 deny refuse reputation 90",
    ),
];

#[test]
fn every_rule_of_the_judgement() {
    let snapshot = world();
    for (service, peer, path, lines, expected) in ROWS {
        let ruling = judged(&snapshot, *service, peer, path, lines);
        assert_eq!(
            &told(&ruling),
            expected,
            "{service} {peer} {path} {lines:?}"
        );
    }
    let class = |ruling: Ruling| {
        let (origin, name) = snapshot.class(ruling.class).unwrap();
        (origin, name.to_owned())
    };
    assert_eq!(
        class(judged(
            &snapshot,
            0,
            "10.0.0.1",
            "/",
            &["203.0.113.5, 192.0.2.1"]
        )),
        (ClassOrigin::BlockedZone, "bad".to_owned())
    );
    assert_eq!(
        class(judged(&snapshot, 0, "10.0.0.1", "/", &["192.0.2.90"])),
        (ClassOrigin::List, "drop".to_owned())
    );
}

#[test]
fn the_mode_decides_what_is_done() {
    let snapshot = world();
    let with = |mode| {
        let policy = PolicyWord::new(0, 80, 40, false, false, false, 0);
        snapshot.with_policy(mode, policy)
    };
    let deny = |snapshot: &Snapshot| told(&judged(snapshot, 0, "10.0.0.1", "/", &["192.0.2.90"]));
    let limit = |snapshot: &Snapshot| told(&judged(snapshot, 0, "10.0.0.1", "/", &["192.0.2.50"]));
    assert_eq!(deny(&with(Mode::Log)), "192.0.2.90 deny pass reputation 90");
    assert_eq!(
        limit(&with(Mode::Log)),
        "192.0.2.50 limit pass reputation 50"
    );
    assert_eq!(deny(&with(Mode::Off)), "192.0.2.90 pass pass - 0");
    let stricter = snapshot.with_policy(
        Mode::Block,
        PolicyWord::new(2, 50, 20, false, false, false, 0),
    );
    assert_eq!(limit(&stricter), "192.0.2.50 deny refuse reputation 50");
    assert_eq!(
        told(&judged(
            &Snapshot::default(),
            0,
            "10.0.0.1",
            "/",
            &["192.0.2.90"]
        )),
        "10.0.0.1 pass pass - 0"
    );
}

#[test]
fn ports_and_names_lead_to_services() {
    let snapshot = world();
    for (port, service) in [
        (443, Some(0)),
        (8443, Some(0)),
        (9000, Some(1)),
        (80, None),
        (0, None),
        (65535, None),
    ] {
        assert_eq!(snapshot.service_at(port), service, "{port}");
    }
    assert_eq!(
        (snapshot.service_named("inner"), snapshot.service_named("x")),
        (Some(1), None)
    );
}

#[test]
fn an_exemption_ends_and_a_change_is_seen_by_new_snapshots_only() {
    let before = world();
    let deny = |snapshot: &Snapshot, now: Now| {
        let facts = RequestFacts {
            service: 0,
            peer: "10.0.0.1".parse().unwrap(),
            path: "/",
            user_agent: None,
            sign_in: None,
        };
        let lines = [&b"192.0.2.7"[..]].into_iter();
        snapshot
            .judge(&facts, Forwarding::Lines(Header::XForwardedFor, lines), now)
            .verdict
            == Judged::Deny
    };
    let later = Now {
        wall_ms: NOW.wall_ms + 60_000,
        boot_ns: NOW.boot_ns + 60_000_000_000,
    };
    let host: IpNet = "192.0.2.7/32".parse().unwrap();
    let blocked = before.with_entry(
        host,
        Some(Meta::new(100, 0, NOW.expiry_tick(Some(later.wall_ms)))),
    );
    assert_eq!(
        (
            deny(&before, NOW),
            deny(&blocked, NOW),
            deny(&blocked, later)
        ),
        (false, true, false)
    );
    assert!(!deny(&blocked.with_entry(host, None), NOW));
    let for_ever = before.with_entry(host, Some(Meta::new(100, 0, NOW.expiry_tick(None))));
    let zones = [Zone {
        name: "cdn".to_owned(),
        uses: Uses::TRUSTED_PROXY,
        networks: Networks::from_networks(["10.0.0.0/8".parse().unwrap()]),
    }];
    let exempt = ZoneTable::build(&zones, [(host, Some(later.wall_ms))], NOW);
    let spared = for_ever.with_zones(&exempt);
    assert_eq!(
        (
            deny(&for_ever, NOW),
            deny(&spared, NOW),
            deny(&spared, later)
        ),
        (true, false, true)
    );
}
