//! `[[feed]]` and `[lapi]`: what each table says.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use http::Uri;

use super::{
    endpoints,
    error::{nearest, shown},
    feed::{
        Auth, Bouncer, Columns, Feed, FeedFormat, FeedKey, FeedSource, Filters, Lapi, LapiOrigin,
    },
    getters::read_small,
    raw::{Node, Table},
    zones::{Typed, name, printable},
};
use crate::policy::{decision::Origin, feed::Limits};

const FEED_KEYS: [&str; 26] = [
    "name",
    "format",
    "url",
    "file",
    "interval",
    "score",
    "score_min",
    "reason",
    "lifetime",
    "size_bytes_max",
    "entries_max",
    "change_percent_max",
    "empty_allowed",
    "private_allowed",
    "length_v4_min",
    "length_v6_min",
    "timeout",
    "key_file",
    "auth",
    "ca_file",
    "columns",
    "delimiter",
    "collections",
    "origins",
    "scenarios_containing",
    "scenarios_not_containing",
];
const COLUMN_KEYS: [&str; 4] = ["prefix", "score", "expires", "reason"];
const LAPI_KEYS: [&str; 4] = ["listen", "listen_mode", "origins", "bouncer"];
const BOUNCER_KEYS: [&str; 2] = ["name", "key_file"];

/// Longest key in a file, in bytes.
pub(crate) const KEY_BYTES_MAX: usize = 4_096;
/// Longest reason of a feed, in bytes.
const REASON_BYTES_MAX: usize = 120;
/// Longest name of a column, a collection or a filter, in bytes.
const WORD_BYTES_MAX: usize = 256;
/// Names in one list of a feed.
const WORDS_MAX: usize = 64;
/// Feeds there may be.
const FEEDS_MAX: usize = 64;
/// Bouncers there may be.
const BOUNCERS_MAX: usize = 64;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

pub(super) fn feeds<'a>(top: &Table<'a>, base: &Path) -> Vec<Typed<'a, Feed>> {
    let tables = top
        .get("feed")
        .map(|node| node.tables(&FEED_KEYS))
        .unwrap_or_default();
    if let Some(first) = tables.get(FEEDS_MAX) {
        first.error(
            format!(
                "is one of {} feeds; at most {FEEDS_MAX} are possible",
                tables.len()
            ),
            Some("join lists into fewer feeds".to_owned()),
        );
    }
    tables
        .into_iter()
        .map(|mut table| Typed {
            value: feed(&mut table, base),
            table,
            networks: Vec::new(),
            ports: Vec::new(),
        })
        .collect()
}

fn feed(table: &mut Table<'_>, base: &Path) -> Feed {
    let name = name(table);
    let word = format_word(table);
    let format = format(table, word);
    let source = source(table, base, word);
    let is_file = matches!(source, FeedSource::File(_));
    let defaults = Defaults::of(word, is_file);
    let key = key(table, base, word, &source);
    let reason = table
        .get("reason")
        .and_then(|node| printable(&node, REASON_BYTES_MAX))
        .map_or_else(|| name.clone(), str::to_owned);
    let limits = Limits {
        length_v4_min: table.count("length_v4_min", 1..=32_u8, 8),
        length_v6_min: table.count("length_v6_min", 1..=128_u8, 19),
        private_allowed: table.flag("private_allowed", false),
    };
    Feed {
        name,
        format,
        interval: table.time("interval", SECOND..=30 * DAY, defaults.interval),
        score: table.count("score", 1..=100_u8, 80),
        score_min: table.count("score_min", 0..=100_u8, 0),
        reason,
        lifetime: lifetime(table, defaults.lifetime, word),
        size_bytes_max: table.count("size_bytes_max", 1_024..=SIZE_BYTES_MAX, 64 << 20),
        entries_max: table.count("entries_max", 1..=16_777_216_usize, 1_000_000),
        change_percent_max: table.count("change_percent_max", 1..=1_000_000_u32, 50),
        empty_allowed: table.flag("empty_allowed", false),
        limits,
        timeout: table.time("timeout", SECOND..=Duration::from_secs(3_600), TIMEOUT),
        key,
        ca_file: ca_file(table, base, &source),
        source,
    }
}

