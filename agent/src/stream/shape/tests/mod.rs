//! Shapes of one event of each kind, held against the schemas: what must be there, what may be, and of which type.

mod ecs;
mod ocsf;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{About, Entry};

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
