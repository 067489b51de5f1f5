//! Whole configurations: the shipped ones, one with a dozen mistakes, and each mistake by itself.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{fs, net::IpAddr, time::Duration};

use super::*;

fn parse(text: &str) -> Result<Config, Mistakes> {
    Config::parse(text, Path::new("/nonexistent"), "edgeward.toml")
}

/// The mistakes of a configuration, one a line; warnings of one that is accepted count too.
fn told(text: &str) -> Vec<String> {
    let mistakes = match parse(text) {
        Ok(config) => config.warnings,
        Err(mistakes) => mistakes.kept,
    };
    mistakes.iter().map(ToString::to_string).collect()
}

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(parse("").unwrap(), Config::default());
    assert_eq!(
        parse("\u{feff}# only a comment\r\n").unwrap(),
        Config::default()
    );
}

#[test]
fn every_shipped_configuration_is_accepted() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
    let mut names = vec![shipped.join("edgeward.toml")];
    let samples = fs::read_dir(shipped.join("samples"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    names.extend(samples.filter(|path| {
        path.extension()
            .is_some_and(|extension| extension == "toml")
    }));
    assert!(names.len() >= 4, "{names:?}");
    for name in names {
        let config = Config::load(&name).unwrap_or_else(|mistakes| refused(&mistakes));
        assert_eq!(config.warnings, [], "{}", name.display());
        assert_eq!(config.path.as_deref(), Some(name.as_path()));
    }
}

#[expect(clippy::panic, reason = "shows the mistakes as an operator sees them")]
fn refused(mistakes: &Mistakes) -> Config {
    panic!("{mistakes}")
}

/// Every key of the annotated default stands there with its true default, so that nobody copies a wrong one.
#[test]
fn the_annotated_default_names_every_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/edgeward.toml");
    let text = fs::read_to_string(path).unwrap();
    // `#key = value` (no space) is a setting that is commented out; `# text` is a comment.
    let uncommented: Vec<&str> = text
        .lines()
        .map(|line| {
            line.strip_prefix('#')
                .filter(|rest| !rest.starts_with([' ', '#']))
                .unwrap_or(line)
        })
        .collect();
    let until = uncommented
        .iter()
        .position(|line| line.starts_with("[["))
        .unwrap();
    let tables = uncommented.get(..until).unwrap().join("\n");
    let config = parse(&tables).unwrap_or_else(|mistakes| refused(&mistakes));
    let interfaces = Interfaces::Named(vec!["eth0".to_owned()]);
    assert_eq!(
        config,
        Config {
            interfaces,
            ..Config::default()
        }
    );
    for key in [
        "hosts_v4",
        "kept_max",
        "ring_bytes",
        "limited_packets",
        "operators",
        "unreadable",
        "bpffs_dir",
    ] {
        assert!(
            tables.lines().any(|line| line.starts_with(key)),
            "{key} is not annotated"
        );
    }
    let everything = uncommented.join("\n");
    let tree = toml::de::DeTable::parse(&everything).unwrap().into_inner();
    for key in sections::TOP_KEYS {
        assert!(tree.contains_key(key), "{key} is not annotated");
    }
}

