//! Mistakes in services behind proxies and in decision endpoints, each kind alone.

use std::fs;

use super::{
    Config,
    proxied_tests::{EVERYTHING, folder},
};

/// Each has exactly one mistake: how its message begins behind the place, and what else it holds.
#[test]
fn mistakes_of_services_gateways_and_limits() {
    each_alone(SERVICES);
}

#[test]
fn mistakes_of_endpoints() {
    each_alone(ENDPOINT_MISTAKES);
}

#[test]
fn mistakes_that_show_between_the_tables() {
    each_alone(TOGETHER);
}

#[test]
fn mistakes_in_files() {
    each_alone(FILES);
}

pub(super) fn each_alone(table: &[(&str, &str, &str)]) {
    let dir = folder();
    let name = format!("{}/", dir.path().display());
    for (text, begins, holds) in table {
        let text = text
            .replace("{L}", "{CDN}{S}gateway = {}\n[[service.sign_in]]\n")
            .replace("{CDN}", "[[zone]]\nname = \"cdn\"\nuses = [\"trusted-proxy\"]\nnetworks = [\"192.0.2.0/24\"]\n")
            .replace("{S}", "[[service]]\nname = \"s\"\nports = [80]\n")
            .replace("{E}", "[[endpoint]]\nname = \"e\"\nprofile = \"auth-request\"\n");
        let mistakes = match Config::parse(&text, dir.path(), "t") {
            Ok(config) => config.warnings,
            Err(mistakes) => mistakes.kept,
        };
        let told: Vec<String> = mistakes
            .iter()
            .map(|mistake| mistake.to_string().replace(&name, ""))
            .collect();
        let [only] = told.as_slice() else {
            panic!("{text}\n{told:#?}");
        };
        // `t:12:3: `; that places are right is tested where places are made.
        let behind = only.splitn(4, ':').last().unwrap().trim_start();
        assert!(
            behind.starts_with(begins) && behind.contains(holds),
            "{text}\n{behind}\nnot\n{begins} … {holds}"
        );
    }
}

