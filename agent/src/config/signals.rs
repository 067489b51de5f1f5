//! `[[signal]]`: logs in which sign-ins and their outcomes are found.

use std::{collections::HashMap, path::PathBuf};

use super::{
    Service, SignalFormat, SignalPlace, SignalSource, SignalStart,
    endpoints::named_service,
    error::shown,
    places,
    raw::{Node, Table},
    zones::{Typed, name},
};
use crate::signal::{Expression, JsonFields, Recipe, Route, Routes, Words};

const SIGNAL_KEYS: [&str; 10] = [
    "name", "service", "file", "journal", "format", "start", "routes", "fields", "pattern",
    "outcomes",
];

/// Most logs: each is followed by a thread of its own.
const SIGNALS_MAX: usize = 64;
/// Most units of one journal source: each is an argument of `journalctl`.
const UNITS_MAX: usize = 32;
/// Longest name of a unit, bytes (systemd's own limit).
const UNIT_BYTES_MAX: usize = 255;

pub(super) fn signals(top: &Table<'_>, services: &[Typed<'_, Service>]) -> Vec<SignalSource> {
    let tables = top
        .get("signal")
        .map(|node| node.tables(&SIGNAL_KEYS))
        .unwrap_or_default();
    if let Some(first) = tables.get(SIGNALS_MAX) {
        let what = format!(
            "is one of {}; at most {SIGNALS_MAX} are possible",
            tables.len()
        );
        first.error(what, None);
    }
    let mut seen = Seen::default();
    tables
        .into_iter()
        .map(|mut table| {
            let source = signal(&mut table, services);
            seen.check(&table, &source);
            source
        })
        .collect()
}

fn signal(table: &mut Table<'_>, services: &[Typed<'_, Service>]) -> SignalSource {
    let name = name(table);
    let known: Vec<&str> = SignalFormat::NAMED.iter().map(|(word, _)| *word).collect();
    let format = table
        .required("format", &format!("one of {}", known.join(", ")))
        .and_then(|node| node.word(&SignalFormat::NAMED));
    let service = if services.is_empty() && table.get("service").is_none() {
        None
    } else {
        named_service(table, services)
    };
    let place = place(table);
    if let (Some(SignalPlace::Journal(_)), Some(node)) = (&place, table.get("start")) {
        node.error(
            "is for files; a journal is read from now on the first time",
            Some("remove it".to_owned()),
        );
    }
    SignalSource {
        name,
        service,
        place: place.unwrap_or_else(|| SignalPlace::File(PathBuf::new())),
        format: format.unwrap_or(SignalFormat::Nginx),
        recipe: recipe(table, format),
        start: table.choice("start", &SignalStart::NAMED),
    }
}

fn place(table: &Table<'_>) -> Option<SignalPlace> {
    match (table.get("file"), table.get("journal")) {
        (Some(node), None) => places::absolute(&node).map(SignalPlace::File),
        (None, Some(node)) => Some(SignalPlace::Journal(units(&node))),
        (Some(_), Some(journal)) => {
            journal.error(
                "stands beside `file`: a log is in one place",
                Some("make a second [[signal]] of it".to_owned()),
            );
            None
        }
        (None, None) => {
            table.error(
                "neither `file` nor `journal` is there".to_owned(),
                Some(
                    "write file = \"/var/log/nginx/access.log\" or journal = [\"ssh.service\"]"
                        .to_owned(),
                ),
            );
            None
        }
    }
}

fn units(node: &Node<'_>) -> Vec<String> {
    let named = node.strings();
    if node.is_empty_array() {
        node.error("names no unit", Some("write [\"ssh.service\"]".to_owned()));
    }
    if named.len() > UNITS_MAX {
        node.error(
            format!(
                "names {} units; at most {UNITS_MAX} are possible",
                named.len()
            ),
            None,
        );
    }
    for (element, unit) in &named {
        // As systemd has them; a pattern is permitted by journalctl.
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@*?[]!".contains(&byte);
        if unit.is_empty()
            || unit.len() > UNIT_BYTES_MAX
            || unit.starts_with('-')
            || !unit.bytes().all(known)
        {
            element.error(
                format!("\"{}\" is no name of a unit", shown(unit)),
                Some("write it as `systemctl` shows it, as in \"ssh.service\"".to_owned()),
            );
        }
    }
    named.into_iter().map(|(_, unit)| unit.to_owned()).collect()
}

