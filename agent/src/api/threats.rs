//! `/api/v1/threats/configuration`: the mode and the exempt zones.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    desk::{Answer, Desk, told},
    fault::Fault,
};
use crate::{
    control::{Request, zones::Threats},
    journal::published,
    policy::mode::Mode,
};

/// What a client sends; fields that it may only read are passed over.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    action: Option<Value>,
    exclude_zones: Option<Vec<String>>,
}

pub(super) async fn show(desk: &Desk, token: &str, base: &str) -> Result<Answer, Fault> {
    ask(desk, token, base, None, None).await
}

pub(super) async fn update(
    desk: &Desk,
    token: &str,
    base: &str,
    body: &Value,
) -> Result<Answer, Fault> {
    let wanted = Wanted::deserialize(body).map_err(|error| Fault::body(&error.to_string()))?;
    let Some(action) = wanted.action else {
        return Err(Fault::invalid("action", "The field cannot be left blank"));
    };
    let mode = action
        .as_str()
        .and_then(mode)
        .ok_or_else(|| Fault::invalid("action", "must be one of none, audit and block"))?;
    ask(desk, token, base, Some(mode), wanted.exclude_zones).await
}

async fn ask(
    desk: &Desk,
    token: &str,
    base: &str,
    set: Option<Mode>,
    exempt: Option<Vec<String>>,
) -> Result<Answer, Fault> {
    let data = desk.ask(Request::Threats { set, exempt }, token).await?;
    let threats: Threats =
        serde_json::from_value(data).map_err(|error| Fault::internal(&error.to_string()))?;
    let since = published(threats.since_ms);
    Ok(told(&json!({
        "action": action(threats.mode),
        "excludeZones": threats.exempt,
        "created": since,
        "lastUpdated": since,
        "_links": { "self": {
            "href": format!("{base}/api/v1/threats/configuration"),
            "hints": { "allow": ["GET", "POST"] },
        } },
    })))
}

const ACTIONS: [(&str, Mode); 3] = [
    ("none", Mode::Off),
    ("audit", Mode::Log),
    ("block", Mode::Block),
];

fn mode(action: &str) -> Option<Mode> {
    ACTIONS
        .iter()
        .find(|(name, _)| *name == action)
        .map(|(_, mode)| *mode)
}

fn action(mode: Mode) -> &'static str {
    ACTIONS
        .iter()
        .find(|(_, known)| *known == mode)
        .map_or("none", |(name, _)| *name)
}