const SERVICES: &[(&str, &str, &str)] = &[
    (
        "{S}hops_max = 65",
        "service[0] \"s\".hops_max: 65 is out of range",
        "1 to 64",
    ),
    (
        "{S}header_bytes_max = 255",
        "service[0] \"s\".header_bytes_max: 255",
        "256 to 65536",
    ),
    (
        "{S}restricted_exept = []",
        "service[0].restricted_exept: unknown key",
        "`restricted_except`?",
    ),
    (
        "{CDN}{S}unknown_client = \"refuse\"\n[service.gateway]",
        "service[0] \"s\".unknown_client: \"refuse\"",
        "judge, deny",
    ),
    (
        "{CDN}{S}restricted = true\nrestricted_except = [\"login\"]\ngateway = {}",
        "service[0] \"s\".restricted_except[0]: \"login\"",
        "/",
    ),
    (
        "{CDN}{S}restricted = true\nrestricted_except = [\"/a\", \"/a\"]\ngateway = {}",
        "service[0] \"s\".restricted_except[1]: \"/a\" is named twice",
        "",
    ),
    (
        "{CDN}{S}gateway = true",
        "service[0] \"s\".gateway: expected a table",
        "",
    ),
    (
        "{CDN}{S}[service.gateway]\nenable = false",
        "service[0] \"s\".gateway.enable: unknown key",
        "`enabled`?",
    ),
    (
        "{CDN}{S}[service.gateway]\nfail = \"close\"",
        "service[0] \"s\".gateway.fail: \"close\"",
        "\"closed\"?",
    ),
    (
        "{CDN}{S}[service.gateway]\nupstream = \"localhost:80\"",
        "service[0] \"s\".gateway.upstream: \"localhost:80\" is no address",
        "127.0.0.1:8080",
    ),
    (
        "{CDN}{S}[service.gateway]\nupstream = \"0.0.0.0:80\"",
        "service[0] \"s\".gateway.upstream: nothing can be reached at",
        "",
    ),
    (
        "{CDN}{S}[service.gateway]\nupstream = \"127.0.0.1:0\"",
        "service[0] \"s\".gateway.upstream: nothing can be reached at",
        "",
    ),
    (
        "{CDN}{S}[service.gateway]\nupstream_protocol = \"http/2\"",
        "service[0] \"s\".gateway.upstream_protocol: \"http/2\"",
        "h2",
    ),
    (
        "{CDN}{S}[service.gateway]\nhead_bytes_max = 1023",
        "service[0] \"s\".gateway.head_bytes_max: 1023",
        "1024 to 1048576",
    ),
    (
        "{CDN}{S}[service.gateway]\nhead_timeout = \"0s\"",
        "service[0] \"s\".gateway.head_timeout: 0s is out of range",
        "write 100ms to 1h",
    ),
    (
        "{CDN}{S}[service.gateway]\ndrain_timeout = \"11m\"",
        "service[0] \"s\".gateway.drain_timeout: 11m is out",
        "0s to 10m",
    ),
    (
        "{CDN}{S}[service.gateway]\nstreams_max = 0",
        "service[0] \"s\".gateway.streams_max: 0",
        "1 to 10000",
    ),
    (
        "{CDN}{S}[service.gateway]\nupstream_ca = \"ca.pem\"",
        "service[0] \"s\".gateway.upstream_ca: has no effect",
        "upstream_tls = true",
    ),
    (
        "{CDN}{S}[service.gateway]\nupstream_tls = true",
        "service[0] \"s\".gateway.upstream_tls: nothing says",
        "upstream_ca",
    ),
    (
        "{CDN}{S}[service.gateway]\ncertificates = [{ certificate = \"login.pem\" }]\nupstream = \"127.0.0.1:81\"",
        "service[0] \"s\".gateway.certificates[0]: `key` is missing",
        "",
    ),
    (
        "{CDN}{S}[service.gateway]\ncertificates = [{ certificate = \"login.pem\", key = \"login.key\" }]",
        "warning: service[0] \"s\".gateway: ends TLS",
        "upstream",
    ),
    (
        "{CDN}{S}gateway = {}\n[[service.limit]]\nname = \"l\"",
        "service[0] \"s\".limit[0] \"l\": limits nothing",
        "requests = 20",
    ),
    (
        "{CDN}{S}gateway = {}\n[[service.limit]]\nrequests = 1",
        "service[0] \"s\".limit[0]: `name` is missing",
        "",
    ),
    (
        "{CDN}{S}gateway = {}\n[[service.limit]]\nname = \"l\"\nrequests = 0",
        "service[0] \"s\".limit[0] \"l\".requests: 0 is out",
        "1 to 1000000",
    ),
    (
        "{CDN}{S}gateway = {}\n[[service.limit]]\nname = \"l\"\nrequests = 1\nwindow = \"500ms\"",
        "service[0] \"s\".limit[0] \"l\".window: 500ms",
        "1s to 1h",
    ),
    (
        "{CDN}{S}gateway = {}\n[[service.limit]]\nname = \"l\"\nrequests = 1\nkey = \"user-agent\"",
        "service[0] \"s\".limit[0] \"l\".key: ",
        "client-user-agent",
    ),
    (
        "{CDN}{S}gateway = {}\n[[service.limit]]\nname = \"l\"\nrequests = 1\n[[service.limit]]\nname = \"l\"\nconcurrent = 1",
        "service[0] \"s\".limit[1] \"l\": the name \"l\" is already taken",
        "",
    ),
    (
        "{CDN}{S}gateway = {}\n[service.limit]\nname = \"l\"",
        "service[0] \"s\".limit: expected an array of tables",
        "[[service.limit]]",
    ),
    (
        "{CDN}{S}gateway = {}\nrefusal = { status = 200 }",
        "service[0] \"s\".refusal.status: 200",
        "400 to 599",
    ),
];

