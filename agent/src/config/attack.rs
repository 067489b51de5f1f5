//! `[attack]`: when a service counts as under attack, and what changes while it does. The kernel's rates for that time
//! stand with the others in `[rate_limit]`.

use std::{ops::RangeInclusive, time::Duration};

use super::{RateLimit, duration, raw::Table, types::AttackRates};
pub(super) use crate::policy::attack::Settings;

/// Keys of `[rate_limit]` that hold under attack.
pub(super) const RATE_KEYS: [&str; 4] = [
    "attack_connections",
    "attack_packets",
    "attack_limited_connections",
    "attack_limited_packets",
];

const KEYS: [&str; 11] = [
    "detect",
    "false_alarms",
    "sources_min",
    "rise_percent",
    "hold",
    "quiet",
    "block_threshold",
    "limit_threshold",
    "counts_percent",
    "lifetime_percent",
    "rate_percent",
];
const DAY: u64 = 86_400;
const FALSE_ALARMS: RangeInclusive<Duration> =
    Duration::from_secs(DAY)..=Duration::from_secs(3_650 * DAY);
const HOLD: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(DAY);
const QUIET: RangeInclusive<Duration> = Duration::from_secs(300)..=Duration::from_secs(DAY);

/// `[attack]` of a file.
pub(super) fn attack(top: &Table<'_>) -> Settings {
    let mut settings = Settings::default();
    let Some(table) = top.get("attack").and_then(|node| node.table(&KEYS)) else {
        return settings;
    };
    settings.detect = table.flag("detect", settings.detect);
    settings.false_alarm_ms = ms(
        &table,
        "false_alarms",
        FALSE_ALARMS,
        settings.false_alarm_ms,
    );
    settings.sources_min = table.count("sources_min", 1..=1_000_000, settings.sources_min);
    settings.rise_percent = table.count("rise_percent", 150..=10_000, settings.rise_percent);
    settings.hold_ms = ms(&table, "hold", HOLD, settings.hold_ms);
    settings.quiet_ms = ms(&table, "quiet", QUIET, settings.quiet_ms);
    let tight = &mut settings.tightening;
    tight.block_score = table.count("block_threshold", 1..=100, tight.block_score);
    tight.limit_score = table.count("limit_threshold", 1..=100, tight.limit_score);
    tight.counts_percent = table.count("counts_percent", 1..=100, tight.counts_percent);
    tight.lifetime_percent = table.count("lifetime_percent", 100..=1_000, tight.lifetime_percent);
    tight.rate_percent = table.count("rate_percent", 1..=100, tight.rate_percent);
    if tight.limit_score > tight.block_score {
        let what = format!(
            "limit_threshold {} is above block_threshold {}",
            tight.limit_score, tight.block_score
        );
        let suggestion = format!("set limit_threshold to {} or less", tight.block_score);
        table.error(what, Some(suggestion));
    }
    settings
}

/// The rates under attack: what was typed, or that part of the ordinary ones. `table` is `[rate_limit]`, if there is one.
pub(super) fn rates(
    table: Option<&Table<'_>>,
    ordinary: &RateLimit,
    attack: &Settings,
) -> AttackRates {
    let rate = |key: &str, ordinary: Option<u32>| {
        let typed = table.and_then(|table| table.get(key)?.number(0..=u32::MAX));
        if let (Some(table), Some(typed), Some(ordinary)) = (table, typed, ordinary)
            && (typed == 0 || typed > ordinary)
        {
            let name = key.trim_start_matches("attack_");
            table.error(
                format!("{key} = {typed} is looser than {name} = {ordinary}"),
                Some(format!(
                    "set {key} to 1 to {ordinary}: it holds while there is an attack"
                )),
            );
        }
        match typed {
            Some(0) => None,
            Some(count) => Some(count),
            None => ordinary.map(|count| attack.tightening.rate(count)),
        }
    };
    let [connections, packets, limited_connections, limited_packets] = RATE_KEYS;
    let (connections, packets) = (
        rate(connections, ordinary.connections),
        rate(packets, ordinary.packets),
    );
    // A default is never looser than what holds for everybody.
    let tighter = |limited: Option<u32>, plain: Option<u32>| match (limited, plain) {
        (Some(limited), Some(plain)) => Some(limited.min(plain)),
        (limited, plain) => limited.or(plain),
    };
    AttackRates {
        connections,
        packets,
        limited_connections: tighter(
            rate(limited_connections, ordinary.limited_connections),
            connections,
        ),
        limited_packets: tighter(rate(limited_packets, ordinary.limited_packets), packets),
    }
}

