//! A TAXII 2.1 server: the indicators of its collections, everything once and then what was added.
//!
//! Objects are held by their identifier: a later version replaces an earlier one, a revoked one goes. What a server
//! deletes is not told by it, so everything is asked for again once a day and after a failure.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
};

use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use ipnet::IpNet;
use serde::Deserialize;

use super::{
    body,
    client::{Answer, Client, Failure, refused},
    parse::{Envelope, Indicator, Report, Unfit, read_objects, seconds},
    round::{Brought, Harvested, Round, Trouble, aside, below, escaped},
};

/// How long additions are believed, milliseconds.
const WHOLE_EVERY_MS: u64 = 86_400_000;
/// Pages of one collection in one round.
const PAGES_MAX: u32 = 10_000;
/// Objects asked for at once.
const PAGE_OBJECTS: u32 = 1_000;
/// Collections of one API root.
const COLLECTIONS_MAX: usize = 256;
/// The longest mark of a page, in bytes.
const MARK_BYTES_MAX: usize = 2_048;
/// Content type of TAXII 2.1.
const TYPE: &str = "application/taxii+json;version=2.1";

/// What the server has told.
#[derive(Default)]
pub(super) struct Taxii {
    held: Objects,
    /// By collection, when what was seen last had been added, in the server's words.
    added: BTreeMap<String, String>,
    /// When everything was last asked for; `None` if that is due.
    whole_ms: Option<u64>,
}

/// Indicators by identifier.
#[derive(Default)]
struct Objects {
    by_id: HashMap<Box<str>, Held>,
    networks: usize,
}

struct Held {
    modified_ms: u64,
    expires_s: u32,
    confidence: Option<u8>,
    name: Option<Box<str>>,
    networks: Box<[IpNet]>,
}

#[derive(Deserialize)]
struct Collections {
    #[serde(default)]
    collections: Vec<Collection>,
}

#[derive(Deserialize)]
struct Collection {
    id: String,
    #[serde(default)]
    can_read: bool,
}

impl Taxii {
    pub(super) async fn round(
        &mut self,
        round: &Round<'_>,
        root: &Uri,
        collections: &[String],
    ) -> Result<Brought, Trouble> {
        // Taken out: should this round fail or be given up, the next one begins anew.
        let mut state = mem::take(self);
        let due = state
            .whole_ms
            .is_none_or(|last| round.now_ms.saturating_sub(last) >= WHOLE_EVERY_MS);
        let whole = due || round.forced;
        if whole {
            state = Self::default();
        }
        let client = round.client(root)?;
        let mut report = Report::default();
        let names = if collections.is_empty() {
            readable(round, &client, root).await?
        } else {
            collections.to_vec()
        };
        let mut changed = whole;
        for name in &names {
            changed |= state
                .collection(round, &client, root, name, &mut report)
                .await?;
        }
        changed |= state.held.end(seconds(round.now_ms));
        if whole {
            state.whole_ms = Some(round.now_ms);
        }
        let outcome = if changed {
            let (mut draft, terms) = (round.draft(), round.terms());
            let (state_back, draft) = aside(move || {
                for held in state.held.by_id.values() {
                    let Some(score) = terms.score_of(held.confidence) else {
                        continue;
                    };
                    for network in &held.networks {
                        draft.push(*network, score, held.expires_s, held.name.as_deref())?;
                    }
                }
                Ok::<_, Unfit>((state, draft))
            })
            .await??;
            state = state_back;
            Brought::Read(Box::new(Harvested {
                draft,
                report,
                mark: Default::default(),
                heard_ms: round.now_ms,
                whole,
            }))
        } else {
            Brought::Unchanged {
                heard_ms: round.now_ms,
            }
        };
        *self = state;
        Ok(outcome)
    }

