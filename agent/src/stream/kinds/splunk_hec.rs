//! Splunk's HTTP Event Collector: `POST …/event`, objects back to back. With `acknowledge`, events count as delivered
//! when the indexers have them, which is asked for at `…/ack` by the ids that the collector gives.
//!
//! Source: Splunk's reference of the collector's endpoints, and its list of error codes.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use serde::Deserialize;
use tokio::time::Instant;

use super::{
    super::{
        http::{HttpAnswer, HttpClient},
        shape::own_hostname,
        sink::{Answer, Confirmed, Encode, Event, Item, Pause, Pending, Piece, Sink, joined},
    },
    body,
};
use crate::{clock::Clock, config::receivers::SplunkHec, random};

const CHANNEL: HeaderName = HeaderName::from_static("x-splunk-request-channel");
/// Flights that may wait for their acknowledgement.
const WAITING_MAX: usize = 32;
/// How often acknowledgements are asked for.
const ASK: Duration = Duration::from_secs(1);

/// An event as the collector wants it.
pub(super) struct Object {
    /// What stands between the time and the event.
    middle: String,
}

impl Object {
    pub(super) fn new(settings: &SplunkHec) -> Self {
        let hostname: &str = match &settings.hostname {
            Some(hostname) => hostname,
            None => own_hostname(),
        };
        let mut middle = format!(
            ",\"host\":{},\"source\":{},\"sourcetype\":{}",
            body::quoted(hostname),
            body::quoted(&settings.source),
            body::quoted(&settings.sourcetype)
        );
        if let Some(index) = &settings.index {
            middle.push_str(",\"index\":");
            middle.push_str(&body::quoted(index));
        }
        middle.push_str(",\"event\":");
        Self { middle }
    }
}

impl Encode for Object {
    fn encode(&self, event: &Event<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        let (seconds, ms) = (event.published_ms / 1_000, event.published_ms % 1_000);
        out.extend_from_slice(format!("{{\"time\":{seconds}.{ms:03}").as_bytes());
        out.extend_from_slice(self.middle.as_bytes());
        out.extend_from_slice(event.json.as_bytes());
        out.push(b'}');
        Ok(())
    }
}

/// The collector.
pub(super) struct Collector {
    client: HttpClient,
    path: String,
    headers: HeaderMap,
    gzip: bool,
    acknowledge: bool,
    acknowledge_within: Duration,
    /// Whether the collector has said that it acknowledges: asked before anything is sent.
    is_tried: bool,
    waiting: VecDeque<Waiting>,
    /// Acknowledged up to here, and not said yet.
    upto: Option<u64>,
    asked_at: Option<Instant>,
    clock: Clock,
}

/// A flight that was handed over.
struct Waiting {
    ack: u64,
    last_seq: u64,
    since: Instant,
}

/// What the collector says.
#[derive(Debug, Deserialize)]
struct Said {
    code: i64,
    #[serde(default)]
    text: String,
    #[serde(rename = "ackId")]
    ack: Option<u64>,
    #[serde(rename = "invalid-event-number")]
    invalid: Option<usize>,
}

/// What it says of acknowledgements.
#[derive(Debug, Deserialize)]
struct Acks {
    acks: std::collections::BTreeMap<String, bool>,
}

impl Collector {
    pub(super) fn open(settings: &SplunkHec, clock: Clock) -> Result<Self, String> {
        let mut headers = body::json_headers();
        let token = body::secret_header("Splunk ", &settings.token_file)?;
        headers.insert(header::AUTHORIZATION, token);
        headers.insert(CHANNEL, channel()?);
        Ok(Self {
            client: HttpClient::new(&settings.remote)?,
            path: settings.remote.uri.path().to_owned(),
            headers,
            gzip: settings.gzip,
            acknowledge: settings.acknowledge,
            acknowledge_within: settings.acknowledge_within,
            is_tried: false,
            waiting: VecDeque::new(),
            upto: None,
            asked_at: None,
            clock,
        })
    }

    async fn post(&mut self, flight: &[Item<Piece>]) -> Answer {
        if self.acknowledge && !self.is_tried {
            if let Err(answer) = self.acknowledged(&[0]).await {
                return answer;
            }
            self.is_tried = true;
        }
        let mut headers = self.headers.clone();
        let body = body::packed(joined(b"", flight, b"", b""), self.gzip, &mut headers).await;
        let answer = match self.ask("/event", headers, body).await {
            Ok(answer) => answer,
            Err(answer) => return self.unheard(answer),
        };
        let said = serde_json::from_slice::<Said>(&answer.body).ok();
        let verdict = verdict(&answer, said.as_ref(), self.clock.now().wall_ms);
        if said.is_none() {
            return self.unheard(verdict);
        }
        if verdict != Answer::Accepted || !self.acknowledge {
            return verdict;
        }
        let (Some(ack), Some(last)) = (said.and_then(|said| said.ack), flight.last()) else {
            return no_acknowledgement();
        };
        if self.waiting.back().is_some_and(|before| ack <= before.ack) {
            return Answer::Broken {
                what: "counts its acknowledgements anew; it has forgotten the others".to_owned(),
            };
        }
        self.waiting.push_back(Waiting {
            ack,
            last_seq: last.seq,
            since: Instant::now(),
        });
        Answer::Handed
    }

    /// Where the collector itself has not answered, it may have been started anew and have taken the flight all the same,
    /// under an id that another flight waits for: the channel is given up, and what waits is sent again.
    fn unheard(&self, answer: Answer) -> Answer {
        match answer {
            Answer::Retry { what, .. } if !self.waiting.is_empty() => Answer::Broken { what },
            other => other,
        }
    }

