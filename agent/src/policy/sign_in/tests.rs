//! Bodies as browsers, applications and attackers send them; answers as applications give them.

use super::*;
use crate::policy::signal::Outcome;

const KEY: PseudonymKey = PseudonymKey::new(1, 2);
const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json; charset=utf-8";
const PARTS: &str = "multipart/form-data; boundary=XX";

fn user(name: &str) -> Option<Pseudonym> {
    Some(KEY.user(name.as_bytes()))
}

fn body<'a>(content_type: &'a str, bytes: &'a [u8]) -> Body<'a> {
    Body {
        content_type: Some(content_type.as_bytes()).filter(|text| !text.is_empty()),
        content_encoding: None,
        bytes,
        is_whole: true,
    }
}

fn found(field: &str, take: Repeated, query: &str, body: Body<'_>) -> Found {
    let query = Some(query).filter(|query| !query.is_empty());
    read(&Field::parse(field).unwrap(), take, &KEY, query, body)
}

const PART: &str =
    "--XX\r\nContent-Disposition: form-data; name=\"user\"\r\n\r\nalice\r\n--XX--\r\n";

/// Content type, field, query, body, user.
const FORMS: &[(&str, &str, &str, &str, Option<&str>)] = &[
    (FORM, "user", "", "user=alice&password=x", Some("alice")),
    (
        FORM,
        "user",
        "",
        "password=user%3D&user=alice",
        Some("alice"),
    ),
    (FORM, "user", "", "a&b&&=c&user=al+ic%65", Some("al ice")),
    (
        FORM,
        "user",
        "",
        "us%65r=alice%40example.org",
        Some("alice@example.org"),
    ),
    (FORM, "user[email]", "", "user%5Bemail%5D=a@b", Some("a@b")),
    (FORM, "user", "", "user=100%&x=%zz", Some("100%")),
    (FORM, "user", "", "user=%ff%fe", None),
    (FORM, "user", "", "user=", None),
    (FORM, "user", "", "user=+%20", None),
    (FORM, "user", "", "username=alice", None),
    (FORM, "user", "user=alice&x=1", "password=x", Some("alice")),
    ("", "user", "", "user=alice", Some("alice")),
    (JSON, "user", "", r#"{"user":"alice"}"#, Some("alice")),
    (
        JSON,
        "user",
        "",
        "\u{feff} {\"user\" : \"alice\"}",
        Some("alice"),
    ),
    (
        JSON,
        "user",
        "",
        r#"{"x":{"user":"bob"},"user":"alice"}"#,
        Some("alice"),
    ),
    (
        JSON,
        "a.b.c",
        "",
        r#"{"a":{"c":"no","b":{"c":"alice"}}}"#,
        Some("alice"),
    ),
    (JSON, "a.b", "", r#"{"a.b":"alice"}"#, Some("alice")),
    (
        JSON,
        "/a/b~1c",
        "",
        r#"{"a":{"b/c":"alice"}}"#,
        Some("alice"),
    ),
    (
        JSON,
        "/0/user",
        "",
        r#"[{"user":"alice"},{"user":"bob"}]"#,
        Some("alice"),
    ),
    (
        JSON,
        "users.1",
        "",
        r#"{"users":[["x"],"alice",{}]}"#,
        Some("alice"),
    ),
    (
        JSON,
        "user",
        "",
        r#"{"u\u0073er":"\u0061lic\u0065\n"}"#,
        Some("alice"),
    ),
    (
        JSON,
        "user",
        "",
        r#"{"user":"\ud83d\ude00\ud83d"}"#,
        Some("😀\u{fffd}"),
    ),
    (JSON, "user", "", r#"{"user":17,"x":true}"#, Some("17")),
    (JSON, "user", "", r#"{"user":null}"#, None),
    (JSON, "user", "", r#"{"user":{"name":"alice"}}"#, None),
    (JSON, "user", "", r#""alice""#, None),
    // Whatever it says it is.
    (FORM, "user", "", r#" {"user":"alice"}"#, Some("alice")),
    (
        "text/plain",
        "user",
        "",
        r#"{"user":"alice"}"#,
        Some("alice"),
    ),
    (PARTS, "user", "", PART, Some("alice")),
    (
        PARTS,
        "user",
        "",
        "--XX\nContent-Disposition: form-data; name=user\n\nalice\n--XX--",
        Some("alice"),
    ),
    (
        "Multipart/Form-Data; charset=utf-8; Boundary=\"X;X\"",
        "user",
        "",
        "preamble\r\n--X;X \r\nX: y\r\ncontent-disposition: form-data; x=\"name=\"; name=\"user\"\r\n\r\n\
             alice\r\n--X;Xno\r\n--X;X--",
        Some("alice\r\n--X;Xno"),
    ),
    (
        PARTS,
        "user",
        "",
        "--XX\r\nContent-Disposition: form-data; name=\"user\"; filename=\"u\"\r\n\r\nalice\r\n--XX--",
        None,
    ),
    ("multipart/form-data", "user", "", PART, None),
];

#[test]
fn a_user_is_found_in_every_form_of_body() {
    for &(content_type, field, query, text, expected) in FORMS {
        let found = found(
            field,
            Repeated::All,
            query,
            body(content_type, text.as_bytes()),
        );
        let expected = match (text, expected) {
            ("user=%ff%fe", _) => Some(KEY.user(b"\xff\xfe")),
            (_, name) => name.and_then(user),
        };
        assert_eq!(found.user, expected, "{content_type} {field} {text}");
        assert!(!found.is_repeated && !found.is_cut, "{text}: {found:?}");
    }
}

#[test]
fn a_field_that_stands_twice_hides_nobody() {
    let part = |value: &str| {
        format!("--XX\r\nContent-Disposition: form-data; name=user\r\n\r\n{value}\r\n")
    };
    let parts = format!("{}{}--XX--", part("alice"), part("bob"));
    let table = [
        (FORM, "", "user=alice&user=bob"),
        (FORM, "user=alice", "user=bob"),
        (JSON, "", r#"{"user":"alice","user":"bob"}"#),
        (PARTS, "", &parts),
    ];
    let both = KEY.both(KEY.user(b"alice"), KEY.user(b"bob"));
    assert_ne!(
        both,
        KEY.both(KEY.user(b"carol"), KEY.user(b"bob")),
        "nor behind a decoy"
    );
    for (content_type, query, text) in table {
        for (take, expected) in [
            (Repeated::All, Some(both)),
            (Repeated::First, user("alice")),
            (Repeated::Last, user("bob")),
        ] {
            let found = found("user", take, query, body(content_type, text.as_bytes()));
            assert_eq!(
                (found.user, found.is_repeated),
                (expected, true),
                "{take:?} {text}"
            );
        }
    }
    let any_case = body(FORM, b"user=alice&USER=bob");
    assert_eq!(found("user", Repeated::All, "", any_case).user, Some(both));
    assert_eq!(
        found("user", Repeated::Last, "", any_case).user,
        user("alice")
    );
    let same = found(
        "user",
        Repeated::All,
        "",
        body(FORM, b"user=Alice&user=alice+"),
    );
    assert_eq!((same.user, same.is_repeated), (user("alice"), false));
}

#[test]
fn what_is_missing_is_told() {
    let cut = |content_type, text: &str| {
        let found = found(
            "user",
            Repeated::All,
            "",
            Body {
                is_whole: false,
                ..body(content_type, text.as_bytes())
            },
        );
        (found.user, found.is_cut, found.is_unreadable)
    };
    assert_eq!(cut(FORM, "x=1&user=ali"), (None, true, false));
    assert_eq!(cut(FORM, "user=alice&"), (user("alice"), false, false));
    assert_eq!(cut(JSON, r#"{"user":"ali"#), (None, true, false));
    assert_eq!(
        cut(JSON, r#"{"user":"alice""#),
        (user("alice"), false, false)
    );
    assert_eq!(cut(JSON, r#"{"user":12"#), (None, true, false));
    let head = "--XX\r\nContent-Disposition: form-data; name=user\r\n\r\nali";
    assert_eq!(cut(PARTS, head), (None, true, false));
    // Of a megabyte of a name the beginning counts, and it is enough.
    let long = "x".repeat(1 << 20);
    for (content_type, text) in [
        (FORM, format!("user={long}")),
        (JSON, format!(r#"{{"user":"{long}"#)),
        (PARTS, format!("{head}{long}").replace("ali", "")),
    ] {
        assert_eq!(
            cut(content_type, &text[..16_384]),
            (user(&long), false, false)
        );
    }
    let read = |content_type, bytes: &[u8], encoding: &str| {
        let body = Body {
            content_encoding: Some(encoding.as_bytes()),
            ..body(content_type, bytes)
        };
        let found = found("user", Repeated::All, "", body);
        (found.user, found.is_unreadable)
    };
    assert_eq!(read(FORM, b"user=alice", "gzip"), (None, true));
    assert_eq!(
        read(FORM, b"user=alice", " Identity"),
        (user("alice"), false)
    );
    assert_eq!(read(FORM, b"", "gzip"), (None, false));
    assert_eq!(
        read(JSON, b"{\"user\":\"alice\",]", ""),
        (None, true),
        "an unknown encoding"
    );
    for (content_type, bytes) in [
        (JSON, &b"{\"x\":]"[..]),
        (JSON, b"{\"x\":1"),
        (JSON, b"\xff\xfe{\0"),
        (PARTS, b"--YY\r\n"),
        ("image/png", b"\x89PNG"),
    ] {
        let found = found("user", Repeated::All, "", body(content_type, bytes));
        assert!(found.is_unreadable && found.user.is_none(), "{bytes:?}");
    }
}

#[test]
fn basic_credentials_name_a_user() {
    let table: [(&str, Option<&str>); 10] = [
        ("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", Some("Aladdin")),
        ("basic   QWxhZGRpbjpvcGVuIHNlc2FtZQ", Some("aladdin")),
        ("Basic YTpi", Some("a")),
        ("Basic YTo=", Some("a")),
        ("Basic OmI=", None),
        ("Basic YQ==", None),
        ("Basic Y", None),
        ("Basic !!!!", None),
        ("BasicYTpi", None),
        ("Bearer YTpi", None),
    ];
    for (value, expected) in table {
        assert_eq!(
            basic_user(&KEY, value.as_bytes()),
            expected.and_then(user),
            "{value}"
        );
    }
}

fn sign_in(method: &str, path: &str) -> SignIn {
    SignIn {
        method: method.to_owned(),
        path: PathMatch::parse(path).unwrap(),
        flow: Flow::SignIn,
        user: UserPlace::Nowhere,
        body_bytes_max: 16_384,
        answer: Answer::default(),
    }
}

#[test]
fn every_spelling_of_a_path_is_the_request() {
    let all = [
        sign_in("POST", "/login"),
        sign_in("*", "/account/*"),
        sign_in("PUT", "*/session"),
    ];
    for (method, path, expected) in [
        ("POST", "/login", Some(0)),
        ("POST", "/login/", Some(0)),
        ("POST", "//login?next=/", Some(0)),
        ("POST", "/%6cogin", Some(0)),
        ("POST", "/x/../login;y", Some(0)),
        ("GET", "/login", None),
        ("post", "/login", None),
        ("POST", "/login/x", None),
        ("GET", "/account/x", Some(1)),
        ("PUT", "/api/session", Some(2)),
        ("PUT", "/account/session", Some(1)),
    ] {
        let expected = expected.map(|index: usize| &all[index]);
        assert_eq!(find(&all, method, path), expected, "{method} {path}");
    }
}

#[test]
fn patterns_are_read_and_mistakes_named() {
    for (text, expected) in [
        ("login", "begins with `/`"),
        ("/a*b", "one `*`"),
        ("*a*", "one `*`"),
        ("/login?x", "no query"),
        ("/a b", "no spaces"),
        ("//login", "write it as servers read it: `/login`"),
    ] {
        let error = PathMatch::parse(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
    for text in ["/login", "/account/*", "*/wp-login.php"] {
        assert_eq!(PathMatch::parse(text).unwrap().to_string(), text);
    }
    for (text, expected) in [("", "1 to 256"), ("a..b", "is empty"), ("/a~2", "`~0`")] {
        let error = Field::parse(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn statuses_tell_outcomes() {
    let mut statuses = Statuses::default();
    assert_eq!(statuses.outcome(204), Some(Outcome::Success));
    assert_eq!(statuses.outcome(401), Some(Outcome::Failure));
    for (list, outcome) in [
        ("302,303", Outcome::Success),
        ("2xx", Outcome::Failure),
        ("404", Outcome::UnknownUser),
        ("202", Outcome::Challenge),
    ] {
        statuses.add_list(list, outcome).unwrap();
    }
    for (status, expected) in [
        (302, Some(Outcome::Success)),
        (301, None),
        (200, Some(Outcome::Failure)),
        (202, Some(Outcome::Challenge)),
        (404, Some(Outcome::UnknownUser)),
        (403, Some(Outcome::Failure)),
        (429, None),
        (500, None),
        (101, None),
    ] {
        assert_eq!(statuses.outcome(status), expected, "{status}");
    }
    assert!(
        statuses
            .add("302", Outcome::Failure)
            .unwrap_err()
            .contains("already means success")
    );
    assert!(statuses.add("302", Outcome::Success).is_ok());
    assert!(
        statuses
            .add("6xx", Outcome::Failure)
            .unwrap_err()
            .contains("no status")
    );
}

#[test]
fn words_of_an_answer_tell_outcomes() {
    let mut answer = Answer::default();
    for text in [
        "failure=/login?error*,denied",
        "unknown-user=*no such user*",
        "success=*home, ok",
    ] {
        answer.add_words(text).unwrap();
    }
    for (word, expected) in [
        ("/login?error=1", Some(Outcome::Failure)),
        ("DENIED ", Some(Outcome::Failure)),
        ("there is No such User here", Some(Outcome::UnknownUser)),
        ("https://a/home", Some(Outcome::Success)),
        ("ok", Some(Outcome::Success)),
        ("okay", None),
        ("", None),
    ] {
        assert_eq!(answer.word(word.as_bytes()), expected, "{word}");
    }
    for (text, expected) in [
        ("ok", "MEANING=WORD"),
        ("fine=ok", "no outcome"),
        ("success=a*b", "at its ends only"),
        ("success=", "at its ends only"),
        ("success=denied", "already means failure"),
    ] {
        let error = answer.add_words(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let field = Field::parse("error.code").unwrap();
    let text = br#"{"error":{"code":"a"},"x":1,"error":{"code":"b"#;
    assert_eq!(
        field_of_answer(text, &field),
        (Some(b"a".to_vec()), false),
        "of what is whole"
    );
    assert_eq!(field_of_answer(b"<html>", &field), (None, false));
    assert_eq!(field_of_answer(b"{\"error\":{}}", &field), (None, true));
}
