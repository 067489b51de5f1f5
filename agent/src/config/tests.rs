//! Whole configurations: the shipped ones, everything that can be typed, files, hostile texts.

use std::{fs, net::IpAddr, time::Duration};

use super::*;

fn parse(text: &str) -> Result<Config, Mistakes> {
    Config::parse(text, Path::new("/nonexistent"), "edgeward.toml")
}

/// The mistakes of a configuration, one a line; warnings of one that is accepted count too.
pub(super) fn told(text: &str) -> Vec<String> {
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

/// `EVERYTHING` from a file, with its list file beside it.
fn everything() -> Config {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("zones")).unwrap();
    fs::write(
        dir.path().join("zones/cdn.txt"),
        "# edge\n198.51.100.8\n2001:db8:2::/48 ; six\n",
    )
    .unwrap();

    let path = dir.path().join("edgeward.toml");
    fs::write(&path, EVERYTHING).unwrap();
    Config::load(&path).unwrap_or_else(|mistakes| refused(&mistakes))
}

#[test]
fn every_setting_that_can_be_typed_arrives() {
    let config = everything();
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
        attack: AttackRates {
            connections: Some(2),
            packets: None,
            limited_connections: Some(2),
            limited_packets: None,
        },
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
}

#[test]
fn every_zone_list_and_service_that_can_be_typed_arrives() {
    let config = everything();
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

const EVERYTHING: &str = r#"
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

pub(super) const PROXY: &str = "[[zone]]\nname = \"p\"\nuses = [\"trusted-proxy\"]\n";
pub(super) const EXEMPT: &str = "[[zone]]\nname = \"e\"\nuses = [\"exempt\"]\n";
pub(super) const BLOCKED: &str = "[[zone]]\nname = \"b\"\nuses = [\"blocked\"]\n";

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
