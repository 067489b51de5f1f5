//! What only shows when services, endpoints and zones are seen together: settings that exclude each other,
//! listeners in each other's way, gateways that nothing is steered to.

use std::{collections::HashMap, net::IpAddr, path::PathBuf};

use edgeward_ebpf::abi::steer;

use super::{
    Config, Endpoint, Header, Listen, PeerSource, Profile, RefusalPages, Service, UnknownClient,
    Uses, Zone, error::shown, raw::Table, zones::Typed,
};

/// Sources of the gateway's own connections to applications, which steering lets pass first.
const RESERVED_SOURCES: [IpAddr; 2] = [
    IpAddr::V4(steer::UPSTREAM_SOURCE_V4),
    IpAddr::V6(steer::UPSTREAM_SOURCE_V6),
];

pub(super) fn across(
    config: &Config,
    zones: &[Typed<'_, Zone>],
    services: &[Typed<'_, Service>],
    endpoints: &[Typed<'_, Endpoint>],
) {
    few_enough(endpoints);
    unique_names(endpoints);
    unique_listeners(config, services, endpoints);
    let asks = |endpoint: &&Typed<'_, Endpoint>| endpoint.value.profile != Profile::Signals;
    for typed in services {
        let asked: Vec<&Typed<'_, Endpoint>> = endpoints
            .iter()
            .filter(asks)
            .filter(|endpoint| endpoint.value.service == typed.value.name)
            .collect();
        exceptions(typed, &asked);
        observation(typed);
        without_effect(typed, &asked);
        upstream(typed, endpoints);
        judged_twice(typed, &asked);
    }
    for typed in endpoints.iter().filter(asks) {
        let service = services
            .iter()
            .find(|service| service.value.name == typed.value.service);
        if let Some(service) = service {
            peer_and_header(typed, &service.value);
            resolved_and_restricted(typed, service);
        }
    }
    reserved_sources(zones, services);
    someone_is_steered(zones, services, endpoints);
}

/// Most endpoints: each is a listener, which the unit has to keep across a restart (FileDescriptorStoreMax=).
const ENDPOINTS_MAX: usize = 16;

fn few_enough(endpoints: &[Typed<'_, Endpoint>]) {
    if let Some(first) = endpoints.get(ENDPOINTS_MAX) {
        let what = format!(
            "is one of {} endpoints; at most {ENDPOINTS_MAX} are possible",
            endpoints.len()
        );
        first.table.error(what, None);
    }
}

fn unique_names(endpoints: &[Typed<'_, Endpoint>]) {
    let mut seen: HashMap<&str, &str> = HashMap::new();
    for typed in endpoints
        .iter()
        .filter(|typed| !typed.value.name.is_empty())
    {
        if let Some(first) = seen.insert(&typed.value.name, typed.table.path()) {
            let name = shown(&typed.value.name);
            typed.table.error(
                format!("the name \"{name}\" is already taken by {first}"),
                Some("give each its own name".to_owned()),
            );
        }
    }
}

fn unique_listeners(
    config: &Config,
    services: &[Typed<'_, Service>],
    endpoints: &[Typed<'_, Endpoint>],
) {
    let mut seen: HashMap<String, &str> = HashMap::new();
    for typed in endpoints {
        let Some(node) = typed.table.get("listen") else {
            continue;
        };
        let listener = match &typed.value.listen {
            // Could not be read, and has its own mistake.
            Listen::Unix(path, _) if path.as_os_str().is_empty() => continue,
            // `/run//a` and `/run/./a` are `/run/a`.
            Listen::Unix(path, _) => path.components().collect::<PathBuf>().display().to_string(),
            Listen::Tcp(address) => address.to_string(),
        };
        if let Some(first) = seen.get(&listener) {
            node.error(
                format!("{first} listens there already"),
                Some("give each endpoint its own listener".to_owned()),
            );
            continue;
        }
        seen.insert(listener, typed.table.path());
        match &typed.value.listen {
            Listen::Unix(path, _) if *path == config.socket => node.error(
                "is the control socket",
                Some("choose another name, as in unix:/run/edgeward/auth-request.sock".to_owned()),
            ),
            Listen::Unix(_, _) => {}
            Listen::Tcp(address) => {
                let port = address.port();
                let owner = services
                    .iter()
                    .find(|typed| typed.value.ports.contains(&port));
                if let Some(owner) = owner {
                    let path = owner.table.path();
                    node.error(
                        format!("port {port} belongs to {path}: the proxy's question would be judged as a sign-in"),
                        Some("choose another port, or a Unix socket".to_owned()),
                    );
                }
            }
        }
    }
}

/// Paths can be excepted only where somebody sees paths and can let a request through or not.
fn exceptions(typed: &Typed<'_, Service>, asked: &[&Typed<'_, Endpoint>]) {
    let Some(node) = typed
        .table
        .get("restricted_except")
        .filter(|node| !node.is_empty_array())
    else {
        return;
    };
    if !typed.value.restricted {
        node.error(
            "excepts paths from a restriction that is not there",
            Some("set restricted = true, or remove it".to_owned()),
        );
    } else if typed.value.gateway.is_none() && asked.is_empty() {
        node.error(
            "needs somebody who sees paths: the kernel refuses connections before there is one",
            Some("add [service.gateway] or an [[endpoint]] of this service".to_owned()),
        );
    }
}

fn observation(typed: &Typed<'_, Service>) {
    let Some(node) = typed.table.get("observe").filter(|_| typed.value.observe) else {
        return;
    };
    if typed.value.gateway.is_some() {
        node.error(
            "has no use beside the gateway, which reads and judges the same requests",
            Some("remove observe, or set enabled = false under [service.gateway]".to_owned()),
        );
    } else if typed.value.header == Header::ProxyProtocol {
        node.error(
            "looks at the packet of a request, and the PROXY protocol names the client in an earlier one",
            Some("use the gateway, or remove observe".to_owned()),
        );
    } else if !typed.value.ports.is_empty()
        && typed.value.ports.iter().all(|port| TLS.contains(port))
    {
        node.warning(
            "reads plain HTTP only, and these ports usually carry TLS, of which nothing can be read",
            Some("observe the port that carries plain HTTP".to_owned()),
        );
    }
}

/// Ports that carry HTTP over TLS wherever nobody decided otherwise.
const TLS: [u16; 2] = [443, 8443];

/// Settings of requests where no request is ever seen.
fn without_effect(typed: &Typed<'_, Service>, asked: &[&Typed<'_, Endpoint>]) {
    if typed.value.gateway.is_some() || !asked.is_empty() {
        return;
    }
    let service = &typed.value;
    // What is only observed is judged, and never answered.
    let unseen = !service.observe;
    let settings = [
        ("limit", unseen && !service.limits.is_empty()),
        ("sign_in", !service.sign_ins.is_empty()),
        (
            "unknown_client",
            unseen && service.unknown_client != UnknownClient::default(),
        ),
        ("refusal", service.refusals != RefusalPages::default()),
    ];
    for (key, _) in settings.iter().filter(|(_, typed)| *typed) {
        if let Some(node) = typed.table.get(key) {
            node.warning(
                "has no effect: nothing here answers requests of this service",
                Some("add [service.gateway] or an [[endpoint]] of this service".to_owned()),
            );
        }
    }
}

fn upstream(typed: &Typed<'_, Service>, endpoints: &[Typed<'_, Endpoint>]) {
    let Some(upstream) = typed
        .value
        .gateway
        .as_ref()
        .and_then(|gateway| gateway.upstream)
    else {
        return;
    };
    let listener = endpoints
        .iter()
        .find(|endpoint| endpoint.value.listen == Listen::Tcp(upstream));
    let node = typed
        .table
        .get("gateway")
        .and_then(|node| node.inner("upstream"));
    let Some(node) = node else {
        return;
    };
    if let Some(listener) = listener {
        node.error(
            format!("is where {} listens", listener.table.path()),
            Some("name the address of the application".to_owned()),
        );
    }
}

fn judged_twice(typed: &Typed<'_, Service>, asked: &[&Typed<'_, Endpoint>]) {
    let Some(first) = asked.first().filter(|_| typed.value.gateway.is_some()) else {
        return;
    };
    typed.table.warning(
        format!(
            "has a gateway and {}: a request that passes both is judged and counted twice",
            first.table.path()
        ),
        Some("keep one of them, or make two services of the ports".to_owned()),
    );
}

/// Where an endpoint finds the peer must not be where the peer finds the client.
fn peer_and_header(typed: &Typed<'_, Endpoint>, service: &Service) {
    let header = service.header;
    let endpoint = &typed.value;
    if endpoint.resolved {
        return;
    }
    let node = typed.table.get("peer");
    let error = |what: String, suggestion: &str| {
        let suggestion = Some(suggestion.to_owned());
        match &node {
            Some(node) => node.error(what, suggestion),
            None => typed.table.error(what, suggestion),
        }
    };
    if header == Header::ProxyProtocol {
        let what = "the PROXY protocol ends at the proxy: an endpoint never sees it, and its service names no other header";
        error(
            what.to_owned(),
            "let the proxy name the client in the header of `peer`, and set resolved = true",
        );
    } else if matches!(&endpoint.peer, PeerSource::Header(name) if name == header.name()) {
        error(
            format!(
                "{header} names the client in this service, and cannot name the proxy's peer too"
            ),
            "let the proxy set another header: peer = \"header:x-edgeward-peer\"",
        );
    }
}

/// A restriction asks for the peer, which an endpoint does not learn where the proxy names the client in its place.
fn resolved_and_restricted(typed: &Typed<'_, Endpoint>, service: &Typed<'_, Service>) {
    let both = typed.value.resolved && service.value.restricted;
    if let Some(node) = typed.table.get("resolved").filter(|_| both) {
        node.error(
            format!(
                "hides who connects, and {} is restricted: every client that is no allowed origin would be refused, also one that came through your proxies",
                service.table.path()
            ),
            Some(
                "let the proxy name its own peer and remove resolved, or set restricted = false"
                    .to_owned(),
            ),
        );
    }
}

/// A steered connection of the gateway to the application would come back to the gateway.
fn reserved_sources(zones: &[Typed<'_, Zone>], services: &[Typed<'_, Service>]) {
    let gateway = services.iter().find(|typed| typed.value.gateway.is_some());
    let Some(gateway) = gateway else {
        return;
    };
    let trusted = zones
        .iter()
        .filter(|typed| typed.value.uses.contains(Uses::TRUSTED_PROXY));
    for typed in trusted {
        for address in RESERVED_SOURCES {
            let mut networks = typed.value.networks.iter();
            // A trusted /0 is refused as such.
            let covering =
                networks.find(|network| network.prefix_len() > 0 && network.contains(&address));
            if let Some(network) = covering {
                let suggestion = match address {
                    IpAddr::V4(_) => "name 127.0.0.1 if a proxy on this host is meant",
                    IpAddr::V6(_) => "name the addresses of your proxies only",
                };
                typed.table.error(
                    format!(
                        "trusts {network} as a proxy, and with it {address}, from which the gateway of {} reaches applications",
                        gateway.table.path()
                    ),
                    Some(suggestion.to_owned()),
                );
            }
        }
    }
}

fn someone_is_steered(
    zones: &[Typed<'_, Zone>],
    services: &[Typed<'_, Service>],
    endpoints: &[Typed<'_, Endpoint>],
) {
    let trusted = |typed: &Typed<'_, Zone>| typed.value.uses.contains(Uses::TRUSTED_PROXY);
    if zones.iter().any(trusted) {
        return;
    }
    let warn = |table: &Table<'_>, what: &str, suggestion: &str| {
        table.warning(
            format!("no zone is a trusted-proxy: {what}"),
            Some(suggestion.to_owned()),
        );
    };
    let zone = "add a [[zone]] with uses = [\"trusted-proxy\"] and the networks of your proxies";
    for typed in services {
        // With exceptions by path every connection is steered, whoever it comes from.
        if typed.value.gateway.is_some() && typed.value.restricted_except.is_empty() {
            warn(
                &typed.table,
                "nothing will ever be steered to the gateway",
                zone,
            );
        } else if typed.value.observe {
            warn(&typed.table, "there is nothing to observe", zone);
        }
    }
    let asking = endpoints
        .iter()
        .filter(|typed| typed.value.profile != Profile::Signals);
    for typed in asking.filter(|typed| !typed.value.resolved) {
        warn(
            &typed.table,
            "no forwarding header will be believed, the client is always the peer that the proxy names",
            &format!("{zone}, or set resolved = true if that is what is meant"),
        );
    }
}
