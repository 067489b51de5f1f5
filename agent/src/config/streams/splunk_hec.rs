//! `kind = "splunk-hec"`.

use std::{path::Path, time::Duration};

use super::{
    super::{
        raw::Table,
        receivers::SplunkHec,
        stream::{StreamFormat, StreamKind},
    },
    remote,
};

pub(super) const KEYS: &[&str] = &[
    "url",
    "token_file",
    "acknowledge",
    "acknowledge_within",
    "gzip",
    "index",
    "source",
    "sourcetype",
    "hostname",
];

/// Longest index, source and so on, in bytes.
const WORD_BYTES_MAX: usize = 256;
/// Where Splunk has its collector.
const COLLECTOR: &str = "/services/collector";

pub(super) fn read(table: &Table<'_>, base: &Path) -> Option<StreamKind> {
    let remote = remote::remote(table, base).and_then(|remote| {
        let path = remote.uri.path().trim_end_matches('/');
        let path = path.strip_suffix("/event").unwrap_or(path).to_owned();
        let path = if path.is_empty() { COLLECTOR } else { &path };
        remote::with_path(table.get("url").as_ref(), remote, path)
    });
    let token_file = remote::required_secret(table, base, "token_file");
    let word = |key: &str| remote::word(table, key, WORD_BYTES_MAX);
    let format = table
        .get("format")
        .and_then(|node| node.string())
        .unwrap_or_default();
    // What Splunk's add-on for Okta looks for.
    let usual = if format == StreamFormat::Ecs.name() || format == StreamFormat::Ocsf.name() {
        format!("edgeward:{format}")
    } else {
        "OktaIM2:log".to_owned()
    };
    let acknowledge = table.flag("acknowledge", false);
    if let Some(node) = table.get("acknowledge_within").filter(|_| !acknowledge) {
        node.error(
            "has no effect without acknowledge = true",
            Some("remove it".to_owned()),
        );
    }
    let second = Duration::from_secs(1);
    let kind = SplunkHec {
        acknowledge,
        acknowledge_within: table.time("acknowledge_within", second..=600 * second, 120 * second),
        gzip: table.flag("gzip", true),
        index: word("index"),
        source: word("source").unwrap_or_else(|| "edgeward".to_owned()),
        sourcetype: word("sourcetype").unwrap_or(usual),
        hostname: word("hostname"),
        remote: remote?,
        token_file: token_file?,
    };
    Some(StreamKind::SplunkHec(kind))
}
