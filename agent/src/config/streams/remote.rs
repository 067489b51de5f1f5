//! Servers that streams go to: URLs, TLS, secrets.

use std::path::{Path, PathBuf};

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
    let is_tls = uri
        .as_ref()
        .is_none_or(|uri| uri.scheme_str() == Some("https"));
    let tls = client_tls(table, base, is_tls);
    let (node, uri) = (node?, uri?);
    let host = uri.host().unwrap_or_default();
    if !is_tls && !is_local(host) {
        node.warning(
            "events are sent in clear over http",
            Some("write https".to_owned()),
        );
    }
    Some(Remote { uri, tls })
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