/// What differs, one sentence each.
pub(super) fn changes(out: &mut Vec<String>, old: &Settings, new: &Settings) {
    let times = |settings: &Settings| {
        [
            ("false_alarms", settings.false_alarm_ms),
            ("hold", settings.hold_ms),
            ("quiet", settings.quiet_ms),
        ]
        .map(|(name, ms)| (name, duration::format(Duration::from_millis(ms))))
    };
    let numbers = |settings: &Settings| {
        let tight = settings.tightening;
        [
            ("detect", settings.detect.to_string()),
            ("sources_min", settings.sources_min.to_string()),
            ("rise_percent", settings.rise_percent.to_string()),
            ("block_threshold", tight.block_score.to_string()),
            ("limit_threshold", tight.limit_score.to_string()),
            ("counts_percent", tight.counts_percent.to_string()),
            ("lifetime_percent", tight.lifetime_percent.to_string()),
            ("rate_percent", tight.rate_percent.to_string()),
        ]
    };
    let before = numbers(old).into_iter().chain(times(old));
    let after = numbers(new).into_iter().chain(times(new));
    for ((name, before), (_, after)) in before.zip(after) {
        if before != after {
            out.push(format!("attack.{name}: {before} → {after}"));
        }
    }
}

fn ms(table: &Table<'_>, key: &str, range: RangeInclusive<Duration>, default: u64) -> u64 {
    let time = table.time(key, range, Duration::from_millis(default));
    u64::try_from(time.as_millis()).unwrap_or(default)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, diff};

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new(""), "test.toml").map_err(|mistakes| mistakes.to_string())
    }

    #[test]
    fn everything_can_be_set_and_a_reload_says_so() {
        let text = "[attack]\ndetect = false\nfalse_alarms = \"30d\"\nsources_min = 7\nrise_percent = 400\n\
                    hold = \"5m\"\nquiet = \"1h\"\nblock_threshold = 50\nlimit_threshold = 10\n\
                    counts_percent = 60\nlifetime_percent = 300\nrate_percent = 25\n";
        let config = parse(text).unwrap();
        let (attack, tight) = (config.attack, config.attack.tightening);
        assert!(!attack.detect);
        assert_eq!(
            (
                attack.false_alarm_ms,
                attack.sources_min,
                attack.rise_percent
            ),
            (30 * DAY * 1_000, 7, 400)
        );
        assert_eq!((attack.hold_ms, attack.quiet_ms), (300_000, 3_600_000));
        assert_eq!(
            (tight.block_score, tight.limit_score, tight.counts_percent),
            (50, 10, 60)
        );
        assert_eq!((tight.lifetime_percent, tight.rate_percent), (300, 25));
        assert_eq!(
            config.rate_limit.attack.limited_connections,
            Some(2),
            "a quarter of 5, rounded up"
        );
        let told = diff::changes(&Config::default(), &config);
        assert_eq!(told.len(), KEYS.len() + 2, "and two rates: {told:#?}");
        assert!(
            told.contains(&"attack.quiet: 30m → 1h".to_owned()),
            "{told:#?}"
        );
        assert_eq!(parse("").unwrap().attack, Settings::default());
    }

    #[test]
    fn rates_under_attack_follow_the_ordinary_ones() {
        let rates = |text: &str| {
            let rate = parse(&format!("[rate_limit]\n{text}"))
                .unwrap()
                .rate_limit
                .attack;
            [
                rate.connections,
                rate.packets,
                rate.limited_connections,
                rate.limited_packets,
            ]
        };
        assert_eq!(rates(""), [None, None, Some(3), Some(100)]);
        assert_eq!(
            rates("connections = 4\npackets = 90"),
            [Some(2), Some(45), Some(2), Some(45)]
        );
        assert_eq!(
            rates("attack_connections = 9"),
            [Some(9), None, Some(3), Some(100)]
        );
        assert_eq!(
            rates("connections = 9\nattack_connections = 9"),
            [Some(9), None, Some(3), Some(100)]
        );
        assert_eq!(
            rates("limited_connections = 0\nattack_packets = 7"),
            [None, Some(7), None, Some(7)]
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (text, what) in [
            ("[attack]\nquite = \"1h\"", "did you mean `quiet`?"),
            ("[attack]\nhold = \"1s\"", "attack.hold: 1s is out"),
            (
                "[attack]\nblock_threshold = 101",
                "attack.block_threshold: 101 is out",
            ),
            (
                "[attack]\nlifetime_percent = 50",
                "attack.lifetime_percent: 50 is out",
            ),
            (
                "[attack]\nlimit_threshold = 70",
                "limit_threshold 70 is above block_threshold 65",
            ),
            ("[attack]\ndetect = 1", "attack.detect: expected"),
            (
                "[rate_limit]\nattack_limited_connections = 6",
                "attack_limited_connections = 6 is looser than limited_connections = 5",
            ),
            (
                "[rate_limit]\npackets = 5\nlimited_packets = 5\nattack_packets = 0",
                "attack_packets = 0 is looser than packets = 5",
            ),
        ] {
            let told = parse(text).unwrap_err();
            assert!(told.contains(what), "{text}: {told}");
        }
    }
}
