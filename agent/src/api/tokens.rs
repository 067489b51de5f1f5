//! Who asks: tokens by their hashes, and how often each has asked.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use super::secret::{self, Digest, Secret};
use crate::{
    config::{ApiToken, Scopes},
    lapi::is_same,
};

/// The tokens of a configuration, read.
#[derive(Debug, Default)]
pub(crate) struct Tokens(Vec<Token>);

/// Somebody who may ask.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) name: String,
    pub(super) scopes: Scopes,
    digest: Digest,
    expires_ms: Option<u64>,
}

impl Tokens {
    /// Reads the files.
    ///
    /// # Errors
    /// What is wrong with each of them.
    pub(super) fn read(tokens: &[ApiToken]) -> Result<Self, Vec<String>> {
        let mut known = Vec::new();
        let mut errors = Vec::new();
        for token in tokens {
            match Secret::read(&token.secret_file) {
                Ok(secret) => known.push(Token {
                    name: token.name.clone(),
                    scopes: token.scopes,
                    digest: secret.digest,
                    expires_ms: secret.expires_ms,
                }),
                Err(what) => errors.push(format!("{} {what}", token.secret_file.display())),
            }
        }
        if errors.is_empty() {
            Ok(Self(known))
        } else {
            Err(errors)
        }
    }

    /// Whose token a header `Authorization` holds. Every token is compared, and all of it: how long that takes tells
    /// nothing.
    pub(super) fn of(&self, authorization: &str, now_ms: u64) -> Option<&Token> {
        let given = secret::hash(credential(authorization)?);
        let mut found = None;
        for token in &self.0 {
            if is_same(&token.digest, &given) {
                found = Some(token);
            }
        }
        found.filter(|token| token.expires_ms.is_none_or(|at| now_ms < at))
    }
}

/// What follows the scheme. Okta's SDK for Python writes no space behind `SSWS`.
fn credential(authorization: &str) -> Option<&str> {
    let authorization = authorization.trim();
    let scheme = authorization.get(..4)?;
    if scheme.eq_ignore_ascii_case("SSWS") {
        return authorization.get(4..).map(str::trim_start);
    }
    let (scheme, credential) = authorization.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("Bearer")
        .then(|| credential.trim_start())
}

/// How often each token has asked in the present minute. Requests without a token share one budget.
#[derive(Debug, Default)]
pub(super) struct Budgets(Mutex<HashMap<String, Window>>);

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    minute: u64,
    used: u32,
}

/// What is left after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    pub(super) limit: u32,
    pub(super) remaining: u32,
    /// When there is a new one, seconds since the Unix epoch.
    pub(super) reset_s: u64,
    /// The request was within it.
    pub(super) granted: bool,
}

/// A minute.
const WINDOW_S: u64 = 60;
/// Names that are remembered: every token of two configurations in a row.
const NAMES_MAX: usize = 256;

impl Budgets {
    /// Counts a request.
    pub(super) fn spend(&self, name: &str, limit: u32, now_ms: u64) -> Budget {
        let minute = now_ms / 1_000 / WINDOW_S;
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= NAMES_MAX {
            windows.retain(|_, window| window.minute == minute);
        }
        let window = windows.entry(name.to_owned()).or_default();
        if window.minute != minute {
            *window = Window { minute, used: 0 };
        }
        let granted = window.used < limit;
        if granted {
            window.used += 1;
        }
        Budget {
            limit,
            remaining: limit.saturating_sub(window.used),
            reset_s: (minute + 1) * WINDOW_S,
            granted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_found_as_every_client_writes_it() {
        let cases = [
            ("SSWS abc", Some("abc")),
            ("SSWSabc", Some("abc")),
            ("ssws  abc ", Some("abc")),
            ("Bearer abc", Some("abc")),
            ("bearer   abc", Some("abc")),
            ("Bearerabc", None),
            ("Basic abc", None),
            ("abc", None),
            ("", None),
            ("é", None),
        ];
        for (header, expected) in cases {
            assert_eq!(credential(header), expected, "{header}");
        }
    }

    #[test]
    fn only_a_known_token_that_has_not_ended_is_taken() {
        let token = |name: &str, text: &str, expires_ms| Token {
            name: name.to_owned(),
            scopes: Scopes::LOGS_READ,
            digest: secret::hash(text),
            expires_ms,
        };
        let tokens = Tokens(vec![
            token("a", "alpha", None),
            token("b", "beta", Some(1_000)),
        ]);
        let name = |header: &str, now| tokens.of(header, now).map(|token| token.name.as_str());
        assert_eq!(name("SSWS alpha", 2_000), Some("a"));
        assert_eq!(name("Bearer beta", 999), Some("b"));
        assert_eq!(name("Bearer beta", 1_000), None);
        assert_eq!(name("SSWS gamma", 0), None);
        assert_eq!(name("SSWS ", 0), None);
    }

    #[test]
    fn a_budget_is_spent_and_comes_back() {
        let budgets = Budgets::default();
        for left in [1, 0] {
            let budget = budgets.spend("a", 2, 61_000);
            assert!(budget.granted);
            assert_eq!((budget.remaining, budget.reset_s), (left, 120));
        }
        assert!(!budgets.spend("a", 2, 119_999).granted);
        assert!(budgets.spend("b", 2, 119_999).granted);
        assert!(budgets.spend("a", 2, 120_000).granted);
    }
}
