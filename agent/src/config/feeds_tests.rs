//! What a `[[feed]]` and a `[lapi]` mean, and every mistake in them.

use std::{fs, io::Write as _, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use crate::config::{
    Config,
    feed::{Auth, FeedFormat, FeedSource},
};

fn key(dir: &Path, name: &str, content: &str, mode: u32) {
    let path = dir.join(name);
    fs::File::create(&path)
        .unwrap()
        .write_all(content.as_bytes())
        .unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn feeds_have_defaults_by_their_format() {
    let dir = tempfile::tempdir().unwrap();
    key(dir.path(), "key", "secret\n", 0o600);
    let text = r#"
[[feed]]
name = "drop"
url = "https://www.spamhaus.org/drop/drop_v4.json?x=1"
format = "spamhaus"

[[feed]]
name = "own"
file = "own.csv"
format = "csv"
columns = { prefix = "ip", score = "confidence" }
delimiter = ";"
lifetime = "2d"
private_allowed = true

[[feed]]
name = "crowd"
url = "http://127.0.0.1:8080"
format = "crowdsec"
key_file = "key"
origins = ["cscli"]

[lapi]
listen = "127.0.0.1:8081"
[[lapi.bouncer]]
name = "nft"
key_file = "key"
"#;
    let config = Config::parse(text, dir.path(), "test.toml").unwrap();
    let [drop, own, crowd] = config.feeds.as_slice() else {
        panic!("{:?}", config.feeds);
    };
    assert_eq!((drop.score, drop.interval.as_secs()), (80, 3_600));
    assert_eq!(drop.lifetime, Some(Duration::from_secs(7 * 86_400)));
    assert_eq!(
        drop.source.to_string(),
        "https://www.spamhaus.org/drop/drop_v4.json",
        "a query may hold a key"
    );
    assert_eq!(own.source, FeedSource::File(dir.path().join("own.csv")));
    assert!(own.limits.private_allowed);
    let FeedFormat::Csv(columns) = &own.format else {
        panic!("{own:?}");
    };
    assert_eq!((columns.prefix.as_str(), columns.delimiter), ("ip", ';'));
    let auth = &crowd.key.as_ref().unwrap().auth;
    assert_eq!(*auth, Auth::Header("x-api-key".to_owned()));
    assert_eq!((crowd.interval.as_secs(), crowd.lifetime), (10, None));
    assert!(!format!("{config:?}").contains("secret"));
    assert_eq!(config.lapi.unwrap().origins.len(), 5);
}

/// A mistake in nearly every line.
const MISTAKES: &str = r#"
[[feed]]
name = "a"
format = "netsets"
[[feed]]
name = "a"
format = "netset"
url = "https://user:pass@host/x"
file = "x"
[[feed]]
name = "b"
format = "okta"
file = "x"
auth = "header:bad name"
[[feed]]
name = "c"
format = "netset"
url = "ftp://host/x"
columns = { prefix = "x" }
score = 0
[[feed]]
name = "d"
format = "crowdsec"
url = "http://192.0.2.1:8080"
key_file = "open"
lifetime = "1h"
[[feed]]
name = "e"
format = "taxii"
url = "https://host/api/"
key_file = "two"
collections = ["a/b"]
ca_file = "missing.pem"
[[feed]]
name = "f"
format = "csv"
url = "https://u:p@host/x"
delimiter = ",,"
interval = "1ms"
[[feed]]
name = "g"
format = "abuseipdb"
url = "https://api.abuseipdb.com/api/v2/blacklist"
[lapi]
listen = "192.0.2.1:8081"
[[lapi.bouncer]]
name = "x"
key_file = "empty"
"#;

/// What is said of them.
const SAID: [&str; 19] = [
    "did you mean \"netset\"?",
    "feed[0] \"a\": has neither `url` nor `file`",
    "is already taken by feed[0] \"a\"",
    "feed[1] \"a\".file: stands beside `url`",
    "feed[2] \"b\".file: a feed of the format \"okta\" is asked over HTTP",
    "\"header:bad name\"",
    "feed[3] \"c\".url: is no URL of http or https",
    "feed[3] \"c\".columns: is for the format \"csv\"",
    "feed[3] \"c\".score: 0 is out of range",
    "(mode 644); chmod 600 it",
    "feed[4] \"d\".lifetime: decisions of CrowdSec bring their own end",
    "holds more than one line",
    "\"a/b\" is no single word",
    "missing.pem does not exist",
    "feed[6] \"f\".url: holds a user or a password",
    "\",,\" is no single character",
    "feed[6] \"f\".interval: 1ms is out of range",
    "feed[7] \"g\": `key_file` is missing",
    "192.0.2.1 is no loopback address",
];

#[test]
fn every_mistake_is_named_at_once() {
    let dir = tempfile::tempdir().unwrap();
    key(dir.path(), "open", "secret\n", 0o644);
    key(dir.path(), "two", "se\ncret\n", 0o600);
    key(dir.path(), "empty", "\n", 0o600);
    let mistakes = Config::parse(MISTAKES, dir.path(), "test.toml").unwrap_err();
    let said: Vec<String> = mistakes.kept.iter().map(ToString::to_string).collect();
    for words in SAID {
        let words = words.replace("\"header:bad name\"", "no name of a header");
        assert!(
            said.iter().any(|line| line.contains(&words)),
            "{words} not in {said:#?}"
        );
    }
    assert!(
        !said.iter().any(|line| line.contains("secret")),
        "{said:#?}"
    );
    let text = MISTAKES.replace("192.0.2.1:8081", "127.0.0.1:8081");
    let mistakes = Config::parse(&text, dir.path(), "test.toml").unwrap_err();
    let said: Vec<String> = mistakes.kept.iter().map(ToString::to_string).collect();
    assert!(
        said.iter().any(|line| line.contains("empty is empty")),
        "{said:#?}"
    );
}
