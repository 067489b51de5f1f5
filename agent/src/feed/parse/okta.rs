//! Okta's System Log: `security.threat.detected` events name addresses that Okta's ThreatInsight found
//! (<https://developer.okta.com/docs/reference/api/system-log/>).

use std::{collections::BTreeMap, io::BufRead};

use serde::Deserialize;

use super::{
    Harvest, OBJECT_BYTES_MAX, Unfit,
    json::{Item, walk},
    moment::moment,
};
use crate::policy::prefix::{host_network, parse_network};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogEvent {
    event_type: Option<String>,
    published: Option<String>,
    client: Option<Client>,
    outcome: Option<Outcome>,
    debug_context: Option<DebugContext>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Client {
    ip_address: Option<String>,
}

#[derive(Deserialize)]
struct Outcome {
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DebugContext {
    debug_data: Option<BTreeMap<String, serde_json::Value>>,
}

/// The event that names an address.
const DETECTED: &str = "security.threat.detected";
/// What a detection's level counts at most; the feed's score may be lower.
const LEVELS: [(&str, u8); 3] = [("HIGH", 100), ("MEDIUM", 60), ("LOW", 30)];

/// Reads one page; entries end `lifetime_ms` after their event. Events too old for that are passed over.
///
/// # Errors
/// When the page is no list of events.
pub(crate) fn read_events(
    source: impl BufRead,
    lifetime_ms: u64,
    harvest: &mut Harvest<'_>,
) -> Result<(), Unfit> {
    let mut any = false;
    walk(source, |item| {
        let (index, json) = match item {
            Item::Element {
                list: "",
                index,
                json,
            } => (index, json),
            Item::Value {
                key: "errorSummary",
                json,
            } => {
                let said = String::from_utf8_lossy(json).into_owned();
                return Err(Unfit::Content(format!(
                    "is an error of Okta: {}",
                    super::shown(&said)
                )));
            }
            Item::Value { .. } | Item::Element { .. } => {
                any = true;
                return Ok(());
            }
        };
        harvest.see();
        event(index, json, lifetime_ms, harvest)
    })?;
    if any {
        return Err(Unfit::Content("is no list of events".to_owned()));
    }
    Ok(())
}

fn event(
    index: u64,
    json: Option<&[u8]>,
    lifetime_ms: u64,
    harvest: &mut Harvest<'_>,
) -> Result<(), Unfit> {
    let place = || format!("event {index}");
    let Some(json) = json else {
        harvest.bad(place, format!("is longer than {OBJECT_BYTES_MAX} bytes"));
        return Ok(());
    };
    let event: LogEvent = match serde_json::from_slice(json) {
        Ok(event) => event,
        Err(error) => {
            harvest.bad(place, format!("cannot be read: {error}"));
            return Ok(());
        }
    };
    if event.event_type.as_deref() != Some(DETECTED) {
        harvest.skip("other event");
        return Ok(());
    }
    let Some(published) = event.published.as_deref().and_then(moment) else {
        harvest.bad(place, "has no time (`published`)");
        return Ok(());
    };
    let address = event.client.and_then(|client| client.ip_address);
    let Some(Ok(networks)) = address.as_deref().map(parse_network) else {
        harvest.bad(place, "has no address (`client.ipAddress`)");
        return Ok(());
    };
    let found = detections(event.debug_context);
    let score = found.iter().map(|(_, score)| *score).max();
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    let named = names.join(", ");
    let reason = event.outcome.and_then(|outcome| outcome.reason);
    let reason = match named.as_str() {
        "" => reason.as_deref(),
        named => Some(named),
    };
    let ends = published.saturating_add(lifetime_ms);
    for network in networks {
        harvest.entry(host_network(network.addr()), score, Some(ends), reason)?;
    }
    Ok(())
}

/// Names with what their level counts, the strongest first.
fn detections(context: Option<DebugContext>) -> Vec<(String, u8)> {
    let data = context.and_then(|context| context.debug_data);
    let text = data.as_ref().and_then(|data| data.get("threatDetections"));
    // Every value of debugData is a string; this one holds JSON.
    let levels: BTreeMap<String, String> = match text {
        Some(serde_json::Value::String(text)) => serde_json::from_str(text).unwrap_or_default(),
        Some(other) => serde_json::from_value(other.clone()).unwrap_or_default(),
        None => BTreeMap::new(),
    };
    let mut found: Vec<(String, u8)> = levels
        .into_iter()
        .filter_map(|(name, level)| {
            let (_, score) = LEVELS
                .iter()
                .find(|(word, _)| word.eq_ignore_ascii_case(&level))?;
            Some((name, *score))
        })
        .collect();
    found.sort_by_key(|found| std::cmp::Reverse(found.1));
    found
}
