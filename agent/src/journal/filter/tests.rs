//! The grammar against tables of good and bad expressions, and what they match.

use serde_json::json;

use super::{FILTER_BYTES_MAX, FILTER_DEPTH_MAX, FILTER_TERMS_MAX, Filter};

/// An expression, and the same as it is written back.
const GOOD: [(&str, &str); 25] = [
    (
        "eventType eq \"zone.update\"",
        "eventType eq \"zone.update\"",
    ),
    ("  eventType\tEQ\n\"x\"  ", "eventType eq \"x\""),
    ("severity ne \"INFO\"", "severity ne \"INFO\""),
    (
        "uuid gt \"a\" and uuid ge \"b\"",
        "uuid gt \"a\" and uuid ge \"b\"",
    ),
    (
        "uuid lt \"a\" or uuid le \"b\"",
        "uuid lt \"a\" or uuid le \"b\"",
    ),
    ("eventType sw \"security.\"", "eventType sw \"security.\""),
    ("eventType ew \".detected\"", "eventType ew \".detected\""),
    ("eventType co \"threat\"", "eventType co \"threat\""),
    ("target.id pr", "target.id pr"),
    ("target pr", "target pr"),
    (
        "securityContext.asNumber eq 64500",
        "securityContext.asNumber eq 64500",
    ),
    (
        "client.geographicalContext.geolocation.lat ge -48.5e0",
        "client.geographicalContext.geolocation.lat ge -48.5",
    ),
    (
        "securityContext.isProxy eq TRUE",
        "securityContext.isProxy eq true",
    ),
    (
        "debugContext.debugData.threatSuspected eq \"true\"",
        "debugContext.debugData.threatSuspected eq \"true\"",
    ),
    (
        "debugContext.debugData.first-seen gt \"2026-01-02T03:04:05.000Z\"",
        "debugContext.debugData.first-seen gt \"2026-01-02T03:04:05.000Z\"",
    ),
    // `and` binds more closely than `or`.
    (
        "uuid pr or actor pr and target pr",
        "uuid pr or actor pr and target pr",
    ),
    (
        "(uuid pr or actor pr) and target pr",
        "(uuid pr or actor pr) and target pr",
    ),
    ("((uuid pr))", "uuid pr"),
    (
        "(uuid pr and (actor pr and target pr))",
        "uuid pr and actor pr and target pr",
    ),
    ("not (uuid pr)", "not (uuid pr)"),
    ("NOT(uuid pr AND actor pr)", "not (uuid pr and actor pr)"),
    (
        "not (not (uuid pr)) OR actor pr",
        "not (not (uuid pr)) or actor pr",
    ),
    (
        r#"displayMessage eq "a \"quoted\" \\ \/ \u00e9 \ud83d\ude00 (and) or""#,
        "displayMessage eq \"a \\\"quoted\\\" \\\\ / é 😀 (and) or\"",
    ),
    ("displayMessage eq \"\"", "displayMessage eq \"\""),
    // As old clients write it.
    ("event_type eq \"x\"", "eventType eq \"x\""),
];

