//! The shape that Okta's System Log gives to events, made of the flat facts that are kept.
//!
//! Source: the `LogEvent` schema of Okta's management API, release 2026.06. Every key is there, null where nothing is
//! known, since clients of the API read some of them without asking.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::{
    catalogue::{Kind, Subject},
    published,
};

/// The facts of an event.
pub type Facts = Map<String, Value>;

/// The event in Okta's shape.
pub(crate) fn log_event(facts: &Facts) -> Value {
    let name = text(facts, "event").unwrap_or_default();
    let kind = Kind::of(name);
    let about = About {
        facts,
        kind,
        name,
        address: address(facts),
    };
    json!({
        "uuid": text(facts, "id"),
        "published": published(facts.get("time").and_then(Value::as_u64).unwrap_or_default()),
        "eventType": name,
        "version": "0",
        "severity": about.severity(),
        "displayMessage": kind.message,
        "legacyEventType": name,
        "actor": about.actor(),
        "client": about.client(),
        "device": null,
        "request": { "ipChain": about.ip_chain() },
        "outcome": { "result": about.result(), "reason": about.reason() },
        "target": about.target(),
        "transaction": about.transaction(),
        "debugContext": { "debugData": about.debug_data() },
        "authenticationContext": {
            "authenticationProvider": null,
            "authenticationStep": 0,
            "credentialProvider": null,
            "credentialType": null,
            "externalSessionId": "unknown",
            "interface": null,
            "issuer": null,
        },
        "securityContext": about.security(),
    })
}

/// Who the event is about: the client that was judged, else the source of a packet.
pub(crate) fn address(facts: &Facts) -> Option<IpAddr> {
    let named = ["client", "source"].into_iter();
    named
        .filter_map(|key| text(facts, key))
        .find_map(|text| text.parse().ok())
}

/// The outcome's reason: what was detected where reputation decided, otherwise the word of the verdict.
pub(crate) fn reason(facts: &Facts) -> Option<&str> {
    let word = text(facts, "reason").or_else(|| text(facts, "why"));
    let detail = text(facts, "detail").filter(|detail| !detail.is_empty());
    match word {
        Some("reputation") => detail.or(word),
        _ => word,
    }
}

struct About<'a> {
    facts: &'a Facts,
    kind: Kind,
    name: &'a str,
    address: Option<IpAddr>,
}

