//! What a row of a report asks the System Log: the expression that finds its events again.

use std::collections::BTreeSet;

use serde_json::Value;

/// The events of these types about one source.
pub(super) fn of_source(source: &str, types: &BTreeSet<String>) -> String {
    let kinds: Vec<String> = types
        .iter()
        .map(|name| format!("eventType eq {}", quoted(name)))
        .collect();
    let about = format!("client.ipAddress eq {}", quoted(source));
    match kinds.as_slice() {
        [] => about,
        [kind] => format!("{about} and {kind}"),
        kinds => format!("{about} and ({})", kinds.join(" or ")),
    }
}

/// The events of one blocked zone, or of those without a name.
pub(super) fn of_zone(name: Option<&str>) -> String {
    let zone = name.map_or_else(
        || "not (debugContext.debugData.detail pr)".to_owned(),
        |name| format!("debugContext.debugData.detail eq {}", quoted(name)),
    );
    format!("outcome.reason eq \"blocked_zone\" and {zone}")
}

/// Text as the grammar has it, which is a JSON string.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::journal::filter::Filter;

    fn finds(filter: &str, event: &Value) -> bool {
        Filter::parse(filter).unwrap().matches(event)
    }

    #[test]
    fn a_source_is_found_by_its_address_and_the_types_of_its_events() {
        let event = |name: &str, address: &str| json!({ "eventType": name, "client": { "ipAddress": address } });
        let types: BTreeSet<String> = ["security.threat.detected", "security.request.blocked"]
            .map(str::to_owned)
            .into();
        let one: BTreeSet<String> = types.iter().take(1).cloned().collect();
        assert_eq!(
            of_source("192.0.2.1", &one),
            "client.ipAddress eq \"192.0.2.1\" and eventType eq \"security.request.blocked\""
        );
        for (name, address, by_one, by_both) in [
            ("security.request.blocked", "192.0.2.1", true, true),
            ("security.threat.detected", "192.0.2.1", false, true),
            ("user.session.start", "192.0.2.1", false, false),
            ("security.request.blocked", "192.0.2.10", false, false),
        ] {
            let event = event(name, address);
            assert_eq!(
                finds(&of_source("192.0.2.1", &one), &event),
                by_one,
                "{event}"
            );
            assert_eq!(
                finds(&of_source("192.0.2.1", &types), &event),
                by_both,
                "{event}"
            );
        }
    }

    #[test]
    fn a_zone_is_found_whatever_it_is_called() {
        let event = |reason: &str, detail: Option<&str>| {
            let data = detail.map_or_else(|| json!({}), |detail| json!({ "detail": detail }));
            json!({ "outcome": { "reason": reason }, "debugContext": { "debugData": data } })
        };
        for name in ["bad", "it's \"bad\" \\ and eventType pr", "b\u{e4}d\n"] {
            let filter = of_zone(Some(name));
            assert!(
                finds(&filter, &event("blocked_zone", Some(name))),
                "{filter}"
            );
            assert!(
                !finds(&filter, &event("blocked_zone", Some("good"))),
                "{filter}"
            );
            assert!(
                !finds(&filter, &event("reputation", Some(name))),
                "{filter}"
            );
        }
        assert!(finds(&of_zone(None), &event("blocked_zone", None)));
        assert!(!finds(&of_zone(None), &event("blocked_zone", Some("bad"))));
    }
}
