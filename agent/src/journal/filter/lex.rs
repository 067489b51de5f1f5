//! The words and literals of an expression, each with its place.

use serde_json::Number;

use super::{FilterError, Literal};
use crate::signal::time;

/// Reads an expression from left to right.
pub(super) struct Lexer {
    characters: Vec<char>,
    at: usize,
    /// Where the last word or literal began.
    pub(super) began: usize,
}

impl Lexer {
    pub(super) fn new(text: &str) -> Self {
        Self {
            characters: text.chars().collect(),
            at: 0,
            began: 0,
        }
    }

    /// The next word: a parenthesis, or what stands up to a space or a parenthesis.
    pub(super) fn word(&mut self) -> Option<String> {
        self.skip_spaces();
        let mut word = String::new();
        while let Some(character) = self.peek() {
            let parenthesis = matches!(character, '(' | ')');
            if is_space(character) || (parenthesis && !word.is_empty()) {
                break;
            }
            word.push(character);
            self.at += 1;
            if parenthesis {
                break;
            }
        }
        (!word.is_empty()).then_some(word)
    }

    /// The next word, which stays.
    pub(super) fn peek_word(&mut self) -> Option<String> {
        let before = self.at;
        let word = self.word();
        self.at = before;
        word
    }

    /// The place that is read next, behind spaces.
    pub(super) fn place(&mut self) -> usize {
        self.skip_spaces();
        self.at
    }

    /// What stands behind an operator.
    pub(super) fn literal(&mut self, operator: &str) -> Result<Literal, FilterError> {
        self.skip_spaces();
        if self.peek() == Some('"') {
            let text = self.string()?;
            return Ok(match time::iso(&text) {
                Some((unix_ms, "")) => Literal::Date { text, unix_ms },
                _ => Literal::Text(text),
            });
        }
        let Some(word) = self.word() else {
            let at = self.began;
            return Err(FilterError::new(
                at,
                VALUE,
                format!(
                    "End of input at position {at} while expecting a value for operator {operator}"
                ),
            ));
        };
        if word.eq_ignore_ascii_case("true") {
            return Ok(Literal::Boolean(true));
        }
        if word.eq_ignore_ascii_case("false") {
            return Ok(Literal::Boolean(false));
        }
        serde_json::from_str::<Number>(&word)
            .map(Literal::Number)
            .map_err(|_| {
                let at = self.began;
                FilterError::new(
                    at,
                    VALUE,
                    format!("Invalid filter value '{word}' at position {at}. Expected {VALUE}"),
                )
            })
    }

    /// A JSON string, from its opening quote.
    fn string(&mut self) -> Result<String, FilterError> {
        self.at += 1;
        let mut text = String::new();
        loop {
            match self.peek() {
                None => return Err(self.unclosed()),
                Some('"') => break,
                Some('\\') => text.push_str(&self.escape()?),
                Some(character) => {
                    text.push(character);
                    self.at += 1;
                }
            }
        }
        self.at += 1;
        match self.peek() {
            Some(character) if !is_space(character) && character != ')' => Err(FilterError::new(
                self.at,
                "and, or, a closing parenthesis or the end",
                format!(
                    "Unexpected characters '{character}' at position {}",
                    self.at
                ),
            )),
            _ => Ok(text),
        }
    }

    /// `\n`, `\u00e9`, or two of the latter for one character beyond the first 65,536.
    fn escape(&mut self) -> Result<String, FilterError> {
        for length in [2, 6, 12] {
            let Some(raw) = self.characters.get(self.at..self.at + length) else {
                break;
            };
            let quoted: String = ['"'].iter().chain(raw).chain(&['"']).collect();
            if let Ok(text) = serde_json::from_str::<String>(&quoted) {
                self.at += length;
                return Ok(text);
            }
        }
        let Some(escaped) = self.characters.get(self.at + 1) else {
            return Err(self.unclosed());
        };
        Err(FilterError::new(
            self.at,
            "one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX",
            format!(
                "Unrecognized escape sequence '\\{escaped}' in a string value at position {}",
                self.at
            ),
        ))
    }

    fn unclosed(&self) -> FilterError {
        FilterError::new(
            self.began,
            "a closing quote",
            format!(
                "End of input in a string value that began at position {}",
                self.began
            ),
        )
    }

    fn peek(&self) -> Option<char> {
        self.characters.get(self.at).copied()
    }

    fn skip_spaces(&mut self) {
        while self.peek().is_some_and(is_space) {
            self.at += 1;
        }
        self.began = self.at;
    }
}

const fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r')
}

pub(super) const VALUE: &str = "a string in quotes, a number or a boolean value (true,false)";
