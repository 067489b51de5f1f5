//! `GET /api/v1/logs`: parameters, pages and the links between them, as Okta documents them.

use std::time::Duration;

use http::{StatusCode, request::Parts};
use tokio::{task::spawn_blocking, time::timeout};

use super::{
    desk::{Answer, Desk, Place},
    fault::Fault,
};
use crate::{
    journal::{Cursor, Filter, Order, Page, Query as LogQuery, Reader},
    lapi::{Query, answer::json},
    signal::time,
};

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    kind: Kind,
    since_ms: u64,
    until_ms: Option<u64>,
    after: Option<Cursor>,
    filter: Option<Filter>,
    words: Vec<String>,
    limit: usize,
}

/// The two sorts of requests, the second in either order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Every event in the order of persistence, without an end.
    Polling,
    /// Events between two moments, the oldest first.
    Ascending,
    /// The same, the latest first.
    Descending,
}

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1_000;
const WORDS_MAX: usize = 10;
const WORD_CHARACTERS_MAX: usize = 40;
/// How far back a request looks that does not say.
const SINCE_MS: u64 = 7 * 86_400_000;
/// Okta's own limit of one query.
const QUERY_TIME: Duration = Duration::from_secs(30);

/// Answers with a page.
pub(super) async fn list(desk: &Desk, parts: &Parts, secure: bool) -> Result<Answer, Fault> {
    let asked = Asked::read(parts.uri.query().unwrap_or_default(), desk.now_ms())?;
    let Some(reader) = desk.reader() else {
        return Err(Fault::unavailable("the System Log is not open yet"));
    };
    let place = desk.place().await?;
    let (page, behind) = search(reader, asked.query()).await?;
    let next = asked.next(&page, behind);
    let mut answer = events(page, place);
    let url = Url::of(parts, secure, desk.listen());
    super::desk::link(&mut answer, &url.own(), next.map(|after| url.after(&after)));
    Ok(answer)
}

/// The page, and the place behind everything that was committed before it was looked for.
async fn search(reader: Reader, query: LogQuery) -> Result<(Page, u64), Fault> {
    let found = spawn_blocking(move || {
        let behind = *reader.committed().borrow();
        reader.search(&query).map(|page| (page, behind))
    });
    match timeout(QUERY_TIME, found).await {
        Err(_) => Err(Fault::unavailable(
            "the query takes too long; ask for less time or a simpler filter",
        )),
        Ok(Err(error)) => Err(Fault::internal(&error.to_string())),
        Ok(Ok(Err(error))) => Err(Fault::internal(&format!("the System Log: {error}"))),
        Ok(Ok(Ok(found))) => Ok(found),
    }
}

/// An array of events, each put into shape when it is sent. The place is held until then.
fn events(page: Page, place: Place) -> Answer {
    let mut first = true;
    let pieces = page.entries.into_iter().map(move |entry| {
        let _held = &place;
        let before = if std::mem::take(&mut first) { "[" } else { "," };
        format!("{before}{}", entry.log_event())
    });
    let mut pieces = pieces.peekable();
    if pieces.peek().is_none() {
        return json(StatusCode::OK, std::iter::once("[]".to_owned()));
    }
    json(
        StatusCode::OK,
        pieces.chain(std::iter::once("]".to_owned())),
    )
}

