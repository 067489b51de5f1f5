//! Keycloak's event log (`org.keycloak.events`), as text or JSON.

use serde_json::Value;

use super::{LogFormat, Maker, NO_ADDRESS, NO_TIME, Rejection, Told, address, fields::Pairs, time};
use crate::policy::signal::{Flow, Outcome, Signal};

/// Reads Keycloak's log. Events of success are there if the server logs them (at DEBUG by default).
#[derive(Debug)]
pub struct Keycloak {
    maker: Maker,
}

/// The fields of an event that count.
#[derive(Default)]
struct Event<'a> {
    kind: Option<&'a str>,
    error: Option<&'a str>,
    client: Option<&'a str>,
    user: Option<&'a str>,
}

impl Keycloak {
    /// A reader.
    #[must_use]
    pub const fn new(maker: Maker) -> Self {
        Self { maker }
    }

    fn tell(
        &self,
        time_ms: Option<u64>,
        message: &str,
        found: &mut Vec<Signal>,
    ) -> Result<(), Rejection> {
        let event = Event::of(message);
        let Some((flow, outcome)) = event.outcome() else {
            return Ok(());
        };
        found.push(self.maker.signal(Told {
            time_ms: time_ms.ok_or(NO_TIME)?,
            client: event.client.and_then(address).ok_or(NO_ADDRESS)?,
            flow,
            outcome,
            user: event.user,
            agent: None,
            path: None,
        }));
        Ok(())
    }
}

impl LogFormat for Keycloak {
    fn read(&mut self, line: &str, found: &mut Vec<Signal>) -> Result<(), Rejection> {
        let line = line.trim();
        if line.starts_with('{') {
            let object: Value =
                serde_json::from_str(line).map_err(|_| Rejection::new("is not valid JSON"))?;
            let text = |name: &str| object.get(name).and_then(Value::as_str);
            let time = text("timestamp").or_else(|| text("@timestamp"));
            let time = time.and_then(time::iso).map(|(moment, _)| moment);
            return self.tell(time, text("message").unwrap_or_default(), found);
        }
        // Java's stack traces and banners have no event in them.
        let Some(at) = line.find("type=") else {
            return Ok(());
        };
        let time = time::iso(line).map(|(moment, _)| moment);
        self.tell(time, line.get(at..).unwrap_or_default(), found)
    }
}

impl<'a> Event<'a> {
    /// The first of each name counts: what clients choose (redirect, user name) comes behind what the server
    /// says, and may look like it.
    fn of(message: &'a str) -> Self {
        let mut event = Self::default();
        for (name, value) in Pairs::new(message) {
            let field = match name {
                "type" => &mut event.kind,
                "error" => &mut event.error,
                "ipAddress" => &mut event.client,
                "username" => &mut event.user,
                _ => continue,
            };
            field.get_or_insert(value);
        }
        event
    }

    fn outcome(&self) -> Option<(Flow, Outcome)> {
        let error = self.error.unwrap_or_default();
        let failure = match error {
            "user_not_found" | "invalid_user" | "email_not_found" => Outcome::UnknownUser,
            _ => Outcome::Failure,
        };
        Some(match self.kind? {
            "LOGIN" => (Flow::SignIn, Outcome::Success),
            // Mistakes of clients and expired pages say nothing about whoever signs in.
            "LOGIN_ERROR"
                if matches!(
                    error,
                    "expired_code"
                        | "client_not_found"
                        | "invalid_redirect_uri"
                        | "invalid_client"
                        | "cookie_not_found"
                ) =>
            {
                return None;
            }
            "LOGIN_ERROR" => (Flow::SignIn, failure),
            "SEND_RESET_PASSWORD" | "RESET_PASSWORD" => (Flow::Recovery, Outcome::Success),
            "SEND_RESET_PASSWORD_ERROR" | "RESET_PASSWORD_ERROR" => (Flow::Recovery, failure),
            "REGISTER" => (Flow::Enrolment, Outcome::Success),
            "REGISTER_ERROR" => (Flow::Enrolment, failure),
            _ => return None,
        })
    }
}
