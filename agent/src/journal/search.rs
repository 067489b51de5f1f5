//! Finding events: by time, filter and words, a page at a time.
//!
//! What events have in common (type, outcome, reason, severity, service) is kept once a slice, as classes. A filter is
//! first put to the classes: most are out of the question or match as a whole, and the query names those that are left.
//! An address, a user or an id in the filter is looked up by its index. Only what is still open after that is decided
//! event by event.

use std::{
    cmp::{Ordering, Reverse},
    fmt,
    str::FromStr,
    sync::Arc,
};

use rusqlite::{Connection, ToSql, params_from_iter};
use serde_json::Value;

use super::{
    error::JournalError,
    filter::Filter,
    plan::{Plan, Way},
    reader::{Entry, Reader},
    slice::{Slice, whole},
};

/// What is looked for.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Not before, milliseconds since the Unix epoch.
    pub since_ms: Option<u64>,
    /// Before, milliseconds since the Unix epoch.
    pub until_ms: Option<u64>,
    /// Behind the place where an earlier page ended.
    pub after: Option<Cursor>,
    /// What must hold of them.
    pub filter: Option<Filter>,
    /// Each must occur somewhere in an event's values, whatever its case.
    pub words: Vec<String>,
    /// At most so many.
    pub limit: usize,
    /// The latest first.
    pub descending: bool,
    /// In which order.
    pub by: Order,
}

/// The order of a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// As they were written down: who polls misses none.
    #[default]
    Persistence,
    /// As they happened.
    Published,
}

/// A place between two events. It holds over restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The time of the event before it, milliseconds since the Unix epoch.
    pub published_ms: u64,
    /// Its sequence number.
    pub seq: u64,
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// In the order that was asked for.
    pub entries: Vec<Entry>,
    /// Where to go on; none while nothing was looked at.
    pub next: Option<Cursor>,
    /// There is no more.
    pub complete: bool,
}

/// A slice and the way through it.
struct Planned {
    slice: Arc<Slice>,
    plan: Plan,
}

impl Reader {
    /// One page. It may end early, with few or no events, when very many had to be looked at: [`Page::complete`] says
    /// whether there is more.
    ///
    /// # Errors
    /// The disk refuses, or a file is damaged.
    pub fn search(&self, query: &Query) -> Result<Page, JournalError> {
        let mut slices = self.shared.slices();
        slices.retain(|slice| query.may_be_in(slice, query.after));
        match (query.by, query.descending) {
            (Order::Published, false) => {
                slices.sort_by_key(|slice| slice.with(|summary| summary.min_ms))
            }
            (Order::Published, true) => {
                slices.sort_by_key(|slice| Reverse(slice.with(|summary| summary.max_ms)))
            }
            (Order::Persistence, true) => slices.reverse(),
            (Order::Persistence, false) => {}
        }
        let planned: Vec<Planned> = slices
            .into_iter()
            .filter_map(|slice| {
                let plan = slice.with(|summary| Plan::of(query, summary))?;
                Some(Planned { slice, plan })
            })
            .collect();
        let mut page = Page {
            entries: Vec::new(),
            next: query.after,
            complete: false,
        };
        let mut after = self.start(query)?;
        let mut looked = 0;
        loop {
            let wanted = query.limit.saturating_sub(page.entries.len());
            // With a filter that is decided event by event more are needed than are wanted.
            let rows_min = if planned.iter().all(|one| one.plan.exact) {
                1
            } else {
                ROWS_AT_ONCE_MIN
            };
            let rows_max = wanted.clamp(rows_min, ROWS_AT_ONCE_MAX);
            let rows = self.rows(&planned, query, after, rows_max)?;
            let end = rows.len() < rows_max;
            for (entry, exact) in rows {
                if page.entries.len() >= query.limit || looked >= ROWS_LOOKED_AT_MAX {
                    return Ok(page);
                }
                looked += 1;
                let cursor = Cursor {
                    published_ms: entry.published_ms,
                    seq: entry.seq,
                };
                (after, page.next) = (Some(cursor), Some(cursor));
                if exact || query.matches(&entry) {
                    page.entries.push(entry);
                }
            }
            if end {
                page.complete = true;
                return Ok(page);
            }
        }
    }

    /// Where a page begins. In the order of persistence nothing that was written long before `since` is of interest.
    fn start(&self, query: &Query) -> Result<Option<Cursor>, JournalError> {
        let (Order::Persistence, false, Some(since)) = (query.by, query.descending, query.since_ms)
        else {
            return Ok(query.after);
        };
        let early = self
            .seq_at(since.saturating_sub(LATE_MS_MAX))?
            .saturating_sub(1);
        let seq = query.after.map_or(early, |after| after.seq.max(early));
        Ok(Some(Cursor {
            published_ms: 0,
            seq,
        }))
    }

