//! Servers that streams go to: URLs, TLS, secrets.

use std::path::{Path, PathBuf};

use http::Uri;

use super::super::{
    Certificate,
    error::shown,
    feeds, gateway,
    raw::{Node, Table},
    read_key,
    stream::{ClientTls, Remote},
    tls,
};

/// Keys of whatever is asked over HTTP.
pub(super) const TLS_KEYS: [&str; 4] = ["ca_file", "certificate", "key", "server_name"];

/// The server that `url` names, with its TLS.
pub(super) fn remote(table: &Table<'_>, base: &Path) -> Option<Remote> {
    let node = table.required("url", "\"https://…\"");
    let uri = node.as_ref().and_then(feeds::url);
    checked(table, base, node.as_ref(), uri)
}

/// The same, where there is a server that everybody uses.
pub(super) fn remote_or(table: &Table<'_>, base: &Path, usual: &str) -> Option<Remote> {
    let node = table.get("url");
    let uri = match &node {
        Some(node) => feeds::url(node),
        None => usual.parse().ok(),
    };
    checked(table, base, node.as_ref(), uri)
}

fn checked(
    table: &Table<'_>,
    base: &Path,
    node: Option<&Node<'_>>,
    uri: Option<Uri>,
) -> Option<Remote> {
    let is_tls = uri
        .as_ref()
        .is_none_or(|uri| uri.scheme_str() == Some("https"));
    let tls = client_tls(table, base, is_tls);
    let uri = uri?;
    if let Some(node) = node {
        warn_of_clear_text(node, &uri);
    }
    Some(Remote { uri, tls })
}

/// Events and secrets should not be readable on their way.
pub(super) fn warn_of_clear_text(node: &Node<'_>, uri: &Uri) {
    if uri.scheme_str() != Some("https") && !is_local(uri.host().unwrap_or_default()) {
        node.warning(
            "events are sent in clear over http",
            Some("write https".to_owned()),
        );
    }
}

/// A URL with another path. One that names a query already names too much.
pub(super) fn with_path(node: Option<&Node<'_>>, remote: Remote, path: &str) -> Option<Remote> {
    if remote.uri.query().is_some() {
        if let Some(node) = node {
            node.error(
                "has a query, which is not used here",
                Some("remove what is behind the ?".to_owned()),
            );
        }
        return None;
    }
    let mut parts = remote.uri.into_parts();
    parts.path_and_query = path.parse().ok();
    Some(Remote {
        uri: Uri::from_parts(parts).ok()?,
        tls: remote.tls,
    })
}

/// A required file with a secret on one line.
pub(super) fn required_secret(table: &Table<'_>, base: &Path, key: &str) -> Option<PathBuf> {
    let node = table.required(key, "\"siem.secret\"")?;
    secret_file(&node, base, |_| Ok(()))
}

/// A word of `1..=bytes_max` printable characters without spaces, where one is given.
pub(super) fn word(table: &Table<'_>, key: &str, bytes_max: usize) -> Option<String> {
    let node = table.get(key)?;
    checked_word(&node, bytes_max)
}

/// The same, where it cannot be left out.
pub(super) fn required_word(
    table: &Table<'_>,
    key: &str,
    example: &str,
    bytes_max: usize,
) -> Option<String> {
    let node = table.required(key, example)?;
    checked_word(&node, bytes_max)
}

fn checked_word(node: &Node<'_>, bytes_max: usize) -> Option<String> {
    let text = node.string()?;
    let fits =
        (1..=bytes_max).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_graphic());
    if !fits {
        node.error(
            format!(
                "\"{}\" is not 1 to {bytes_max} printable characters without spaces",
                shown(text)
            ),
            None,
        );
        return None;
    }
    Some(text.to_owned())
}

/// TLS towards a server; `is_used` says whether there is any.
pub(super) fn client_tls(table: &Table<'_>, base: &Path, is_used: bool) -> ClientTls {
    if !is_used {
        for key in TLS_KEYS {
            if let Some(node) = table.get(key) {
                node.error("is for TLS", Some("remove it".to_owned()));
            }
        }
        return ClientTls::default();
    }
    let ca_file = table.get("ca_file").and_then(|node| {
        let file = node.file(base)?;
        if let Err(what) = tls::roots(&file) {
            node.file_error(&file, &what);
        }
        Some(file)
    });
    let server_name = table.get("server_name").and_then(|node| {
        let text = node.string()?;
        if rustls_pki_types::ServerName::try_from(text).is_err() {
            node.error(format!("\"{}\" is no name of a server", shown(text)), None);
        }
        Some(text.to_owned())
    });
    ClientTls {
        ca_file,
        identity: identity(table, base),
        server_name,
    }
}

fn identity(table: &Table<'_>, base: &Path) -> Option<Certificate> {
    let (certificate, key) = match (table.get("certificate"), table.get("key")) {
        (Some(certificate), Some(key)) => (certificate, key),
        (None, None) => return None,
        (one, other) => {
            if let Some(alone) = one.or(other) {
                alone.error(
                    "stands alone; `certificate` and `key` belong together",
                    Some("add the other one".to_owned()),
                );
            }
            return None;
        }
    };
    let pair = Certificate {
        certificate: certificate.file(base)?,
        key: key.file(base)?,
    };
    gateway::readable(&pair, &certificate, &key);
    Some(pair)
}

/// A file with a secret, which nobody else may read; `check` says what is wrong with what it holds.
pub(super) fn secret_file(
    node: &Node<'_>,
    base: &Path,
    check: impl Fn(&str) -> Result<(), &'static str>,
) -> Option<PathBuf> {
    let file = node.file(base)?;
    let checked = read_key(&file).and_then(|secret| check(&secret).map_err(str::to_owned));
    if let Err(what) = checked {
        node.file_error(&file, &what);
    }
    Some(file)
}

/// This host by its loopback names.
pub(super) fn is_local(host: &str) -> bool {
    host == "localhost" || host.starts_with("127.") || matches!(host, "[::1]" | "::1")
}
