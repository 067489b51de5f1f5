//! What `diff` says about a reload.

use super::*;

fn config(text: &str) -> Config {
    Config::parse(text, Path::new("/nonexistent"), "test.toml").unwrap()
}

#[test]
fn nothing_differs_from_itself() {
    let text = "[[zone]]\nname = \"a\"\nuses = [\"blocked\"]\nnetworks = [\"10.0.0.0/8\"]\n";
    assert_eq!(changes(&config(text), &config(text)), [""; 0]);
    assert_eq!(needs_restart(&config(text), &config(text)), [""; 0]);
}

#[test]
fn every_difference_is_one_sentence() {
    let old = config(
        r#"
        interfaces = ["eth0"]
        [control]
        operators = { users = ["ann"], groups = ["ops"] }
        [[zone]]
        name = "gone"
        uses = ["blocked"]
        networks = ["192.0.2.0/24"]
        [[zone]]
        name = "cdn"
        uses = ["trusted-proxy"]
        networks = ["10.0.0.1", "10.0.0.2", "10.1.0.0/16", "2001:db8::1"]
        [[service]]
        name = "login"
        ports = [443]
        "#,
    );
    let new = config(
        r#"
        mode = "block"
        interfaces = ["eth0", "eth1"]
        refusal = "reset"
        state_dir = "/srv/edgeward"
        [reputation]
        block_threshold = 90
        [rate_limit]
        window = "1m"
        connections = 30
        limited_packets = 0
        [capacity]
        zones = 1000
        [events]
        ring_bytes = 65536
        [control]
        operators = { users = ["bob"], groups = ["ops"] }
        [[zone]]
        name = "cdn"
        uses = ["trusted-proxy", "allowed-origin"]
        networks = ["10.0.0.2", "10.0.0.3", "10.1.0.0/16", "10.2.0.0/16"]
        [[list]]
        name = "feed"
        networks = ["198.51.100.0/24"]
        [[service]]
        name = "login"
        ports = [443, 8443]
        header = "forwarded"
        restricted = true
        "#,
    );
    assert_eq!(changes(&old, &new), DIFFERENCES);
    assert_eq!(
        needs_restart(&old, &new),
        ["state_dir", "capacity", "events.ring_bytes"]
    );
}

const DIFFERENCES: [&str; 17] = [
    "mode of a first start: log → block",
    "interfaces: eth0 → eth0, eth1",
    "state_dir: /var/lib/edgeward → /srv/edgeward",
    "refusal: drop → reset",
    "reputation.block_threshold: 80 → 90",
    "rate_limit.window: 10s → 1m",
    "rate_limit.connections: no limit → 30",
    "rate_limit.limited_packets: 200 → no limit",
    "rate_limit.attack_connections: no limit → 15",
    "rate_limit.attack_limited_packets: 100 → no limit",
    "capacity.zones: 65536 → 1000",
    "events.ring_bytes: 1048576 → 65536",
    "control.operators.users: +bob, -ann",
    "zone \"gone\" removed (1 networks)",
    "zone \"cdn\": uses: trusted-proxy → trusted-proxy, allowed-origin, 2 networks added, 2 removed (4 now)",
    "list \"feed\" added (1 networks)",
    "service \"login\": ports: 443 → 443 8443, header: x-forwarded-for → forwarded, restricted: false → true",
];

#[test]
fn every_difference_of_a_service_and_an_endpoint_is_told() {
    let before = r#"
        [[service]]
        name = "login"
        ports = [443]
        [service.gateway]
        [[service.limit]]
        name = "gone"
        requests = 1
        [[service.limit]]
        name = "tries"
        requests = 20
        [[service]]
        name = "admin"
        ports = [80]
        [[endpoint]]
        name = "nginx"
        service = "login"
        listen = "unix:/run/a"
        profile = "auth-request"
    "#;
    let after = r#"
        [[service]]
        name = "login"
        ports = [443]
        restricted = true
        restricted_except = ["/a", "/b/*"]
        unknown_client = "deny"
        hops_max = 8
        header_bytes_max = 4096
        [service.gateway]
        fail = "closed"
        upstream = "127.0.0.1:8080"
        upstream_protocol = "h2"
        upstream_proxy_protocol = true
        head_bytes_max = 2048
        headers_max = 64
        head_timeout = "1s"
        body_timeout = "1m30s"
        idle_timeout = "3s"
        upstream_timeout = "4s"
        drain_timeout = "0s"
        connections_max = 5
        requests_max = 6
        streams_max = 7
        [service.refusal]
        status = 404
        limit_status = 503
        [[service.limit]]
        name = "tries"
        paths = ["/login"]
        key = "client-user-agent"
        concurrent = 5
        window = "1h"
        mode = "preview"
        [[service.limit]]
        name = "new"
        requests = 1
        [[service]]
        name = "admin"
        ports = [80]
        [service.gateway]
        [[endpoint]]
        name = "nginx"
        listen = "127.0.0.1:9401"
        profile = "ext-authz-grpc"
        service = "admin"
        resolved = true
        [[endpoint]]
        name = "caddy"
        listen = "unix:/run/b"
        profile = "forward-auth"
        service = "login"
    "#;
    let (old, new) = (config(before), config(after));
    assert_eq!(changes(&old, &new), SERVICE_DIFFERENCES);
    assert_eq!(needs_restart(&old, &new), [""; 0]);
    let back = changes(&new, &old).join("\n");
    for expected in [
        "gateway off",
        "endpoint \"caddy\" removed",
        "limit \"new\" removed",
        "restricted_except: /a /b/* → none",
        "upstream: 127.0.0.1:8080 → the connection's own destination",
    ] {
        assert!(back.contains(expected), "{expected}\n{back}");
    }
}

