//! CSV (RFC 4180) whose first line names the columns.

use std::io::BufRead;

use super::{
    Harvest, Unfit,
    lines::{Line, Lines, fault},
    moment::moment,
};
use crate::{config::feed::Columns, policy::prefix::parse_network};

/// Where the columns are.
struct Places {
    prefix: usize,
    score: Option<usize>,
    expires: Option<usize>,
    reason: Option<usize>,
}

/// Most fields of a line that are looked at.
const FIELDS_MAX: usize = 256;

pub(super) fn read(
    source: impl BufRead,
    columns: &Columns,
    harvest: &mut Harvest<'_>,
) -> Result<(), Unfit> {
    let mut lines = Lines::new(source);
    let mut places: Option<Places> = None;
    while let Some(line) = lines.next()? {
        harvest.see();
        let fault = fault(&line);
        let Line::Text(text) = line else {
            let number = lines.number;
            harvest.bad(|| format!("line {number}"), fault.unwrap_or_default());
            continue;
        };
        if text.trim().is_empty() {
            continue;
        }
        // Some lists write the line of names as a comment.
        let text = match &places {
            None => text.trim_start().trim_start_matches('#').trim_start(),
            Some(_) if text.starts_with('#') => continue,
            Some(_) => text,
        };
        let outcome = match (fields(text, columns.delimiter), &places) {
            (Err(what), _) => Err(what.to_owned()),
            (Ok(names), None) => {
                match find(&names, columns) {
                    Ok(found) => places = Some(found),
                    // Comments may stand before the names.
                    Err(_) if lines.number < HEADER_LINES_MAX => {}
                    Err(what) => return Err(Unfit::Content(what)),
                }
                continue;
            }
            (Ok(fields), Some(places)) => row(&fields, places, harvest)?,
        };
        if let Err(what) = outcome {
            let number = lines.number;
            harvest.bad(|| format!("line {number}"), what);
        }
    }
    match places {
        Some(_) => Ok(()),
        None => Err(Unfit::Content(format!(
            "has no column \"{}\" in its first lines",
            columns.prefix
        ))),
    }
}

/// Lines among which the names of the columns are looked for.
const HEADER_LINES_MAX: u64 = 32;

fn row(
    fields: &[String],
    places: &Places,
    harvest: &mut Harvest<'_>,
) -> Result<Result<(), String>, Unfit> {
    let field = |at: Option<usize>| {
        at.and_then(|at| fields.get(at))
            .map(|field| field.trim())
            .filter(|field| !field.is_empty())
    };
    let Some(prefix) = field(Some(places.prefix)) else {
        return Ok(Err("has no network".to_owned()));
    };
    let score = match field(places.score).map(|text| text.parse().ok().and_then(score_of)) {
        Some(None) => return Ok(Err("has a score that is not 0 to 100".to_owned())),
        Some(score) => score,
        None => None,
    };
    let expires = match field(places.expires).map(moment) {
        Some(None) => return Ok(Err("has an end that is no time".to_owned())),
        Some(expires) => expires,
        None => None,
    };
    match parse_network(prefix) {
        Ok(networks) => {
            for network in networks {
                harvest.entry(network, score, expires, field(places.reason))?;
            }
            Ok(Ok(()))
        }
        Err(error) => Ok(Err(error.what())),
    }
}

fn find(names: &[String], columns: &Columns) -> Result<Places, String> {
    let place = |wanted: &str| {
        names
            .iter()
            .position(|name| name.trim().eq_ignore_ascii_case(wanted))
            .ok_or_else(|| format!("has no column \"{wanted}\" in its first lines"))
    };
    let optional = |wanted: &Option<String>| wanted.as_deref().map(place).transpose();
    Ok(Places {
        prefix: place(&columns.prefix)?,
        score: optional(&columns.score)?,
        expires: optional(&columns.expires)?,
        reason: optional(&columns.reason)?,
    })
}

/// The fields of a line, quotes taken off.
fn fields(line: &str, delimiter: char) -> Result<Vec<String>, &'static str> {
    let mut out = Vec::new();
    let mut field = String::new();
    let mut chars = line.chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted => {
                if chars.next_if_eq(&'"').is_some() {
                    field.push('"');
                } else {
                    quoted = false;
                }
            }
            '"' if field.trim().is_empty() => {
                field.clear();
                quoted = true;
            }
            c if c == delimiter && !quoted => {
                out.push(std::mem::take(&mut field));
                if out.len() >= FIELDS_MAX {
                    return Err("has too many fields");
                }
            }
            c => field.push(c),
        }
    }
    if quoted {
        return Err("has a quote that does not end on its line");
    }
    out.push(field);
    Ok(out)
}

/// A score as numbers of feeds have it: 0 to 100, rounded down.
pub(super) fn score_of(value: f64) -> Option<u8> {
    if !(0.0..=100.0).contains(&value) {
        return None;
    }
    (0..=100_u8).rev().find(|whole| f64::from(*whole) <= value)
}
