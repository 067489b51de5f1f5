//! The file as a whole, and the single tables: one function each.
//!
//! Every function returns its defaults where a mistake was noted; `Config::parse` throws the result
//! away then, so a default never stands in for what somebody meant.

use std::{ops::RangeInclusive, path::Path, time::Duration};

use toml::de::DeTable;

use super::{
    Capacity, Config, Control, EventLimits, Principals, RateLimit, Thresholds, api, attack, checks,
    detection, endpoints,
    error::shown,
    feeds, geo, journal, metrics, places, proxied,
    raw::{Node, Source, Table},
    services, signals, streams, zones,
};
use crate::policy::mode::{Mode, Refusal, Unreadable};

/// Keys at the top of the file, tables included.
pub(super) const TOP_KEYS: [&str; 26] = [
    "mode",
    "interfaces",
    "socket",
    "state_dir",
    "bpffs_dir",
    "refusal",
    "unreadable",
    "reputation",
    "rate_limit",
    "attack",
    "detection",
    "geo",
    "capacity",
    "events",
    "journal",
    "metrics",
    "control",
    "zone",
    "list",
    "service",
    "endpoint",
    "feed",
    "lapi",
    "api",
    "signal",
    "stream",
];

pub(super) fn read(source: &Source<'_>, tree: &DeTable<'_>, base: &Path) -> Config {
    let top = source.root(tree, &TOP_KEYS);
    let zones = zones::zones(&top, base);
    let lists = zones::lists(&top, base);
    let services = services::services(&top, base);
    let endpoints = endpoints::endpoints(&top, &services);
    let feeds = feeds::feeds(&top, base);
    let streams = streams::streams(&top, base);
    let default = Config::default();
    let attack = attack::attack(&top);
    let config = Config {
        mode: top
            .get("mode")
            .and_then(|node| node.word(&MODES))
            .unwrap_or(default.mode),
        refusal: top
            .get("refusal")
            .and_then(|node| node.word(&REFUSALS))
            .unwrap_or_default(),
        unreadable: top
            .get("unreadable")
            .and_then(|node| node.word(&UNREADABLES))
            .unwrap_or_default(),
        interfaces: places::interfaces(&top),
        socket: places::socket(&top, default.socket),
        state_dir: places::directory(&top, "state_dir", default.state_dir),
        bpffs_dir: places::bpffs_dir(&top, default.bpffs_dir),
        reputation: section(&top, "reputation", &REPUTATION_KEYS, thresholds),
        rate_limit: rates(&top, &attack),
        attack,
        detection: detection::detection(&top, base),
        geo: geo::geo(&top, base),
        capacity: section(&top, "capacity", &CAPACITY_KEYS, capacity),
        journal: journal::journal(&top),
        metrics: metrics::metrics(&top),
        events: section(&top, "events", &EVENTS_KEYS, events),
        control: section(&top, "control", &["operators", "readers"], control),
        zones: Vec::new(),
        lists: Vec::new(),
        services: Vec::new(),
        signals: signals::signals(&top, &services),
        ..default
    };
    checks::across(&top, &config, &zones, &lists, &services);
    checks::unique_names(&feeds, |feed| &feed.name);
    checks::unique_names(&streams, |stream| &stream.name);
    proxied::across(&config, &zones, &services, &endpoints);
    Config {
        zones: zones.into_iter().map(|typed| typed.value).collect(),
        lists: lists.into_iter().map(|typed| typed.value).collect(),
        services: services.into_iter().map(|typed| typed.value).collect(),
        endpoints: endpoints.into_iter().map(|typed| typed.value).collect(),
        feeds: feeds.into_iter().map(|typed| typed.value).collect(),
        lapi: feeds::lapi(&top, base),
        streams: streams.into_iter().map(|typed| typed.value).collect(),
        api: api::api(&top, base),
        ..config
    }
}

const REPUTATION_KEYS: [&str; 2] = ["block_threshold", "limit_threshold"];
const RATE_LIMIT_KEYS: [&str; 9] = [
    "window",
    "connections",
    "packets",
    "limited_connections",
    "limited_packets",
    attack::RATE_KEYS[0],
    attack::RATE_KEYS[1],
    attack::RATE_KEYS[2],
    attack::RATE_KEYS[3],
];
const CAPACITY_KEYS: [&str; 5] = ["hosts_v4", "hosts_v6", "prefixes", "zones", "rate_sources"];
const EVENTS_KEYS: [&str; 3] = ["per_second_max", "kept_max", "ring_bytes"];

const MODES: [(&str, Mode); 3] = [
    ("off", Mode::Off),
    ("log", Mode::Log),
    ("block", Mode::Block),
];
const REFUSALS: [(&str, Refusal); 2] = [("drop", Refusal::Drop), ("reset", Refusal::Reset)];
const UNREADABLES: [(&str, Unreadable); 2] =
    [("pass", Unreadable::Pass), ("drop", Unreadable::Drop)];