impl About<'_> {
    fn severity(&self) -> &'static str {
        let failed = self.kind.subject == Subject::SignIn && self.result() == "FAILURE";
        if failed {
            "WARN"
        } else {
            self.kind.severity.name()
        }
    }

    fn result(&self) -> &str {
        match text(self.facts, "outcome") {
            Some(outcome) if RESULTS.contains(&outcome) => outcome,
            _ if FAILURES.contains(&self.name) => "FAILURE",
            _ => "SUCCESS",
        }
    }

    /// At most as many bytes as Okta's have.
    fn reason(&self) -> Option<&str> {
        reason(self.facts).map(|reason| beginning(reason, REASON_BYTES_MAX))
    }

    fn actor(&self) -> Value {
        if let (Subject::Judgement, Some(address)) = (self.kind.subject, self.address) {
            let address = address.to_string();
            return actor(&address, "IP address", NOBODY[0], &address);
        }
        if self.kind.subject == Subject::SignIn {
            let user = text(self.facts, "user").unwrap_or(NOBODY[0]);
            return actor(user, "User", user, user);
        }
        match text(self.facts, "actor") {
            Some(name) if !is_system(name) => actor(name, "User", name, name),
            name => actor(
                name.unwrap_or(SYSTEM[0]),
                "SystemPrincipal",
                NOBODY[1],
                NOBODY[2],
            ),
        }
    }

    fn client(&self) -> Value {
        let raw = text(self.facts, "user_agent");
        json!({
            "userAgent": raw.map(|raw| json!({ "rawUserAgent": raw, "os": "Unknown", "browser": "UNKNOWN" })),
            "zone": text(self.facts, "zone").unwrap_or("null"),
            "device": raw.map(|_| "Unknown"),
            "id": null,
            "ipAddress": self.address,
            "geographicalContext": self.address.and_then(|address| self.place(address)),
        })
    }

    /// In the order of the facts: as received, left to right, last the peer.
    fn ip_chain(&self) -> Value {
        let listed = self.facts.get("ip_chain").and_then(Value::as_array);
        let listed: Vec<IpAddr> = listed
            .into_iter()
            .flatten()
            .filter_map(|hop| hop.as_str()?.parse().ok())
            .collect();
        let chain = if listed.is_empty() {
            self.address.into_iter().collect()
        } else {
            listed
        };
        let hop = |address: IpAddr| {
            json!({
                "ip": address,
                "geographicalContext": self.place(address),
                "version": if address.is_ipv4() { "V4" } else { "V6" },
                "source": null,
            })
        };
        chain.into_iter().map(hop).collect()
    }

    /// Where the client is, as was known when it happened.
    fn place(&self, address: IpAddr) -> Option<Value> {
        let place = self
            .facts
            .get("place")
            .filter(|_| self.address == Some(address))?;
        let part = |key: &str| place.get(key).cloned().unwrap_or_default();
        let (lat, lon) = (part("latitude"), part("longitude"));
        let known = lat.is_number() && lon.is_number();
        Some(json!({
            "city": part("city"),
            "state": part("state"),
            "country": part("country_name"),
            "postalCode": part("postal"),
            "geolocation": known.then(|| json!({ "lat": lat, "lon": lon })),
        }))
    }

    /// A threat names nobody but its actor.
    fn target(&self) -> Value {
        let target = |kind: &str, id: &str| {
            json!([{
                "id": id, "type": kind, "alternateId": id, "displayName": id, "detailEntry": null,
            }])
        };
        if self.kind.subject == Subject::Judgement {
            return Value::Null;
        }
        for (key, kind) in TARGETS {
            if let Some(id) = text(self.facts, key) {
                return target(kind, id);
            }
        }
        Value::Null
    }

    fn transaction(&self) -> Value {
        let web = matches!(self.kind.subject, Subject::Judgement | Subject::SignIn);
        json!({
            "type": if web { "WEB" } else { "JOB" },
            "id": text(self.facts, "id"),
            "detail": {},
        })
    }

    /// Everything that has no place of its own; every value is a string.
    fn debug_data(&self) -> Value {
        let mut data = Map::new();
        for (key, value) in self.facts {
            if value.is_null() || PLACED.contains(&key.as_str()) {
                continue;
            }
            let value = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            data.insert(key.clone(), value.into());
        }
        if self.kind.subject == Subject::Judgement {
            let suspected = self.name == "security.threat.detected";
            data.insert("threatSuspected".to_owned(), suspected.to_string().into());
            if let Some(path) = text(self.facts, "path") {
                data.insert("requestUri".to_owned(), path.into());
                data.insert("url".to_owned(), path.into());
            }
            if suspected
                && !data.contains_key("threatDetections")
                && let Some(found) = self.detections()
            {
                data.insert("threatDetections".to_owned(), found.into());
            }
        }
        if let Some(id) = text(self.facts, "id") {
            data.insert("requestId".to_owned(), id.into());
        }
        Value::Object(data)
    }

    /// The detections behind a reputation. Only their names and the score that they made are at hand, so the score's
    /// band is the level of each.
    fn detections(&self) -> Option<String> {
        if text(self.facts, "origin") != Some("detection") {
            return None;
        }
        let score = self.facts.get("score").and_then(Value::as_u64)?;
        let level = match score {
            0..40 => "LOW",
            40..80 => "MEDIUM",
            _ => "HIGH",
        };
        let names = text(self.facts, "detail")?.split(", ");
        let found: Map<String, Value> = names.map(|name| (name.to_owned(), level.into())).collect();
        Some(Value::Object(found).to_string())
    }

    fn security(&self) -> Value {
        let place = self.facts.get("place");
        let part = |key: &str| {
            place
                .and_then(|place| place.get(key))
                .cloned()
                .unwrap_or_default()
        };
        json!({
            "asNumber": part("asn"),
            "asOrg": part("as_org"),
            "isp": part("isp"),
            "domain": part("domain"),
            "isProxy": part("anonymous").get("any").cloned().unwrap_or_default(),
            "risk": null,
            "userBehaviors": null,
        })
    }
}

fn actor(id: &str, kind: &str, alternate: &str, name: &str) -> Value {
    json!({
        "id": id, "type": kind, "alternateId": alternate, "displayName": name, "detailEntry": null,
    })
}

/// The words that a fact says.
pub(crate) fn text<'a>(facts: &'a Facts, key: &str) -> Option<&'a str> {
    facts.get(key).and_then(Value::as_str)
}

fn beginning(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max))
        .unwrap_or(text)
}

/// Okta's limit of a reason.
const REASON_BYTES_MAX: usize = 255;
/// Okta's words.
const RESULTS: [&str; 12] = [
    "SUCCESS",
    "FAILURE",
    "SKIPPED",
    "ALLOW",
    "DENY",
    "CHALLENGE",
    "UNKNOWN",
    "RATE_LIMIT",
    "DEFERRED",
    "SCHEDULED",
    "ABANDONED",
    "UNANSWERED",
];
/// Types that tell of something that did not work.
const FAILURES: [&str; 10] = [
    "feed.failed",
    "feed.refused",
    "system.signal_source.fail",
    "system.signal_source.gap",
    "system.log_stream.fail",
    "system.log_stream.gap",
    "system.log_stream.dead_letter",
    "system.log_stream.pause",
    "system.log.gap",
    "system.agent.crash",
];
/// Whether an actor is no person.
pub(super) fn is_system(name: &str) -> bool {
    SYSTEM.contains(&name)
}

/// What stands in the place of an actor's name where there is none.
pub(super) const NOBODY: [&str; 3] = ["unknown", "system@edgeward", "Edgeward"];
/// Actors that are no persons.
const SYSTEM: [&str; 5] = ["edgeward", "detection", "configuration", "timer", "feed"];
/// What a change is about: the first of these facts, and what it is.
const TARGETS: [(&str, &str); 7] = [
    ("zone", "Network Zone"),
    ("prefix", "Prefix"),
    ("feed", "Feed"),
    ("stream", "Log Stream"),
    ("token", "API Token"),
    ("task", "Posture Task"),
    ("service", "Service"),
];
/// Facts that have a place of their own.
const PLACED: [&str; 8] = [
    "id",
    "time",
    "event",
    "outcome",
    "actor",
    "user_agent",
    "ip_chain",
    "place",
];