    /// Takes what was acknowledged from the front of what waits.
    async fn settle(&mut self) -> Result<(), Answer> {
        self.asked_at = Some(Instant::now());
        let ids: Vec<u64> = self.waiting.iter().map(|flight| flight.ack).collect();
        let Acks { acks } = self.acknowledged(&ids).await?;
        while let Some(flight) = self.waiting.front() {
            if acks.get(&flight.ack.to_string()) != Some(&true) {
                break;
            }
            self.upto = Some(flight.last_seq);
            self.waiting.pop_front();
        }
        Ok(())
    }

    async fn acknowledged(&mut self, ids: &[u64]) -> Result<Acks, Answer> {
        let body = serde_json::json!({ "acks": ids }).to_string();
        let headers = self.headers.clone();
        let answer = self.ask("/ack", headers, body.into()).await?;
        if answer.status == StatusCode::OK {
            return serde_json::from_slice(&answer.body).map_err(|_| garbage(&answer));
        }
        let said = serde_json::from_slice::<Said>(&answer.body).ok();
        Err(verdict(&answer, said.as_ref(), self.clock.now().wall_ms))
    }

    async fn ask(
        &mut self,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<HttpAnswer, Answer> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() =
            format!("{}{path}", self.path)
                .parse()
                .map_err(|_| Answer::Refused {
                    what: "has a URL that cannot be asked for".to_owned(),
                })?;
        *request.headers_mut() = headers;
        self.client.ask(request).await.map_err(Answer::from)
    }

    async fn confirmed(&mut self) -> Confirmed {
        let is_soon = self.asked_at.is_some_and(|at| at.elapsed() < ASK);
        if !self.waiting.is_empty() && !is_soon {
            match self.settle().await {
                // Tried again; what is never acknowledged ends below.
                Ok(()) | Err(Answer::Retry { .. }) => {}
                Err(answer) => {
                    return Confirmed {
                        upto: self.upto.take(),
                        lost: Some(format!("tells of no acknowledgements: {}", what(answer))),
                    };
                }
            }
        }
        let oldest = self.waiting.front();
        let lost = oldest
            .filter(|flight| flight.since.elapsed() >= self.acknowledge_within)
            .map(|_| {
                let limit = crate::config::duration::format(self.acknowledge_within);
                format!("has not acknowledged events within {limit}")
            });
        Confirmed {
            upto: self.upto.take(),
            lost,
        }
    }
}

impl Sink for Collector {
    fn send<'a>(&'a mut self, flight: &'a [Item<Piece>]) -> Pending<'a, Answer> {
        Box::pin(self.post(flight))
    }

    fn is_full(&self) -> bool {
        self.waiting.len() >= WAITING_MAX
    }

    fn confirm(&mut self) -> Pending<'_, Confirmed> {
        Box::pin(self.confirmed())
    }
}

/// What the collector's answer says of a flight. Its code says more than the status.
fn verdict(answer: &HttpAnswer, said: Option<&Said>, now_ms: u64) -> Answer {
    let Some(said) = said else {
        return match answer.status.as_u16() {
            // Something else answers there.
            200..=299 => garbage(answer),
            _ => answer.verdict(now_ms),
        };
    };
    let what = format!(
        "answers {}: {} (code {})",
        answer.status,
        body::said(&said.text),
        said.code
    );
    let paused = |why| Answer::Paused {
        why,
        what: what.clone(),
        after: None,
    };
    match (answer.status.as_u16(), said.code, said.invalid) {
        (200, 0, _) => Answer::Accepted,
        // Token disabled, missing, malformed, unknown.
        (_, 1..=4, _) => paused(Pause::Unauthorized),
        // Index; channel missing or malformed; no acknowledgements with this token: it is so for every event.
        (_, 7 | 10 | 11 | 14, _) => paused(Pause::Misdirected),
        // Format, no event, blank event, fields.
        (400, _, Some(index)) => Answer::Poison {
            index,
            // Splunk does not say what has become of those before it.
            earlier_taken: false,
            what,
        },
        (400, ..) => Answer::Refused { what },
        (200..=299, ..) => garbage(answer),
        _ => answer.verdict(now_ms),
    }
}

fn garbage(answer: &HttpAnswer) -> Answer {
    Answer::Retry {
        what: format!("answers {} with what no collector says", answer.status),
        after: None,
    }
}

fn no_acknowledgement() -> Answer {
    Answer::Paused {
        why: Pause::Misdirected,
        what: "gives no id to acknowledge by; is indexer acknowledgement on for the token?"
            .to_owned(),
        after: None,
    }
}

fn what(answer: Answer) -> String {
    match answer {
        Answer::Partly { what, .. }
        | Answer::Retry { what, .. }
        | Answer::Broken { what }
        | Answer::Paused { what, .. }
        | Answer::TooLarge { what }
        | Answer::Poison { what, .. }
        | Answer::AcceptedBut { what, .. }
        | Answer::Refused { what } => what,
        Answer::Accepted | Answer::Handed => String::new(),
    }
}

/// A channel of our own: acknowledgement ids are counted in each.
fn channel() -> Result<HeaderValue, String> {
    let secret = || random::secret().map_err(|error| error.to_string());
    let (a, b) = (secret()?, secret()?);
    let text = format!(
        "{:08X}-{:04X}-4{:03X}-{:04X}-{:012X}",
        a & 0xffff_ffff,
        a >> 32 & 0xffff,
        a >> 48 & 0xfff,
        0x8000 | b >> 48 & 0x3fff,
        b & 0xffff_ffff_ffff
    );
    HeaderValue::from_str(&text).map_err(|error| error.to_string())
}

#[cfg(test)]
#[path = "splunk_hec_tests.rs"]
mod tests;
