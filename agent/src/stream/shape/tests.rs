//! Shapes of one event of each kind, held against the schemas: what must be there, what may be, and of which type.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{About, Entry, ecs, ocsf};

/// One event of every kind that shapes tell apart: a name for it, and its facts.
#[expect(clippy::too_many_lines, reason = "a table of events")]
pub(super) fn events() -> BTreeMap<&'static str, Value> {
    let place = json!({
        "city": "Graz", "state": "Styria", "country": "AT", "postal": "8010", "lat": 47.07, "lon": 15.44,
        "asn": 64_496, "as_org": "Example Net", "isp": "Example", "domain": "example.net", "is_proxy": false,
    });
    BTreeMap::from([
        (
            "packet",
            json!({
                "event": "security.threat.detected", "outcome": "DENY", "verdict": "deny", "reason": "reputation",
                "enforced": true, "source": "203.0.113.9", "source_port": 40_000, "destination": "192.0.2.1",
                "destination_port": 443, "protocol": 6, "interface": 2, "length": 74, "score": 90, "origin": "detection",
                "detail": "Password Spray, Login Failures", "suppressed": 0, "place": place,
            }),
        ),
        (
            "logged",
            json!({
                "event": "security.request.blocked", "outcome": "ALLOW", "verdict": "deny", "reason": "blocked_zone",
                "enforced": false, "source": "2001:db8::9", "source_port": 1, "destination": "2001:db8::1",
                "destination_port": 443, "protocol": 17, "length": 60, "score": null, "origin": "blocked_zone",
                "detail": "abroad", "count": 12, "first_seen": 1_000, "last_seen": 60_000,
            }),
        ),
        (
            "request",
            json!({
                "event": "security.request.blocked", "outcome": "DENY", "verdict": "deny", "reason": "blocked_zone",
                "enforced": true, "client": "198.51.100.7", "client_reason": "chain",
                "ip_chain": ["198.51.100.7", "192.0.2.80"], "source": "192.0.2.80", "service": "login", "via": "gateway",
                "method": "POST", "host": "login.example", "path": "/login", "user_agent": "curl/8", "detail": "abroad",
            }),
        ),
        (
            "slowed",
            json!({
                "event": "system.client.rate_limit.violation", "outcome": "RATE_LIMIT", "verdict": "deny",
                "reason": "rate_limit", "client": "198.51.100.7", "via": "endpoint", "service": "login",
            }),
        ),
        (
            "limited",
            json!({
                "event": "security.threat.detected", "outcome": "RATE_LIMIT", "verdict": "limit", "reason": "reputation",
                "source": "198.51.100.7", "score": 30, "origin": "feed", "detail": "tor",
            }),
        ),
        (
            "found",
            json!({
                "event": "security.threat.detected", "outcome": "DENY", "client": "203.0.113.9", "actor": "detection",
                "prefix": "203.0.113.9/32", "reason": "Password Spray, Account Enumeration", "score": 85,
                "threatDetections": "{\"Password Spray\":\"HIGH\"}", "service": "login", "expires": 9_000,
                "evidence": { "users": 40, "success": 0 },
            }),
        ),
        (
            "signed-in",
            json!({
                "event": "user.session.start", "outcome": "SUCCESS", "client": "198.51.100.7", "service": "login",
                "user": "0123456789abcdef0123456789abcdef", "user_agent": "Mozilla/5.0",
            }),
        ),
        (
            "failed",
            json!({
                "event": "user.session.start", "outcome": "FAILURE", "reason": "INVALID_CREDENTIALS",
                "client": "198.51.100.7", "service": "login", "user": "ann", "place": place,
            }),
        ),
        (
            "challenged",
            json!({ "event": "user.session.start", "outcome": "CHALLENGE", "client": "198.51.100.7" }),
        ),
        (
            "enrolled",
            json!({
                "event": "user.lifecycle.create", "outcome": "SUCCESS", "client": "198.51.100.7", "service": "login",
            }),
        ),
        (
            "recovered",
            json!({
                "event": "user.account.reset_password", "outcome": "FAILURE", "client": "198.51.100.7",
            }),
        ),
        (
            "attacked",
            json!({
                "event": "security.attack.start", "service": "login", "cause": "model", "since": 1_000, "actor": "detection",
                "evidence": { "failures": { "observed": 90, "expected": 3, "score": 12.5 } },
            }),
        ),
        (
            "calm",
            json!({
                "event": "security.attack.end", "service": "login", "cause": "lapsed", "since": 1_000, "actor": "timer",
            }),
        ),
        (
            "mode",
            json!({
                "event": "security.threat.configuration.update", "actor": "uid 0", "from": "log", "to": "block",
            }),
        ),
        (
            "zone",
            json!({ "event": "zone.create", "actor": "ann", "zone": "office" }),
        ),
        (
            "decision",
            json!({
                "event": "decision.end", "actor": "timer", "prefix": "203.0.113.0/24", "kind": "block", "score": 0,
            }),
        ),
        (
            "started",
            json!({ "event": "system.agent.start", "actor": "edgeward", "mode": "block" }),
        ),
        (
            "crashed",
            json!({ "event": "system.agent.crash", "actor": "edgeward", "why": "it was killed" }),
        ),
        (
            "feed",
            json!({ "event": "feed.failed", "feed": "drop", "why": "answers 503", "actor": "feed" }),
        ),
        (
            "fetched",
            json!({ "event": "feed.fetched", "feed": "drop", "entries": 7, "actor": "feed" }),
        ),
        (
            "posture",
            json!({
                "event": "system.posture.update", "task": "mode_block", "state": "incomplete", "actor": "edgeward",
                "fix": "edgeward mode block",
            }),
        ),
        (
            "unheard",
            json!({ "event": "something.new", "nested": { "a": [1, null] } }),
        ),
    ])
}

