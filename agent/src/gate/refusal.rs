//! What a refused client is told: the only place with status codes for clients. Never a hint which rule
//! matched; the event's id is all that a client can quote to the operator.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{config::Service, policy::snapshot::Snapshot};

/// Which form the client takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Html,
    Json,
}

/// The answer to a refused request.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    /// 403 or 429, or what the service says.
    pub(crate) status: u16,
    /// Present for a rate limit: whole seconds, at least one, for `Retry-After`.
    pub(crate) retry_after: Option<Duration>,
    /// The event's id: all that the client learns.
    pub(crate) event_id: String,
    pub(super) services: Arc<[Service]>,
    pub(super) service: usize,
}

impl Wanted {
    /// By `Accept` (RFC 9110, 12.5.1): JSON where the client names it and weighs it at least like HTML.
    pub(crate) fn by_accept(accept: Option<&[u8]>) -> Self {
        let Some(Ok(accept)) = accept.map(std::str::from_utf8) else {
            return Self::Html;
        };
        let (mut html, mut json) = (0, 0);
        for range in accept.split(',').take(RANGES_MAX) {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let weight = parts
                .filter_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")))
                .map(thousandths)
                .next()
                .unwrap_or(1_000);
            if kind == "application/json" || kind.ends_with("+json") {
                json = json.max(weight);
            } else if kind == "text/html" || kind == "application/xhtml+xml" {
                html = html.max(weight);
            }
        }
        if json > 0 && json >= html {
            Self::Json
        } else {
            Self::Html
        }
    }
}

impl Refusal {
    /// A refusal that was told to a proxy, when that comes back for the page.
    pub(crate) fn again(
        snapshot: &Snapshot,
        service: usize,
        status: Option<u16>,
        retry_after: Option<Duration>,
        event_id: &str,
    ) -> Self {
        let services = &snapshot.services;
        Self {
            status: status
                .or_else(|| Some(services.get(service)?.refusals.status))
                .unwrap_or(403),
            retry_after,
            event_id: event_id.to_owned(),
            services: Arc::clone(services),
            service,
        }
    }

    /// `Content-Type` and body in the wanted form, from the service's own pages where it has some.
    pub(crate) fn body(&self, wanted: Wanted) -> (&'static str, Bytes) {
        let pages = self
            .services
            .get(self.service)
            .map(|service| &service.refusals);
        let limited = self.retry_after.is_some();
        let (kind, page, built_in) = match (wanted, limited) {
            (Wanted::Html, false) => (HTML, pages.and_then(|pages| pages.html.as_deref()), PAGE),
            (Wanted::Json, false) => (JSON, pages.and_then(|pages| pages.json.as_deref()), OBJECT),
            (Wanted::Html, true) => (HTML, None, LIMIT_PAGE),
            (Wanted::Json, true) => (JSON, None, LIMIT_OBJECT),
        };
        let text = page.unwrap_or(built_in).replace(EVENT_ID, &self.event_id);
        (kind, Bytes::from(text))
    }

    /// The seconds of `Retry-After`, rounded up.
    pub(crate) fn retry_after_s(&self) -> Option<u64> {
        let wait = self.retry_after?;
        let begun = u64::from(wait.subsec_nanos() > 0);
        Some(wait.as_secs().saturating_add(begun).max(1))
    }
}

/// A weight in thousandths; 0 for what cannot be read.
fn thousandths(weight: &str) -> u32 {
    let weight: f32 = weight.trim().parse().unwrap_or(0.0);
    match weight {
        weight if weight >= 1.0 => 1_000,
        weight if weight >= 0.001 => 500,
        _ => 0,
    }
}

/// Media ranges of one `Accept` that are looked at.
const RANGES_MAX: usize = 32;
const EVENT_ID: &str = "{event_id}";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const PAGE: &str = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Access denied</title></head>\n<body><h1>Access denied</h1>\n<p>You do not have permission to perform the requested action.</p>\n<p>Event {event_id}</p></body></html>\n";
const OBJECT: &str = "{\"error\":\"access_denied\",\"message\":\"You do not have permission to perform the requested action.\",\"event_id\":\"{event_id}\"}\n";
const LIMIT_PAGE: &str = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Too many requests</title></head>\n<body><h1>Too many requests</h1>\n<p>Too many requests were sent in a short time. Try again later.</p>\n<p>Event {event_id}</p></body></html>\n";
const LIMIT_OBJECT: &str = "{\"error\":\"too_many_requests\",\"message\":\"Too many requests were sent in a short time. Try again later.\",\"event_id\":\"{event_id}\"}\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RefusalPages;

    #[test]
    fn json_is_for_those_who_name_it() {
        let table: [(&[u8], Wanted); 10] = [
            (b"", Wanted::Html),
            (b"*/*", Wanted::Html),
            (b"application/json", Wanted::Json),
            (b"application/json, */*;q=0.1", Wanted::Json),
            (b"application/problem+json", Wanted::Json),
            (
                b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                Wanted::Html,
            ),
            (b"text/html, application/json;q=0.9", Wanted::Html),
            (b"text/html;q=0.5, application/json", Wanted::Json),
            (b"application/json;q=0", Wanted::Html),
            (b"\xff\xfe", Wanted::Html),
        ];
        for (accept, wanted) in table {
            assert_eq!(
                Wanted::by_accept(Some(accept)),
                wanted,
                "{}",
                String::from_utf8_lossy(accept)
            );
        }
        assert_eq!(Wanted::by_accept(None), Wanted::Html);
    }

    #[test]
    fn pages_carry_the_event_and_the_services_own_come_first() {
        let service = Service {
            refusals: RefusalPages {
                html: Some("<p>No. {event_id}</p>".to_owned()),
                ..RefusalPages::default()
            },
            ..Service::default()
        };
        let mut refusal = Refusal {
            status: 403,
            retry_after: None,
            event_id: "e-1".to_owned(),
            services: [service].into(),
            service: 0,
        };
        let (kind, body) = refusal.body(Wanted::Html);
        assert_eq!((kind, &body[..]), (HTML, &b"<p>No. e-1</p>"[..]));
        let (_, body) = refusal.body(Wanted::Json);
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["event_id"], "e-1");
        assert_eq!(
            body["message"],
            "You do not have permission to perform the requested action."
        );
        assert_eq!(refusal.retry_after_s(), None);
        refusal.retry_after = Some(Duration::from_millis(1_001));
        assert_eq!(refusal.retry_after_s(), Some(2));
        let (_, body) = refusal.body(Wanted::Json);
        assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok());
    }
}
