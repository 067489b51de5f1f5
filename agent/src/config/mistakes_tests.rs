//! Mistakes in configurations: a score at once, each with its place; then each kind alone.

use super::tests::{BLOCKED, EXEMPT, PROXY, told};

#[test]
fn a_score_of_mistakes_is_reported_at_once_each_with_its_place() {
    assert_eq!(told(MISTAKEN), TOLD);
}

#[test]
fn mistakes_at_the_top_of_the_file() {
    each_alone(TOP);
}

#[test]
fn mistakes_in_tables() {
    each_alone(TABLES);
}

#[test]
fn mistakes_in_zones_lists_and_services() {
    each_alone(ZONES);
}

/// Each text has exactly one mistake: how its message begins, and what else it holds.
fn each_alone(table: &[(&str, &str, &str)]) {
    for (text, begins, holds) in table {
        let text = text.replace("{PROXY}", PROXY).replace("{EXEMPT}", EXEMPT);
        let text = text
            .replace("{BLOCKED}", BLOCKED)
            .replace("{107}", &"s".repeat(107));
        let told = told(&text);
        assert_eq!(told.len(), 1, "{text}\n{told:#?}");
        let only = told.first().unwrap();
        assert!(
            only.starts_with(begins) && only.contains(holds),
            "{text}\n{only}\nnot\n{begins} … {holds}"
        );
    }
}

const MISTAKEN: &str = r#"mode = "blok"
interface = ["eth0"]
socket = "run/control.sock"
refusal = true
[reputation]
block_threshold = 30
limit_threshold = 300
[capacity]
zones = 0
[[zone]]
name = "cdn"
uses = ["trusted_proxy"]
networks = [
  "192.0.2.1/24",
  "010.0.0.1",
  7,
]
[[zone]]
name = "cdn"
uses = ["exempt", "blocked"]
files = ["missing.txt"]
[[zone]]
uses = ["trusted-proxy"]
networks = ["0.0.0.0/0"]
[[service]]
name = "login"
ports = [443, 0, 443]
header = "X-Forwarded-For"
[[list]]
name = "empty"
mode = "log"
"#;

const TOLD: &[&str] = &[
    r#"edgeward.toml:1:8: mode: "blok" is not known here; did you mean "block"? Known: off, log, block"#,
    r#"edgeward.toml:2:1: interface: unknown key; did you mean `interfaces`?"#,
    r#"edgeward.toml:3:10: socket: "run/control.sock" is not an absolute path; begin it with `/`"#,
    r#"edgeward.toml:4:11: refusal: expected a string, found true; put it between double quotes"#,
    r#"edgeward.toml:7:19: reputation.limit_threshold: 300 is out of range; write a whole number from 1 to 100"#,
    r#"edgeward.toml:9:9: capacity.zones: 0 is out of range; write a whole number from 1 to 16777216"#,
    r#"edgeward.toml:12:9: zone[0] "cdn".uses[0]: "trusted_proxy" is not known here; did you mean "trusted-proxy"? Known: exempt, trusted-proxy, gateway, blocked, allowed-origin"#,
    r#"edgeward.toml:14:3: zone[0] "cdn".networks[0]: 192.0.2.1/24 has host bits set; write 192.0.2.0/24"#,
    r#"edgeward.toml:15:3: zone[0] "cdn".networks[1]: `010.0.0.1` has a leading zero, which some programs read as octal"#,
    r#"edgeward.toml:16:3: zone[0] "cdn".networks[2]: expected a string, found the number 7; put it between double quotes"#,
    r#"edgeward.toml:18:1: zone[1] "cdn": the name "cdn" is already taken by zone[0] "cdn"; give each its own name"#,
    r#"edgeward.toml:20:8: zone[1] "cdn".uses: "exempt" and "blocked" contradict each other for the same networks; keep one, or make two zones with different networks"#,
    r#"edgeward.toml:21:10: zone[1] "cdn".files[0]: /nonexistent/missing.txt does not exist; a path is relative to the configuration file"#,
    r#"edgeward.toml:22:1: zone[2]: `name` is missing; write name = "…""#,
    r#"edgeward.toml:22:1: zone[2]: trusts 0.0.0.0/0, every address there is, as a proxy: anybody could forge the client; name the networks of your proxies only"#,
    r#"edgeward.toml:27:15: service[0] "login".ports[1]: 0 is out of range; write a whole number from 1 to 65535"#,
    r#"edgeward.toml:27:18: service[0] "login".ports[2]: port 443 is already named at service[0] "login".ports[0]; name each port once"#,
    r#"edgeward.toml:28:10: service[0] "login".header: "X-Forwarded-For" is not known here; did you mean "x-forwarded-for"? Known: x-forwarded-for, forwarded, x-real-ip, true-client-ip, cf-connecting-ip, cloudfront-viewer-address, proxy-protocol"#,
    r#"edgeward.toml:29:1: list[0] "empty": has neither networks nor files; write networks = ["192.0.2.0/24"] or files = ["zones/name.txt"]"#,
    r#"edgeward.toml:31:1: list[0].mode: unknown key; `mode` belongs at the top of the file, before the first [table]"#,
];

