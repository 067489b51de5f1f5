//! What a reload changes, in words: for the answer to `reload`, the log and the System Log.

#[path = "diff_service.rs"]
mod services;

use std::{fmt::Display, path::Path};

use super::{
    Api, Config, Feed, List, Networks, Principals, Stream, Zone, attack, detection, duration, geo,
    journal, metrics,
};

/// Everything that differs, one sentence each, in the order of the file. Empty if nothing does.
#[must_use]
pub fn changes(old: &Config, new: &Config) -> Vec<String> {
    let mut out = Vec::new();
    value(&mut out, "mode of a first start", &old.mode, &new.mode);
    value(&mut out, "interfaces", &old.interfaces, &new.interfaces);
    path(&mut out, "socket", &old.socket, &new.socket);
    path(&mut out, "state_dir", &old.state_dir, &new.state_dir);
    path(&mut out, "bpffs_dir", &old.bpffs_dir, &new.bpffs_dir);
    value(
        &mut out,
        "refusal",
        &format!("{:?}", old.refusal).to_lowercase(),
        &format!("{:?}", new.refusal).to_lowercase(),
    );
    let unreadable = |config: &Config| format!("{:?}", config.unreadable).to_lowercase();
    value(&mut out, "unreadable", &unreadable(old), &unreadable(new));
    value(
        &mut out,
        "reputation.block_threshold",
        &old.reputation.block,
        &new.reputation.block,
    );
    value(
        &mut out,
        "reputation.limit_threshold",
        &old.reputation.limit,
        &new.reputation.limit,
    );
    rate_limits(&mut out, old, new);
    attack::changes(&mut out, &old.attack, &new.attack);
    detection::changes(&mut out, &old.detection, &new.detection);
    journal::changes(&mut out, &old.journal, &new.journal);
    geo::changes(&mut out, &old.geo, &new.geo);
    metrics::changes(&mut out, old.metrics.as_ref(), new.metrics.as_ref());
    sizes(&mut out, old, new);
    principals(
        &mut out,
        "control.operators",
        &old.control.operators,
        &new.control.operators,
    );
    principals(
        &mut out,
        "control.readers",
        &old.control.readers,
        &new.control.readers,
    );
    tables(&mut out, old, new);
    out
}

/// The settings that differ and take effect only when the agent is started again.
///
/// Gateways and endpoints are not among them: their listeners come and go while the agent runs.
#[must_use]
pub fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let differing = [
        ("socket", old.socket != new.socket),
        ("state_dir", old.state_dir != new.state_dir),
        ("bpffs_dir", old.bpffs_dir != new.bpffs_dir),
        ("capacity", old.capacity != new.capacity),
        (
            "events.ring_bytes",
            old.events.ring_bytes != new.events.ring_bytes,
        ),
        (
            "events.kept_max",
            old.events.kept_max != new.events.kept_max,
        ),
    ];
    differing
        .iter()
        .filter(|(_, differs)| *differs)
        .map(|(name, _)| *name)
        .collect()
}

fn tables(out: &mut Vec<String>, old: &Config, new: &Config) {
    named(
        out,
        "zone",
        &old.zones,
        &new.zones,
        |zone| (&zone.name, Some(&zone.networks)),
        zone,
    );
    named(
        out,
        "list",
        &old.lists,
        &new.lists,
        |list| (&list.name, Some(&list.networks)),
        list,
    );
    named(
        out,
        "service",
        &old.services,
        &new.services,
        |service| (&service.name, None),
        services::service,
    );
    named(
        out,
        "endpoint",
        &old.endpoints,
        &new.endpoints,
        |endpoint| (&endpoint.name, None),
        services::endpoint,
    );
    named(
        out,
        "signal",
        &old.signals,
        &new.signals,
        |source| (&source.name, None),
        services::signal,
    );
    named(
        out,
        "feed",
        &old.feeds,
        &new.feeds,
        |feed| (&feed.name, None),
        feed,
    );
    named(
        out,
        "stream",
        &old.streams,
        &new.streams,
        |stream| (&stream.name, None),
        stream,
    );
    match (&old.lapi, &new.lapi) {
        (None, Some(_)) => out.push("lapi on".to_owned()),
        (Some(_), None) => out.push("lapi off".to_owned()),
        (old, new) if old != new => out.push("lapi: other settings".to_owned()),
        _ => {}
    }
    match (&old.api, &new.api) {
        (None, Some(_)) => out.push("api on".to_owned()),
        (Some(_), None) => out.push("api off".to_owned()),
        (Some(old), Some(new)) => api(out, old, new),
        (None, None) => {}
    }
}

