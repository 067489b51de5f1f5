//! `[service.gateway]`: the agent in the path of connections from trusted proxies.

use std::{net::SocketAddr, ops::RangeInclusive, path::Path, time::Duration};

use super::{
    Certificate, FailurePolicy, Gateway, GatewayLimits, UpstreamProtocol,
    endpoints::socket_address,
    error::shown,
    raw::{Node, Table},
    tls,
};

pub(super) const GATEWAY_KEYS: [&str; 18] = [
    "enabled",
    "fail",
    "upstream",
    "upstream_protocol",
    "upstream_tls",
    "upstream_ca",
    "upstream_proxy_protocol",
    "certificates",
    "head_bytes_max",
    "headers_max",
    "head_timeout",
    "body_timeout",
    "idle_timeout",
    "upstream_timeout",
    "drain_timeout",
    "connections_max",
    "requests_max",
    "streams_max",
];
pub(super) const CERTIFICATE_KEYS: [&str; 2] = ["certificate", "key"];

/// Of times that a client or the upstream is waited for.
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3_600);
/// Of the time that requests have to end; 0s ends them at once.
const DRAIN: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(600);
/// Most certificates of one service.
const CERTIFICATES_MAX: usize = 256;

/// The gateway of a service; `None` if the table is missing or switched off.
pub(super) fn gateway(service: &Table<'_>, base: &Path) -> Option<Gateway> {
    let table = service.get("gateway")?.table(&GATEWAY_KEYS)?;
    let enabled = table.flag("enabled", true);
    let gateway = Gateway {
        fail: table.choice("fail", &FailurePolicy::NAMED),
        upstream: table.get("upstream").and_then(|node| address(&node)),
        upstream_protocol: table.choice("upstream_protocol", &UpstreamProtocol::NAMED),
        upstream_tls: table.flag("upstream_tls", false),
        upstream_ca: table.get("upstream_ca").and_then(|node| {
            let file = node.file(base)?;
            // What is switched off may be written before its files are there.
            if let Err(what) = tls::roots(&file)
                && enabled
            {
                node.file_error(&file, &what);
            }
            Some(file)
        }),
        upstream_proxy_protocol: table.flag("upstream_proxy_protocol", false),
        certificates: certificates(&table, base, enabled),
        limits: limits(&table),
    };
    contradictions(&table, &gateway);
    enabled.then_some(gateway)
}

fn limits(table: &Table<'_>) -> GatewayLimits {
    let default = GatewayLimits::default();
    GatewayLimits {
        head_bytes_max: table.count("head_bytes_max", 1_024..=1 << 20, default.head_bytes_max),
        headers_max: table.count("headers_max", 1..=1_024, default.headers_max),
        head_timeout: table.time("head_timeout", TIMEOUT, default.head_timeout),
        body_timeout: table.time("body_timeout", TIMEOUT, default.body_timeout),
        idle_timeout: table.time("idle_timeout", TIMEOUT, default.idle_timeout),
        upstream_timeout: table.time("upstream_timeout", TIMEOUT, default.upstream_timeout),
        drain_timeout: table.time("drain_timeout", DRAIN, default.drain_timeout),
        connections_max: table.count("connections_max", 1..=1_000_000, default.connections_max),
        requests_max: table.count("requests_max", 1..=1_000_000, default.requests_max),
        streams_max: table.count("streams_max", 1..=10_000, default.streams_max),
    }
}

/// An address that something can be sent to.
fn address(node: &Node<'_>) -> Option<SocketAddr> {
    let text = node.string()?;
    let Some(address) = socket_address(text) else {
        node.error(
            format!("\"{}\" is no address with a port", shown(text)),
            Some("write 127.0.0.1:8080 or [::1]:8080".to_owned()),
        );
        return None;
    };
    let ip = address.ip();
    if address.port() == 0 || ip.is_unspecified() || ip.is_multicast() {
        node.error(
            format!("nothing can be reached at {address}"),
            Some("name the address and port of the application".to_owned()),
        );
        return None;
    }
    Some(address)
}

fn certificates(table: &Table<'_>, base: &Path, enabled: bool) -> Vec<Certificate> {
    let Some(node) = table.get("certificates") else {
        return Vec::new();
    };
    let mut out: Vec<Certificate> = Vec::new();
    for element in node.elements() {
        let Some(inner) = element.table(&CERTIFICATE_KEYS) else {
            continue;
        };
        let repeated = |pair: &Certificate| out.contains(pair);
        if let Some(pair) = pair_unless(&inner, base, enabled, repeated) {
            if out.contains(&pair) {
                element.error("is named twice", Some("remove one".to_owned()));
            }
            out.push(pair);
        }
    }
    if out.len() > CERTIFICATES_MAX {
        node.error(
            format!(
                "names {} certificates; at most {CERTIFICATES_MAX} are possible",
                out.len()
            ),
            None,
        );
    }
    out
}

/// `certificate` and `key` of a table, looked at if they are used.
pub(super) fn pair(table: &Table<'_>, base: &Path, used: bool) -> Option<Certificate> {
    pair_unless(table, base, used, |_| false)
}

fn pair_unless(
    table: &Table<'_>,
    base: &Path,
    used: bool,
    known: impl Fn(&Certificate) -> bool,
) -> Option<Certificate> {
    let certificate = table.required("certificate", "\"login.pem\"");
    let key = table.required("key", "\"login.key\"");
    let (certificate, key) = (certificate?, key?);
    let (certificate_file, key_file) = (certificate.file(base), key.file(base));
    let pair = Certificate {
        certificate: certificate_file?,
        key: key_file?,
    };
    if used && !known(&pair) {
        readable(&pair, &certificate, &key);
    }
    Some(pair)
}

/// A certificate and a key that fit together, now: both may be renewed before they are used.
pub(super) fn readable(pair: &Certificate, certificate: &Node<'_>, key: &Node<'_>) {
    let node = |part: tls::Part| match part {
        tls::Part::Certificate => (certificate, &pair.certificate),
        tls::Part::Key => (key, &pair.key),
    };
    match tls::certified_key(pair) {
        Err(faults) => {
            for fault in faults {
                let (node, file) = node(fault.part);
                node.file_error(file, &fault.what);
            }
        }
        Ok(_) => {
            for doubt in tls::doubts(pair) {
                let (node, file) = node(doubt.part);
                node.file_warning(file, &doubt.what);
            }
        }
    }
}

fn contradictions(table: &Table<'_>, gateway: &Gateway) {
    if let Some(node) = table.get("upstream_ca").filter(|_| !gateway.upstream_tls) {
        node.error(
            "has no effect without upstream_tls",
            Some("set upstream_tls = true, or remove it".to_owned()),
        );
    }
    let certificates = table
        .get("certificates")
        .is_some_and(|node| !node.is_empty_array());
    if gateway.upstream_tls
        && !certificates
        && table.get("upstream_ca").is_none()
        && let Some(node) = table.get("upstream_tls")
    {
        node.error(
            "nothing says by what the upstream's certificate is checked",
            Some("name the file of its issuer in upstream_ca".to_owned()),
        );
    }
    if certificates && gateway.upstream.is_none() && !gateway.upstream_tls {
        table.warning(
            "ends TLS and passes plain HTTP on to the very port that the connection was for".to_owned(),
            Some(
                "name an upstream that takes plain HTTP, or set upstream_tls = true if the application ends TLS there"
                    .to_owned(),
            ),
        );
    }
}
