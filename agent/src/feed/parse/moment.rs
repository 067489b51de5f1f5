//! Times and durations as feeds write them.

pub(super) use crate::moment::moment;

/// A duration as Go's `time.Duration` prints it (`3h59m58.7s`, `-1.5h`, `300ms`, `0s`): milliseconds, towards 0.
pub(super) fn go_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut sum_ns: i128 = 0;
    while !rest.is_empty() {
        let whole_end = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (whole, after) = rest.split_at_checked(whole_end)?;
        let (fraction, after) = match after.strip_prefix('.') {
            None => ("", after),
            Some(after) => {
                let end = after.bytes().take_while(u8::is_ascii_digit).count();
                after.split_at_checked(end)?
            }
        };
        // Go's own longest duration has seven digits of hours.
        if (whole.is_empty() && fraction.is_empty()) || whole.len() > 15 {
            return None;
        }
        let (unit_ns, after) = UNITS
            .iter()
            .find_map(|(unit, ns)| Some((*ns, after.strip_prefix(unit)?)))?;
        sum_ns += whole.parse::<i128>().unwrap_or(0) * unit_ns;
        let mut scale = unit_ns;
        for digit in fraction.bytes().take(12) {
            scale /= 10;
            sum_ns += i128::from(digit - b'0') * scale;
        }
        rest = after;
    }
    let ms = i64::try_from(sum_ns / 1_000_000).ok()?;
    Some(if negative { -ms } else { ms })
}

/// Longer names first where one begins another.
const UNITS: [(&str, i128); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
];
