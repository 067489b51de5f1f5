//! Authelia's log, as text (logfmt) or JSON.

use serde_json::Value;

use super::{LogFormat, Maker, NO_ADDRESS, NO_TIME, Rejection, Told, address, fields::Pairs, time};
use crate::policy::signal::{Flow, Outcome, Signal};

/// Reads Authelia's log. Successes are there if it logs at debug.
#[derive(Debug)]
pub struct Authelia {
    maker: Maker,
}

/// The fields of a line that count.
#[derive(Default)]
struct Entry<'a> {
    time: &'a str,
    message: &'a str,
    error: &'a str,
    client: &'a str,
}

impl Authelia {
    /// A reader.
    #[must_use]
    pub const fn new(maker: Maker) -> Self {
        Self { maker }
    }

    fn tell(&self, entry: &Entry<'_>, found: &mut Vec<Signal>) -> Result<(), Rejection> {
        let Some((flow, outcome)) = entry.outcome() else {
            return Ok(());
        };
        let moment = time::iso(entry.time).map(|(moment, _)| moment);
        found.push(self.maker.signal(Told {
            time_ms: moment.ok_or(NO_TIME)?,
            client: address(entry.client).ok_or(NO_ADDRESS)?,
            flow,
            outcome,
            user: entry.user(),
            agent: None,
            path: None,
        }));
        Ok(())
    }
}

impl LogFormat for Authelia {
    fn read(&mut self, line: &str, found: &mut Vec<Signal>) -> Result<(), Rejection> {
        let line = line.trim();
        if line.starts_with('{') {
            let object: Value =
                serde_json::from_str(line).map_err(|_| Rejection::new("is not valid JSON"))?;
            let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
            let entry = Entry {
                time: text("time"),
                message: text("msg"),
                error: text("error"),
                client: text("remote_ip"),
            };
            return self.tell(&entry, found);
        }
        let mut entry = Entry::default();
        for (name, value) in Pairs::new(line) {
            match name {
                "time" => entry.time = value,
                "msg" => entry.message = value,
                "error" => entry.error = value,
                "remote_ip" => entry.client = value,
                _ => {}
            }
        }
        self.tell(&entry, found)
    }
}

impl<'a> Entry<'a> {
    fn outcome(&self) -> Option<(Flow, Outcome)> {
        let message = self.message;
        let unknown =
            self.error.contains("user not found") || message.ends_with(": user not found");
        let failure = if unknown {
            Outcome::UnknownUser
        } else {
            Outcome::Failure
        };
        if message.starts_with("Unsuccessful ") && message.contains(" authentication attempt") {
            return Some((Flow::SignIn, failure));
        }
        // Since 4.39, of users that do not exist.
        if message.starts_with("Error occurred getting details for user with username input") {
            return Some((Flow::SignIn, failure));
        }
        // The first factor alone signs in only where there is no second; what follows it tells.
        if message.starts_with("Successful ") && message.contains(" authentication attempt") {
            return Some((Flow::SignIn, Outcome::Success));
        }
        let recovers =
            message.contains("identity verification") || message.contains("password reset");
        (recovers && !self.client.is_empty() && !self.error.is_empty())
            .then_some((Flow::Recovery, Outcome::Failure))
    }

    /// The name between quotes. What follows it has none, so the last quote ends it.
    fn user(&self) -> Option<&'a str> {
        let start = self.message.find(['\'', '"'])?;
        let quote = self.message.get(start..)?.chars().next()?;
        let inner = self.message.get(start + 1..)?;
        let end = inner.rfind(quote)?;
        inner.get(..end).map(|name| name.trim_end_matches('\\'))
    }
}
