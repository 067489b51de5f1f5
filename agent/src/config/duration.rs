//! Durations as people type them: `90s`, `5m`, `4h`, `7d`, `1h30m`, `500ms`.

use std::time::Duration;

/// Units from the largest to the smallest, in milliseconds: the order in which they may follow each other.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Ten years in milliseconds: past it somebody meant "for ever", which has another spelling.
const MILLISECONDS_MAX: u64 = 3_650 * 86_400_000;

/// Reads a duration: whole numbers, each with its unit, largest unit first, at most ten years.
///
/// # Errors
/// A sentence that says what is wrong and how a duration looks.
pub fn parse(text: &str) -> Result<Duration, String> {
    let refused = |why: &str| Err(format!("`{}` {why}", super::error::shown(text)));
    let mut rest = text.trim_ascii();
    if rest.is_empty() {
        return refused(
            "is no duration; write a number and a unit, as in 90s, 5m, 4h, 7d, 1h30m or 500ms",
        );
    }
    let mut units = UNITS.iter();
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (digits, after) = rest.split_at(span(rest, |byte| byte.is_ascii_digit()));
        let (unit, after) = after.split_at(span(after, |byte| byte.is_ascii_alphabetic()));
        if digits.is_empty() || (unit.is_empty() && !after.is_empty()) {
            return refused(
                "is no duration; write a number and a unit, as in 90s, 5m, 4h, 7d, 1h30m or 500ms",
            );
        }
        if unit.is_empty() {
            return refused(
                "lacks a unit; write ms, s, m, h or d after the number, as in 90s or 5m",
            );
        }
        if !UNITS.iter().any(|(name, _)| *name == unit) {
            return refused("has an unknown unit; use ms, s, m, h or d");
        }
        // `find` moves on: a unit that came before, or a larger one after a smaller, is not found again.
        let Some((_, milliseconds)) = units.find(|(name, _)| *name == unit) else {
            return refused(
                "names its units out of order; write the largest first and each once, as in 1h30m",
            );
        };
        let value = digits
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(*milliseconds));
        match value
            .and_then(|value| total.checked_add(value))
            .filter(|sum| *sum <= MILLISECONDS_MAX)
        {
            Some(sum) => total = sum,
            None => return refused("is longer than ten years (3650d)"),
        }
        rest = after;
    }
    Ok(Duration::from_millis(total))
}

/// The shortest spelling that `parse` reads back; what is finer than a millisecond is cut off.
#[must_use]
pub fn format(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut out = String::new();
    for (name, milliseconds) in UNITS {
        let count = rest / milliseconds;
        if count > 0 {
            out.push_str(&format!("{count}{name}"));
        }
        rest %= milliseconds;
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

/// How many leading bytes (all ASCII, so a character boundary) satisfy `wanted`.
fn span(text: &str, wanted: impl Fn(&u8) -> bool) -> usize {
    text.bytes().take_while(wanted).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_print() {
        let table = [
            ("90s", 90_000, "1m30s"),
            ("5m", 300_000, "5m"),
            ("4h", 14_400_000, "4h"),
            ("7d", 604_800_000, "7d"),
            ("1h30m", 5_400_000, "1h30m"),
            ("500ms", 500, "500ms"),
            ("1s500ms", 1_500, "1s500ms"),
            ("0s", 0, "0s"),
            (" 10s ", 10_000, "10s"),
            ("3650d", 315_360_000_000, "3650d"),
        ];
        for (text, milliseconds, printed) in table {
            let duration = parse(text).unwrap();
            assert_eq!(duration, Duration::from_millis(milliseconds), "{text}");
            assert_eq!(format(duration), printed, "{text}");
            assert_eq!(parse(printed).unwrap(), duration, "{printed}");
        }
    }

    #[test]
    fn refusals_say_why() {
        let table = [
            ("", "is no duration"),
            ("ten minutes", "is no duration"),
            ("-5m", "is no duration"),
            ("1.5h", "is no duration"),
            ("5 m", "is no duration"),
            ("90", "lacks a unit"),
            ("1h30", "lacks a unit"),
            ("5w", "unknown unit"),
            ("5M", "unknown unit"),
            ("5µs", "is no duration"),
            ("30m1h", "out of order"),
            ("1m1m", "out of order"),
            ("3651d", "ten years"),
            ("99999999999999999999999d", "ten years"),
            ("18446744073709551615d", "ten years"),
        ];
        for (text, expected) in table {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
