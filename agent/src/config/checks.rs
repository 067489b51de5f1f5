//! What only shows when the whole configuration is read: duplicate names and ports, zones that
//! contradict each other, trust in everybody, more networks than the maps hold.

use std::collections::{BTreeSet, HashMap};

use ipnet::IpNet;

use super::{Config, List, Networks, Service, Uses, Zone, error::shown, raw::Table, zones::Typed};

pub(super) fn across(
    top: &Table<'_>,
    config: &Config,
    zones: &[Typed<'_, Zone>],
    lists: &[Typed<'_, List>],
    services: &[Typed<'_, Service>],
) {
    unique_names(zones, |zone| &zone.name);
    unique_names(lists, |list| &list.name);
    unique_names(services, |service| &service.name);
    unique_ports(services);
    trust_has_an_end(zones);
    exempt_and_blocked(zones);
    exempt_proxies(zones);
    someone_may_reach(zones, services);
    fits(top, config, zones, lists);
}

fn unique_names<T>(all: &[Typed<'_, T>], name: impl Fn(&T) -> &String) {
    let mut seen: HashMap<&str, &str> = HashMap::new();
    for typed in all {
        let name = name(&typed.value).as_str();
        // An empty name is one that could not be read, and has its own mistake.
        if name.is_empty() {
            continue;
        }
        if let Some(first) = seen.get(name) {
            let what = format!("the name \"{}\" is already taken by {first}", shown(name));
            typed
                .table
                .error(what, Some("give each its own name".to_owned()));
        } else {
            seen.insert(name, typed.table.path());
        }
    }
}

fn unique_ports(services: &[Typed<'_, Service>]) {
    let mut seen: HashMap<u16, &str> = HashMap::new();
    for (port, node) in services.iter().flat_map(|typed| &typed.ports) {
        if let Some(first) = seen.get(port) {
            node.error(
                format!("port {port} is already named at {first}"),
                Some("name each port once".to_owned()),
            );
        } else {
            seen.insert(*port, node.path());
        }
    }
}

/// Whoever trusts every address believes a forwarding header from anybody: every attacker chooses who they are.
fn trust_has_an_end(zones: &[Typed<'_, Zone>]) {
    let trusted = with_use(zones, Uses::TRUSTED_PROXY);
    let mut every: Vec<IpNet> = Vec::new();
    let mut refused = false;
    for typed in &trusted {
        every.extend(&typed.value.networks.prefixes);
        for network in &typed.value.networks.prefixes {
            let shortest = if matches!(network, IpNet::V4(_)) {
                8
            } else {
                7
            };
            let suggestion = Some("name the networks of your proxies only".to_owned());
            if network.prefix_len() == 0 {
                refused = true;
                let what = format!(
                    "trusts {network}, every address there is, as a proxy: anybody could forge the client"
                );
                typed.table.error(what, suggestion);
            } else if network.prefix_len() < shortest {
                let what = format!("trusts {network}, a large part of all addresses, as a proxy");
                typed.table.warning(what, suggestion);
            }
        }
    }
    if let Some(last) = trusted.last().filter(|_| !refused) {
        // Two halves are the whole: 0.0.0.0/1 and 128.0.0.0/1.
        let whole = IpNet::aggregate(&every)
            .into_iter()
            .find(|network| network.prefix_len() == 0);
        if let Some(whole) = whole {
            let what =
                format!("the trusted-proxy zones together trust {whole}, every address there is");
            last.table.error(
                what,
                Some("name the networks of your proxies only".to_owned()),
            );
        }
    }
}

/// The same network typed as exempt and as blocked. Files are not compared: to exempt one address of
/// somebody else's list is what exempt zones are for.
fn exempt_and_blocked(zones: &[Typed<'_, Zone>]) {
    let mut exempt: HashMap<IpNet, &str> = HashMap::new();
    for (network, node) in with_use(zones, Uses::EXEMPT)
        .into_iter()
        .flat_map(|typed| &typed.networks)
    {
        exempt.entry(*network).or_insert(node.path());
    }
    for typed in with_use(zones, Uses::BLOCKED) {
        // Both uses in one zone are already refused as such.
        if typed.value.uses.contains(Uses::EXEMPT) {
            continue;
        }
        for (network, node) in &typed.networks {
            if let Some(first) = exempt.get(network) {
                let what = format!("blocks {network}, which {first} exempts; exempt always wins");
                node.error(what, Some("remove one of the two".to_owned()));
            }
        }
    }
}

/// An exempt proxy passes before it is deferred: nobody behind it is judged.
fn exempt_proxies(zones: &[Typed<'_, Zone>]) {
    let proxies: BTreeSet<IpNet> = with_use(zones, Uses::TRUSTED_PROXY)
        .iter()
        .flat_map(|typed| typed.value.networks.iter())
        .collect();
    if proxies.is_empty() {
        return;
    }
    for typed in with_use(zones, Uses::EXEMPT) {
        let mut overlapping = typed
            .value
            .networks
            .iter()
            .filter(|network| overlaps(&proxies, network));
        let Some(first) = overlapping.next() else {
            continue;
        };
        let more = match overlapping.count() {
            0 => String::new(),
            more => format!(" and {more} more networks"),
        };
        let what = format!(
            "exempts {first}{more}, where trusted proxies are: clients behind them would pass unjudged"
        );
        typed.table.warning(
            what,
            Some("take the proxies out of the exempt zone".to_owned()),
        );
    }
}

/// Whether a prefix of `all` covers `network` or lies in it; prefixes never overlap in any other way.
fn overlaps(all: &BTreeSet<IpNet>, network: &IpNet) -> bool {
    let within = all
        .range(*network..)
        .next()
        .is_some_and(|next| network.contains(next));
    let mut covering = Some(*network);
    while let Some(prefix) = covering {
        if all.contains(&prefix) {
            return true;
        }
        covering = prefix.supernet();
    }
    within
}

fn someone_may_reach(zones: &[Typed<'_, Zone>], services: &[Typed<'_, Service>]) {
    let reaching = [Uses::TRUSTED_PROXY, Uses::ALLOWED_ORIGIN, Uses::EXEMPT];
    if zones
        .iter()
        .any(|typed| reaching.iter().any(|one| typed.value.uses.contains(*one)))
    {
        return;
    }
    for typed in services.iter().filter(|typed| typed.value.restricted) {
        let what = "is restricted, and no zone is a trusted-proxy, allowed-origin or exempt: nobody can reach it";
        typed.table.warning(
            what.to_owned(),
            Some("add such a zone, or set restricted = false".to_owned()),
        );
    }
}

/// Zones that do not fit are refused: an exempt network left out would be dropped. Of a list, the map
/// takes what fits and counts the rest.
fn fits(top: &Table<'_>, config: &Config, zones: &[Typed<'_, Zone>], lists: &[Typed<'_, List>]) {
    let room = |entries: u32| usize::try_from(entries).unwrap_or(usize::MAX);
    let zone_networks = zones.iter().map(|typed| &typed.value.networks);
    let list_networks = || lists.iter().map(|typed| &typed.value.networks);
    let capacity = &config.capacity;
    let too_many = |count: usize, what: &str, key: &str, capacity: u32| {
        format!("{what} hold {count} different entries; capacity.{key} is {capacity}")
    };
    let enlarge =
        |key: &str, count: usize| Some(format!("set {key} under [capacity] to {count} or more"));
    for (family, is_v4) in [("IPv4", true), ("IPv6", false)] {
        let count = distinct(zone_networks.clone(), room(capacity.zones), |network| {
            is_v4 == matches!(network, IpNet::V4(_))
        });
        if let Some(count) = count {
            let what = too_many(
                count,
                &format!("the zones' {family} networks"),
                "zones",
                capacity.zones,
            );
            top.error(what, enlarge("zones", count));
        }
        let prefixes = list_networks().flat_map(|networks| &networks.prefixes);
        let prefixes: BTreeSet<&IpNet> = prefixes
            .filter(|network| is_v4 == matches!(network, IpNet::V4(_)))
            .collect();
        if prefixes.len() > room(capacity.prefixes) {
            let what = too_many(
                prefixes.len(),
                &format!("the lists' {family} prefixes"),
                "prefixes",
                capacity.prefixes,
            );
            top.warning(what, enlarge("prefixes", prefixes.len()));
        }
    }
    let hosts = merged(
        list_networks().map(|networks| networks.hosts_v4.as_slice()),
        room(capacity.hosts_v4),
    );
    if let Some(count) = hosts {
        top.warning(
            too_many(
                count,
                "the lists' IPv4 addresses",
                "hosts_v4",
                capacity.hosts_v4,
            ),
            enlarge("hosts_v4", count),
        );
    }
    let hosts = merged(
        list_networks().map(|networks| networks.hosts_v6.as_slice()),
        room(capacity.hosts_v6),
    );
    if let Some(count) = hosts {
        top.warning(
            too_many(
                count,
                "the lists' IPv6 addresses",
                "hosts_v6",
                capacity.hosts_v6,
            ),
            enlarge("hosts_v6", count),
        );
    }
}

/// How many different networks of the wanted family there are, if there are more than `room`.
fn distinct<'a>(
    all: impl Iterator<Item = &'a Networks> + Clone,
    room: usize,
    wanted: impl Fn(&IpNet) -> bool,
) -> Option<usize> {
    // The sum is an upper bound; only when it exceeds the room are they compared one by one.
    if all
        .clone()
        .map(Networks::len)
        .fold(0, usize::saturating_add)
        <= room
    {
        return None;
    }
    let mut networks: Vec<IpNet> = all.flat_map(Networks::iter).filter(wanted).collect();
    networks.sort_unstable();
    networks.dedup();
    Some(networks.len()).filter(|count| *count > room)
}

/// How many different hosts there are, if there are more than `room`.
fn merged<'a, T: Ord + Copy + 'a>(
    all: impl Iterator<Item = &'a [T]> + Clone,
    room: usize,
) -> Option<usize> {
    if all.clone().map(<[T]>::len).fold(0, usize::saturating_add) <= room {
        return None;
    }
    let mut hosts: Vec<T> = all.flatten().copied().collect();
    hosts.sort_unstable();
    hosts.dedup();
    Some(hosts.len()).filter(|count| *count > room)
}

fn with_use<'z, 'a>(zones: &'z [Typed<'a, Zone>], one: Uses) -> Vec<&'z Typed<'a, Zone>> {
    zones
        .iter()
        .filter(|typed| typed.value.uses.contains(one))
        .collect()
}
