//! What somebody changed, and how the agent is.

use serde_json::{Value, json};

use super::{About, Activity, Class, Shaped, product};

const ENTITY_MANAGEMENT: Class = Class {
    uid: 3004,
    name: "Entity Management",
    category: (3, "Identity & Access Management"),
};
const APPLICATION_LIFECYCLE: Class = Class {
    uid: 6002,
    name: "Application Lifecycle",
    category: (6, "Application Activity"),
};
const APPLICATION_ERROR: Class = Class {
    uid: 6008,
    name: "Application Error",
    category: (6, "Application Activity"),
};
const BASE_EVENT: Class = Class {
    uid: 0,
    name: "Base Event",
    category: (0, "Uncategorized"),
};

/// What a change can be about: the fact that names it, and what it is.
const ENTITIES: [(&str, &str); 7] = [
    ("zone", "zone"),
    ("prefix", "decision"),
    ("feed", "feed"),
    ("stream", "log stream"),
    ("token", "API token"),
    ("task", "posture task"),
    ("service", "service"),
];

pub(super) fn change(about: &About<'_>) -> Shaped {
    let name = about.event_type();
    let activity = match name.rsplit('.').next() {
        Some("create") => Activity::new(1, "Create"),
        Some("delete" | "revoke" | "end") => Activity::new(4, "Delete"),
        Some("activate") => Activity::new(8, "Enable"),
        Some("deactivate" | "detach") => Activity::new(9, "Disable"),
        _ => Activity::new(3, "Update"),
    };
    let (status_id, status) = match about.result() {
        "FAILURE" => (2, "Failure"),
        _ => (1, "Success"),
    };
    let own = json!({
        "status_id": status_id,
        "status": status,
        "status_detail": about.said("/outcome/reason"),
        "actor": actor(about),
        "entity": entity(about),
    });
    Shaped {
        class: ENTITY_MANAGEMENT,
        activity,
        profiles: &[],
        own,
    }
}

fn actor(about: &About<'_>) -> Value {
    let is_person = about.said("/actor/type") == Some("User");
    match about.text("actor") {
        Some(name) if is_person => json!({ "user": { "name": name, "type_id": 1 } }),
        _ => json!({ "app_name": "Edgeward" }),
    }
}

fn entity(about: &About<'_>) -> Value {
    let named = ENTITIES
        .iter()
        .find_map(|(key, kind)| Some((about.text(key)?, *kind)));
    let (name, kind) = named.unwrap_or(match about.event_type() {
        "security.threat.configuration.update" => ("mode", "configuration"),
        _ => ("configuration", "configuration"),
    });
    json!({ "name": name, "type": kind })
}

/// What the agent tells of itself.
pub(super) fn health(about: &About<'_>) -> Shaped {
    let lifecycle = match about.event_type() {
        "system.agent.start" => Some(Activity::new(3, "Start")),
        "system.agent.stop" => Some(Activity::new(4, "Stop")),
        "system.agent.upgrade" => Some(Activity::new(8, "Update")),
        _ => None,
    };
    if let Some(activity) = lifecycle {
        return Shaped {
            class: APPLICATION_LIFECYCLE,
            activity,
            profiles: &[],
            own: json!({ "app": product(), "status_id": 1, "status": "Success" }),
        };
    }
    let detail = ["why", "reason"].iter().find_map(|key| about.text(key));
    if about.result() == "FAILURE" {
        return Shaped {
            class: APPLICATION_ERROR,
            activity: Activity::new(1, "General Error"),
            profiles: &[],
            own: json!({ "status_id": 2, "status": "Failure", "status_detail": detail }),
        };
    }
    Shaped {
        class: BASE_EVENT,
        activity: Activity::other(about.event_type()),
        profiles: &[],
        own: json!({ "status_id": 1, "status": "Success", "status_detail": detail }),
    }
}
