//! What each answer of a collector means, and how events are written for it.

use std::path::PathBuf;

use http::Uri;

use super::*;
use crate::config::stream::{ClientTls, Remote};

fn answer(status: u16, body: &str) -> HttpAnswer {
    HttpAnswer {
        status: StatusCode::from_u16(status).unwrap(),
        headers: HeaderMap::new(),
        body: Bytes::from(body.to_owned()),
    }
}

fn judged(status: u16, body: &str) -> &'static str {
    let answer = answer(status, body);
    let said = serde_json::from_slice(&answer.body).ok();
    match verdict(&answer, said.as_ref(), 0) {
        Answer::Accepted => "accepted",
        Answer::Retry { .. } => "retry",
        Answer::Poison { index: 2, .. } => "poison 2",
        Answer::Refused { .. } => "refused",
        Answer::TooLarge { .. } => "too large",
        Answer::Paused {
            why: Pause::Unauthorized,
            ..
        } => "unauthorized",
        Answer::Paused {
            why: Pause::Misdirected,
            ..
        } => "misdirected",
        other => panic!("{other:?}"),
    }
}

#[test]
fn codes_mean_what_splunk_says() {
    for (status, body, expected) in [
        (200, r#"{"text":"Success","code":0}"#, "accepted"),
        (200, r#"{"text":"Success","code":0,"ackId":4}"#, "accepted"),
        (200, "<html>welcome</html>", "retry"),
        (200, r#"{"text":"?","code":99}"#, "retry"),
        (
            403,
            r#"{"text":"Token is disabled","code":1}"#,
            "unauthorized",
        ),
        (
            401,
            r#"{"text":"Token is required","code":2}"#,
            "unauthorized",
        ),
        (
            401,
            r#"{"text":"Invalid authorization","code":3}"#,
            "unauthorized",
        ),
        (403, r#"{"text":"Invalid token","code":4}"#, "unauthorized"),
        (400, r#"{"text":"No data","code":5}"#, "refused"),
        (
            400,
            r#"{"text":"Invalid data format","code":6,"invalid-event-number":2}"#,
            "poison 2",
        ),
        (
            400,
            r#"{"text":"Incorrect index","code":7,"invalid-event-number":2}"#,
            "misdirected",
        ),
        (500, r#"{"text":"Internal server error","code":8}"#, "retry"),
        (503, r#"{"text":"Server is busy","code":9}"#, "retry"),
        (
            400,
            r#"{"text":"Data channel is missing","code":10}"#,
            "misdirected",
        ),
        (
            400,
            r#"{"text":"Event field is required","code":12,"invalid-event-number":2}"#,
            "poison 2",
        ),
        (
            400,
            r#"{"text":"ACK is disabled","code":14}"#,
            "misdirected",
        ),
        (404, "", "misdirected"),
        (413, "", "too large"),
        (429, "", "retry"),
    ] {
        assert_eq!(judged(status, body), expected, "{status} {body}");
    }
}

#[test]
fn an_event_carries_its_time_and_where_it_is_from() {
    let object = Object::new(&SplunkHec {
        remote: Remote {
            uri: Uri::from_static("https://splunk.example:8088/services/collector"),
            tls: ClientTls::default(),
        },
        token_file: PathBuf::new(),
        acknowledge: false,
        acknowledge_within: Duration::from_secs(1),
        gzip: false,
        index: Some("main".to_owned()),
        source: "edge\"ward".to_owned(),
        sourcetype: "OktaIM2:log".to_owned(),
        hostname: Some("login-1".to_owned()),
    });
    let event = Event {
        seq: 1,
        id: "x",
        published_ms: 1_700_000_000_007,
        event_type: "zone.create",
        severity: "INFO",
        json: r#"{"uuid":"x"}"#,
    };
    let mut out = Vec::new();
    object.encode(&event, &mut out).unwrap();
    let expected = r#"{"time":1700000000.007,"host":"login-1","source":"edge\"ward","sourcetype":"OktaIM2:log","index":"main","event":{"uuid":"x"}}"#;
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn channels_are_uuids_and_differ() {
    let (a, b) = (channel().unwrap(), channel().unwrap());
    assert_ne!(a, b);
    let parts: Vec<usize> = a.to_str().unwrap().split('-').map(str::len).collect();
    assert_eq!(parts, [8, 4, 4, 4, 12]);
}
