//! Elastic Common Schema 8.11. Source: the field reference of that release; what it has no field for is below `edgeward`,
//! every value a string.

use serde_json::{Value, json};

use super::{About, is_hash, pruned, technique};
use crate::journal::Subject;

/// The schema's version.
const VERSION: &str = "8.11.0";

/// The event as a document.
pub(super) fn document(about: &About<'_>) -> Value {
    let (category, types) = categories(about);
    let user = user(about);
    let mut document = json!({
        "@timestamp": about.said("/published"),
        "ecs": { "version": VERSION },
        "message": about.said("/displayMessage"),
        "log": { "level": about.said("/severity").map(str::to_lowercase) },
        "event": {
            "id": about.text("id"),
            "kind": kind(about),
            "category": category,
            "type": types,
            "action": about.event_type(),
            "outcome": outcome(about),
            "reason": about.said("/outcome/reason"),
            "severity": severity(about),
            "risk_score": about.number("score"),
            "sequence": about.seq,
            "start": moment(about, &["first_seen", "since"]),
            "end": moment(about, &["last_seen"]),
            "module": "edgeward",
            "dataset": "edgeward.log",
            "provider": "edgeward",
        },
        "source": source(about),
        "client": client(about, user.clone()),
        "destination": {
            "address": about.text("destination"),
            "ip": about.text("destination"),
            "port": port(about, "destination_port"),
        },
        "network": network(about),
        "user": user,
        "user_agent": { "original": about.text("user_agent") },
        "http": { "request": { "method": about.text("method") } },
        "url": { "domain": about.text("host"), "path": about.text("path") },
        "service": { "name": about.text("service") },
        "observer": {
            "vendor": "Edgeward",
            "product": "Edgeward",
            "type": "ips",
            "version": env!("CARGO_PKG_VERSION"),
            "hostname": about.hostname,
        },
        "rule": rule(about),
        "threat": threat(about),
        "related": {
            "ip": about.addresses(),
            "hosts": about.text("host").map(|host| vec![host]),
            "user": related_users(about),
        },
    });
    // As it is: a value that is an empty string there is no field of ours.
    if let Some(document) = document.as_object_mut() {
        document.insert("edgeward".to_owned(), about.rest());
    }
    pruned(document)
}

fn kind(about: &About<'_>) -> &'static str {
    match about.event_type() {
        "security.threat.detected" | "security.attack.start" => "alert",
        // A posture that has changed too: the schema has `state` for what is measured, not for what changes.
        _ => "event",
    }
}

/// `event.category` and `event.type`, from the schema's allowed values.
fn categories(about: &About<'_>) -> (Vec<&'static str>, Vec<&'static str>) {
    let name = about.event_type();
    let (categories, types): (&[_], &[_]) = match about.kind.subject {
        Subject::Judgement if about.is_detection() => {
            (&["intrusion_detection", "threat"], &["indicator", "info"])
        }
        Subject::Judgement if about.result() == "ALLOW" => {
            (&["network", "intrusion_detection"], &["allowed", "info"])
        }
        Subject::Judgement => (&["network", "intrusion_detection"], &["denied"]),
        Subject::SignIn => match name {
            "user.lifecycle.create" => (&["iam"], &["user", "creation"]),
            "user.account.reset_password" => (&["iam"], &["user", "change"]),
            _ => (&["authentication"], &["start"]),
        },
        Subject::Change => (&["configuration"], change(name)),
        Subject::Health => match name {
            "security.attack.start" | "security.attack.end" => {
                (&["intrusion_detection"], &["info"])
            }
            "system.agent.start" => (&["process"], &["start"]),
            "system.agent.stop" | "system.agent.crash" => (&["process"], &["end"]),
            "system.agent.upgrade" => (&["package"], &["change"]),
            "system.posture.update" => (&["configuration"], &["info"]),
            _ => (&["host"], &["info"]),
        },
    };
    (categories.to_vec(), types.to_vec())
}

/// What a change of state is, by the end of its name.
fn change(name: &str) -> &'static [&'static str] {
    match name.rsplit('.').next() {
        Some("create") => &["creation"],
        Some("delete" | "revoke" | "end") => &["deletion"],
        _ => &["change"],
    }
}

