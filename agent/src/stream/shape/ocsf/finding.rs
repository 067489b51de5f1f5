//! Findings: what detection found, attacks, and what posture says.

use serde_json::{Value, json};

use super::{About, Activity, Class, Shaped, activity, product, source};

const DETECTION_FINDING: Class = Class {
    uid: 2004,
    name: "Detection Finding",
    category: (2, "Findings"),
};
const COMPLIANCE_FINDING: Class = Class {
    uid: 2003,
    name: "Compliance Finding",
    category: (2, "Findings"),
};

const CREATE: (u32, &str) = (1, "Create");
const UPDATE: (u32, &str) = (2, "Update");
const CLOSE: (u32, &str) = (3, "Close");
const NEW: (u32, &str) = (1, "New");
const SUPPRESSED: (u32, &str) = (3, "Suppressed");
const RESOLVED: (u32, &str) = (4, "Resolved");

/// A prefix that detection has given a reputation, or an attack on a service that begins or ends.
pub(super) fn detection(about: &About<'_>) -> Shaped {
    let is_end = about.event_type() == "security.attack.end";
    let is_attack = is_end || about.event_type() == "security.attack.start";
    let (activity, status) = if is_end {
        (CLOSE, RESOLVED)
    } else {
        (CREATE, NEW)
    };
    let (analytic, uid, analytic_type) = match about.text("cause") {
        Some("operator" | "lapsed") => ("Operator", "operator", (1, "Rule")),
        Some(_) => ("Attack model", "attack-model", (4, "Learning (ML/DL)")),
        None => ("Detection", "detection", (1, "Rule")),
    };
    let service = about.text("service");
    let own = json!({
        "status_id": status.0,
        "status": status.1,
        "is_alert": !is_end,
        "risk_score": about.number("score"),
        "finding_info": {
            "uid": finding_uid(about, is_attack),
            "title": title(about, is_attack),
            "types": about.detections(),
            "created_time": about.number("since").or(about.number("time")),
            "modified_time": about.number("time"),
            "analytic": { "uid": uid, "name": analytic, "type_id": analytic_type.0, "type": analytic_type.1 },
            "attacks": activity::attacks(about),
            "product": product(),
        },
        "evidences": evidences(about),
        "resources": service.map(|name| vec![json!({ "name": name, "type": "service" })]),
    });
    Shaped {
        class: DETECTION_FINDING,
        activity: Activity::new(activity.0, activity.1),
        profiles: &[],
        own,
    }
}

/// The same for the start and the end of one attack, so that the end closes what the start has opened.
fn finding_uid(about: &About<'_>, is_attack: bool) -> String {
    let id = about.text("id").unwrap_or_default();
    match (is_attack, about.text("service"), about.number("since")) {
        (true, Some(service), Some(since)) => format!("attack:{service}:{since}"),
        _ => id.to_owned(),
    }
}

fn title(about: &About<'_>, is_attack: bool) -> String {
    let message = about.said("/displayMessage").unwrap_or_default();
    let subject = if is_attack {
        about.text("service")
    } else {
        about.text("prefix")
    };
    let what = about.said("/outcome/reason").filter(|_| !is_attack);
    match (what.unwrap_or(message), subject) {
        (what, Some(subject)) => format!("{what}: {subject}"),
        (what, None) => what.to_owned(),
    }
}

fn evidences(about: &About<'_>) -> Value {
    let data = about.facts.get("evidence").cloned();
    if about.address.is_none() && data.is_none() {
        return Value::Null;
    }
    let endpoint = about.address.as_ref().map(|_| source(about));
    json!([{ "src_endpoint": endpoint, "data": data }])
}

/// A task of posture and its state.
pub(super) fn compliance(about: &About<'_>) -> Shaped {
    let state = ["state", "to"].iter().find_map(|key| about.text(key));
    let (activity, status, verdict) = match state {
        Some("complete") => (CLOSE, RESOLVED, (1, "Pass")),
        Some("dismissed") => (UPDATE, SUPPRESSED, (2, "Warning")),
        _ => (CREATE, NEW, (3, "Fail")),
    };
    let task = about.text("task").unwrap_or("posture");
    let own = json!({
        "status_id": status.0,
        "status": status.1,
        "finding_info": {
            "uid": format!("posture:{}:{task}", about.hostname),
            "title": about.text("title").unwrap_or(task),
            "desc": about.text("why"),
            "product": product(),
        },
        "compliance": {
            "control": task,
            "standards": ["Edgeward posture"],
            "status_id": verdict.0,
            "status": verdict.1,
        },
        "remediation": about.text("fix").map(|fix| json!({ "desc": fix })),
        "resources": [{ "name": about.hostname, "type": "host" }],
    });
    Shaped {
        class: COMPLIANCE_FINDING,
        activity: Activity::new(activity.0, activity.1),
        profiles: &[],
        own,
    }
}
