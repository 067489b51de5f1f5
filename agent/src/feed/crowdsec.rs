//! A CrowdSec local API, asked as a bouncer asks: everything once, then what has changed.
//!
//! Decisions are held by their identifier, without the server's merging of those that name one value: deleting one
//! leaves the others. The server keeps for each key what it has told, so after any failure, and from time to time in
//! case somebody else uses the same key, everything is asked for again.

use std::{collections::HashMap, io::BufRead, mem};

use http::{HeaderMap, StatusCode, Uri};
use ipnet::IpNet;

use super::{
    body,
    client::refused,
    parse::{CrowdSecDecision, CrowdSecDelta, Report, Unfit, read_stream, seconds},
    round::{Brought, Harvested, Round, Trouble, aside, below, escaped},
};
use crate::config::feed::Filters;

/// How long deltas are believed, milliseconds.
const WHOLE_EVERY_MS: u64 = 3_600_000;
/// Different scenarios that are remembered by name.
const SCENARIOS_MAX: usize = 4_096;

/// What the local API has told.
#[derive(Default)]
pub(super) struct CrowdSec {
    held: HashMap<u64, Held>,
    scenarios: Vec<Box<str>>,
    numbers: HashMap<Box<str>, u16>,
    /// When everything was last asked for; `None` if that is due.
    whole_ms: Option<u64>,
}

#[derive(Clone, Copy)]
struct Held {
    prefix: IpNet,
    expires_s: u32,
    scenario: u16,
}

impl CrowdSec {
    pub(super) async fn round(
        &mut self,
        round: &Round<'_>,
        uri: &Uri,
        filters: &Filters,
    ) -> Result<Brought, Trouble> {
        // Taken out: should this round fail or be given up, the next one begins anew.
        let mut held = mem::take(self);
        let whole = held.is_due(round.now_ms) || round.forced;
        let uri = below(uri, "/v1/decisions/stream", &query(filters, whole))?;
        let client = round.client(&uri)?;
        let ask = round.ask(uri, HeaderMap::new())?;
        let answer = client
            .get(&ask, &round.scratch, round.feed.size_bytes_max)
            .await?;
        if answer.status != StatusCode::OK {
            return Err(refused(&answer, round.now_ms).into());
        }
        let (path, bytes_max) = (round.scratch.clone(), round.feed.size_bytes_max);
        let (now_ms, entries_max) = (round.now_ms, round.feed.entries_max);
        let (mut draft, terms) = (round.draft(), round.terms());
        let outcome = aside(move || {
            if whole {
                held = Self::default();
            }
            let source = body::open(&path, bytes_max).map_err(Unfit::Io)?;
            let (report, told) = held.take(source, now_ms, entries_max)?;
            let changed = told || whole;
            if changed {
                for decision in held.held.values() {
                    let scenario = held.scenarios.get(usize::from(decision.scenario));
                    let reason = scenario.map(AsRef::as_ref);
                    draft.push(decision.prefix, terms.score, decision.expires_s, reason)?;
                }
            }
            if whole {
                held.whole_ms = Some(now_ms);
            }
            Ok::<_, Unfit>((held, draft, report, changed))
        })
        .await?;
        let (held, draft, report, changed) = outcome?;
        *self = held;
        if !changed {
            return Ok(Brought::Unchanged {
                heard_ms: round.now_ms,
            });
        }
        Ok(Brought::Read(Box::new(Harvested {
            draft,
            report,
            mark: Default::default(),
            heard_ms: round.now_ms,
            whole: false,
        })))
    }

    fn is_due(&self, now_ms: u64) -> bool {
        self.whole_ms
            .is_none_or(|last| now_ms.saturating_sub(last) >= WHOLE_EVERY_MS)
    }

    /// Takes an answer over; whether that changes anything.
    fn take(
        &mut self,
        source: impl BufRead,
        now_ms: u64,
        entries_max: usize,
    ) -> Result<(Report, bool), Unfit> {
        let mut report = Report::default();
        let mut deltas = Vec::new();
        read_stream(source, &mut report, |delta| {
            if deltas.len() > entries_max.saturating_mul(2) {
                return Err(too_many(entries_max));
            }
            deltas.push(delta);
            Ok(())
        })?;
        let mut changed = false;
        // Deletions first: what is deleted and new at once is there.
        for delta in &deltas {
            if let CrowdSecDelta::Deleted(id) = delta {
                changed |= self.held.remove(id).is_some();
            }
        }
        for delta in deltas {
            if let CrowdSecDelta::New(decision) = delta {
                self.insert(&decision, now_ms);
                changed = true;
            }
        }
        let now_s = seconds(now_ms);
        self.held.retain(|_, held| held.expires_s > now_s);
        if self.held.len() > entries_max {
            return Err(too_many(entries_max));
        }
        Ok((report, changed))
    }

