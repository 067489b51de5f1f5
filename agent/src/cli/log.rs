//! `log`: the System Log, searched and followed.

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::{Context, Outcome, Trouble, lifetime};
use crate::{
    control::{LogQuery, Request},
    moment::moment,
};

/// `edgeward log`. With --json one event a line.
#[derive(Debug, Args)]
pub(super) struct Log {
    /// Not before: a moment (2026-11-22T08:00:00Z, a date) or how long ago (24h, 7d)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before: likewise
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// What must hold: `eventType eq "security.threat.detected" and outcome.result eq "DENY"`
    #[arg(long, value_name = "EXPRESSION")]
    filter: Option<String>,
    /// Words that must occur in an event, in any case
    #[arg(long, value_name = "WORDS")]
    q: Option<String>,
    /// At most this many, the latest ones
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Stay and print what comes
    #[arg(long, short, conflicts_with = "until")]
    follow: bool,
}

impl Log {
    pub(super) fn execute(self, context: &mut Context<'_>) -> Outcome {
        let since = self
            .since
            .as_deref()
            .map(|text| at(text, context.now))
            .transpose()?;
        let until = self
            .until
            .as_deref()
            .map(|text| at(text, context.now))
            .transpose()?;
        let query = LogQuery {
            since_ms: since,
            until_ms: until,
            filter: self.filter.clone(),
            q: self.q.clone(),
            ..LogQuery::default()
        };
        // Where following begins is asked for first, so that nothing falls in between.
        let place = if self.follow {
            self.end(context, &query)?
        } else {
            None
        };
        for event in self.latest(context, &query)?.iter().rev() {
            print(context, event)?;
        }
        if self.follow {
            self.follow(context, &query, place)?;
        }
        Ok(())
    }

    /// The latest events, the latest first.
    fn latest(&self, context: &mut Context<'_>, query: &LogQuery) -> Result<Vec<Value>, Trouble> {
        let mut found = Vec::new();
        let mut after = None;
        while found.len() < self.limit {
            let asked = LogQuery {
                limit: (self.limit - found.len()).min(PAGE),
                descending: true,
                after: after.take(),
                ..query.clone()
            };
            let page = Page::ask(context, asked)?;
            found.extend(page.events);
            if page.complete {
                break;
            }
            after = page.next;
        }
        Ok(found)
    }

    /// The place behind the last event of all.
    fn end(&self, context: &mut Context<'_>, _query: &LogQuery) -> Result<Option<String>, Trouble> {
        let asked = LogQuery {
            limit: 1,
            descending: true,
            persistence: true,
            ..LogQuery::default()
        };
        Ok(Page::ask(context, asked)?.next)
    }

    fn follow(
        &self,
        context: &mut Context<'_>,
        query: &LogQuery,
        mut place: Option<String>,
    ) -> Outcome {
        loop {
            context.out.flush().map_err(Trouble::Output)?;
            let asked = LogQuery {
                since_ms: None,
                limit: PAGE,
                persistence: true,
                after: place.clone(),
                wait_ms: WAIT_MS,
                ..query.clone()
            };
            let page = Page::ask(context, asked)?;
            for event in &page.events {
                print(context, event)?;
            }
            place = page.next.or(place);
        }
    }
}

/// A page of an answer.
struct Page {
    events: Vec<Value>,
    next: Option<String>,
    complete: bool,
}

impl Page {
    fn ask(context: &mut Context<'_>, query: LogQuery) -> Result<Self, Trouble> {
        let mut data = context.ask_patiently(Request::Log(query), PATIENCE)?;
        let events = match data.get_mut("events").map(Value::take) {
            Some(Value::Array(events)) => events,
            _ => Vec::new(),
        };
        Ok(Self {
            events,
            next: data.get("next").and_then(Value::as_str).map(str::to_owned),
            complete: data
                .get("complete")
                .and_then(Value::as_bool)
                .unwrap_or(true),
        })
    }
}

pub(super) fn at(text: &str, now: u64) -> Result<u64, Trouble> {
    if let Ok(ago) = lifetime(text) {
        return Ok(now.saturating_sub(ago));
    }
    moment(text).ok_or_else(|| {
        Trouble::Usage(format!(
            "`{text}` is no time: write 2026-11-22T08:00:00Z, 2026-11-22, or how long ago, such as 24h"
        ))
    })
}

fn print(context: &mut Context<'_>, event: &Value) -> Outcome {
    if context.json {
        return context.line(format_args!("{event}"));
    }
    let part = |path: &str| event.pointer(path).and_then(Value::as_str).unwrap_or("-");
    let mut line = format!(
        "{}  {:5}  {}  {}",
        part("/published"),
        part("/severity"),
        part("/eventType"),
        part("/outcome/result"),
    );
    for (name, path) in COLUMNS {
        if let Some(value) = event.pointer(path).and_then(Value::as_str) {
            line.push_str(&format!("  {name}={value}"));
        }
    }
    context.line(format_args!("{line}"))
}

/// What a line has besides: the name and where it is.
const COLUMNS: [(&str, &str); 8] = [
    ("client", "/client/ipAddress"),
    ("actor", "/actor/displayName"),
    ("reason", "/outcome/reason"),
    ("service", "/debugContext/debugData/service"),
    ("target", "/target/0/displayName"),
    ("count", "/debugContext/debugData/count"),
    ("suppressed", "/debugContext/debugData/suppressed"),
    ("id", "/uuid"),
];
const PAGE: usize = 1_000;
const WAIT_MS: u64 = 20_000;
const PATIENCE: Duration = Duration::from_secs(60);