/// Longest answer or file that may be permitted, in bytes.
const SIZE_BYTES_MAX: u64 = 1 << 30;
/// The longest that one fetch takes, unless the operator says otherwise.
const TIMEOUT: Duration = Duration::from_secs(120);

/// What differs by format.
struct Defaults {
    interval: Duration,
    lifetime: Option<Duration>,
}

impl Defaults {
    fn of(format: &str, is_file: bool) -> Self {
        let (seconds, lifetime) = match format {
            _ if is_file => (10, None),
            // Five calls a day are free.
            "abuseipdb" => (6 * 3_600, Some(7 * DAY)),
            "taxii" => (900, Some(30 * DAY)),
            "crowdsec" => (10, None),
            "okta" => (60, Some(DAY)),
            _ => (3_600, Some(7 * DAY)),
        };
        Self {
            interval: Duration::from_secs(seconds),
            lifetime,
        }
    }
}

/// The format as it was typed; empty if it could not be read.
fn format_word<'a>(table: &Table<'a>) -> &'a str {
    let example = format!("one of {}", FeedFormat::NAMES.join(", "));
    let Some(node) = table.required("format", &example) else {
        return "";
    };
    let words = FeedFormat::NAMES.map(|name| (name, name));
    node.word(&words).unwrap_or("")
}

fn format(table: &Table<'_>, word: &str) -> FeedFormat {
    for (key, of) in [
        ("columns", "csv"),
        ("delimiter", "csv"),
        ("collections", "taxii"),
        ("origins", "crowdsec"),
        ("scenarios_containing", "crowdsec"),
        ("scenarios_not_containing", "crowdsec"),
    ] {
        if let Some(node) = table.get(key).filter(|_| !word.is_empty() && word != of) {
            node.error(
                format!("is for the format \"{of}\""),
                Some("remove it".to_owned()),
            );
        }
    }
    match word {
        "spamhaus" => FeedFormat::Spamhaus,
        "abuseipdb" => FeedFormat::AbuseIpDb,
        "csv" => FeedFormat::Csv(columns(table)),
        "taxii" => FeedFormat::Taxii(words(table, "collections")),
        "crowdsec" => FeedFormat::CrowdSec(Filters {
            origins: words(table, "origins"),
            scenarios_containing: words(table, "scenarios_containing"),
            scenarios_not_containing: words(table, "scenarios_not_containing"),
        }),
        "okta" => FeedFormat::Okta,
        _ => FeedFormat::Netset,
    }
}

fn columns(table: &Table<'_>) -> Columns {
    let default = Columns::default();
    let delimiter = table.get("delimiter").and_then(|node| {
        let text = node.string()?;
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (Some(c), None) if c != '"' && c != '\n' => Some(c),
            _ => {
                node.error(
                    format!("\"{}\" is no single character", shown(text)),
                    Some("write \",\", \";\" or \"\\t\"".to_owned()),
                );
                None
            }
        }
    });
    let columns = table
        .get("columns")
        .and_then(|node| node.table(&COLUMN_KEYS));
    let column = |key: &str| {
        let node = columns.as_ref()?.get(key)?;
        printable(&node, WORD_BYTES_MAX).map(str::to_owned)
    };
    Columns {
        prefix: column("prefix").unwrap_or(default.prefix),
        score: column("score"),
        expires: column("expires"),
        reason: column("reason"),
        delimiter: delimiter.unwrap_or(default.delimiter),
    }
}

fn words(table: &Table<'_>, key: &str) -> Vec<String> {
    let Some(node) = table.get(key) else {
        return Vec::new();
    };
    let elements = node.elements();
    if elements.len() > WORDS_MAX {
        node.error(format!("names more than {WORDS_MAX}"), None);
    }
    elements
        .iter()
        .filter_map(|node| {
            let word = printable(node, WORD_BYTES_MAX)?;
            if word.contains([',', '/', '?', '#', '&']) {
                node.error(format!("\"{}\" is no single word", shown(word)), None);
            }
            Some(word.to_owned())
        })
        .collect()
}

