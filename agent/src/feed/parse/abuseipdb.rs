//! AbuseIPDB's blacklist: plain text, or JSON with `data[].ipAddress` and `abuseConfidenceScore`
//! (<https://docs.abuseipdb.com/#blacklist-endpoint>).

use std::io::BufRead;

use serde::Deserialize;

use super::{
    Harvest, OBJECT_BYTES_MAX, Unfit,
    json::{Item, walk},
    netset,
};
use crate::policy::prefix::parse_network;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reported {
    ip_address: Option<String>,
    abuse_confidence_score: Option<f64>,
    country_code: Option<String>,
}

pub(super) fn read(mut source: impl BufRead, harvest: &mut Harvest<'_>) -> Result<(), Unfit> {
    let start = source.fill_buf()?.trim_ascii_start().first().copied();
    if start != Some(b'{') {
        return netset::read(source, harvest);
    }
    let mut refused = None;
    let mut any_list = false;
    walk(source, |item| match item {
        Item::Element {
            list: "data",
            index,
            json,
        } => {
            any_list = true;
            harvest.see();
            element(index, json, harvest)
        }
        Item::Element {
            list: "errors",
            json,
            ..
        } => {
            refused = json.map(|json| String::from_utf8_lossy(json).into_owned());
            Ok(())
        }
        Item::Element { .. } => Ok(()),
        Item::Value { .. } => Ok(()),
    })?;
    match refused {
        Some(error) if !any_list => Err(Unfit::Content(format!(
            "is an error of the server: {}",
            super::shown(&error)
        ))),
        _ => Ok(()),
    }
}

fn element(index: u64, json: Option<&[u8]>, harvest: &mut Harvest<'_>) -> Result<(), Unfit> {
    let place = || format!("data[{index}]");
    let Some(json) = json else {
        harvest.bad(place, format!("is longer than {OBJECT_BYTES_MAX} bytes"));
        return Ok(());
    };
    let reported: Reported = match serde_json::from_slice(json) {
        Ok(reported) => reported,
        Err(error) => {
            harvest.bad(place, format!("cannot be read: {error}"));
            return Ok(());
        }
    };
    let Some(address) = reported.ip_address else {
        harvest.bad(place, "has no `ipAddress`");
        return Ok(());
    };
    let score = match reported.abuse_confidence_score.map(super::csv::score_of) {
        Some(None) => {
            harvest.bad(place, "has a score that is not 0 to 100");
            return Ok(());
        }
        Some(score) => score,
        None => None,
    };
    let reason = reported
        .country_code
        .map(|code| format!("AbuseIPDB, {code}"));
    match parse_network(&address) {
        Ok(networks) => {
            for network in networks {
                harvest.entry(network, score, None, reason.as_deref())?;
            }
        }
        Err(error) => harvest.bad(place, error.what()),
    }
    Ok(())
}