/// As Elastic's own integration reads Okta's words.
fn outcome(about: &About<'_>) -> &'static str {
    match about.result() {
        "SUCCESS" | "ALLOW" => "success",
        "FAILURE" | "DENY" | "RATE_LIMIT" => "failure",
        _ => "unknown",
    }
}

/// 1 to 4; the schema leaves the numbers to the source.
fn severity(about: &About<'_>) -> u8 {
    match about.said("/severity") {
        Some("ERROR") => 4,
        Some("WARN") => 3,
        Some("INFO") => 2,
        _ => 1,
    }
}

/// The first of these facts that is a moment, as the schema writes dates.
fn moment(about: &About<'_>, keys: &[&str]) -> Option<String> {
    let at = keys.iter().find_map(|key| about.number(key))?;
    Some(crate::journal::published(at))
}

fn port(about: &About<'_>, key: &str) -> Option<u64> {
    about.number(key).filter(|port| *port > 0)
}

fn source(about: &About<'_>) -> Value {
    json!({
        "address": about.address,
        "ip": about.address,
        // Behind a proxy the port is the proxy's.
        "port": port(about, "source_port").filter(|_| about.text("client").is_none()),
        "geo": geo(about),
        "as": autonomous_system(about),
        "domain": about.place("domain"),
    })
}

fn client(about: &About<'_>, user: Value) -> Value {
    if about.address.is_none() {
        return Value::Null;
    }
    json!({
        "address": about.address,
        "ip": about.address,
        "geo": geo(about),
        "as": autonomous_system(about),
        "user": user,
    })
}

fn geo(about: &About<'_>) -> Value {
    let (lat, lon) = (about.place("lat"), about.place("lon"));
    let country = about.place("country").and_then(Value::as_str);
    // The schema tells a code from a name.
    let (code, name) = match country {
        Some(code) if code.len() == 2 => (Some(code), None),
        other => (None, other),
    };
    json!({
        "city_name": about.place("city"),
        "region_name": about.place("state"),
        "country_iso_code": code,
        "country_name": name,
        "postal_code": about.place("postal"),
        "location": lat.zip(lon).map(|(lat, lon)| json!({ "lat": lat, "lon": lon })),
    })
}

fn autonomous_system(about: &About<'_>) -> Value {
    json!({
        "number": about.place("asn"),
        "organization": { "name": about.place("as_org") },
    })
}

fn network(about: &About<'_>) -> Value {
    let protocol = about.number("protocol");
    let transport = match protocol {
        Some(6) => Some("tcp"),
        Some(17) => Some("udp"),
        Some(1) => Some("icmp"),
        Some(58) => Some("ipv6-icmp"),
        _ => None,
    };
    let version = about.address.as_ref().map(|address| {
        if address.contains(':') {
            "ipv6"
        } else {
            "ipv4"
        }
    });
    json!({
        "iana_number": protocol.map(|number| number.to_string()),
        "transport": transport,
        "type": version,
        "bytes": about.number("length"),
        "application": about.text("via").map(|_| "http"),
    })
}

/// A keyed hash, or a name where the operator keeps names: both tell users apart.
fn user(about: &About<'_>) -> Value {
    match (about.kind.subject, about.text("user")) {
        (Subject::SignIn, Some(user)) if is_hash(user) => json!({ "id": user, "hash": user }),
        (Subject::SignIn, Some(user)) => json!({ "id": user, "name": user }),
        (Subject::Change, _) => json!({ "name": about.text("actor") }),
        _ => Value::Null,
    }
}

fn related_users<'a>(about: &About<'a>) -> Vec<&'a str> {
    let named = match about.kind.subject {
        Subject::Change => about.text("actor"),
        _ => about.text("user"),
    };
    named.into_iter().collect()
}

/// Why: what decided.
fn rule(about: &About<'_>) -> Value {
    if about.kind.subject != Subject::Judgement {
        return Value::Null;
    }
    json!({
        "name": about.text("detail").filter(|name| !name.is_empty()),
        "category": about.text("reason"),
        "ruleset": about.text("origin"),
    })
}

fn threat(about: &About<'_>) -> Value {
    let found: Vec<_> = about
        .detections()
        .into_iter()
        .filter_map(technique::of)
        .collect();
    if found.is_empty() {
        return Value::Null;
    }
    let mut tactics = Vec::new();
    let mut techniques = Vec::new();
    let mut subs = Vec::new();
    for one in found {
        add(&mut tactics, one.tactic);
        add(&mut techniques, one.technique);
        if let Some(sub) = one.sub_technique {
            add(&mut subs, sub);
        }
    }
    let ids = |all: &[technique::Named]| all.iter().map(|it| it.id).collect::<Vec<_>>();
    let names = |all: &[technique::Named]| all.iter().map(|it| it.name).collect::<Vec<_>>();
    let kind = about.address.as_ref().map(|address| {
        if address.contains(':') {
            "ipv6-addr"
        } else {
            "ipv4-addr"
        }
    });
    json!({
        "framework": "MITRE ATT&CK",
        "tactic": { "id": ids(&tactics), "name": names(&tactics) },
        "technique": {
            "id": ids(&techniques),
            "name": names(&techniques),
            "subtechnique": { "id": ids(&subs), "name": names(&subs) },
        },
        "indicator": {
            "type": kind,
            "ip": about.address,
            "provider": "edgeward",
            "last_seen": about.said("/published"),
        },
    })
}

fn add(all: &mut Vec<technique::Named>, one: technique::Named) {
    if !all.contains(&one) {
        all.push(one);
    }
}
