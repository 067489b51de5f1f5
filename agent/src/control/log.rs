//! `log`: a page of the System Log, read by the connection that asks for it.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{task::spawn_blocking, time::timeout};

use super::{EventFeed, Failure, FailureKind, protocol::LogQuery};
use crate::journal::{Cursor, Filter, Order, Page, Query};

/// Answers with a page: `events` in Okta's shape, `next` and `complete`. If there is nothing behind `after` yet, it
/// waits a while for something to come.
pub(super) async fn answer(feed: &EventFeed, asked: LogQuery) -> Result<Value, Failure> {
    let Some(log) = feed.log() else {
        return Err(Failure::new(
            FailureKind::Unavailable,
            "the System Log is not open yet; try again",
        ));
    };
    let reader = log.reader();
    let mut committed = reader.committed();
    let wait = Duration::from_millis(asked.wait_ms.min(WAIT_MS_MAX));
    let query = query(asked)?;
    let mut page = search(&reader, query.clone()).await?;
    if page.entries.is_empty() && page.complete && !wait.is_zero() {
        // An error says that the log has ended; the page is what it is.
        let came = timeout(wait, committed.changed()).await;
        if matches!(came, Ok(Ok(()))) {
            page = search(&reader, query).await?;
        }
    }
    let events: Vec<Value> = page
        .entries
        .iter()
        .map(crate::journal::Entry::log_event)
        .collect();
    Ok(json!({
        "events": events,
        "next": page.next.map(|next| next.to_string()),
        "complete": page.complete,
    }))
}

async fn search(reader: &crate::journal::Reader, query: Query) -> Result<Page, Failure> {
    let reader = reader.clone();
    let found = spawn_blocking(move || reader.search(&query)).await;
    let internal = |what: String| Failure::new(FailureKind::Internal, what);
    found
        .map_err(|error| internal(error.to_string()))?
        .map_err(|error| internal(format!("the System Log: {error}")))
}

fn query(asked: LogQuery) -> Result<Query, Failure> {
    let usage = |what: String| Failure::new(FailureKind::Usage, what);
    let filter = asked
        .filter
        .as_deref()
        .map(|text| Filter::parse(text).map_err(|error| usage(format!("filter: {error}"))))
        .transpose()?;
    let after = asked
        .after
        .as_deref()
        .map(|text| {
            text.parse::<Cursor>()
                .map_err(|()| usage(format!("`{text}` is no place in the log")))
        })
        .transpose()?;
    let words = asked.q.unwrap_or_default();
    let words = words.split_whitespace().map(str::to_lowercase);
    Ok(Query {
        since_ms: asked.since_ms,
        until_ms: asked.until_ms,
        after,
        filter,
        words: words.take(WORDS_MAX).collect(),
        limit: asked.limit.min(LIMIT_MAX),
        descending: asked.descending,
        by: if asked.persistence {
            Order::Persistence
        } else {
            Order::Published
        },
    })
}

/// Events of one page.
const LIMIT_MAX: usize = 1_000;
const WAIT_MS_MAX: u64 = 30_000;
const WORDS_MAX: usize = 10;
