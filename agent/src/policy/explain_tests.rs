//! Tables of `explain`: every row of the verdict, modes, ports, and the shape of the JSON.

use super::*;
use crate::{
    config::Networks,
    policy::{
        decision::{Kind, Origin},
        random::Random,
    },
};

const NOW: Now = Now {
    wall_ms: 1_800_000_000_000,
    boot_ns: 3_600_000_000_000,
};

struct World {
    config: Config,
    decisions: Vec<Decision>,
}

fn networks(texts: &[&str]) -> Networks {
    Networks::from_networks(texts.iter().map(|text| text.parse().unwrap()))
}

fn zone(name: &str, uses: Uses, texts: &[&str]) -> Zone {
    Zone {
        name: name.to_owned(),
        uses,
        networks: networks(texts),
    }
}

fn decision(prefix: &str, kind: Kind, score: u8, reason: &str) -> Decision {
    Decision {
        prefix: prefix.parse().unwrap(),
        kind,
        score,
        reason: reason.to_owned(),
        origin: Origin::Operator,
        created: 1,
        expires: Some(NOW.wall_ms + 3_600_000),
        actor: "uid 0".to_owned(),
        evidence: String::new(),
    }
}

fn service(name: &str, ports: &[u16], restricted: bool) -> Service {
    Service {
        name: name.to_owned(),
        ports: ports.to_vec(),
        restricted,
        ..Service::default()
    }
}

impl World {
    fn new() -> Self {
        let zones = vec![
            zone("office", Uses::EXEMPT, &["192.0.2.0/28", "2001:db8:1::/64"]),
            zone(
                "cdn",
                Uses::TRUSTED_PROXY,
                &["192.0.2.16/28", "2001:db8:2::/64"],
            ),
            zone(
                "bad-nets",
                Uses::BLOCKED,
                &[
                    "203.0.113.0/24",
                    "2001:db8:3::/48",
                    "192.0.2.1/32",
                    "192.0.2.17/32",
                ],
            ),
            zone("monitor", Uses::ALLOWED_ORIGIN, &["198.51.100.9/32"]),
            zone("nat", Uses::GATEWAY, &["198.51.100.10/32"]),
        ];
        let networks = networks(&[
            "198.51.100.1/32",
            "198.51.100.9/32",
            "203.0.113.7/32",
            "192.0.2.2/32",
            "2001:db8:4::/56",
        ]);
        let lists = vec![List {
            name: "drop".to_owned(),
            score: 90,
            reason: "known bad".to_owned(),
            networks,
        }];
        let services = vec![
            service("login", &[443, 8443], true),
            service("open", &[80], false),
        ];
        let decisions = vec![
            decision("198.51.100.2/32", Kind::Block, 50, "slow down"),
            decision("198.51.100.3/32", Kind::Block, 10, ""),
            decision("198.51.100.4/32", Kind::Block, 100, "spray"),
            decision("198.51.100.4/30", Kind::Exempt, 0, "on call"),
            decision("198.51.100.128/25", Kind::Block, 80, "spray"),
        ];
        Self {
            config: Config {
                mode: Mode::Block,
                zones,
                lists,
                services,
                ..Config::default()
            },
            decisions,
        }
    }

    fn explain(&self, address: &str, port: Option<u16>) -> Explanation {
        let decisions: Vec<&Decision> = self.decisions.iter().collect();
        let facts = Facts::new(&self.config, self.config.mode, &decisions, NOW);
        explain(&facts, address.parse().unwrap(), port)
    }
}

fn last(explanation: &Explanation) -> String {
    let step = explanation.steps.last().unwrap();
    format!("{}: {}; {}", step.check, step.result, step.detail)
}

/// Address, port (0 for none), verdict, reason, number of steps, last step.
type Row = (
    &'static str,
    u16,
    Judged,
    Option<&'static str>,
    usize,
    &'static str,
);

const PASS: Judged = Judged::Pass;
const DEFER: Judged = Judged::Defer;
const DENY: Judged = Judged::Deny;
const LIMIT: Judged = Judged::Limit;
const ZONE: Option<&str> = Some("blocked_zone");
const ORIGIN: Option<&str> = Some("restricted_origin");
const SCORE: Option<&str> = Some("reputation");
const OFFICE: &str = "exempt zone: yes; \"office\" 192.0.2.0/28";
const OFFICE6: &str = "exempt zone: yes; \"office\" 2001:db8:1::/64";
const ON_CALL: &str =
    "exempt decision: yes; decision of operator for 198.51.100.4/30, \"on call\", for another 1h";
const CDN: &str = "trusted proxy: yes; \"cdn\" 192.0.2.16/28";
const CDN6: &str = "trusted proxy: yes; \"cdn\" 2001:db8:2::/64";
const BAD: &str = "blocked zone: yes; \"bad-nets\" 203.0.113.0/24";
const BAD6: &str = "blocked zone: yes; \"bad-nets\" 2001:db8:3::/48";
const LOGIN: &str =
    "restricted service: yes; \"login\" on port 443 takes trusted proxies and allowed origins only";
