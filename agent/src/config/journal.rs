//! `[journal]`: how much of the System Log is kept.

use std::{ops::RangeInclusive, time::Duration};

use super::{duration, raw::Table};
pub use crate::journal::JournalSettings;

const KEYS: [&str; 3] = ["retention", "bytes_max", "users"];
/// How users stand in it.
const USERS: [(&str, bool); 2] = [("hash", false), ("clear", true)];
const DAY: u64 = 86_400;
const RETENTION: RangeInclusive<Duration> =
    Duration::from_secs(DAY)..=Duration::from_secs(3_650 * DAY);
const BYTES_MAX: RangeInclusive<u64> = 16 << 20..=1 << 44;

/// `[journal]` of a file.
pub(super) fn journal(top: &Table<'_>) -> JournalSettings {
    let mut settings = JournalSettings::default();
    let Some(table) = top.get("journal").and_then(|node| node.table(&KEYS)) else {
        return settings;
    };
    let kept = Duration::from_millis(settings.retention_ms);
    let kept = table.time("retention", RETENTION, kept);
    settings.retention_ms = u64::try_from(kept.as_millis()).unwrap_or(settings.retention_ms);
    if let Some(named) = table.get("users").and_then(|node| node.word(&USERS)) {
        settings.names_users = named;
    }
    settings.bytes_max = table.count("bytes_max", BYTES_MAX, settings.bytes_max);
    settings
}

/// What differs, one sentence each.
pub(super) fn changes(out: &mut Vec<String>, old: &JournalSettings, new: &JournalSettings) {
    let texts = |settings: &JournalSettings| {
        let retention = Duration::from_millis(settings.retention_ms);
        [
            ("retention", duration::format(retention)),
            ("bytes_max", settings.bytes_max.to_string()),
            ("users", users(settings.names_users).to_owned()),
        ]
    };
    for ((name, before), (_, after)) in texts(old).into_iter().zip(texts(new)) {
        if before != after {
            out.push(format!("journal.{name}: {before} → {after}"));
        }
    }
}

fn users(named: bool) -> &'static str {
    let found = USERS.iter().find(|(_, one)| *one == named);
    found.map_or("", |(word, _)| word)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, diff};

    #[test]
    fn it_is_read_and_a_reload_says_what_differs() {
        let parse = |text: &str| {
            Config::parse(text, Path::new(""), "test.toml").map_err(|mistakes| mistakes.to_string())
        };
        let config =
            parse("[journal]\nretention = \"30d\"\nbytes_max = 1073741824\nusers = \"clear\"\n")
                .unwrap();
        assert_eq!(config.journal.retention_ms, 30 * DAY * 1_000);
        assert_eq!(config.journal.bytes_max, 1 << 30);
        assert!(config.journal.names_users);
        assert_eq!(
            diff::changes(&Config::default(), &config),
            [
                "journal.retention: 90d → 30d",
                "journal.bytes_max: 4294967296 → 1073741824",
                "journal.users: hash → clear"
            ]
        );
        assert_eq!(parse("").unwrap().journal, JournalSettings::default());
        for (text, what) in [
            (
                "[journal]\nretention = \"1h\"",
                "journal.retention: 1h is out of range",
            ),
            ("[journal]\nbytes_max = 5", "journal.bytes_max: 5 is out"),
            ("[journal]\nbytes = 5", "journal.bytes"),
            ("[journal]\nusers = \"plain\"", "journal.users: "),
        ] {
            let told = parse(text).unwrap_err();
            assert!(told.contains(what), "{text}: {told}");
        }
    }
}