const ENDPOINT_MISTAKES: &[(&str, &str, &str)] = &[
    (
        "{CDN}{S}{E}",
        "endpoint[0] \"e\": `listen` is missing",
        "unix:/run/edgeward/auth-request.sock",
    ),
    (
        "{CDN}{S}[[endpoint]]\nname = \"e\"\nlisten = \"unix:/a\"",
        "endpoint[0] \"e\": `profile` is missing",
        "spoe",
    ),
    (
        "{CDN}{S}{E}listen = \"/run/e.sock\"",
        "endpoint[0] \"e\".listen: \"/run/e.sock\" is neither",
        "unix:",
    ),
    (
        "{CDN}{S}{E}listen = \"unix:e.sock\"",
        "endpoint[0] \"e\".listen: \"e.sock\" is not an absolute path",
        "",
    ),
    (
        "{CDN}{S}{E}listen = \"unix:/run/e/\"",
        "endpoint[0] \"e\".listen: names a directory",
        "",
    ),
    (
        "{CDN}{S}{E}listen = \"localhost:9401\"",
        "endpoint[0] \"e\".listen: \"localhost:9401\" is neither",
        "write 127.0.0.1:9401",
    ),
    (
        "{CDN}{S}{E}listen = \"0.0.0.0:9401\"",
        "endpoint[0] \"e\".listen: 0.0.0.0 is no loopback address",
        "write 127.0.0.1:9401",
    ),
    (
        "{CDN}{S}{E}listen = \"127.0.0.1:0\"",
        "endpoint[0] \"e\".listen: has no port",
        "",
    ),
    (
        "{CDN}{S}{E}listen = \"127.0.0.1:1\"\nlisten_mode = \"0660\"",
        "endpoint[0] \"e\".listen_mode: is for Unix sockets",
        "",
    ),
    (
        "{CDN}{S}{E}listen = \"unix:/a\"\nlisten_mode = \"rw\"",
        "endpoint[0] \"e\".listen_mode: \"rw\" is no file mode",
        "0660",
    ),
    (
        "{CDN}{S}{E}listen = \"unix:/a\"\nlisten_mode = \"1777\"",
        "endpoint[0] \"e\".listen_mode: \"1777\" is no file mode",
        "0660",
    ),
    (
        "{CDN}{S}{E}listen = \"unix:/a\"\nlisten_mode = \"0440\"",
        "endpoint[0] \"e\".listen_mode: \"0440\" lets not even",
        "",
    ),
    (
        "{CDN}{S}{E}listen = \"unix:/a\"\nlisten_mode = 660",
        "endpoint[0] \"e\".listen_mode: expected a string",
        "",
    ),
    (
        "{CDN}{S}{E}listen = \"unix:/a\"\npeer = \"header:\"",
        "endpoint[0] \"e\".peer: \"\" is no name",
        "",
    ),
    (
        "{CDN}{S}{E}listen = \"unix:/a\"\npeer = \"last_hop\"",
        "endpoint[0] \"e\".peer: \"last_hop\" is not known",
        "\"last-hop\"?",
    ),
    (
        "{CDN}{S}{E}listen = \"unix:/a\"\npeer = \"protocol\"",
        "endpoint[0] \"e\".peer: a request over HTTP carries no",
        "header:",
    ),
    (
        "{CDN}{S}{E}listen = \"unix:/a\"\nservice = \"sso\"",
        "endpoint[0] \"e\".service: there is no service \"sso\"",
        "\"s\"",
    ),
    (
        "{CDN}[[service]]\nname = \"login\"\nports = [1]\n{E}listen = \"unix:/a\"\nservice = \"logn\"",
        "endpoint[0] \"e\".service: there is no service \"logn\"",
        "did you mean \"login\"?",
    ),
    (
        "{CDN}{S}[[service]]\nname = \"t\"\nports = [2]\n{E}listen = \"unix:/a\"",
        "endpoint[0] \"e\": `service` is missing",
        "\"s\", \"t\"",
    ),
    (
        "{CDN}{E}listen = \"unix:/a\"",
        "endpoint[0] \"e\": there is no service",
        "[[service]]",
    ),
    (
        "{CDN}{S}{E}listen = \"127.0.0.1:9\"\n[[endpoint]]\nname = \"f\"\nprofile = \"spoe\"\nlisten = \"[::ffff:127.0.0.1]:9\"",
        "endpoint[1] \"f\".listen: endpoint[0] \"e\" listens there already",
        "",
    ),
];

