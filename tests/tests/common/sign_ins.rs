//! What must hold for any body that a client sends to sign in: the body of the fuzz target `sign_in`, run over seeds by
//! an ordinary test too.

use edgeward::policy::{
    sign_in::{Body, Field, Repeated, basic_user, field_of_answer, read},
    signal::PseudonymKey,
};

const KEY: PseudonymKey = PseudonymKey::new(5, 6);
const TYPES: [Option<&[u8]>; 5] = [
    None,
    Some(b"application/x-www-form-urlencoded"),
    Some(b"application/json"),
    Some(b"multipart/form-data; boundary=XX"),
    Some(b"text/plain"),
];

/// The first two bytes choose type and cut.
pub(crate) fn body(bytes: &[u8]) {
    let Some(([kind, cut], text)) = bytes.split_first_chunk::<2>() else {
        return;
    };
    let Ok(field) = Field::parse("user.name") else {
        return;
    };
    let content_type = TYPES
        .get(usize::from(*kind) % TYPES.len())
        .copied()
        .flatten();
    let find = |bytes, is_whole, take| {
        let body = Body {
            content_type,
            content_encoding: None,
            bytes,
            is_whole,
        };
        read(&field, take, &KEY, None, body)
    };
    let whole = find(text, true, Repeated::First);
    let at = text.len() * usize::from(*cut) / 256;
    let part = find(text.get(..at).unwrap_or_default(), false, Repeated::First);
    // A part tells what the whole tells, or nothing; what makes the whole another form comes first in it.
    assert!(
        part.user.is_none() || part.user == whole.user,
        "{part:?} of {whole:?}"
    );
    let [all, last] = [Repeated::All, Repeated::Last].map(|take| find(text, true, take));
    assert_eq!(whole.user.is_some(), last.user.is_some());
    assert!(
        all.user.is_some() || whole.user.is_none(),
        "any case is one of them"
    );
    assert_eq!(whole, find(text, true, Repeated::First), "twice the same");
    let _ = field_of_answer(text, &field);
    let _ = basic_user(&KEY, text);
}