/// A shape of an event.
fn shaped(name: &str, of: fn(&About<'_>) -> Value) -> Value {
    let Value::Object(mut facts) = events().remove(name).unwrap() else {
        panic!("{name}");
    };
    facts.insert(
        "id".to_owned(),
        "01946c0e-0000-7000-8000-000000000001".into(),
    );
    facts.insert("time".to_owned(), 1_700_000_000_123_u64.into());
    let entry = Entry {
        seq: 42,
        id: "01946c0e-0000-7000-8000-000000000001".to_owned(),
        published_ms: 1_700_000_000_123,
        facts,
    };
    let log_event = entry.log_event();
    of(&About::new(&entry.facts, &log_event, entry.seq, "login-1"))
}

/// The leaves of a document by their path; an array counts by its elements.
fn leaves(path: &str, value: &Value, out: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                leaves(&path, value, out);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| leaves(path, value, out)),
        other => out.push((path.to_owned(), other.clone())),
    }
}

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
        assert!(["alert", "event", "state"].contains(&event["kind"].as_str().unwrap()));
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

#[test]
fn ocsf_documents_have_what_their_class_demands() {
    for name in events().keys() {
        let document = shaped(name, ocsf::document);
        let (class, activity) = (
            document["class_uid"].as_u64().unwrap(),
            document["activity_id"].as_u64().unwrap(),
        );
        assert_eq!(document["type_uid"], class * 100 + activity, "{name}");
        assert_eq!(document["category_uid"], class / 1_000, "{name}");
        assert_eq!(document["time"], 1_700_000_000_123_u64, "{name}");
        assert_eq!(document["metadata"]["version"], "1.5.0");
        assert_eq!(
            document["metadata"]["uid"],
            "01946c0e-0000-7000-8000-000000000001"
        );
        let (_, activities, required, one_of) =
            OCSF.iter().find(|(uid, ..)| *uid == class).unwrap();
        assert!(
            activities.contains(&activity),
            "{name}: {activity} is no activity of {class}"
        );
        for path in COMMON.iter().chain(*required) {
            assert!(
                document.pointer(path).is_some(),
                "{name}: {path} is missing in {document:#}"
            );
        }
        let has_one =
            one_of.is_empty() || one_of.iter().any(|path| document.pointer(path).is_some());
        assert!(has_one, "{name}: none of {one_of:?}");
        let mut all = Vec::new();
        leaves("", &document, &mut all);
        for (path, value) in all.iter().filter(|(path, _)| {
            path.ends_with("_id") || path.ends_with("_time") && path != "metadata.original_time"
        }) {
            assert!(value.is_u64(), "{name}: {path} is {value}");
        }
        assert!(all.iter().all(|(_, value)| !value.is_null()), "{name}");
    }
}

