//! Callers that speak HTTP/1.1: which path means what, and where each profile puts method and target.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body_util::Full;
use hyper::{body::Incoming, service::Service};

use super::{
    answer,
    desk::Desk,
    fault::Fault,
    headers::Headers as _,
    outcome,
    question::{Question, judge},
    timed::Phase,
};
use crate::config::Profile;

/// Answers the requests of one connection.
pub(super) struct Answers {
    pub(super) desk: Arc<Desk>,
    pub(super) profile: Profile,
    pub(super) phase: Arc<Phase>,
}

impl Service<Request<Incoming>> for Answers {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Answering;

    /// Judging waits for nothing, so its answer is there at once.
    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.phase.idle();
        let (parts, body) = request.into_parts();
        if route(parts.uri.path()) == Route::Outcomes {
            let desk = Arc::clone(&self.desk);
            return Answering::Later(Box::pin(outcome::report(desk, parts, body)));
        }
        // The body goes unread: what has arrived of it is skipped, for more of it the connection is closed.
        Answering::Now(Some(self.answer(&parts)))
    }
}

/// An answer, or the way to one.
pub(super) enum Answering {
    Now(Option<Response<Full<Bytes>>>),
    Later(Pin<Box<dyn Future<Output = Response<Full<Bytes>>> + Send>>),
}

impl Future for Answering {
    type Output = Result<Response<Full<Bytes>>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            // Nobody asks twice.
            Self::Now(answer) => Poll::Ready(Ok(answer.take().unwrap_or_default())),
            Self::Later(later) => later.as_mut().poll(context).map(Ok),
        }
    }
}

impl Answers {
    fn answer(&self, parts: &Parts) -> Response<Full<Bytes>> {
        let outcome = match route(parts.uri.path()) {
            // Applications report; whom to let in is not their question.
            _ if self.profile == Profile::Signals => Err(Fault::Route),
            Route::Check(rest) => self.check(parts, rest),
            Route::Refusal => self.page(parts),
            Route::Outcomes | Route::None => Err(Fault::Route),
        };
        outcome.unwrap_or_else(|fault| {
            self.desk.refuse(&fault);
            answer::fault(&fault)
        })
    }

    fn check(&self, parts: &Parts, rest: &str) -> Result<Response<Full<Bytes>>, Fault> {
        let headers = &parts.headers;
        let (method, target) = match self.profile {
            Profile::ForwardAuth => (
                headers.only(METHOD, "x-forwarded-method")?,
                headers.only(TARGET, "x-forwarded-uri")?,
            ),
            Profile::ExtAuthz => (parts.method.as_str().as_bytes(), rest.as_bytes()),
            _ => (
                headers.only(METHOD, "x-original-method")?,
                headers.only(TARGET, "x-original-uri")?,
            ),
        };
        let host = match self.profile {
            Profile::ForwardAuth => headers.first("x-forwarded-host"),
            _ => None,
        };
        let question = Question {
            method,
            target,
            headers,
            host,
            peer: None,
        };
        let endpoint = self.desk.endpoint();
        let judged = judge(&self.desk.gate, &endpoint, &question)?;
        Ok(answer::judged(self.profile, &judged))
    }

    fn page(&self, parts: &Parts) -> Result<Response<Full<Bytes>>, Fault> {
        let endpoint = self.desk.endpoint();
        let snapshot = self.desk.gate.snapshot();
        let service = snapshot
            .service_named(&endpoint.service)
            .ok_or_else(|| Fault::Service(endpoint.service.clone()))?;
        Ok(answer::page(&parts.headers, &snapshot, service))
    }
}

/// What a path means. The original's path follows `/check` where the caller has no other place for it.
#[derive(Debug, PartialEq, Eq)]
enum Route<'a> {
    Check(&'a str),
    Refusal,
    /// Outcomes are reported.
    Outcomes,
    None,
}

fn route(path: &str) -> Route<'_> {
    if path == "/refusal" {
        return Route::Refusal;
    }
    if path == outcome::PATH {
        return Route::Outcomes;
    }
    match path.strip_prefix("/check") {
        Some("") => Route::Check("/"),
        // `*` is the target of `OPTIONS *`.
        Some(rest) if rest.starts_with('/') || rest == "*" => Route::Check(rest),
        _ => Route::None,
    }
}

const METHOD: &str = "method of the original request";
const TARGET: &str = "path of the original request";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_check_refusal_and_signals_are_served() {
        let cases = [
            ("/check", Route::Check("/")),
            ("/check/", Route::Check("/")),
            ("/check/login", Route::Check("/login")),
            ("/check//login", Route::Check("//login")),
            ("/check/check/x", Route::Check("/check/x")),
            ("/check*", Route::Check("*")),
            ("/refusal", Route::Refusal),
            ("/refusal/", Route::None),
            ("/v1/signals", Route::Outcomes),
            ("/v1/signals/", Route::None),
            ("/check/v1/signals", Route::Check("/v1/signals")),
            ("/checked", Route::None),
            ("/login", Route::None),
            ("/", Route::None),
            ("*", Route::None),
        ];
        for (path, expected) in cases {
            assert_eq!(route(path), expected, "{path}");
        }
    }
}
