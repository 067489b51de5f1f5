//! Batches read back as OTLP has them, and what each answer means.

use http::{StatusCode, Uri};
use prost::Message;

use super::{
    record::{Envelope, ExportLogsPartialSuccess, Json, LogRecord, Protobuf, Resource, Scope},
    *,
};
use crate::{
    config::stream::{ClientTls, Remote},
    stream::sink::Event,
};

/// `ExportLogsServiceRequest`, as whoever reads it has it.
#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(message, repeated, tag = "1")]
    resource_logs: Vec<ResourceLogs>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceLogs {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_logs: Vec<ScopeLogs>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeLogs {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    log_records: Vec<LogRecord>,
}

fn event(id: &str, json: &str, encode: &dyn Encode) -> Vec<u8> {
    let event = Event {
        seq: 1,
        id,
        published_ms: 1_700_000_000_007,
        event_type: "zone.create",
        severity: "WARN",
        json,
    };
    let mut out = Vec::new();
    encode.encode(&event, &mut out).unwrap();
    out
}

#[test]
fn a_batch_of_any_size_is_read_back() {
    for (count, length) in [(1, 0), (3, 100), (200, 1_000), (2, 70_000)] {
        let json = "x".repeat(length);
        let records: Vec<u8> = (0..count)
            .flat_map(|n| event(&format!("id-{n}"), &json, &Protobuf))
            .collect();
        let mut bytes = Envelope::new().protobuf(records.len());
        bytes.extend_from_slice(&records);
        let request = Request::decode(bytes.as_slice()).unwrap();
        let [logs] = request.resource_logs.as_slice() else {
            panic!("{request:?}");
        };
        let [scope] = logs.scope_logs.as_slice() else {
            panic!("{logs:?}");
        };
        assert_eq!(logs.resource.as_ref().unwrap().attributes.len(), 3);
        assert_eq!(scope.scope.as_ref().unwrap().name, "edgeward");
        assert_eq!(scope.log_records.len(), count);
        let last = scope.log_records.last().unwrap();
        assert_eq!(last.time_unix_nano, 1_700_000_000_007_000_000);
        assert_eq!(
            (last.severity_number, last.event_name.as_str()),
            (13, "zone.create")
        );
        assert_eq!(
            last.body.as_ref().unwrap().string_value.as_deref(),
            Some(json.as_str())
        );
    }
}

#[test]
fn json_says_the_same() {
    let envelope = Envelope::new();
    let (before, after) = envelope.json();
    let record = event("id-1", r#"{"a":"\""}"#, &Json);
    let text = [before.as_bytes(), &record, b",", &record, after].concat();
    let request: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let records = request["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
        .as_array()
        .unwrap();
    assert_eq!(records.len(), 2);
    assert_eq!(records[1]["timeUnixNano"], "1700000000007000000");
    assert_eq!(records[1]["body"]["stringValue"], r#"{"a":"\""}"#);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of answers")]
fn answers_mean_what_the_specification_says() {
    let collector = |encoding| {
        let settings = Otlp {
            remote: Remote {
                uri: Uri::from_static("http://127.0.0.1:1/v1/logs"),
                tls: ClientTls::default(),
            },
            encoding,
            gzip: false,
            secret: None,
        };
        Collector::open(&settings, Clock::new()).unwrap()
    };
    let judged = |encoding, status: u16, body: &[u8]| {
        let answer = HttpAnswer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::copy_from_slice(body),
        };
        match collector(encoding).judged(&answer, 10) {
            Answer::Accepted => "accepted".to_owned(),
            Answer::AcceptedBut { rejected, what } => format!("without {rejected}: {what}"),
            Answer::Retry { .. } => "retry".to_owned(),
            Answer::Refused { .. } => "refused".to_owned(),
            Answer::TooLarge { .. } => "too large".to_owned(),
            Answer::Paused { why, .. } => format!("{why:?}"),
            other => panic!("{other:?}"),
        }
    };
    let partial = |rejected_log_records, error_message: &str| {
        let error_message = error_message.to_owned();
        let partial_success = Some(ExportLogsPartialSuccess {
            rejected_log_records,
            error_message,
        });
        ExportLogsServiceResponse { partial_success }.encode_to_vec()
    };
    let (json, protobuf) = (OtlpEncoding::Json, OtlpEncoding::Protobuf);
    let thrown = "without 3: threw 3 of 10 events away: too old";
    for (encoding, status, body, expected) in [
        (json, 200, b"{}".to_vec(), "accepted"),
        (json, 202, Vec::new(), "accepted"),
        (json, 200, b"<html>".to_vec(), "Misdirected"),
        (
            json,
            200,
            br#"{"partialSuccess":{"rejectedLogRecords":"3","errorMessage":"too old"}}"#.to_vec(),
            thrown,
        ),
        (
            json,
            200,
            br#"{"partialSuccess":{"errorMessage":"a hint"}}"#.to_vec(),
            "accepted",
        ),
        (protobuf, 200, Vec::new(), "accepted"),
        (protobuf, 200, partial(3, "too old"), thrown),
        (
            protobuf,
            200,
            partial(99, ""),
            "without 10: threw 10 of 10 events away: ",
        ),
        (protobuf, 200, partial(-1, ""), "accepted"),
        (protobuf, 200, b"<html>".to_vec(), "Misdirected"),
        (json, 429, Vec::new(), "retry"),
        (json, 502, Vec::new(), "retry"),
        (json, 503, Vec::new(), "retry"),
        (json, 504, Vec::new(), "retry"),
        (json, 500, Vec::new(), "refused"),
        (json, 400, Vec::new(), "refused"),
        (json, 401, Vec::new(), "Unauthorized"),
        (json, 404, Vec::new(), "Misdirected"),
        (json, 413, Vec::new(), "too large"),
    ] {
        assert_eq!(
            judged(encoding, status, &body),
            expected,
            "{status} {body:?}"
        );
    }
}
