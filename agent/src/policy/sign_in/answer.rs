//! How an answer tells what became of a sign-in.

use std::fmt;

use super::{field::Field, route::Statuses};
use crate::policy::signal::Outcome;

/// The rules of one kind of sign-in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// What a status means.
    pub statuses: Statuses,
    /// Where a word stands that says more than the status.
    pub place: Place,
    /// What words mean there; the first that fits counts.
    pub words: Vec<(Word, Outcome)>,
}

/// Where an answer has its word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: the status tells.
    #[default]
    Status,
    /// In a header, by its name in lower case.
    Header(String),
    /// In a field of a JSON body, looked for in this many bytes from its beginning.
    Field(Field, usize),
}

/// A word, or with `*` at an end (or at both) a piece of one. ASCII case is looked past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    text: String,
    open_start: bool,
    open_end: bool,
}

impl Answer {
    /// Adds `MEANING=WORD[,WORD…]`; the meanings are success, failure, unknown-user and challenge.
    ///
    /// # Errors
    /// What is wrong, in a sentence.
    pub fn add_words(&mut self, text: &str) -> Result<(), String> {
        let (meaning, words) = text
            .split_once('=')
            .ok_or_else(|| format!("`{text}`: write MEANING=WORD, as in success=LOGIN_OK"))?;
        let outcome = Outcome::named(meaning.trim()).ok_or_else(|| {
            format!(
                "`{meaning}` is no outcome; there are success, failure, unknown-user, challenge"
            )
        })?;
        for word in words.split(',') {
            let word = Word::parse(word)?;
            if let Some((_, other)) = self.words.iter().find(|(known, _)| *known == word)
                && *other != outcome
            {
                return Err(format!("`{word}` already means {}", other.name()));
            }
            self.words.push((word, outcome));
        }
        if self.words.len() > WORDS_MAX {
            return Err(format!("more than {WORDS_MAX} words"));
        }
        Ok(())
    }

    /// What a word of the answer means.
    #[must_use]
    pub fn word(&self, word: &[u8]) -> Option<Outcome> {
        let found = self.words.iter().find(|(known, _)| known.is(word));
        found.map(|(_, outcome)| *outcome)
    }
}

impl Word {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (open_start, rest) = match text.strip_prefix('*') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (open_end, rest) = match rest.strip_suffix('*') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        if rest.contains('*') || text.is_empty() {
            return Err(format!("`{text}`: write a word, with `*` at its ends only"));
        }
        Ok(Self {
            text: rest.to_ascii_lowercase(),
            open_start,
            open_end,
        })
    }

    fn is(&self, word: &[u8]) -> bool {
        let word = word.trim_ascii().to_ascii_lowercase();
        let text = self.text.as_bytes();
        match (self.open_start, self.open_end) {
            (false, false) => word == text,
            (false, true) => word.starts_with(text),
            (true, false) => word.ends_with(text),
            (true, true) => memchr::memmem::find(&word, text).is_some(),
        }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = |open: bool| if open { "*" } else { "" };
        let (start, end) = (star(self.open_start), star(self.open_end));
        write!(f, "{start}{}{end}", self.text)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status => f.write_str("status"),
            Self::Header(name) => write!(f, "header {name}"),
            Self::Field(field, bytes) => write!(f, "field {field} within {bytes} bytes"),
        }
    }
}

/// Most words: each is compared with the answer's.
const WORDS_MAX: usize = 64;