    /// The next rows of all slices, in order, each with whether it needs no further look.
    fn rows(
        &self,
        planned: &[Planned],
        query: &Query,
        after: Option<Cursor>,
        rows_max: usize,
    ) -> Result<Vec<(Entry, bool)>, JournalError> {
        let mut rows: Vec<(Entry, bool)> = Vec::new();
        for Planned { slice, plan } in planned {
            if !query.may_be_in(slice, after) {
                continue;
            }
            // Rows enough, and all of this slice's come behind them.
            if let Some((last, _)) = rows.get(rows_max.saturating_sub(1))
                && query.is_behind(slice, last)
            {
                break;
            }
            let found = self.with(slice, |connection| {
                plan.rows(connection, query, after, rows_max)
            })?;
            rows.extend(found.into_iter().map(|entry| (entry, plan.exact)));
            rows.sort_by(|(one, _), (other, _)| query.order(one, other));
            rows.truncate(rows_max);
        }
        Ok(rows)
    }
}

impl Query {
    /// Whether any event of a slice can be asked for.
    fn may_be_in(&self, slice: &Slice, after: Option<Cursor>) -> bool {
        slice.with(|summary| {
            let empty = summary.last < slice.first;
            let early = self.since_ms.is_some_and(|since| summary.max_ms < since);
            let late = self.until_ms.is_some_and(|until| summary.min_ms >= until);
            let behind = after.is_some_and(|after| match (self.by, self.descending) {
                (Order::Persistence, false) => summary.last <= after.seq,
                (Order::Persistence, true) => slice.first >= after.seq,
                (Order::Published, false) => summary.max_ms < after.published_ms,
                (Order::Published, true) => summary.min_ms > after.published_ms,
            });
            !(empty || early || late || behind)
        })
    }

    /// Whether every event of a slice comes behind this one.
    fn is_behind(&self, slice: &Slice, last: &Entry) -> bool {
        match (self.by, self.descending) {
            (Order::Persistence, _) => true,
            (Order::Published, false) => slice.with(|summary| summary.min_ms > last.published_ms),
            (Order::Published, true) => slice.with(|summary| summary.max_ms < last.published_ms),
        }
    }

    fn order(&self, one: &Entry, other: &Entry) -> Ordering {
        let key = |entry: &Entry| match self.by {
            Order::Persistence => (0, entry.seq),
            Order::Published => (entry.published_ms, entry.seq),
        };
        let order = key(one).cmp(&key(other));
        if self.descending {
            order.reverse()
        } else {
            order
        }
    }

    /// Filter and words, on the event as readers see it.
    fn matches(&self, entry: &Entry) -> bool {
        let event = entry.log_event();
        let filter = self.filter.as_ref();
        filter.is_none_or(|filter| filter.matches(&event))
            && self.words.iter().all(|word| contains(&event, word))
    }
}

impl Plan {
    /// The next rows of a slice, in order.
    fn rows(
        &self,
        connection: &Connection,
        query: &Query,
        after: Option<Cursor>,
        rows_max: usize,
    ) -> rusqlite::Result<Vec<Entry>> {
        self.along(&self.way, connection, query, after, rows_max)
    }

    fn along(
        &self,
        way: &Way,
        connection: &Connection,
        query: &Query,
        after: Option<Cursor>,
        rows_max: usize,
    ) -> rusqlite::Result<Vec<Entry>> {
        let mut rows = Vec::new();
        match way {
            Way::Either(ways) => {
                for way in ways {
                    rows.extend(self.along(way, connection, query, after, rows_max)?);
                }
                rows.sort_by(|one, other| query.order(one, other));
                // More than one of the ways may lead to an event.
                rows.dedup_by_key(|entry| entry.seq);
                rows.truncate(rows_max);
            }
            Way::Classes(classes) => {
                for class in classes {
                    let select = Select::new(query, after).with("class = ?", *class);
                    rows.extend(select.rows(connection, "INDEXED BY event_by_class", rows_max)?);
                }
                rows.sort_by(|one, other| query.order(one, other));
                rows.truncate(rows_max);
            }
            Way::Address(address) => {
                let select =
                    self.of_classes(Select::new(query, after).with("address = ?", address.clone()));
                rows = select.rows(connection, "INDEXED BY event_by_address", rows_max)?;
            }
            Way::User(user) => {
                let select =
                    self.of_classes(Select::new(query, after).with("user = ?", user.clone()));
                rows = select.rows(connection, "INDEXED BY event_by_user", rows_max)?;
            }
            Way::At(published_ms) => {
                let select = Select::new(query, after).with("published = ?", whole(*published_ms));
                rows = select.rows(connection, "INDEXED BY event_by_time", rows_max)?;
            }
            Way::Through => {
                let select = self.of_classes(Select::new(query, after));
                let index = match query.by {
                    Order::Persistence => "NOT INDEXED",
                    Order::Published => "INDEXED BY event_by_time",
                };
                rows = select.rows(connection, index, rows_max)?;
            }
        }
        Ok(rows)
    }