#[test]
fn everything_that_can_be_typed_arrives() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("zones")).unwrap();
    fs::write(
        dir.path().join("zones/cdn.txt"),
        "# edge\n198.51.100.8\n2001:db8:2::/48 ; six\n",
    )
    .unwrap();
    let text = r#"
        mode = "block"
        interfaces = ["eth0", "eth1"]
        socket = "/run/x/s"
        state_dir = "/srv/x"
        bpffs_dir = "/sys/fs/bpf/x"
        refusal = "reset"
        unreadable = "drop"
        [reputation]
        block_threshold = 70
        limit_threshold = 70
        [rate_limit]
        window = "1m30s"
        connections = 3
        packets = 0
        limited_packets = 0
        [capacity]
        hosts_v4 = 10
        hosts_v6 = 20
        prefixes = 30
        zones = 40
        rate_sources = 50
        [events]
        per_second_max = 0
        kept_max = 7
        ring_bytes = 0x1_0000
        [control]
        operators = { users = ["ann", "1000"], groups = ["ops"] }
        readers = { groups = ["soc"] }
        [[zone]]
        name = "cdn"
        uses = ["trusted-proxy", "allowed-origin"]
        networks = ["192.0.2.0/24", "2001:db8:1::/48", "198.51.100.7", "203.0.113.10-203.0.113.20"]
        files = ["zones/cdn.txt"]
        [[list]]
        name = "spray"
        score = 60
        reason = "seen spraying"
        networks = ["::ffff:203.0.113.99"]
        [[service]]
        name = "login"
        ports = [443, 8443]
        header = "cf-connecting-ip"
        restricted = true
    "#;
    let path = dir.path().join("edgeward.toml");
    fs::write(&path, text).unwrap();
    let config = Config::load(&path).unwrap_or_else(|mistakes| refused(&mistakes));
    assert_eq!(
        (config.mode, config.refusal, config.unreadable),
        (Mode::Block, Refusal::Reset, Unreadable::Drop)
    );
    assert_eq!(
        config.interfaces,
        Interfaces::Named(vec!["eth0".to_owned(), "eth1".to_owned()])
    );
    assert_eq!(
        config.reputation,
        Thresholds {
            block: 70,
            limit: 70
        }
    );
    let limit = RateLimit {
        window: Duration::from_secs(90),
        connections: Some(3),
        packets: None,
        limited_connections: Some(3),
        limited_packets: None,
    };
    assert_eq!(
        config.rate_limit, limit,
        "a default limited_connections is no looser than connections"
    );
    let capacity = Capacity {
        hosts_v4: 10,
        hosts_v6: 20,
        prefixes: 30,
        zones: 40,
        rate_sources: 50,
    };
    assert_eq!(config.capacity, capacity);
    assert_eq!(
        config.events,
        EventLimits {
            per_second_max: 0,
            kept_max: 7,
            ring_bytes: 65_536
        }
    );
    assert_eq!(config.control.operators.users, ["ann", "1000"]);
    assert_eq!(config.control.readers.groups, ["soc"]);
    let zone = config.zones.first().unwrap();
    assert_eq!(zone.uses.names(), ["trusted-proxy", "allowed-origin"]);
    let listed: Vec<String> = zone
        .networks
        .iter()
        .map(|network| network.to_string())
        .collect();
    let expected = [
        "198.51.100.7/32",
        "198.51.100.8/32",
        "203.0.113.20/32",
        "192.0.2.0/24",
        "203.0.113.10/31",
        "203.0.113.12/30",
        "203.0.113.16/30",
        "2001:db8:1::/48",
        "2001:db8:2::/48",
    ];
    assert_eq!(listed, expected);
    let list = config.lists.first().unwrap();
    assert_eq!(
        (
            list.score,
            list.reason.as_str(),
            list.networks.hosts_v4.len()
        ),
        (60, "seen spraying", 1)
    );
    let service = config.services.first().unwrap();
    assert_eq!(
        (service.ports.as_slice(), service.header, service.restricted),
        (&[443, 8443][..], Header::CfConnectingIp, true)
    );
}