fn source(table: &Table<'_>, base: &Path, format: &str) -> FeedSource {
    let nothing = FeedSource::File(PathBuf::new());
    match (table.get("url"), table.get("file")) {
        (Some(node), None) => url(&node).map_or(nothing, FeedSource::Url),
        (None, Some(node)) => {
            if matches!(format, "crowdsec" | "okta") {
                node.error(
                    format!("a feed of the format \"{format}\" is asked over HTTP"),
                    Some("write url = \"…\"".to_owned()),
                );
            }
            node.file(base).map_or(nothing, FeedSource::File)
        }
        (Some(_), Some(node)) => {
            node.error(
                "stands beside `url`; a feed has one source",
                Some("remove one of the two".to_owned()),
            );
            nothing
        }
        (None, None) => {
            table.error(
                "has neither `url` nor `file`".to_owned(),
                Some("write url = \"https://…\" or file = \"feeds/name.txt\"".to_owned()),
            );
            nothing
        }
    }
}

pub(super) fn url(node: &Node<'_>) -> Option<Uri> {
    let text = node.string()?;
    let fault = |what: &str, write: &str| {
        node.error(what.to_owned(), Some(write.to_owned()));
        None
    };
    let Ok(uri) = text.parse::<Uri>() else {
        return fault("is no URL", "write https://host/path");
    };
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return fault("is no URL of http or https", "write https://host/path");
    }
    let Some(authority) = uri.authority() else {
        return fault("names no host", "write https://host/path");
    };
    if authority.as_str().contains('@') {
        return fault(
            "holds a user or a password, which logs would show",
            "put user:password into a file, and write key_file = \"…\" and auth = \"basic\"",
        );
    }
    Some(uri)
}

fn lifetime(table: &Table<'_>, default: Option<Duration>, format: &str) -> Option<Duration> {
    let Some(node) = table.get("lifetime") else {
        return default;
    };
    if format == "crowdsec" {
        node.error(
            "decisions of CrowdSec bring their own end",
            Some("remove it".to_owned()),
        );
        return None;
    }
    node.duration(&(60 * SECOND..=3_650 * DAY)).or(default)
}

fn key(table: &Table<'_>, base: &Path, format: &str, source: &FeedSource) -> Option<FeedKey> {
    let auth_node = table.get("auth");
    let typed = auth_node.as_ref().and_then(auth);
    let Some(node) = table.get("key_file") else {
        if let Some(node) = auth_node {
            node.error(
                "is of no use without `key_file`",
                Some("add key_file = \"…\"".to_owned()),
            );
        }
        if matches!(format, "crowdsec" | "okta" | "abuseipdb")
            && matches!(source, FeedSource::Url(_))
        {
            table.error(
                format!("`key_file` is missing: a feed of the format \"{format}\" asks for a key"),
                Some("put the key into a file of its own, with mode 0600".to_owned()),
            );
        }
        return None;
    };
    let FeedSource::Url(uri) = source else {
        node.error("a file needs no key", Some("remove it".to_owned()));
        return None;
    };
    let file = node.file(base)?;
    if let Err(what) = read_key(&file) {
        node.file_error(&file, &what);
        return None;
    }
    let local = uri.host().is_some_and(|host| {
        host == "localhost" || host.starts_with("127.") || matches!(host, "[::1]" | "::1")
    });
    if uri.scheme_str() == Some("http") && !local {
        node.warning(
            "the key is sent in clear over http",
            Some("write https in `url`".to_owned()),
        );
    }
    let auth = typed.unwrap_or_else(|| match format {
        "abuseipdb" => Auth::Header("key".to_owned()),
        "crowdsec" => Auth::Header("x-api-key".to_owned()),
        "okta" => Auth::Ssws,
        "taxii" => Auth::Basic,
        _ => Auth::Bearer,
    });
    Some(FeedKey { file, auth })
}

fn auth(node: &Node<'_>) -> Option<Auth> {
    let text = node.string()?;
    if let Some(header) = text.strip_prefix("header:") {
        if http::HeaderName::try_from(header).is_ok() {
            return Some(Auth::Header(header.to_ascii_lowercase()));
        }
        node.error(
            format!("\"{}\" is no name of a header", shown(header)),
            Some("write \"header:x-api-key\"".to_owned()),
        );
        return None;
    }
    match text {
        "basic" => Some(Auth::Basic),
        "bearer" => Some(Auth::Bearer),
        "ssws" => Some(Auth::Ssws),
        _ => {
            let known = ["basic", "bearer", "ssws"];
            let suggestion = nearest(text, &known).map_or_else(
                || "write \"basic\", \"bearer\", \"ssws\" or \"header:NAME\"".to_owned(),
                |near| format!("did you mean \"{near}\"?"),
            );
            node.error(
                format!("\"{}\" is not known here", shown(text)),
                Some(suggestion),
            );
            None
        }
    }
}

