//! `kind = "eventbridge"`.

use std::{path::Path, time::Duration};

use super::{
    super::{
        error::shown,
        raw::Table,
        receivers::{AwsCredentials, EventBridge},
        stream::StreamKind,
    },
    Defaults, remote,
};
use crate::stream::aws_profile;

pub(super) const KEYS: &[&str] = &[
    "url",
    "region",
    "bus",
    "source",
    "credentials_file",
    "profile",
];

/// What `PutEvents` takes: ten entries and 256 KiB, of which entries have some bytes of their own.
pub(super) const DEFAULTS: Defaults = Defaults {
    events_max: 10,
    bytes_max: 260_000,
    flush: Duration::from_millis(500),
    most: (10, 260_000),
};

/// Longest name or ARN of a bus, source and profile, in bytes.
const BUS_BYTES_MAX: usize = 1_600;
const SOURCE_BYTES_MAX: usize = 256;
const REGION_BYTES_MAX: usize = 32;

pub(super) fn read(table: &Table<'_>, base: &Path) -> Option<StreamKind> {
    let region = region(table);
    let usual = format!(
        "https://events.{}.amazonaws.com/",
        region.as_deref().unwrap_or("us-east-1")
    );
    let remote = remote::remote_or(table, base, &usual);
    let credentials = credentials(table, base);
    let bus = remote::word(table, "bus", BUS_BYTES_MAX);
    let source = remote::word(table, "source", SOURCE_BYTES_MAX);
    let source = source.unwrap_or_else(|| "edgeward".to_owned());
    if let Some(node) = table.get("source").filter(|_| source.starts_with("aws.")) {
        node.error("begins with aws., which is for Amazon alone", None);
    }
    let kind = EventBridge {
        bus: bus.unwrap_or_else(|| "default".to_owned()),
        source,
        remote: remote?,
        region: region?,
        credentials: credentials?,
    };
    Some(StreamKind::EventBridge(kind))
}

fn region(table: &Table<'_>) -> Option<String> {
    let node = table.required("region", "\"eu-central-1\"")?;
    let text = node.string()?;
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if text.is_empty() || text.len() > REGION_BYTES_MAX || !text.bytes().all(is_plain) {
        node.error(format!("\"{}\" is no region", shown(text)), None);
        return None;
    }
    Some(text.to_owned())
}

fn credentials(table: &Table<'_>, base: &Path) -> Option<AwsCredentials> {
    let Some(node) = table.get("credentials_file") else {
        if let Some(node) = table.get("profile") {
            node.error(
                "is of a credentials_file, and there is none",
                Some("add credentials_file".to_owned()),
            );
        }
        return Some(AwsCredentials::Environment);
    };
    let profile = remote::word(table, "profile", SOURCE_BYTES_MAX);
    let profile = profile.unwrap_or_else(|| "default".to_owned());
    let file = node.file(base)?;
    if let Err(what) = aws_profile(&file, &profile) {
        node.file_error(&file, &what);
    }
    Some(AwsCredentials::File { file, profile })
}