#[test]
fn a_dozen_mistakes_are_reported_at_once_each_with_its_place() {
    let text = r#"mode = "blok"
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
    let expected = [
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
    assert_eq!(told(text), expected);
}

const PROXY: &str = "[[zone]]\nname = \"p\"\nuses = [\"trusted-proxy\"]\n";
const EXEMPT: &str = "[[zone]]\nname = \"e\"\nuses = [\"exempt\"]\n";
const BLOCKED: &str = "[[zone]]\nname = \"b\"\nuses = [\"blocked\"]\n";

/// Each text has exactly one mistake; the second column is how its message begins, the third a part of it.
#[test]
fn each_mistake_by_itself() {
    let table = [
        ("mode = \n".to_owned(), "edgeward.toml:1:8: not valid TOML: ", ""),
        ("a\n".to_owned(), "edgeward.toml:1:2: not valid TOML: ", ""),
        ("mode = \"log\"\nmode = \"off\"\n".to_owned(), "edgeward.toml:2:1: not valid TOML: duplicate key", "keep one"),
        ("interfaces = []".to_owned(), "edgeward.toml:1:14: interfaces: names no interface", "[\"all\"]"),
        ("interfaces = \"eth0\"".to_owned(), "edgeward.toml:1:14: interfaces: expected an array", "square brackets"),
        ("interfaces = [\"all\", \"eth0\"]".to_owned(), "edgeward.toml:1:15: interfaces[0]: \"all\" stands alone", ""),
        ("interfaces = [\"a\", \"a\"]".to_owned(), "edgeward.toml:1:20: interfaces[1]: \"a\" is named twice", ""),
        ("interfaces = [\"sixteen-letters-\"]".to_owned(), "edgeward.toml:1:15: interfaces[0]: ", "no interface name"),
        ("interfaces = [\"a/b\"]".to_owned(), "edgeward.toml:1:15: interfaces[0]: ", "no interface name"),
        ("state_dir = \"/\"".to_owned(), "edgeward.toml:1:13: state_dir: ", "root directory"),
        ("state_dir = \"/a/../b\"".to_owned(), "edgeward.toml:1:13: state_dir: ", "`..`"),
        ("state_dir = \"/a\\u0000\"".to_owned(), "edgeward.toml:1:13: state_dir: ", "NUL"),
        ("bpffs_dir = \"/sys/fs/bpf/v1.2\"".to_owned(), "edgeward.toml:1:13: bpffs_dir: ", "`.` in a name"),
        (format!("socket = \"/{}\"", "s".repeat(107)), "edgeward.toml:1:10: socket: is 108 bytes", "at most 107"),
        ("socket = \"/run/edgeward/\"".to_owned(), "edgeward.toml:1:10: socket: names a directory", ""),
        ("[reputation]\nblock_threshold = 0".to_owned(), "edgeward.toml:2:19: reputation.block_threshold: 0 is out", ""),
        ("[reputation]\nblock_threshold = 30".to_owned(), "edgeward.toml:2:19: ", "(40 is the default)"),
        (
            "[reputation]\nlimit_threshold = 90".to_owned(),
            "edgeward.toml:2:19: reputation.limit_threshold: limit_threshold 90 is above block_threshold 80",
            "to 80 or less",
        ),
        ("[rate_limit]\nwindow = 10".to_owned(), "edgeward.toml:2:10: rate_limit.window: expected a string", ""),
        ("[rate_limit]\nwindow = \"10\"".to_owned(), "edgeward.toml:2:10: ", "lacks a unit"),
        ("[rate_limit]\nwindow = \"2h\"".to_owned(), "edgeward.toml:2:10: rate_limit.window: 2h is out", "100ms to 1h"),
        ("[rate_limit]\nconnections = -1".to_owned(), "edgeward.toml:2:15: ", "0 to 4294967295"),
        ("[rate_limit]\nconnections = 1.5".to_owned(), "edgeward.toml:2:15: ", "a value of type float"),
        (
            "[rate_limit]\npackets = 10\nlimited_packets = 20".to_owned(),
            "edgeward.toml:1:1: rate_limit: limited_packets = 20 is looser than packets = 10",
            "1 to 10",
        ),
        ("[events]\nring_bytes = 5000".to_owned(), "edgeward.toml:2:14: ", "write 8192"),
        ("[events]\nkept_max = 99999999999999999999999999999999999999999".to_owned(), "edgeward.toml:2:12: ", "range"),
        ("[control]\noperators = [\"ann\"]".to_owned(), "edgeward.toml:2:13: control.operators: expected a table", ""),
        ("[control.readers]\nusers = [\"a b\"]".to_owned(), "edgeward.toml:2:10: control.readers.users[0]: ", "no name"),
        ("[zone]\nname = \"a\"".to_owned(), "edgeward.toml:1:1: zone: expected an array of tables", "[[zone]]"),
        (format!("{PROXY}networks = []"), "edgeward.toml:1:1: zone[0] \"p\": has neither networks nor files", ""),
        (format!("{PROXY}networks = [\"::/0\"]"), "edgeward.toml:1:1: zone[0] \"p\": trusts ::/0, every", "forge"),
        (
            format!("{PROXY}networks = [\"0.0.0.0-255.255.255.255\"]"),
            "edgeward.toml:1:1: zone[0] \"p\": trusts 0.0.0.0/0, every address",
            "",
        ),
        (
            format!("{PROXY}networks = [\"10.0.0.0/4\"]"),
            "edgeward.toml:4:13: zone[0] \"p\".networks[0]: 10.0.0.0/4 has host bits set; write 0.0.0.0/4",
            "",
        ),
        (format!("{PROXY}networks = [\"16.0.0.0/4\"]"), "edgeward.toml:1:1: warning: zone[0] \"p\": trusts", "large"),
        (
            format!("{EXEMPT}networks = [\"10.0.0.0/8\"]\n{BLOCKED}networks = [\"10.1.0.0/16\", \"10.0.0.0/8\"]"),
            "edgeward.toml:8:28: zone[1] \"b\".networks[1]: blocks 10.0.0.0/8, which zone[0] \"e\".networks[0] exempts",
            "",
        ),
        (
            format!("{EXEMPT}networks = [\"10.0.0.0/8\"]\n{PROXY}networks = [\"10.1.0.5\"]"),
            "edgeward.toml:1:1: warning: zone[0] \"e\": exempts 10.0.0.0/8, where trusted proxies are",
            "unjudged",
        ),
        (
            format!("{EXEMPT}networks = [\"10.1.0.5\", \"10.2.0.0/16\"]\n{PROXY}networks = [\"10.0.0.0/8\"]"),
            "edgeward.toml:1:1: warning: zone[0] \"e\": exempts 10.1.0.5/32 and 1 more networks",
            "",
        ),
        (
            format!("[capacity]\nzones = 1\n{EXEMPT}networks = [\"10.1.0.5\", \"10.2.0.0/16\", \"::1\"]"),
            "edgeward.toml:1:1: the zones' IPv4 networks hold 2 different entries; capacity.zones is 1",
            "set zones under [capacity] to 2 or more",
        ),
        (
            "[capacity]\nhosts_v4 = 1\n[[list]]\nname = \"l\"\nnetworks = [\"10.1.0.5\", \"10.1.0.6\"]".to_owned(),
            "edgeward.toml:1:1: warning: the lists' IPv4 addresses hold 2 different entries",
            "hosts_v4",
        ),
        (
            "[[service]]\nname = \"s\"\nports = [22]\nrestricted = true".to_owned(),
            "edgeward.toml:1:1: warning: service[0] \"s\": is restricted",
            "nobody can reach it",
        ),
        (
            "[[service]]\nname = \"s\"\nports = [22]\n[[service]]\nname = \"t\"\nports = [22]".to_owned(),
            "edgeward.toml:6:10: service[1] \"t\".ports[0]: port 22 is already named at service[0] \"s\".ports[0]",
            "",
        ),
        ("[[service]]\nname = \"s\"".to_owned(), "edgeward.toml:1:1: service[0] \"s\": `ports` is missing", ""),
        (
            "[[service]]\nname = \"s\"\nports = [1]\nrefusal = \"drop\"".to_owned(),
            "edgeward.toml:4:1: service[0].refusal: unknown key",
            "belongs at the top of the file",
        ),
        (
            "[[list]]\nname = \"a\\u001b[31m\"\nnetworks = [\"::1\"]".to_owned(),
            "edgeward.toml:2:8: list[0].name: holds control characters",
            "",
        ),
        (
            "[[list]]\nname = \"l\"\nscore = 0\nnetworks = [\"::1\"]".to_owned(),
            "edgeward.toml:3:9: list[0] \"l\".score: 0 is out of range",
            "1 to 100",
        ),
    ];
    for (text, begins, holds) in table {
        let told = told(&text);
        assert_eq!(told.len(), 1, "{text}\n{told:#?}");
        let only = told.first().unwrap();
        assert!(
            only.starts_with(begins) && only.contains(holds),
            "{text}\n{only}\nnot\n{begins} … {holds}"
        );
    }
}

#[test]
fn two_halves_of_everything_are_everything() {
    let zone = |name: &str, network: &str| {
        format!(
            "[[zone]]\nname = \"{name}\"\nuses = [\"trusted-proxy\"]\nnetworks = [\"{network}\"]\n"
        )
    };
    let mistakes = parse(&format!(
        "{}{}",
        zone("a", "0.0.0.0/1"),
        zone("b", "128.0.0.0/1")
    ))
    .unwrap_err();
    let expected = "edgeward.toml:5:1: zone[1] \"b\": the trusted-proxy zones together trust 0.0.0.0/0, every address \
                    there is; name the networks of your proxies only";
    assert!(
        mistakes
            .kept
            .iter()
            .any(|mistake| mistake.to_string() == expected),
        "{mistakes}"
    );
}

#[test]
fn bad_lines_refuse_a_list_of_trust_and_only_warn_in_a_list_of_blocks() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("l.txt"),
        format!("192.0.2.1\n192.0.2.1/24\n{}", "x\n".repeat(30)),
    )
    .unwrap();
    let text = |head: &str| format!("{head}files = [\"l.txt\"]\n");
    for head in [
        EXEMPT,
        PROXY,
        "[[zone]]\nname = \"g\"\nuses = [\"blocked\", \"gateway\"]\n",
    ] {
        let mistakes = Config::parse(&text(head), dir.path(), "edgeward.toml").unwrap_err();
        assert!(mistakes.any_error(), "{head}");
        assert_eq!(mistakes.kept.len(), 21, "{head}");
    }
    for head in [BLOCKED, "[[list]]\nname = \"b\"\n"] {
        let config = Config::parse(&text(head), dir.path(), "edgeward.toml").unwrap();
        let networks = config.zones.first().map(|zone| &zone.networks);
        let networks = networks
            .or(config.lists.first().map(|list| &list.networks))
            .unwrap();
        assert_eq!((networks.len(), networks.rejected), (1, 31), "{head}");
        assert_eq!(config.warnings.len(), 21);
        let first = config.warnings.first().unwrap().to_string();
        let file = dir.path().join("l.txt").display().to_string();
        assert!(
            first.starts_with(&format!("{file}:2: warning: ")),
            "{first}"
        );
        assert!(
            first.ends_with("192.0.2.1/24 has host bits set; write 192.0.2.0/24"),
            "{first}"
        );
        let last = config.warnings.last().unwrap().to_string();
        assert!(
            last.contains("11 more bad lines: 31 of 32 lines cannot be read"),
            "{last}"
        );
    }
}