const TOGETHER: &[(&str, &str, &str)] = &[
    (
        "{CDN}{S}restricted_except = [\"/a\"]\ngateway = {}",
        "service[0] \"s\".restricted_except: excepts paths from",
        "restricted = true",
    ),
    (
        "{CDN}{S}restricted = true\nrestricted_except = [\"/a\"]",
        "service[0] \"s\".restricted_except: needs somebody",
        "[[endpoint]]",
    ),
    (
        "{CDN}{S}observe = true\ngateway = {}",
        "service[0] \"s\".observe: has no use beside the gateway",
        "enabled = false",
    ),
    (
        "{CDN}{S}observe = true\nheader = \"proxy-protocol\"",
        "service[0] \"s\".observe: looks at the packet",
        "",
    ),
    (
        "{CDN}[[service]]\nname = \"s\"\nports = [443]\nobserve = true",
        "warning: service[0] \"s\".observe: reads plain HTTP only",
        "",
    ),
    (
        "{S}observe = true",
        "warning: service[0] \"s\": no zone is a trusted-proxy: there is nothing",
        "[[zone]]",
    ),
    (
        "{S}gateway = {}",
        "warning: service[0] \"s\": no zone is a trusted-proxy: nothing will ever be steered",
        "",
    ),
    (
        "{S}{E}listen = \"unix:/a\"",
        "warning: endpoint[0] \"e\": no zone is a trusted-proxy: no forwarding header",
        "resolved = true",
    ),
    (
        "{CDN}{S}[[service.limit]]\nname = \"l\"\nrequests = 1",
        "warning: service[0] \"s\".limit: has no effect",
        "[[endpoint]]",
    ),
    (
        "{CDN}{S}unknown_client = \"deny\"",
        "warning: service[0] \"s\".unknown_client: has no effect",
        "",
    ),
    (
        "{CDN}{S}observe = true\nrefusal = { status = 404 }",
        "warning: service[0] \"s\".refusal: has no effect",
        "",
    ),
    (
        "{CDN}{S}{E}listen = \"unix:/a\"\n[[endpoint]]\nname = \"e\"\nprofile = \"spoe\"\nlisten = \"unix:/b\"",
        "endpoint[1] \"e\": the name \"e\" is already taken by endpoint[0] \"e\"",
        "",
    ),
    (
        "{CDN}{S}{E}listen = \"unix:/a\"\n[[endpoint]]\nname = \"f\"\nprofile = \"spoe\"\nlisten = \"unix:/./a\"",
        "endpoint[1] \"f\".listen: endpoint[0] \"e\" listens there already",
        "",
    ),
    (
        "socket = \"/run/x\"\n{CDN}{S}{E}listen = \"unix:/run/x\"",
        "endpoint[0] \"e\".listen: is the control socket",
        "",
    ),
    (
        "{CDN}{S}{E}listen = \"127.0.0.1:80\"",
        "endpoint[0] \"e\".listen: port 80 belongs to service[0] \"s\"",
        "another port",
    ),
    (
        "{CDN}{S}[[service]]\nname = \"t\"\nports = [2]\ngateway = { upstream = \"127.0.0.1:9\" }\n{E}service = \"s\"\nlisten = \"127.0.0.1:9\"",
        "service[1] \"t\".gateway.upstream: is where endpoint[0] \"e\" listens",
        "",
    ),
    (
        "{CDN}{S}gateway = {}\n{E}listen = \"unix:/a\"",
        "warning: service[0] \"s\": has a gateway and endpoint[0] \"e\"",
        "twice",
    ),
    (
        "{CDN}{S}header = \"proxy-protocol\"\n{E}listen = \"unix:/a\"",
        "endpoint[0] \"e\": the PROXY protocol ends at the proxy",
        "resolved = true",
    ),
    (
        "{CDN}{S}restricted = true\n{E}listen = \"unix:/a\"\nresolved = true",
        "endpoint[0] \"e\".resolved: hides who connects, and service[0] \"s\" is restricted",
        "remove resolved",
    ),
    (
        "{CDN}{S}restricted = true\nrestricted_except = [\"/a\"]\n{E}listen = \"unix:/a\"\nresolved = true",
        "endpoint[0] \"e\".resolved: hides who connects",
        "restricted = false",
    ),
    (
        "{CDN}{S}header = \"x-real-ip\"\n{E}listen = \"unix:/a\"\npeer = \"header:X-Real-IP\"",
        "endpoint[0] \"e\".peer: x-real-ip names the client",
        "x-edgeward-peer",
    ),
    (
        "[[zone]]\nname = \"z\"\nuses = [\"trusted-proxy\"]\nnetworks = [\"127.0.0.0/8\"]\n{S}gateway = {}",
        "zone[0] \"z\": trusts 127.0.0.0/8 as a proxy, and with it 127.0.0.2",
        "name 127.0.0.1",
    ),
    (
        "[[zone]]\nname = \"z\"\nuses = [\"trusted-proxy\"]\nnetworks = [\"fd65:6467:6577:6172::/64\"]\n{S}gateway = {}",
        "zone[0] \"z\": trusts fd65:6467:6577:6172::/64 as a proxy, and with it fd65:6467:6577:6172::2",
        "",
    ),
];