#[test]
fn ocsf_says_what_was_done() {
    let class = |name: &str| {
        let document = shaped(name, ocsf::document);
        let number = |path: &str| document[path].as_u64();
        (
            number("type_uid").unwrap(),
            number("action_id"),
            number("disposition_id"),
            number("severity_id").unwrap(),
        )
    };
    for (name, expected) in [
        ("packet", (400_105, Some(2), Some(6), 4)),
        ("logged", (400_106, Some(3), Some(17), 3)),
        ("request", (400_105, Some(2), Some(2), 3)),
        ("slowed", (400_105, Some(2), Some(25), 3)),
        ("limited", (400_106, Some(1), Some(14), 2)),
        ("found", (200_401, None, None, 4)),
        ("signed-in", (300_201, None, None, 1)),
        ("failed", (300_201, None, None, 3)),
        ("challenged", (300_201, None, None, 1)),
        ("enrolled", (300_101, None, None, 1)),
        ("recovered", (300_104, None, None, 3)),
        ("attacked", (200_401, None, None, 3)),
        ("calm", (200_403, None, None, 1)),
        ("mode", (300_403, None, None, 1)),
        ("zone", (300_401, None, None, 1)),
        ("decision", (300_404, None, None, 1)),
        ("started", (600_203, None, None, 1)),
        ("crashed", (600_801, None, None, 4)),
        ("feed", (600_801, None, None, 3)),
        ("fetched", (99, None, None, 1)),
        ("posture", (200_301, None, None, 1)),
    ] {
        assert_eq!(class(name), expected, "{name}");
    }
    let (attacked, calm) = (
        shaped("attacked", ocsf::document),
        shaped("calm", ocsf::document),
    );
    assert_eq!(attacked["finding_info"]["uid"], "attack:login:1000");
    assert_eq!(
        attacked["finding_info"]["uid"], calm["finding_info"]["uid"],
        "the end closes what the start opened"
    );
    let found = shaped("found", ocsf::document);
    assert_eq!(
        found["finding_info"]["attacks"][0]["sub_technique"]["uid"],
        "T1110.003"
    );
    assert_eq!(
        found["finding_info"]["attacks"][1]["tactic"]["uid"],
        "TA0043"
    );
    assert_eq!(found["evidences"][0]["src_endpoint"]["ip"], "203.0.113.9");
    assert_eq!(
        shaped("zone", ocsf::document)["actor"]["user"]["name"],
        "ann"
    );
    assert_eq!(
        shaped("decision", ocsf::document)["actor"]["app_name"],
        "Edgeward"
    );
    assert_eq!(
        shaped("posture", ocsf::document)["compliance"]["status_id"],
        3
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

/// Attributes that every class of OCSF 1.5 requires.
const COMMON: &[&str] = &[
    "/activity_id",
    "/category_uid",
    "/class_uid",
    "/metadata/product/vendor_name",
    "/metadata/version",
    "/severity_id",
    "/time",
    "/type_uid",
    "/device/type_id",
];

/// A class of OCSF 1.5: its activities, what it requires beyond [`COMMON`], and of which it demands one.
type Demand = (
    u64,
    &'static [u64],
    &'static [&'static str],
    &'static [&'static str],
);

const OCSF: &[Demand] = &[
    (0, &[0, 99], &[], &[]),
    (
        2003,
        &[0, 1, 2, 3, 99],
        &[
            "/finding_info/uid",
            "/finding_info/title",
            "/compliance/standards",
        ],
        &[],
    ),
    (
        2004,
        &[0, 1, 2, 3, 99],
        &["/finding_info/uid", "/finding_info/title"],
        &[],
    ),
    (
        3001,
        &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 99],
        &["/user"],
        &[],
    ),
    (
        3002,
        &[0, 1, 2, 3, 4, 5, 6, 99],
        &["/user"],
        &["/service", "/dst_endpoint"],
    ),
    (
        3004,
        &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 99],
        &["/entity/name"],
        &[],
    ),
    (
        4001,
        &[0, 1, 2, 3, 4, 5, 6, 7, 99],
        &["/connection_info/direction_id", "/action_id"],
        &["/src_endpoint", "/dst_endpoint"],
    ),
    (
        6002,
        &[0, 1, 2, 3, 4, 5, 6, 7, 8, 99],
        &["/app/vendor_name"],
        &[],
    ),
    (6008, &[0, 1, 2, 99], &["/message"], &[]),
];
