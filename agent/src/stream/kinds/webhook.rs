//! A web server that checks signatures, as Standard Webhooks has it: `webhook-id`, `webhook-timestamp` and
//! `webhook-signature: v1,<base64 HMAC-SHA256(key, id.timestamp.body)>`, one for each secret while they change.

use std::path::Path;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use ring::{digest, hmac};

use super::super::{
    http::HttpClient,
    sink::{Answer, Encode, Event, Item, Pending, Piece, Sink, joined},
};
use crate::{
    base64,
    clock::Clock,
    config::{read_key, stream::Webhook},
};

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// What a secret begins with.
const PREFIX: &str = "whsec_";
/// The least and the most that a secret may have, in bytes (Standard Webhooks: 24 to 64).
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// An event in a batch.
pub(super) struct Object;

impl Encode for Object {
    fn encode(&self, event: &Event<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        out.extend_from_slice(event.json.as_bytes());
        Ok(())
    }
}

/// The server.
pub(super) struct Receiver {
    client: HttpClient,
    keys: Vec<hmac::Key>,
    clock: Clock,
}

impl Receiver {
    pub(super) fn open(settings: &Webhook, clock: Clock) -> Result<Self, String> {
        let keys = settings.secret_files.iter().map(|file| key(file));
        Ok(Self {
            keys: keys.collect::<Result<_, _>>()?,
            client: HttpClient::new(&settings.remote)?,
            clock,
        })
    }

    async fn post(&mut self, flight: &[Item<Piece>]) -> Answer {
        let now_ms = self.clock.now().wall_ms;
        let before = format!(
            "{{\"type\":\"edgeward.log\",\"timestamp\":\"{}\",\"data\":{{\"events\":[",
            crate::journal::published(now_ms)
        );
        let body = joined(before.as_bytes(), flight, b",", b"]}}");
        let headers = match self.headers(&id(flight), now_ms / 1_000, &body) {
            Ok(headers) => headers,
            Err(error) => {
                return Answer::Refused {
                    what: error.to_string(),
                };
            }
        };
        match self.client.post(headers, body).await {
            Ok(answer) => answer.verdict(now_ms),
            Err(failure) => failure.into(),
        }
    }

    fn headers(
        &self,
        id: &str,
        timestamp_s: u64,
        body: &Bytes,
    ) -> Result<HeaderMap, header::InvalidHeaderValue> {
        let signed = |key: &hmac::Key| {
            let mut context = hmac::Context::with_key(key);
            context.update(format!("{id}.{timestamp_s}.").as_bytes());
            context.update(body);
            format!("v1,{}", base64::encode(context.sign().as_ref()))
        };
        let signatures: Vec<String> = self.keys.iter().map(signed).collect();
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        headers.insert(ID, HeaderValue::from_str(id)?);
        headers.insert(TIMESTAMP, HeaderValue::from(timestamp_s));
        headers.insert(SIGNATURE, HeaderValue::from_str(&signatures.join(" "))?);
        Ok(headers)
    }
}

impl Sink for Receiver {
    fn send<'a>(&'a mut self, flight: &'a [Item<Piece>]) -> Pending<'a, Answer> {
        Box::pin(self.post(flight))
    }
}

/// The same for the same events, also after a restart: what a receiver knows a second copy by.
fn id(flight: &[Item<Piece>]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for item in flight {
        context.update(item.payload.id.as_bytes());
        context.update(b".");
    }
    let digest = context.finish();
    let hex: String = digest
        .as_ref()
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("msg_{hex}")
}

/// A secret as Standard Webhooks writes it.
fn key(file: &Path) -> Result<hmac::Key, String> {
    let failed = |what: &str| format!("secret file {} {what}", file.display());
    let text = read_key(file).map_err(|what| failed(&what))?;
    let bytes = secret(&text).map_err(failed)?;
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

/// The bytes of a secret.
///
/// # Errors
/// A sentence to be put behind the file's name.
pub(crate) fn secret(text: &str) -> Result<Vec<u8>, &'static str> {
    let coded = text
        .strip_prefix(PREFIX)
        .ok_or("holds no secret of Standard Webhooks (whsec_…)")?;
    let bytes = base64::decode(coded).ok_or("holds a secret that is no base64 behind whsec_")?;
    if KEY_BYTES.contains(&bytes.len()) {
        Ok(bytes)
    } else {
        Err("holds a secret that has not 24 to 64 bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the reference implementations.
    #[test]
    fn a_signature_is_that_of_standard_webhooks() {
        let key = secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let receiver = Receiver {
            client: HttpClient::new(&crate::config::stream::Remote {
                uri: http::Uri::from_static("http://127.0.0.1:1/"),
                tls: crate::config::stream::ClientTls::default(),
            })
            .unwrap(),
            keys: vec![hmac::Key::new(hmac::HMAC_SHA256, &key); 2],
            clock: Clock::new(),
        };
        let body = Bytes::from_static(b"{\"test\": 2432232314}");
        let headers = receiver
            .headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, &body)
            .unwrap();
        let one = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(headers.get(SIGNATURE).unwrap(), &format!("{one} {one}"));
        assert_eq!(headers.get(TIMESTAMP).unwrap(), "1614265330");
    }

    #[test]
    fn secrets_that_are_none_are_refused() {
        for bad in [
            "",
            "whsec_",
            "whsec_AAAA",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_!!!!",
        ] {
            assert!(secret(bad).is_err(), "{bad}");
        }
        let long = format!("whsec_{}", "A".repeat(200));
        assert!(secret(&long).is_err());
    }

    #[test]
    fn the_same_events_have_the_same_id() {
        let item = |seq: u64| Item {
            seq,
            bytes: 0,
            payload: Piece {
                id: format!("id-{seq}").into(),
                published_ms: 0,
                bytes: Bytes::new(),
            },
        };
        let [a, b] = [[item(1), item(2)], [item(1), item(3)]];
        assert_eq!(id(&a), id(&a.clone()));
        assert_ne!(id(&a), id(&b));
        assert_ne!(id(&a), id(a.get(..1).unwrap()));
        assert_eq!(id(&a).len(), 36);
    }
}
