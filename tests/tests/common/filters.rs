//! What holds for any text of a filter expression. Shared by the fuzz target and an ordinary test.

use edgeward::journal::filter::{FILTER_BYTES_MAX, Filter};

/// Read or refused with a place within the text, never a panic; what is read is written back as itself, and matches the
/// opposite of what its opposite matches.
pub(crate) fn filter(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    match Filter::parse(text) {
        Err(error) => {
            assert!(error.position <= text.chars().count(), "{error}");
            assert!(!error.expected.is_empty());
        }
        Ok(filter) => {
            let written = filter.to_string();
            // Written back it may be longer, and there is a limit.
            if written.len() <= FILTER_BYTES_MAX {
                assert_eq!(Filter::parse(&written).as_ref(), Ok(&filter), "{written}");
            }
            let event = event();
            let opposite = Filter::Not(Box::new(filter.clone()));
            assert_ne!(
                filter.matches(&event),
                opposite.matches(&event),
                "{written}"
            );
        }
    }
}

fn event() -> serde_json::Value {
    serde_json::json!({
        "uuid": "018f-5", "eventType": "security.threat.detected", "displayMessage": null,
        "target": [{"id": "zone:cdn"}, {"id": 5}, null],
        "securityContext": {"asNumber": 64500, "isProxy": false},
        "debugContext": {"debugData": {"score": "85", "at": "2026-01-02T03:04:05.000Z"}},
    })
}
