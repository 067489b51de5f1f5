//! Logs ingestion of Azure Monitor, for Microsoft Sentinel: an array of rows to a stream of a data collection rule, with
//! a token that an application gets for its secret (OAuth 2.0, client credentials).
//!
//! Source: Microsoft's reference of the logs ingestion API, version 2023-01-01.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use tokio::time::Instant;

use super::{
    super::{
        http::{HttpAnswer, HttpClient},
        sink::{Answer, Encode, Event, Item, Pause, Pending, Piece, Sink, joined},
    },
    body,
};
use crate::{clock::Clock, config::receivers::Sentinel, journal::published};

const SCOPE: &str = "https://monitor.azure.com/.default";
/// The longest that a token is used, whatever its end.
const TOKEN_MAX: Duration = Duration::from_secs(24 * 3_600);
/// A token is renewed that long before its end, or at nine tenths of a short life.
const EARLY: Duration = Duration::from_secs(300);
/// Longest row, in bytes: the limit of a request, but for the brackets.
const ROW_BYTES_MAX: usize = (1 << 20) - 2;

/// An event as a row.
pub(super) struct Row;

impl Encode for Row {
    fn encode(&self, event: &Event<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        let begun = out.len();
        for (before, text) in [
            (
                "{\"TimeGenerated\":",
                published(event.published_ms).as_str(),
            ),
            (",\"EventId\":", event.id),
            (",\"EventType\":", event.event_type),
            (",\"Severity\":", event.severity),
        ] {
            out.extend_from_slice(before.as_bytes());
            body::quote_into(text, out);
        }
        out.extend_from_slice(b",\"Event\":");
        out.extend_from_slice(event.json.as_bytes());
        out.push(b'}');
        let bytes = out.len().saturating_sub(begun);
        if bytes > ROW_BYTES_MAX {
            return Err(format!("has {bytes} bytes; Azure takes {ROW_BYTES_MAX}"));
        }
        Ok(())
    }
}

/// The ingestion endpoint, and who gives tokens for it.
pub(super) struct Ingestion {
    client: HttpClient,
    authority: HttpClient,
    client_id: String,
    secret_file: PathBuf,
    gzip: bool,
    token: Option<Token>,
    clock: Clock,
}

struct Token {
    header: HeaderValue,
    renew_at: Instant,
}

/// What the authority says.
#[derive(Debug, Deserialize)]
struct Granted {
    access_token: String,
    expires_in: u64,
}

/// What it says of an error.
#[derive(Debug, Default, Deserialize)]
struct Denied {
    #[serde(default)]
    error: String,
}

impl Ingestion {
    pub(super) fn open(settings: &Sentinel, clock: Clock) -> Result<Self, String> {
        // Read now, so that a file that cannot be used is told at once.
        body::secret(&settings.client_secret_file)?;
        Ok(Self {
            client: HttpClient::new(&settings.remote)?,
            authority: HttpClient::new(&settings.authority)?,
            client_id: settings.client_id.clone(),
            secret_file: settings.client_secret_file.clone(),
            gzip: settings.gzip,
            token: None,
            clock,
        })
    }

    async fn post(&mut self, flight: &[Item<Piece>]) -> Answer {
        let mut headers = body::json_headers();
        let body = body::packed(joined(b"[", flight, b",", b"]"), self.gzip, &mut headers).await;
        let mut answer = match self.send_with_token(&headers, &body).await {
            Ok(answer) => answer,
            Err(answer) => return answer,
        };
        if answer.status == StatusCode::UNAUTHORIZED && self.token.take().is_some() {
            // Revoked before its end, or the keys have changed: one new token, and no more.
            answer = match self.send_with_token(&headers, &body).await {
                Ok(answer) => answer,
                Err(answer) => return answer,
            };
        }
        self.judged(&answer)
    }

