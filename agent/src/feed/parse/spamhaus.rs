//! Spamhaus DROP: `1.10.16.0/20 ; SBL256894` lines, or JSON lines with `cidr` and `sblid` and one line of
//! metadata (<https://www.spamhaus.org/blocklists/do-not-route-or-peer/>).

use std::io::BufRead;

use serde::Deserialize;

use super::{
    Harvest, Unfit,
    lines::{Line, Lines, fault},
};
use crate::policy::prefix::parse_network;

/// A line of the JSON form. Every field is optional: what is missing is said of its line.
#[derive(Deserialize)]
struct Record {
    cidr: Option<String>,
    sblid: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Of the metadata: how many lines with networks there are.
    records: Option<u64>,
}

pub(super) fn read(source: impl BufRead, harvest: &mut Harvest<'_>) -> Result<(), Unfit> {
    let mut lines = Lines::new(source);
    let mut announced = None;
    let mut records: u64 = 0;
    while let Some(line) = lines.next()? {
        let fault = fault(&line);
        let Line::Text(text) = line else {
            let what = fault.unwrap_or_default();
            let number = lines.number;
            harvest.see();
            harvest.bad(|| format!("line {number}"), what);
            continue;
        };
        let text = text.trim();
        harvest.see();
        let outcome = if text.starts_with('{') {
            json(text, harvest, &mut announced, &mut records)?
        } else {
            plain(text, harvest)?
        };
        if let Err(what) = outcome {
            let number = lines.number;
            harvest.bad(|| format!("line {number}"), what);
        }
    }
    match announced {
        Some(wanted) if records < wanted => Err(Unfit::Content(format!(
            "is cut off: it announces {wanted} records and has {records}"
        ))),
        _ => Ok(()),
    }
}

fn json(
    text: &str,
    harvest: &mut Harvest<'_>,
    announced: &mut Option<u64>,
    records: &mut u64,
) -> Result<Result<(), String>, Unfit> {
    let record: Record = match serde_json::from_str(text) {
        Ok(record) => record,
        Err(error) => return Ok(Err(format!("is no such JSON: {error}"))),
    };
    if record.kind.as_deref() == Some("metadata") {
        *announced = record.records;
        return Ok(Ok(()));
    }
    *records = records.saturating_add(1);
    match record.cidr {
        Some(cidr) => networks(&cidr, record.sblid.as_deref(), harvest),
        None => Ok(Err("has no `cidr`".to_owned())),
    }
}

fn plain(text: &str, harvest: &mut Harvest<'_>) -> Result<Result<(), String>, Unfit> {
    let (network, comment) = text.split_once([';', '#']).unwrap_or((text, ""));
    if network.trim().is_empty() {
        return Ok(Ok(()));
    }
    networks(network, Some(comment.trim()), harvest)
}

fn networks(
    text: &str,
    reason: Option<&str>,
    harvest: &mut Harvest<'_>,
) -> Result<Result<(), String>, Unfit> {
    match parse_network(text) {
        Ok(found) => {
            for network in found {
                harvest.entry(
                    network,
                    None,
                    None,
                    reason.filter(|reason| !reason.is_empty()),
                )?;
            }
            Ok(Ok(()))
        }
        Err(error) => Ok(Err(error.what())),
    }
}
