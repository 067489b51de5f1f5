//! JSON lines of any application, by a map from facts to fields.

use serde_json::Value;

use super::{
    LogFormat, Maker, NO_ADDRESS, NO_TIME, Rejection, Told, address,
    time::{self, Years},
};
use crate::policy::signal::{Flow, Outcome, Signal};

/// Where each fact of a signal is found: a field, or with dots a field of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonFields {
    time: String,
    client: String,
    outcome: String,
    user: String,
    agent: String,
    path: String,
    flow: String,
    words: Words,
}

/// Which values of the outcome mean what; compared without case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    own: Vec<(String, Outcome)>,
}

/// Reads JSON lines.
#[derive(Debug)]
pub struct JsonLines {
    maker: Maker,
    fields: JsonFields,
    years: Years,
}

impl JsonFields {
    /// Reads `time=FIELD,client=FIELD,user=FIELD,outcome=FIELD,agent=FIELD,path=FIELD,flow=FIELD`; what is
    /// not named keeps its own name.
    ///
    /// # Errors
    /// What is wrong, in a sentence.
    pub fn parse(text: &str, words: Words) -> Result<Self, String> {
        let mut fields = Self {
            words,
            ..Self::default()
        };
        for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
            let (fact, field) = pair
                .split_once('=')
                .ok_or_else(|| format!("`{pair}`: write FACT=FIELD, as in client=remote_addr"))?;
            let field = field.trim().to_owned();
            match fact.trim() {
                "time" => fields.time = field,
                "client" => fields.client = field,
                "outcome" => fields.outcome = field,
                "user" => fields.user = field,
                "agent" => fields.agent = field,
                "path" => fields.path = field,
                "flow" => fields.flow = field,
                other => {
                    return Err(format!(
                        "`{other}` is no fact; there are time, client, outcome, user, agent, path, flow"
                    ));
                }
            }
        }
        Ok(fields)
    }
}

impl Default for JsonFields {
    fn default() -> Self {
        let own = |name: &str| name.to_owned();
        Self {
            time: own("time"),
            client: own("client"),
            outcome: own("outcome"),
            user: own("user"),
            agent: own("agent"),
            path: own("path"),
            flow: own("flow"),
            words: Words::default(),
        }
    }
}

impl Words {
    /// Adds `MEANING=WORD[,WORD…]`; the meanings are success, failure, unknown-user and challenge.
    ///
    /// # Errors
    /// What is wrong, in a sentence.
    pub fn add(&mut self, text: &str) -> Result<(), String> {
        let (meaning, words) = text
            .split_once('=')
            .ok_or_else(|| format!("`{text}`: write MEANING=WORD, as in success=LOGIN_OK"))?;
        let outcome = match meaning {
            "success" => Outcome::Success,
            "failure" => Outcome::Failure,
            "unknown-user" => Outcome::UnknownUser,
            "challenge" => Outcome::Challenge,
            other => {
                return Err(format!(
                    "`{other}` is no outcome; there are success, failure, unknown-user, challenge"
                ));
            }
        };
        self.own
            .extend(words.split(',').map(|word| (word.to_lowercase(), outcome)));
        Ok(())
    }

    /// What a word means.
    pub(super) fn meaning(&self, word: &str) -> Option<Outcome> {
        let word = word.trim().to_lowercase();
        let known = self.own.iter().find(|(own, _)| *own == word);
        known.map(|(_, outcome)| *outcome).or_else(|| {
            Some(match word.as_str() {
                "success" | "succeeded" | "successful" | "ok" | "true" | "accepted" | "allow"
                | "allowed" | "200" | "302" => Outcome::Success,
                "failure" | "failed" | "fail" | "false" | "error" | "denied" | "deny"
                | "rejected" | "invalid" | "401" | "403" => Outcome::Failure,
                "unknown-user" | "unknown_user" | "user_not_found" | "invalid_user" => {
                    Outcome::UnknownUser
                }
                "challenge" | "challenged" | "mfa" => Outcome::Challenge,
                _ => return None,
            })
        })
    }
}

impl JsonLines {
    /// A reader.
    #[must_use]
    pub const fn new(maker: Maker, fields: JsonFields, latest_ms: u64) -> Self {
        Self {
            maker,
            fields,
            years: Years::new(latest_ms),
        }
    }
}

impl LogFormat for JsonLines {
    fn written(&mut self, latest_ms: u64) {
        self.years.written(latest_ms);
    }

    fn read(&mut self, line: &str, found: &mut Vec<Signal>) -> Result<(), Rejection> {
        if line.trim().is_empty() {
            return Ok(());
        }
        let object: Value =
            serde_json::from_str(line).map_err(|_| Rejection::new("is not valid JSON"))?;
        let fields = &self.fields;
        // A log of an application holds much else.
        let Some(outcome) = lookup(&object, &fields.outcome).map(scalar) else {
            return Ok(());
        };
        let outcome = fields.words.meaning(&outcome).ok_or(Rejection::new(
            "the outcome is a word that nobody explained (outcomes)",
        ))?;
        let text = |field: &str| lookup(&object, field).and_then(Value::as_str);
        let time = lookup(&object, &fields.time)
            .map(scalar)
            .unwrap_or_default();
        let flow = match text(&fields.flow) {
            Some("recovery") => Flow::Recovery,
            Some("enrolment") => Flow::Enrolment,
            _ => Flow::SignIn,
        };
        let user = lookup(&object, &fields.user).map(scalar);
        found.push(self.maker.signal(Told {
            time_ms: time::any(&time, &mut self.years).ok_or(NO_TIME)?,
            client: text(&fields.client).and_then(address).ok_or(NO_ADDRESS)?,
            flow,
            outcome,
            user: user.as_deref(),
            agent: text(&fields.agent),
            path: text(&fields.path),
        }));
        Ok(())
    }
}

/// A field by its whole name, or by its parts.
fn lookup<'a>(object: &'a Value, field: &str) -> Option<&'a Value> {
    let found = object.get(field).or_else(|| {
        field
            .split('.')
            .try_fold(object, |value, part| value.get(part))
    });
    found.filter(|value| !value.is_null())
}

/// A string, number or boolean as text.
fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(_) | Value::Bool(_) => value.to_string(),
        _ => String::new(),
    }
}