    /// Reads what a collection has new; whether that changes anything.
    async fn collection(
        &mut self,
        round: &Round<'_>,
        client: &Client,
        root: &Uri,
        name: &str,
        report: &mut Report,
    ) -> Result<bool, Trouble> {
        let mut changed = false;
        let mut next: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let mut query = format!("limit={PAGE_OBJECTS}&match%5Btype%5D=indicator");
            if let Some(added) = self.added.get(name) {
                query.push_str(&format!("&added_after={}", escaped(added)));
            }
            if let Some(next) = &next {
                query.push_str(&format!("&next={}", escaped(next)));
            }
            let path = format!("/collections/{}/objects/", escaped(name));
            let answer = get(round, client, below(root, &path, &query)?).await?;
            let last = header_text(&answer, "x-taxii-date-added-last");
            let before = report.seen;
            let envelope = self.page(round, report, &mut changed).await?;
            let brought = report.seen > before;
            let more = envelope.more;
            let mark = envelope.next.filter(|mark| mark.len() <= MARK_BYTES_MAX);
            if !more {
                self.added.extend(last.map(|last| (name.to_owned(), last)));
                return Ok(changed);
            }
            match (mark, last) {
                // Some servers give the same mark for every page.
                (Some(mark), _) if brought || Some(&mark) != next.as_ref() => next = Some(mark),
                // A server without marks goes on behind the last date.
                (None, Some(last)) if self.added.get(name) != Some(&last) => {
                    self.added.insert(name.to_owned(), last);
                }
                _ => {
                    return Err(Trouble::Refused(
                        "says that there is more and not where".to_owned(),
                    ));
                }
            }
        }
        Err(Trouble::Refused(format!(
            "has more than {PAGES_MAX} pages in one collection"
        )))
    }

    async fn page(
        &mut self,
        round: &Round<'_>,
        report: &mut Report,
        changed: &mut bool,
    ) -> Result<Envelope, Trouble> {
        let (path, bytes_max) = (round.scratch.clone(), round.feed.size_bytes_max);
        let (now_ms, entries_max) = (round.now_ms, round.feed.entries_max);
        let mut objects = mem::take(&mut self.held);
        let outcome = aside(move || {
            let (mut part, mut any) = (Report::default(), false);
            let source = body::open(&path, bytes_max).map_err(Unfit::Io)?;
            let envelope = read_objects(source, &mut part, now_ms, |indicator| {
                any |= objects.take(indicator);
                if objects.networks > entries_max {
                    return Err(Unfit::Content(format!(
                        "brings more than {entries_max} entries (entries_max)"
                    )));
                }
                Ok(())
            })?;
            Ok::<_, Unfit>((objects, envelope, part, any))
        })
        .await?;
        let (objects, envelope, part, any) = outcome?;
        self.held = objects;
        report.add(part);
        *changed |= any;
        Ok(envelope)
    }
}

impl Objects {
    /// Takes a version of an object over; whether that changes anything.
    fn take(&mut self, indicator: Indicator) -> bool {
        let known = self.by_id.get(indicator.id.as_str());
        if known.is_some_and(|known| known.modified_ms > indicator.modified_ms) {
            return false;
        }
        let gone = self.by_id.remove(indicator.id.as_str());
        let before = gone.as_ref().map_or(0, |held| held.networks.len());
        self.networks = self.networks.saturating_sub(before);
        if indicator.revoked {
            return gone.is_some();
        }
        self.networks = self.networks.saturating_add(indicator.networks.len());
        let held = Held {
            modified_ms: indicator.modified_ms,
            expires_s: indicator.valid_until_ms.map_or(0, seconds),
            confidence: indicator.confidence,
            name: indicator.name.map(Into::into),
            networks: indicator.networks.into(),
        };
        self.by_id.insert(indicator.id.into(), held);
        true
    }

    /// Forgets what has ended; whether there was any.
    fn end(&mut self, now_s: u32) -> bool {
        let before = self.by_id.len();
        self.by_id
            .retain(|_, held| held.expires_s == 0 || held.expires_s > now_s);
        self.networks = self.by_id.values().map(|held| held.networks.len()).sum();
        self.by_id.len() != before
    }
}

/// The collections that may be read.
async fn readable(round: &Round<'_>, client: &Client, root: &Uri) -> Result<Vec<String>, Trouble> {
    get(round, client, below(root, "/collections/", "")?).await?;
    let (path, bytes_max) = (round.scratch.clone(), COLLECTIONS_BYTES_MAX);
    let found: Collections = aside(move || {
        let source = body::open(&path, bytes_max)?;
        serde_json::from_reader(source).map_err(std::io::Error::from)
    })
    .await?
    .map_err(|error| Trouble::Refused(format!("has collections that cannot be read: {error}")))?;
    let names: Vec<String> = found
        .collections
        .into_iter()
        .filter(|collection| collection.can_read)
        .map(|collection| collection.id)
        .collect();
    if names.is_empty() || names.len() > COLLECTIONS_MAX {
        return Err(Trouble::Refused(format!(
            "has {} collections that may be read; name those that you want in `collections`",
            names.len()
        )));
    }
    Ok(names)
}

/// Longest list of collections, in bytes.
const COLLECTIONS_BYTES_MAX: u64 = 4 << 20;

async fn get(round: &Round<'_>, client: &Client, uri: Uri) -> Result<Answer, Trouble> {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static(TYPE));
    let ask = round.ask(uri, headers)?;
    let answer = client
        .get(&ask, &round.scratch, round.feed.size_bytes_max)
        .await?;
    match answer.status {
        StatusCode::OK => Ok(answer),
        StatusCode::NOT_ACCEPTABLE => Err(Failure::new("speaks no TAXII 2.1 (answers 406)").into()),
        _ => Err(refused(&answer, round.now_ms).into()),
    }
}

fn header_text(answer: &Answer, name: &str) -> Option<String> {
    let text = answer.headers.get(name)?.to_str().ok()?;
    (text.len() <= MARK_BYTES_MAX).then(|| text.to_owned())
}