impl Asked {
    fn read(query: &str, now_ms: u64) -> Result<Self, Fault> {
        let query = Query::new(query);
        let given = |name: &str| query.first(name).filter(|value| !value.is_empty());
        let limit = match given("limit") {
            None => LIMIT_DEFAULT,
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| *limit <= LIMIT_MAX)
                .ok_or_else(|| Fault::invalid("limit", "must be a number from 0 to 1000."))?,
        };
        let filter = given("filter")
            .map(|text| Filter::parse(&text).map_err(|error| Fault::filter(&text, &error)))
            .transpose()?;
        let asked = Self {
            kind: Kind::Polling,
            since_ms: 0,
            until_ms: None,
            after: None,
            filter,
            words: words(&given("q").unwrap_or_default())?,
            limit,
        };
        let descending = descending(given("sortOrder"))?;
        match given("after") {
            Some(_) if given("since").is_some() => Err(Fault::invalid(
                "after",
                "'since' and 'after' are mutually exclusive and can't be specified simultaneously.",
            )),
            Some(after) => asked.going_on(&after, descending),
            None => {
                let since = given("since")
                    .map(|text| moment("since", &text))
                    .transpose()?;
                let until = given("until")
                    .map(|text| moment("until", &text))
                    .transpose()?;
                asked.begun(since, until, descending == Some(true), now_ms)
            }
        }
    }

    fn begun(
        self,
        since: Option<u64>,
        until: Option<u64>,
        descending: bool,
        now_ms: u64,
    ) -> Result<Self, Fault> {
        let kind = match (until, descending) {
            (None, false) => Kind::Polling,
            (Some(_), false) => Kind::Ascending,
            (_, true) => Kind::Descending,
        };
        let until_ms = match kind {
            Kind::Polling => None,
            Kind::Ascending | Kind::Descending => Some(until.unwrap_or(now_ms)),
        };
        let since_ms = since.unwrap_or_else(|| until_ms.unwrap_or(now_ms).saturating_sub(SINCE_MS));
        if until_ms.is_some_and(|until| until < since_ms) {
            return Err(Fault::invalid("since", "must not be after 'until'."));
        }
        Ok(Self {
            kind,
            since_ms,
            until_ms,
            ..self
        })
    }

    /// From a cursor, which knows the sort and the times of the request that it comes from.
    fn going_on(self, after: &str, descending: Option<bool>) -> Result<Self, Fault> {
        let (kind, since_ms, until_ms, cursor) =
            parse_after(after).ok_or_else(|| Fault::invalid("after", "is no cursor."))?;
        if descending.is_some_and(|descending| descending != (kind == Kind::Descending)) {
            return Err(Fault::invalid(
                "sortOrder",
                "must be that of the request that the cursor comes from.",
            ));
        }
        Ok(Self {
            kind,
            since_ms,
            until_ms,
            after: Some(cursor),
            ..self
        })
    }

    fn query(&self) -> LogQuery {
        LogQuery {
            since_ms: Some(self.since_ms),
            until_ms: self.until_ms,
            after: self.after,
            filter: self.filter.clone(),
            words: self.words.clone(),
            limit: self.limit,
            descending: self.kind == Kind::Descending,
            by: match self.kind {
                Kind::Polling => Order::Persistence,
                Kind::Ascending | Kind::Descending => Order::Published,
            },
        }
    }

    /// The cursor of the next page. Who polls always gets one: behind what was looked at, or else behind everything
    /// that there was.
    fn next(&self, page: &Page, behind: u64) -> Option<String> {
        let cursor = match self.kind {
            Kind::Polling => page.next.or(self.after).unwrap_or(Cursor {
                published_ms: self.since_ms,
                seq: if self.limit == 0 { 0 } else { behind },
            }),
            Kind::Ascending | Kind::Descending if page.complete => return None,
            Kind::Ascending | Kind::Descending => page.next?,
        };
        Some(after(self.kind, self.since_ms, self.until_ms, cursor))
    }
}

fn after(kind: Kind, since_ms: u64, until_ms: Option<u64>, cursor: Cursor) -> String {
    let kind = match kind {
        Kind::Polling => 'p',
        Kind::Ascending => 'a',
        Kind::Descending => 'd',
    };
    let until = until_ms.map_or_else(String::new, |at| format!("{at:x}"));
    format!("{kind}{since_ms:x}_{until}_{cursor}")
}

