//! What is wrong with an expression, in the words that Okta's API uses for it.

use std::fmt;

/// The first mistake of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    /// Where, in characters from 0.
    pub position: usize,
    /// What was expected there.
    pub expected: &'static str,
    message: String,
    /// The expression could be read; an attribute in it cannot be filtered by.
    field: bool,
}

impl FilterError {
    /// One sentence without the expression itself, which may be long.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The sentence of an API's answer: the expression with what is wrong, or the attribute that is not one.
    #[must_use]
    pub fn summary(&self, filter: &str) -> String {
        if self.field {
            self.message.clone()
        } else {
            let shown: String = filter.chars().take(SHOWN_CHARACTERS_MAX).collect();
            let cut = if shown.len() < filter.len() {
                "…"
            } else {
                ""
            };
            format!("Invalid filter '{shown}{cut}': {}", self.message)
        }
    }

    pub(super) fn new(position: usize, expected: &'static str, message: String) -> Self {
        Self {
            position,
            expected,
            message,
            field: false,
        }
    }

    pub(super) fn field(position: usize, expected: &'static str, attribute: &str) -> Self {
        Self {
            position,
            expected,
            message: format!("field is not valid: {attribute}"),
            field: true,
        }
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field {
            let (message, position, expected) = (&self.message, self.position, self.expected);
            write!(f, "{message} at position {position}. Expected: {expected}")
        } else {
            f.write_str(&self.message)
        }
    }
}

impl std::error::Error for FilterError {}

/// How much of an expression a message repeats.
const SHOWN_CHARACTERS_MAX: usize = 256;
