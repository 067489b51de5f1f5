//! Amazon EventBridge: `PutEvents`, 1 to 10 entries and 256 KiB at a time, signed. An answer of 200 still says of each
//! entry whether the bus has it; only those that failed are sent again.
//!
//! Source: Amazon's reference of the EventBridge API, 2015-10-07.

mod credentials;
mod sigv4;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::Deserialize;

use self::credentials::Credentials;
pub(crate) use self::credentials::profile;
use super::{
    super::{
        http::{HttpAnswer, HttpClient},
        sink::{Answer, Encode, Event, Item, Pause, Pending, Piece, Sink, joined},
    },
    body,
};
use crate::{clock::Clock, config::receivers::EventBridge};

const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
const PUT_EVENTS: &str = "AWSEvents.PutEvents";
const CONTENT_TYPE: &str = "application/x-amz-json-1.1";
const SERVICE: &str = "events";
/// Largest entry, in bytes, as Amazon counts: 14 for the time, and the bytes of source, type and detail.
const ENTRY_BYTES_MAX: usize = 256 * 1_024;
const TIME_BYTES: usize = 14;
/// Longest `DetailType`, in bytes.
const DETAIL_TYPE_BYTES_MAX: usize = 128;

/// An event as an entry.
pub(super) struct Entry {
    /// What stands before the type.
    before: String,
    source_bytes: usize,
}

impl Entry {
    pub(super) fn new(settings: &EventBridge) -> Self {
        Self {
            before: format!(
                "{{\"EventBusName\":{},\"Source\":{},\"DetailType\":",
                body::quoted(&settings.bus),
                body::quoted(&settings.source)
            ),
            source_bytes: settings.source.len(),
        }
    }
}

impl Encode for Entry {
    fn encode(&self, event: &Event<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        let kind = event.event_type;
        let kind = kind
            .get(..kind.floor_char_boundary(DETAIL_TYPE_BYTES_MAX))
            .unwrap_or(kind);
        let bytes = [TIME_BYTES, self.source_bytes, kind.len(), event.json.len()];
        let bytes = bytes.into_iter().fold(0, usize::saturating_add);
        if bytes > ENTRY_BYTES_MAX {
            return Err(format!(
                "has {bytes} bytes; EventBridge takes {ENTRY_BYTES_MAX}"
            ));
        }
        out.extend_from_slice(self.before.as_bytes());
        body::quote_into(kind, out);
        let (seconds, ms) = (event.published_ms / 1_000, event.published_ms % 1_000);
        out.extend_from_slice(format!(",\"Time\":{seconds}.{ms:03},\"Detail\":").as_bytes());
        body::quote_into(event.json, out);
        out.push(b'}');
        Ok(())
    }
}

/// The bus.
pub(super) struct Bus {
    client: HttpClient,
    authority: String,
    path: String,
    region: String,
    credentials: Credentials,
    clock: Clock,
}

/// What the bus says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Put {
    failed_entry_count: usize,
    entries: Vec<Outcome>,
}

/// What it says of an entry.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Outcome {
    event_id: Option<String>,
    error_code: Option<String>,
    error_message: Option<String>,
}

/// What it says of a request.
#[derive(Debug, Default, Deserialize)]
struct Fault {
    #[serde(rename = "__type", default)]
    kind: String,
    #[serde(alias = "Message", default)]
    message: String,
}

impl Bus {
    pub(super) fn open(settings: &EventBridge, clock: Clock) -> Result<Self, String> {
        let uri = &settings.remote.uri;
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        Ok(Self {
            client: HttpClient::new(&settings.remote)?,
            authority: authority.to_owned(),
            path: uri.path().to_owned(),
            region: settings.region.clone(),
            credentials: Credentials::read(&settings.credentials)?,
            clock,
        })
    }

    async fn post(&mut self, flight: &[Item<Piece>]) -> Answer {
        let body = joined(b"{\"Entries\":[", flight, b",", b"]}");
        let now_ms = self.clock.now().wall_ms;
        let headers = match self.headers(&body, now_ms) {
            Ok(headers) => headers,
            Err(error) => {
                return Answer::Paused {
                    why: Pause::Unusable,
                    what: format!("cannot be signed for: {error}"),
                    after: None,
                };
            }
        };
        match self.client.post(headers, body).await {
            Ok(answer) => judged(&answer, flight.len(), now_ms),
            Err(failure) => failure.into(),
        }
    }

