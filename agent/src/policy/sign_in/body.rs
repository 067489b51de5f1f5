//! The beginning of a request's body, whatever form it is in.

use super::{
    field::Field,
    form, json, multipart,
    user::{Found, Names, Repeated},
};
use crate::policy::signal::PseudonymKey;

/// What was read of a body.
#[derive(Clone, Copy, Debug)]
pub struct Body<'a> {
    /// `Content-Type`, as received.
    pub content_type: Option<&'a [u8]>,
    /// `Content-Encoding`, as received.
    pub content_encoding: Option<&'a [u8]>,
    /// Its beginning.
    pub bytes: &'a [u8],
    /// That is all of it.
    pub is_whole: bool,
}

/// Finds the user in the query and the body of a request.
///
/// Some applications read fields of the query like those of the form; they stand ahead of them. The form of a body is
/// told by its type; one that begins like JSON is JSON whatever it says, as some applications do not look either.
#[must_use]
pub fn read(
    field: &Field,
    take: Repeated,
    key: &PseudonymKey,
    query: Option<&str>,
    body: Body<'_>,
) -> Found {
    let mut names = Names::new(key, take);
    if let Some(query) = query {
        form::read(query.as_bytes(), true, field, &mut names);
    }
    if body.bytes.is_empty() {
        return names.found();
    }
    let is_encoded = body
        .content_encoding
        .is_some_and(|encoding| !encoding.trim_ascii().eq_ignore_ascii_case(b"identity"));
    if is_encoded {
        return Found {
            is_unreadable: true,
            ..names.found()
        };
    }
    let is_readable = fields(field, body, &mut names);
    let found = names.found();
    Found {
        is_cut: !body.is_whole && found.user.is_none(),
        is_unreadable: !is_readable,
        ..found
    }
}

/// Whether the body is what it says.
fn fields(field: &Field, body: Body<'_>, names: &mut Names<'_>) -> bool {
    let Body {
        bytes, is_whole, ..
    } = body;
    let content_type = body.content_type.unwrap_or_default().trim_ascii();
    if is(content_type, b"multipart/form-data") {
        return multipart::boundary(content_type)
            .is_some_and(|boundary| multipart::read(bytes, boundary, is_whole, field, names));
    }
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let begins_as_json = matches!(text.trim_ascii_start().first(), Some(b'{' | b'['));
    if begins_as_json {
        let any_case = names.any_case();
        let end = json::find(bytes, field, any_case, |value, whole| {
            names.add(value, whole);
        });
        return match end {
            json::End::Whole => true,
            json::End::Cut => !is_whole,
            json::End::Malformed => false,
        };
    }
    form::read(bytes, is_whole, field, names);
    content_type.is_empty() || is(content_type, b"application/x-www-form-urlencoded")
}

fn is(content_type: &[u8], wanted: &[u8]) -> bool {
    content_type
        .split_at_checked(wanted.len())
        .is_some_and(|(name, rest)| {
            name.eq_ignore_ascii_case(wanted)
                && matches!(rest.trim_ascii_start().first(), None | Some(b';'))
        })
}