/// An expression, and what is said about it.
const BAD: [(&str, &str); 29] = [
    (
        "display_message eqq \"Create okta user\"",
        "Invalid filter 'display_message eqq \"Create okta user\"': Unrecognized attribute operator 'eqq' at position 16. Expected: eq,ne,co,sw,ew,pr,gt,ge,lt,le",
    ),
    (
        "some_invalid_field eq \"x\"",
        "field is not valid: some_invalid_field",
    ),
    ("EventType eq \"x\"", "field is not valid: EventType"),
    (
        "published gt \"2026-01-02T03:04:05Z\"",
        "field is not valid: published",
    ),
    ("actor eq \"x\"", "field is not valid: actor"),
    ("actor.id.x pr", "field is not valid: actor.id.x"),
    (
        "debugContext.debugData. pr",
        "field is not valid: debugContext.debugData.",
    ),
    (
        "",
        "Invalid filter '': End of input at position 0 but expected a filter expression",
    ),
    (
        "   ",
        "Invalid filter '   ': End of input at position 3 but expected a filter expression",
    ),
    (
        "eventType",
        "Invalid filter 'eventType': End of input at position 9 but expected an attribute operator",
    ),
    (
        "eventType eq",
        "Invalid filter 'eventType eq': End of input at position 12 while expecting a value for operator eq",
    ),
    (
        "eventType eq foo",
        "Invalid filter 'eventType eq foo': Invalid filter value 'foo' at position 13. Expected a string in quotes, a number or a boolean value (true,false)",
    ),
    (
        "eventType eq 'foo'",
        "Invalid filter 'eventType eq 'foo'': Invalid filter value ''foo'' at position 13. Expected a string in quotes, a number or a boolean value (true,false)",
    ),
    (
        "securityContext.asNumber eq 1.2.3",
        "Invalid filter 'securityContext.asNumber eq 1.2.3': Invalid filter value '1.2.3' at position 28. Expected a string in quotes, a number or a boolean value (true,false)",
    ),
    (
        "eventType eq \"foo",
        "Invalid filter 'eventType eq \"foo': End of input in a string value that began at position 13",
    ),
    (
        "eventType eq \"foo\\",
        "Invalid filter 'eventType eq \"foo\\': End of input in a string value that began at position 13",
    ),
    (
        "eventType eq \"é\\x\"",
        "Invalid filter 'eventType eq \"é\\x\"': Unrecognized escape sequence '\\x' in a string value at position 15",
    ),
    (
        "eventType eq \"\\ud83d!\"",
        "Invalid filter 'eventType eq \"\\ud83d!\"': Unrecognized escape sequence '\\u' in a string value at position 14",
    ),
    (
        "eventType eq \"a\"b",
        "Invalid filter 'eventType eq \"a\"b': Unexpected characters 'b' at position 16",
    ),
    (
        "uuid pr actor pr",
        "Invalid filter 'uuid pr actor pr': Unexpected characters 'actor' at position 8",
    ),
    (
        "uuid pr)",
        "Invalid filter 'uuid pr)': Unexpected characters ')' at position 7",
    ),
    (
        "(uuid pr",
        "Invalid filter '(uuid pr': Expected closing parenthesis at position 8 to match opening parenthesis at position 0",
    ),
    (
        "uuid pr and (actor pr target pr)",
        "Invalid filter 'uuid pr and (actor pr target pr)': Expected closing parenthesis at position 22 to match opening parenthesis at position 12",
    ),
    (
        "uuid pr and",
        "Invalid filter 'uuid pr and': End of input at position 11 but expected a filter expression",
    ),
    (
        "not uuid pr",
        "Invalid filter 'not uuid pr': Expected an opening parenthesis at position 4 after not",
    ),
    (
        "target[id eq \"x\"]",
        "Invalid filter 'target[id eq \"x\"]': Expected an attribute reference at position 0: target[id",
    ),
    (
        "()",
        "Invalid filter '()': Expected an attribute reference at position 1: )",
    ),
    (
        "securityContext.isProxy gt true",
        "Invalid filter 'securityContext.isProxy gt true': Invalid filter value 'true' at position 27 for operator gt. Expected a string in quotes or a number",
    ),
    (
        "eventType sw 5",
        "Invalid filter 'eventType sw 5': Invalid filter value '5' at position 13 for operator sw. Expected a string in quotes",
    ),
];

#[test]
fn good_expressions_are_read_and_written_back() {
    for (text, written) in GOOD {
        let filter = Filter::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(filter.to_string(), written, "{text}");
        assert_eq!(Filter::parse(written), Ok(filter), "{written}");
    }
}

#[test]
fn bad_expressions_are_refused_with_the_place() {
    for (text, said) in BAD {
        let error = Filter::parse(text).expect_err(text);
        assert_eq!(error.summary(text), said);
        assert!(error.position <= text.chars().count(), "{text}");
        assert!(!error.expected.is_empty());
    }
}

#[test]
fn what_is_expected_is_said_for_fields_too() {
    let error = Filter::parse("uuid pr and published ge \"2026-01-02T03:04:05Z\"").unwrap_err();
    assert_eq!(
        error.to_string(),
        "field is not valid: published at position 12. Expected: the parameters since and until instead of published"
    );
}

#[test]
fn limits_hold() {
    let deep = |levels: usize| format!("{}uuid pr{}", "(".repeat(levels), ")".repeat(levels));
    Filter::parse(&deep(FILTER_DEPTH_MAX)).unwrap();
    let error = Filter::parse(&deep(FILTER_DEPTH_MAX + 1)).unwrap_err();
    assert_eq!(error.position, FILTER_DEPTH_MAX);
    let many = |terms: usize| vec!["uuid pr"; terms].join(" or ");
    Filter::parse(&many(FILTER_TERMS_MAX)).unwrap();
    Filter::parse(&many(FILTER_TERMS_MAX + 1)).unwrap_err();
    let long = format!("uuid eq \"{}\"", "x".repeat(FILTER_BYTES_MAX));
    let error = Filter::parse(&long).unwrap_err();
    assert!(error.summary(&long).len() < 400, "{error}");
}

