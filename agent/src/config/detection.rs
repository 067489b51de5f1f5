//! `[detection]`: what detectors compare with, how much they remember, and how long refusals hold.

use std::{fmt::Display, ops::RangeInclusive, path::Path, time::Duration};

use super::{
    duration,
    getters::read_small,
    raw::{Node, Table},
};
use crate::policy::{
    detect::{Capacity, Detection, Steps, Thresholds},
    model::{Learned, MODEL_BYTES_MAX, Model},
    reputation::Lifetimes,
};

/// Everything about detection that an operator decides. Defaults and their sources are at the types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DetectionSettings {
    /// What detectors compare with.
    pub thresholds: Thresholds,
    /// How much they remember.
    pub capacity: Capacity,
    /// How long refusals hold.
    pub lifetimes: Lifetimes,
    /// A model beside the rules.
    pub learned: Option<Learned>,
}

/// Where a threshold of three levels is kept.
type StepsOf = fn(&mut Thresholds) -> &mut Steps;
/// Where a threshold of one number is kept.
type NumberOf = fn(&mut Thresholds) -> &mut u32;

/// Keys of thresholds with where they are kept: each is called as its field.
macro_rules! places {
    ($($field:ident),+ $(,)?) => {
        [$((stringify!($field), |all| &mut all.$field)),+]
    };
    ($($field:ident in $range:expr),+ $(,)?) => {
        [$((stringify!($field), |all| &mut all.$field, $range)),+]
    };
}

/// Thresholds of three levels: `[LOW, MEDIUM, HIGH]`.
const STEPS: [(&str, StepsOf); 18] = places![
    spray_short,
    spray_long,
    stuffing_users,
    stuffing_volume,
    brute_short,
    brute_long,
    brute_sources_short,
    brute_sources_long,
    failures_short,
    failures_long,
    failures_alone,
    unknown_short,
    unknown_long,
    enumeration_short,
    enumeration_long,
    network_short,
    network_long,
    pattern_sources,
];

/// Thresholds of one number, with their ranges.
const NUMBERS: [(&str, NumberOf, RangeInclusive<u32>); 14] = places![
    success_percent_max in 0..=100,
    spray_tries_max in 1..=COUNT_MAX,
    stuffing_unknown_percent in 1..=100,
    brute_hurried_min in 1..=COUNT_MAX,
    unknown_percent in 1..=100,
    network_sources_min in 2..=256,
    honest_sources_min in 1..=COUNT_MAX,
    pattern_success_percent_max in 0..=100,
    surge_sources_min in 2..=COUNT_MAX,
    surge_percent in 1..=10_000,
    surge_failures_min in 2..=COUNT_MAX,
    asn_sources_min in 2..=COUNT_MAX,
    asn_success_percent_max in 0..=100,
    asn_counts_percent in 10..=100,
];

/// Whether there is a model, and whether it decides.
const MODELS: [(&str, Option<bool>); 3] = [("off", None), ("log", Some(false)), ("on", Some(true))];
/// Counters hold 16 bits.
const COUNT_MAX: u32 = u16::MAX as u32;
const SHORT: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(3_600);
const LONG: RangeInclusive<Duration> = Duration::from_secs(3_600)..=Duration::from_secs(7 * 86_400);
const LIFETIME: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(365 * 86_400);
/// About 3 GB with every user sketched.
const REMEMBERED_MAX: u32 = 1 << 23;

/// `[detection]` of a file.
pub(super) fn detection(top: &Table<'_>, base: &Path) -> DetectionSettings {
    let mut known = vec![
        "short_window",
        "long_window",
        "simulated",
        "remembered",
        "lifetime",
        "model",
        "model_file",
    ];
    known.extend(STEPS.iter().map(|(key, _)| *key));
    known.extend(NUMBERS.iter().map(|(key, _, _)| *key));
    let Some(table) = top.get("detection").and_then(|node| node.table(&known)) else {
        return DetectionSettings::default();
    };
    let mut settings = DetectionSettings::default();
    let thresholds = &mut settings.thresholds;
    for (key, place) in STEPS {
        if let Some(steps) = table.get(key).and_then(|node| steps(&node)) {
            *place(thresholds) = steps;
        }
    }
    for (key, place, range) in NUMBERS {
        let place = place(thresholds);
        *place = table.count(key, range, *place);
    }
    thresholds.short_ms = ms(&table, "short_window", SHORT, thresholds.short_ms);
    thresholds.long_ms = ms(&table, "long_window", LONG, thresholds.long_ms);
    if let Some(node) = table.get("simulated") {
        for (name, text) in node.strings() {
            let names = Detection::ALL.map(|detection| (detection.name(), detection));
            if text.is_empty() {
                name.error("a detection has a name", None);
            } else if let Some(detection) = name.word(&names) {
                thresholds.simulated = thresholds.simulated.with(detection);
            }
        }
    }
    settings.capacity = capacity(&table, settings.capacity);
    settings.lifetimes = lifetimes(&table, settings.lifetimes);
    settings.learned = learned(&table, base);
    settings
}