#[test]
fn list_files_that_are_none_are_mistakes_whatever_the_use() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    let text = format!("{BLOCKED}files = [\"d\", \"none.txt\", \"\", \"d\", \"/dev/null\"]\n");
    let mistakes = Config::parse(&text, dir.path(), "edgeward.toml")
        .unwrap_err()
        .to_string();
    for expected in [
        "/d is a directory",
        "/none.txt does not exist",
        "\"\" is no file name",
        "already named at",
        "not a regular file",
    ] {
        assert!(mistakes.contains(expected), "{expected}\n{mistakes}");
    }
}

#[test]
fn files_that_cannot_be_a_configuration_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let told = |path: &Path| Config::load(path).unwrap_err().to_string();
    assert!(told(&dir.path().join("none.toml")).contains("cannot be read: No such file"));
    assert!(told(dir.path()).contains("is a directory"));
    let path = dir.path().join("edgeward.toml");
    fs::write(&path, b"mode = \"log\"\n# caf\xe9\n").unwrap();
    assert!(
        told(&path).ends_with("edgeward.toml:2: not valid UTF-8; save the file as UTF-8"),
        "{}",
        told(&path)
    );
    fs::write(&path, "#".repeat(CONFIG_BYTES_MAX + 1)).unwrap();
    assert!(told(&path).contains("put long lists of networks into list files"));
    assert!(parse(&" ".repeat(CONFIG_BYTES_MAX + 1)).is_err());
}

