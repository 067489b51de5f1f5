//! Times as logs write them, as milliseconds since the Unix epoch.

/// Time of day without a year, as syslog writes it; the year is found out by [`Years`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Yearless {
    month: u32,
    day: u32,
    /// Milliseconds of the day.
    of_day_ms: u64,
}

/// Finds the year of times without one: the first is the latest that is not in the future, and from then
/// on the order of the lines tells.
#[derive(Clone, Copy, Debug)]
pub struct Years {
    /// The latest moment that can be meant: when the log was last written.
    latest_ms: u64,
    /// Year and time of the line before.
    last: Option<(i64, u64)>,
}

const DAY_MS: u64 = 86_400_000;
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

impl Years {
    /// For a log that was last written at `latest_ms`.
    #[must_use]
    pub const fn new(latest_ms: u64) -> Self {
        Self {
            latest_ms,
            last: None,
        }
    }

    /// The log has been written to since.
    pub fn written(&mut self, latest_ms: u64) {
        self.latest_ms = self.latest_ms.max(latest_ms);
    }

    /// The moment that is meant.
    pub fn resolve(&mut self, time: Yearless) -> Option<u64> {
        let (year, moment) = match self.last {
            None => self.first(time)?,
            Some((year, before)) => self.next(time, year, before)?,
        };
        self.last = Some((year, moment));
        Some(moment)
    }

    fn first(&self, time: Yearless) -> Option<(i64, u64)> {
        // A day of grace: the log may be of another time zone.
        let latest = self.latest_ms.saturating_add(DAY_MS);
        let this = year_of(self.latest_ms).saturating_add(1);
        // Five years hold a leap day, whatever the year.
        (0..=5)
            .filter_map(|back| Some((this - back, time.in_year(this - back)?)))
            .find(|(_, moment)| *moment <= latest)
    }

    /// Lines are a few days out of order at most; otherwise time goes forward, but not past the end.
    fn next(&self, time: Yearless, year: i64, before: u64) -> Option<(i64, u64)> {
        let candidates = || {
            [year, year + 1, year - 1]
                .into_iter()
                .filter_map(|year| Some((year, time.in_year(year)?)))
        };
        let latest = self.latest_ms.saturating_add(DAY_MS);
        candidates()
            .find(|(_, moment)| moment.abs_diff(before) <= 7 * DAY_MS)
            .or_else(|| candidates().find(|(_, moment)| (before..=latest).contains(moment)))
            .or_else(|| candidates().next())
            .or_else(|| self.first(time))
    }
}

impl Yearless {
    fn in_year(self, year: i64) -> Option<u64> {
        moment(year, self.month, self.day, self.of_day_ms, 0)
    }
}

/// `Jun 21 16:47:48`, `Feb  7 16:01:07`; what follows it is given back.
#[must_use]
pub fn syslog(text: &str) -> Option<(Yearless, &str)> {
    let month = month(text.get(..3)?)?;
    let rest = text.get(3..)?.strip_prefix(' ')?.trim_start_matches(' ');
    let (day, rest) = rest.split_once(' ')?;
    let day = number(day, 2)?;
    let (of_day_ms, rest) = clock(rest.trim_start_matches(' '))?;
    if !(1..=31).contains(&day) {
        return None;
    }
    Some((
        Yearless {
            month,
            day,
            of_day_ms,
        },
        rest,
    ))
}

/// ISO 8601 and RFC 3339: `2024-01-02T03:04:05.678Z`, with a space for the `T`, a comma for the point,
/// with or without a zone (without: UTC). What follows it is given back.
#[must_use]
pub fn iso(text: &str) -> Option<(u64, &str)> {
    let year = number(text.get(..4)?, 4)?;
    let date = text.get(4..10)?.as_bytes();
    let &[b'-', m1, m2, b'-', d1, d2] = date else {
        return None;
    };
    let digits = |a: u8, b: u8| Some(digit(a)? * 10 + digit(b)?);
    let (month, day) = (digits(m1, m2)?, digits(d1, d2)?);
    let rest = text.get(10..)?;
    let rest = rest
        .strip_prefix(['T', 't'])
        .or_else(|| rest.strip_prefix(' '))?;
    let (of_day_ms, rest) = clock(rest)?;
    let (offset_minutes, rest) = zone(rest).unwrap_or((0, rest));
    let moment = moment(year.into(), month, day, of_day_ms, offset_minutes)?;
    Some((moment, rest))
}

