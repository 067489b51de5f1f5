//! An Okta System Log, polled for `security.threat.detected` from where the last poll ended.

use std::mem;

use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};

use super::{
    body,
    cache::Mark,
    client::{Answer, Failure, refused, resolve, same_origin},
    parse::{Harvest, Report, Unfit, read_events},
    round::{Brought, Harvested, Round, Trouble, aside, below, escaped},
};
use crate::policy::feed::Draft;

/// Pages in one round; the next one goes on behind them.
const PAGES_MAX: u32 = 100;
/// Events asked for at once, the most that Okta gives.
const PAGE_EVENTS: u64 = 1_000;
/// Longest address of a next page, in bytes.
const NEXT_BYTES_MAX: usize = 4_096;
/// A lifetime that the configuration does not give, milliseconds.
const LIFETIME_MS: u64 = 86_400_000;

pub(super) async fn round(round: &Round<'_>, base: &Uri) -> Result<Brought, Trouble> {
    let lifetime_ms = round
        .feed
        .lifetime
        .and_then(|lifetime| u64::try_from(lifetime.as_millis()).ok())
        .unwrap_or(LIFETIME_MS);
    let known = round
        .mark
        .next
        .as_deref()
        .and_then(|next| next.parse().ok());
    let mut uri: Uri = match known {
        Some(uri) if same_origin(&uri, base) && !round.forced => uri,
        _ => first(base, round.now_ms.saturating_sub(lifetime_ms))?,
    };
    let client = round.client(base)?;
    let (mut draft, mut report) = (restored(round)?, Report::default());
    for _ in 0..PAGES_MAX {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let ask = round.ask(uri.clone(), headers)?;
        let answer = client
            .get(&ask, &round.scratch, round.feed.size_bytes_max)
            .await?;
        if answer.status != StatusCode::OK {
            return Err(refused(&answer, round.now_ms).into());
        }
        let (back, part) = page(round, draft, lifetime_ms).await?;
        draft = back;
        let seen = part.seen;
        report.add(part);
        let next = next(&answer, &uri);
        let Some(next) = next else {
            break;
        };
        // The address holds the token's reach: it is asked of the same server, or not at all.
        if !same_origin(&next, base) {
            return Err(Failure::new("sends on to another server").into());
        }
        uri = next;
        // A page may have fewer events than asked for; only an empty one is the end.
        if seen == 0 {
            break;
        }
    }
    let mark = Mark {
        next: Some(uri.to_string()).filter(|uri| uri.len() <= NEXT_BYTES_MAX),
        ..Mark::default()
    };
    if report.read == 0 && mark == *round.mark {
        return Ok(Brought::Unchanged {
            heard_ms: round.now_ms,
        });
    }
    Ok(Brought::Read(Box::new(Harvested {
        draft,
        report,
        mark,
        heard_ms: round.now_ms,
        whole: false,
    })))
}

/// Reads one page into the draft.
async fn page(
    round: &Round<'_>,
    mut draft: Draft,
    lifetime_ms: u64,
) -> Result<(Draft, Report), Trouble> {
    let (path, bytes_max) = (round.scratch.clone(), round.feed.size_bytes_max);
    let terms = round.terms();
    let outcome = aside(move || {
        let source = body::open(&path, bytes_max).map_err(Unfit::Io)?;
        let mut harvest = Harvest {
            draft: &mut draft,
            terms,
            report: Report::default(),
        };
        read_events(source, lifetime_ms, &mut harvest)?;
        let report = mem::take(&mut harvest.report);
        Ok::<_, Unfit>((draft, report))
    })
    .await?;
    Ok(outcome?)
}

/// What was known before and has not ended.
fn restored(round: &Round<'_>) -> Result<Draft, Trouble> {
    let now_s = super::parse::seconds(round.now_ms);
    let mut draft = Draft::restored(round.feed.entries_max, round.table.reasons().to_vec());
    for (prefix, fact) in round.table.live(now_s) {
        draft.add(prefix, fact).map_err(Unfit::from)?;
    }
    Ok(draft)
}

fn first(base: &Uri, since_ms: u64) -> Result<Uri, Failure> {
    let filter = escaped("eventType eq \"security.threat.detected\"");
    let since = escaped(&rfc3339(since_ms));
    let query = format!("since={since}&filter={filter}&sortOrder=ASCENDING&limit={PAGE_EVENTS}");
    let path = if base.path().trim_end_matches('/').ends_with("/api/v1/logs") {
        ""
    } else {
        "/api/v1/logs"
    };
    below(base, path, &query)
}

/// The address behind `rel="next"` (RFC 8288), in one line or several.
fn next(answer: &Answer, from: &Uri) -> Option<Uri> {
    let lines = answer.headers.get_all(header::LINK);
    lines
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(",").map(str::trim))
        .filter_map(|link| link.split_once('>'))
        .find(|(_, parameters)| parameters.replace(' ', "").contains("rel=\"next\""))
        .and_then(|(target, _)| resolve(from, target.trim_start_matches('<')))
}

/// Milliseconds since the epoch as `2026-01-31T12:00:00.000Z`.
fn rfc3339(at_ms: u64) -> String {
    let (days, of_day) = (at_ms / 86_400_000, at_ms % 86_400_000);
    // Years that begin in March have their leap day at the end.
    let days = days.saturating_add(719_468);
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = year_of_era + era * 400 + carry;
    let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let (second, ms) = (of_day / 1_000 % 60, of_day % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_that_are_read_back() {
        for at_ms in [
            0,
            951_782_400_000,
            1_709_251_199_999,
            1_800_000_000_123,
            4_107_542_400_000,
        ] {
            let text = rfc3339(at_ms);
            let read = crate::signal::time::iso(&text);
            assert_eq!(read, Some((at_ms, "")), "{text}");
        }
        assert_eq!(rfc3339(1_709_251_199_999), "2024-02-29T23:59:59.999Z");
    }

    #[test]
    fn the_next_page_is_the_one_that_is_linked_as_such() {
        let base: Uri = "https://org.okta.example/api/v1/logs".parse().unwrap();
        let answer = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::LINK, HeaderValue::from_str(line).unwrap());
            }
            Answer {
                status: StatusCode::OK,
                headers,
            }
        };
        let linked = "<https://org.okta.example/api/v1/logs?after=1_2>; rel=\"next\"";
        let own = "<https://org.okta.example/api/v1/logs>; rel=\"self\"";
        for lines in [
            vec![own, linked],
            vec![linked],
            vec![&*format!("{own}, {linked}")],
        ] {
            let found = next(&answer(&lines), &base).unwrap();
            assert_eq!(found.query(), Some("after=1_2"));
        }
        assert_eq!(next(&answer(&[own]), &base), None);
        let uri = first(&"https://org.okta.example".parse().unwrap(), 0).unwrap();
        assert!(uri.to_string().starts_with("https://org.okta.example/api/v1/logs?since=1970-01-01T00%3A00%3A00.000Z&filter=eventType%20eq"), "{uri}");
    }
}
