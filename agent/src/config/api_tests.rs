//! What `[api]` means, and every mistake in it.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use super::super::{Config, test_pems};
use super::*;

fn files(dir: &Path) {
    let write = |name: &str, text: &str, mode: u32| {
        let path = dir.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    write("cert.pem", test_pems::CERTIFICATE, 0o644);
    write("key.pem", test_pems::KEY, 0o600);
    write("a", "token-a-0123456789abcdef", 0o640);
    write("b", "token-b-0123456789abcdef", 0o600);
    write("same", "token-a-0123456789abcdef", 0o600);
    write("weak", "weak", 0o600);
    write("open", "token-c-0123456789abcdef", 0o644);
    write("empty", "", 0o600);
}

fn parse(dir: &Path, text: &str) -> Result<Config, Vec<String>> {
    Config::parse(text, dir, "test.toml")
        .map_err(|mistakes| mistakes.kept.iter().map(ToString::to_string).collect())
}

#[test]
fn it_is_off_without_its_table_and_on_loopback_with_it() {
    let dir = tempfile::tempdir().unwrap();
    files(dir.path());
    assert_eq!(parse(dir.path(), "").unwrap().api, None);
    let text = "[api]\n[[api.token]]\nname = \"siem\"\nsecret_file = \"a\"\nscopes = [\"okta.logs.read\"]\n";
    let api = parse(dir.path(), text).unwrap().api.unwrap();
    assert_eq!((api.listen, api.tls), (LISTEN, None));
    assert_eq!(api.requests_per_minute, 600);
    let [token] = api.tokens.as_slice() else {
        panic!("{:?}", api.tokens);
    };
    assert_eq!(
        (token.name.as_str(), &token.secret_file),
        ("siem", &dir.path().join("a"))
    );
    assert!(token.scopes.allow(Scopes::LOGS_READ) && !token.scopes.allow(Scopes::ZONES_READ));
}

#[test]
fn with_tls_it_may_listen_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    files(dir.path());
    let text = "[api]\nlisten = \"192.0.2.1:443\"\nrequests_per_minute = 60\n[api.tls]\ncertificate = \"cert.pem\"\n\
                key = \"key.pem\"\n[[api.token]]\nname = \"a\"\nsecret_file = \"a\"\nscopes = [\"okta.networkZones.manage\"]\n\
                [[api.token]]\nname = \"b\"\nsecret_file = \"b\"\nscopes = [\"okta.threatInsights.read\", \"okta.logs.read\"]\n";
    let config = parse(dir.path(), text).unwrap();
    let api = config.api.as_ref().unwrap();
    assert_eq!((api.listen.port(), api.tokens.len()), (443, 2));
    assert!(api.tls.is_some());
    assert!(
        api.tokens[0].scopes.allow(Scopes::ZONES_READ),
        "manage includes read"
    );
    assert_eq!(
        api.tokens[1].scopes.names(),
        ["okta.logs.read", "okta.threatInsights.read"]
    );
    assert!(!format!("{config:?}").contains("0123456789"));
}

#[test]
fn every_mistake_is_named_at_once() {
    let dir = tempfile::tempdir().unwrap();
    files(dir.path());
    let text = "[api]\nlisten = \"192.0.2.1:8443\"\nrequests_per_minute = 0\nfoo = 1\n\
                [[api.token]]\nname = \"a\"\nsecret_file = \"a\"\nscopes = [\"okta.logs.write\"]\n\
                [[api.token]]\nname = \"a\"\nsecret_file = \"same\"\nscopes = []\n\
                [[api.token]]\nname = \"c\"\nsecret_file = \"open\"\nscopes = [\"okta.logs.read\"]\n\
                [[api.token]]\nname = \"d\"\nsecret_file = \"missing\"\n\
                [[api.token]]\nname = \"e\"\nsecret_file = \"empty\"\nscopes = [\"okta.logs.read\"]\n";
    let said = parse(dir.path(), text).unwrap_err();
    let expected = [
        "api.listen: 192.0.2.1 is no loopback address",
        "api.requests_per_minute: 0 is out of range",
        "api.foo: unknown key",
        "did you mean \"okta.logs.read\"?",
        "the name \"a\" is already taken",
        "is the secret of \"a\" too",
        "allows nothing",
        "(mode 644); chmod o= it",
        "missing does not exist",
        "`scopes` is missing",
        "empty is empty",
    ];
    for words in expected {
        assert!(
            said.iter().any(|line| line.contains(words)),
            "{words} not in {said:#?}"
        );
    }
    assert!(
        !said.iter().any(|line| line.contains("0123456789")),
        "{said:#?}"
    );
    for (text, words) in [
        ("[api]\n", "names no token"),
        (
            "[api]\nlisten = \"localhost:8443\"\n",
            "write 127.0.0.1:8443",
        ),
        ("[api]\nlisten = \"127.0.0.1:0\"\n", "has no port"),
        (
            "[api]\n[api.tls]\ncertificate = \"cert.pem\"\n",
            "`key` is missing",
        ),
        (
            "[api]\n[api.tls]\ncertificate = \"key.pem\"\nkey = \"cert.pem\"\n",
            "holds no certificate",
        ),
    ] {
        let said = parse(dir.path(), text).unwrap_err();
        assert!(
            said.iter().any(|line| line.contains(words)),
            "{words} not in {said:#?}"
        );
    }
}

#[test]
fn a_weak_token_is_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    files(dir.path());
    let text = "[api]\n[[api.token]]\nname = \"w\"\nsecret_file = \"weak\"\nscopes = [\"okta.logs.read\"]\n";
    let config = parse(dir.path(), text).unwrap();
    assert!(
        config.warnings[0].to_string().contains("easily guessed"),
        "{:?}",
        config.warnings
    );
}
