//! `[[service]]` and its `[[service.limit]]` and `[service.refusal]`: what each table says by itself.
//! What services, zones and endpoints say together is `checks` and `proxied`.

use std::{ops::RangeInclusive, path::Path, time::Duration};

use super::{
    Header, LimitKey, LimitMode, RefusalPages, RequestLimit, Service, UnknownClient,
    error::shown,
    gateway,
    getters::read_small,
    raw::{Node, Table},
    sign_ins,
    zones::{Typed, name},
};
use crate::policy::path::PathPattern;

pub(super) const SERVICE_KEYS: [&str; 13] = [
    "name",
    "ports",
    "header",
    "restricted",
    "restricted_except",
    "unknown_client",
    "hops_max",
    "header_bytes_max",
    "observe",
    "gateway",
    "refusal",
    "limit",
    "sign_in",
];
pub(super) const LIMIT_KEYS: [&str; 7] = [
    "name",
    "paths",
    "key",
    "requests",
    "concurrent",
    "window",
    "mode",
];
pub(super) const REFUSAL_KEYS: [&str; 4] = ["status", "limit_status", "html", "json"];

/// Longest page of a refusal, in bytes: it is held in memory and sent to whoever attacks.
const PAGE_BYTES_MAX: usize = 64 * 1024;
/// Most limits of one service: each is looked at for every request.
const LIMITS_MAX: usize = 64;
/// Most paths of one setting, for the same reason.
const PATHS_MAX: usize = 256;
/// Of request limits.
const WINDOW: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3_600);

pub(super) fn services<'a>(top: &Table<'a>, base: &Path) -> Vec<Typed<'a, Service>> {
    let tables = top
        .get("service")
        .map(|node| node.tables(&SERVICE_KEYS))
        .unwrap_or_default();
    tables
        .into_iter()
        .map(|mut table| {
            let name = name(&mut table);
            let ports = ports(&table);
            Typed {
                value: service(&table, base, name, &ports),
                table,
                networks: Vec::new(),
                ports,
            }
        })
        .collect()
}

fn service(table: &Table<'_>, base: &Path, name: String, ports: &[(u16, Node<'_>)]) -> Service {
    let default = Service::default();
    Service {
        name,
        ports: ports.iter().map(|(port, _)| *port).collect(),
        header: table.choice("header", &Header::NAMED),
        restricted: table.flag("restricted", default.restricted),
        restricted_except: paths(table, "restricted_except"),
        unknown_client: table.choice("unknown_client", &UnknownClient::NAMED),
        hops_max: table.count("hops_max", 1..=64, default.hops_max),
        header_bytes_max: table.count("header_bytes_max", 256..=65_536, default.header_bytes_max),
        observe: table.flag("observe", default.observe),
        gateway: gateway::gateway(table, base),
        limits: limits(table),
        refusals: refusals(table, base),
        sign_ins: sign_ins::sign_ins(table),
    }
}

fn ports<'a>(table: &Table<'a>) -> Vec<(u16, Node<'a>)> {
    let Some(node) = table.required("ports", "[443]") else {
        return Vec::new();
    };
    if node.is_empty_array() {
        node.error(
            "names no port",
            Some("write at least one, as in [443]".to_owned()),
        );
    }
    let read = |node: Node<'a>| node.number(1..=u16::MAX).map(|port| (port, node));
    node.elements().into_iter().filter_map(read).collect()
}

fn paths(table: &Table<'_>, key: &str) -> Vec<PathPattern> {
    let Some(node) = table.get(key) else {
        return Vec::new();
    };
    let mut out: Vec<PathPattern> = Vec::new();
    for (element, text) in node.strings() {
        match PathPattern::parse(text) {
            Ok(pattern) if out.contains(&pattern) => element.error(
                format!("\"{}\" is named twice", shown(text)),
                Some("remove one".to_owned()),
            ),
            Ok(pattern) => out.push(pattern),
            Err(error) => element.error(format!("\"{}\": {error}", shown(text)), None),
        }
    }
    if out.len() > PATHS_MAX {
        node.error(
            format!(
                "names {} paths; at most {PATHS_MAX} are possible",
                out.len()
            ),
            Some("use patterns, as in \"/api/session/*\"".to_owned()),
        );
    }
    out
}

fn limits(table: &Table<'_>) -> Vec<RequestLimit> {
    let Some(node) = table.get("limit") else {
        return Vec::new();
    };
    let mut out: Vec<RequestLimit> = Vec::new();
    for mut limit in node.tables(&LIMIT_KEYS) {
        let read = self::limit(&mut limit);
        let taken = out.iter().any(|other| other.name == read.name);
        if taken && !read.name.is_empty() {
            limit.error(
                format!(
                    "the name \"{}\" is already taken in this service",
                    shown(&read.name)
                ),
                Some("give each limit its own name".to_owned()),
            );
        }
        out.push(read);
    }
    if out.len() > LIMITS_MAX {
        node.error(
            format!(
                "holds {} limits; at most {LIMITS_MAX} are possible",
                out.len()
            ),
            Some("let limits share their paths".to_owned()),
        );
    }
    out
}

fn limit(table: &mut Table<'_>) -> RequestLimit {
    let name = name(table);
    let number = |key: &str| {
        let node = table.get(key)?;
        Some(node.number(1..=1_000_000_u32))
    };
    let (requests, concurrent) = (number("requests"), number("concurrent"));
    if requests.is_none() && concurrent.is_none() {
        table.error(
            "limits nothing: it has neither requests nor concurrent".to_owned(),
            Some("write requests = 20, concurrent = 5, or both".to_owned()),
        );
    }
    RequestLimit {
        name,
        paths: paths(table, "paths"),
        key: table.choice("key", &LimitKey::NAMED),
        requests: requests.flatten(),
        concurrent: concurrent.flatten(),
        window: table.time("window", WINDOW, Duration::from_secs(60)),
        mode: table.choice("mode", &LimitMode::NAMED),
    }
}

fn refusals(table: &Table<'_>, base: &Path) -> RefusalPages {
    let default = RefusalPages::default();
    let Some(table) = table
        .get("refusal")
        .and_then(|node| node.table(&REFUSAL_KEYS))
    else {
        return default;
    };
    let json = page(&table, "json", base);
    if let (Some(page), Some(node)) = (&json, table.get("json")) {
        // Something that is JSON inside a string only, as an event's id is.
        let filled = page.replace(EVENT_ID, "a-0");
        if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&filled) {
            node.error(
                format!("the file is no JSON: {error}"),
                Some(
                    "put {event_id} into a string, as in {\"event_id\": \"{event_id}\"}".to_owned(),
                ),
            );
        }
    }
    RefusalPages {
        status: table.count("status", 400..=599, default.status),
        limit_status: table.count("limit_status", 400..=599, default.limit_status),
        html: page(&table, "html", base),
        json,
    }
}

/// Stands in a page for the id of the event.
const EVENT_ID: &str = "{event_id}";

fn page(table: &Table<'_>, key: &str, base: &Path) -> Option<String> {
    let node = table.get(key)?;
    let file = node.file(base)?;
    let text = read_small(&file, PAGE_BYTES_MAX).and_then(|bytes| {
        String::from_utf8(bytes).map_err(|_| "is not UTF-8; save it as UTF-8".to_owned())
    });
    match text {
        Ok(text) => Some(text),
        Err(what) => {
            node.file_error(&file, &what);
            None
        }
    }
}
