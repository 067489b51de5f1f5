//! `[[stream]]` tables: what they become, and every mistake by its place.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use super::{
    stream::{Framing, Place, StreamKind, StreamStart, Transport},
    *,
};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n";

fn secret(folder: &Path, name: &str, text: &str, mode: u32) {
    let file = folder.join(name);
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
}

fn parse(folder: &Path, text: &str) -> Result<Config, Mistakes> {
    Config::parse(text, folder, "edgeward.toml")
}

#[test]
fn a_stream_has_defaults_for_everything_but_where_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    secret(folder.path(), "hook.secret", SECRET, 0o600);
    let text = r#"
[[stream]]
name = "siem"
kind = "syslog"
transport = "tcp"
address = "[::1]:514"

[[stream]]
name = "hook"
kind = "webhook"
url = "https://hooks.example/edgeward?tenant=7"
secret_files = ["hook.secret"]
filter = 'eventType sw "security."'
from = "oldest"
enabled = false
flush = "1s"

[[stream]]
name = "archive"
kind = "file"
path = "events.log"
"#;
    let config = parse(folder.path(), text).unwrap();
    let [siem, hook, archive] = config.streams.as_slice() else {
        panic!("{:?}", config.streams);
    };
    let StreamKind::Syslog(syslog) = &siem.kind else {
        panic!("{siem:?}");
    };
    let place = Place {
        host: "::1".to_owned(),
        port: 514,
    };
    assert_eq!(syslog.transport, Transport::Tcp(place));
    assert_eq!(
        (
            syslog.framing,
            syslog.facility,
            syslog.app_name.as_str(),
            syslog.message_bytes_max
        ),
        (Framing::OctetCounting, 10, "edgeward", 65_536)
    );
    assert_eq!(
        (siem.from, siem.enabled, siem.target().as_str()),
        (StreamStart::Now, true, "tcp [::1]:514")
    );
    assert_eq!(siem.flush, Duration::from_millis(100));
    assert_eq!(
        (hook.from, hook.enabled, hook.flush),
        (StreamStart::Oldest, false, Duration::from_secs(1))
    );
    assert_eq!(
        hook.target(),
        "https://hooks.example/edgeward",
        "without its query"
    );
    assert_eq!(
        hook.filter.as_ref().unwrap().text,
        "eventType sw \"security.\""
    );
    assert!(!format!("{config:?}").contains("MfKQ9r8G"));
    assert_eq!(
        archive.target(),
        folder.path().join("events.log").display().to_string()
    );
}

#[test]
fn every_mistake_is_named_at_once() {
    let folder = tempfile::tempdir().unwrap();
    secret(folder.path(), "open.secret", SECRET, 0o644);
    secret(folder.path(), "bad.secret", "hunter2\n", 0o600);
    let text = r#"
[[stream]]
name = "a"
kind = "syslog"
transport = "tcp"
address = "siem.example"
ca_file = "nothing.pem"
facility = "loca0"
structured_data = "edgeward"
app_name = "edge ward"
url = "https://x"

[[stream]]
name = "a"
kind = "webhook"
url = "https://user:pass@hooks.example/"
secret_files = ["open.secret", "bad.secret"]
filter = "eventType eq"
batch_events_max = 0
certificate = "x.pem"

[[stream]]
name = "b"
kind = "fiel"

[[stream]]
name = "c"
kind = "file"
rotate = false
kept_max = 3
flush = "1h"

[[stream]]
name = "d"
kind = "syslog"
transport = "unix-datagram"
address = "dev/log"
framing = "newline"
"#;
    let mistakes = parse(folder.path(), text).unwrap_err();
    let found: Vec<String> = mistakes.kept.iter().map(ToString::to_string).collect();
    let all = found.join("\n");
    for expected in [
        "stream[0] \"a\".address: \"siem.example\" is no host with a port",
        "stream[0] \"a\".ca_file: is for TLS",
        "stream[0] \"a\".facility: \"loca0\" is not known here; did you mean \"local0\"?",
        "stream[0] \"a\".structured_data: \"edgeward\" is no name of structured data",
        "stream[0] \"a\".app_name: \"edge ward\" is not 1 to 48 characters",
        "stream[0] \"a\".url: is for the kind webhook",
        "stream[1] \"a\".url: holds a user or a password",
        "open.secret may be read or written by others",
        "bad.secret holds no secret of Standard Webhooks",
        "stream[1] \"a\".filter: \"eventType eq\" is no filter",
        "stream[1] \"a\".batch_events_max: 0 is out of range",
        "stream[1] \"a\".certificate: stands alone",
        "stream[2] \"b\".kind: \"fiel\" is not known here; did you mean \"file\"?",
        "stream[3] \"c\": `path` is missing",
        "stream[3] \"c\".kept_max: has no effect with rotate = false",
        "stream[3] \"c\".flush: 1h is out of range",
        "stream[4] \"d\".address: \"dev/log\" is no absolute path",
        "stream[4] \"d\".framing: has no effect",
    ] {
        assert!(all.contains(expected), "{expected}\nis not among\n{all}");
    }
    assert!(!all.contains("hunter2") && !all.contains("pass@"), "{all}");
}

#[test]
fn names_are_unique_and_clear_text_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let stream = |name: &str, address: &str| {
        format!(
            "[[stream]]\nname = \"{name}\"\nkind = \"syslog\"\ntransport = \"tcp\"\naddress = \"{address}\"\n"
        )
    };
    let twice = stream("a", "127.0.0.1:514") + &stream("a", "127.0.0.1:515");
    let mistakes = parse(folder.path(), &twice).unwrap_err();
    assert!(
        mistakes
            .to_string()
            .contains("the name \"a\" is already taken by stream[0] \"a\""),
        "{mistakes}"
    );
    let config = parse(folder.path(), &stream("a", "siem.example:514")).unwrap();
    assert!(
        config.warnings[0].what.contains("in clear"),
        "{:?}",
        config.warnings
    );
    let many: String = (0..=STREAMS_MAX)
        .map(|n| stream(&format!("s{n}"), "127.0.0.1:514"))
        .collect();
    let mistakes = parse(folder.path(), &many).unwrap_err();
    assert!(
        mistakes.to_string().contains("at most 16 are possible"),
        "{mistakes}"
    );
}