fn api(out: &mut Vec<String>, old: &Api, new: &Api) {
    value(out, "api.listen", &old.listen, &new.listen);
    value(
        out,
        "api.requests_per_minute",
        &old.requests_per_minute,
        &new.requests_per_minute,
    );
    if old.tls != new.tls {
        out.push("api.tls: other files".to_owned());
    }
    named(
        out,
        "api.token",
        &old.tokens,
        &new.tokens,
        |token| (&token.name, None),
        |old, new| {
            (old != new)
                .then(|| format!("scopes {}", new.scopes))
                .into_iter()
                .collect()
        },
    );
}

fn value<T: PartialEq + Display>(out: &mut Vec<String>, name: &str, old: &T, new: &T) {
    if old != new {
        out.push(format!("{name}: {old} → {new}"));
    }
}

fn path(out: &mut Vec<String>, name: &str, old: &Path, new: &Path) {
    value(
        out,
        name,
        &old.display().to_string(),
        &new.display().to_string(),
    );
}

fn rate_limits(out: &mut Vec<String>, old: &Config, new: &Config) {
    let (old, new) = (&old.rate_limit, &new.rate_limit);
    let shown =
        |limit: Option<u32>| limit.map_or_else(|| "no limit".to_owned(), |count| count.to_string());
    value(
        out,
        "rate_limit.window",
        &duration::format(old.window),
        &duration::format(new.window),
    );
    let limits = [
        ("connections", old.connections, new.connections),
        ("packets", old.packets, new.packets),
        (
            "limited_connections",
            old.limited_connections,
            new.limited_connections,
        ),
        ("limited_packets", old.limited_packets, new.limited_packets),
        (
            "attack_connections",
            old.attack.connections,
            new.attack.connections,
        ),
        ("attack_packets", old.attack.packets, new.attack.packets),
        (
            "attack_limited_connections",
            old.attack.limited_connections,
            new.attack.limited_connections,
        ),
        (
            "attack_limited_packets",
            old.attack.limited_packets,
            new.attack.limited_packets,
        ),
    ];
    for (name, old, new) in limits {
        value(out, &format!("rate_limit.{name}"), &shown(old), &shown(new));
    }
}

fn sizes(out: &mut Vec<String>, old: &Config, new: &Config) {
    let (a, b) = (&old.capacity, &new.capacity);
    value(out, "capacity.hosts_v4", &a.hosts_v4, &b.hosts_v4);
    value(out, "capacity.hosts_v6", &a.hosts_v6, &b.hosts_v6);
    value(out, "capacity.prefixes", &a.prefixes, &b.prefixes);
    value(out, "capacity.zones", &a.zones, &b.zones);
    value(
        out,
        "capacity.rate_sources",
        &a.rate_sources,
        &b.rate_sources,
    );
    let (a, b) = (&old.events, &new.events);
    value(
        out,
        "events.per_second_max",
        &a.per_second_max,
        &b.per_second_max,
    );
    value(out, "events.kept_max", &a.kept_max, &b.kept_max);
    value(out, "events.ring_bytes", &a.ring_bytes, &b.ring_bytes);
}

fn principals(out: &mut Vec<String>, name: &str, old: &Principals, new: &Principals) {
    for (kind, old, new) in [
        ("users", &old.users, &new.users),
        ("groups", &old.groups, &new.groups),
    ] {
        let added = new
            .iter()
            .filter(|one| !old.contains(one))
            .map(|one| format!("+{one}"));
        let removed = old
            .iter()
            .filter(|one| !new.contains(one))
            .map(|one| format!("-{one}"));
        let both: Vec<String> = added.chain(removed).collect();
        if !both.is_empty() {
            out.push(format!("{name}.{kind}: {}", both.join(", ")));
        }
    }
}

