//! `kind = "datadog"`.

use std::{path::Path, time::Duration};

use super::{
    super::{error::shown, raw::Table, receivers::Datadog, stream::StreamKind},
    Defaults, remote,
};

pub(super) const KEYS: &[&str] = &[
    "url",
    "site",
    "api_key_file",
    "service",
    "tags",
    "hostname",
    "gzip",
];

/// The intake takes 1,000 events and 5 MB at a time.
pub(super) const DEFAULTS: Defaults = Defaults {
    events_max: 500,
    bytes_max: 1 << 20,
    flush: Duration::from_millis(500),
    most: (1_000, 4_900_000),
};

const WORD_BYTES_MAX: usize = 200;
/// Tags of an event.
const TAGS_MAX: usize = 32;

pub(super) fn read(table: &Table<'_>, base: &Path) -> Option<StreamKind> {
    let site = remote::word(table, "site", WORD_BYTES_MAX);
    if let (Some(node), Some(_)) = (table.get("site"), table.get("url")) {
        node.error(
            "has no effect beside url",
            Some("remove one of them".to_owned()),
        );
    }
    let usual = format!(
        "https://http-intake.logs.{}/api/v2/logs",
        site.as_deref().unwrap_or("datadoghq.com")
    );
    let remote = remote::remote_or(table, base, &usual).and_then(|remote| {
        if remote.uri.path() == "/" {
            remote::with_path(table.get("url").as_ref(), remote, "/api/v2/logs")
        } else {
            Some(remote)
        }
    });
    let api_key_file = remote::required_secret(table, base, "api_key_file");
    let service = remote::word(table, "service", WORD_BYTES_MAX);
    let kind = Datadog {
        service: service.unwrap_or_else(|| "edgeward".to_owned()),
        tags: tags(table),
        hostname: remote::word(table, "hostname", WORD_BYTES_MAX),
        gzip: table.flag("gzip", true),
        remote: remote?,
        api_key_file: api_key_file?,
    };
    Some(StreamKind::Datadog(kind))
}

fn tags(table: &Table<'_>) -> String {
    let Some(node) = table.get("tags") else {
        return String::new();
    };
    let all = node.strings();
    if all.len() > TAGS_MAX {
        node.error(
            format!("names {} tags; at most {TAGS_MAX} are possible", all.len()),
            None,
        );
    }
    let is_tag = |text: &str| {
        let fits = (1..=WORD_BYTES_MAX).contains(&text.len());
        fits && text.bytes().all(|it| it.is_ascii_graphic() && it != b',')
    };
    for (element, text) in &all {
        if !is_tag(text) {
            element.error(
                format!("\"{}\" is no tag", shown(text)),
                Some("write \"env:production\"".to_owned()),
            );
        }
    }
    let texts: Vec<&str> = all.iter().map(|(_, text)| *text).collect();
    texts.join(",")
}