fn section<T: Default>(
    top: &Table<'_>,
    key: &str,
    known: &[&str],
    read: impl Fn(&Table<'_>) -> T,
) -> T {
    top.get(key)
        .and_then(|node| node.table(known))
        .map_or_else(T::default, |table| read(&table))
}

fn thresholds(table: &Table<'_>) -> Thresholds {
    let default = Thresholds::default();
    let (block_node, limit_node) = (table.get("block_threshold"), table.get("limit_threshold"));
    let number = |node: &Option<Node<'_>>| node.as_ref().map(|node| node.number(1..=100_u8));
    let (block, limit) = (number(&block_node), number(&limit_node));
    let out = Thresholds {
        block: block.flatten().unwrap_or(default.block),
        limit: limit.flatten().unwrap_or(default.limit),
    };
    // Where one of them could not be read, a comparison with its default would be a second, false mistake.
    let readable = block != Some(None) && limit != Some(None);
    if readable && out.limit > out.block {
        let what = format!(
            "limit_threshold {} is above block_threshold {}",
            out.limit, out.block
        );
        let what = if limit.is_none() {
            format!("{what} ({} is the default)", out.limit)
        } else {
            what
        };
        let suggestion = Some(format!("set limit_threshold to {} or less", out.block));
        match limit_node.or(block_node) {
            Some(node) => node.error(what, suggestion),
            None => table.error(what, suggestion),
        }
    }
    out
}

/// The ordinary rates, and those under attack, which follow from them where they are not typed.
fn rates(top: &Table<'_>, under: &attack::Settings) -> RateLimit {
    let table = top
        .get("rate_limit")
        .and_then(|node| node.table(&RATE_LIMIT_KEYS));
    let ordinary = table.as_ref().map(rate_limit).unwrap_or_default();
    RateLimit {
        attack: attack::rates(table.as_ref(), &ordinary, under),
        ..ordinary
    }
}

fn rate_limit(table: &Table<'_>) -> RateLimit {
    let default = RateLimit::default();
    let count = |key: &str| table.get(key).and_then(|node| node.number(0..=u32::MAX));
    let limit = |typed: Option<u32>, default: Option<u32>| match typed {
        Some(0) => None,
        Some(count) => Some(count),
        None => default,
    };
    let looser = |plain: Option<u32>, limited: Option<u32>, name: &str| {
        let (Some(plain @ 1..), Some(limited)) = (plain, limited) else {
            return;
        };
        if limited == 0 || limited > plain {
            let what = format!("limited_{name} = {limited} is looser than {name} = {plain}");
            table.error(
                what,
                Some(format!(
                    "set limited_{name} to 1 to {plain}: it slows sources of bad repute"
                )),
            );
        }
    };
    let (connections, packets) = (count("connections"), count("packets"));
    let (limited_connections, limited_packets) =
        (count("limited_connections"), count("limited_packets"));
    looser(connections, limited_connections, "connections");
    looser(packets, limited_packets, "packets");
    // A default is never looser than what was typed for everybody.
    let tighter = |default: Option<u32>, plain: Option<u32>| match plain {
        Some(plain @ 1..) => default.map(|default| default.min(plain)),
        _ => default,
    };
    RateLimit {
        window: table.time("window", WINDOW, default.window),
        connections: limit(connections, default.connections),
        packets: limit(packets, default.packets),
        limited_connections: limit(
            limited_connections,
            tighter(default.limited_connections, connections),
        ),
        limited_packets: limit(limited_packets, tighter(default.limited_packets, packets)),
        attack: default.attack,
    }
}

/// Of rate limits in the kernel.
const WINDOW: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3_600);

fn capacity(table: &Table<'_>) -> Capacity {
    let default = Capacity::default();
    let entries = |key: &str, default: u32| {
        table
            .get(key)
            .and_then(|node| node.number(1..=CAPACITY_MAX))
            .unwrap_or(default)
    };
    Capacity {
        hosts_v4: entries("hosts_v4", default.hosts_v4),
        hosts_v6: entries("hosts_v6", default.hosts_v6),
        prefixes: entries("prefixes", default.prefixes),
        zones: entries("zones", default.zones),
        rate_sources: entries("rate_sources", default.rate_sources),
    }
}

/// Most entries of one map: 16 million take 0.14 to 2 GB of kernel memory, according to the map.
const CAPACITY_MAX: u32 = 1 << 24;

fn events(table: &Table<'_>) -> EventLimits {
    let default = EventLimits::default();
    let ring_bytes = table.get("ring_bytes").and_then(|node| {
        let bytes = node.number(4_096..=RING_BYTES_MAX)?;
        if !bytes.is_power_of_two() {
            let suggestion = format!("write {}", bytes.next_power_of_two());
            node.error(
                format!("{bytes} is no power of two, which the kernel asks for"),
                Some(suggestion),
            );
        }
        Some(bytes)
    });
    EventLimits {
        per_second_max: table
            .get("per_second_max")
            .and_then(|node| node.number(0..=1_000_000))
            .unwrap_or(default.per_second_max),
        kept_max: table
            .get("kept_max")
            .and_then(|node| node.number(1..=1_000_000_usize))
            .unwrap_or(default.kept_max),
        ring_bytes: ring_bytes.unwrap_or(default.ring_bytes),
    }
}

const RING_BYTES_MAX: u32 = 1 << 28;

fn control(table: &Table<'_>) -> Control {
    let principals = |key: &str| {
        let inner = table
            .get(key)
            .and_then(|node| node.table(&["users", "groups"]));
        inner.map_or_else(Principals::default, |inner| Principals {
            users: names(&inner, "users"),
            groups: names(&inner, "groups"),
        })
    };
    Control {
        operators: principals("operators"),
        readers: principals("readers"),
    }
}

/// User or group names; numbers are written as strings, as in `"1000"`.
fn names(table: &Table<'_>, key: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for (node, name) in table
        .get(key)
        .map(|node| node.strings())
        .unwrap_or_default()
    {
        let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, ':' | ',' | '/');
        if name.is_empty() || name.len() > 256 || name.contains(odd) {
            node.error(
                format!("\"{}\" is no name of a user or group", shown(name)),
                None,
            );
        } else if out.iter().any(|other| other == name) {
            node.error(
                format!("\"{}\" is named twice", shown(name)),
                Some("remove one".to_owned()),
            );
        }
        out.push(name.to_owned());
    }
    out
}
