//! Which requests, and which statuses: written alike in the configuration, for `replay` and in `[[signal]]`.

use std::fmt;

use crate::policy::{path::normalise, signal::Outcome};

/// `/login` is this path, `/account/*` everything that begins so, `*/wp-login.php` everything that ends so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// This path.
    Exact(String),
    /// Everything that begins like this.
    Prefix(String),
    /// Everything that ends like this.
    Suffix(String),
}

/// Which statuses of an answer mean what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statuses {
    named: Vec<(Status, Outcome)>,
}

/// A status, or with `x` for the last two digits a class of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    One(u16),
    Class(u16),
}

impl PathMatch {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let inner = text.trim_matches('*');
        if inner.contains('*') || (text.starts_with('*') && text.ends_with('*')) {
            return Err(format!("`{text}`: one `*` at the beginning or at the end"));
        }
        if inner.contains(['?', '#', ' ']) || inner.chars().any(char::is_control) {
            return Err(format!(
                "`{text}`: a path has no query, no fragment and no spaces"
            ));
        }
        if inner.len() > PATH_BYTES_MAX {
            return Err(format!("a path is at most {PATH_BYTES_MAX} bytes long"));
        }
        if let Some(end) = text.strip_prefix('*') {
            return Ok(Self::Suffix(end.to_owned()));
        }
        if !text.starts_with('/') {
            return Err(format!("`{text}`: a path begins with `/` or `*`"));
        }
        let normal = normalise(inner);
        if normal != inner {
            return Err(format!("`{text}`: write it as servers read it: `{normal}`"));
        }
        Ok(match text.strip_suffix('*') {
            Some(start) => Self::Prefix(start.to_owned()),
            None => Self::Exact(text.to_owned()),
        })
    }

    /// Whether a normalised path matches. A slash at the end makes no other page.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => {
                path == exact || path.strip_suffix('/').is_some_and(|path| path == exact)
            }
            Self::Prefix(start) => path.starts_with(start),
            Self::Suffix(end) => {
                path.ends_with(end)
                    || path
                        .strip_suffix('/')
                        .is_some_and(|path| path.ends_with(end))
            }
        }
    }
}

impl fmt::Display for PathMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => f.write_str(path),
            Self::Prefix(start) => write!(f, "{start}*"),
            Self::Suffix(end) => write!(f, "*{end}"),
        }
    }
}

impl Statuses {
    /// Adds a status (`401`) or a class of them (`4xx`).
    ///
    /// # Errors
    /// It is no status, or means something else already.
    pub fn add(&mut self, text: &str, outcome: Outcome) -> Result<(), String> {
        let class = text.strip_suffix("xx").map(|class| (class, true));
        let (digits, is_class) = class.unwrap_or((text, false));
        let number: Option<u16> = digits.parse().ok();
        let status = match (number, is_class) {
            (Some(class @ 1..=5), true) => Status::Class(class),
            (Some(status @ 100..=599), false) => Status::One(status),
            _ => return Err(format!("`{text}` is no status; write 401 or 4xx")),
        };
        match self.named.iter().find(|(named, _)| *named == status) {
            Some((_, other)) if *other != outcome => {
                Err(format!("`{text}` already means {}", other.name()))
            }
            Some(_) => Ok(()),
            None => {
                self.named.push((status, outcome));
                Ok(())
            }
        }
    }

    /// The same for a list with commas.
    ///
    /// # Errors
    /// As [`Self::add`], for the first that is wrong.
    pub fn add_list(&mut self, list: &str, outcome: Outcome) -> Result<(), String> {
        list.split(',').try_for_each(|text| self.add(text, outcome))
    }

    /// What a status means. A single status counts before its class. Where none is named for success, 2xx and 3xx
    /// are; what else is 4xx has failed, but for statuses that are no outcome of the request.
    #[must_use]
    pub fn outcome(&self, status: u16) -> Option<Outcome> {
        let named = |wanted: Status| {
            let found = self.named.iter().find(|(named, _)| *named == wanted);
            found.map(|(_, outcome)| *outcome)
        };
        let found = named(Status::One(status)).or_else(|| named(Status::Class(status / 100)));
        if found.is_some() {
            return found;
        }
        let names_success = self
            .named
            .iter()
            .any(|(_, outcome)| *outcome == Outcome::Success);
        match status {
            200..=399 if !names_success => Some(Outcome::Success),
            // No such page, wrong method, too slow, too large, too many.
            404 | 405 | 408 | 413 | 414 | 429 | 431 | 499 => None,
            400..=498 => Some(Outcome::Failure),
            _ => None,
        }
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.named.is_empty() {
            return f.write_str("default");
        }
        for (index, (status, outcome)) in self.named.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            match status {
                Status::One(one) => write!(f, "{space}{}={one}", outcome.name())?,
                Status::Class(class) => write!(f, "{space}{}={class}xx", outcome.name())?,
            }
        }
        Ok(())
    }
}

/// Longest pattern.
const PATH_BYTES_MAX: usize = 1_024;