    fn judged(&self, answer: &HttpAnswer) -> Answer {
        let paused = |why, what: &str| Answer::Paused {
            why,
            what: format!("answers {}{what}", answer.status),
            after: None,
        };
        match answer.status.as_u16() {
            204 => Answer::Accepted,
            403 => paused(
                Pause::Unauthorized,
                "; has the application the role Monitoring Metrics Publisher on the data collection rule?",
            ),
            404 => paused(
                Pause::Misdirected,
                "; are the endpoint, the rule's immutable id and the stream's name right?",
            ),
            200..=299 => paused(Pause::Misdirected, ", and not 204; is the URL right?"),
            _ => answer.verdict(self.clock.now().wall_ms),
        }
    }

    async fn send_with_token(
        &mut self,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<HttpAnswer, Answer> {
        let mut headers = headers.clone();
        headers.insert(header::AUTHORIZATION, self.authorization().await?);
        let answer = self.client.post(headers, body.clone()).await;
        answer.map_err(Answer::from)
    }

    async fn authorization(&mut self) -> Result<HeaderValue, Answer> {
        if let Some(token) = &self.token
            && Instant::now() < token.renew_at
        {
            return Ok(token.header.clone());
        }
        let granted = self.ask_for_token().await?;
        let unusable = |_| unauthorized("its authority gives a token that is none".to_owned());
        let mut value =
            HeaderValue::from_str(&format!("Bearer {}", granted.access_token)).map_err(unusable)?;
        value.set_sensitive(true);
        let life = Duration::from_secs(granted.expires_in).min(TOKEN_MAX);
        let early = EARLY.min(life / 10);
        self.token = Some(Token {
            header: value.clone(),
            renew_at: Instant::now() + life.saturating_sub(early),
        });
        Ok(value)
    }

    async fn ask_for_token(&mut self) -> Result<Granted, Answer> {
        let unusable = |what| Answer::Paused {
            why: Pause::Unusable,
            what,
            after: None,
        };
        let secret = body::secret(&self.secret_file).map_err(unusable)?;
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}&scope={}",
            encoded(&self.client_id),
            encoded(&secret),
            encoded(SCOPE)
        );
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        let answer = self.authority.post(headers, form.into()).await;
        let answer = answer.map_err(|failure| Answer::Retry {
            what: format!("its authority {}", failure.what),
            after: failure.retry_after,
        })?;
        if answer.status == StatusCode::OK {
            return serde_json::from_slice(&answer.body).map_err(|_| Answer::Retry {
                what: "its authority answers 200 with what is no token".to_owned(),
                after: None,
            });
        }
        // The description may repeat what was sent: only the code is told.
        let denied: Denied = serde_json::from_slice(&answer.body).unwrap_or_default();
        Err(match answer.verdict(self.clock.now().wall_ms) {
            Answer::Retry { what, after } => Answer::Retry {
                what: format!("its authority {what}"),
                after,
            },
            _ => unauthorized(format!(
                "its authority answers {} {}",
                answer.status,
                body::said(&denied.error)
            )),
        })
    }
}

impl Sink for Ingestion {
    fn send<'a>(&'a mut self, flight: &'a [Item<Piece>]) -> Pending<'a, Answer> {
        Box::pin(self.post(flight))
    }
}

const fn unauthorized(what: String) -> Answer {
    Answer::Paused {
        why: Pause::Unauthorized,
        what,
        after: None,
    }
}

/// A value of a form (percent-encoding of everything that is not unreserved, RFC 3986).
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_columns_of_the_table() {
        let event = |json| Event {
            seq: 1,
            id: "x",
            published_ms: 1_700_000_000_007,
            event_type: "zone.create",
            severity: "INFO",
            json,
        };
        let mut out = Vec::new();
        Row.encode(&event(r#"{"a":[1]}"#), &mut out).unwrap();
        let row: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let expected = serde_json::json!({
            "TimeGenerated": "2023-11-14T22:13:20.007Z", "EventId": "x", "EventType": "zone.create",
            "Severity": "INFO", "Event": { "a": [1] },
        });
        assert_eq!(row, expected);
        let long = format!("\"{}\"", "x".repeat(1 << 20));
        assert!(Row.encode(&event(&long), &mut out).is_err());
    }

    #[test]
    fn secrets_survive_a_form() {
        assert_eq!(
            encoded("a~B-9._ +&=/\u{e9}"),
            "a~B-9._%20%2B%26%3D%2F%C3%A9"
        );
    }
}
