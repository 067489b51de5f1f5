//! What must hold for any body: against serde_json and encoders of our own, and for every place where it may be cut.

use serde_json::{Map, Value};

use super::{json::End, *};
use crate::policy::random::Random;

const KEY: PseudonymKey = PseudonymKey::new(3, 4);
const NAMES: [&str; 8] = ["user", "name", "a", "b.c", "us\"er", "ü", "0", ""];

fn text(random: &mut Random) -> String {
    let length = random.below(6);
    let letters: Vec<char> = "ab1 \"\\/\n&=%+é😀{}[]:,-".chars().collect();
    (0..length)
        .map(|_| letters[usize::try_from(random.below(letters.len() as u64)).unwrap()])
        .collect()
}

fn pick(random: &mut Random) -> &'static str {
    NAMES[usize::try_from(random.below(NAMES.len() as u64)).unwrap()]
}

fn value(random: &mut Random, depth: u64) -> Value {
    match random.below(if depth == 0 { 4 } else { 6 }) {
        0 => Value::from(random.below(1_000)),
        1 => Value::Bool(random.below(2) == 0),
        2 => Value::Null,
        3 => Value::String(text(random)),
        4 => (0..random.below(4))
            .map(|_| value(random, depth - 1))
            .collect(),
        _ => {
            let pairs =
                (0..random.below(5)).map(|_| (pick(random).to_owned(), value(random, depth - 1)));
            Value::Object(pairs.collect::<Map<_, _>>())
        }
    }
}

fn expected(value: &Value, parts: &[String]) -> Option<String> {
    let found = parts.iter().try_fold(value, |value, part| match value {
        Value::Array(items) => part
            .parse::<usize>()
            .ok()
            .and_then(|index| items.get(index)),
        other => other.get(part),
    })?;
    match found {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(found.to_string()),
        _ => None,
    }
}

#[test]
fn a_field_of_json_is_what_a_parser_finds() {
    let mut random = Random::new(1);
    let mut hits = 0;
    for _ in 0..60_000 {
        let value = value(&mut random, 4);
        let parts: Vec<String> = (0..=random.below(3))
            .map(|_| pick(&mut random).to_owned())
            .collect();
        let pointer: String = parts.iter().map(|part| format!("/{part}")).collect();
        let Ok(field) = Field::parse(&pointer) else {
            continue;
        };
        let text = if random.below(2) == 0 {
            serde_json::to_string(&value)
        } else {
            serde_json::to_string_pretty(&value)
        };
        let text = text.unwrap();
        let mut found = Vec::new();
        let end = json::find(text.as_bytes(), &field, false, |value, is_whole| {
            assert!(is_whole);
            found.push(String::from_utf8(value.to_vec()).unwrap());
        });
        assert_eq!(end, End::Whole, "{text}");
        assert_eq!(
            found,
            Vec::from_iter(expected(&value, &parts)),
            "{pointer} {text}"
        );
        hits += found.len();
        // Cut anywhere, it finds the same or nothing.
        let cut = usize::try_from(random.below(text.len() as u64)).unwrap();
        json::find(&text.as_bytes()[..cut], &field, false, |value, is_whole| {
            assert!(!is_whole || value == found[0].as_bytes(), "{text} at {cut}");
        });
    }
    assert!(hits > 400, "{hits}");
}

fn encoded(text: &str, random: &mut Random) -> String {
    let encode = |byte: u8| match byte {
        b' ' if byte != 0 => "+".to_owned(),
        b'a'..=b'z' | b'0'..=b'9' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes()
        .map(|byte| match random.below(4) {
            0 => format!("%{byte:02x}"),
            _ => encode(byte),
        })
        .collect()
}

#[test]
fn forms_and_parts_tell_what_was_put_in_wherever_they_are_cut() {
    let mut random = Random::new(2);
    for round in 0..10_000 {
        let fields: Vec<(String, String)> = (0..random.below(5))
            .map(|at| {
                (
                    format!("{}{at}", pick(&mut random).replace('"', "")),
                    text(&mut random),
                )
            })
            .collect();
        let is_form = round % 2 == 0;
        let (content_type, body) = if is_form {
            let pairs: Vec<String> = fields
                .iter()
                .map(|(name, value)| {
                    format!(
                        "{}={}",
                        encoded(name, &mut random),
                        encoded(value, &mut random)
                    )
                })
                .collect();
            ("application/x-www-form-urlencoded", pairs.join("&"))
        } else {
            let part = |(name, value): &(String, String)| {
                format!(
                    "--b-b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
                )
            };
            let parts: String = fields.iter().map(part).collect();
            (
                "multipart/form-data; boundary=b-b",
                format!("{parts}--b-b--\r\n"),
            )
        };
        for (name, value) in &fields {
            let Ok(field) = Field::parse(name) else {
                continue;
            };
            let read = |bytes, is_whole| {
                let body = Body {
                    content_type: Some(content_type.as_bytes()),
                    content_encoding: None,
                    bytes,
                    is_whole,
                };
                read(&field, Repeated::First, &KEY, None, body).user
            };
            let user = (!value.trim_ascii().is_empty()).then(|| KEY.user(value.as_bytes()));
            assert_eq!(read(body.as_bytes(), true), user, "{name} {body}");
            let cut = usize::try_from(random.below(body.len() as u64)).unwrap();
            let of_cut = read(&body.as_bytes()[..cut], false);
            assert!(of_cut.is_none() || of_cut == user, "{name} {body} at {cut}");
        }
    }
}
