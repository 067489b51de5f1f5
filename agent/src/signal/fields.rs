//! `name=value` pairs, as logfmt and Keycloak write them.

/// Pairs of a text: `a=b c="d e"` with spaces or commas between. Quotes may hold escaped quotes.
pub(super) struct Pairs<'a> {
    rest: &'a str,
}

impl<'a> Pairs<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { rest: text }
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.rest.trim_start_matches([' ', ',']);
        let (name, after) = text.split_once('=')?;
        // Words without a value before the name are not part of it.
        let name = name.rsplit([' ', ',']).next().unwrap_or(name);
        let quote = after
            .chars()
            .next()
            .filter(|first| matches!(first, '"' | '\''));
        let Some(quote) = quote else {
            let end = after.find([' ', ',']).unwrap_or(after.len());
            let (value, rest) = after.split_at_checked(end)?;
            self.rest = rest;
            return Some((name, value));
        };
        let inner = after.get(1..)?;
        let mut escaped = false;
        let end = inner.find(|c| {
            let ends = c == quote && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let (value, rest) = match end {
            Some(end) => (inner.get(..end)?, inner.get(end + 1..).unwrap_or_default()),
            None => (inner, ""),
        };
        self.rest = rest;
        Some((name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_taken_apart() {
        let table: [(&str, &[(&str, &str)]); 6] = [
            ("a=b, c=d", &[("a", "b"), ("c", "d")]),
            (
                r#"a="b, c" d="e \" f" g=h"#,
                &[("a", "b, c"), ("d", r#"e \" f"#), ("g", "h")],
            ),
            ("word a=b word c=", &[("a", "b"), ("c", "")]),
            ("a='b c'", &[("a", "b c")]),
            (r#"a="open"#, &[("a", "open")]),
            ("nothing", &[]),
        ];
        for (text, expected) in table {
            assert_eq!(Pairs::new(text).collect::<Vec<_>>(), expected, "{text}");
        }
    }
}