const DROP: &str =
    "reputation: score 90, refused from 80 on; list \"drop\" for 198.51.100.1/32, \"known bad\"";
const DROP9: &str =
    "reputation: score 90, refused from 80 on; list \"drop\" for 198.51.100.9/32, \"known bad\"";
const DROP6: &str =
    "reputation: score 90, refused from 80 on; list \"drop\" for 2001:db8:4::/56, \"known bad\"";
const SPRAY: &str = "reputation: score 80, refused from 80 on; decision of operator for 198.51.100.128/25, \"spray\", for another 1h";
const TIGHT: &str =
    "rate limit: not evaluated; held to the tighter limits; its rate is not evaluated here";
const COMMON: &str =
    "rate limit: not evaluated; held to the limits of a service; its rate is not evaluated here";
const NO_PORT: &str =
    "rate limit: not evaluated; no port given; the limits of services are not evaluated here";
const NO_LIMIT: &str = "rate limit: no; no limit applies: the port belongs to no service";

const ROWS: [Row; 23] = [
    ("192.0.2.1", 0, PASS, None, 1, OFFICE),
    ("192.0.2.2", 443, PASS, None, 1, OFFICE),
    ("2001:db8:1::5", 443, PASS, None, 1, OFFICE6),
    ("198.51.100.4", 0, PASS, None, 1, ON_CALL),
    ("192.0.2.17", 443, DEFER, None, 2, CDN),
    ("2001:db8:2::1", 0, DEFER, None, 2, CDN6),
    ("203.0.113.7", 443, DENY, ZONE, 3, BAD),
    ("::ffff:203.0.113.7", 0, DENY, ZONE, 3, BAD),
    ("2001:db8:3:9::1", 0, DENY, ZONE, 3, BAD6),
    ("198.51.100.1", 443, DENY, ORIGIN, 4, LOGIN),
    ("198.51.100.50", 443, DENY, ORIGIN, 4, LOGIN),
    ("198.51.100.1", 0, DENY, SCORE, 5, DROP),
    ("198.51.100.9", 443, DENY, SCORE, 5, DROP9),
    ("2001:db8:4:3::9", 80, DENY, SCORE, 5, DROP6),
    ("198.51.100.130", 0, DENY, SCORE, 5, SPRAY),
    ("198.51.100.2", 80, LIMIT, SCORE, 6, TIGHT),
    ("198.51.100.3", 0, PASS, None, 6, NO_PORT),
    ("198.51.100.10", 22, PASS, None, 6, NO_LIMIT),
    ("198.51.100.99", 80, PASS, None, 6, COMMON),
    ("0.0.0.0", 0, PASS, None, 6, NO_PORT),
    ("::", 0, PASS, None, 6, NO_PORT),
    ("ff02::1", 0, PASS, None, 6, NO_PORT),
    ("224.0.0.1", 0, PASS, None, 6, NO_PORT),
];

#[test]
fn every_row_of_the_verdict() {
    let world = World::new();
    for (address, port, verdict, reason, steps, end) in ROWS {
        let told = world.explain(address, (port != 0).then_some(port));
        assert_eq!(
            (told.verdict, told.reason.as_deref()),
            (verdict, reason),
            "{address} {port}"
        );
        assert_eq!(
            (told.steps.len(), last(&told).as_str()),
            (steps, end),
            "{address} {port}"
        );
        let action = match verdict {
            Judged::Deny => Action::Drop,
            Judged::Limit => Action::Limit,
            Judged::Pass | Judged::Defer => Action::Pass,
        };
        assert_eq!(told.action, action, "{address} {port}");
    }
}

#[test]
fn the_fields_name_what_decided() {
    let world = World::new();
    let told = world.explain("::ffff:198.51.100.2", None);
    assert_eq!(told.client.to_string(), "198.51.100.2");
    assert_eq!(
        (told.score, told.detail.as_deref(), told.origin.as_deref()),
        (Some(50), Some("slow down"), Some("operator"))
    );
    assert_eq!(told.expires, Some(NOW.wall_ms + 3_600_000));
    assert_eq!((told.zone, told.list), (None, None));
    let told = world.explain("203.0.113.7", None);
    assert_eq!(
        (told.zone.as_deref(), told.score, told.list),
        (Some("bad-nets"), None, None)
    );
    assert_eq!(told.prefix.unwrap().to_string(), "203.0.113.0/24");
    let told = world.explain("192.0.2.1", None);
    assert_eq!(
        (told.zone.as_deref(), told.prefix, told.zones.len()),
        (Some("office"), None, 2)
    );
    let told = world.explain("198.51.100.1", None);
    assert_eq!(
        (told.list.as_deref(), told.detail.as_deref()),
        (Some("drop"), Some("known bad"))
    );
}

#[test]
fn without_a_port_restricted_services_are_named() {
    let world = World::new();
    let origin = |address| {
        let steps = world.explain(address, None).steps;
        let step = steps
            .into_iter()
            .find(|step| step.check == "restricted service")
            .unwrap();
        (step.result, step.detail)
    };
    let (result, detail) = origin("198.51.100.99");
    assert_eq!(result, "not asked");
    assert_eq!(
        detail,
        "no port given; neither a trusted proxy nor an allowed origin, it could not reach \"login\" (port 443, 8443)"
    );
    assert_eq!(
        origin("198.51.100.9"),
        (
            "no".to_owned(),
            "allowed origin \"monitor\" 198.51.100.9/32".to_owned()
        )
    );
}

