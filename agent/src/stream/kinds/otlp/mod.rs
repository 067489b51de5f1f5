//! OpenTelemetry logs over HTTP: `POST /v1/logs`, protobuf or JSON.
//!
//! Source: the specification of OTLP 1.x. What a collector throws away of a batch (`partialSuccess`) is not sent again,
//! only counted; nothing but 429, 502, 503 and 504 is an invitation to come again.

mod record;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use prost::Message as _;
use serde::{Deserialize, Deserializer};

use self::record::ExportLogsServiceResponse;
use super::{
    super::{
        http::{HttpAnswer, HttpClient},
        sink::{Answer, Encode, Item, Pause, Pending, Piece, Sink, joined},
    },
    body,
};
use crate::{
    clock::Clock,
    config::receivers::{Otlp, OtlpEncoding},
};

/// How events are written for a collector.
pub(super) fn encoder(settings: &Otlp) -> Arc<dyn Encode> {
    match settings.encoding {
        OtlpEncoding::Protobuf => Arc::new(record::Protobuf),
        OtlpEncoding::Json => Arc::new(record::Json),
    }
}

/// A collector.
pub(super) struct Collector {
    client: HttpClient,
    headers: HeaderMap,
    encoding: OtlpEncoding,
    gzip: bool,
    /// What the batch stands in, without it.
    envelope: record::Envelope,
    clock: Clock,
}

impl Collector {
    pub(super) fn open(settings: &Otlp, clock: Clock) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        let kind = match settings.encoding {
            OtlpEncoding::Protobuf => "application/x-protobuf",
            OtlpEncoding::Json => "application/json",
        };
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        if let Some(secret) = &settings.secret {
            headers.insert(&secret.name, body::secret_header("", &secret.file)?);
        }
        Ok(Self {
            client: HttpClient::new(&settings.remote)?,
            headers,
            encoding: settings.encoding,
            gzip: settings.gzip,
            envelope: record::Envelope::new(),
            clock,
        })
    }

    async fn post(&mut self, flight: &[Item<Piece>]) -> Answer {
        let plain = match self.encoding {
            OtlpEncoding::Protobuf => {
                let bytes = flight.iter().map(|item| item.payload.bytes.len());
                let before = self.envelope.protobuf(bytes.sum());
                joined(&before, flight, b"", b"")
            }
            OtlpEncoding::Json => {
                let (before, after) = self.envelope.json();
                joined(before.as_bytes(), flight, b",", after)
            }
        };
        let mut headers = self.headers.clone();
        let body = body::packed(plain, self.gzip, &mut headers).await;
        match self.client.post(headers, body).await {
            Ok(answer) => self.judged(&answer, flight.len()),
            Err(failure) => failure.into(),
        }
    }

    fn judged(&self, answer: &HttpAnswer, count: usize) -> Answer {
        let what = || format!("answers {}", answer.status);
        match answer.status.as_u16() {
            200..=299 => self.accepted(&answer.body, count),
            429 | 502 | 503 | 504 => answer.verdict(self.clock.now().wall_ms),
            // 408 and 500 among them: the specification wants none of them sent again as it was.
            400 | 408 | 422 | 425 | 500..=599 => Answer::Refused { what: what() },
            _ => answer.verdict(self.clock.now().wall_ms),
        }
    }

    fn accepted(&self, body: &Bytes, count: usize) -> Answer {
        let partial = match self.encoding {
            OtlpEncoding::Protobuf => ExportLogsServiceResponse::decode(body.clone())
                .ok()
                .map(|answer| answer.partial_success.unwrap_or_default())
                .map(|partial| (partial.rejected_log_records, partial.error_message)),
            OtlpEncoding::Json if body.is_empty() => Some((0, String::new())),
            OtlpEncoding::Json => serde_json::from_slice::<Said>(body)
                .ok()
                .map(|said| said.partial_success.unwrap_or_default())
                .map(|partial| (partial.rejected, partial.message)),
        };
        let Some((rejected, message)) = partial else {
            // Any 2xx is success (the specification); but this is no collector, and has nothing.
            return Answer::Paused {
                why: Pause::Misdirected,
                what: "answers with what no collector says; is the URL right?".to_owned(),
                after: None,
            };
        };
        let rejected = u64::try_from(rejected).unwrap_or(0);
        let rejected = rejected.min(u64::try_from(count).unwrap_or(u64::MAX));
        if rejected == 0 {
            return Answer::Accepted;
        }
        Answer::AcceptedBut {
            rejected,
            what: format!(
                "threw {rejected} of {count} events away: {}",
                body::said(&message)
            ),
        }
    }
}

impl Sink for Collector {
    fn send<'a>(&'a mut self, flight: &'a [Item<Piece>]) -> Pending<'a, Answer> {
        Box::pin(self.post(flight))
    }
}

/// What a collector says in JSON.
#[derive(Debug, Deserialize)]
struct Said {
    #[serde(rename = "partialSuccess")]
    partial_success: Option<Partial>,
}

#[derive(Debug, Default, Deserialize)]
struct Partial {
    #[serde(rename = "rejectedLogRecords", default, deserialize_with = "number")]
    rejected: i64,
    #[serde(rename = "errorMessage", default)]
    message: String,
}

/// 64-bit numbers are texts in JSON, and some write them as numbers.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    let text = value.as_str().and_then(|text| text.parse().ok());
    Ok(value.as_i64().or(text).unwrap_or(0))
}

#[cfg(test)]
mod tests;
