//! What is refused, in Okta's codes and words (its catalogue of errors). The one place that chooses statuses.

use http::{HeaderName, StatusCode, header};
use serde_json::{Value, json};

use crate::{
    control::{Failure, FailureKind},
    journal::filter::FilterError,
};

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) summary: String,
    pub(super) causes: Vec<String>,
    /// A header that the answer must have (RFC 9110, sections 10.2.1 and 11.6.1).
    pub(super) header: Option<(HeaderName, &'static str)>,
}

impl Fault {
    fn new(status: StatusCode, code: &'static str, summary: impl Into<String>) -> Self {
        Self {
            status,
            code,
            summary: summary.into(),
            causes: Vec::new(),
            header: None,
        }
    }

    /// No token, or none that is known, or one that has ended.
    pub(super) fn token() -> Self {
        Self {
            header: Some((header::WWW_AUTHENTICATE, "Bearer")),
            ..Self::new(
                StatusCode::UNAUTHORIZED,
                "E0000011",
                "Invalid token provided",
            )
        }
    }

    /// The token has no scope for it.
    pub(super) fn scope(wanted: &str) -> Self {
        Self {
            causes: vec![format!("the token lacks the scope {wanted}")],
            ..Self::denied()
        }
    }

    fn denied() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "E0000006",
            "You do not have permission to perform the requested action",
        )
    }

    pub(super) fn not_found(what: &str) -> Self {
        let what = format!("Not found: Resource not found: {what}");
        Self::new(StatusCode::NOT_FOUND, "E0000007", what)
    }

    /// Not by this method, but by these.
    pub(super) fn method(allowed: &'static str) -> Self {
        Self {
            header: Some((header::ALLOW, allowed)),
            ..Self::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "E0000022",
                "The endpoint does not support the provided HTTP method",
            )
        }
    }

    pub(super) fn rate() -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "E0000047",
            "API call exceeded rate limit due to too many requests.",
        )
    }

    /// A parameter or field that is not as it should be.
    pub(super) fn invalid(field: &str, what: &str) -> Self {
        Self {
            causes: vec![format!("{field}: {what}")],
            ..Self::new(
                StatusCode::BAD_REQUEST,
                "E0000001",
                format!("Api validation failed: '{field}': {what}"),
            )
        }
    }

    pub(super) fn filter(filter: &str, error: &FilterError) -> Self {
        Self {
            causes: vec![format!(
                "filter: at position {}, expected {}",
                error.position, error.expected
            )],
            ..Self::new(StatusCode::BAD_REQUEST, "E0000053", error.summary(filter))
        }
    }

    /// A filter over something else than events, which can say little.
    pub(super) fn search() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "E0000031",
            "Invalid search criteria.",
        )
    }

    pub(super) fn body(what: &str) -> Self {
        Self {
            causes: vec![what.to_owned()],
            ..Self::new(
                StatusCode::BAD_REQUEST,
                "E0000003",
                "The request body was not well-formed.",
            )
        }
    }

    pub(super) fn too_large(bytes_max: usize) -> Self {
        Self {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            ..Self::body(&format!("it is longer than {bytes_max} bytes"))
        }
    }

    /// It may work later.
    pub(super) fn unavailable(what: &str) -> Self {
        Self {
            causes: vec![what.to_owned()],
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "E0000009",
                "Internal Server Error",
            )
        }
    }

    /// What went wrong is in the agent's log; the client learns only that it is not at fault.
    pub(super) fn internal(what: &str) -> Self {
        tracing::error!("the API could not answer: {what}");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "E0000009",
            "Internal Server Error",
        )
    }

    /// The body of the answer.
    pub(super) fn json(&self, request_id: &str) -> Value {
        let causes = self.causes.iter();
        json!({
            "errorCode": self.code,
            "errorSummary": self.summary,
            "errorLink": self.code,
            "errorId": request_id,
            "errorCauses": causes.map(|cause| json!({ "errorSummary": cause })).collect::<Vec<_>>(),
        })
    }
}

impl From<Failure> for Fault {
    /// What the keeper refused.
    fn from(failure: Failure) -> Self {
        let message = failure.message;
        match failure.kind {
            // The keeper names the field first, where it is one.
            FailureKind::Usage | FailureKind::Protected | FailureKind::Conflict => {
                match message.split_once(": ") {
                    Some((field, what)) if !field.contains(' ') => Self::invalid(field, what),
                    _ => Self::invalid("request", &message),
                }
            }
            FailureKind::NotFound => Self {
                summary: format!("Not found: {message}"),
                ..Self::not_found("")
            },
            FailureKind::Denied => Self {
                causes: vec![message],
                ..Self::denied()
            },
            FailureKind::Unavailable => Self::unavailable(&message),
            FailureKind::Internal | FailureKind::Configuration => Self::internal(&message),
        }
    }
}