#[test]
fn the_mode_changes_the_action_and_off_evaluates_nothing() {
    let mut world = World::new();
    world.config.refusal = Refusal::Reset;
    assert_eq!(world.explain("198.51.100.1", None).action, Action::Reset);
    world.config.mode = Mode::Log;
    let logged = world.explain("198.51.100.1", None);
    assert_eq!(
        (logged.verdict, logged.action, logged.reason.as_deref()),
        (Judged::Deny, Action::Pass, Some("reputation"))
    );
    world.config.mode = Mode::Off;
    let off = world.explain("203.0.113.7", None);
    assert_eq!(
        (off.verdict, off.action, off.reason.clone(), off.score),
        (Judged::Pass, Action::Pass, None, None)
    );
    assert_eq!(
        (off.steps.len(), last(&off).as_str()),
        (1, "mode: off; nothing is evaluated")
    );
}

#[test]
fn an_expired_decision_explains_nothing() {
    let mut world = World::new();
    for decision in &mut world.decisions {
        decision.expires = Some(NOW.wall_ms);
    }
    for address in ["198.51.100.2", "198.51.100.4", "198.51.100.130"] {
        let told = world.explain(address, None);
        assert_eq!(
            (told.verdict, told.score),
            (Judged::Pass, None),
            "{address}"
        );
    }
}

#[test]
fn offline_json_has_every_promised_field() {
    let world = World::new();
    let json = offline(&world.config, "203.0.113.7".parse().unwrap(), Some(443));
    for (field, value) in [
        ("client", "203.0.113.7"),
        ("client_reason", "peer"),
        ("verdict", "deny"),
        ("action", "drop"),
        ("reason", "blocked_zone"),
        ("mode", "block"),
        ("zone", "bad-nets"),
        ("prefix", "203.0.113.0/24"),
    ] {
        assert_eq!(json[field], value, "{field}");
    }
    assert_eq!(json["port"], 443);
    assert_eq!(
        json["steps"][0],
        serde_json::json!({"check": "exempt zone", "result": "no", "detail": ""})
    );
    let clean = offline(&world.config, "198.51.100.4".parse().unwrap(), None);
    assert_eq!(clean["verdict"], "pass", "no decisions offline");
    for field in ["reason", "score", "list", "expires", "detail", "origin"] {
        assert!(
            clean.as_object().unwrap().contains_key(field) && clean[field].is_null(),
            "{field}"
        );
    }
    let back: Explanation = serde_json::from_value(json).unwrap();
    assert_eq!(
        back.verdict,
        Judged::Deny,
        "a client of the daemon reads what it wrote"
    );
}

#[test]
fn the_order_of_the_verdict_holds_for_any_zones() {
    let mut random = Random::new(41);
    let roles = Uses::NAMED.map(|(_, role)| role);
    let mut reasons = std::collections::BTreeMap::<String, u32>::new();
    for _ in 0..200 {
        let mut world = World::new();
        world.config.zones = (0..3)
            .map(|index| Zone {
                name: format!("zone {index}"),
                uses: random.pick(&roles).with(random.pick(&roles)),
                networks: Networks::from_networks((0..3).map(|_| random.prefix())),
            })
            .collect();
        world.config.lists[0].networks = Networks::from_networks((0..10).map(|_| random.prefix()));
        for _ in 0..20 {
            let address = random.address();
            let port = random.pick(&[None, Some(443), Some(80), Some(22)]);
            let told = world.explain(&address.to_string(), port);
            let within = |role: Uses| {
                let mut zones = world
                    .config
                    .zones
                    .iter()
                    .filter(|zone| zone.uses.contains(role));
                zones.any(|zone| {
                    zone.networks
                        .iter()
                        .any(|network| network.contains(&address))
                })
            };
            let listed = world.config.lists[0]
                .networks
                .iter()
                .any(|network| network.contains(&address));
            let expected = if within(Uses::EXEMPT) {
                (Judged::Pass, None)
            } else if within(Uses::TRUSTED_PROXY) {
                (Judged::Defer, None)
            } else if within(Uses::BLOCKED) {
                (Judged::Deny, Some("blocked_zone"))
            } else if port == Some(443) && !within(Uses::ALLOWED_ORIGIN) {
                (Judged::Deny, Some("restricted_origin"))
            } else if listed {
                (Judged::Deny, Some("reputation"))
            } else {
                (Judged::Pass, None)
            };
            assert_eq!(
                (told.verdict, told.reason.as_deref()),
                expected,
                "{address} {port:?}"
            );
            *reasons
                .entry(format!("{:?} {:?}", told.verdict, told.reason))
                .or_default() += 1;
        }
    }
    assert_eq!(reasons.len(), 5, "every row was met: {reasons:?}");
}
