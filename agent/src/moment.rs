//! Moments as people and programs write and read them.

use crate::signal::time;

/// A moment in UTC, from milliseconds since the Unix epoch.
pub(crate) fn utc(milliseconds: u64) -> String {
    let seconds = milliseconds / 1_000;
    let (year, month, day) = civil(seconds / 86_400);
    let of_day = seconds % 86_400;
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Days since 1970-01-01 as a date (Howard Hinnant's `civil_from_days`, for days from the epoch on).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

/// RFC 3339, a date, a date with a time, or seconds (or finer) since the epoch: milliseconds since the epoch.
pub(crate) fn moment(text: &str) -> Option<u64> {
    let text = text.trim();
    if let Some((at, rest)) = time::iso(text) {
        return rest.is_empty().then_some(at);
    }
    if text.len() == 10 && text.contains('-') {
        return time::iso(&format!("{text}T00:00:00Z")).map(|(at, _)| at);
    }
    time::epoch(text)
}
