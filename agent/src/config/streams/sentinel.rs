//! `kind = "sentinel"`.

use std::{path::Path, time::Duration};

use super::{
    super::{
        feeds,
        raw::Table,
        receivers::Sentinel,
        stream::{Remote, StreamKind},
    },
    Defaults, remote,
};

pub(super) const KEYS: &[&str] = &[
    "url",
    "rule",
    "stream_name",
    "authority",
    "tenant",
    "client_id",
    "client_secret_file",
    "gzip",
];

/// Logs ingestion takes 1 MiB at a time, before it is compressed.
pub(super) const DEFAULTS: Defaults = Defaults {
    events_max: 500,
    bytes_max: 1_000_000,
    flush: Duration::from_millis(500),
    most: (10_000, 1_000_000),
};

const WORD_BYTES_MAX: usize = 256;
/// Where Microsoft gives tokens.
const AUTHORITY: &str = "https://login.microsoftonline.com";

pub(super) fn read(table: &Table<'_>, base: &Path) -> Option<StreamKind> {
    let word = |key, example| {
        let word = remote::required_word(table, key, example, WORD_BYTES_MAX)?;
        // They become part of URLs.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if word.bytes().all(is_plain) {
            return Some(word);
        }
        if let Some(node) = table.get(key) {
            node.error("has other characters than letters, digits, - _ and .", None);
        }
        None
    };
    let rule = word("rule", "\"dcr-0123456789abcdef0123456789abcdef\"");
    let stream_name = word("stream_name", "\"Custom-Edgeward_CL\"");
    let tenant = word("tenant", "the directory's id");
    let client_id = word("client_id", "the application's id");
    let client_secret_file = remote::required_secret(table, base, "client_secret_file");
    let remote = remote::remote(table, base).and_then(|remote| {
        let path = format!(
            "/dataCollectionRules/{}/streams/{}?api-version=2023-01-01",
            rule.as_deref().unwrap_or_default(),
            stream_name.as_deref().unwrap_or_default()
        );
        remote::with_path(table.get("url").as_ref(), remote, &path)
    });
    let authority = authority(
        table,
        tenant.as_deref().unwrap_or_default(),
        remote.as_ref(),
    );
    let kind = Sentinel {
        gzip: table.flag("gzip", true),
        remote: remote?,
        rule: rule?,
        stream_name: stream_name?,
        authority: authority?,
        client_id: client_id?,
        client_secret_file: client_secret_file?,
    };
    tenant.map(|_| StreamKind::Sentinel(kind))
}

/// Where tokens come from: checked as the receiver is, by the same certificates.
fn authority(table: &Table<'_>, tenant: &str, remote: Option<&Remote>) -> Option<Remote> {
    let node = table.get("authority");
    let uri = match &node {
        Some(node) => {
            let uri = feeds::url(node)?;
            remote::warn_of_clear_text(node, &uri);
            uri
        }
        None => AUTHORITY.parse().ok()?,
    };
    let mut tls = remote?.tls.clone();
    // Of another server.
    tls.server_name = None;
    let path = format!(
        "{}/{tenant}/oauth2/v2.0/token",
        uri.path().trim_end_matches('/')
    );
    remote::with_path(node.as_ref(), Remote { uri, tls }, &path)
}
