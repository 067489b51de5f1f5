//! `[[zone]]` and `[[list]]`: what each table says by itself. What they say together is `checks`.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use ipnet::IpNet;

use super::{
    List, Networks, Uses, Zone,
    error::{Mistake, Severity, shown},
    list_file,
    raw::{Node, Table},
};
use crate::policy::prefix::parse_network;

/// A value together with the table it was read from, for the checks that follow.
pub(super) struct Typed<'a, T> {
    pub(super) value: T,
    pub(super) table: Table<'a>,
    /// The networks that stand in the TOML itself, each with its place.
    pub(super) networks: Vec<(IpNet, Node<'a>)>,
    /// The service's ports, each with its place.
    pub(super) ports: Vec<(u16, Node<'a>)>,
}

const ZONE_KEYS: [&str; 4] = ["name", "uses", "networks", "files"];
const LIST_KEYS: [&str; 5] = ["name", "score", "reason", "networks", "files"];

/// Longest name of a zone, list or service, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// Longest reason of a list, in bytes: it goes into every event.
const REASON_BYTES_MAX: usize = 200;

pub(super) fn zones<'a>(top: &Table<'a>, base: &Path) -> Vec<Typed<'a, Zone>> {
    let tables = top
        .get("zone")
        .map(|node| node.tables(&ZONE_KEYS))
        .unwrap_or_default();
    tables
        .into_iter()
        .map(|mut table| {
            let name = name(&mut table);
            let uses = uses(&table);
            // Half a list of trusted or exempt networks is a wrong verdict for the missing half. Of a
            // list of blocked networks the good lines are worth having.
            let severity = if uses == Uses::BLOCKED {
                Severity::Warning
            } else {
                Severity::Error
            };
            let (all, networks) = members(&table, base, severity);
            Typed {
                value: Zone {
                    name,
                    uses,
                    networks: all,
                },
                table,
                networks,
                ports: Vec::new(),
            }
        })
        .collect()
}

pub(super) fn lists<'a>(top: &Table<'a>, base: &Path) -> Vec<Typed<'a, List>> {
    let tables = top
        .get("list")
        .map(|node| node.tables(&LIST_KEYS))
        .unwrap_or_default();
    tables
        .into_iter()
        .map(|mut table| {
            let name = name(&mut table);
            let score = table
                .get("score")
                .and_then(|node| node.number(1..=100_u8))
                .unwrap_or(100);
            let reason = table
                .get("reason")
                .and_then(|node| printable(&node, REASON_BYTES_MAX));
            let reason = reason.map_or_else(|| name.clone(), str::to_owned);
            let (all, networks) = members(&table, base, Severity::Warning);
            Typed {
                value: List {
                    name,
                    score,
                    reason,
                    networks: all,
                },
                table,
                networks,
                ports: Vec::new(),
            }
        })
        .collect()
}

/// The name, which from here on also labels the table's path. Empty if it could not be read.
pub(super) fn name(table: &mut Table<'_>) -> String {
    let Some(node) = table.required("name", "\"…\"") else {
        return String::new();
    };
    let Some(text) = node.string() else {
        return String::new();
    };
    if printable(&node, NAME_BYTES_MAX).is_none() {
        return String::new();
    }
    table.label(text);
    text.to_owned()
}

/// A text that can stand in a line of a log or a terminal.
pub(super) fn printable<'a>(node: &Node<'a>, bytes_max: usize) -> Option<&'a str> {
    let text = node.string()?;
    let fault = if text.is_empty() {
        "is empty".to_owned()
    } else if text.len() > bytes_max {
        format!(
            "is {} bytes long; at most {bytes_max} are allowed",
            text.len()
        )
    } else if text.trim() != text {
        "begins or ends with a space".to_owned()
    } else if text.chars().any(char::is_control) {
        "holds control characters".to_owned()
    } else {
        return Some(text);
    };
    node.error(fault, None);
    None
}

