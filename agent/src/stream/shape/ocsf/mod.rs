//! Open Cybersecurity Schema Framework 1.5. Source: the schema of that release.
//!
//! | events | class |
//! |---|---|
//! | judgements of packets and requests | 4001 Network Activity, profile Security Control |
//! | sign-ins | 3002 Authentication |
//! | recovery, enrolment | 3001 Account Change |
//! | what detection found, attacks | 2004 Detection Finding |
//! | posture | 2003 Compliance Finding |
//! | changes of configuration, zones, decisions, … | 3004 Entity Management |
//! | the agent starts, stops, is upgraded | 6002 Application Lifecycle |
//! | what does not work | 6008 Application Error |
//! | anything else | 0 Base Event |

mod activity;
mod finding;
mod management;

use serde_json::{Map, Value, json};

use super::{About, pruned};
use crate::journal::Subject;

/// The schema's version.
const VERSION: &str = "1.5.0";

/// A class of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Class {
    uid: u32,
    name: &'static str,
    category: (u32, &'static str),
}

/// What happened, in the words of a class.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Activity {
    id: u32,
    name: String,
}

impl Activity {
    fn new(id: u32, name: &str) -> Self {
        Self {
            id,
            name: name.to_owned(),
        }
    }

    /// One that the class has no number for.
    fn other(name: &str) -> Self {
        Self::new(99, name)
    }
}

/// An event of a class: what every class has is added by [`document`].
struct Shaped {
    class: Class,
    activity: Activity,
    profiles: &'static [&'static str],
    own: Value,
}

/// The event as a document.
pub(super) fn document(about: &About<'_>) -> Value {
    let Shaped {
        class,
        activity,
        profiles,
        own,
    } = shaped(about);
    let (severity_id, severity) = severity(about);
    let mut document = match own {
        Value::Object(own) => own,
        _ => Map::new(),
    };
    let common = json!({
        "activity_id": activity.id,
        "activity_name": activity.name,
        "category_uid": class.category.0,
        "category_name": class.category.1,
        "class_uid": class.uid,
        "class_name": class.name,
        "type_uid": class.uid.saturating_mul(100).saturating_add(activity.id),
        "type_name": format!("{}: {}", class.name, activity.name),
        "time": about.number("time").unwrap_or_default(),
        "severity_id": severity_id,
        "severity": severity,
        "message": about.said("/displayMessage"),
        "metadata": metadata(about, profiles),
        "device": { "hostname": about.hostname, "type_id": 1, "type": "Server" },
        "observables": observables(about),
        "unmapped": about.rest(),
        "count": about.number("count"),
        "start_time": about.number("first_seen"),
        "end_time": about.number("last_seen"),
    });
    if let Value::Object(common) = common {
        for (key, value) in common {
            document.entry(key).or_insert(value);
        }
    }
    pruned(Value::Object(document))
}

fn shaped(about: &About<'_>) -> Shaped {
    let name = about.event_type();
    if about.is_detection() || name.starts_with("security.attack.") {
        return finding::detection(about);
    }
    if name == "system.posture.update" {
        return finding::compliance(about);
    }
    match about.kind.subject {
        Subject::Judgement => activity::network(about),
        Subject::SignIn => activity::sign_in(about),
        Subject::Change => management::change(about),
        Subject::Health => management::health(about),
    }
}

fn metadata(about: &About<'_>, profiles: &[&str]) -> Value {
    let profiles: Vec<&str> = profiles.iter().copied().chain(["host"]).collect();
    json!({
        "version": VERSION,
        "uid": about.text("id"),
        "sequence": about.seq,
        "event_code": about.event_type(),
        "log_name": "System Log",
        "log_level": about.said("/severity"),
        "log_provider": "edgeward",
        "original_time": about.said("/published"),
        "profiles": profiles,
        "product": product(),
    })
}

fn product() -> Value {
    json!({
        "name": "Edgeward",
        "vendor_name": "Edgeward",
        "version": env!("CARGO_PKG_VERSION"),
    })
}

/// Threats by their score, everything else by the log's own severity.
fn severity(about: &About<'_>) -> (u32, &'static str) {
    let is_threat = about.event_type() == "security.threat.detected";
    match (about.number("score"), about.said("/severity")) {
        (Some(score), _) if is_threat && score >= 80 => (4, "High"),
        (Some(score), _) if is_threat && score < 40 => (2, "Low"),
        (_, Some("ERROR")) => (4, "High"),
        (_, Some("WARN")) => (3, "Medium"),
        (_, Some("INFO" | "DEBUG")) => (1, "Informational"),
        _ => (0, "Unknown"),
    }
}

/// Where a request came from.
fn source(about: &About<'_>) -> Value {
    let (lat, long) = (about.place("lat"), about.place("lon"));
    json!({
        "ip": about.address,
        // Behind a proxy the port is the proxy's.
        "port": port(about, "source_port").filter(|_| about.text("client").is_none()),
        "domain": about.place("domain"),
        "autonomous_system": {
            "number": about.place("asn"),
            "name": about.place("as_org"),
        },
        "location": {
            "city": about.place("city"),
            "region": about.place("state"),
            "country": about.place("country"),
            "postal_code": about.place("postal"),
            "lat": lat,
            "long": long,
        },
    })
}

/// What it was for.
fn destination(about: &About<'_>) -> Value {
    json!({
        "ip": about.text("destination"),
        "port": port(about, "destination_port"),
        "hostname": about.text("host"),
        "svc_name": about.text("service"),
    })
}

fn port(about: &About<'_>, key: &str) -> Option<u64> {
    about.number(key).filter(|port| *port > 0)
}

fn observables(about: &About<'_>) -> Value {
    let addresses = about.addresses();
    let observable = |address: String| {
        let is_client = about.address.as_ref() == Some(&address);
        let name = if is_client {
            "src_endpoint.ip"
        } else {
            "unmapped"
        };
        json!({ "name": name, "type_id": 2, "type": "IP Address", "value": address })
    };
    addresses.into_iter().map(observable).collect()
}
