//! Requests that sign somebody in: which they are, who it is, and how the answer tells what became of it.
//!
//! Everything here reads bytes that a client has chosen, in bounded prefixes, and keeps none of them: a name becomes
//! a pseudonym where it is found.

mod answer;
mod basic;
mod body;
mod field;
mod form;
mod json;
mod multipart;
mod route;
mod user;

pub use answer::{Answer, Place, Word};
pub use body::{Body, read};
pub use field::Field;
pub use route::{PathMatch, Statuses};
pub use user::{Found, Repeated};

use super::{
    path::normalise,
    signal::{Flow, Pseudonym, PseudonymKey},
};

/// One kind of request that signs somebody in, and how to read it and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignIn {
    /// Upper case; `*` is every method.
    pub method: String,
    /// Which paths.
    pub path: PathMatch,
    /// What is tried.
    pub flow: Flow,
    /// Where the user is named.
    pub user: UserPlace,
    /// Bytes of the request's body that are looked at, from its beginning.
    pub body_bytes_max: usize,
    /// How the answer tells the outcome.
    pub answer: Answer,
}

/// Where a request names the user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum UserPlace {
    /// Nowhere that could be read.
    #[default]
    Nowhere,
    /// In a field of the query or of the body: a form's or a JSON object's.
    Field(Field, Repeated),
    /// In `Authorization: Basic …`.
    Basic,
}

impl SignIn {
    /// Whether the request is one of these; `path` is normalised.
    fn is(&self, method: &str, path: &str) -> bool {
        self.names_method(method) && self.path.matches(path)
    }

    fn names_method(&self, method: &str) -> bool {
        self.method == method || self.method == "*"
    }

    /// The same requests as another.
    #[must_use]
    pub fn is_same_request(&self, other: &Self) -> bool {
        self.method == other.method && self.path == other.path
    }
}

/// What a request's head tells of its sender's software; a log of it tells the same.
#[must_use]
pub fn agent(key: &PseudonymKey, user_agent: Option<&[u8]>, path: &str) -> Option<Pseudonym> {
    let user_agent = user_agent.filter(|agent| !agent.is_empty())?;
    let path = path.split(['?', '#']).next().unwrap_or(path);
    Some(key.agent(user_agent, path.as_bytes()))
}

/// The first that a request is of. Every spelling counts that some server reads as the path: dodging this would be
/// worth something.
#[must_use]
pub fn find<'a>(sign_ins: &'a [SignIn], method: &str, path: &str) -> Option<&'a SignIn> {
    if !sign_ins.iter().any(|one| one.names_method(method)) {
        return None;
    }
    let path = normalise(path);
    sign_ins.iter().find(|one| one.is(method, &path))
}

/// The user of `Authorization: Basic …`.
#[must_use]
pub fn basic_user(key: &PseudonymKey, authorization: &[u8]) -> Option<Pseudonym> {
    basic::user(authorization).map(|name| key.user(&name))
}

/// What a field of a JSON answer says, as a word, if it is there; and whether the text was read to its end.
#[must_use]
pub fn field_of_answer(text: &[u8], field: &Field) -> (Option<Vec<u8>>, bool) {
    let mut found = None;
    let end = json::find(text, field, false, |value, is_whole| {
        if is_whole {
            found = Some(value.to_vec());
        }
    });
    (found, end == json::End::Whole)
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
