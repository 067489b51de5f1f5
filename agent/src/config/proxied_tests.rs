//! Services behind proxies and decision endpoints: everything that can be typed, and the defaults.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use tempfile::TempDir;

use super::{sign_ins_tests, test_pems, *};
use crate::policy::sign_in::{Field, Repeated, UserPlace};

/// A configuration with everything of this part, and the files it names.
pub(super) fn folder() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("login.pem", test_pems::CERTIFICATE),
        ("login.key", test_pems::KEY),
        ("other.key", test_pems::OTHER_KEY),
        ("encrypted.key", test_pems::ENCRYPTED_KEY),
        ("ca.pem", test_pems::CERTIFICATE),
        ("page.html", "<p>{event_id}</p>"),
        ("page.json", r#"{"id": "{event_id}"}"#),
        ("bare.json", r#"{"id": {event_id}}"#),
        ("empty.pem", ""),
        (
            "damaged.pem",
            "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n",
        ),
        ("open.key", test_pems::KEY),
    ] {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        let mode = if name == "open.key" { 0o644 } else { 0o640 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::write(dir.path().join("latin.html"), b"caf\xe9").unwrap();
    fs::write(dir.path().join("long.html"), "x".repeat(65_537)).unwrap();
    dir
}

fn parse(text: &str, dir: &Path) -> Config {
    Config::parse(text, dir, "edgeward.toml").unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

#[test]
fn everything_of_a_service_that_can_be_typed_arrives() {
    let dir = folder();
    let config = parse(EVERYTHING, dir.path());
    assert_eq!(config.warnings, []);
    let file = |name: &str| dir.path().join(name);
    let pattern = |text: &str| crate::policy::path::PathPattern::parse(text).unwrap();
    let seconds = Duration::from_secs;
    let gateway = Gateway {
        fail: FailurePolicy::Closed,
        upstream: Some("[::1]:8080".parse().unwrap()),
        upstream_protocol: UpstreamProtocol::Http2,
        upstream_tls: true,
        upstream_ca: Some(file("ca.pem")),
        upstream_proxy_protocol: true,
        certificates: vec![Certificate {
            certificate: file("login.pem"),
            key: file("login.key"),
        }],
        limits: GatewayLimits {
            head_bytes_max: 1_024,
            headers_max: 1,
            head_timeout: seconds(1),
            body_timeout: seconds(2),
            idle_timeout: seconds(3),
            upstream_timeout: seconds(4),
            drain_timeout: seconds(0),
            connections_max: 5,
            requests_max: 6,
            streams_max: 7,
        },
    };
    let limit = RequestLimit {
        name: "login attempts".to_owned(),
        paths: vec![pattern("/login"), pattern("/api/session/*")],
        key: LimitKey::ClientUserAgent,
        requests: Some(20),
        concurrent: Some(5),
        window: seconds(3_600),
        mode: LimitMode::Preview,
    };
    let service = Service {
        name: "login".to_owned(),
        ports: vec![443, 8443],
        header: Header::ProxyProtocol,
        restricted: true,
        restricted_except: vec![pattern("/.well-known/acme-challenge/*")],
        unknown_client: UnknownClient::Deny,
        hops_max: 64,
        header_bytes_max: 256,
        observe: false,
        gateway: Some(gateway),
        limits: vec![limit],
        refusals: RefusalPages {
            status: 404,
            limit_status: 503,
            html: Some("<p>{event_id}</p>".to_owned()),
            json: Some(r#"{"id": "{event_id}"}"#.to_owned()),
        },
        sign_ins: sign_ins_tests::typed(),
    };
    assert_eq!(config.services.first(), Some(&service));
    let off = config.services.get(1).unwrap();
    assert_eq!((off.gateway.as_ref(), off.observe), (None, true));
}

#[test]
fn every_endpoint_that_can_be_typed_arrives() {
    let config = parse(ENDPOINTS, Path::new("/nonexistent"));
    assert_eq!(config.warnings, []);
    let endpoint = |name: &str, listen, profile, peer, resolved| Endpoint {
        name: name.to_owned(),
        listen,
        profile,
        service: "login".to_owned(),
        peer,
        resolved,
        user_header: (name == "nginx").then(|| "x-edgeward-user".to_owned()),
    };
    let header = |name: &str| PeerSource::Header(name.to_owned());
    let unix = |path: &str, mode| Listen::Unix(path.into(), mode);
    let tcp = |address: &str| Listen::Tcp(address.parse().unwrap());
    let expected = [
        endpoint(
            "nginx",
            unix("/run/edgeward/auth-request.sock", 0o660),
            Profile::AuthRequest,
            header("x-edgeward-peer"),
            false,
        ),
        endpoint(
            "caddy",
            unix("/run/edgeward/caddy.sock", 0o666),
            Profile::ForwardAuth,
            PeerSource::LastHop,
            false,
        ),
        endpoint(
            "envoy",
            tcp("127.0.0.1:9401"),
            Profile::ExtAuthz,
            header("x-client"),
            true,
        ),
        endpoint(
            "grpc",
            tcp("[::1]:9401"),
            Profile::ExtAuthzGrpc,
            PeerSource::Protocol,
            false,
        ),
        endpoint(
            "haproxy",
            tcp("127.9.9.9:9401"),
            Profile::Spoe,
            PeerSource::Protocol,
            false,
        ),
    ];
    assert_eq!(config.endpoints, expected);
}

#[test]
fn what_is_not_typed_has_its_default() {
    let config = parse(
        "[[zone]]\nname = \"p\"\nuses = [\"trusted-proxy\"]\nnetworks = [\"192.0.2.1\"]\n[[service]]\nname = \"s\"\nports = [80]\n[service.gateway]\n[[service.limit]]\nname = \"l\"\nrequests = 1\n",
        Path::new("/nonexistent"),
    );
    let expected = Service {
        name: "s".to_owned(),
        ports: vec![80],
        gateway: Some(Gateway::default()),
        limits: vec![RequestLimit {
            name: "l".to_owned(),
            paths: Vec::new(),
            key: LimitKey::Client,
            requests: Some(1),
            concurrent: None,
            window: Duration::from_secs(60),
            mode: LimitMode::Enforce,
        }],
        ..Service::default()
    };
    assert_eq!(config.services, [expected]);
    assert_eq!(config.warnings, []);
}

pub(super) const EVERYTHING: &str = r#"
        [[zone]]
        name = "cdn"
        uses = ["trusted-proxy"]
        networks = ["192.0.2.0/24", "127.0.0.1"]
        [[service]]
        name = "login"
        ports = [443, 8443]
        header = "proxy-protocol"
        restricted = true
        restricted_except = ["/.well-known/acme-challenge/*"]
        unknown_client = "deny"
        hops_max = 64
        header_bytes_max = 256
        observe = false
        [service.gateway]
        enabled = true
        fail = "closed"
        upstream = "[::1]:8080"
        upstream_protocol = "h2"
        upstream_tls = true
        upstream_ca = "ca.pem"
        upstream_proxy_protocol = true
        certificates = [{ certificate = "login.pem", key = "login.key" }]
        head_bytes_max = 1024
        headers_max = 1
        head_timeout = "1s"
        body_timeout = "2s"
        idle_timeout = "3s"
        upstream_timeout = "4s"
        drain_timeout = "0s"
        connections_max = 5
        requests_max = 6
        streams_max = 7
        [service.refusal]
        status = 404
        limit_status = 503
        html = "page.html"
        json = "page.json"
        [[service.limit]]
        name = "login attempts"
        paths = ["/login", "/api/session/*"]
        key = "client-user-agent"
        requests = 20
        concurrent = 5
        window = "1h"
        mode = "preview"
        [[service.sign_in]]
        path = "/login"
        user_field = "user.name"
        user_repeated = "last"
        body_bytes_max = 256
        success = [302, 303]
        failure = ["2xx"]
        unknown_user = [404]
        challenge = ["401"]
        outcome_field = "/error/code"
        answer_bytes_max = 1024
        outcomes = ["unknown-user=NOBODY,*gone", "success=ok"]
        [[service.sign_in]]
        method = "*"
        path = "*/reset"
        flow = "recovery"
        user_basic = true
        outcome_header = "X-Result"
        outcomes = ["failure=no"]
        [[service.sign_in]]
        method = "put"
        path = "/new/*"
        [[service]]
        name = "admin"
        ports = [80]
        observe = true
        [service.gateway]
        enabled = false
        certificates = [{ certificate = "not there yet.pem", key = "not there yet.key" }]
        upstream_tls = true
        upstream_ca = "not there yet either.pem"
    "#;

const ENDPOINTS: &str = r#"
        [[zone]]
        name = "cdn"
        uses = ["trusted-proxy"]
        networks = ["192.0.2.0/24"]
        [[service]]
        name = "login"
        ports = [443]
        [[endpoint]]
        name = "nginx"
        listen = "unix:/run/edgeward/auth-request.sock"
        profile = "auth-request"
        user_header = "X-Edgeward-User"
        service = "login"
        [[endpoint]]
        name = "caddy"
        listen = "unix:/run/edgeward/caddy.sock"
        listen_mode = "666"
        profile = "forward-auth"
        peer = "last-hop"
        [[endpoint]]
        name = "envoy"
        listen = "127.0.0.1:9401"
        profile = "ext-authz"
        peer = "header:X-Client"
        resolved = true
        [[endpoint]]
        name = "grpc"
        listen = "[::1]:9401"
        profile = "ext-authz-grpc"
        [[endpoint]]
        name = "haproxy"
        listen = "127.9.9.9:9401"
        profile = "spoe"
        peer = "protocol"
    "#;

/// Services and endpoints of the annotated default, everything in force that stands there as a comment.
fn annotated() -> Vec<String> {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/edgeward.toml");
    let text = fs::read_to_string(shipped).unwrap();
    let (_, tables) = text.split_once("\n[[service]]").unwrap();
    let tables = tables.split("\n#[[feed]]").next().unwrap();
    tables
        .lines()
        .map(|line| {
            line.strip_prefix('#')
                .filter(|rest| !rest.starts_with(' '))
                .unwrap_or(line)
                .to_owned()
        })
        .collect()
}

fn is_about(line: &str, key: &str) -> bool {
    line.starts_with(&format!("{key} = "))
}

#[test]
fn every_key_of_services_and_endpoints_is_annotated() {
    let lines = annotated();
    let keys = [
        &services::SERVICE_KEYS[..],
        &services::LIMIT_KEYS,
        &sign_ins::SIGN_IN_KEYS,
        &services::REFUSAL_KEYS,
        &gateway::GATEWAY_KEYS,
        &endpoints::ENDPOINT_KEYS,
    ];
    for key in keys.concat() {
        let table = ["gateway", "refusal", "limit", "sign_in"].contains(&key);
        assert!(
            table || lines.iter().any(|line| is_about(line, key)),
            "{key}"
        );
    }
}

/// What the annotated default shows is the default; examples, which have none, are left out.
#[test]
fn the_annotated_services_and_endpoints_show_the_defaults() {
    const EXAMPLES: [&str; 15] = [
        "upstream",
        "upstream_ca",
        "certificates",
        "html",
        "json",
        "paths",
        "success",
        "failure",
        "unknown_user",
        "challenge",
        "outcome_header",
        "outcome_field",
        "outcomes",
        "answer_bytes_max",
        "user_header",
    ];
    let mut lines = annotated();
    lines.retain(|line| !EXAMPLES.iter().any(|key| is_about(line, key)));
    let config = parse(
        &format!("[[service]]\n{}", lines.join("\n")),
        Path::new("/nonexistent"),
    );
    let limit = RequestLimit {
        name: "login attempts".to_owned(),
        paths: Vec::new(),
        key: LimitKey::default(),
        requests: Some(20),
        concurrent: Some(5),
        window: Duration::from_secs(60),
        mode: LimitMode::default(),
    };
    let service = Service {
        name: "login".to_owned(),
        ports: vec![443],
        gateway: Some(Gateway::default()),
        limits: vec![limit],
        sign_ins: vec![
            sign_ins_tests::sign_in(
                "POST",
                "/login",
                UserPlace::Field(Field::parse("username").unwrap(), Repeated::All),
            ),
            sign_ins_tests::sign_in("POST", "/api/login", UserPlace::Nowhere),
        ],
        ..Service::default()
    };
    assert_eq!(config.services, [service]);
    let endpoint = config.endpoints.first().unwrap();
    assert!(
        matches!(endpoint.listen, Listen::Unix(_, 0o660)),
        "{endpoint:?}"
    );
    assert_eq!(
        (&endpoint.peer, endpoint.resolved),
        (&endpoint.profile.peer(), false)
    );
}
