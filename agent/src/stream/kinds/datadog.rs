//! Datadog's intake of logs: `POST /api/v2/logs`, an array of at most 1,000 events and 5 MB, each of at most 1 MB.
//!
//! Source: Datadog's reference of the logs API.

use std::time::Duration;

use http::{HeaderMap, HeaderName};
use tokio::time::Instant;
use tracing::warn;

use super::{
    super::{
        http::HttpClient,
        shape::own_hostname,
        sink::{Answer, Encode, Event, Item, Pause, Pending, Piece, Sink, joined},
    },
    body,
};
use crate::{clock::Clock, config::receivers::Datadog};

const API_KEY: HeaderName = HeaderName::from_static("dd-api-key");
/// Longest event, in bytes.
const EVENT_BYTES_MAX: usize = 1_000_000;
/// The intake drops what is older than 18 hours, and says nothing; an hour before that there is still time to do something.
const OLD: Duration = Duration::from_secs(17 * 3_600);
/// How often that is said.
const WARN: Duration = Duration::from_secs(3_600);

/// An event as the intake wants it: the event itself is the message, which Datadog parses.
pub(super) struct Entry {
    /// What stands before the status.
    before: String,
}

impl Entry {
    pub(super) fn new(settings: &Datadog) -> Self {
        let hostname: &str = match &settings.hostname {
            Some(hostname) => hostname,
            None => own_hostname(),
        };
        Self {
            before: format!(
                "{{\"ddsource\":\"edgeward\",\"ddtags\":{},\"hostname\":{},\"service\":{},\"status\":",
                body::quoted(&settings.tags),
                body::quoted(hostname),
                body::quoted(&settings.service)
            ),
        }
    }
}

impl Encode for Entry {
    fn encode(&self, event: &Event<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        let begun = out.len();
        out.extend_from_slice(self.before.as_bytes());
        body::quote_into(&event.severity.to_lowercase(), out);
        out.extend_from_slice(
            format!(",\"timestamp\":{},\"uuid\":", event.published_ms).as_bytes(),
        );
        body::quote_into(event.id, out);
        out.extend_from_slice(b",\"message\":");
        body::quote_into(event.json, out);
        out.push(b'}');
        let bytes = out.len().saturating_sub(begun);
        if bytes > EVENT_BYTES_MAX {
            return Err(format!(
                "has {bytes} bytes; Datadog takes {EVENT_BYTES_MAX}"
            ));
        }
        Ok(())
    }
}

/// The intake.
pub(super) struct Intake {
    client: HttpClient,
    headers: HeaderMap,
    gzip: bool,
    warned_at: Option<Instant>,
    clock: Clock,
}

impl Intake {
    pub(super) fn open(settings: &Datadog, clock: Clock) -> Result<Self, String> {
        let mut headers = body::json_headers();
        headers.insert(API_KEY, body::secret_header("", &settings.api_key_file)?);
        Ok(Self {
            client: HttpClient::new(&settings.remote)?,
            headers,
            gzip: settings.gzip,
            warned_at: None,
            clock,
        })
    }

    async fn post(&mut self, flight: &[Item<Piece>]) -> Answer {
        let now_ms = self.clock.now().wall_ms;
        self.look_at_age(flight, now_ms);
        let mut headers = self.headers.clone();
        let body = body::packed(joined(b"[", flight, b",", b"]"), self.gzip, &mut headers).await;
        match self.client.post(headers, body).await {
            Ok(answer) if answer.status.is_success() && answer.status.as_u16() != 202 => {
                Answer::Paused {
                    why: Pause::Misdirected,
                    what: format!("answers {}, and not 202; is the URL right?", answer.status),
                    after: None,
                }
            }
            Ok(answer) => answer.verdict(now_ms),
            Err(failure) => failure.into(),
        }
    }

    fn look_at_age(&mut self, flight: &[Item<Piece>], now_ms: u64) {
        let oldest = flight.iter().map(|item| item.payload.published_ms).min();
        let age_ms = oldest.map_or(0, |oldest| now_ms.saturating_sub(oldest));
        let is_told = self.warned_at.is_some_and(|at| at.elapsed() < WARN);
        if u128::from(age_ms) >= OLD.as_millis() && !is_told {
            self.warned_at = Some(Instant::now());
            warn!(
                "events of a stream to Datadog are {} hours old; Datadog keeps nothing older than 18 hours, and does not say so",
                age_ms / 3_600_000
            );
        }
    }
}

impl Sink for Intake {
    fn send<'a>(&'a mut self, flight: &'a [Item<Piece>]) -> Pending<'a, Answer> {
        Box::pin(self.post(flight))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use http::Uri;

    use super::*;
    use crate::config::stream::{ClientTls, Remote};

    #[test]
    fn an_event_is_a_message_with_what_datadog_knows_it_by() {
        let entry = Entry::new(&Datadog {
            remote: Remote {
                uri: Uri::from_static("https://http-intake.logs.datadoghq.eu/api/v2/logs"),
                tls: ClientTls::default(),
            },
            api_key_file: PathBuf::new(),
            service: "edgeward".to_owned(),
            tags: "env:test,team:iam".to_owned(),
            hostname: Some("login-1".to_owned()),
            gzip: false,
        });
        let json = "{\"a\":\"\u{e9}\\\"\"}";
        let event = |json| Event {
            seq: 1,
            id: "x",
            published_ms: 7,
            event_type: "zone.create",
            severity: "WARN",
            json,
        };
        let mut out = Vec::new();
        entry.encode(&event(json), &mut out).unwrap();
        let said: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(said["message"], json);
        assert_eq!(
            (&said["status"], &said["ddtags"]),
            (&"warn".into(), &"env:test,team:iam".into())
        );
        let long = format!("\"{}\"", "x".repeat(EVENT_BYTES_MAX));
        assert!(entry.encode(&event(&long), &mut out).is_err());
    }
}
