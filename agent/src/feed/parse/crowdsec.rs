//! The stream of a CrowdSec local API: `{"new": […], "deleted": […]}`, either of which may be `null`.

use std::io::BufRead;

use ipnet::IpNet;
use serde::Deserialize;

use super::{
    OBJECT_BYTES_MAX, Report, Unfit,
    json::{Item, walk},
    moment::go_duration,
};
use crate::policy::prefix::{canonical_network, parse_network};

/// A decision that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CrowdSecDecision {
    /// By which it is deleted.
    pub(crate) id: u64,
    /// Address or range.
    pub(crate) prefix: IpNet,
    /// How long it still lasts, milliseconds; above zero.
    pub(crate) left_ms: u64,
    /// `crowdsec`, `cscli`, `CAPI`, `lists`.
    pub(crate) origin: String,
    /// What was found.
    pub(crate) scenario: String,
}

/// What one answer brings, in the order in which it stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CrowdSecDelta {
    New(CrowdSecDecision),
    /// The identifier of one that is gone.
    Deleted(u64),
}

#[derive(Deserialize)]
struct Decision {
    id: Option<u64>,
    duration: Option<String>,
    origin: Option<String>,
    scenario: Option<String>,
    scope: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    value: Option<String>,
}

/// Reads one answer; `each` is given what it brings, deletions as they come among the rest.
///
/// # Errors
/// When it is no such answer, is cut off, or `each` says so.
pub(crate) fn read_stream(
    source: impl BufRead,
    report: &mut Report,
    mut each: impl FnMut(CrowdSecDelta) -> Result<(), Unfit>,
) -> Result<(), Unfit> {
    let (mut known, mut message) = (false, None);
    walk(source, |item| {
        let (list, index, json) = match item {
            Item::Element { list, index, json } => (list, index, json),
            Item::Value {
                key: "new" | "deleted",
                json: b"null",
            } => {
                known = true;
                return Ok(());
            }
            Item::Value {
                key: "message",
                json,
            } => {
                message = Some(super::shown(&String::from_utf8_lossy(json)));
                return Ok(());
            }
            Item::Value { .. } => return Ok(()),
        };
        let delta = match list {
            "new" => decision(json).map(|found| found.map(CrowdSecDelta::New)),
            "deleted" => deleted(json).map(|id| Ok(CrowdSecDelta::Deleted(id))),
            _ => return Ok(()),
        };
        known = true;
        report.seen = report.seen.saturating_add(1);
        match delta {
            Ok(Ok(delta)) => {
                report.read = report.read.saturating_add(1);
                each(delta)
            }
            Ok(Err(what)) => {
                report.note_skipped(what);
                Ok(())
            }
            Err(what) => {
                report.note_bad(|| format!("{list}[{index}]"), what);
                Ok(())
            }
        }
    })?;
    match message {
        _ if known => Ok(()),
        Some(message) => Err(Unfit::Content(format!(
            "is an error of the local API: {message}"
        ))),
        // Empty lists are `[]` in newer versions and leave no trace in the walk.
        None => Ok(()),
    }
}

fn parsed(json: Option<&[u8]>) -> Result<Decision, String> {
    let json = json.ok_or_else(|| format!("is longer than {OBJECT_BYTES_MAX} bytes"))?;
    serde_json::from_slice(json).map_err(|error| format!("cannot be read: {error}"))
}

fn deleted(json: Option<&[u8]>) -> Result<u64, String> {
    parsed(json)?.id.ok_or_else(|| "has no `id`".to_owned())
}

/// A decision, or why it is passed over.
fn decision(json: Option<&[u8]>) -> Result<Result<CrowdSecDecision, &'static str>, String> {
    let decision = parsed(json)?;
    let id = decision.id.ok_or("has no `id`")?;
    let scope = decision.scope.unwrap_or_default();
    let is_scope = |wanted: &str| scope.eq_ignore_ascii_case(wanted);
    if !is_scope("ip") && !is_scope("range") {
        return Ok(Err("other scope"));
    }
    if !decision
        .kind
        .is_some_and(|kind| kind.eq_ignore_ascii_case("ban"))
    {
        return Ok(Err("other type"));
    }
    let duration = decision.duration.ok_or("has no `duration`")?;
    let left = go_duration(&duration).ok_or("has a `duration` that cannot be read")?;
    let Some(left_ms) = u64::try_from(left).ok().filter(|left| *left > 0) else {
        return Ok(Err("ended"));
    };
    let value = decision.value.ok_or("has no `value`")?;
    Ok(Ok(CrowdSecDecision {
        id,
        prefix: network(&value)?,
        left_ms,
        origin: decision.origin.unwrap_or_default(),
        scenario: decision.scenario.unwrap_or_default(),
    }))
}

/// An address or a range; CrowdSec takes host bits as they come.
fn network(value: &str) -> Result<IpNet, String> {
    if let Ok(net) = value.trim().parse::<IpNet>() {
        return Ok(canonical_network(net));
    }
    match parse_network(value) {
        Ok(found) => match found.as_slice() {
            [one] => Ok(*one),
            _ => Err("has a `value` of several networks".to_owned()),
        },
        Err(error) => Err(error.what()),
    }
}
