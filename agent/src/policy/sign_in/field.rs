//! The name of a field, in a form or in JSON.

use std::fmt;

/// A form's field by its name; in JSON also a field of a field: `user.email` (or `/user/email`, RFC 6901).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    text: String,
    parts: Vec<String>,
}

impl Field {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > FIELD_BYTES_MAX {
            return Err(format!("a field's name has 1 to {FIELD_BYTES_MAX} bytes"));
        }
        let parts: Vec<String> = match text.strip_prefix('/') {
            Some(pointer) => pointer
                .split('/')
                .map(unescaped)
                .collect::<Result<_, _>>()?,
            None => text.split('.').map(str::to_owned).collect(),
        };
        if parts.iter().any(String::is_empty) {
            return Err(format!("`{text}`: a part of it is empty"));
        }
        Ok(Self {
            text: text.to_owned(),
            parts,
        })
    }

    /// Whether a form's field of that name is meant.
    pub(super) fn is(&self, name: &[u8], any_case: bool) -> bool {
        same(name, &self.text, any_case)
    }

    /// Whether a key leads on: how many parts are matched with it, and whether it is the end of the path.
    pub(super) fn step(&self, matched: usize, key: &[u8], any_case: bool) -> Option<Step> {
        if matched == 0 && self.is(key, any_case) {
            return Some(Step::End);
        }
        let part = self.parts.get(matched)?;
        same(key, part, any_case).then(|| {
            let matched = matched.saturating_add(1);
            if matched == self.parts.len() {
                Step::End
            } else {
                Step::On(matched)
            }
        })
    }
}

/// Where a key of JSON leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// This many parts are matched.
    On(usize),
    /// The value behind it is the field.
    End,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn same(name: &[u8], wanted: &str, any_case: bool) -> bool {
    name == wanted.as_bytes() || (any_case && name.eq_ignore_ascii_case(wanted.as_bytes()))
}

/// `~1` is `/`, `~0` is `~`.
fn unescaped(part: &str) -> Result<String, String> {
    let wrong = part
        .split('~')
        .skip(1)
        .any(|behind| !behind.starts_with(['0', '1']));
    if wrong {
        return Err(format!("`{part}`: write `~` as `~0`"));
    }
    Ok(part.replace("~1", "/").replace("~0", "~"))
}

/// Longest name of a field.
const FIELD_BYTES_MAX: usize = 256;
