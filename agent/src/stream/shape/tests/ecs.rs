//! Documents of the Elastic Common Schema, held against its field reference.

use serde_json::{Value, json};

use super::{events, leaves, shaped};
use crate::stream::shape::ecs;

#[test]
fn ecs_documents_hold_what_the_schema_has_of_the_right_type() {
    for name in events().keys() {
        let document = shaped(name, ecs::document);
        for required in ["@timestamp", "message"] {
            assert!(document[required].is_string(), "{name}: {required}");
        }
        assert_eq!(document["ecs"]["version"], "8.11.0");
        let mut all = Vec::new();
        leaves("", &document, &mut all);
        for (path, value) in all {
            if path.starts_with("edgeward.") {
                assert!(value.is_string(), "{name}: {path}");
                continue;
            }
            let field = ECS.iter().find(|(field, _)| *field == path);
            let Some((_, kind)) = field else {
                panic!("{name}: {path} is no field of the schema");
            };
            let fits = match *kind {
                "long" => value.is_u64(),
                "float" => value.is_number(),
                "ip" => value
                    .as_str()
                    .is_some_and(|ip| ip.parse::<std::net::IpAddr>().is_ok()),
                "date" => value
                    .as_str()
                    .is_some_and(|at| at.ends_with('Z') && at.len() == 24),
                _ => value.is_string(),
            };
            assert!(fits, "{name}: {path} is {value}");
        }
        let event = &document["event"];
        let words = |key: &str| {
            let values = event[key].as_array().cloned().unwrap_or_default();
            values
                .iter()
                .map(|it| it.as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        let types = words("type");
        assert!(!types.is_empty());
        for kind in types {
            let is_expected = words("category").iter().any(|category| {
                let (_, expected) = CATEGORIES.iter().find(|(it, _)| it == category).unwrap();
                expected.contains(&kind.as_str())
            });
            assert!(is_expected, "{name}: {kind} in {:?}", words("category"));
        }
        assert!(["alert", "event"].contains(&event["kind"].as_str().unwrap()));
    }
}

#[test]
fn ecs_says_who_what_and_why() {
    let packet = shaped("packet", ecs::document);
    assert_eq!(packet["source"]["ip"], "203.0.113.9");
    assert_eq!(packet["source"]["port"], 40_000);
    assert_eq!(
        packet["source"]["as"],
        json!({ "number": 64_496, "organization": { "name": "Example Net" } })
    );
    assert_eq!(packet["source"]["geo"]["country_iso_code"], "AT");
    assert_eq!(
        packet["threat"]["technique"]["subtechnique"]["id"],
        json!(["T1110.003"])
    );
    assert_eq!(packet["threat"]["indicator"]["ip"], "203.0.113.9");
    assert_eq!(
        (&packet["event"]["kind"], &packet["event"]["outcome"]),
        (&json!("alert"), &json!("failure"))
    );
    let request = shaped("request", ecs::document);
    assert_eq!(
        request["source"]["ip"], "198.51.100.7",
        "the client, not its proxy"
    );
    assert_eq!(request["source"]["port"], Value::Null);
    assert_eq!(
        request["related"]["ip"],
        json!(["198.51.100.7", "192.0.2.80"])
    );
    assert_eq!(
        request["rule"],
        json!({ "name": "abroad", "category": "blocked_zone" })
    );
    let (hashed, clear) = (
        shaped("signed-in", ecs::document),
        shaped("failed", ecs::document),
    );
    assert_eq!(hashed["user"]["hash"], "0123456789abcdef0123456789abcdef");
    assert_eq!(
        (&clear["user"]["name"], &clear["user"]["hash"]),
        (&json!("ann"), &Value::Null)
    );
    assert_eq!(
        shaped("logged", ecs::document)["event"]["type"],
        json!(["allowed", "info"])
    );
}

/// Fields of ECS 8.11 and their types, of those that are used here (field reference of that release).
const ECS: &[(&str, &str)] = &[
    ("@timestamp", "date"),
    ("ecs.version", "keyword"),
    ("message", "match_only_text"),
    ("log.level", "keyword"),
    ("event.id", "keyword"),
    ("event.kind", "keyword"),
    ("event.category", "keyword"),
    ("event.type", "keyword"),
    ("event.action", "keyword"),
    ("event.outcome", "keyword"),
    ("event.reason", "keyword"),
    ("event.severity", "long"),
    ("event.risk_score", "float"),
    ("event.sequence", "long"),
    ("event.start", "date"),
    ("event.end", "date"),
    ("event.module", "keyword"),
    ("event.dataset", "keyword"),
    ("event.provider", "keyword"),
    ("source.address", "keyword"),
    ("source.ip", "ip"),
    ("source.port", "long"),
    ("source.domain", "keyword"),
    ("source.geo.city_name", "keyword"),
    ("source.geo.region_name", "keyword"),
    ("source.geo.country_iso_code", "keyword"),
    ("source.geo.country_name", "keyword"),
    ("source.geo.postal_code", "keyword"),
    ("source.geo.location.lat", "float"),
    ("source.geo.location.lon", "float"),
    ("source.as.number", "long"),
    ("source.as.organization.name", "keyword"),
    ("client.address", "keyword"),
    ("client.ip", "ip"),
    ("client.geo.city_name", "keyword"),
    ("client.geo.region_name", "keyword"),
    ("client.geo.country_iso_code", "keyword"),
    ("client.geo.country_name", "keyword"),
    ("client.geo.postal_code", "keyword"),
    ("client.geo.location.lat", "float"),
    ("client.geo.location.lon", "float"),
    ("client.as.number", "long"),
    ("client.as.organization.name", "keyword"),
    ("client.user.id", "keyword"),
    ("client.user.name", "keyword"),
    ("client.user.hash", "keyword"),
    ("destination.address", "keyword"),
    ("destination.ip", "ip"),
    ("destination.port", "long"),
    ("network.iana_number", "keyword"),
    ("network.transport", "keyword"),
    ("network.type", "keyword"),
    ("network.bytes", "long"),
    ("network.application", "keyword"),
    ("user.id", "keyword"),
    ("user.name", "keyword"),
    ("user.hash", "keyword"),
    ("user_agent.original", "keyword"),
    ("http.request.method", "keyword"),
    ("url.domain", "keyword"),
    ("url.path", "wildcard"),
    ("service.name", "keyword"),
    ("observer.vendor", "keyword"),
    ("observer.product", "keyword"),
    ("observer.type", "keyword"),
    ("observer.version", "keyword"),
    ("observer.hostname", "keyword"),
    ("rule.name", "keyword"),
    ("rule.category", "keyword"),
    ("rule.ruleset", "keyword"),
    ("threat.framework", "keyword"),
    ("threat.tactic.id", "keyword"),
    ("threat.tactic.name", "keyword"),
    ("threat.technique.id", "keyword"),
    ("threat.technique.name", "keyword"),
    ("threat.technique.subtechnique.id", "keyword"),
    ("threat.technique.subtechnique.name", "keyword"),
    ("threat.indicator.type", "keyword"),
    ("threat.indicator.ip", "ip"),
    ("threat.indicator.provider", "keyword"),
    ("threat.indicator.last_seen", "date"),
    ("related.ip", "ip"),
    ("related.hosts", "keyword"),
    ("related.user", "keyword"),
];

/// `event.category` with the types that are expected there (ECS 8.11).
const CATEGORIES: &[(&str, &[&str])] = &[
    ("authentication", &["start", "end", "info"]),
    (
        "configuration",
        &["access", "change", "creation", "deletion", "info"],
    ),
    ("host", &["access", "change", "end", "info", "start"]),
    (
        "iam",
        &[
            "admin", "change", "creation", "deletion", "group", "info", "user",
        ],
    ),
    ("intrusion_detection", &["allowed", "denied", "info"]),
    (
        "network",
        &[
            "access",
            "allowed",
            "connection",
            "denied",
            "end",
            "info",
            "protocol",
            "start",
        ],
    ),
    (
        "package",
        &[
            "access",
            "change",
            "deletion",
            "info",
            "installation",
            "start",
        ],
    ),
    ("process", &["access", "change", "end", "info", "start"]),
    ("threat", &["indicator"]),
];