    fn headers(&self, body: &[u8], now_ms: u64) -> Result<HeaderMap, header::InvalidHeaderValue> {
        let signed = sigv4::sign(
            &sigv4::Request {
                host: &self.authority,
                path: &self.path,
                headers: &[("content-type", CONTENT_TYPE), ("x-amz-target", PUT_EVENTS)],
                body,
                region: &self.region,
                service: SERVICE,
            },
            &self.credentials,
            now_ms,
        );
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        headers.insert(TARGET, HeaderValue::from_static(PUT_EVENTS));
        for (name, value) in signed {
            let mut value = HeaderValue::from_str(&value)?;
            value.set_sensitive(true);
            headers.insert(HeaderName::from_static(name), value);
        }
        Ok(headers)
    }
}

impl Sink for Bus {
    fn send<'a>(&'a mut self, flight: &'a [Item<Piece>]) -> Pending<'a, Answer> {
        Box::pin(self.post(flight))
    }
}

fn judged(answer: &HttpAnswer, count: usize, now_ms: u64) -> Answer {
    if answer.status.is_success() {
        return match serde_json::from_slice::<Put>(&answer.body) {
            Ok(put) if put.entries.len() == count => put.judged(),
            _ => Answer::Retry {
                what: format!("answers {} with what no bus says", answer.status),
                after: None,
            },
        };
    }
    let fault: Fault = serde_json::from_slice(&answer.body).unwrap_or_default();
    // `com.amazonaws.events#ThrottlingException`
    let kind = fault.kind.rsplit('#').next().unwrap_or_default();
    if kind.is_empty() {
        return answer.verdict(now_ms);
    }
    let what = format!(
        "answers {}: {}: {}",
        answer.status,
        body::said(kind),
        body::said(&fault.message)
    );
    let paused = |why, what| Answer::Paused {
        why,
        what,
        after: None,
    };
    match kind {
        "ThrottlingException"
        | "Throttling"
        | "RequestLimitExceeded"
        | "InternalException"
        | "InternalFailure"
        | "ServiceUnavailable"
        | "ServiceUnavailableException" => match answer.verdict(now_ms) {
            Answer::Retry { after, .. } => Answer::Retry { what, after },
            _ => Answer::Retry { what, after: None },
        },
        "ResourceNotFoundException" | "UnknownOperationException" => {
            paused(Pause::Misdirected, what)
        }
        "RequestEntityTooLargeException" => Answer::TooLarge { what },
        "ValidationException" if fault.message.contains("size") => Answer::TooLarge { what },
        "ValidationException" | "ValidationError" | "SerializationException" => {
            Answer::Refused { what }
        }
        // Signatures, tokens and rights: in many words, and all of them 400 or 403.
        _ if answer.status.is_client_error() => paused(Pause::Unauthorized, what),
        _ => answer.verdict(now_ms),
    }
}

impl Outcome {
    fn is_taken(&self) -> bool {
        self.event_id.is_some() && self.error_code.is_none()
    }

    /// Whether it would fail again, whenever it is sent.
    fn is_final(&self) -> bool {
        matches!(
            self.error_code.as_deref(),
            Some("MalformedDetail" | "InvalidArgument" | "InvalidEventSourceException")
        )
    }

    fn what(&self) -> String {
        format!(
            "refuses an event: {}: {}",
            body::said(self.error_code.as_deref().unwrap_or("no code")),
            body::said(self.error_message.as_deref().unwrap_or_default())
        )
    }
}

impl Put {
    fn judged(self) -> Answer {
        let failed: Vec<usize> = (0..)
            .zip(&self.entries)
            .filter(|(_, entry)| !entry.is_taken())
            .map(|(index, _)| index)
            .collect();
        let Some(first) = self.entries.iter().find(|entry| !entry.is_taken()) else {
            return if self.failed_entry_count == 0 {
                Answer::Accepted
            } else {
                Answer::Retry {
                    what: "says that entries failed, and not which".to_owned(),
                    after: None,
                }
            };
        };
        // Sent again without those that were taken, until only what can never be is left.
        if failed.len() < self.entries.len() {
            return Answer::Partly {
                what: first.what(),
                failed,
                after: None,
            };
        }
        match self.entries.iter().position(Outcome::is_final) {
            Some(index) => Answer::Poison {
                index,
                earlier_taken: false,
                what: self
                    .entries
                    .get(index)
                    .map(Outcome::what)
                    .unwrap_or_default(),
            },
            None => Answer::Retry {
                what: first.what(),
                after: None,
            },
        }
    }
}

#[cfg(test)]
mod tests;
