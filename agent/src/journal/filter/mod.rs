//! Filter expressions over events, in the grammar of Okta's System Log: `eventType eq "zone.update" and not
//! (outcome.result eq "SUCCESS")`. It is SCIM's (RFC 7644, 3.4.2.2) without brackets.

mod attribute;
mod error;
mod lex;
mod matches;
mod parse;
#[cfg(test)]
mod tests;

use std::fmt;

use serde_json::{Number, Value};

pub use attribute::Attribute;
pub use error::FilterError;

/// A parsed expression. `And` and `Or` have at least two members, none of which is of their own kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// All of them.
    And(Vec<Self>),
    /// At least one of them.
    Or(Vec<Self>),
    /// The opposite. There is no third value: what an event lacks does not match, and its opposite does.
    Not(Box<Self>),
    /// An attribute compared with what was written behind the operator.
    Compare {
        /// What is compared.
        attribute: Attribute,
        /// How.
        operator: Operator,
        /// With what.
        literal: Literal,
    },
    /// The attribute has a value that is not empty (`pr`).
    Present(Attribute),
}

/// How an attribute is compared. Of a list any element may satisfy it; `Ne` is the opposite of `Eq`, so it holds for
/// what is missing, and for a list only if no element is equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words of the grammar")]
pub enum Operator {
    Eq,
    Ne,
    Gt,
    Ge,
    Lt,
    Le,
    StartsWith,
    EndsWith,
    Contains,
}

/// What an attribute is compared with. Letters count as they are written; text is ordered by code points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Literal {
    /// Text in quotes.
    Text(String),
    /// Text in quotes that is an RFC 3339 date with a time; an attribute that is one too is compared by time.
    Date {
        /// As it was written.
        text: String,
        /// Milliseconds since the epoch.
        unix_ms: u64,
    },
    /// A number; text that is a number is compared as one.
    Number(Number),
    /// `true` or `false`, only with `eq` and `ne`; the same words as text are equal to them.
    Boolean(bool),
}

/// Longest expression in bytes.
pub const FILTER_BYTES_MAX: usize = 8 * 1024;
/// How deep parentheses may be nested.
pub const FILTER_DEPTH_MAX: usize = 32;
/// Most comparisons in one expression.
pub const FILTER_TERMS_MAX: usize = 256;

impl Filter {
    /// Reads an expression.
    ///
    /// # Errors
    /// The first mistake, with its position and what was expected there.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        parse::filter(text)
    }

    /// Whether an event in the shape of a LogEvent satisfies the expression.
    #[must_use]
    pub fn matches(&self, log_event: &Value) -> bool {
        matches::matches(self, log_event)
    }
}

impl Operator {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Eq => "eq",
            Self::Ne => "ne",
            Self::Gt => "gt",
            Self::Ge => "ge",
            Self::Lt => "lt",
            Self::Le => "le",
            Self::StartsWith => "sw",
            Self::EndsWith => "ew",
            Self::Contains => "co",
        }
    }

    const ALL: [Self; 9] = [
        Self::Eq,
        Self::Ne,
        Self::Gt,
        Self::Ge,
        Self::Lt,
        Self::Le,
        Self::StartsWith,
        Self::EndsWith,
        Self::Contains,
    ];

    fn read(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|operator| operator.as_str().eq_ignore_ascii_case(word))
    }
}

/// The expression as it can be parsed again, to the same.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::And(members) => joined(f, members, " and "),
            Self::Or(members) => joined(f, members, " or "),
            Self::Not(inner) => write!(f, "not ({inner})"),
            Self::Compare {
                attribute,
                operator,
                literal,
            } => write!(f, "{attribute} {} {literal}", operator.as_str()),
            Self::Present(attribute) => write!(f, "{attribute} pr"),
        }
    }
}

fn joined(f: &mut fmt::Formatter<'_>, members: &[Filter], between: &str) -> fmt::Result {
    for (index, member) in members.iter().enumerate() {
        if index > 0 {
            f.write_str(between)?;
        }
        // `and` binds more closely, so within it an `or` needs parentheses.
        match member {
            Filter::Or(_) => write!(f, "({member})")?,
            _ => write!(f, "{member}")?,
        }
    }
    Ok(())
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) | Self::Date { text, .. } => {
                f.write_str(&Value::from(text.as_str()).to_string())
            }
            Self::Number(number) => write!(f, "{number}"),
            Self::Boolean(value) => write!(f, "{value}"),
        }
    }
}
