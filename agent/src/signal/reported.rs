//! What applications report: the body of a call, taken apart. One JSON object, an array of them, or one a line.

use std::{borrow::Cow, net::IpAddr};

use serde_json::{Map, Value};

use super::{
    NO_ADDRESS, NO_TIME, Rejection, address,
    time::{self, Years},
};
use crate::policy::signal::{Flow, NAME_BYTES_MAX, Outcome};

/// Signals of one call.
pub const REPORTED_MAX: usize = 100;
/// Longest id of a signal, bytes.
pub const ID_BYTES_MAX: usize = 128;

/// One reported outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// What the application calls it.
    pub id: Option<String>,
    /// When it happened, ms since the Unix epoch; now, if it does not say.
    pub time_ms: Option<u64>,
    /// Who tried; whom the call's own headers name, if it does not say.
    pub client: Option<IpAddr>,
    /// The service's name.
    pub service: Option<String>,
    /// What was tried.
    pub flow: Flow,
    /// How it ended.
    pub outcome: Outcome,
    /// Who was to be signed in; cut off where nothing more would count.
    pub user: Option<String>,
    /// The client's user agent.
    pub user_agent: Option<String>,
    /// The path that it asked for.
    pub path: Option<String>,
}

/// Why a whole call cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It is no JSON: where, and what the reader says.
    NotJson(String),
    /// There is nothing in it.
    Empty,
    /// It has more than [`REPORTED_MAX`] signals.
    TooMany,
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotJson(what) => f.write_str(what),
            Self::Empty => f.write_str("there is no signal in it"),
            Self::TooMany => write!(f, "there are more than {REPORTED_MAX} signals in it"),
        }
    }
}

/// Reads the body of a call: each signal, or why it was not read.
///
/// # Errors
/// Nothing of it can be read.
pub fn read(body: &[u8]) -> Result<Vec<Result<Reported, Rejection>>, Unreadable> {
    let whole: Result<Value, serde_json::Error> = serde_json::from_slice(body);
    let values: Vec<Option<Value>> = match whole {
        Ok(Value::Array(values)) => values.into_iter().map(Some).collect(),
        Ok(value) => vec![Some(value)],
        Err(error) => lines(body).ok_or_else(|| Unreadable::NotJson(place(&error)))?,
    };
    match values.len() {
        0 => Err(Unreadable::Empty),
        1..=REPORTED_MAX => Ok(values
            .into_iter()
            .map(|value| match value {
                Some(Value::Object(object)) => Reported::read(object),
                Some(_) => Err(Rejection::new("is no JSON object")),
                None => Err(Rejection::new("is not valid JSON")),
            })
            .collect()),
        _ => Err(Unreadable::TooMany),
    }
}

/// One value a line. `None` if there is one line, or none of them is JSON.
fn lines(body: &[u8]) -> Option<Vec<Option<Value>>> {
    let lines = body
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty());
    let values: Vec<Option<Value>> = lines
        .take(REPORTED_MAX.saturating_add(1))
        .map(|line| serde_json::from_slice(line).ok())
        .collect();
    let any = values.iter().any(Option::is_some);
    (values.len() != 1 && any || values.is_empty()).then_some(values)
}

/// Without what stands there: it may be a name.
fn place(error: &serde_json::Error) -> String {
    format!(
        "it is no JSON (line {} column {})",
        error.line(),
        error.column()
    )
}

impl Reported {
    fn read(object: Map<String, Value>) -> Result<Self, Rejection> {
        let mut reported = Self {
            id: None,
            time_ms: None,
            client: None,
            service: None,
            flow: Flow::SignIn,
            // There is none until it is read.
            outcome: Outcome::Failure,
            user: None,
            user_agent: None,
            path: None,
        };
        let mut told = false;
        for (name, value) in object {
            if value.is_null() {
                continue;
            }
            match name.as_str() {
                "id" => reported.id = Some(id(value)?),
                "time" => reported.time_ms = Some(moment(&value)?),
                "client" => {
                    let client = value.as_str().and_then(address);
                    reported.client = Some(client.ok_or(NO_ADDRESS)?);
                }
                "service" => reported.service = Some(text("service", value)?),
                "flow" => reported.flow = flow(&value)?,
                "outcome" => {
                    reported.outcome = outcome(&value)?;
                    told = true;
                }
                "user" => reported.user = Some(name_of(value)?),
                "user_agent" => reported.user_agent = Some(text("user_agent", value)?),
                "path" => {
                    let path = text("path", value)?;
                    let end = path.find(['?', '#']).unwrap_or(path.len());
                    reported.path = Some(path.get(..end).unwrap_or_default().to_owned());
                }
                other => {
                    let other = crate::config::error::shown(other);
                    return Err(Rejection(Cow::Owned(format!(
                        "has a field that is not known (`{other}`)"
                    ))));
                }
            }
        }
        if told {
            Ok(reported)
        } else {
            Err(Rejection::new("`outcome` is missing"))
        }
    }
}

fn id(value: Value) -> Result<String, Rejection> {
    match value {
        Value::String(id) if (1..=ID_BYTES_MAX).contains(&id.len()) => Ok(id),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(Rejection::new(
            "`id` is no text of 1 to 128 bytes and no number",
        )),
    }
}

fn moment(value: &Value) -> Result<u64, Rejection> {
    // A log's times may lack the year; what a program reports does not.
    let mut years = Years::new(0);
    let found = match value {
        Value::String(text) if text.starts_with(|first: char| first.is_ascii_digit()) => {
            time::any(text, &mut years)
        }
        Value::Number(number) => time::epoch(&number.to_string()),
        _ => None,
    };
    found.ok_or(NO_TIME)
}

