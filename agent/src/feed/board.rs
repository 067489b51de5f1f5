//! What every feed is at, for `edgeward feed` and `status`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use super::parse::Report;
use crate::config::Feed;

/// How a feed is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// It has not been asked yet.
    #[default]
    New,
    /// What was read last is in force.
    Ok,
    /// It cannot be had; what was last good is in force.
    Failing,
    /// It was had and refused; what was last good is in force.
    Refused,
}

/// A line or an object that could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadPart {
    /// `line 12`, `data[3]`, …
    pub place: String,
    /// What is wrong with it.
    pub what: String,
}

/// One feed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FeedState {
    /// Its name.
    pub name: String,
    /// Its format.
    pub format: String,
    /// Where it is, without a query.
    pub source: String,
    /// How it is.
    pub health: Health,
    /// What is wrong, if anything is.
    pub error: Option<String>,
    /// Entries in force, ended ones included until the next refresh.
    pub entries: u64,
    /// Entries set apart, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Lines or objects of the last reading.
    pub seen: u64,
    /// Those that could not be read.
    pub bad: u64,
    /// The first of them.
    pub bad_parts: Vec<BadPart>,
    /// Those that were about something else, by what that is.
    pub skipped: BTreeMap<String, u64>,
    /// When the feed was last heard of, milliseconds since the Unix epoch.
    pub heard: Option<u64>,
    /// When it was last asked.
    pub tried: Option<u64>,
    /// When it is asked next.
    pub next: Option<u64>,
    /// When entries without an end of their own end.
    pub until: Option<u64>,
    /// Rounds since the agent's start that brought something.
    pub fetched: u64,
    /// Rounds that brought nothing new.
    pub unchanged: u64,
    /// Rounds whose content was refused.
    pub rejected: u64,
    /// Rounds that failed.
    pub failed: u64,
}

/// The states of all feeds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Board(Arc<Mutex<BTreeMap<String, FeedState>>>);

impl Board {
    /// What is known of the feeds of a configuration, in that order.
    pub(crate) fn states(&self, feeds: &[Feed]) -> Vec<FeedState> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        feeds
            .iter()
            .map(|feed| match known.get(&feed.name) {
                Some(state) => state.clone(),
                None => blank(feed),
            })
            .collect()
    }

    /// Changes what is known of a feed.
    pub(super) fn change(&self, feed: &Feed, change: impl FnOnce(&mut FeedState)) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(
            known
                .entry(feed.name.clone())
                .or_insert_with(|| blank(feed)),
        );
    }

    /// A feed begins anew, with what its configuration says now.
    pub(super) fn begin(&self, feed: &Feed) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(feed.name.clone(), blank(feed));
    }

    pub(super) fn retain(&self, feeds: &[Feed]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|name, _| feeds.iter().any(|feed| feed.name == *name));
    }
}

impl FeedState {
    /// Takes over what a reading came to.
    pub(super) fn report(&mut self, report: &Report) {
        self.seen = report.seen;
        self.bad = report.bad;
        self.bad_parts = report
            .bad_kept
            .iter()
            .map(|bad| BadPart {
                place: bad.place.clone(),
                what: bad.what.clone(),
            })
            .collect();
        self.skipped = report
            .skipped
            .iter()
            .map(|(what, count)| ((*what).to_owned(), *count))
            .collect();
    }
}

fn blank(feed: &Feed) -> FeedState {
    FeedState {
        name: feed.name.clone(),
        format: feed.format.name().to_owned(),
        source: feed.source.to_string(),
        ..FeedState::default()
    }
}
