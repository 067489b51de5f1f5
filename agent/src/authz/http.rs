//! Callers that speak HTTP/1.1: which path means what, and where each profile puts method and target.

use std::{convert::Infallible, future::Ready, sync::Arc};

use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body_util::Full;
use hyper::{body::Incoming, service::Service};

use super::{
    answer,
    desk::Desk,
    fault::Fault,
    headers::Headers as _,
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
    type Future = Ready<Result<Self::Response, Infallible>>;

    /// Judging waits for nothing, so the answer is there at once.
    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.phase.idle();
        // The body goes unread: what has arrived of it is skipped, for more of it the connection is closed.
        let (parts, _) = request.into_parts();
        std::future::ready(Ok(self.answer(&parts)))
    }
}

impl Answers {
    fn answer(&self, parts: &Parts) -> Response<Full<Bytes>> {
        let outcome = match route(parts.uri.path()) {
            Route::Check(rest) => self.check(parts, rest),
            Route::Refusal => self.page(parts),
            Route::None => Err(Fault::Route),
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
    None,
}

fn route(path: &str) -> Route<'_> {
    if path == "/refusal" {
        return Route::Refusal;
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
    fn only_check_and_refusal_are_served() {
        let cases = [
            ("/check", Route::Check("/")),
            ("/check/", Route::Check("/")),
            ("/check/login", Route::Check("/login")),
            ("/check//login", Route::Check("//login")),
            ("/check/check/x", Route::Check("/check/x")),
            ("/check*", Route::Check("*")),
            ("/refusal", Route::Refusal),
            ("/refusal/", Route::None),
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