/// `10/Oct/2000:13:55:36 -0700`, as nginx and Apache write it.
#[must_use]
pub fn common_log(text: &str) -> Option<u64> {
    let (day, rest) = text.split_once('/')?;
    let (month_name, rest) = rest.split_once('/')?;
    let (year, rest) = rest.split_once(':')?;
    let (of_day_ms, rest) = clock(rest)?;
    let (offset, _) = zone(rest.trim_start_matches(' ')).unwrap_or((0, rest));
    moment(
        number(year, 4)?.into(),
        month(month_name)?,
        number(day, 2)?,
        of_day_ms,
        offset,
    )
}

/// Any of the above, or seconds, milliseconds, microseconds or nanoseconds since the epoch.
#[must_use]
pub fn any(text: &str, years: &mut Years) -> Option<u64> {
    let text = text.trim();
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        return iso(text)
            .map(|(moment, _)| moment)
            .or_else(|| common_log(text))
            .or_else(|| epoch(text));
    }
    syslog(text).and_then(|(time, _)| years.resolve(time))
}

/// A number of seconds, or of something finer, since the epoch: its size tells which.
#[must_use]
pub fn epoch(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty()
        || !whole
            .bytes()
            .chain(fraction.bytes())
            .all(|b| b.is_ascii_digit())
    {
        return None;
    }
    let value: u64 = whole.parse().ok()?;
    Some(match value {
        // Until the year 5138 seconds have eleven digits at most.
        0..100_000_000_000 => value * 1_000 + milliseconds(fraction),
        100_000_000_000..100_000_000_000_000 => value,
        100_000_000_000_000..100_000_000_000_000_000 => value / 1_000,
        _ => value / 1_000_000,
    })
}

/// `13:55:36`, with a fraction or without.
fn clock(text: &str) -> Option<(u64, &str)> {
    let bytes = text.as_bytes().get(..8)?;
    let &[h1, h2, b':', m1, m2, b':', s1, s2] = bytes else {
        return None;
    };
    let digits = |a: u8, b: u8| Some(u64::from(digit(a)? * 10 + digit(b)?));
    let (hour, minute, second) = (digits(h1, h2)?, digits(m1, m2)?, digits(s1, s2)?);
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let rest = text.get(8..)?;
    let (fraction, rest) = match rest.strip_prefix(['.', ',']) {
        Some(after) => {
            let length = after.bytes().take_while(u8::is_ascii_digit).count();
            after.split_at(length)
        }
        None => ("", rest),
    };
    let seconds = hour * 3_600 + minute * 60 + second;
    Some((seconds * 1_000 + milliseconds(fraction), rest))
}

/// `Z`, `UTC`, `+02:00`, `-0700`; minutes east of Greenwich.
fn zone(text: &str) -> Option<(i64, &str)> {
    for utc in ["Z", "z", " UTC", " GMT"] {
        if let Some(rest) = text.strip_prefix(utc) {
            return Some((0, rest));
        }
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let hours = number(text.get(1..3)?, 2)?;
    let rest = text.get(3..)?;
    let (minutes, rest) = match rest.strip_prefix(':').unwrap_or(rest).split_at_checked(2) {
        Some((digits, rest)) if number(digits, 2).is_some() => (number(digits, 2)?, rest),
        _ => (0, rest),
    };
    if hours > 23 || minutes > 59 {
        return None;
    }
    Some((sign * i64::from(hours * 60 + minutes), rest))
}

/// The moment of a date (of the Gregorian calendar), checked to exist.
fn moment(year: i64, month: u32, day: u32, of_day_ms: u64, offset_minutes: i64) -> Option<u64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    if day == 0 || day > days {
        return None;
    }
    let midnight_s = days_from_civil(year, month.into(), day.into()) * 86_400;
    let start = u64::try_from(midnight_s - offset_minutes * 60).ok()?;
    start.checked_mul(1_000)?.checked_add(of_day_ms)
}

/// Days since 1970-01-01 (Howard Hinnant's `days_from_civil`, for years after 0).
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * shifted + 2) / 5 + day - 1;
    let day_of_era = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The year of a moment, near enough: at its turn it may be one off.
fn year_of(moment_ms: u64) -> i64 {
    let days = i64::try_from(moment_ms / DAY_MS).unwrap_or(0);
    1970 + days * 400 / 146_097
}

fn month(name: &str) -> Option<u32> {
    let at = MONTHS.iter().position(|month| *month == name)?;
    u32::try_from(at).ok()?.checked_add(1)
}

