//! How a query goes through a slice: by which index, past which classes, and whether that decides it.

use serde_json::Value;

use super::{
    filter::{Filter, Literal, Operator},
    ids,
    log_event::{Facts, NOBODY, is_system, log_event},
    search::{Order, Query},
    slice::Summary,
};

/// The way through one slice.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    pub(super) way: Way,
    /// The classes that are left; none if that is all of them.
    pub(super) classes: Option<Vec<i64>>,
    /// What the way leads to matches; otherwise each event has to be looked at.
    pub(super) exact: bool,
}

/// Which index leads through it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Way {
    /// These classes, one after the other.
    Classes(Vec<i64>),
    /// Events about an address.
    Address(String),
    /// Events about a user, and what a person changed.
    User(String),
    /// Events of one millisecond.
    At(u64),
    /// Each of these, together.
    Either(Vec<Self>),
    /// All of them.
    Through,
}

/// What a class says of a filter.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    No,
    Open,
    Yes,
}

impl Plan {
    /// None if nothing in the slice can match.
    pub(super) fn of(query: &Query, summary: &Summary) -> Option<Self> {
        let mut left = Vec::new();
        let mut exact = query.words.is_empty();
        for class in &summary.classes {
            let standing = match &query.filter {
                None => Standing::Yes,
                Some(filter) => {
                    let facts = serde_json::from_str(&class.facts).ok();
                    facts.map_or(Standing::Open, |facts| standing(filter, &log_event(&facts)))
                }
            };
            if standing != Standing::No {
                exact &= standing == Standing::Yes;
                left.push((class.id, class.count));
            }
        }
        if left.is_empty() {
            return None;
        }
        let all: u64 = summary.classes.iter().map(|class| class.count).sum();
        let ids: Vec<i64> = left.iter().map(|(id, _)| *id).collect();
        let classes = (left.len() < summary.classes.len()).then(|| ids.clone());
        let key = query
            .filter
            .as_ref()
            .and_then(|filter| key(filter, query.by, summary));
        let way = match key {
            Some(way) => way,
            None if classes.is_some() && is_rare(&left, query.by, all) => Way::Classes(ids),
            None => Way::Through,
        };
        Some(Self {
            way,
            classes,
            exact,
        })
    }
}

/// Whether classes are found by their index rather than on the way through: class by class in the order of times; in
/// that of persistence a class has to be sorted first.
fn is_rare(left: &[(i64, u64)], by: Order, all: u64) -> bool {
    let wanted: u64 = left.iter().map(|(_, count)| count).sum();
    let few = match by {
        Order::Published => left.len() <= CLASSES_ONE_BY_ONE_MAX,
        Order::Persistence => wanted <= SORTED_MAX,
    };
    few && wanted.saturating_mul(OFTEN) < all
}

/// The ways of alternatives, if each of them has one.
fn either(parts: &[Filter], by: Order, summary: &Summary) -> Option<Way> {
    let way = |part: &Filter| {
        key(part, by, summary).or_else(|| {
            rare(by, summary, |facts| {
                standing(part, &log_event(facts)) != Standing::No
            })
        })
    };
    let ways = parts.iter().map(way).collect::<Option<Vec<_>>>()?;
    Some(Way::Either(ways))
}

/// The classes that are possible, if they are rare.
fn rare(by: Order, summary: &Summary, possible: impl Fn(&Facts) -> bool) -> Option<Way> {
    let all: u64 = summary.classes.iter().map(|class| class.count).sum();
    let found = summary.classes.iter().filter(|class| {
        let facts = serde_json::from_str(&class.facts).ok();
        facts.is_none_or(|facts| possible(&facts))
    });
    let left: Vec<(i64, u64)> = found.map(|class| (class.id, class.count)).collect();
    let ids = left.iter().map(|(id, _)| *id).collect();
    is_rare(&left, by, all).then_some(Way::Classes(ids))
}

/// Events by who acted: a source that was judged, a user who signed in, or whoever changed something.
fn actor(text: &str) -> Option<Way> {
    if is_system(text) || NOBODY.contains(&text) {
        return None;
    }
    let person = Way::User(text.to_owned());
    Some(match address(text) {
        Some(address) => Way::Either(vec![person, Way::Address(address)]),
        None => person,
    })
}

/// A condition that every match must meet and that an index answers.
fn key(filter: &Filter, by: Order, summary: &Summary) -> Option<Way> {
    match filter {
        Filter::And(parts) => parts.iter().find_map(|part| key(part, by, summary)),
        Filter::Or(parts) => either(parts, by, summary),
        Filter::Compare {
            attribute,
            operator: Operator::Eq,
            literal: Literal::Text(text),
        } => match attribute.as_str() {
            "client.ipAddress" => Some(Way::Address(canonical(text))),
            "uuid" | "transaction.id" => ids::time_of(text).map(Way::At),
            "actor.id" | "actor.alternateId" | "actor.displayName" => actor(text),
            "debugContext.debugData.user" => Some(Way::User(text.clone())),
            _ => None,
        },
        _ => None,
    }
}

fn address(text: &str) -> Option<String> {
    let address: std::net::IpAddr = text.parse().ok()?;
    Some(address.to_string())
}

/// As it is kept, if it is one.
fn canonical(text: &str) -> String {
    address(text).unwrap_or_else(|| text.to_owned())
}

/// Kleene's logic over what a class knows.
fn standing(filter: &Filter, class: &Value) -> Standing {
    match filter {
        Filter::And(parts) => parts
            .iter()
            .map(|part| standing(part, class) as u8)
            .min()
            .map_or(Standing::Yes, Standing::from),
        Filter::Or(parts) => parts
            .iter()
            .map(|part| standing(part, class) as u8)
            .max()
            .map_or(Standing::No, Standing::from),
        Filter::Not(part) => match standing(part, class) {
            Standing::No => Standing::Yes,
            Standing::Open => Standing::Open,
            Standing::Yes => Standing::No,
        },
        Filter::Compare { attribute, .. } | Filter::Present(attribute) => {
            if !decided(attribute.as_str(), class) {
                Standing::Open
            } else if filter.matches(class) {
                Standing::Yes
            } else {
                Standing::No
            }
        }
    }
}

/// Whether the class alone says what an attribute is.
fn decided(attribute: &str, class: &Value) -> bool {
    match attribute {
        "eventType"
        | "legacyEventType"
        | "displayMessage"
        | "version"
        | "severity"
        | "outcome.result"
        | "transaction.type"
        | "debugContext.debugData.service" => true,
        // Of other events the reason is not part of the class.
        "outcome.reason" => class
            .pointer("/outcome/reason")
            .is_some_and(|reason| !reason.is_null()),
        _ => false,
    }
}

impl From<u8> for Standing {
    fn from(number: u8) -> Self {
        match number {
            0 => Self::No,
            1 => Self::Open,
            _ => Self::Yes,
        }
    }
}

/// A class that is one event in so many is found by its index rather than on the way through.
const OFTEN: u64 = 4;
const CLASSES_ONE_BY_ONE_MAX: usize = 64;
/// Events that are sorted for a page.
const SORTED_MAX: u64 = 20_000;