const SERVICE_DIFFERENCES: [&str; 4] = [
    "service \"login\": restricted: false → true, restricted_except: none → /a /b/*, unknown_client: judge → deny, \
     hops_max: 16 → 8, header_bytes_max: 8192 → 4096, gateway.fail: open → closed, \
     gateway.upstream: the connection's own destination → 127.0.0.1:8080, gateway.upstream_protocol: http/1.1 → h2, \
     gateway.upstream_proxy_protocol: false → true, gateway.head_timeout: 10s → 1s, gateway.body_timeout: 30s → 1m30s, \
     gateway.idle_timeout: 1m15s → 3s, gateway.upstream_timeout: 1m → 4s, gateway.drain_timeout: 10s → 0s, \
     gateway.head_bytes_max: 65536 → 2048, gateway.headers_max: 100 → 64, gateway.connections_max: 20000 → 5, \
     gateway.requests_max: 10000 → 6, gateway.streams_max: 128 → 7, refusal.status: 403 → 404, \
     refusal.limit_status: 429 → 503, limit \"gone\" removed, limit \"tries\" paths: all → /login, \
     limit \"tries\" key: client → client-user-agent, limit \"tries\" requests: 20 → no limit, \
     limit \"tries\" concurrent: no limit → 5, limit \"tries\" window: 1m → 1h, \
     limit \"tries\" mode: enforce → preview, limit \"new\" added",
    "service \"admin\": gateway on",
    "endpoint \"nginx\": listen: unix:/run/a → 127.0.0.1:9401, listen_mode: 0660 → none, \
     profile: auth-request → ext-authz-grpc, service: login → admin, peer: header:x-edgeward-peer → protocol, \
     resolved: false → true",
    "endpoint \"caddy\" added",
];

/// Files are told by their names, pages by their length; a changed page of the same length is a change.
#[test]
fn files_that_differ_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let load = |text: &str| {
        let text = format!("[[service]]\nname = \"s\"\nports = [80]\n{text}");
        Config::parse(&text, dir.path(), "test.toml").unwrap()
    };
    write("a.html", "one");
    let plain = load("gateway = {}");
    let old = load("gateway = {}\nrefusal = { html = \"a.html\" }");
    write("a.html", "two");
    let new = load("gateway = {}\nrefusal = { html = \"a.html\" }");
    assert_eq!(
        changes(&plain, &old),
        ["service \"s\": refusal.html: built-in → 3 bytes"]
    );
    assert_eq!(
        changes(&old, &new),
        ["service \"s\": refusal.html: 3 bytes → 3 bytes"]
    );
    write("a.pem", crate::config::test_pems::CERTIFICATE);
    write("a.key", crate::config::test_pems::KEY);
    let certificates = "certificates = [{ certificate = \"a.pem\", key = \"a.key\" }]";
    let tls = load(&format!(
        "gateway = {{ upstream_tls = true, upstream_ca = \"a.pem\", {certificates} }}"
    ));
    let told = changes(&plain, &tls)
        .join("")
        .replace(&format!("{}/", dir.path().display()), "");
    assert_eq!(
        told,
        "service \"s\": gateway.upstream_tls: false → true, gateway.upstream_ca: none → a.pem, \
         gateway.certificates: none → a.pem with a.key"
    );
}

#[test]
fn shared_counts_what_both_hold() {
    let table: [(&[u32], &[u32], usize); 5] = [
        (&[], &[], 0),
        (&[1], &[], 0),
        (&[1, 2, 3], &[2, 3, 4], 2),
        (&[1, 3, 5], &[2, 4], 0),
        (&[7], &[7], 1),
    ];
    for (a, b, expected) in table {
        assert_eq!(shared(a, b), expected, "{a:?} {b:?}");
    }
}