fn uses(table: &Table<'_>) -> Uses {
    let Some(node) = table.required(
        "uses",
        "[\"exempt\"], [\"trusted-proxy\"], [\"blocked\"], …",
    ) else {
        return Uses::default();
    };
    if node.is_empty_array() {
        let known: Vec<&str> = Uses::NAMED.iter().map(|(name, _)| *name).collect();
        node.error(
            "names no use",
            Some(format!("write at least one of {}", known.join(", "))),
        );
    }
    let mut all = Uses::default();
    for element in node.elements() {
        let Some(one) = element.word(&Uses::NAMED) else {
            continue;
        };
        if all.contains(one) {
            element.error(
                format!("\"{one}\" is named twice"),
                Some("remove one".to_owned()),
            );
        }
        all = all.with(one);
    }
    // `blocked` comes after exempt and trusted proxy in the verdict and before allowed origin.
    for other in [Uses::EXEMPT, Uses::TRUSTED_PROXY, Uses::ALLOWED_ORIGIN] {
        if all.contains(Uses::BLOCKED.with(other)) {
            let what =
                format!("\"{other}\" and \"blocked\" contradict each other for the same networks");
            node.error(
                what,
                Some("keep one, or make two zones with different networks".to_owned()),
            );
        }
    }
    all
}

/// The networks of a zone or list: all of them, and apart those typed in the TOML.
fn members<'a>(
    table: &Table<'a>,
    base: &Path,
    severity: Severity,
) -> (Networks, Vec<(IpNet, Node<'a>)>) {
    let (typed_node, files_node) = (table.get("networks"), table.get("files"));
    let none = |node: &Option<Node<'_>>| node.as_ref().is_none_or(Node::is_empty_array);
    if none(&typed_node) && none(&files_node) {
        let suggestion =
            "write networks = [\"192.0.2.0/24\"] or files = [\"zones/name.txt\"]".to_owned();
        table.error(
            "has neither networks nor files".to_owned(),
            Some(suggestion),
        );
    }
    let mut typed = Vec::new();
    let mut all = Networks::default();
    for (node, text) in typed_node.map(|node| node.strings()).unwrap_or_default() {
        match parse_network(text) {
            Ok(found) => typed.extend(found.into_iter().map(|network| (network, node.clone()))),
            Err(error) => node.error(error.what(), error.suggestion()),
        }
    }
    typed.iter().for_each(|(network, _)| all.push(*network));
    let mut seen: HashMap<PathBuf, String> = HashMap::new();
    for (node, text) in files_node.map(|node| node.strings()).unwrap_or_default() {
        if text.is_empty() || text.contains('\0') {
            node.error(format!("\"{}\" is no file name", shown(text)), None);
            continue;
        }
        let path = base.join(text);
        if let Some(first) = seen.insert(path.clone(), node.path().to_owned()) {
            node.error(
                format!("\"{}\" is already named at {first}", shown(text)),
                Some("remove one".to_owned()),
            );
            continue;
        }
        list_members(table, &node, &path, severity, &mut all);
    }
    all.finish();
    (all, typed)
}

/// Adds one list file and notes its bad lines.
fn list_members(
    table: &Table<'_>,
    node: &Node<'_>,
    path: &Path,
    severity: Severity,
    all: &mut Networks,
) {
    let file: String = path.display().to_string().escape_debug().collect();
    let scan = match list_file::read(path, all) {
        Ok(scan) => scan,
        Err(what) => {
            node.error(
                format!("{file} {what}"),
                Some("a path is relative to the configuration file".to_owned()),
            );
            return;
        }
    };
    all.rejected = all.rejected.saturating_add(scan.bad_total);
    let kept = u64::try_from(scan.bad.len()).unwrap_or(u64::MAX);
    for bad in scan.bad {
        let line = Some(u32::try_from(bad.line).unwrap_or(u32::MAX));
        let plain = Mistake::error(&file, node.path(), bad.what);
        table.source().note(Mistake {
            severity,
            line,
            suggestion: bad.suggestion,
            ..plain
        });
    }
    let more = scan.bad_total.saturating_sub(kept);
    if more > 0 {
        let what = format!(
            "{more} more bad lines: {} of {} lines cannot be read",
            scan.bad_total, scan.lines
        );
        // Behind the lines it sums up, where the mistakes are sorted by line.
        let line = Some(u32::try_from(scan.lines).unwrap_or(u32::MAX));
        table.source().note(Mistake {
            severity,
            line,
            ..Mistake::error(&file, node.path(), what)
        });
    }
}
