//! Entries as Amazon counts them, and what each answer means.

use std::path::PathBuf;

use bytes::Bytes;
use http::{StatusCode, Uri};

use super::*;
use crate::config::{
    receivers::AwsCredentials,
    stream::{ClientTls, Remote},
};

fn settings() -> EventBridge {
    EventBridge {
        remote: Remote {
            uri: Uri::from_static("http://127.0.0.1:1/"),
            tls: ClientTls::default(),
        },
        region: "eu-central-1".to_owned(),
        bus: "security".to_owned(),
        source: "edgeward".to_owned(),
        credentials: AwsCredentials::File {
            file: PathBuf::new(),
            profile: String::new(),
        },
    }
}

#[test]
fn an_entry_is_as_large_as_amazon_says_and_no_larger() {
    let entry = Entry::new(&settings());
    let fits = |bytes: usize| {
        let json = format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8));
        let event = Event {
            seq: 1,
            id: "x",
            published_ms: 1_700_000_000_007,
            event_type: "zone.create",
            severity: "INFO",
            json: &json,
        };
        let mut out = Vec::new();
        let encoded = entry.encode(&event, &mut out).is_ok();
        if encoded {
            let said: serde_json::Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(said["Detail"], json);
            assert_eq!(said["Time"], 1_700_000_000.007);
            assert_eq!(
                (&said["DetailType"], &said["EventBusName"]),
                (&"zone.create".into(), &"security".into())
            );
        }
        encoded
    };
    let most = 256 * 1_024 - 14 - "edgeward".len() - "zone.create".len();
    assert!(fits(20) && fits(most) && !fits(most + 1));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of answers")]
fn only_what_failed_is_sent_again() {
    let answer = |status: u16, body: &str| HttpAnswer {
        status: StatusCode::from_u16(status).unwrap(),
        headers: HeaderMap::new(),
        body: Bytes::from(body.to_owned()),
    };
    let said = |status, body: &str| match judged(&answer(status, body), 3, 0) {
        Answer::Accepted => "accepted".to_owned(),
        Answer::Partly { failed, .. } => format!("again {failed:?}"),
        Answer::Poison {
            index,
            earlier_taken: false,
            ..
        } => format!("poison {index}"),
        Answer::Retry { .. } => "retry".to_owned(),
        Answer::Refused { .. } => "refused".to_owned(),
        Answer::TooLarge { .. } => "too large".to_owned(),
        Answer::Paused { why, .. } => format!("{why:?}"),
        other => panic!("{other:?}"),
    };
    let put = |entries: [&str; 3]| {
        let failed = entries.iter().filter(|code| !code.is_empty()).count();
        let entries = entries.map(|code| match code {
            "" => r#"{"EventId":"e"}"#.to_owned(),
            code => format!(r#"{{"ErrorCode":"{code}","ErrorMessage":"m"}}"#),
        });
        format!(
            r#"{{"FailedEntryCount":{failed},"Entries":[{}]}}"#,
            entries.join(",")
        )
    };
    let slow = "ThrottlingException";
    let fault = |kind: &str, message: &str| {
        format!(r#"{{"__type":"com.amazonaws.events#{kind}","message":"{message}"}}"#)
    };
    for (status, body, expected) in [
        (200, put(["", "", ""]), "accepted"),
        (200, put(["", slow, ""]), "again [1]"),
        (200, put([slow, "MalformedDetail", ""]), "again [0, 1]"),
        (200, put([slow, slow, slow]), "retry"),
        (200, put([slow, "MalformedDetail", slow]), "poison 1"),
        (
            200,
            r#"{"FailedEntryCount":0,"Entries":[]}"#.to_owned(),
            "retry",
        ),
        (200, "<html>".to_owned(), "retry"),
        (400, fault("ThrottlingException", "Rate exceeded"), "retry"),
        (
            400,
            fault(
                "ValidationException",
                "Total size of the entries in the request is over the limit.",
            ),
            "too large",
        ),
        (
            400,
            fault("ValidationException", "1 validation error detected"),
            "refused",
        ),
        (
            400,
            fault(
                "ResourceNotFoundException",
                "Event bus security does not exist.",
            ),
            "Misdirected",
        ),
        (
            400,
            fault("UnrecognizedClientException", "token"),
            "Unauthorized",
        ),
        (
            403,
            fault("InvalidSignatureException", "signature"),
            "Unauthorized",
        ),
        (
            400,
            fault("ExpiredTokenException", "expired"),
            "Unauthorized",
        ),
        (500, fault("InternalException", ""), "retry"),
        (503, String::new(), "retry"),
        (413, String::new(), "too large"),
        (403, String::new(), "Unauthorized"),
    ] {
        assert_eq!(said(status, &body), expected, "{status} {body}");
    }
}
