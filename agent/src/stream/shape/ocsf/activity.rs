//! What was judged, and who signed in.

use serde_json::{Value, json};

use super::{
    super::{is_hash, technique},
    About, Activity, Class, Shaped, destination, port, source,
};

const NETWORK_ACTIVITY: Class = Class {
    uid: 4001,
    name: "Network Activity",
    category: (4, "Network Activity"),
};
const AUTHENTICATION: Class = Class {
    uid: 3002,
    name: "Authentication",
    category: (3, "Identity & Access Management"),
};
const ACCOUNT_CHANGE: Class = Class {
    uid: 3001,
    name: "Account Change",
    category: (3, "Identity & Access Management"),
};

/// What a control did, and what became of it.
struct Control {
    activity: (u32, &'static str),
    action: (u32, &'static str),
    disposition: (u32, &'static str),
}

pub(super) fn network(about: &About<'_>) -> Shaped {
    let control = control(about);
    let is_alert = about.event_type() == "security.threat.detected" || control.action.0 == 2;
    let own = json!({
        "action_id": control.action.0,
        "action": control.action.1,
        "disposition_id": control.disposition.0,
        "disposition": control.disposition.1,
        "is_alert": is_alert,
        "risk_score": about.number("score"),
        "status_detail": about.said("/outcome/reason"),
        "attacks": attacks(about),
        "firewall_rule": {
            "name": about.text("detail").filter(|name| !name.is_empty()).or(about.text("reason")),
            "category": about.text("reason"),
            "type": about.text("origin"),
        },
        "src_endpoint": source(about),
        "dst_endpoint": destination(about),
        "connection_info": connection(about),
        "traffic": { "bytes": about.number("length") },
    });
    Shaped {
        class: NETWORK_ACTIVITY,
        activity: Activity::new(control.activity.0, control.activity.1),
        profiles: &["security_control"],
        own,
    }
}

/// Packets are dropped, requests are answered with a refusal; log mode only writes it down.
fn control(about: &About<'_>) -> Control {
    let refused = |disposition| Control {
        activity: (5, "Refuse"),
        action: (2, "Denied"),
        disposition,
    };
    let is_request = about.text("via").is_some();
    match about.result() {
        "DENY" | "RATE_LIMIT" if about.event_type() == "system.client.rate_limit.violation" => {
            refused((25, "Rejected"))
        }
        "DENY" if is_request => refused((2, "Blocked")),
        "DENY" => refused((6, "Dropped")),
        "RATE_LIMIT" => Control {
            activity: (6, "Traffic"),
            action: (1, "Allowed"),
            disposition: (14, "Delayed"),
        },
        _ => Control {
            activity: (6, "Traffic"),
            action: (3, "Observed"),
            disposition: (17, "Logged"),
        },
    }
}

fn connection(about: &About<'_>) -> Value {
    let name = match about.number("protocol") {
        Some(6) => Some("tcp"),
        Some(17) => Some("udp"),
        Some(1) => Some("icmp"),
        Some(58) => Some("ipv6-icmp"),
        _ => None,
    };
    let version = about
        .address
        .as_ref()
        .map(|address| if address.contains(':') { 6 } else { 4 });
    json!({
        "direction_id": 1,
        "direction": "Inbound",
        "protocol_num": about.number("protocol"),
        "protocol_name": name,
        "protocol_ver_id": version,
    })
}

/// What ATT&CK calls it.
pub(super) fn attacks(about: &About<'_>) -> Value {
    let attack = |one: technique::Technique| {
        let named = |it: technique::Named| json!({ "uid": it.id, "name": it.name });
        json!({
            "tactic": named(one.tactic),
            "technique": named(one.technique),
            "sub_technique": one.sub_technique.map(named),
        })
    };
    let found = about.detections().into_iter().filter_map(technique::of);
    found.map(attack).collect()
}

/// Sign-ins, and the two flows beside them.
pub(super) fn sign_in(about: &About<'_>) -> Shaped {
    let (class, activity) = match about.event_type() {
        "user.lifecycle.create" => (ACCOUNT_CHANGE, Activity::new(1, "Create")),
        "user.account.reset_password" => (ACCOUNT_CHANGE, Activity::new(4, "Password Reset")),
        _ => (AUTHENTICATION, Activity::new(1, "Logon")),
    };
    let (status_id, status) = match about.result() {
        "SUCCESS" => (1, "Success"),
        "FAILURE" => (2, "Failure"),
        _ => (99, "Challenge"),
    };
    let mut own = json!({
        "status_id": status_id,
        "status": status,
        "status_detail": about.said("/outcome/reason"),
        "user": user(about),
        "src_endpoint": source(about),
        "http_request": { "user_agent": about.text("user_agent") },
    });
    if class == AUTHENTICATION
        && let Some(own) = own.as_object_mut()
    {
        let service = about.text("service").unwrap_or("unknown");
        own.insert("service".to_owned(), json!({ "name": service }));
        own.insert("is_remote".to_owned(), true.into());
        own.insert("dst_endpoint".to_owned(), target(about));
    }
    Shaped {
        class,
        activity,
        profiles: &[],
        own,
    }
}

fn target(about: &About<'_>) -> Value {
    json!({
        "ip": about.text("destination"),
        "port": port(about, "destination_port"),
        "hostname": about.text("host"),
        "svc_name": about.text("service"),
    })
}

fn user(about: &About<'_>) -> Value {
    match about.text("user") {
        Some(hash) if is_hash(hash) => json!({ "uid": hash, "type_id": 0 }),
        Some(name) => json!({ "name": name, "type_id": 1 }),
        None => json!({ "name": "unknown", "type_id": 0 }),
    }
}