/// Added, removed and changed among things with unique names.
fn named<T>(
    out: &mut Vec<String>,
    kind: &str,
    old: &[T],
    new: &[T],
    of: impl Fn(&T) -> (&String, Option<&Networks>),
    differences: impl Fn(&T, &T) -> Vec<String>,
) {
    let size = |one: &T| {
        of(one).1.map_or_else(String::new, |networks| {
            format!(" ({} networks)", networks.len())
        })
    };
    for before in old {
        let name = of(before).0;
        match new.iter().find(|after| of(after).0 == name) {
            None => out.push(format!("{kind} \"{name}\" removed{}", size(before))),
            Some(after) => {
                let parts = differences(before, after);
                if !parts.is_empty() {
                    out.push(format!("{kind} \"{name}\": {}", parts.join(", ")));
                }
            }
        }
    }
    for after in new {
        let name = of(after).0;
        if !old.iter().any(|before| of(before).0 == name) {
            out.push(format!("{kind} \"{name}\" added{}", size(after)));
        }
    }
}

fn feed(old: &Feed, new: &Feed) -> Vec<String> {
    let mut out = Vec::new();
    value(&mut out, "format", &old.format.name(), &new.format.name());
    value(&mut out, "source", &old.source, &new.source);
    value(&mut out, "score", &old.score, &new.score);
    value(
        &mut out,
        "interval",
        &duration::format(old.interval),
        &duration::format(new.interval),
    );
    if out.is_empty() && old != new {
        out.push("other settings".to_owned());
    }
    out
}

/// What is different about a stream.
pub(crate) fn stream(old: &Stream, new: &Stream) -> Vec<String> {
    let mut out = Vec::new();
    value(&mut out, "kind", &old.kind.name(), &new.kind.name());
    value(&mut out, "format", &old.format.name(), &new.format.name());
    value(&mut out, "target", &old.target(), &new.target());
    value(&mut out, "enabled", &old.enabled, &new.enabled);
    let filter = |stream: &Stream| match &stream.filter {
        Some(filter) => filter.text.clone(),
        None => "none".to_owned(),
    };
    value(&mut out, "filter", &filter(old), &filter(new));
    if out.is_empty() && old != new {
        out.push("other settings".to_owned());
    }
    out
}

fn zone(old: &Zone, new: &Zone) -> Vec<String> {
    let mut out = Vec::new();
    value(
        &mut out,
        "uses",
        &old.uses.to_string(),
        &new.uses.to_string(),
    );
    networks(&mut out, &old.networks, &new.networks);
    out
}

fn list(old: &List, new: &List) -> Vec<String> {
    let mut out = Vec::new();
    value(&mut out, "score", &old.score, &new.score);
    value(&mut out, "reason", &old.reason, &new.reason);
    networks(&mut out, &old.networks, &new.networks);
    out
}

fn networks(out: &mut Vec<String>, old: &Networks, new: &Networks) {
    let missing = |from: &Networks, within: &Networks| {
        let lacks = |kept: usize, all: usize| all.saturating_sub(kept);
        lacks(
            shared(&from.hosts_v4, &within.hosts_v4),
            from.hosts_v4.len(),
        )
        .saturating_add(lacks(
            shared(&from.hosts_v6, &within.hosts_v6),
            from.hosts_v6.len(),
        ))
        .saturating_add(lacks(
            shared(&from.prefixes, &within.prefixes),
            from.prefixes.len(),
        ))
    };
    let (added, removed) = (missing(new, old), missing(old, new));
    if added > 0 || removed > 0 {
        out.push(format!(
            "{added} networks added, {removed} removed ({} now)",
            new.len()
        ));
    }
    value(out, "bad lines", &old.rejected, &new.rejected);
}

/// How many values two sorted, deduplicated slices have in common: one walk, as lists may hold a million.
fn shared<T: Ord>(a: &[T], b: &[T]) -> usize {
    let (mut a, mut b) = (a.iter(), b.iter());
    let (mut x, mut y) = (a.next(), b.next());
    let mut count = 0_usize;
    while let (Some(left), Some(right)) = (x, y) {
        let order = left.cmp(right);
        count = count.saturating_add(usize::from(order.is_eq()));
        if order.is_le() {
            x = a.next();
        }
        if order.is_ge() {
            y = b.next();
        }
    }
    count
}

#[cfg(test)]
#[path = "diff_tests.rs"]
mod tests;