const FILES: &[(&str, &str, &str)] = &[
    (
        "{CDN}{S}gateway = { upstream = \"127.0.0.1:81\", certificates = [{ certificate = \"none.pem\", key = \"login.key\" }] }",
        "service[0] \"s\".gateway.certificates[0].certificate: none.pem does not exist",
        "relative",
    ),
    (
        "{CDN}{S}gateway = { upstream = \"127.0.0.1:81\", certificates = [{ certificate = \"login.pem\", key = \"other.key\" }] }",
        "service[0] \"s\".gateway.certificates[0].key: other.key does not belong",
        "",
    ),
    (
        "{CDN}{S}gateway = { upstream = \"127.0.0.1:81\", certificates = [{ certificate = \"login.pem\", key = \"encrypted.key\" }] }",
        "service[0] \"s\".gateway.certificates[0].key: encrypted.key holds no private key",
        "not encrypted",
    ),
    (
        "{CDN}{S}gateway = { upstream = \"127.0.0.1:81\", certificates = [{ certificate = \"empty.pem\", key = \"login.key\" }] }",
        "service[0] \"s\".gateway.certificates[0].certificate: empty.pem holds no certificate",
        "",
    ),
    (
        "{CDN}{S}gateway = { upstream = \"127.0.0.1:81\", certificates = [{ certificate = \"damaged.pem\", key = \"login.key\" }] }",
        "service[0] \"s\".gateway.certificates[0].certificate: damaged.pem is damaged",
        "",
    ),
    (
        "{CDN}{S}gateway = { upstream = \"127.0.0.1:81\", certificates = [{ certificate = \"login.pem\", key = \"open.key\" }] }",
        "warning: service[0] \"s\".gateway.certificates[0].key: open.key may be read",
        "chmod",
    ),
    (
        "{CDN}{S}gateway = { upstream_tls = true, upstream_ca = \"empty.pem\" }",
        "service[0] \"s\".gateway.upstream_ca: empty.pem holds no certificate",
        "",
    ),
    (
        "{CDN}{S}gateway = {}\nrefusal = { html = \"none.html\" }",
        "service[0] \"s\".refusal.html: none.html does not exist",
        "",
    ),
    (
        "{CDN}{S}gateway = {}\nrefusal = { html = \"latin.html\" }",
        "service[0] \"s\".refusal.html: latin.html is not UTF-8",
        "",
    ),
    (
        "{CDN}{S}gateway = {}\nrefusal = { html = \"long.html\" }",
        "service[0] \"s\".refusal.html: long.html is longer than 65536",
        "",
    ),
    (
        "{CDN}{S}gateway = {}\nrefusal = { html = \"/dev/null\" }",
        "service[0] \"s\".refusal.html: /dev/null is not a regular file",
        "",
    ),
    (
        "{CDN}{S}gateway = {}\nrefusal = { json = \"bare.json\" }",
        "service[0] \"s\".refusal.json: the file is no JSON",
        "string",
    ),
    (
        "{CDN}{S}gateway = {}\nrefusal = { json = \"page.html\" }",
        "service[0] \"s\".refusal.json: the file is no JSON",
        "",
    ),
];

/// Nothing of a key gets into a message, whatever is wrong with it.
#[test]
fn no_key_is_told() {
    let dir = folder();
    let secret = "c2VjcmV0IHNlY3JldCBzZWNyZXQ=";
    for text in [
        format!("-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----\n"),
        format!("-----BEGIN PRIVATE KEY-----\n{secret}%\n-----END PRIVATE KEY-----\n"),
        format!("-----BEGIN {secret}-----\n{secret}\n"),
        secret.to_owned(),
    ] {
        fs::write(dir.path().join("login.key"), text).unwrap();
        let mistakes = Config::parse(EVERYTHING, dir.path(), "t")
            .unwrap_err()
            .to_string();
        assert!(mistakes.contains("login.key "), "{mistakes}");
        assert!(
            !mistakes.contains("c2Vj") && !mistakes.contains("secret"),
            "{mistakes}"
        );
    }
}