/// A number of at most so many digits.
fn number(text: &str, digits_max: usize) -> Option<u32> {
    if text.is_empty() || text.len() > digits_max {
        return None;
    }
    text.bytes()
        .try_fold(0_u32, |value, byte| Some(value * 10 + digit(byte)?))
}

const fn digit(byte: u8) -> Option<u32> {
    if byte.is_ascii_digit() {
        Some((byte - b'0') as u32)
    } else {
        None
    }
}

/// The first three digits of a fraction of a second.
fn milliseconds(fraction: &str) -> u64 {
    fraction
        .bytes()
        .chain(*b"000")
        .take(3)
        .filter_map(digit)
        .fold(0, |value, digit| value * 10 + u64::from(digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-22T08:00:00Z
    const NOW: u64 = 1_795_334_400_000;

    #[test]
    fn times_of_every_format() {
        let table = [
            ("2024-01-02T03:04:05Z", 1_704_164_645_000),
            ("2024-01-02T03:04:05.6789Z", 1_704_164_645_678),
            ("2024-01-02 03:04:05,678", 1_704_164_645_678),
            ("2024-01-02T05:04:05+02:00", 1_704_164_645_000),
            ("2024-01-02T05:04:05+0200", 1_704_164_645_000),
            ("2024-01-01T22:34:05-0430", 1_704_164_645_000),
            ("2024-02-29T00:00:00Z", 1_709_164_800_000),
            ("10/Oct/2000:13:55:36 -0700", 971_211_336_000),
            ("1704164645", 1_704_164_645_000),
            ("1704164645.25", 1_704_164_645_250),
            ("1704164645678", 1_704_164_645_678),
            ("1704164645678901", 1_704_164_645_678),
            ("1704164645678901234", 1_704_164_645_678),
            ("Jun 21 16:47:48", 1_782_060_468_000),
            ("Nov  9 01:02:03", 1_794_186_123_000),
            // Tomorrow may be another time zone, the day after is last year.
            ("Nov 23 00:00:00", 1_795_392_000_000),
            ("Nov 24 00:00:00", 1_763_942_400_000),
        ];
        for (text, expected) in table {
            assert_eq!(any(text, &mut Years::new(NOW)), Some(expected), "{text}");
        }
        for text in [
            "",
            "-",
            "2023-02-29T00:00:00Z",
            "2023-13-01T00:00:00Z",
            "2024-01-02T25:00:00Z",
            "Foo 12 00:00:00",
            "Jun 32 00:00:00",
            "Jun 31 00:00:00",
            "１２３４",
            "1e9",
            "31/Foo/2000:13:55:36 -0700",
            "99999999999999999999999",
        ] {
            assert_eq!(any(text, &mut Years::new(NOW)), None, "{text}");
        }
    }

    #[test]
    fn years_follow_the_order_of_the_lines() {
        let mut years = Years::new(NOW);
        let mut at = |text: &str| years.resolve(syslog(text).unwrap().0).unwrap();
        let first = at("Dec 30 10:00:00");
        assert_eq!(first, 1_767_088_800_000, "2025: 2026 is not over");
        assert_eq!(at("Jan  2 10:00:00") - first, 3 * DAY_MS, "the year turns");
        assert_eq!(at("Dec 31 10:00:00") - first, DAY_MS, "a line out of order");
        assert_eq!(at("Nov 22 10:00:00"), NOW + 2 * 3_600_000);
        assert_eq!(
            Years::new(NOW).resolve(syslog("Feb 29 00:00:00").unwrap().0),
            Some(1_709_164_800_000),
            "the last leap day"
        );
    }

    #[test]
    fn a_log_that_goes_on_crosses_the_year_after_a_silence() {
        let mut years = Years::new(NOW);
        let at = |years: &mut Years, text: &str| years.resolve(syslog(text).unwrap().0);
        let before = at(&mut years, "Nov 22 10:00:00").unwrap();
        years.written(NOW + 60 * DAY_MS);
        assert_eq!(
            at(&mut years, "Jan 15 10:00:00"),
            Some(before + 54 * DAY_MS)
        );
    }

    #[test]
    fn what_follows_a_time_is_left() {
        assert_eq!(syslog("Jun 21 16:47:48 host a").unwrap().1, " host a");
        assert_eq!(iso("2024-01-02T03:04:05.6+01:00 host").unwrap().1, " host");
        assert_eq!(iso("2024-01-02 03:04:05 UTC host").unwrap().1, " host");
    }
}
