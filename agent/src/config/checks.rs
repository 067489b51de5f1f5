//! What only shows when the whole configuration is read: duplicate names and ports, zones that
//! contradict each other, trust in everybody, more networks than the maps hold.

use std::collections::{BTreeSet, HashMap};

use ipnet::IpNet;

use super::{Config, List, Networks, Service, Uses, Zone, error::shown, raw::Table, zones::Typed};
use crate::policy::listing::is_exact;

pub(super) fn across(
    top: &Table<'_>,
    config: &Config,
    zones: &[Typed<'_, Zone>],
    lists: &[Typed<'_, List>],
    services: &[Typed<'_, Service>],
) {
    few_enough(zones, "zones");
    few_enough(lists, "lists");
    few_enough(services, "services");
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

pub(super) fn unique_names<T>(all: &[Typed<'_, T>], name: impl Fn(&T) -> &String) {
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
    for typed in services
        .iter()
        .filter(|typed| typed.value.restricted && typed.value.restricted_except.is_empty())
    {
        let what = "is restricted, and no zone is a trusted-proxy, allowed-origin or exempt: nobody can reach it";
        typed.table.warning(
            what.to_owned(),
            Some("add such a zone, or set restricted = false".to_owned()),
        );
    }
}

/// What one kernel map has to hold.
struct Group {
    /// The setting of `[capacity]`.
    key: &'static str,
    room: u32,
    v4: bool,
    /// Only lengths kept by exact match, only the others, or all of them.
    exact: Option<bool>,
}

/// Zones that do not fit are refused: an exempt network left out would be dropped. Of lists and blocked
/// zones the maps take what fits, and the rest is counted. The groups are those of `policy::listing`.
fn fits(top: &Table<'_>, config: &Config, zones: &[Typed<'_, Zone>], lists: &[Typed<'_, List>]) {
    let capacity = &config.capacity;
    let zones = || zones.iter().map(|typed| &typed.value);
    let kept = zones()
        .filter(|zone| zone.uses != Uses::BLOCKED)
        .map(|zone| &zone.networks);
    let blocked = zones()
        .filter(|zone| zone.uses.contains(Uses::BLOCKED))
        .map(|zone| &zone.networks);
    let entries = blocked.chain(lists.iter().map(|typed| &typed.value.networks));
    for v4 in [true, false] {
        let (hosts, hosts_key) = if v4 {
            (capacity.hosts_v4, "hosts_v4")
        } else {
            (capacity.hosts_v6, "hosts_v6")
        };
        let zone_group = Group {
            key: "zones",
            room: capacity.zones,
            v4,
            exact: None,
        };
        if let Some((what, suggestion)) = zone_group.overflow("the zones", kept.clone()) {
            top.error(what, Some(suggestion));
        }
        let exact = Group {
            key: hosts_key,
            room: hosts,
            v4,
            exact: Some(true),
        };
        let others = Group {
            key: "prefixes",
            room: capacity.prefixes,
            v4,
            exact: Some(false),
        };
        for group in [exact, others] {
            if let Some((what, suggestion)) =
                group.overflow("lists and blocked zones", entries.clone())
            {
                top.warning(what, Some(suggestion));
            }
        }
    }
}

impl Group {
    fn holds(&self, network: &IpNet) -> bool {
        matches!(network, IpNet::V4(_)) == self.v4
            && self.exact.is_none_or(|exact| is_exact(network) == exact)
    }

    /// How many entries `networks` brings, without a look at a million hosts one by one.
    fn brought_by(&self, networks: &Networks) -> usize {
        let hosts = match (self.exact, self.v4) {
            (Some(false), _) => 0,
            (_, true) => networks.hosts_v4.len(),
            (_, false) => networks.hosts_v6.len(),
        };
        hosts.saturating_add(
            networks
                .prefixes
                .iter()
                .filter(|prefix| self.holds(prefix))
                .count(),
        )
    }

    /// What to say if there are more different entries than room.
    fn overflow<'n>(
        &self,
        who: &str,
        all: impl Iterator<Item = &'n Networks> + Clone,
    ) -> Option<(String, String)> {
        let room = usize::try_from(self.room).unwrap_or(usize::MAX);
        // The sum is an upper bound; only where it exceeds the room are duplicates looked for.
        let sum = all
            .clone()
            .map(|one| self.brought_by(one))
            .fold(0, usize::saturating_add);
        if sum <= room {
            return None;
        }
        let mut networks: Vec<IpNet> = all
            .flat_map(Networks::iter)
            .filter(|network| self.holds(network))
            .collect();
        networks.sort_unstable();
        networks.dedup();
        let count = networks.len();
        let family = if self.v4 { "IPv4" } else { "IPv6" };
        let what = format!(
            "{who} hold {count} different {family} entries for capacity.{}, which is {room}",
            self.key
        );
        let suggestion = format!("set {} under [capacity] to {count} or more", self.key);
        (count > room).then_some((what, suggestion))
    }
}

/// Zones are numbered in 16 bits in the kernel, and a person has to read them.
fn few_enough<T>(all: &[Typed<'_, T>], what: &str) {
    if let Some(first) = all.get(TABLES_MAX) {
        let what = format!(
            "is one of {} {what}; at most {TABLES_MAX} are possible",
            all.len()
        );
        first
            .table
            .error(what, Some("put more networks into fewer tables".to_owned()));
    }
}

/// Most zones, lists and services, of each.
const TABLES_MAX: usize = 4_096;

fn with_use<'z, 'a>(zones: &'z [Typed<'a, Zone>], one: Uses) -> Vec<&'z Typed<'a, Zone>> {
    zones
        .iter()
        .filter(|typed| typed.value.uses.contains(one))
        .collect()
}