/// `model` and `model_file`. A file that is named is read and its mistakes are told, also while the model is off.
fn learned(table: &Table<'_>, base: &Path) -> Option<Learned> {
    let mode = table.get("model").and_then(|node| node.word(&MODELS));
    let model = match table.get("model_file") {
        None => Model::shipped().ok(),
        Some(node) => {
            let file = node.file(base)?;
            let model = read_small(&file, MODEL_BYTES_MAX)
                .and_then(|bytes| {
                    String::from_utf8(bytes).map_err(|_| {
                        "is no model: it is not UTF-8; make one by `edgeward train`".to_owned()
                    })
                })
                .and_then(|text| {
                    Model::parse(&text).map_err(|what| {
                        format!("is no model: {what}; make one by `edgeward train`")
                    })
                });
            model.map_err(|what| node.file_error(&file, &what)).ok()
        }
    };
    let decides = mode.flatten()?;
    model.map(|model| Learned { model, decides })
}

/// What differs, one sentence each.
pub(super) fn changes(out: &mut Vec<String>, old: &DetectionSettings, new: &DetectionSettings) {
    let (mut before, mut after) = (old.thresholds, new.thresholds);
    for (key, place) in STEPS {
        tell(out, key, *place(&mut before), *place(&mut after));
    }
    for (key, place, _) in NUMBERS {
        tell(out, key, *place(&mut before), *place(&mut after));
    }
    if before.simulated != after.simulated {
        out.push("detection.simulated: changed".to_owned());
    }
    let word = |learned: &Option<Learned>| {
        let decides = learned.map(|learned| learned.decides);
        let found = MODELS.iter().find(|(_, known)| *known == decides);
        found.map_or("off", |(word, _)| word)
    };
    tell(out, "model", word(&old.learned), word(&new.learned));
    if word(&old.learned) == word(&new.learned) && old.learned != new.learned {
        out.push("detection.model_file: another model".to_owned());
    }
    let (from, to) = (&old.lifetimes, &new.lifetimes);
    for (name, before, after) in [
        ("short_window", before.short_ms, after.short_ms),
        ("long_window", before.long_ms, after.long_ms),
        ("lifetime.first", from.first_ms, to.first_ms),
        ("lifetime.brief", from.brief_ms, to.brief_ms),
        ("lifetime.longest", from.longest_ms, to.longest_ms),
        ("lifetime.forgive", from.forgive_ms, to.forgive_ms),
    ] {
        let [before, after] = [before, after].map(|ms| duration::format(Duration::from_millis(ms)));
        tell(out, name, before, after);
    }
    let (from, to) = (&old.capacity, &new.capacity);
    for (name, before, after) in [
        ("remembered.sources", from.sources_max, to.sources_max),
        ("remembered.users", from.users_max, to.users_max),
        ("remembered.user_agents", from.agents_max, to.agents_max),
        ("remembered.systems", from.systems_max, to.systems_max),
    ] {
        tell(out, name, before, after);
    }
}

fn tell<T: PartialEq + Display>(out: &mut Vec<String>, key: &str, before: T, after: T) {
    if before != after {
        out.push(format!("detection.{key}: {before} → {after}"));
    }
}

/// Three counts that do not fall.
fn steps(node: &Node<'_>) -> Option<Steps> {
    let elements = node.elements();
    let counts: Option<Vec<u32>> = elements
        .iter()
        .map(|element| element.number(1..=COUNT_MAX))
        .collect();
    let counts = counts?;
    match counts.as_slice() {
        [low, medium, high] if low <= medium && medium <= high => {
            Some(Steps::new(*low, *medium, *high))
        }
        [_, _, _] => {
            node.error(
                "a lower level needs more than a higher one",
                Some("write [LOW, MEDIUM, HIGH], each at least the one before".to_owned()),
            );
            None
        }
        other => {
            node.error(
                format!("expected three counts, found {}", other.len()),
                Some("write [LOW, MEDIUM, HIGH], as in [4, 6, 8]".to_owned()),
            );
            None
        }
    }
}

