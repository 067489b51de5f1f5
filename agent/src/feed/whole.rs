//! Feeds that come as a whole: a file, or what a URL answers.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};

use super::{
    body,
    cache::Mark,
    client::{Failure, refused},
    parse::{Report, Unfit, Whole, read_whole},
    round::{Brought, Harvested, Round, Trouble, aside},
};
use crate::{
    config::feed::{FeedFormat, FeedSource},
    policy::feed::Draft,
};

/// The reader of a format that comes as a whole.
fn reader(format: &FeedFormat) -> Whole {
    match format {
        FeedFormat::Spamhaus => Whole::Spamhaus,
        FeedFormat::AbuseIpDb => Whole::AbuseIpDb,
        FeedFormat::Csv(columns) => Whole::Csv(columns.clone()),
        FeedFormat::Taxii(_) => Whole::Stix,
        FeedFormat::Netset | FeedFormat::CrowdSec(_) | FeedFormat::Okta => Whole::Netset,
    }
}

pub(super) async fn round(round: &Round<'_>) -> Result<Brought, Trouble> {
    match &round.feed.source {
        FeedSource::File(path) => from_file(round, path).await,
        FeedSource::Url(uri) => from_url(round, uri).await,
    }
}

async fn from_file(round: &Round<'_>, path: &Path) -> Result<Brought, Trouble> {
    let failed = |error: io::Error| {
        Failure::new(match error.kind() {
            io::ErrorKind::NotFound => "does not exist".to_owned(),
            _ => format!("cannot be read: {error}"),
        })
    };
    // Looked at before it is opened: opening a FIFO would wait for a writer that may never come.
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(Failure::new("is no regular file").into());
    }
    let seen = (
        i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
        metadata.ino(),
        metadata.len(),
    );
    let written = metadata
        .modified()
        .ok()
        .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
        .unwrap_or(Duration::ZERO);
    let heard_ms = u64::try_from(written.as_millis())
        .unwrap_or(0)
        .min(round.now_ms);
    if round.mark.file == Some(seen) && !round.forced {
        return Ok(Brought::Unchanged { heard_ms });
    }
    let (draft, report) = read(round, path).await?;
    Ok(Brought::Read(Box::new(Harvested {
        draft,
        report,
        mark: Mark {
            file: Some(seen),
            ..Mark::default()
        },
        heard_ms,
        whole: true,
    })))
}

async fn from_url(round: &Round<'_>, uri: &Uri) -> Result<Brought, Trouble> {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    if round.feed.format == FeedFormat::AbuseIpDb {
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    }
    if !round.forced {
        let conditions = [
            (header::IF_NONE_MATCH, &round.mark.etag),
            (header::IF_MODIFIED_SINCE, &round.mark.last_modified),
        ];
        for (name, value) in conditions {
            let value = value.as_deref().map(HeaderValue::from_str);
            if let Some(Ok(value)) = value {
                headers.insert(name, value);
            }
        }
    }
    let client = round.client(uri)?;
    let ask = round.ask(uri.clone(), headers)?;
    let answer = client
        .get(&ask, &round.scratch, round.feed.size_bytes_max)
        .await?;
    if answer.status == StatusCode::NOT_MODIFIED {
        return Ok(Brought::Unchanged {
            heard_ms: round.now_ms,
        });
    }
    if answer.status != StatusCode::OK {
        return Err(refused(&answer, round.now_ms).into());
    }
    let text = |name: header::HeaderName| {
        let value = answer.headers.get(name)?.to_str().ok()?;
        (value.len() <= CONDITION_BYTES_MAX).then(|| value.to_owned())
    };
    let mark = Mark {
        etag: text(header::ETAG),
        last_modified: text(header::LAST_MODIFIED),
        ..Mark::default()
    };
    let (draft, report) = read(round, &round.scratch).await?;
    Ok(Brought::Read(Box::new(Harvested {
        draft,
        report,
        mark,
        heard_ms: round.now_ms,
        whole: true,
    })))
}

/// Longest `ETag` or `Last-Modified` that is sent back, in bytes.
const CONDITION_BYTES_MAX: usize = 512;

async fn read(round: &Round<'_>, path: &Path) -> Result<(Draft, Report), Trouble> {
    let path = path.to_owned();
    let (bytes_max, terms) = (round.feed.size_bytes_max, round.terms());
    let format = reader(&round.feed.format);
    let mut draft = round.draft();
    let outcome = aside(move || {
        let source = body::open(&path, bytes_max).map_err(Unfit::Io)?;
        let report = read_whole(&format, source, &mut draft, terms)?;
        Ok::<_, Unfit>((draft, report))
    })
    .await?;
    Ok(outcome?)
}
