//! STIX 2.1 indicators, from a bundle in a file or page by page in TAXII 2.1 envelopes.

use std::io::BufRead;

use ipnet::IpNet;
use serde::Deserialize;

use super::{
    Harvest, OBJECT_BYTES_MAX, Report, Unfit,
    json::{Item, walk},
    moment::moment,
    pattern::{self, Fault},
};

/// One indicator, as far as it is about addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Indicator {
    /// `indicator--…`; further versions have the same.
    pub(crate) id: String,
    /// Of this version, milliseconds since the Unix epoch.
    pub(crate) modified_ms: u64,
    /// Taken back by its maker.
    pub(crate) revoked: bool,
    /// When it ends, milliseconds since the Unix epoch.
    pub(crate) valid_until_ms: Option<u64>,
    /// 0 to 100.
    pub(crate) confidence: Option<u8>,
    /// Its name, for the reason.
    pub(crate) name: Option<String>,
    /// What it names; empty if it is revoked.
    pub(crate) networks: Vec<IpNet>,
}

/// What a TAXII envelope says besides its objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Envelope {
    /// There are further pages.
    pub(crate) more: bool,
    /// Where the next one begins.
    pub(crate) next: Option<String>,
}

/// An object of any type; what is missing is said of it.
#[derive(Deserialize)]
struct Object {
    #[serde(rename = "type")]
    kind: Option<String>,
    id: Option<String>,
    pattern: Option<String>,
    pattern_type: Option<String>,
    modified: Option<String>,
    created: Option<String>,
    valid_from: Option<String>,
    valid_until: Option<String>,
    revoked: Option<bool>,
    confidence: Option<f64>,
    name: Option<String>,
}

/// Longest identifier, in bytes.
const ID_BYTES_MAX: usize = 128;

/// Reads one envelope or bundle; `each` is given its indicators.
///
/// # Errors
/// When it is none, is cut off, or `each` says so.
pub(crate) fn read_objects(
    source: impl BufRead,
    report: &mut Report,
    now_ms: u64,
    mut each: impl FnMut(Indicator) -> Result<(), Unfit>,
) -> Result<Envelope, Unfit> {
    let mut envelope = Envelope::default();
    walk(source, |item| match item {
        Item::Element {
            list: "objects",
            index,
            json,
        } => {
            report.seen = report.seen.saturating_add(1);
            match object(json, now_ms) {
                Ok(Ok(indicator)) => each(indicator),
                Ok(Err(what)) => {
                    report.note_skipped(what);
                    Ok(())
                }
                Err((id, what)) => {
                    report.note_bad(|| format!("objects[{index}] {id}"), what);
                    Ok(())
                }
            }
        }
        Item::Value { key: "more", json } => {
            envelope.more = json == b"true";
            Ok(())
        }
        Item::Value { key: "next", json } => {
            envelope.next = serde_json::from_slice(json).ok();
            Ok(())
        }
        Item::Value {
            key: "http_status" | "title",
            json,
        } => Err(Unfit::Content(format!(
            "is an error of the server: {}",
            super::shown(&String::from_utf8_lossy(json))
        ))),
        Item::Value { .. } | Item::Element { .. } => Ok(()),
    })?;
    Ok(envelope)
}

/// A bundle that is all of a feed.
pub(super) fn read_bundle(source: impl BufRead, harvest: &mut Harvest<'_>) -> Result<(), Unfit> {
    let mut report = std::mem::take(&mut harvest.report);
    let now_ms = harvest.terms.now_ms;
    let outcome = read_objects(source, &mut report, now_ms, |indicator| {
        if indicator.revoked {
            harvest.skip("revoked");
            return Ok(());
        }
        for network in &indicator.networks {
            harvest.entry(
                *network,
                indicator.confidence,
                indicator.valid_until_ms,
                indicator.name.as_deref(),
            )?;
        }
        Ok(())
    });
    harvest.report.add(report);
    outcome.map(|_| ())
}

/// An indicator, or what else it is; an error names the object as far as that is known.
fn object(
    json: Option<&[u8]>,
    now_ms: u64,
) -> Result<Result<Indicator, &'static str>, (String, String)> {
    let Some(json) = json else {
        let what = format!("is longer than {OBJECT_BYTES_MAX} bytes");
        return Err((String::new(), what));
    };
    let object: Object = serde_json::from_slice(json)
        .map_err(|error| (String::new(), format!("cannot be read: {error}")))?;
    if object.kind.as_deref() != Some("indicator") {
        return Ok(Err("no indicator"));
    }
    let id = object.id.unwrap_or_default();
    let bad = |what: String| (id.chars().take(ID_BYTES_MAX).collect(), what);
    if id.is_empty() || id.len() > ID_BYTES_MAX {
        return Err(bad("has no usable `id`".to_owned()));
    }
    let time = |text: Option<&str>, field: &str| match text {
        None => Ok(None),
        Some(text) => match moment(text) {
            Some(at) => Ok(Some(at)),
            None => Err(bad(format!("has a `{field}` that is no time"))),
        },
    };
    let modified = object.modified.as_deref().or(object.created.as_deref());
    let modified_ms = time(modified, "modified")?.unwrap_or(0);
    let valid_until_ms = time(object.valid_until.as_deref(), "valid_until")?;
    let valid_from_ms = time(object.valid_from.as_deref(), "valid_from")?;
    let revoked = object.revoked.unwrap_or(false);
    if object
        .pattern_type
        .as_deref()
        .is_some_and(|kind| kind != "stix")
    {
        return Ok(Err("other pattern language"));
    }
    if valid_from_ms.is_some_and(|from| from > now_ms) {
        return Ok(Err("not valid yet"));
    }
    let confidence = match object.confidence.map(super::csv::score_of) {
        Some(None) => return Err(bad("has a confidence that is not 0 to 100".to_owned())),
        Some(confidence) => confidence,
        None => None,
    };
    let networks = match object.pattern.as_deref().map(pattern::networks) {
        _ if revoked => Vec::new(),
        Some(Ok(networks)) => networks,
        Some(Err(Fault::Other(what))) => return Ok(Err(what)),
        Some(Err(Fault::Bad(what))) => return Err(bad(what)),
        None => return Err(bad("has no `pattern`".to_owned())),
    };
    Ok(Ok(Indicator {
        id,
        modified_ms,
        revoked,
        valid_until_ms,
        confidence,
        name: object.name,
        networks,
    }))
}