/// The options of the format; those of another one are mistakes.
fn recipe(table: &Table<'_>, format: Option<SignalFormat>) -> Recipe {
    use SignalFormat::{Apache, Authelia, Json, Keycloak, Nginx, Regex, Sshd};
    let options: [(&str, &[SignalFormat]); 4] = [
        ("routes", &[Nginx, Apache]),
        ("fields", &[Json]),
        ("pattern", &[Regex]),
        ("outcomes", &[Json, Regex]),
    ];
    for (key, formats) in options {
        let (Some(node), Some(format)) = (table.get(key), format) else {
            continue;
        };
        if !formats.contains(&format) {
            let those: Vec<&str> = formats.iter().map(|format| format.name()).collect();
            node.error(
                format!("has no meaning with format = \"{}\"", format.name()),
                Some(format!("it is for {}; remove it", those.join(" and "))),
            );
        }
    }
    let fallback = Recipe::Access(Routes::default());
    let Some(format) = format else {
        return fallback;
    };
    match format {
        Sshd => Recipe::Sshd,
        Nginx | Apache => Recipe::Access(routes(table)),
        Keycloak => Recipe::Keycloak,
        Authelia => Recipe::Authelia,
        Json => fields(table).map_or(fallback, Recipe::Json),
        Regex => pattern(table).map_or(fallback, |expression| {
            Recipe::Regex(expression, words(table))
        }),
    }
}

fn routes(table: &Table<'_>) -> Routes {
    let Some(node) = table.get("routes") else {
        return Routes::default();
    };
    let mut routes = Vec::new();
    for (element, text) in node.strings() {
        match Route::parse(text) {
            Ok(route) => routes.push(route),
            Err(error) => element.error(error, None),
        }
    }
    if node.is_empty_array() {
        node.error(
            "names no route: no line would tell of a sign-in",
            Some("write [\"POST /login success=302 failure=200\"], or remove it".to_owned()),
        );
    }
    Routes::new(routes).unwrap_or_else(|error| {
        node.error(error, None);
        Routes::default()
    })
}

/// `fields = "client=request.ip,user=name"`, as `replay --fields` has it.
fn fields(table: &Table<'_>) -> Option<JsonFields> {
    let words = words(table);
    let Some(node) = table.get("fields") else {
        return JsonFields::parse("", words).ok();
    };
    match JsonFields::parse(node.string()?, words) {
        Ok(fields) => Some(fields),
        Err(error) => {
            node.error(error, None);
            None
        }
    }
}

fn pattern(table: &Table<'_>) -> Option<Expression> {
    let node = table.required("pattern", "'(?<time>\\S+) (?<client>\\S+) denied'")?;
    match Expression::parse(node.string()?) {
        Ok(expression) => Some(expression),
        Err(error) => {
            // The engine shows the place on lines of its own.
            let error: Vec<&str> = error.split_whitespace().collect();
            node.error(error.join(" "), None);
            None
        }
    }
}

/// `outcomes = ["success=LOGIN_OK", "failure=LOGIN_FAILED,LOCKED"]`, as `replay --outcome` has them.
fn words(table: &Table<'_>) -> Words {
    let mut words = Words::default();
    let texts = table.get("outcomes").map(|node| node.strings());
    for (node, text) in texts.unwrap_or_default() {
        if let Err(error) = words.add(text) {
            node.error(error, None);
        }
    }
    words
}

/// Names and places that were there before, with the path of their table.
#[derive(Default)]
struct Seen {
    names: HashMap<String, String>,
    files: HashMap<PathBuf, String>,
}

impl Seen {
    fn check(&mut self, table: &Table<'_>, source: &SignalSource) {
        let path = table.path().to_owned();
        if !source.name.is_empty()
            && let Some(first) = self.names.insert(source.name.clone(), path.clone())
        {
            let name = shown(&source.name);
            table.error(
                format!("the name \"{name}\" is already taken by {first}"),
                Some("give each its own name".to_owned()),
            );
        }
        let SignalPlace::File(file) = &source.place else {
            return;
        };
        if !file.as_os_str().is_empty()
            && let Some(first) = self.files.insert(file.clone(), path)
            && let Some(node) = table.get("file")
        {
            node.warning(
                format!("is followed by {first} already: what both find in it counts twice"),
                Some("keep one of the two, unless they look for different things".to_owned()),
            );
        }
    }
}