fn flow(value: &Value) -> Result<Flow, Rejection> {
    match value.as_str() {
        Some("sign-in") => Ok(Flow::SignIn),
        Some("recovery") => Ok(Flow::Recovery),
        Some("enrolment") => Ok(Flow::Enrolment),
        _ => Err(Rejection::new(
            "`flow` is none of sign-in, recovery, enrolment",
        )),
    }
}

fn outcome(value: &Value) -> Result<Outcome, Rejection> {
    match value.as_str() {
        Some("success") => Ok(Outcome::Success),
        Some("failure") => Ok(Outcome::Failure),
        Some("unknown-user") => Ok(Outcome::UnknownUser),
        Some("challenge") => Ok(Outcome::Challenge),
        _ => Err(Rejection::new(
            "`outcome` is none of success, failure, unknown-user, challenge",
        )),
    }
}

fn name_of(value: Value) -> Result<String, Rejection> {
    match value {
        Value::Number(number) => Ok(number.to_string()),
        other => text("user", other),
    }
}

fn text(field: &'static str, value: Value) -> Result<String, Rejection> {
    let Value::String(mut text) = value else {
        return Err(Rejection(Cow::Owned(format!("`{field}` is no text"))));
    };
    // Nothing behind that counts; a name of a megabyte is not carried around.
    let mut end = text.len().min(2 * NAME_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.truncate(end);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(body: &str) -> Vec<String> {
        let read = read(body.as_bytes()).unwrap();
        read.into_iter()
            .map(|one| one.map_or_else(|reason| reason.to_string(), |_| "read".to_owned()))
            .collect()
    }

    #[test]
    fn a_call_is_read_in_all_its_forms() {
        let full = r#"{"id":"a-1","time":"2026-11-22T08:00:00Z","client":"[2001:db8::1]:443","service":"login",
            "flow":"recovery","outcome":"unknown-user","user":"Alice","user_agent":"UA","path":"/reset?token=x"}"#;
        let read = read(full.as_bytes()).unwrap();
        let expected = Reported {
            id: Some("a-1".to_owned()),
            time_ms: Some(1_795_334_400_000),
            client: Some("2001:db8::1".parse().unwrap()),
            service: Some("login".to_owned()),
            flow: Flow::Recovery,
            outcome: Outcome::UnknownUser,
            user: Some("Alice".to_owned()),
            user_agent: Some("UA".to_owned()),
            path: Some("/reset".to_owned()),
        };
        assert_eq!(read, [Ok(expected)]);
        let short = r#"{"outcome":"success"}"#;
        assert_eq!(reasons(&format!("[{short},{short}]")), ["read", "read"]);
        assert_eq!(
            reasons(&format!("{short}\r\n\n{short}\n")),
            ["read", "read"]
        );
        let times = r#"[{"outcome":"success","time":1795334400},{"outcome":"success","time":1795334400.25}]"#;
        let times: Vec<Option<u64>> = super::read(times.as_bytes())
            .unwrap()
            .into_iter()
            .map(|one| one.unwrap().time_ms)
            .collect();
        assert_eq!(times, [Some(1_795_334_400_000), Some(1_795_334_400_250)]);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (body, expected) in [
            (r#"{"user":"x"}"#, "`outcome` is missing"),
            (r#"{"outcome":"maybe"}"#, "`outcome` is none of"),
            (r#"{"outcome":"success","flow":"x"}"#, "`flow` is none of"),
            (
                r#"{"outcome":"success","client":"x"}"#,
                "the client is no IP address",
            ),
            (
                r#"{"outcome":"success","time":"Nov 22 08:00:00"}"#,
                "the time cannot be read",
            ),
            (
                r#"{"outcome":"success","time":-1}"#,
                "the time cannot be read",
            ),
            (r#"{"outcome":"success","id":""}"#, "`id` is no text"),
            (r#"{"outcome":"success","user":["x"]}"#, "`user` is no text"),
            (
                r#"{"outcome":"success","usr":"x"}"#,
                "a field that is not known (`usr`)",
            ),
            ("7", "is no JSON object"),
        ] {
            let reasons = reasons(body);
            assert!(reasons[0].contains(expected), "{body}: {reasons:?}");
        }
        let mixed = "{\"outcome\":\"success\"}\n{broken\n{\"outcome\":\"success\"}";
        assert_eq!(reasons(mixed), ["read", "is not valid JSON", "read"]);
        assert_eq!(read(b"[]"), Err(Unreadable::Empty));
        assert_eq!(read(b" "), Err(Unreadable::Empty));
        assert!(matches!(
            read(b"{\"outcome\":"),
            Err(Unreadable::NotJson(_))
        ));
        assert!(matches!(
            read(b"<html>\n<body>"),
            Err(Unreadable::NotJson(_))
        ));
        let many = vec!["{}"; REPORTED_MAX + 1];
        for joined in [format!("[{}]", many.join(",")), many.join("\n")] {
            assert_eq!(read(joined.as_bytes()), Err(Unreadable::TooMany));
        }
        let long = format!(
            r#"{{"outcome":"success","user":"{}"}}"#,
            "\u{fc}".repeat(1 << 19)
        );
        let user = read(long.as_bytes())
            .unwrap()
            .remove(0)
            .unwrap()
            .user
            .unwrap();
        assert_eq!(user.len(), 2 * NAME_BYTES_MAX);
    }
}