/// A key out of a file that its owner alone may read: one line of printable ASCII.
///
/// # Errors
/// A sentence without the file's name and without anything of what it holds.
pub(crate) fn read_key(file: &Path) -> Result<String, String> {
    let bytes = read_small(file, KEY_BYTES_MAX)?;
    let mode = fs::metadata(file).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o077 != 0 {
        return Err(format!(
            "may be read or written by others (mode {:03o}); chmod 600 it",
            mode & 0o777
        ));
    }
    let text = String::from_utf8(bytes).map_err(|_| "holds no text".to_owned())?;
    let key = text.trim_end_matches(['\n', '\r']);
    if key.is_empty() {
        return Err("is empty; put the key on its first line".to_owned());
    }
    if !key
        .bytes()
        .all(|byte| byte.is_ascii_graphic() || byte == b' ')
    {
        return Err("holds more than one line of printable characters".to_owned());
    }
    Ok(key.to_owned())
}

fn ca_file(table: &Table<'_>, base: &Path, source: &FeedSource) -> Option<PathBuf> {
    let node = table.get("ca_file")?;
    let file = node.file(base)?;
    let is_https = matches!(source, FeedSource::Url(uri) if uri.scheme_str() == Some("https"));
    if !is_https {
        node.error("is for https", Some("remove it".to_owned()));
        return None;
    }
    match super::tls::roots(&file) {
        Ok(_) => Some(file),
        Err(what) => {
            node.file_error(&file, &what);
            None
        }
    }
}

pub(super) fn lapi(top: &Table<'_>, base: &Path) -> Option<Lapi> {
    let table = top.get("lapi")?.table(&LAPI_KEYS)?;
    let listen = endpoints::listen(&table)?;
    let origins = match table.get("origins") {
        None => ORIGINS.iter().map(|(_, origin)| *origin).collect(),
        Some(node) => {
            if node.is_empty_array() {
                node.error("names no origin: nothing would be served", None);
            }
            let elements = node.elements();
            elements
                .iter()
                .filter_map(|node| node.word(&ORIGINS))
                .collect()
        }
    };
    let bouncers = bouncers(&table, base);
    Some(Lapi {
        listen,
        origins,
        bouncers,
    })
}

const ORIGINS: [(&str, LapiOrigin); 5] = [
    ("operator", LapiOrigin::Of(Origin::Operator)),
    ("detection", LapiOrigin::Of(Origin::Detection)),
    ("list", LapiOrigin::Of(Origin::List)),
    ("feed", LapiOrigin::Of(Origin::Feed)),
    ("blocked-zone", LapiOrigin::BlockedZone),
];

fn bouncers(table: &Table<'_>, base: &Path) -> Vec<Bouncer> {
    let tables = table
        .get("bouncer")
        .map(|node| node.tables(&BOUNCER_KEYS))
        .unwrap_or_default();
    if tables.is_empty() {
        table.error(
            "names no bouncer: nobody could ask".to_owned(),
            Some("add [[lapi.bouncer]] with name and key_file".to_owned()),
        );
    }
    if tables.len() > BOUNCERS_MAX {
        table.error(format!("names more than {BOUNCERS_MAX} bouncers"), None);
    }
    let mut found: Vec<Bouncer> = Vec::new();
    for mut table in tables {
        let name = name(&mut table);
        let file = table
            .required("key_file", "\"/etc/edgeward/bouncer.key\"")
            .and_then(|node| {
                let file = node.file(base)?;
                if let Err(what) = read_key(&file) {
                    node.file_error(&file, &what);
                }
                Some(file)
            });
        if !name.is_empty() && found.iter().any(|known| known.name == name) {
            table.error(
                format!("the name \"{}\" is already taken", shown(&name)),
                Some("give each its own name".to_owned()),
            );
        }
        found.push(Bouncer {
            name,
            key_file: file.unwrap_or_default(),
        });
    }
    found
}

#[cfg(test)]
#[path = "feeds_tests.rs"]
mod tests;