    fn of_classes(&self, select: Select) -> Select {
        match &self.classes {
            None => select,
            Some(classes) => {
                let list: Vec<String> = classes.iter().map(ToString::to_string).collect();
                select.also(&format!("class IN ({})", list.join(",")))
            }
        }
    }
}

/// A query of one slice while it is put together.
struct Select {
    conditions: Vec<String>,
    parameters: Vec<Box<dyn ToSql>>,
    order: &'static str,
}

impl Select {
    fn new(query: &Query, after: Option<Cursor>) -> Self {
        let mut select = Self {
            conditions: Vec::new(),
            parameters: Vec::new(),
            order: match (query.by, query.descending) {
                (Order::Persistence, false) => "seq",
                (Order::Persistence, true) => "seq DESC",
                (Order::Published, false) => "published, seq",
                (Order::Published, true) => "published DESC, seq DESC",
            },
        };
        if let Some(since) = query.since_ms {
            select = select.with("published >= ?", whole(since));
        }
        if let Some(until) = query.until_ms {
            select = select.with("published < ?", whole(until));
        }
        if let Some(after) = after {
            let (seq, published) = (whole(after.seq), whole(after.published_ms));
            select = match (query.by, query.descending) {
                (Order::Persistence, false) => select.with("seq > ?", seq),
                (Order::Persistence, true) => select.with("seq < ?", seq),
                (Order::Published, false) => select
                    .with("published >= ?", published)
                    .with("(published > ? ", published)
                    .or("seq > ?)", seq),
                (Order::Published, true) => select
                    .with("published <= ?", published)
                    .with("(published < ? ", published)
                    .or("seq < ?)", seq),
            };
        }
        select
    }

    fn with(mut self, condition: &str, value: impl ToSql + 'static) -> Self {
        self.conditions.push(condition.to_owned());
        self.parameters.push(Box::new(value));
        self
    }

    fn or(mut self, condition: &str, value: impl ToSql + 'static) -> Self {
        if let Some(last) = self.conditions.last_mut() {
            last.push_str("OR ");
            last.push_str(condition);
        }
        self.parameters.push(Box::new(value));
        self
    }

    fn also(mut self, condition: &str) -> Self {
        self.conditions.push(condition.to_owned());
        self
    }

    fn rows(
        self,
        connection: &Connection,
        index: &str,
        rows_max: usize,
    ) -> rusqlite::Result<Vec<Entry>> {
        let Self {
            conditions,
            parameters,
            order,
        } = self;
        let conditions = if conditions.is_empty() {
            "1".to_owned()
        } else {
            conditions.join(" AND ")
        };
        let text = format!(
            "SELECT seq, published, facts FROM event {index} WHERE {conditions} ORDER BY {order} LIMIT {rows_max}"
        );
        let mut statement = connection.prepare_cached(&text)?;
        let rows = statement.query_map(params_from_iter(parameters), Entry::of)?;
        rows.collect()
    }
}

/// Whether a word (in lower case) is part of any value.
fn contains(value: &Value, word: &str) -> bool {
    match value {
        Value::String(text) => text.to_lowercase().contains(word),
        Value::Array(values) => values.iter().any(|value| contains(value, word)),
        Value::Object(members) => members.values().any(|value| contains(value, word)),
        Value::Number(number) => number.to_string().contains(word),
        Value::Bool(_) | Value::Null => false,
    }
}

/// Letters and digits alone: it goes into URLs as it is.
impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}{:x}", self.published_ms, self.seq)
    }
}

impl FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (published, seq) = text.split_at_checked(12).ok_or(())?;
        let number = |text: &str| {
            let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            plain
                .then(|| u64::from_str_radix(text, 16).ok())
                .flatten()
                .ok_or(())
        };
        Ok(Self {
            published_ms: number(published)?,
            seq: number(seq)?,
        })
    }
}

/// Events that a page looks at before it ends early.
const ROWS_LOOKED_AT_MAX: usize = 50_000;
/// How much later than it happened an event may be written down: a summary at the end of its window, and whatever
/// waits for a disk.
const LATE_MS_MAX: u64 = 600_000;
const ROWS_AT_ONCE_MAX: usize = 1_000;
const ROWS_AT_ONCE_MIN: usize = 500;