#[test]
fn expressions_match_as_documented() {
    let event = json!({
        "uuid": "018f-5", "eventType": "security.threat.detected", "severity": "WARN",
        "displayMessage": "", "actor": {"id": "192.0.2.7", "detailEntry": null},
        "client": {"ipAddress": "192.0.2.7", "geographicalContext": {"city": null, "geolocation": {"lat": 48.5, "lon": 2}}},
        "request": {"ipChain": [{"ip": "192.0.2.7", "version": "V4"}, {"ip": "10.0.0.2", "version": "V4"}]},
        "target": [{"id": "zone:cdn", "type": "Zone"}, {"id": "zone:own", "type": "Zone"}],
        "securityContext": {"asNumber": 64500, "isProxy": false, "risk": {"reasons": ["Anomalous Device", "New City"]}},
        "debugContext": {"debugData": {"score": "85", "threatSuspected": "true", "firstSeen": "2026-01-02T03:04:05.000Z"}},
    });
    for (text, expected) in MATCHES {
        let filter = Filter::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(filter.matches(&event), expected, "{text}");
        let opposite = Filter::parse(&format!("not ({text})")).unwrap();
        assert_eq!(opposite.matches(&event), !expected, "not ({text})");
    }
}

const MATCHES: [(&str, bool); 46] = [
    ("eventType eq \"security.threat.detected\"", true),
    ("eventType eq \"Security.Threat.Detected\"", false),
    ("eventType sw \"security.\" and severity eq \"WARN\"", true),
    ("eventType sw \"threat\"", false),
    ("eventType ew \".detected\"", true),
    ("eventType co \"threat\"", true),
    ("eventType co \"\"", true),
    ("severity gt \"INFO\"", true),
    ("severity lt \"INFO\" or uuid ge \"018f-5\"", true),
    ("uuid gt \"018f-5\"", false),
    ("uuid le \"018f-5\"", true),
    // Lists: any element.
    ("target.id eq \"zone:own\"", true),
    (
        "target.id eq \"zone:cdn\" and target.id eq \"zone:own\"",
        true,
    ),
    ("target.id ne \"zone:own\"", false),
    ("target.id ne \"zone:other\"", true),
    ("request.ipChain.ip sw \"10.\"", true),
    ("securityContext.risk.reasons eq \"New City\"", true),
    ("securityContext.risk.reasons co \"Device\"", true),
    // What is missing: only `ne` and opposites hold.
    ("outcome.result eq \"DENY\"", false),
    ("outcome.result ne \"DENY\"", true),
    ("outcome.result lt \"DENY\"", false),
    ("outcome.result co \"\"", false),
    ("outcome.result pr", false),
    ("client.geographicalContext.city eq \"\"", false),
    ("transaction.detail.requestApiTokenId ne \"x\"", true),
    // Present means: not empty.
    ("uuid pr", true),
    ("displayMessage pr", false),
    ("actor.detailEntry pr", false),
    ("actor pr", true),
    ("target pr", true),
    ("client.geographicalContext.city pr", false),
    ("client.geographicalContext pr", true),
    ("securityContext.isProxy pr", true),
    ("device pr", false),
    // Numbers, booleans, dates; text is read as what it is compared with.
    ("securityContext.asNumber eq 64500", true),
    ("securityContext.asNumber eq \"64500\"", true),
    ("securityContext.asNumber gt 64499.5", true),
    ("client.geographicalContext.geolocation.lon eq 2.0", true),
    ("client.geographicalContext.geolocation.lat lt 48", false),
    ("debugContext.debugData.score ge 80", true),
    ("debugContext.debugData.score ge 100", false),
    ("debugContext.debugData.threatSuspected eq true", true),
    ("securityContext.isProxy eq false", true),
    ("securityContext.isProxy ne false", false),
    (
        "debugContext.debugData.firstSeen eq \"2026-01-02T04:04:05+01:00\"",
        true,
    ),
    (
        "debugContext.debugData.firstSeen lt \"2026-01-02T04:04:05.001+01:00\"",
        true,
    ),
];