    fn insert(&mut self, decision: &CrowdSecDecision, now_ms: u64) {
        let scenario = self.scenario(&decision.scenario);
        let held = Held {
            prefix: decision.prefix,
            expires_s: seconds(now_ms.saturating_add(decision.left_ms)),
            scenario,
        };
        self.held.insert(decision.id, held);
    }

    fn scenario(&mut self, name: &str) -> u16 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        if self.scenarios.len() >= SCENARIOS_MAX {
            return u16::MAX;
        }
        let number = u16::try_from(self.scenarios.len()).unwrap_or(u16::MAX);
        self.scenarios.push(name.into());
        self.numbers.insert(name.into(), number);
        number
    }
}

fn too_many(entries_max: usize) -> Unfit {
    Unfit::Content(format!(
        "brings more than {entries_max} entries (entries_max)"
    ))
}

/// What is asked: one entry for each decision, and only what is about addresses.
fn query(filters: &Filters, whole: bool) -> String {
    let mut query = format!("startup={whole}&dedup=false&scopes=ip,range");
    for (name, words) in [
        ("origins", &filters.origins),
        ("scenarios_containing", &filters.scenarios_containing),
        (
            "scenarios_not_containing",
            &filters.scenarios_not_containing,
        ),
    ] {
        if !words.is_empty() {
            let words: Vec<String> = words.iter().map(|word| escaped(word)).collect();
            query.push_str(&format!("&{name}={}", words.join(",")));
        }
    }
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_800_000_000_000;

    fn decision(id: u64, value: &str, duration: &str) -> String {
        format!(
            r#"{{"id":{id},"duration":"{duration}","origin":"cscli","scenario":"s{id}","scope":"Ip","type":"ban","value":"{value}"}}"#
        )
    }

    fn told(state: &mut CrowdSec, new: &[String], deleted: &[String], now_ms: u64) -> bool {
        let text = format!(
            r#"{{"new":[{}],"deleted":[{}]}}"#,
            new.join(","),
            deleted.join(",")
        );
        state.take(text.as_bytes(), now_ms, 3).unwrap().1
    }

    fn held(state: &CrowdSec) -> Vec<u64> {
        let mut ids: Vec<u64> = state.held.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn of_several_decisions_for_one_value_each_goes_by_itself() {
        let mut state = CrowdSec::default();
        let new = [
            decision(1, "192.0.2.1", "1h"),
            decision(2, "192.0.2.1", "4h"),
        ];
        assert!(told(&mut state, &new, &[], NOW_MS));
        let gone = decision(2, "192.0.2.1", "-1s");
        assert!(told(&mut state, &[], std::slice::from_ref(&gone), NOW_MS));
        assert_eq!(held(&state), [1]);
        assert!(
            !told(&mut state, &[], &[gone], NOW_MS),
            "a deletion that repeats"
        );
        assert_eq!(held(&state), [1]);
        let again = decision(3, "192.0.2.1", "1h");
        assert!(told(
            &mut state,
            &[again],
            &[decision(1, "192.0.2.1", "-1s")],
            NOW_MS
        ));
        assert_eq!(held(&state), [3]);
        assert!(!told(&mut state, &[], &[], NOW_MS + 3_599_000));
        assert_eq!(held(&state), [3]);
        told(&mut state, &[], &[], NOW_MS + 3_600_000);
        assert_eq!(held(&state), [] as [u64; 0], "it ends by itself");
    }

    #[test]
    fn there_is_no_end_of_decisions_without_a_limit() {
        let mut state = CrowdSec::default();
        let text: Vec<String> = (0..9).map(|id| decision(id, "192.0.2.1", "1h")).collect();
        let text = format!(r#"{{"new":[{}],"deleted":null}}"#, text.join(","));
        let error = state.take(text.as_bytes(), NOW_MS, 3).unwrap_err();
        assert!(error.to_string().contains("entries_max"), "{error}");
    }

    #[test]
    fn the_query_names_what_is_wanted() {
        let filters = Filters {
            origins: vec!["cscli".to_owned(), "CAPI".to_owned()],
            scenarios_containing: vec!["ssh bf".to_owned()],
            scenarios_not_containing: Vec::new(),
        };
        assert_eq!(
            query(&filters, true),
            "startup=true&dedup=false&scopes=ip,range&origins=cscli,CAPI&scenarios_containing=ssh%20bf"
        );
    }
}
