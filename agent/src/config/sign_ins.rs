//! `[[service.sign_in]]`: which requests sign somebody in, where they name the user, and how the answer tells what
//! became of it.

use super::{
    error::shown,
    raw::{Node, Table},
};
use crate::policy::{
    sign_in::{Answer, Field, PathMatch, Place, Repeated, SignIn, UserPlace},
    signal::{Flow, Outcome},
};

pub(super) const SIGN_IN_KEYS: [&str; 15] = [
    "method",
    "path",
    "flow",
    "user_field",
    "user_repeated",
    "user_basic",
    "body_bytes_max",
    "success",
    "failure",
    "unknown_user",
    "challenge",
    "outcome_header",
    "outcome_field",
    "answer_bytes_max",
    "outcomes",
];

/// Most kinds of sign-ins of one service: each is compared with each request.
const SIGN_INS_MAX: usize = 64;
/// Bytes of a body that are looked at, unless set otherwise.
const BODY_BYTES: usize = 16_384;
/// Longest method and name of a header, bytes.
const TOKEN_BYTES_MAX: usize = 64;

pub(super) fn sign_ins(service: &Table<'_>) -> Vec<SignIn> {
    let Some(node) = service.get("sign_in") else {
        return Vec::new();
    };
    let mut out: Vec<SignIn> = Vec::new();
    for table in node.tables(&SIGN_IN_KEYS) {
        let Some(read) = sign_in(&table) else {
            continue;
        };
        if out.iter().any(|other| other.is_same_request(&read)) {
            table.error(
                format!(
                    "{} {} is named twice in this service",
                    read.method, read.path
                ),
                Some("the first that matches a request counts: remove one".to_owned()),
            );
        }
        out.push(read);
    }
    if out.len() > SIGN_INS_MAX {
        node.error(
            format!(
                "holds {} sign-ins; at most {SIGN_INS_MAX} are possible",
                out.len()
            ),
            Some("use patterns, as in path = \"*/login\"".to_owned()),
        );
    }
    out
}

/// `None` if it is not known which requests are meant.
fn sign_in(table: &Table<'_>) -> Option<SignIn> {
    let path = table
        .required("path", "\"/login\"")
        .and_then(|node| parsed(&node, PathMatch::parse));
    let sign_in = SignIn {
        method: method(table),
        path: path
            .clone()
            .unwrap_or_else(|| PathMatch::Exact(String::new())),
        flow: table.choice("flow", &Flow::NAMED),
        user: user(table),
        body_bytes_max: table.count("body_bytes_max", 256..=1 << 20, BODY_BYTES),
        answer: answer(table),
    };
    path.map(|_| sign_in)
}

fn method(table: &Table<'_>) -> String {
    let Some(node) = table.get("method") else {
        return "POST".to_owned();
    };
    let text = node.string().unwrap_or("POST");
    if text != "*" && (!is_token(text) || text.contains('*')) {
        node.error(
            format!("\"{}\" is no method", shown(text)),
            Some("write POST, or * for every method".to_owned()),
        );
    }
    text.to_ascii_uppercase()
}

fn user(table: &Table<'_>) -> UserPlace {
    let take = table.choice("user_repeated", &Repeated::NAMED);
    let basic = table.flag("user_basic", false);
    let Some(node) = table.get("user_field") else {
        for key in ["user_repeated", "body_bytes_max"] {
            without(table, key, "user_field");
        }
        return if basic {
            UserPlace::Basic
        } else {
            UserPlace::Nowhere
        };
    };
    if basic {
        node.error(
            "stands beside user_basic: the user is named in one place",
            Some("keep one of the two".to_owned()),
        );
    }
    let field = parsed(&node, Field::parse);
    field.map_or(UserPlace::Nowhere, |field| UserPlace::Field(field, take))
}

fn answer(table: &Table<'_>) -> Answer {
    let mut answer = Answer::default();
    for (key, outcome) in [
        ("success", Outcome::Success),
        ("failure", Outcome::Failure),
        ("unknown_user", Outcome::UnknownUser),
        ("challenge", Outcome::Challenge),
    ] {
        statuses(table, key, outcome, &mut answer);
    }
    let bytes_max = table.count("answer_bytes_max", 256..=1 << 20, BODY_BYTES);
    let (header, field) = (table.get("outcome_header"), table.get("outcome_field"));
    answer.place = match (header, field) {
        (None, None) => {
            without(table, "outcomes", "outcome_header or outcome_field");
            Place::Status
        }
        (Some(node), None) => header_name(&node).map_or(Place::Status, Place::Header),
        (None, Some(node)) => {
            let field = parsed(&node, Field::parse);
            field.map_or(Place::Status, |field| Place::Field(field, bytes_max))
        }
        (Some(_), Some(node)) => {
            node.error(
                "stands beside outcome_header: one of them tells the outcome",
                Some("remove one".to_owned()),
            );
            Place::Status
        }
    };
    if table.get("outcome_field").is_none() {
        without(table, "answer_bytes_max", "outcome_field");
    }
    words(table, &mut answer);
    answer
}

/// `[302, "2xx"]`.
fn statuses(table: &Table<'_>, key: &str, outcome: Outcome, answer: &mut Answer) {
    let elements = table.get(key).map(|node| node.elements());
    for node in elements.unwrap_or_default() {
        let text = if node.is_integer() {
            node.number(100..=599_u16).map(|status| status.to_string())
        } else {
            node.string().map(str::to_owned)
        };
        if let Some(text) = text
            && let Err(error) = answer.statuses.add(&text, outcome)
        {
            node.error(error, None);
        }
    }
}

/// `["success=LOGIN_OK", "failure=/login?error*"]`.
fn words(table: &Table<'_>, answer: &mut Answer) {
    let is_wanted = table
        .get("outcome_header")
        .or_else(|| table.get("outcome_field"));
    let Some(node) = table.get("outcomes") else {
        if let Some(node) = is_wanted {
            node.error(
                "nothing says what its words mean",
                Some("add outcomes = [\"success=…\", \"failure=…\"]".to_owned()),
            );
        }
        return;
    };
    for (element, text) in node.strings() {
        if let Err(error) = answer.add_words(text) {
            element.error(error, None);
        }
    }
}

pub(super) fn header_name(node: &Node<'_>) -> Option<String> {
    let text = node.string()?;
    if !is_token(text) {
        node.error(
            format!("\"{}\" is no name of a header", shown(text)),
            Some("write it as in \"x-login-result\"".to_owned()),
        );
        return None;
    }
    Some(text.to_ascii_lowercase())
}

/// A token of RFC 9110, 5.6.2.
fn is_token(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.len() <= TOKEN_BYTES_MAX && text.bytes().all(known)
}

fn parsed<T>(node: &Node<'_>, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
    match parse(node.string()?) {
        Ok(value) => Some(value),
        Err(error) => {
            node.error(shown(&error), None);
            None
        }
    }
}

/// A setting that means nothing without another.
fn without(table: &Table<'_>, key: &str, needed: &str) {
    if let Some(node) = table.get(key) {
        node.error(
            format!("has no effect without {needed}"),
            Some("add that, or remove it".to_owned()),
        );
    }
}
