//! An event on its way to the disk: its text, and what it is found by.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::IpAddr,
    sync::Arc,
};

use serde_json::{Map, Value};

use crate::geo::{Databases, Place};

use super::{
    catalogue::{Kind, Subject},
    log_event::{Facts, address, is_system, text},
};

/// One event.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// When it happened, milliseconds since the Unix epoch.
    pub(super) published_ms: u64,
    /// What it has in common with many others, as an object of facts: its type, outcome, reason, service.
    pub(super) class: String,
    /// Whom it is about.
    pub(super) address: Option<IpAddr>,
    /// The pseudonym of the user that it is about.
    pub(super) user: Option<Box<str>>,
    /// Its facts, one JSON object.
    pub(super) line: Arc<str>,
    /// What a flood of it is gathered by; none for those that are always kept one by one.
    pub(super) fold: Option<Fold>,
}

/// How a flood of an event is gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fold {
    /// The same for events that differ in nothing that matters: source, class.
    pub(super) key: u64,
    /// So many are kept one by one in a window.
    pub(super) single_max: u32,
}

impl Record {
    /// Adds what is known of the address at this moment: databases change, and what was true then is asked for later.
    pub(super) fn place(&mut self, databases: &Databases) {
        let Some(address) = self.address else {
            return;
        };
        let Some(place) = known(databases.place(address)) else {
            return;
        };
        if let Some(open) = self.line.strip_suffix('}') {
            self.line = Arc::from(format!("{open},\"place\":{place}}}"));
        }
    }

    pub(super) fn of(facts: &Facts, line: Arc<str>) -> Self {
        let kind = Kind::of(text(facts, "event").unwrap_or_default());
        let address = address(facts);
        let class = class(facts, kind.subject);
        // Sign-ins come gathered already.
        let single_max = match kind.subject {
            // A refused client was told the event's id: somebody will ask for it.
            Subject::Judgement if facts.contains_key("via") => Some(REQUESTS_SINGLE_MAX),
            Subject::Judgement => Some(1),
            _ => None,
        };
        let fold = single_max.map(|single_max| {
            let mut hasher = DefaultHasher::new();
            (address, text(facts, "prefix"), &class).hash(&mut hasher);
            Fold {
                key: hasher.finish(),
                single_max,
            }
        });
        Self {
            published_ms: facts
                .get("time")
                .and_then(Value::as_u64)
                .unwrap_or_default(),
            class,
            address,
            user: person(facts, kind.subject).map(Box::from),
            line,
            fold,
        }
    }
}

/// Whom the index of users leads to: who signed in, or who changed something.
fn person(facts: &Facts, subject: Subject) -> Option<&str> {
    match subject {
        Subject::Judgement | Subject::SignIn => text(facts, "user"),
        Subject::Change | Subject::Health => text(facts, "actor").filter(|actor| !is_system(actor)),
    }
}

/// What of a place is known, as JSON; none if nothing is.
fn known(place: Place) -> Option<String> {
    if place == Place::default() {
        return None;
    }
    let mut place = serde_json::to_value(place).ok()?;
    if let Some(members) = place.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    Some(place.to_string())
}

/// Of a judgement its grounds too: they are what people search for. Of a change only what it is: its words are free.
fn class(facts: &Facts, subject: Subject) -> String {
    let keys = match subject {
        Subject::Judgement => JUDGEMENT,
        Subject::SignIn | Subject::Change | Subject::Health => OTHER,
    };
    let common: Map<String, Value> = keys
        .iter()
        .filter_map(|key| {
            let value = facts.get(*key).filter(|value| !value.is_null())?;
            Some(((*key).to_owned(), value.clone()))
        })
        .collect();
    Value::Object(common).to_string()
}

const JUDGEMENT: &[&str] = &["event", "outcome", "reason", "detail", "service"];
const OTHER: &[&str] = &["event", "outcome", "service"];
/// Judgements of one client's requests that are kept one by one in a window: about one in eight seconds is made.
const REQUESTS_SINGLE_MAX: u32 = 1_000;
