//! Floods are summarised: of what one source does over and over the first events are kept one by one, the others of
//! the same window become one event with a count. Nothing is sampled: the counts add up to what happened.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use serde_json::{Map, Value};

use super::record::Record;

/// What is gathered at the moment.
#[derive(Debug, Default)]
pub(super) struct Folds {
    open: HashMap<u64, Open>,
    /// In the order of their ends.
    ends: VecDeque<(u64, u64)>,
    /// Events that are part of a summary, since the start.
    folded: u64,
}

#[derive(Debug)]
struct Open {
    single: u32,
    gathered: Option<Box<Gathered>>,
}

#[derive(Debug)]
struct Gathered {
    count: u64,
    suppressed: u64,
    first_ms: u64,
    last_ms: u64,
    like: Record,
}

impl Folds {
    /// Takes an event in, or gives it back to be kept by itself. With `pressure` only one of a kind is.
    pub(super) fn take(&mut self, record: Record, now_ms: u64, pressure: bool) -> Option<Record> {
        let Some(fold) = record.fold else {
            return Some(record);
        };
        if let Some(open) = self.open.get_mut(&fold.key) {
            let single_max = if pressure { 1 } else { fold.single_max };
            if open.single < single_max {
                open.single += 1;
                return Some(record);
            }
            self.folded = self.folded.saturating_add(1);
            match &mut open.gathered {
                Some(gathered) => gathered.add(&record),
                None => open.gathered = Some(Box::new(Gathered::first(record))),
            }
            return None;
        }
        // Without room an event is kept by itself: summaries save space, they lose nothing.
        if self.open.len() < OPEN_MAX {
            let open = Open {
                single: 1,
                gathered: None,
            };
            self.open.insert(fold.key, open);
            self.ends
                .push_back((now_ms.saturating_add(WINDOW_MS), fold.key));
        }
        Some(record)
    }

    /// The summaries of windows that have ended; of all, if `all`.
    pub(super) fn ended(
        &mut self,
        now_ms: u64,
        all: bool,
        mut id: impl FnMut(u64) -> String,
    ) -> Vec<Record> {
        let mut out = Vec::new();
        while let Some((end, key)) = self.ends.front().copied() {
            if end > now_ms && !all {
                break;
            }
            self.ends.pop_front();
            let gathered = self.open.remove(&key).and_then(|open| open.gathered);
            out.extend(gathered.and_then(|gathered| gathered.summary(&mut id)));
        }
        out
    }

    /// Events that are part of a summary, since the start.
    pub(super) const fn folded(&self) -> u64 {
        self.folded
    }
}

impl Gathered {
    fn first(record: Record) -> Self {
        Self {
            count: 1,
            suppressed: suppressed(&record),
            first_ms: record.published_ms,
            last_ms: record.published_ms,
            like: record,
        }
    }

    fn add(&mut self, record: &Record) {
        self.count = self.count.saturating_add(1);
        self.suppressed = self.suppressed.saturating_add(suppressed(record));
        self.first_ms = self.first_ms.min(record.published_ms);
        self.last_ms = self.last_ms.max(record.published_ms);
    }

    /// One event for all that were gathered. Of their facts it has those of the first, but for what differs from one
    /// to the next.
    fn summary(self, mut id: impl FnMut(u64) -> String) -> Option<Record> {
        let mut facts: Map<String, Value> = serde_json::from_str(&self.like.line).ok()?;
        if self.count > 1 {
            for key in DIFFERING {
                facts.remove(key);
            }
            facts.insert("count".to_owned(), self.count.into());
            facts.insert("first_seen".to_owned(), self.first_ms.into());
            facts.insert("last_seen".to_owned(), self.last_ms.into());
            facts.insert("id".to_owned(), id(self.last_ms).into());
            facts.insert("time".to_owned(), self.last_ms.into());
        }
        if facts.contains_key("suppressed") {
            facts.insert("suppressed".to_owned(), self.suppressed.into());
        }
        let mut record = Record::of(&facts, Arc::from(Value::Object(facts.clone()).to_string()));
        record.fold = None;
        Some(record)
    }
}

/// What the event itself says that it stands for. Cut out of the text: a flood is no time to parse JSON.
fn suppressed(record: &Record) -> u64 {
    let Some((_, after)) = record.line.split_once("\"suppressed\":") else {
        return 0;
    };
    let digits = after.bytes().take_while(u8::is_ascii_digit).count();
    after
        .get(..digits)
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0)
}

/// For how long events are gathered into one.
pub(super) const WINDOW_MS: u64 = 60_000;
/// Sources and classes that are gathered at once.
const OPEN_MAX: usize = 16_384;
/// Facts of single events that a summary does not claim for all.
const DIFFERING: [&str; 8] = [
    "source_port",
    "user",
    "user_agent",
    "path",
    "method",
    "host",
    "length",
    "stands_for_others",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(source: &str, time: u64, suppressed: u64) -> Record {
        let facts = json!({
            "event": "security.threat.detected", "id": format!("{source}-{time}"), "time": time, "source": source,
            "source_port": time % 60_000, "outcome": "DENY", "reason": "reputation", "suppressed": suppressed,
        });
        let Value::Object(facts) = facts else {
            panic!("an object")
        };
        let line = Value::Object(facts.clone()).to_string();
        Record::of(&facts, Arc::from(line))
    }

    #[test]
    fn the_counts_of_a_flood_add_up() {
        let mut folds = Folds::default();
        let mut made = 0;
        let mut kept = Vec::new();
        for time in 0..200_000_u64 {
            let source = format!("192.0.2.{}", time % 7);
            kept.extend(folds.take(record(&source, time, 2), time, false));
            kept.extend(folds.ended(time, false, |_| {
                made += 1;
                format!("summary-{made}")
            }));
        }
        kept.extend(folds.ended(200_000, true, |_| "last".to_owned()));
        let facts = |record: &Record| serde_json::from_str::<Value>(&record.line).expect("JSON");
        let count: u64 = kept
            .iter()
            .map(|record| facts(record)["count"].as_u64().unwrap_or(1))
            .sum();
        let suppressed: u64 = kept
            .iter()
            .map(|record| facts(record)["suppressed"].as_u64().unwrap_or(0))
            .sum();
        assert_eq!((count, suppressed), (200_000, 400_000));
        assert!(
            kept.len() < 100,
            "{} events for a flood of 200,000",
            kept.len()
        );
        let summary = facts(kept.last().expect("a summary"));
        assert!(summary.get("source_port").is_none(), "{summary}");
        assert_eq!(summary["id"], "last");
    }

    #[test]
    fn without_room_events_are_kept_one_by_one() {
        let mut folds = Folds::default();
        let many = u64::try_from(OPEN_MAX).expect("fits") + 10;
        for time in 0..many {
            let source = format!("10.{}.{}.{}", time >> 16, time >> 8 & 255, time & 255);
            assert!(folds.take(record(&source, time, 0), 0, false).is_some());
        }
        assert!(folds.take(record("10.0.0.0", 1, 0), 0, false).is_none());
        let source = format!(
            "10.{}.{}.{}",
            many >> 16,
            (many - 1) >> 8 & 255,
            (many - 1) & 255
        );
        assert!(folds.take(record(&source, 1, 0), 0, false).is_some());
    }
}
