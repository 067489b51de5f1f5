//! Log records on the wire, with the numbers of `opentelemetry/proto/{logs,common,resource}/v1` and
//! `collector/logs/v1`. A batch is written around records that are written already.

use prost::{
    Message,
    encoding::{encode_key, encode_varint, encoded_len_varint, key_len},
};
use serde_json::{Value, json};

use super::super::super::{
    shape::own_hostname,
    sink::{Encode, Event},
};

/// `LogRecord`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct LogRecord {
    #[prost(fixed64, tag = "1")]
    pub(super) time_unix_nano: u64,
    #[prost(int32, tag = "2")]
    pub(super) severity_number: i32,
    #[prost(string, tag = "3")]
    pub(super) severity_text: String,
    #[prost(message, optional, tag = "5")]
    pub(super) body: Option<AnyValue>,
    #[prost(message, repeated, tag = "6")]
    pub(super) attributes: Vec<KeyValue>,
    #[prost(fixed64, tag = "11")]
    pub(super) observed_time_unix_nano: u64,
    #[prost(string, tag = "12")]
    pub(super) event_name: String,
}

/// `AnyValue`, of which only texts are used.
#[derive(Clone, PartialEq, Message)]
pub(super) struct AnyValue {
    #[prost(string, optional, tag = "1")]
    pub(super) string_value: Option<String>,
}

/// `KeyValue`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct KeyValue {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(message, optional, tag = "2")]
    pub(super) value: Option<AnyValue>,
}

/// `Resource`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Resource {
    #[prost(message, repeated, tag = "1")]
    pub(super) attributes: Vec<KeyValue>,
}

/// `InstrumentationScope`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Scope {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) version: String,
}

/// `ExportLogsServiceResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ExportLogsServiceResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) partial_success: Option<ExportLogsPartialSuccess>,
}

/// `ExportLogsPartialSuccess`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ExportLogsPartialSuccess {
    #[prost(int64, tag = "1")]
    pub(super) rejected_log_records: i64,
    #[prost(string, tag = "2")]
    pub(super) error_message: String,
}

/// The field of each message that holds the next one.
const RESOURCE_LOGS: u32 = 1;
const RESOURCE: u32 = 1;
const SCOPE_LOGS: u32 = 2;
const SCOPE: u32 = 1;
const LOG_RECORDS: u32 = 2;

/// An event as a field of `ScopeLogs`.
pub(super) struct Protobuf;

impl Encode for Protobuf {
    fn encode(&self, event: &Event<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        let nano = event.published_ms.saturating_mul(1_000_000);
        let record = LogRecord {
            time_unix_nano: nano,
            severity_number: severity(event.severity),
            severity_text: event.severity.to_owned(),
            body: Some(AnyValue {
                string_value: Some(event.json.to_owned()),
            }),
            attributes: vec![pair("log.record.uid", event.id)],
            observed_time_unix_nano: nano,
            event_name: event.event_type.to_owned(),
        };
        write_field(LOG_RECORDS, &record, out);
        Ok(())
    }
}

/// An event as an element of `logRecords`.
pub(super) struct Json;

impl Encode for Json {
    fn encode(&self, event: &Event<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        let nano = event.published_ms.saturating_mul(1_000_000).to_string();
        let record = json!({
            "timeUnixNano": nano,
            "observedTimeUnixNano": nano,
            "severityNumber": severity(event.severity),
            "severityText": event.severity,
            "body": { "stringValue": event.json },
            "attributes": [{ "key": "log.record.uid", "value": { "stringValue": event.id } }],
            "eventName": event.event_type,
        });
        serde_json::to_writer(out, &record).map_err(|error| error.to_string())
    }
}

/// `SeverityNumber`.
fn severity(word: &str) -> i32 {
    match word {
        "DEBUG" => 5,
        "WARN" => 13,
        "ERROR" => 17,
        _ => 9,
    }
}

/// What stands around the records of every batch.
pub(super) struct Envelope {
    resource: Vec<u8>,
    scope: Vec<u8>,
    json_before: String,
}

impl Envelope {
    pub(super) fn new() -> Self {
        let attributes = attributes();
        let pairs = attributes.iter().map(|(key, value)| pair(key, value));
        let (mut resource, mut scope) = (Vec::new(), Vec::new());
        write_field(
            RESOURCE,
            &Resource {
                attributes: pairs.collect(),
            },
            &mut resource,
        );
        write_field(
            SCOPE,
            &Scope {
                name: "edgeward".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            &mut scope,
        );
        let attributes: Vec<Value> = attributes
            .iter()
            .map(|(key, value)| json!({ "key": key, "value": { "stringValue": value } }))
            .collect();
        let scope_json = json!({ "name": "edgeward", "version": env!("CARGO_PKG_VERSION") });
        Self {
            resource,
            scope,
            json_before: format!(
                "{{\"resourceLogs\":[{{\"resource\":{},\"scopeLogs\":[{{\"scope\":{scope_json},\"logRecords\":[",
                json!({ "attributes": attributes })
            ),
        }
    }

    /// What stands before `records` bytes of records.
    pub(super) fn protobuf(&self, records: usize) -> Vec<u8> {
        let scope_logs = self.scope.len().saturating_add(records);
        let resource_logs = self
            .resource
            .len()
            .saturating_add(header_len(SCOPE_LOGS, scope_logs))
            .saturating_add(scope_logs);
        let mut out = Vec::new();
        write_header(RESOURCE_LOGS, resource_logs, &mut out);
        out.extend_from_slice(&self.resource);
        write_header(SCOPE_LOGS, scope_logs, &mut out);
        out.extend_from_slice(&self.scope);
        out
    }

    /// What stands before and behind records with commas between them.
    pub(super) fn json(&self) -> (&str, &'static [u8]) {
        (&self.json_before, b"]}]}]}")
    }
}

fn attributes() -> [(&'static str, &'static str); 3] {
    [
        ("service.name", "edgeward"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("host.name", own_hostname()),
    ]
}

fn pair(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            string_value: Some(value.to_owned()),
        }),
    }
}

fn write_field(tag: u32, message: &impl Message, out: &mut Vec<u8>) {
    let bytes = message.encode_to_vec();
    write_header(tag, bytes.len(), out);
    out.extend_from_slice(&bytes);
}

fn write_header(tag: u32, length: usize, out: &mut Vec<u8>) {
    encode_key(tag, prost::encoding::WireType::LengthDelimited, out);
    encode_varint(u64::try_from(length).unwrap_or(u64::MAX), out);
}

fn header_len(tag: u32, length: usize) -> usize {
    let length = u64::try_from(length).unwrap_or(u64::MAX);
    key_len(tag).saturating_add(encoded_len_varint(length))
}