fn capacity(table: &Table<'_>, default: Capacity) -> Capacity {
    let known = ["sources", "users", "user_agents", "systems"];
    let Some(inner) = table.get("remembered").and_then(|node| node.table(&known)) else {
        return default;
    };
    Capacity {
        sources_max: inner.count("sources", 1..=REMEMBERED_MAX, default.sources_max),
        users_max: inner.count("users", 1..=REMEMBERED_MAX, default.users_max),
        agents_max: inner.count("user_agents", 1..=REMEMBERED_MAX, default.agents_max),
        systems_max: inner.count("systems", 1..=REMEMBERED_MAX, default.systems_max),
    }
}

fn lifetimes(table: &Table<'_>, default: Lifetimes) -> Lifetimes {
    let known = ["first", "brief", "longest", "forgive"];
    let Some(inner) = table.get("lifetime").and_then(|node| node.table(&known)) else {
        return default;
    };
    let lifetimes = Lifetimes {
        first_ms: ms(&inner, "first", LIFETIME, default.first_ms),
        brief_ms: ms(&inner, "brief", LIFETIME, default.brief_ms),
        longest_ms: ms(&inner, "longest", LIFETIME, default.longest_ms),
        forgive_ms: ms(&inner, "forgive", LIFETIME, default.forgive_ms),
    };
    if lifetimes.first_ms > lifetimes.longest_ms || lifetimes.brief_ms > lifetimes.longest_ms {
        inner.error(
            "`longest` is shorter than `first` or `brief`".to_owned(),
            Some("make it the longest of the three".to_owned()),
        );
    }
    lifetimes
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

    fn parse(text: &str) -> Result<DetectionSettings, String> {
        Config::parse(text, Path::new(""), "test.toml")
            .map(|config| config.detection)
            .map_err(|mistakes| mistakes.to_string())
    }

    #[test]
    fn every_threshold_can_be_set() {
        assert_eq!(parse("").unwrap(), DetectionSettings::default());
        let mut text = "[detection]\nshort_window = \"5m\"\nlong_window = \"12h\"\n\
                        simulated = [\"Brute Force\"]\n"
            .to_owned();
        for (key, _) in STEPS {
            text.push_str(&format!("{key} = [11, 12, 13]\n"));
        }
        for (key, _, range) in NUMBERS {
            text.push_str(&format!("{key} = {}\n", range.end() - 1));
        }
        text.push_str(
            "[detection.remembered]\nsources = 10\nusers = 11\nuser_agents = 12\nsystems = 13\n\
             [detection.lifetime]\nfirst = \"2m\"\nbrief = \"3m\"\nlongest = \"4m\"\nforgive = \"5m\"\n",
        );
        let mut settings = parse(&text).unwrap();
        for (key, place) in STEPS {
            assert_eq!(
                *place(&mut settings.thresholds),
                Steps::new(11, 12, 13),
                "{key}"
            );
        }
        for (key, place, range) in NUMBERS {
            assert_eq!(*place(&mut settings.thresholds), range.end() - 1, "{key}");
        }
        let thresholds = settings.thresholds;
        assert_eq!(
            (thresholds.short_ms, thresholds.long_ms),
            (300_000, 43_200_000)
        );
        assert!(thresholds.simulated.contains(Detection::BruteForce));
        assert!(!thresholds.simulated.contains(Detection::PasswordSpray));
        assert_eq!(settings.capacity.agents_max, 12);
        assert_eq!(settings.capacity.systems_max, 13);
        assert_eq!(settings.lifetimes.forgive_ms, 300_000);
        // Every setting that was changed is told.
        let old = Config::default();
        let new = Config {
            detection: settings,
            ..Config::default()
        };
        let told = diff::changes(&old, &new);
        let count = STEPS.len() + NUMBERS.len() + 1 + 6 + 4;
        assert_eq!(told.len(), count, "{told:#?}");
        assert!(
            told.contains(&"detection.lifetime.first: 1h → 2m".to_owned()),
            "{told:#?}"
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (text, what) in [
            (
                "spray_short = [4, 6]",
                "detection.spray_short: expected three counts",
            ),
            ("spray_short = [6, 4, 8]", "a lower level needs more"),
            (
                "spray_short = [0, 4, 8]",
                "detection.spray_short[0]: 0 is out of range",
            ),
            ("spray_short = 4", "expected an array"),
            ("simulated = [\"Brute\"]", "\"Brute\" is not known here"),
            ("spray_shrt = [1, 2, 3]", "did you mean `spray_short`?"),
            ("success_percent_max = 101", "out of range"),
            ("short_window = \"2h\"", "out of range"),
            (
                "lifetime = { first = \"1d\", longest = \"1h\" }",
                "`longest` is shorter",
            ),
            ("remembered = { sources = 0 }", "out of range"),
        ] {
            let told = parse(&format!("[detection]\n{text}\n")).unwrap_err();
            assert!(told.contains(what), "{text}: {told}");
        }
    }
}