const TOP: &[(&str, &str, &str)] = &[
    ("mode = \n", "edgeward.toml:1:8: not valid TOML: ", ""),
    ("a\n", "edgeward.toml:1:2: not valid TOML: ", ""),
    (
        "mode = \"log\"\nmode = \"off\"\n",
        "edgeward.toml:2:1: not valid TOML: duplicate key",
        "keep one",
    ),
    (
        "interfaces = []",
        "edgeward.toml:1:14: interfaces: names no interface",
        "[\"all\"]",
    ),
    (
        "interfaces = \"eth0\"",
        "edgeward.toml:1:14: interfaces: expected an array",
        "square brackets",
    ),
    (
        "interfaces = [\"all\", \"eth0\"]",
        "edgeward.toml:1:15: interfaces[0]: \"all\" stands alone",
        "",
    ),
    (
        "interfaces = [\"a\", \"a\"]",
        "edgeward.toml:1:20: interfaces[1]: \"a\" is named twice",
        "",
    ),
    (
        "interfaces = [\"sixteen-letters-\"]",
        "edgeward.toml:1:15: interfaces[0]: ",
        "no interface name",
    ),
    (
        "interfaces = [\"a/b\"]",
        "edgeward.toml:1:15: interfaces[0]: ",
        "no interface name",
    ),
    (
        "state_dir = \"/\"",
        "edgeward.toml:1:13: state_dir: ",
        "root directory",
    ),
    (
        "state_dir = \"/a/../b\"",
        "edgeward.toml:1:13: state_dir: ",
        "`..`",
    ),
    (
        "state_dir = \"/a\\u0000\"",
        "edgeward.toml:1:13: state_dir: ",
        "NUL",
    ),
    (
        "bpffs_dir = \"/sys/fs/bpf/v1.2\"",
        "edgeward.toml:1:13: bpffs_dir: ",
        "`.` in a name",
    ),
    (
        "socket = \"/{107}\"",
        "edgeward.toml:1:10: socket: is 108 bytes",
        "at most 107",
    ),
    (
        "socket = \"/run/edgeward/\"",
        "edgeward.toml:1:10: socket: names a directory",
        "",
    ),
];

const TABLES: &[(&str, &str, &str)] = &[
    (
        "[reputation]\nblock_threshold = 0",
        "edgeward.toml:2:19: reputation.block_threshold: 0 is out",
        "",
    ),
    (
        "[reputation]\nblock_threshold = 30",
        "edgeward.toml:2:19: ",
        "(40 is the default)",
    ),
    (
        "[reputation]\nlimit_threshold = 90",
        "edgeward.toml:2:19: reputation.limit_threshold: limit_threshold 90 is above block_threshold 80",
        "to 80 or less",
    ),
    (
        "[rate_limit]\nwindow = 10",
        "edgeward.toml:2:10: rate_limit.window: expected a string",
        "",
    ),
    (
        "[rate_limit]\nwindow = \"10\"",
        "edgeward.toml:2:10: ",
        "lacks a unit",
    ),
    (
        "[rate_limit]\nwindow = \"2h\"",
        "edgeward.toml:2:10: rate_limit.window: 2h is out",
        "100ms to 1h",
    ),
    (
        "[rate_limit]\nconnections = -1",
        "edgeward.toml:2:15: ",
        "0 to 4294967295",
    ),
    (
        "[rate_limit]\nconnections = 1.5",
        "edgeward.toml:2:15: ",
        "a value of type float",
    ),
    (
        "[rate_limit]\npackets = 10\nlimited_packets = 20",
        "edgeward.toml:1:1: rate_limit: limited_packets = 20 is looser than packets = 10",
        "1 to 10",
    ),
    (
        "[events]\nring_bytes = 5000",
        "edgeward.toml:2:14: ",
        "write 8192",
    ),
    (
        "[events]\nkept_max = 99999999999999999999999999999999999999999",
        "edgeward.toml:2:12: ",
        "range",
    ),
    (
        "[control]\noperators = [\"ann\"]",
        "edgeward.toml:2:13: control.operators: expected a table",
        "",
    ),
    (
        "[control.readers]\nusers = [\"a b\"]",
        "edgeward.toml:2:10: control.readers.users[0]: ",
        "no name",
    ),
];