fn parse_after(text: &str) -> Option<(Kind, u64, Option<u64>, Cursor)> {
    let kind = match text.get(..1)? {
        "p" => Kind::Polling,
        "a" => Kind::Ascending,
        "d" => Kind::Descending,
        _ => return None,
    };
    let mut parts = text.get(1..)?.split('_');
    let (since, until, cursor) = (parts.next()?, parts.next()?, parts.next()?);
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    let until_ms = match (kind, until) {
        (Kind::Polling, "") => None,
        (Kind::Polling, _) => return None,
        (_, until) => Some(number(until)?),
    };
    let is_whole = parts.next().is_none();
    is_whole.then_some((kind, number(since)?, until_ms, cursor.parse().ok()?))
}

fn descending(text: Option<String>) -> Result<Option<bool>, Fault> {
    match text.as_deref() {
        None => Ok(None),
        Some(order) if order.eq_ignore_ascii_case("ASCENDING") => Ok(Some(false)),
        Some(order) if order.eq_ignore_ascii_case("DESCENDING") => Ok(Some(true)),
        Some(_) => Err(Fault::invalid(
            "sortOrder",
            "must be ASCENDING or DESCENDING.",
        )),
    }
}

fn moment(name: &str, text: &str) -> Result<u64, Fault> {
    // A plus of a time zone that nobody has escaped arrives as a space.
    let text = match text.rsplit_once(' ') {
        Some((date, zone)) if date.contains('T') => format!("{date}+{zone}"),
        _ => text.to_owned(),
    };
    match time::iso(&text) {
        Some((at, "")) => Ok(at),
        _ => Err(Fault::invalid(
            name,
            "The date format in your query is not recognized. Please enter dates using ISO8601 string format.",
        )),
    }
}

fn words(text: &str) -> Result<Vec<String>, Fault> {
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    if words.len() > WORDS_MAX {
        return Err(Fault::invalid(
            "q",
            "Freeform search cannot contain more than 10 items.",
        ));
    }
    let is_long = |word: &String| word.chars().count() > WORD_CHARACTERS_MAX;
    if words.iter().any(is_long) {
        return Err(Fault::invalid(
            "q",
            "Freeform search cannot contain items longer than 40 characters. Please shorten the items in your \
             search or use an advanced filter to query by specific fields.",
        ));
    }
    Ok(words)
}

/// The address of this request as the client wrote it, and of others like it.
struct Url {
    base: String,
    query: String,
}

impl Url {
    fn of(parts: &Parts, secure: bool, listen: std::net::SocketAddr) -> Self {
        let base = super::desk::base(parts, secure, listen);
        Self {
            base: format!("{base}{}", parts.uri.path()),
            query: parts.uri.query().unwrap_or_default().to_owned(),
        }
    }

    fn own(&self) -> String {
        self.with(&escaped(&self.query))
    }

    /// The same with another cursor, which stands for times too.
    fn after(&self, after: &str) -> String {
        let name = |pair: &&str| pair.split('=').next().unwrap_or_default().to_owned();
        let mut pairs: Vec<String> = self
            .query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .filter(|pair| !["after", "since"].contains(&name(pair).as_str()))
            .map(escaped)
            .collect();
        pairs.push(format!("after={after}"));
        self.with(&pairs.join("&"))
    }

    fn with(&self, query: &str) -> String {
        if query.is_empty() {
            self.base.clone()
        } else {
            format!("{}?{query}", self.base)
        }
    }
}

/// Clients split the header at commas and cut addresses at brackets.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            ',' | '<' | '>' | '"' | ';' | ' ' | '\\' => {
                out.push_str(&format!("%{:02X}", u32::from(character)));
            }
            other if other.is_ascii() => out.push(other),
            other => {
                let mut bytes = [0; 4];
                for byte in other.encode_utf8(&mut bytes).bytes() {
                    out.push_str(&format!("%{byte:02X}"));
                }
            }
        }
    }
    out
}

#[cfg(test)]
#[path = "logs_tests.rs"]
mod tests;