/// Mutations of a real configuration: the parser answers, whatever it is given.
#[test]
fn no_text_makes_the_parser_panic() {
    let seed = include_str!("../../../config/edgeward.toml");
    let mut bytes = Vec::new();
    let mut state: u64 = 0x2545_f491_4f6c_dd1d;
    let (mut accepted, mut refused) = (0, 0);
    for round in 0..3_000_u32 {
        if round % 10 == 0 {
            bytes = seed.as_bytes().to_vec();
        }
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let at = usize::try_from(state % u64::try_from(bytes.len().max(1)).unwrap()).unwrap();
        match (state >> 40) % 3 {
            0 => bytes.truncate(at.max(16)),
            1 => bytes.insert(at, state.to_le_bytes()[6]),
            _ => bytes.splice(at..at, *b"[[\"").for_each(drop),
        }
        match parse(&String::from_utf8_lossy(&bytes)) {
            Ok(_) => accepted += 1,
            Err(mistakes) => {
                assert!(!mistakes.kept.is_empty());
                refused += 1;
            }
        }
    }
    assert!(
        accepted > 0 && refused > 0,
        "{accepted} accepted, {refused} refused"
    );
}

#[test]
fn depth_and_width_are_bounded() {
    let table = [
        format!("a{} = 1", ".a".repeat(100_000)),
        format!("a = {}", "[".repeat(100_000)),
        format!("a = {}", "{a=".repeat(100_000)),
        format!("[{}a]", "a.".repeat(100_000)),
        (0..20_000).map(|n| format!("k{n} = {n}\n")).collect(),
    ];
    for text in table {
        let mistakes = parse(&text).unwrap_err();
        assert!(!mistakes.kept.is_empty() && mistakes.kept.len() <= Mistakes::KEPT_MAX);
    }
}

#[test]
fn canonical_addresses_are_found_in_their_zone() {
    let config = parse(&format!("{PROXY}networks = [\"::ffff:10.0.0.0/104\"]")).unwrap();
    let address: IpAddr = "10.200.0.1".parse().unwrap();
    let zone = config.zones.first().unwrap();
    assert!(
        zone.networks
            .iter()
            .any(|network| network.contains(&address))
    );
}