const ZONES: &[(&str, &str, &str)] = &[
    (
        "[zone]\nname = \"a\"",
        "edgeward.toml:1:1: zone: expected an array of tables",
        "[[zone]]",
    ),
    (
        "{PROXY}networks = []",
        "edgeward.toml:1:1: zone[0] \"p\": has neither networks nor files",
        "",
    ),
    (
        "{PROXY}networks = [\"::/0\"]",
        "edgeward.toml:1:1: zone[0] \"p\": trusts ::/0, every",
        "forge",
    ),
    (
        "{PROXY}networks = [\"0.0.0.0-255.255.255.255\"]",
        "edgeward.toml:1:1: zone[0] \"p\": trusts 0.0.0.0/0, every address",
        "",
    ),
    (
        "{PROXY}networks = [\"10.0.0.0/4\"]",
        "edgeward.toml:4:13: zone[0] \"p\".networks[0]: 10.0.0.0/4 has host bits set; write 0.0.0.0/4",
        "",
    ),
    (
        "{PROXY}networks = [\"16.0.0.0/4\"]",
        "edgeward.toml:1:1: warning: zone[0] \"p\": trusts",
        "large",
    ),
    (
        "{EXEMPT}networks = [\"10.0.0.0/8\"]\n{BLOCKED}networks = [\"10.1.0.0/16\", \"10.0.0.0/8\"]",
        "edgeward.toml:8:28: zone[1] \"b\".networks[1]: blocks 10.0.0.0/8, which zone[0] \"e\".networks[0] exempts",
        "",
    ),
    (
        "{EXEMPT}networks = [\"10.0.0.0/8\"]\n{PROXY}networks = [\"10.1.0.5\"]",
        "edgeward.toml:1:1: warning: zone[0] \"e\": exempts 10.0.0.0/8, where trusted proxies are",
        "unjudged",
    ),
    (
        "{EXEMPT}networks = [\"10.1.0.5\", \"10.2.0.0/16\"]\n{PROXY}networks = [\"10.0.0.0/8\"]",
        "edgeward.toml:1:1: warning: zone[0] \"e\": exempts 10.1.0.5/32 and 1 more networks",
        "",
    ),
    (
        "[capacity]\nzones = 1\n{EXEMPT}networks = [\"10.1.0.5\", \"10.2.0.0/16\", \"::1\"]",
        "edgeward.toml:1:1: the zones hold 2 different IPv4 entries for capacity.zones, which is 1",
        "set zones under [capacity] to 2 or more",
    ),
    (
        "[capacity]\nhosts_v4 = 2\nzones = 1\n[[list]]\nname = \"l\"\nnetworks = [\"10.1.0.5\", \"10.1.0.0/24\", \"10.0.0.0/8\"]\n{BLOCKED}networks = [\"10.1.0.5\", \"10.1.0.6\"]",
        "edgeward.toml:1:1: warning: lists and blocked zones hold 3 different IPv4 entries for capacity.hosts_v4",
        "hosts_v4",
    ),
    (
        "[[service]]\nname = \"s\"\nports = [22]\nrestricted = true",
        "edgeward.toml:1:1: warning: service[0] \"s\": is restricted",
        "nobody can reach it",
    ),
    (
        "[[service]]\nname = \"s\"\nports = [22]\n[[service]]\nname = \"t\"\nports = [22]",
        "edgeward.toml:6:10: service[1] \"t\".ports[0]: port 22 is already named at service[0] \"s\".ports[0]",
        "",
    ),
    (
        "[[service]]\nname = \"s\"",
        "edgeward.toml:1:1: service[0] \"s\": `ports` is missing",
        "",
    ),
    (
        "[[service]]\nname = \"s\"\nports = [1]\nunreadable = \"drop\"",
        "edgeward.toml:4:1: service[0].unreadable: unknown key",
        "belongs at the top of the file",
    ),
    (
        "[[service]]\nname = \"s\"\nports = [1]\nrefusal = \"drop\"",
        "edgeward.toml:4:11: service[0] \"s\".refusal: expected a table, found the string \"drop\"",
        "write it under [service.refusal]",
    ),
    (
        "[[list]]\nname = \"a\\u001b[31m\"\nnetworks = [\"::1\"]",
        "edgeward.toml:2:8: list[0].name: holds control characters",
        "",
    ),
    (
        "[[list]]\nname = \"l\"\nscore = 0\nnetworks = [\"::1\"]",
        "edgeward.toml:3:9: list[0] \"l\".score: 0 is out of range",
        "1 to 100",
    ),
];
